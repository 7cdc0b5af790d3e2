#pragma once
// The tables of the configuration database and how rows go in and out. Private to config/sqlite_*.cpp.
//
//   meta    (name, value, crc)                   "self": the node that the database belongs to
//   node    (owner, generation, digest, crc)     one row for this node and for each cached peer
//   record  (owner, key, data, crc)              one row for each app, type, instance, dependency, ...
//   journal (id, data, crc)
//   history (id, wall_us, until, data, crc)   `until`: sum of the sizes of all entries up to this one
//
// crc is the CRC32C of the row's other columns. A node's digest is the sum over its records of crc + 2^32: it
// changes when a row is lost, added or exchanged for an older one, which a checksum in the row cannot tell.

#include "config/database.h"
#include "config/sqlite_file.h"

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace understudy::config {

inline constexpr std::int64_t kSchemaVersion = 2;           // 1 had no history
inline constexpr std::int64_t kApplicationId = 0x55645479;  // "UdTy"

/// The first byte of a record's key.
inline constexpr char kInstanceKey = 'i';

/// Identifies the record that an edit puts or drops.
std::string record_key(const Edit& edit);
bool is_drop(const Edit& edit);

/// Rows of one owner as a file has them.
struct OwnerRows {
    NodeConfig config;                                         // from the rows whose checksum is right
    std::unordered_map<std::string, std::uint32_t> checksums;  // by key
    std::vector<std::string> bad_keys;
    bool complete = false;  // generation and digest are there and right
};

struct Contents {
    bool empty = false;  // no tables yet
    std::string self;
    std::map<std::string, OwnerRows> owners;
    std::uint64_t last_journal_id = 0;
    std::uint64_t last_history_id = 0;
    std::uint64_t history_until = 0;  // of that entry
};

/// Reads everything but the journal's entries. Errors: damaged beyond reading, made by a newer version, busy.
SqliteResult<Contents> read_contents(SqliteFile& file);
/// The newest entries with the right checksum, oldest first.
SqliteResult<std::vector<JournalEntry>> read_entries(SqliteFile& file, std::size_t limit);
/// The newest entries that match and have the right checksum, oldest first.
SqliteResult<std::vector<HistoryEntry>> read_history(SqliteFile& file, const HistoryQuery& query);
/// Makes what an older version's file lacks.
SqliteResult<> upgrade_schema(SqliteFile& file);
SqliteResult<> create_schema(SqliteFile& file, const std::string& self);

/// Changes that wait for the disk, merged record by record.
struct Batch {
    struct Owner {
        bool wipe = false;  // forget what is there before applying the rows
        bool gone = false;  // and keep nothing
        std::uint64_t generation = 0;
        std::map<std::string, std::optional<std::string>> rows;  // key -> data, nullopt: drop
    };
    std::map<std::string, Owner> owners;
    std::map<std::uint64_t, std::string> journal;  // id -> encoded entry
    struct History {
        std::int64_t wall_us = 0;
        std::string data;
    };
    std::map<std::uint64_t, History> history;  // by id
    std::uint64_t history_bytes = 0;

    [[nodiscard]] bool empty() const { return owners.empty() && journal.empty() && history.empty(); }
    void add(const Change& change);
    void replace(const NodeName& owner, const NodeConfig& config);
    void forget(const NodeName& owner);
    void append(const JournalEntry& entry);
    void append(const HistoryEntry& entry);
    /// Puts what could not be written back under what came later.
    void merge_older(Batch older);

  private:
    void bound_history();
};

/// Writes batches into an open file; knows the digest of each owner.
class RecordWriter {
  public:
    /// `history_us`: how long an entry of the history is kept.
    /// Takes the rows' checksums.
    static SqliteResult<std::unique_ptr<RecordWriter>> create(SqliteFile& file, Contents& contents,
                                                              std::int64_t history_us);
    /// One transaction. After an error nothing of the batch is in the file.
    SqliteResult<> write(const Batch& batch);
    /// The same inside a transaction that the caller began and ends; after an error the writer is of no more
    /// use.
    SqliteResult<> write_within(const Batch& batch);

  private:
    struct Digest {
        std::uint64_t sum = 0;
        std::unordered_map<std::string, std::uint32_t> checksums;
    };
    explicit RecordWriter(SqliteFile& file) : file_(file) {}
    SqliteResult<> write_owner(const std::string& name, const Batch::Owner& owner, Digest& digest);
    SqliteResult<> write_journal(const Batch& batch);
    SqliteResult<> write_history(const Batch& batch);
    SqliteResult<> trim_history(std::uint64_t newest_id, std::int64_t newest_us);

    struct Undo {
        std::string owner;
        std::string key;
        std::optional<std::uint32_t> checksum;
    };
    void set_checksum(const std::string& owner, Digest& digest, const std::string& key,
                      std::optional<std::uint32_t> checksum);

    SqliteFile& file_;
    std::map<std::string, Digest> digests_;
    std::vector<Undo> undo_;
    std::map<std::string, Digest> wiped_;
    std::optional<SqliteFile::Statement> put_;
    std::optional<SqliteFile::Statement> drop_;
    std::optional<SqliteFile::Statement> wipe_;
    std::optional<SqliteFile::Statement> put_node_;
    std::optional<SqliteFile::Statement> drop_node_;
    std::optional<SqliteFile::Statement> put_entry_;
    std::optional<SqliteFile::Statement> trim_;
    std::optional<SqliteFile::Statement> put_history_;
    std::optional<SqliteFile::Statement> oldest_history_;
    std::optional<SqliteFile::Statement> drop_history_;
    std::int64_t history_us_ = 0;
    std::uint64_t history_until_ = 0;
};

}  // namespace understudy::config
