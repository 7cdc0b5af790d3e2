// The database on disk: what survives crashes, full disks and a second daemon.

#include "config/sqlite_store_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

namespace understudy::config {
namespace {

namespace fs = std::filesystem;
using testing::edits_of_commit;
using testing::equivalency;
using ::testing::HasSubstr;
using testing::instance;
using testing::kSelf;
using testing::SqliteStoreTest;
using testing::state_after;
using testing::TestWorld;

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
