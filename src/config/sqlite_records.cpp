#include "config/sqlite_records.h"

#include "base/checksum.h"
#include "config/codec.h"
#include "config/sqlite_store.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace understudy::config {
namespace {

constexpr std::int64_t kFirstWithHistory = 2;
/// Entries of the history that one transaction drops at most: a clock that jumps ahead must not empty it.
constexpr int kTrimAtOnce = 64;
constexpr std::string_view kHistoryTable =
    "CREATE TABLE history (id INTEGER PRIMARY KEY, wall_us INTEGER NOT NULL, until INTEGER NOT NULL,"
    " data BLOB NOT NULL, crc INTEGER NOT NULL);";

tl::unexpected<SqliteError> damaged(const SqliteFile& file, std::string_view what) {
    return tl::unexpected<SqliteError>(
        SqliteError{Error{Code::failure, fmt::format("{}: {}", file.path(), what), 0}, true, false});
}

std::uint32_t checksum(std::initializer_list<std::string_view> columns) {
    std::uint32_t crc = 0;
    for (const auto column : columns) {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        const auto length = static_cast<std::uint64_t>(column.size());
        crc = crc32c(std::as_bytes(std::span(&length, 1)), crc);
        crc = crc32c(std::as_bytes(std::span(column.data(), column.size())), crc);
    }
    return crc;
}

std::uint32_t checksum(std::string_view name, std::uint64_t first, std::uint64_t second) {
    return checksum({name, std::to_string(first), std::to_string(second)});
}

std::uint64_t digest_part(std::uint32_t crc) {
    return (std::uint64_t{1} << 32) + crc;
}

std::string joined(char kind, std::initializer_list<std::string_view> parts) {
    std::string key(1, kind);
    for (const auto part : parts) {
        if (key.size() > 1) key += '\0';
        key += part;
    }
    return key;
}

struct KeyOf {
    std::string operator()(const PutApp& edit) const { return joined('a', {edit.app.str()}); }
    std::string operator()(const DropApp& edit) const { return joined('a', {edit.app.str()}); }
    std::string operator()(const PutType& edit) const {
        return joined('t', {edit.type.app.str(), edit.type.type.str()});
    }
    std::string operator()(const DropType& edit) const {
        return joined('t', {edit.type.app.str(), edit.type.type.str()});
    }
    std::string operator()(const PutInstance& edit) const {
        return joined(kInstanceKey, {edit.instance.tag.str()});
    }
    std::string operator()(const DropInstance& edit) const { return joined(kInstanceKey, {edit.tag.str()}); }
    std::string operator()(const PutDependency& edit) const {
        return joined('d', {edit.dependency.parent.str(), edit.dependency.child.str()});
    }
    std::string operator()(const DropDependency& edit) const {
        return joined('d', {edit.parent.str(), edit.child.str()});
    }
    std::string operator()(const PutEquivalency& edit) const {
        return joined('e', {edit.equivalency.tag.str(), edit.equivalency.other_node.str(),
                            edit.equivalency.other_tag.str()});
    }
    std::string operator()(const DropEquivalency& edit) const {
        return joined('e', {edit.tag.str(), edit.other_node.str(), edit.other_tag.str()});
    }
    std::string operator()(const PutSystem& edit) const { return joined('s', {edit.system.str()}); }
    std::string operator()(const DropSystem& edit) const { return joined('s', {edit.system.str()}); }
    std::string operator()(const PutFlag& edit) const { return joined('f', {edit.flag.str()}); }
    std::string operator()(const DropFlag& edit) const { return joined('f', {edit.flag.str()}); }
    std::string operator()(const PutPath& edit) const { return joined('p', {edit.path.device}); }
    std::string operator()(const DropPath& edit) const { return joined('p', {edit.device}); }
};

SqliteResult<std::int64_t> single_number(SqliteFile& file, std::string_view sql) {
    UNDERSTUDY_SQL_TRY(auto statement, file.prepare(sql));
    UNDERSTUDY_SQL_TRY(const bool row, statement.step());
    return row ? statement.integer(0) : 0;
}

SqliteResult<> check_structure(SqliteFile& file) {
    UNDERSTUDY_SQL_TRY(auto statement, file.prepare("PRAGMA quick_check(1)"));
    UNDERSTUDY_SQL_TRY(const bool row, statement.step());
    const auto verdict = row ? std::string(statement.blob(0)) : std::string("no answer from quick_check");
    if (verdict != "ok") return damaged(file, fmt::format("its structure is damaged: {}", verdict));
    return {};
}

SqliteResult<> read_records(SqliteFile& file, Contents& contents) {
    UNDERSTUDY_SQL_TRY(auto statement, file.prepare("SELECT owner, key, data, crc FROM record"));
    std::map<std::string, std::uint64_t> digests;
    OwnerRows* rows = nullptr;
    std::uint64_t* digest = nullptr;
    std::string owner;
    while (true) {
        UNDERSTUDY_SQL_TRY(const bool row, statement.step());
        if (!row) break;
        if (rows == nullptr || owner != statement.blob(0)) {
            owner = statement.blob(0);
            rows = &contents.owners[owner];
            digest = &digests[owner];
        }
        std::string key(statement.blob(1));
        const auto data = statement.blob(2);
        const auto crc = static_cast<std::uint32_t>(statement.integer(3));
        auto edit = decode_edit(data);
        if (crc != checksum({owner, key, data}) || !edit || is_drop(*edit) || record_key(*edit) != key) {
            rows->bad_keys.push_back(key);
        } else {
            config::load(rows->config, std::move(*edit));
            *digest += record_hash(data);
        }
        rows->checksums.insert_or_assign(std::move(key), crc);
    }
    const auto by_order = [](const auto& a, const auto& b) { return a.order < b.order; };
    for (auto& [name, read] : contents.owners) {
        auto& config = read.config;
        std::stable_sort(config.dependencies.begin(), config.dependencies.end(), by_order);
        std::stable_sort(config.equivalencies.begin(), config.equivalencies.end(), by_order);
        config.reindex(digests[name]);
    }
    return {};
}

SqliteResult<> read_nodes(SqliteFile& file, Contents& contents) {
    UNDERSTUDY_SQL_TRY(auto statement, file.prepare("SELECT owner, generation, digest, crc FROM node"));
    while (true) {
        UNDERSTUDY_SQL_TRY(const bool row, statement.step());
        if (!row) return {};
        const std::string owner(statement.blob(0));
        const auto generation = static_cast<std::uint64_t>(statement.integer(1));
        const auto digest = static_cast<std::uint64_t>(statement.integer(2));
        if (static_cast<std::uint32_t>(statement.integer(3)) != checksum(owner, generation, digest)) continue;
        auto& rows = contents.owners[owner];
        std::uint64_t sum = 0;
        for (const auto& [key, crc] : rows.checksums)
            sum += digest_part(crc);
        rows.config.generation = generation;
        rows.complete = sum == digest;
    }
}

}  // namespace

std::string record_key(const Edit& edit) {
    return std::visit(KeyOf{}, edit);
}

bool is_drop(const Edit& edit) {
    return std::holds_alternative<DropApp>(edit) || std::holds_alternative<DropType>(edit) ||
           std::holds_alternative<DropInstance>(edit) || std::holds_alternative<DropDependency>(edit) ||
           std::holds_alternative<DropEquivalency>(edit) || std::holds_alternative<DropSystem>(edit) ||
           std::holds_alternative<DropFlag>(edit) || std::holds_alternative<DropPath>(edit);
}

SqliteResult<Contents> read_contents(SqliteFile& file) {
    Contents contents;
    UNDERSTUDY_SQL_TRY(const auto tables, single_number(file, "SELECT count(*) FROM sqlite_master"));
    UNDERSTUDY_SQL_TRY(const auto version, single_number(file, "PRAGMA user_version"));
    if (tables == 0 && version == 0) {
        contents.empty = true;
        return contents;
    }
    UNDERSTUDY_SQL_CHECK(check_structure(file));
    UNDERSTUDY_SQL_TRY(const auto application, single_number(file, "PRAGMA application_id"));
    if (application != kApplicationId) return damaged(file, "it is not a configuration database");
    if (version > kSchemaVersion)
        return tl::unexpected<SqliteError>(SqliteError{
            Error{
                Code::internal,
                fmt::format(
                    "{}: it was written by a newer version (format {}, this one knows {}); upgrade this node",
                    file.path(), version, kSchemaVersion),
                0},
            false, false});
    {
        UNDERSTUDY_SQL_TRY(auto self, file.prepare("SELECT value, crc FROM meta WHERE name='self'"));
        UNDERSTUDY_SQL_TRY(const bool row, self.step());
        if (row && static_cast<std::uint32_t>(self.integer(1)) == checksum({"self", self.blob(0)}))
            contents.self = std::string(self.blob(0));
    }
    if (contents.self.empty()) return damaged(file, "it does not say whose database it is");
    UNDERSTUDY_SQL_CHECK(read_records(file, contents));
    UNDERSTUDY_SQL_CHECK(read_nodes(file, contents));
    UNDERSTUDY_SQL_TRY(const auto last, single_number(file, "SELECT max(id) FROM journal"));
    contents.last_journal_id = static_cast<std::uint64_t>(std::max<std::int64_t>(last, 0));
    if (version >= kFirstWithHistory) {
        UNDERSTUDY_SQL_TRY(auto newest,
                           file.prepare("SELECT id, until FROM history ORDER BY id DESC LIMIT 1"));
        UNDERSTUDY_SQL_TRY(const bool row, newest.step());
        contents.last_history_id = row ? static_cast<std::uint64_t>(newest.integer(0)) : 0;
        contents.history_until = row ? static_cast<std::uint64_t>(newest.integer(1)) : 0;
    }
    return contents;
}

SqliteResult<std::vector<JournalEntry>> read_entries(SqliteFile& file, std::size_t limit) {
    std::vector<JournalEntry> entries;
    UNDERSTUDY_SQL_TRY(auto statement,
                       file.prepare("SELECT id, data, crc FROM journal ORDER BY id DESC LIMIT ?1"));
    statement.bind(1, static_cast<std::int64_t>(std::min<std::uint64_t>(limit, kMaxJournalEntries)));
    while (true) {
        UNDERSTUDY_SQL_TRY(const bool row, statement.step());
        if (!row) break;
        const auto data = statement.blob(1);
        if (static_cast<std::uint32_t>(statement.integer(2)) !=
            checksum({std::to_string(statement.integer(0)), data}))
            continue;
        if (auto entry = decode_journal(data)) entries.push_back(std::move(*entry));
    }
    std::reverse(entries.begin(), entries.end());
    return entries;
}

SqliteResult<std::vector<HistoryEntry>> read_history(SqliteFile& file, const HistoryQuery& query) {
    std::vector<HistoryEntry> entries;
    UNDERSTUDY_SQL_TRY(auto statement,
                       file.prepare("SELECT id, data, crc FROM history WHERE wall_us>=?1 AND wall_us<=?2"
                                    " ORDER BY id DESC"));
    statement.bind(1, query.since_us)
        .bind(2, query.until_us == 0 ? std::numeric_limits<std::int64_t>::max() : query.until_us);
    while (entries.size() < std::min(query.limit, kMaxHistoryAnswer)) {
        UNDERSTUDY_SQL_TRY(const bool row, statement.step());
        if (!row) break;
        const auto data = statement.blob(1);
        if (static_cast<std::uint32_t>(statement.integer(2)) !=
            checksum({std::to_string(statement.integer(0)), data}))
            continue;
        if (auto entry = decode_history(data); entry && matches(*entry, query))
            entries.push_back(std::move(*entry));
    }
    std::reverse(entries.begin(), entries.end());
    return entries;
}

SqliteResult<> upgrade_schema(SqliteFile& file) {
    UNDERSTUDY_SQL_TRY(const auto version, single_number(file, "PRAGMA user_version"));
    if (version >= kSchemaVersion) return {};
    return file.execute(
        fmt::format("BEGIN IMMEDIATE; {} PRAGMA user_version={}; COMMIT;", kHistoryTable, kSchemaVersion)
            .c_str());
}

SqliteResult<> create_schema(SqliteFile& file, const std::string& self) {
    const auto sql = fmt::format(
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE node (owner BLOB PRIMARY KEY, generation INTEGER NOT NULL, digest INTEGER NOT NULL,"
        " crc INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE record (owner BLOB NOT NULL, key BLOB NOT NULL, data BLOB NOT NULL, crc INTEGER NOT "
        "NULL,"
        " PRIMARY KEY (owner, key)) WITHOUT ROWID;"
        "CREATE TABLE journal (id INTEGER PRIMARY KEY, data BLOB NOT NULL, crc INTEGER NOT NULL);"
        "{}"
        "PRAGMA application_id={};"
        "PRAGMA user_version={};",
        kHistoryTable, kApplicationId, kSchemaVersion);
    UNDERSTUDY_SQL_CHECK(file.execute(sql.c_str()));
    UNDERSTUDY_SQL_TRY(auto put, file.prepare("INSERT INTO meta VALUES ('self', ?1, ?2)"));
    put.bind(1, self).bind(2, static_cast<std::int64_t>(checksum({"self", self})));
    return put.run();
}

void Batch::add(const Change& change) {
    auto& owner = owners[change.owner.str()];
    owner.gone = false;
    owner.generation = change.generation;
    for (const auto& edit : change.edits)
        owner.rows[record_key(edit)] = is_drop(edit) ? std::nullopt : std::optional(encode(edit));
}

void Batch::replace(const NodeName& owner, const NodeConfig& config) {
    auto& entry = owners[owner.str()];
    entry = {};
    entry.wipe = true;
    entry.generation = config.generation;
    for (const auto& edit : edits_of(config))
        entry.rows[record_key(edit)] = encode(edit);
}

void Batch::forget(const NodeName& owner) {
    auto& entry = owners[owner.str()];
    entry = {};
    entry.wipe = true;
    entry.gone = true;
}

void Batch::append(const JournalEntry& entry) {
    journal[entry.id] = encode(entry);
    // The table keeps no more than this either, so nothing is lost that would have stayed.
    while (journal.size() > kMaxJournalEntries)
        journal.erase(journal.begin());
}

void Batch::append(const HistoryEntry& entry) {
    auto data = encode(entry);
    history_bytes += data.size();
    history[entry.id] = {entry.wall_us, std::move(data)};
    bound_history();
}

void Batch::bound_history() {
    // The table keeps no more than this either.
    while (history.size() > kMaxHistoryEntries || history_bytes > kMaxHistoryBytes) {
        history_bytes -= history.begin()->second.data.size();
        history.erase(history.begin());
    }
}

void Batch::merge_older(Batch older) {
    for (auto& [name, old] : older.owners) {
        const auto [at, added] = owners.try_emplace(name, std::move(old));
        if (added || at->second.wipe) continue;
        auto& newer = at->second;
        newer.wipe = old.wipe;
        newer.rows.merge(old.rows);
    }
    journal.merge(older.journal);
    while (journal.size() > kMaxJournalEntries)
        journal.erase(journal.begin());
    history.merge(older.history);
    history_bytes += older.history_bytes;
    bound_history();
}

SqliteResult<std::unique_ptr<RecordWriter>> RecordWriter::create(SqliteFile& file, Contents& contents,
                                                                 std::int64_t history_us) {
    std::unique_ptr<RecordWriter> writer(new RecordWriter(file));
    writer->history_us_ = history_us;
    writer->history_until_ = contents.history_until;
    for (auto& [owner, rows] : contents.owners) {
        auto& digest = writer->digests_[owner];
        digest.checksums = std::move(rows.checksums);
        for (const auto& [key, crc] : digest.checksums)
            digest.sum += digest_part(crc);
    }
    const auto prepare = [&file](std::optional<SqliteFile::Statement>& into,
                                 std::string_view sql) -> SqliteResult<> {
        UNDERSTUDY_SQL_TRY(auto statement, file.prepare(sql));
        into.emplace(std::move(statement));
        return {};
    };
    UNDERSTUDY_SQL_CHECK(prepare(writer->put_, "INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3, ?4)"));
    UNDERSTUDY_SQL_CHECK(prepare(writer->drop_, "DELETE FROM record WHERE owner=?1 AND key=?2"));
    UNDERSTUDY_SQL_CHECK(prepare(writer->wipe_, "DELETE FROM record WHERE owner=?1"));
    UNDERSTUDY_SQL_CHECK(prepare(writer->put_node_, "INSERT OR REPLACE INTO node VALUES (?1, ?2, ?3, ?4)"));
    UNDERSTUDY_SQL_CHECK(prepare(writer->drop_node_, "DELETE FROM node WHERE owner=?1"));
    UNDERSTUDY_SQL_CHECK(prepare(writer->put_entry_, "INSERT OR REPLACE INTO journal VALUES (?1, ?2, ?3)"));
    UNDERSTUDY_SQL_CHECK(prepare(writer->trim_, "DELETE FROM journal WHERE id<=?1"));
    UNDERSTUDY_SQL_CHECK(
        prepare(writer->put_history_, "INSERT OR REPLACE INTO history VALUES (?1, ?2, ?3, ?4, ?5)"));
    UNDERSTUDY_SQL_CHECK(
        prepare(writer->oldest_history_, "SELECT id, wall_us, until FROM history ORDER BY id LIMIT ?1"));
    UNDERSTUDY_SQL_CHECK(prepare(writer->drop_history_, "DELETE FROM history WHERE id<=?1"));
    return writer;
}

void RecordWriter::set_checksum(const std::string& owner, Digest& digest, const std::string& key,
                                std::optional<std::uint32_t> crc) {
    const auto at = digest.checksums.find(key);
    std::optional<std::uint32_t> before;
    if (at != digest.checksums.end()) before = at->second;
    undo_.push_back({owner, key, before});
    if (before) digest.sum -= digest_part(*before);
    if (crc) {
        digest.sum += digest_part(*crc);
        digest.checksums[key] = *crc;
    } else if (before) {
        digest.checksums.erase(at);
    }
}

SqliteResult<> RecordWriter::write_owner(const std::string& name, const Batch::Owner& owner, Digest& digest) {
    if (owner.wipe) UNDERSTUDY_SQL_CHECK(wipe_->bind(1, name).run());
    if (owner.gone) return drop_node_->bind(1, name).run();
    for (const auto& [key, data] : owner.rows) {
        if (!data) {
            UNDERSTUDY_SQL_CHECK(drop_->bind(1, name).bind(2, key).run());
            set_checksum(name, digest, key, std::nullopt);
            continue;
        }
        const auto crc = checksum({name, key, *data});
        put_->bind(1, name).bind(2, key).bind(3, *data).bind(4, static_cast<std::int64_t>(crc));
        UNDERSTUDY_SQL_CHECK(put_->run());
        set_checksum(name, digest, key, crc);
    }
    put_node_->bind(1, name)
        .bind(2, static_cast<std::int64_t>(owner.generation))
        .bind(3, static_cast<std::int64_t>(digest.sum))
        .bind(4, static_cast<std::int64_t>(checksum(name, owner.generation, digest.sum)));
    return put_node_->run();
}

SqliteResult<> RecordWriter::write_journal(const Batch& batch) {
    if (batch.journal.empty()) return {};
    for (const auto& [id, data] : batch.journal) {
        put_entry_->bind(1, static_cast<std::int64_t>(id))
            .bind(2, data)
            .bind(3, static_cast<std::int64_t>(checksum({std::to_string(id), data})));
        UNDERSTUDY_SQL_CHECK(put_entry_->run());
    }
    const auto newest = batch.journal.rbegin()->first;
    if (newest <= kMaxJournalEntries) return {};
    return trim_->bind(1, static_cast<std::int64_t>(newest - kMaxJournalEntries)).run();
}

SqliteResult<> RecordWriter::write_history(const Batch& batch) {
    if (batch.history.empty()) return {};
    for (const auto& [id, entry] : batch.history) {
        history_until_ += entry.data.size();
        put_history_->bind(1, static_cast<std::int64_t>(id))
            .bind(2, entry.wall_us)
            .bind(3, static_cast<std::int64_t>(history_until_))
            .bind(4, entry.data)
            .bind(5, static_cast<std::int64_t>(checksum({std::to_string(id), entry.data})));
        UNDERSTUDY_SQL_CHECK(put_history_->run());
    }
    const auto& [newest, entry] = *batch.history.rbegin();
    return trim_history(newest, entry.wall_us);
}

SqliteResult<> RecordWriter::trim_history(std::uint64_t newest_id, std::int64_t newest_us) {
    std::int64_t through = 0;
    oldest_history_->bind(1, std::int64_t{kTrimAtOnce});
    while (true) {
        auto row = oldest_history_->step();
        if (!row || !*row) {
            oldest_history_->reset();
            if (!row) return tl::unexpected<SqliteError>(std::move(row.error()));
            break;
        }
        const auto id = oldest_history_->integer(0);
        const bool too_many = newest_id - static_cast<std::uint64_t>(id) >= kMaxHistoryEntries;
        const bool too_large =
            history_until_ - static_cast<std::uint64_t>(oldest_history_->integer(2)) > kMaxHistoryBytes;
        const bool too_old = newest_us - oldest_history_->integer(1) > history_us_;
        if (!too_many && !too_large && !too_old) {
            oldest_history_->reset();
            break;
        }
        through = id;
    }
    if (through == 0) return {};
    return drop_history_->bind(1, through).run();
}

SqliteResult<> RecordWriter::write_within(const Batch& batch) {
    undo_.clear();
    wiped_.clear();
    for (const auto& [name, owner] : batch.owners) {
        auto& digest = digests_[name];
        if (owner.wipe) wiped_[name] = std::exchange(digest, {});
        UNDERSTUDY_SQL_CHECK(write_owner(name, owner, digest));
    }
    UNDERSTUDY_SQL_CHECK(write_journal(batch));
    return write_history(batch);
}

SqliteResult<> RecordWriter::write(const Batch& batch) {
    UNDERSTUDY_SQL_CHECK(file_.execute("BEGIN IMMEDIATE"));
    const auto until = history_until_;
    auto written = write_within(batch);
    if (written) written = file_.execute("COMMIT");
    if (written) {
        for (const auto& [name, owner] : batch.owners)
            if (owner.gone) digests_.erase(name);
        return written;
    }
    // A full disk may have rolled the transaction back already; then this fails, which is what we want.
    (void)file_.execute("ROLLBACK");
    history_until_ = until;
    for (auto at = undo_.rbegin(); at != undo_.rend(); ++at) {
        auto& digest = digests_[at->owner];
        const auto current = digest.checksums.find(at->key);
        if (current != digest.checksums.end()) {
            digest.sum -= digest_part(current->second);
            digest.checksums.erase(current);
        }
        if (at->checksum) {
            digest.sum += digest_part(*at->checksum);
            digest.checksums[at->key] = *at->checksum;
        }
    }
    for (auto& [name, digest] : wiped_)
        digests_[name] = std::move(digest);
    return written;
}

}  // namespace understudy::config
