// The database on disk: what survives crashes, damage, full disks and a second daemon.

#include "config/sqlite_store.h"

#include "config/test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::equivalency;
using ::testing::HasSubstr;
using testing::instance;
using testing::TestWorld;

const NodeName kSelf("nodeA");

/// The state that a node has after its n-th commit, which follows from n alone.
std::vector<Edit> edits_of_commit(std::uint64_t n) {
    auto each = instance(fmt::format("t{}", n % 7));
    each.reason = fmt::format("commit {}", n);
    each.order = n % 7 + 1;
    std::vector<Edit> edits{PutInstance{each}};
    if (n % 3 == 0) edits.emplace_back(PutFlag{FlagName(fmt::format("f{}", n % 5))});
    if (n % 3 == 1) edits.emplace_back(DropFlag{FlagName(fmt::format("f{}", n % 5))});
    return edits;
}

NodeConfig state_after(std::uint64_t commits) {
    NodeConfig config;
    for (std::uint64_t n = 1; n <= commits; ++n)
        for (const auto& edit : edits_of_commit(n))
            config::apply(config, edit);
    config.generation = commits;
    return config;
}

class SqliteStoreTest : public ::testing::Test {
  protected:
    void SetUp() override {
        // Processes die in these tests, hosts do not: memory is as good as a disk, and quick.
        const auto* parent = fs::exists("/dev/shm") ? "/dev/shm" : "/tmp";
        std::string pattern = fmt::format("{}/understudy-store-XXXXXX", parent);
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        directory = pattern;
        path = directory + "/state/config.db";
    }
    void TearDown() override {
        store.reset();
        fs::remove_all(directory);
    }

    Store::Loaded open(SqliteStoreOptions options = {}) {
        store.reset();
        auto opened = SqliteStore::open(world.world(), path, options);
        EXPECT_TRUE(opened) << opened.error().text;
        store = std::move(*opened);
        auto loaded = store->load(kSelf);
        EXPECT_TRUE(loaded) << loaded.error().text;
        return std::move(*loaded);
    }
    Result<> write(const Change& change) {
        std::optional<Result<>> answer;
        store->write(change, [&](Result<> result) { answer = std::move(result); });
        EXPECT_TRUE(world.tasks.run_until([&] { return answer.has_value(); }));
        return answer.value_or(fail(Code::internal, "no answer"));
    }
    Result<> commit(std::uint64_t n) { return write({kSelf, n, edits_of_commit(n)}); }
    std::vector<JournalEntry> journal(std::size_t limit) {
        std::optional<std::vector<JournalEntry>> answer;
        store->read_journal(limit, [&](std::vector<JournalEntry> entries) { answer = std::move(entries); });
        EXPECT_TRUE(world.tasks.run_until([&] { return answer.has_value(); }));
        return answer.value_or(std::vector<JournalEntry>{});
    }
    /// Runs SQL on a file that no store has open.
    static void sql(const std::string& file, const std::string& text) {
        sqlite3* handle = nullptr;
        ASSERT_EQ(sqlite3_open(file.c_str(), &handle), SQLITE_OK);
        EXPECT_EQ(sqlite3_exec(handle, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
            << sqlite3_errmsg(handle);
        sqlite3_close(handle);
    }
    [[nodiscard]] std::vector<std::string> files_like(const std::string& part) const {
        std::vector<std::string> found;
        for (const auto& entry : fs::directory_iterator(fs::path(path).parent_path()))
            if (entry.path().filename().string().find(part) != std::string::npos)
                found.push_back(entry.path().filename().string());
        return found;
    }
    void overwrite(const std::string& file, std::uint64_t at, const std::string& bytes) {
        std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(static_cast<std::streamoff>(at));
        stream << bytes;
        ASSERT_TRUE(stream.good());
    }

    TestWorld world;
    std::string directory;
    std::string path;
    std::unique_ptr<SqliteStore> store;
};

TEST_F(SqliteStoreTest, ANewDatabaseIsEmptyAndUndamaged) {
    const auto loaded = open();
    EXPECT_EQ(loaded.own, NodeConfig{});
    EXPECT_TRUE(loaded.replicas.empty());
    EXPECT_EQ(loaded.damage, "");
    EXPECT_EQ(loaded.last_journal_id, 0U);
    EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

// Spec: CLU-002
TEST_F(SqliteStoreTest, EverythingOfAConfigComesBack) {
    open();
    Change change{
        kSelf,
        1,
        {PutApp{AppName("gen")}, PutType{{AppName("gen"), TypeName("app")}}, PutInstance{instance("parent")},
         PutInstance{instance("child")}, PutDependency{{Tag("parent"), Tag("child"), 9}},
         PutEquivalency{equivalency("child", "nodeB", 1, 10)}, PutSystem{kSelf}, PutFlag{FlagName("!f")},
         PutPath{Path{NodeName("nodeB"), "TCP:1500", "TLI", 1, 200, 3, "10.0.0.2", "10.0.0.1"}}}};
    // Dependencies come back in creation order, not in that of their names.
    for (const auto* child : {"z", "a", "m"}) {
        change.edits.emplace_back(PutInstance{instance(child)});
        change.edits.emplace_back(PutDependency{{Tag("parent"), Tag(child), change.edits.size() + 10}});
    }
    NodeConfig expected;
    for (const auto& edit : change.edits)
        config::apply(expected, edit);
    expected.generation = 1;
    ASSERT_TRUE(write(change));
    EXPECT_EQ(open().own, expected);
    ASSERT_TRUE(write({kSelf, 2, {DropDependency{Tag("parent"), Tag("child")}, DropFlag{FlagName("!f")}}}));
    config::apply(expected, DropDependency{Tag("parent"), Tag("child")});
    config::apply(expected, DropFlag{FlagName("!f")});
    expected.generation = 2;
    EXPECT_EQ(open().own, expected);
}

TEST_F(SqliteStoreTest, CommitsAreConfirmedInOrder) {
    open();
    std::vector<std::uint64_t> confirmed;
    for (std::uint64_t n = 1; n <= 200; ++n)
        store->write({kSelf, n, edits_of_commit(n)}, [&confirmed, n](Result<> result) {
            EXPECT_TRUE(result);
            confirmed.push_back(n);
        });
    ASSERT_TRUE(world.tasks.run_until([&] { return confirmed.size() == 200; }));
    EXPECT_TRUE(std::is_sorted(confirmed.begin(), confirmed.end()));
    EXPECT_EQ(open().own, state_after(200));
}

TEST_F(SqliteStoreTest, WhatIsPendingIsWrittenWhenItCloses) {
    open();
    for (std::uint64_t n = 1; n <= 50; ++n)
        store->write({kSelf, n, edits_of_commit(n)}, {});
    EXPECT_EQ(open().own, state_after(50));
}

TEST_F(SqliteStoreTest, CopiesOfPeersAreReplacedAdvancedAndDropped) {
    open();
    auto peer = state_after(10);
    store->write_replica(NodeName("nodeB"), peer);
    store->advance_replica({NodeName("nodeB"), 11, edits_of_commit(11)});
    store->write_replica(NodeName("nodeC"), state_after(3));
    auto loaded = open();
    EXPECT_EQ(loaded.replicas.at(NodeName("nodeB")), state_after(11));
    EXPECT_EQ(loaded.replicas.at(NodeName("nodeC")), state_after(3));
    store->write_replica(NodeName("nodeB"), state_after(2));
    store->drop_replica(NodeName("nodeC"));
    loaded = open();
    EXPECT_EQ(loaded.replicas.at(NodeName("nodeB")), state_after(2));
    EXPECT_EQ(loaded.replicas.size(), 1U);
    EXPECT_EQ(loaded.damage, "");
}

TEST_F(SqliteStoreTest, TheJournalKeepsItsNewestEntries) {
    open();
    constexpr std::uint64_t kExtra = 25;
    for (std::uint64_t id = 1; id <= kMaxJournalEntries + kExtra; ++id)
        store->append({id, 5, kSelf, 0, "engine", "t", fmt::format("entry {}", id)});
    auto entries = journal(3);
    ASSERT_EQ(entries.size(), 3U);
    EXPECT_EQ(entries[0].id, kMaxJournalEntries + kExtra - 2);  // oldest first
    EXPECT_EQ(entries[2].text, fmt::format("entry {}", kMaxJournalEntries + kExtra));
    EXPECT_EQ(journal(1'000'000).size(), kMaxJournalEntries);
    EXPECT_EQ(open().last_journal_id, kMaxJournalEntries + kExtra);
    EXPECT_EQ(journal(1'000'000).front().id, kExtra + 1);
    EXPECT_TRUE(journal(0).empty());
}

TEST_F(SqliteStoreTest, ASecondDaemonIsToldSo) {
    open();
    const auto second = SqliteStore::open(world.world(), path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::failure);
    EXPECT_THAT(second.error().text,
                HasSubstr("is used by another process; is understudyd running already?"));
    store.reset();
    EXPECT_TRUE(SqliteStore::open(world.world(), path));
}

TEST_F(SqliteStoreTest, ADaemonInAnotherProcessIsFoundToo) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    // Before the store has a thread: its child would find what that has locked locked for ever.
    const auto child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        char byte = 0;
        if (::read(ready[0], &byte, 1) != 1) _exit(2);
        TestWorld other;
        _exit(SqliteStore::open(other.world(), path) ? 1 : 0);
    }
    open();
    ASSERT_EQ(::write(ready[1], "o", 1), 1);
    for (const int end : ready)
        close(end);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(SqliteStoreTest, ADatabaseOfAnotherNodeIsNotTakenOver) {
    open();
    ASSERT_TRUE(commit(1));
    store.reset();
    auto opened = SqliteStore::open(world.world(), path);
    ASSERT_TRUE(opened);
    const auto loaded = (*opened)->load(NodeName("nodeZ"));
    ASSERT_FALSE(loaded);
    EXPECT_THAT(loaded.error().text, HasSubstr("belongs to node nodeA, but this node is nodeZ"));
    opened->reset();
    EXPECT_EQ(open().own, state_after(1));
}

TEST_F(SqliteStoreTest, AFormatOfTheFutureIsLeftAlone) {
    open();
    store.reset();
    sql(path, "PRAGMA user_version=99");
    auto opened = SqliteStore::open(world.world(), path);
    ASSERT_TRUE(opened);
    const auto loaded = (*opened)->load(kSelf);
    ASSERT_FALSE(loaded);
    EXPECT_THAT(loaded.error().text, HasSubstr("newer version"));
}

TEST_F(SqliteStoreTest, AFullDiskIsReportedAndNothingIsLostWhenThereIsSpaceAgain) {
    SqliteStoreOptions small;
    small.max_bytes = 40 * 4096;
    open(small);
    ASSERT_TRUE(commit(1));
    auto big = instance("big");
    big.info = std::string(60'000, 'x');
    Result<> result;
    std::uint64_t generation = 1;
    for (int i = 0; i < 10 && result; ++i) {
        big.tag = Tag(fmt::format("big{}", i));
        big.id = ResourceId(big.tag.str());
        result = write({kSelf, ++generation, {PutInstance{big}}});
    }
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::failure);
    EXPECT_THAT(result.error().text, HasSubstr("there is no space left; free some"));
    EXPECT_THAT(result.error().text, HasSubstr(path));
    // What could not be written goes away again, so the rest fits: the next write takes all of it along.
    std::vector<Edit> drops;
    for (int i = 0; i < 10; ++i)
        drops.emplace_back(DropInstance{Tag(fmt::format("big{}", i))});
    drops.emplace_back(PutFlag{FlagName("after")});
    EXPECT_TRUE(write({kSelf, ++generation, drops}));
    auto expected = state_after(1);
    config::apply(expected, PutFlag{FlagName("after")});
    expected.generation = generation;
    const auto loaded = open();
    EXPECT_EQ(loaded.own, expected);
    EXPECT_EQ(loaded.damage, "");
}

TEST_F(SqliteStoreTest, AnEmptyChangeRepeatsWhatFailed) {
    SqliteStoreOptions small;
    small.max_bytes = 30 * 4096;
    open(small);
    auto big = instance("big");
    big.info = std::string(60'000, 'x');
    auto bigger = instance("bigger");
    bigger.info = std::string(100'000, 'x');
    ASSERT_TRUE(write({kSelf, 1, {PutInstance{big}}}));
    ASSERT_FALSE(write({kSelf, 2, {PutInstance{bigger}, PutFlag{FlagName("f")}}}));
    EXPECT_FALSE(write({kSelf, 2, {}}));  // still no space, and still not forgotten
    ASSERT_TRUE(write({kSelf, 3, {DropInstance{Tag("bigger")}}}));
    EXPECT_TRUE(open().own.flags.contains(FlagName("f")));
}

TEST_F(SqliteStoreTest, WhereNothingCanBeMadeTheErrorSaysSo) {
    auto opened = SqliteStore::open(world.world(), "/proc/nowhere/config.db");
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().text, HasSubstr("/proc/nowhere"));
    fs::create_directories(path + ".lock");  // a directory in its place
    opened = SqliteStore::open(world.world(), path);
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().text, HasSubstr("does its directory exist, and may it be written?"));
}

/// Commits as fast as the disk allows and reports each durable generation through the pipe, until it is
/// killed.
[[noreturn]] void commit_until_killed(const std::string& path, int report, std::uint64_t start) {
    TestWorld world;
    SqliteStoreOptions options;
    options.backup_interval = std::chrono::milliseconds(1);  // copies are interrupted too
    auto store = SqliteStore::open(world.world(), path, options);
    if (!store) _exit(10);
    if (!(*store)->load(kSelf)) _exit(11);
    std::uint64_t written = start;
    std::uint64_t durable = start;
    while (true) {
        while (written < durable + 5) {
            const auto n = ++written;
            (*store)->write({kSelf, n, edits_of_commit(n)}, [n, report, &durable](Result<> result) {
                if (!result) _exit(12);
                durable = n;
                if (::write(report, &n, sizeof n) != sizeof n) _exit(13);
            });
        }
        const auto wanted = durable + 1;
        if (!world.tasks.run_until([&] { return durable >= wanted; })) _exit(14);
    }
}

// Spec: CMD-045, CLU-089
TEST_F(SqliteStoreTest, WhatWasConfirmedSurvivesAKillAtAnyMoment) {
    std::mt19937 random(20);
    std::uint64_t start = 0;
    for (int round = 0; round < 60; ++round) {
        int ends[2];
        ASSERT_EQ(pipe(ends), 0);
        const auto child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            close(ends[0]);
            commit_until_killed(path, ends[1], start);
        }
        close(ends[1]);
        // The kill falls at a random commit and a random moment within it.
        std::uint64_t last = start;
        const auto stop_after = start + 1 + random() % 40;
        while (last < stop_after)
            if (read(ends[0], &last, sizeof last) != sizeof last) break;
        for (unsigned spin = random() % 20'000; spin > 0; --spin)
            asm volatile("");
        kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << "exit code " << WEXITSTATUS(status);
        std::uint64_t each = 0;
        while (read(ends[0], &each, sizeof each) == sizeof each)
            last = each;
        close(ends[0]);

        const auto loaded = open();
        ASSERT_EQ(loaded.damage, "") << "round " << round;
        ASSERT_GE(loaded.own.generation, last) << "round " << round;
        ASSERT_EQ(loaded.own, state_after(loaded.own.generation)) << "round " << round;
        start = loaded.own.generation;
        store.reset();
    }
    EXPECT_GT(start, 60U);
}

HistoryEntry history_entry(std::uint64_t id, std::int64_t wall_us, const std::string& after) {
    return {id, wall_us, kSelf, id, {"root", kSelf, "ins_setst"}, {{"instance", "t", "", after}}, 0};
}

class StoredHistory : public SqliteStoreTest {
  protected:
    std::vector<std::uint64_t> ids(const HistoryQuery& query = {}) {
        std::optional<Result<std::vector<HistoryEntry>>> answer;
        store->read_history(query, [&](Result<std::vector<HistoryEntry>> entries) { answer = entries; });
        EXPECT_TRUE(world.tasks.run_until([&] { return answer.has_value(); }));
        std::vector<std::uint64_t> found;
        if (answer && *answer)
            for (const auto& entry : **answer)
                found.push_back(entry.id);
        return found;
    }
    void commit_with(const HistoryEntry& entry) {
        store->append_history(entry);
        ASSERT_TRUE(commit(entry.id));
    }
};

TEST_F(StoredHistory, EntriesComeBackAfterARestartAndIdsGoOn) {
    EXPECT_EQ(open().last_history_id, 0U);
    commit_with(history_entry(1, 100, "state=ISP"));
    commit_with(history_entry(2, 200, "state=OSU"));
    EXPECT_EQ(open().last_history_id, 2U);
    EXPECT_THAT(ids(), ElementsAre(1, 2));
    EXPECT_THAT(ids({.text = "osu"}), ElementsAre(2));
    EXPECT_THAT(ids({.until_us = 150}), ElementsAre(1));
    EXPECT_THAT(ids({.limit = 1}), ElementsAre(2)) << "the newest";
}

TEST_F(StoredHistory, AnEntryWithoutItsCommitIsNotKept) {
    open();
    commit_with(history_entry(1, 100, "state=ISP"));
    store->append_history(history_entry(2, 200, "state=OSU"));
    open();
    EXPECT_THAT(ids(), ElementsAre(1));
}

TEST_F(StoredHistory, OldEntriesGo) {
    SqliteStoreOptions options;
    options.history_age = std::chrono::hours(1);
    open(options);
    const std::int64_t hour = 3'600'000'000;
    commit_with(history_entry(1, 0, "a"));
    commit_with(history_entry(2, hour, "b"));
    EXPECT_THAT(ids(), ElementsAre(1, 2));
    commit_with(history_entry(3, hour + 1, "c"));
    EXPECT_THAT(ids(), ElementsAre(2, 3));
}

TEST_F(StoredHistory, ItsSizeIsBounded) {
    open();
    const std::uint64_t each = 1 << 20;
    const auto count = kMaxHistoryBytes / each + 8;
    for (std::uint64_t id = 1; id <= count; ++id)
        commit_with(history_entry(id, 0, std::string(each, 'x')));
    const auto kept = ids();
    EXPECT_EQ(kept.back(), count);
    EXPECT_LE(kept.size() * each, kMaxHistoryBytes);
    EXPECT_GE(kept.size() * each, kMaxHistoryBytes - 2 * each);
}

TEST_F(StoredHistory, AFileOfTheFirstFormatGetsAHistory) {
    open();
    ASSERT_TRUE(commit(1));
    store.reset();
    sql(path, "DROP TABLE history; PRAGMA user_version=1");
    const auto loaded = open();
    EXPECT_EQ(loaded.damage, "");
    EXPECT_EQ(loaded.own, state_after(1));
    commit_with(history_entry(2, 100, "state=ISP"));
    EXPECT_THAT(ids(), ElementsAre(2));
}

TEST_F(StoredHistory, ItOutlivesDamageOfTheRecords) {
    open();
    commit_with(history_entry(1, 100, "state=ISP"));
    store.reset();
    fs::remove(path + ".backup");
    sql(path, "UPDATE record SET data=x'ff' WHERE CAST(key AS TEXT)='it1'");
    EXPECT_NE(open().damage, "");
    EXPECT_THAT(ids(), ElementsAre(1));
}

class DamagedStore : public SqliteStoreTest {
  protected:
    /// Twelve commits, of which the copy has ten, and a clean end.
    void fill() {
        SqliteStoreOptions rarely;
        rarely.backup_interval = std::chrono::hours(1);
        open(rarely);
        for (std::uint64_t n = 1; n <= 10; ++n)
            ASSERT_TRUE(commit(n));
        store->append({7, 5, kSelf, 0, "engine", "t", "before"});
        open(rarely);  // closing made a copy
        for (std::uint64_t n = 11; n <= 12; ++n)
            ASSERT_TRUE(commit(n));
        // A child that is killed leaves the newer file beside the older copy.
        fs::copy_file(path + ".backup", path + ".kept");
        store.reset();
        fs::rename(path + ".kept", path + ".backup");
        fs::remove(path + ".backup.1");
    }
    void expect_moved_aside(const Store::Loaded& loaded) {
        EXPECT_THAT(loaded.damage, HasSubstr("the configuration database was damaged"));
        EXPECT_EQ(files_like("config.db.damaged-1700000000").size(), 1U);
        EXPECT_GT(loaded.own.generation, kRecoveryLeap);
        EXPECT_GT(loaded.last_journal_id, kRecoveryLeap);
        // It works from now on.
        const auto next = loaded.own.generation + 1;
        EXPECT_TRUE(write({kSelf, next, {PutFlag{FlagName("works")}}}));
        const auto again = open();
        EXPECT_EQ(again.damage, "");
        EXPECT_EQ(again.own.generation, next);
        EXPECT_TRUE(again.own.flags.contains(FlagName("works")));
    }
    static void expect_all_uncertain(const NodeConfig& own) {
        EXPECT_EQ(own.instances.size(), 7U);
        for (const auto& [tag, each] : own.instances)
            EXPECT_EQ(each.state, State::illstate) << tag.str();
    }
};

// Spec: CLU-090
TEST_F(DamagedStore, RubbishIsReplacedByTheCopy) {
    fill();
    overwrite(path, 0, std::string(8192, '\xa5'));
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr(".backup of generation 10"));
    expect_all_uncertain(loaded.own);
    EXPECT_EQ(loaded.own.flags, state_after(10).flags);
    ASSERT_FALSE(journal(10).empty());
    EXPECT_EQ(journal(10).front().text, "before");
    expect_moved_aside(loaded);
}

// Spec: CLU-090
TEST_F(DamagedStore, AMissingFileIsReplacedByTheCopy) {
    fill();
    fs::remove(path);
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr("was missing or empty"));
    expect_all_uncertain(loaded.own);
}

// Spec: CLU-090
TEST_F(DamagedStore, ARecordWithAWrongChecksumIsTakenFromTheCopyAndTheOthersStay) {
    fill();
    // t3 was last changed by commit 10, which the copy has too; t5 by commit 12, which it has not.
    sql(path,
        "UPDATE record SET data=CAST(replace(CAST(data AS TEXT), 'commit 10', 'commit 90') AS BLOB) "
        "WHERE CAST(key AS TEXT)='it3'");
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr("1 records have a wrong checksum"));
    const auto* mended = loaded.own.find(Tag("t3"));
    ASSERT_NE(mended, nullptr);
    EXPECT_EQ(mended->state, State::illstate);
    EXPECT_EQ(mended->app, AppName("gen"));
    const auto* other = loaded.own.find(Tag("t5"));
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(other->reason, "commit 12");
    EXPECT_EQ(other->state, State::osu);
    expect_moved_aside(loaded);
}

// Spec: CLU-090
TEST_F(DamagedStore, AnUnreadableInstanceWithoutACopyStaysVisible) {
    fill();
    fs::remove(path + ".backup");
    sql(path, "UPDATE record SET data=x'ff' WHERE CAST(key AS TEXT)='it3'");
    const auto loaded = open();
    const auto* placeholder = loaded.own.find(Tag("t3"));
    ASSERT_NE(placeholder, nullptr);
    EXPECT_EQ(placeholder->state, State::illstate);
    EXPECT_THAT(placeholder->reason, HasSubstr("was damaged"));
    EXPECT_EQ(loaded.own.instances.size(), 7U);
    expect_moved_aside(loaded);
}

TEST_F(DamagedStore, ALostRowIsFoundByTheDigest) {
    fill();
    sql(path, "DELETE FROM record WHERE CAST(key AS TEXT)='it3'");
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr("records are missing or do not belong together"));
    expect_all_uncertain(loaded.own);  // those of the copy
    expect_moved_aside(loaded);
}

// Spec: CLU-090
TEST_F(DamagedStore, ATableOfAnotherFormCountsAsDamage) {
    for (const auto* table : {"node", "record", "journal", "history", "meta"}) {
        SCOPED_TRACE(table);
        store.reset();
        fs::remove_all(fs::path(path).parent_path());
        fill();
        sql(path, fmt::format("PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql=replace(sql, 'crc', "
                              "'crd') WHERE name='{}';",
                              table));
        const auto loaded = open();
        EXPECT_NE(loaded.damage, "");
        EXPECT_EQ(loaded.own.instances.size(), 7U);
    }
}

TEST_F(DamagedStore, AnOlderCopyServesWhenTheNewerIsDamagedToo) {
    fill();
    fs::copy_file(path + ".backup", path + ".backup.1");
    overwrite(path, 0, std::string(4096, '\0'));
    overwrite(path + ".backup", 100, std::string(4096, '\x11'));
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr(".backup.1 of generation 10"));
    expect_all_uncertain(loaded.own);
}

TEST_F(DamagedStore, WithNothingLeftTheNodeStartsEmptyAndSaysSo) {
    fill();
    fs::remove(path + ".backup");
    overwrite(path, 0, std::string(8192, '\xa5'));
    const auto loaded = open();
    EXPECT_THAT(loaded.damage, HasSubstr("an empty database, because there is no valid copy"));
    EXPECT_TRUE(loaded.own.instances.empty());
    EXPECT_EQ(files_like("config.db.damaged-").size(), 1U);
}

TEST_F(DamagedStore, ALogWithoutItsFileIsNotTakenForThatOfANewOne) {
    fill();
    fs::remove(path);
    fs::remove(path + ".backup");
    std::ofstream(path + "-wal") << std::string(5000, 'w');
    const auto loaded = open();
    EXPECT_TRUE(loaded.own.instances.empty());
    EXPECT_EQ(files_like("config.db.damaged-1700000000-wal").size(), 1U);
}

TEST_F(DamagedStore, AtMostTenDamagedFilesAreKept) {
    fill();
    for (int i = 10; i < 30; ++i)
        std::ofstream(fmt::format("{}.damaged-16000000{}", path, i)) << "old";
    overwrite(path, 0, std::string(8192, '\xa5'));
    open();
    EXPECT_EQ(files_like("config.db.damaged-").size(), 10U);
    EXPECT_EQ(files_like("config.db.damaged-1700000000").size(), 1U);
}

// Spec: CLU-090
TEST_F(DamagedStore, NoFlippedByteKeepsTheNodeFromStartingOrGoesUnnoticedInARecord) {
    fill();
    const auto before = [this] {
        auto loaded = open();
        store.reset();
        return loaded.own;
    }();
    const auto size = fs::file_size(path);
    fs::copy_file(path, directory + "/good");
    fs::copy_file(path + ".backup", directory + "/good.backup");
    std::mt19937 random(4);
    for (int round = 0; round < 400; ++round) {
        fs::remove_all(fs::path(path).parent_path());
        fs::create_directories(fs::path(path).parent_path());
        fs::copy_file(directory + "/good", path);
        fs::copy_file(directory + "/good.backup", path + ".backup");
        const auto at = random() % size;
        overwrite(path, at, std::string(1 + random() % 64, static_cast<char>(random())));
        const auto loaded = open();
        if (loaded.damage.empty())
            ASSERT_EQ(loaded.own, before) << "offset " << at;
        else
            ASSERT_EQ(loaded.own.instances.size(), 7U) << "offset " << at << ": " << loaded.damage;
        ASSERT_TRUE(write({kSelf, loaded.own.generation + 1, {}}));
        store.reset();
    }
}

TEST_F(SqliteStoreTest, ACopyIsMadeWhileItRunsAndAnOlderOneIsKept) {
    SqliteStoreOptions often;
    often.backup_interval = std::chrono::milliseconds(1);
    open(often);
    for (std::uint64_t n = 1; n <= 3; ++n) {
        ASSERT_TRUE(commit(n));
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        auto generation = std::uint64_t{0};
        while (generation < n && std::chrono::steady_clock::now() < deadline) {
            sqlite3* handle = nullptr;
            sqlite3_stmt* statement = nullptr;
            if (sqlite3_open_v2((path + ".backup").c_str(), &handle, SQLITE_OPEN_READONLY, nullptr) ==
                    SQLITE_OK &&
                sqlite3_prepare_v2(handle, "SELECT generation FROM node", -1, &statement, nullptr) ==
                    SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_ROW)
                generation = static_cast<std::uint64_t>(sqlite3_column_int64(statement, 0));
            sqlite3_finalize(statement);
            sqlite3_close(handle);
        }
        ASSERT_EQ(generation, n);
    }
    EXPECT_TRUE(fs::exists(path + ".backup.1"));
}

}  // namespace
}  // namespace understudy::config
