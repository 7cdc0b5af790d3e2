#pragma once
// The configuration database on disk: one SQLite file (write-ahead log, synchronous=FULL).
//
//   loop thread                          writer thread
//   write(change) --> pending rows  -->  one transaction a batch, in order  --> durable() posted to the loop
//                     (merged by key)    idle: copy of the file every minute when something changed
//
// Pending changes are merged record by record, so a stalled disk costs memory for each record once, not for
// each commit. What fails is merged back and goes with the next batch.
//
// Damage (Spec: CLU-090) is found by SQLite's own check, a checksum in each row, and a digest over all of a
// node's rows beside its generation. It never keeps the node from starting: the file is moved to
// `<path>.damaged-<time>`, what is readable or the newest valid copy is used, resources whose state is not
// certain come up as ILLSTATE, and the generation makes a leap so that peers pull instead of trusting theirs.
//
// Files: <path>, <path>-wal, <path>-shm, <path>.lock (who holds it is the one process that uses the
// database), <path>.backup, <path>.backup.1.
//
// Threading: all calls from the loop thread. Destroying it writes what is pending, makes a last copy, and
// ends the thread; it must go before the World.

#include "config/database.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace understudy::config {

/// The newest entries of the journal that are kept.
inline constexpr std::uint64_t kMaxJournalEntries = 20'000;
/// Generations and journal ids leap by this after damage: more than any copy can lag behind.
inline constexpr std::uint64_t kRecoveryLeap = 1'000'000;

struct SqliteStoreOptions {
    std::chrono::milliseconds backup_interval = std::chrono::minutes(1);
    std::uint64_t max_bytes = 1ULL << 30;  // the file never grows beyond this
    int checkpoint_pages = 1000;           // the log is copied into the file when it has so many
    std::chrono::hours history_age = std::chrono::hours(90 * 24);
};

class SqliteStore final : public Store {
  public:
    /// Opens or creates the database and its directory. Errors: another process uses it, it cannot be
    /// written.
    static Result<std::unique_ptr<SqliteStore>> open(runtime::World world, std::string path,
                                                     SqliteStoreOptions options = {});
    SqliteStore(const SqliteStore&) = delete;
    SqliteStore& operator=(const SqliteStore&) = delete;
    ~SqliteStore() override;

    /// Once, before everything else. Errors: the database belongs to another node; it cannot be written.
    Result<Loaded> load(const NodeName& self) override;
    void write(const Change& change, std::function<void(Result<>)> durable) override;
    void write_replica(const NodeName& owner, const NodeConfig& config) override;
    void drop_replica(const NodeName& owner) override;
    void advance_replica(const Change& change) override;
    void append(const JournalEntry& entry) override;
    void read_journal(std::size_t limit, std::function<void(std::vector<JournalEntry>)> done) override;
    void append_history(const HistoryEntry& entry) override;
    /// On a connection of its own and off the loop: a long search holds up no commit.
    void read_history(const HistoryQuery& query,
                      std::function<void(Result<std::vector<HistoryEntry>>)> done) override;

  private:
    struct Impl;
    explicit SqliteStore(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::config
