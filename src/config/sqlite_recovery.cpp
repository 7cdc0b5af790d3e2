#include "config/sqlite_recovery.h"

#include "base/text.h"

#include <algorithm>
#include <filesystem>
#include <limits>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;

constexpr int kBackups = 2;
constexpr std::size_t kMaxDamagedFiles = 10;  // older ones are removed
constexpr std::int64_t kPageBytes = 4096;
constexpr const char* kSuffixes[] = {"", "-wal", "-shm", "-journal"};
/// A database that is made to replace a damaged one, until it is complete.
constexpr std::string_view kReplacement = ".new";
/// Age of the history while a new file is filled from an old one: the next commit judges it.
constexpr std::int64_t kKeepAll = std::numeric_limits<std::int64_t>::max() / 2;

SqliteResult<std::unique_ptr<SqliteFile>> open_configured(const std::string& path,
                                                          const SqliteStoreOptions& options) {
    UNDERSTUDY_SQL_TRY(auto file, SqliteFile::open(path, SqliteFile::Mode::create));
    const auto sql = fmt::format(
        "PRAGMA busy_timeout=1000;"
        "PRAGMA page_size={};"
        "PRAGMA journal_mode=WAL;"
        "PRAGMA synchronous=FULL;"
        "PRAGMA cell_size_check=ON;"
        "PRAGMA journal_size_limit=16777216;"
        "PRAGMA wal_autocheckpoint={};"
        "PRAGMA max_page_count={};",
        kPageBytes, options.checkpoint_pages, std::max<std::uint64_t>(options.max_bytes / kPageBytes, 1));
    UNDERSTUDY_SQL_CHECK(file->execute(sql.c_str()));
    return file;
}

/// Brings the tables to this version's form and tries whether everything that will be asked of them makes
/// sense.
SqliteResult<> make_usable(SqliteFile& file) {
    UNDERSTUDY_SQL_CHECK(upgrade_schema(file));
    Contents none;
    UNDERSTUDY_SQL_CHECK(RecordWriter::create(file, none, 0));
    UNDERSTUDY_SQL_CHECK(read_entries(file, 1));
    HistoryQuery newest;
    newest.limit = 1;
    UNDERSTUDY_SQL_CHECK(read_history(file, newest));
    return {};
}

/// Why the contents cannot be used as they are; empty when they can.
std::string problem_of(const Contents& contents, const std::string& self) {
    const auto own = contents.owners.find(self);
    if (own == contents.owners.end() || !own->second.complete)
        return "records are missing or do not belong together";
    std::size_t bad = 0;
    for (const auto& [owner, rows] : contents.owners)
        bad += rows.bad_keys.size() + (rows.complete ? 0 : 1);
    if (bad > 0) return fmt::format("{} records have a wrong checksum", bad);
    return {};
}

struct Source {
    std::string name;
    Contents contents;
    std::vector<JournalEntry> entries;
    std::vector<HistoryEntry> history;
};

/// What is readable of the journal and the history; they never keep a database from being used.
Source source_of(std::string name, SqliteFile& file, Contents contents) {
    Source source{std::move(name), std::move(contents), {}, {}};
    if (auto entries = read_entries(file, kMaxJournalEntries)) source.entries = std::move(*entries);
    HistoryQuery everything;
    everything.limit = kMaxHistoryAnswer;
    if (auto history = read_history(file, everything)) source.history = std::move(*history);
    return source;
}

std::optional<Source> read_backup(const std::string& path, const std::string& self) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) return std::nullopt;
    auto file = SqliteFile::open(path, SqliteFile::Mode::read_only);
    if (!file) return std::nullopt;
    auto contents = read_contents(**file);
    if (!contents || contents->empty || contents->self != self || !problem_of(*contents, self).empty())
        return std::nullopt;
    return source_of(path, **file, std::move(*contents));
}

/// The valid copy with the highest generation.
std::optional<Source> newest_backup(const std::string& path, const std::string& self) {
    std::optional<Source> best;
    for (int age = 0; age < kBackups; ++age) {
        auto source = read_backup(backup_path(path, age), self);
        if (source && (!best || source->contents.owners[self].config.generation >
                                    best->contents.owners[self].config.generation))
            best = std::move(source);
    }
    return best;
}

void make_uncertain(Instance& instance, std::string_view reason) {
    instance.state = State::illstate;
    instance.reason = reason;
    instance.reservation = Reservation::none;
    instance.reserving_pid = 0;
}

void make_all_uncertain(NodeConfig& config) {
    for (auto& [tag, instance] : config.instances)
        make_uncertain(instance, "state is not known: the configuration database was damaged");
}

/// Puts what the copy has in place of own rows that are not readable. Returns how many resources are
/// uncertain.
std::size_t mend(NodeConfig& own, const std::vector<std::string>& bad_keys, const NodeConfig* backup) {
    std::map<std::string, Edit> replacements;
    if (backup != nullptr)
        for (auto& edit : edits_of(*backup)) {
            auto key = record_key(edit);
            replacements.emplace(std::move(key), std::move(edit));
        }
    std::size_t uncertain = 0;
    for (const auto& key : bad_keys) {
        if (const auto at = replacements.find(key); at != replacements.end()) {
            auto edit = at->second;
            if (auto* put = std::get_if<PutInstance>(&edit)) {
                make_uncertain(put->instance, "its record was damaged; an older copy is used");
                ++uncertain;
            }
            config::apply(own, edit);
        } else if (key.starts_with(kInstanceKey)) {
            // Nothing but the name is left. It stays visible, so that somebody removes or re-creates it.
            const Tag tag(std::string_view(key).substr(1));
            if (!tag_problem(tag).empty() || own.find(tag) != nullptr) continue;
            Instance placeholder;
            placeholder.tag = tag;
            placeholder.id = ResourceId("damaged:" + tag.str());
            placeholder.init = Init::init_osu;
            make_uncertain(placeholder, "its record was damaged; remove it and create it again");
            config::apply(own, PutInstance{std::move(placeholder)});
            ++uncertain;
        }
    }
    return uncertain;
}

/// Relations whose resources are gone would mislead every walk over the hierarchy.
void drop_dangling(NodeConfig& config) {
    std::erase_if(config.dependencies, [&](const Dependency& each) {
        return !config.instances.contains(each.parent) || !config.instances.contains(each.child);
    });
    std::erase_if(config.equivalencies,
                  [&](const Equivalency& each) { return !config.instances.contains(each.tag); });
    config.reindex();
}

Result<std::string> move_aside(const std::string& path, std::int64_t wall_s) {
    std::error_code error;
    const auto base = fmt::format("{}.damaged-{}", path, wall_s);
    auto target = base;
    for (int i = 1; fs::exists(target, error) && i < 1000; ++i)
        target = fmt::format("{}.{}", base, i);
    bool moved = false;
    // The log and its index go with the file: beside a new one they would be read as its own.
    for (const auto* suffix : kSuffixes) {
        if (!fs::exists(path + suffix, error)) continue;
        fs::rename(path + suffix, target + suffix, error);
        if (error)
            return fail(Code::failure, "cannot move the damaged {} to {}: {}", path + suffix, target + suffix,
                        error.message());
        moved = true;
    }
    return moved ? target : std::string();
}

void remove_all_parts(const std::string& path) {
    std::error_code error;
    for (const auto* suffix : kSuffixes)
        fs::remove(path + suffix, error);
}

void remove_old_damaged_files(const std::string& path) {
    std::error_code error;
    const fs::path whole(path);
    const auto prefix = whole.filename().string() + ".damaged-";
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(whole.parent_path(), error)) {
        const auto name = entry.path().filename().string();
        if (name.starts_with(prefix) && !name.ends_with("-wal") && !name.ends_with("-shm") &&
            !name.ends_with("-journal"))
            found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    for (std::size_t i = 0; i + kMaxDamagedFiles < found.size(); ++i)
        remove_all_parts(found[i].string());
}

Result<Opened> make_new(const std::string& path, const std::string& self, const SqliteStoreOptions& options,
                        const Batch& first) {
    auto file = open_configured(path, options);
    if (!file) return fail(file.error().error);
    const auto fill = [&]() -> SqliteResult<Contents> {
        // Tables and contents appear together: a file without them is taken for a new one.
        UNDERSTUDY_SQL_CHECK((*file)->execute("BEGIN IMMEDIATE"));
        UNDERSTUDY_SQL_CHECK(create_schema(**file, self));
        Contents none;
        UNDERSTUDY_SQL_TRY(auto writer, RecordWriter::create(**file, none, kKeepAll));
        UNDERSTUDY_SQL_CHECK(writer->write_within(first));
        UNDERSTUDY_SQL_CHECK((*file)->execute("COMMIT"));
        return read_contents(**file);
    };
    auto contents = fill();
    if (!contents) return fail(contents.error().error);
    return Opened{std::move(*file), std::move(*contents), {}};
}

/// Fills a file beside the damaged one and puts it in its place when it is complete: whoever dies meanwhile
/// leaves the one or the other. `aside`: where the damaged one is then.
Result<Opened> replace(const std::string& path, const std::string& self, const SqliteStoreOptions& options,
                       const Batch& first, std::int64_t wall_s, std::string& aside) {
    const auto made = path + std::string(kReplacement);
    remove_all_parts(made);
    {
        // It is closed at the end, which copies its log into it.
        UNDERSTUDY_TRY(const auto filled, make_new(made, self, options, first));
    }
    std::error_code error;
    if (fs::exists(made + "-wal", error) && fs::file_size(made + "-wal", error) > 0)
        return fail(Code::failure, "cannot complete {}", made);
    UNDERSTUDY_TRY(aside, move_aside(path, wall_s));
    fs::rename(made, path, error);
    if (error) return fail(Code::failure, "cannot rename {} to {}: {}", made, path, error.message());
    auto file = open_configured(path, options);
    if (!file) return fail(file.error().error);
    auto contents = read_contents(**file);
    if (!contents) return fail(contents.error().error);
    return Opened{std::move(*file), std::move(*contents), {}};
}

/// What a node that died in replace() has left.
Result<> finish_replacement(const std::string& path, std::int64_t wall_s) {
    std::error_code error;
    const auto made = path + std::string(kReplacement);
    if (fs::exists(path, error)) {
        remove_all_parts(made);
        return {};
    }
    // A log without its file is what is left of one; a new file must not take it for its own.
    for (const auto* suffix : {"-wal", "-shm", "-journal"})
        if (fs::exists(path + suffix, error)) {
            UNDERSTUDY_CHECK(move_aside(path, wall_s));
            break;
        }
    if (!fs::exists(made, error)) return {};
    fs::rename(made, path, error);
    if (error) return fail(Code::failure, "cannot rename {} to {}: {}", made, path, error.message());
    return {};
}

Result<Opened> recover(const std::string& path, const std::string& self, const SqliteStoreOptions& options,
                       std::int64_t wall_s, std::string why, std::optional<Source> main) {
    auto backup = newest_backup(path, self);
    NodeConfig own;
    std::string used;
    std::size_t uncertain = 0;
    std::uint64_t generation = 0;
    std::uint64_t last_entry = 0;
    for (auto* source : {main ? &*main : nullptr, backup ? &*backup : nullptr}) {
        if (source == nullptr) continue;
        generation = std::max(generation, source->contents.owners[self].config.generation);
        last_entry = std::max(last_entry, source->contents.last_journal_id);
    }
    const bool mendable = main && main->contents.owners[self].complete;
    if (mendable) {
        auto& rows = main->contents.owners[self];
        own = std::move(rows.config);
        uncertain = mend(own, rows.bad_keys, backup ? &backup->contents.owners[self].config : nullptr);
        used = "its readable records";
        if (backup && !rows.bad_keys.empty()) used += fmt::format(" and {} for the others", backup->name);
    } else if (backup) {
        own = backup->contents.owners[self].config;
        make_all_uncertain(own);
        uncertain = own.instances.size();
        used = fmt::format("the copy {} of generation {}", backup->name, own.generation);
    } else if (main) {
        auto& rows = main->contents.owners[self];
        own = std::move(rows.config);
        mend(own, rows.bad_keys, nullptr);
        make_all_uncertain(own);
        uncertain = own.instances.size();
        used = "its readable records";
    } else {
        used = "an empty database, because there is no valid copy";
    }
    drop_dangling(own);
    own.generation = generation + kRecoveryLeap;

    Batch first;
    first.replace(NodeName(self), own);
    if (main)
        for (const auto& [owner, rows] : main->contents.owners)
            if (owner != self && rows.complete && rows.bad_keys.empty())
                first.replace(NodeName(owner), rows.config);
    const auto& entries_from = main && !main->entries.empty() ? main : backup;
    if (entries_from)
        for (const auto& entry : entries_from->entries)
            first.append(entry);
    const auto& history_from = main && !main->history.empty() ? main : backup;
    if (history_from)
        for (const auto& entry : history_from->history)
            first.append(entry);

    std::string aside;
    UNDERSTUDY_TRY(auto opened, replace(path, self, options, first, wall_s, aside));
    remove_old_damaged_files(path);
    opened.contents.last_journal_id = std::max(opened.contents.last_journal_id, last_entry) + kRecoveryLeap;
    opened.damage = fmt::format(
        "the configuration database was damaged ({}) and is replaced by {}{}; {} resources come up as "
        "ILLSTATE: "
        "compare ins_list, dep_list and eqv_list with the other nodes",
        why, used, aside.empty() ? "" : fmt::format("; the damaged file is {}", aside), uncertain);
    return opened;
}

}  // namespace

std::string backup_path(const std::string& path, int age) {
    return age == 0 ? path + ".backup" : fmt::format("{}.backup.{}", path, age);
}

Result<Opened> open_or_recover(const std::string& path, const std::string& self,
                               const SqliteStoreOptions& options, std::int64_t wall_s) {
    std::error_code ignored;
    UNDERSTUDY_CHECK(finish_replacement(path, wall_s));
    std::string why;
    std::optional<Source> main;
    {
        auto file = open_configured(path, options);
        if (!file && !file.error().damaged) return fail(file.error().error);
        if (file) {
            auto contents = read_contents(**file);
            if (!contents && !contents.error().damaged) return fail(contents.error().error);
            if (!contents) {
                why = contents.error().error.text;
            } else if (contents->empty) {
                const bool copies =
                    fs::exists(backup_path(path, 0), ignored) || fs::exists(backup_path(path, 1), ignored);
                if (copies && newest_backup(path, self)) why = path + " was missing or empty";
            } else if (contents->self != self) {
                return fail(
                    Code::internal,
                    "{} belongs to node {}, but this node is {}; rename the node back, or move the file away",
                    path, contents->self, self);
            } else {
                why = problem_of(*contents, self);
                if (why.empty()) {
                    const auto usable = make_usable(**file);
                    if (!usable && !usable.error().damaged) return fail(usable.error().error);
                    if (!usable) why = usable.error().error.text;
                }
                if (why.empty()) return Opened{std::move(*file), std::move(*contents), {}};
                main = source_of(path, **file, std::move(*contents));
            }
        } else {
            why = file.error().error.text;
        }
    }
    if (why.empty()) {
        Batch first;
        first.replace(NodeName(self), NodeConfig{});
        return make_new(path, self, options, first);
    }
    return recover(path, self, options, wall_s, std::move(why), std::move(main));
}

}  // namespace understudy::config
