#include "config/database.h"

#include "config/test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using ::testing::ElementsAre;
using testing::instance;
using testing::MemoryStore;
using testing::Shell;
using testing::TestWorld;

const NodeName kPeer("nodeB");

TEST(Database, ANewNodeKnowsItself) {
    Shell shell;
    EXPECT_TRUE(shell.database->own().systems.contains(NodeName("nodeA")));
    EXPECT_EQ(shell.database->of(NodeName("nodeA")), &shell.database->own());
    EXPECT_EQ(shell.database->of(kPeer), nullptr);
    TestWorld world;
    MemoryStore store;
    EXPECT_EQ(Database::open(world.world(), store, NodeName("")).error().code, Code::internal);
}

// Spec: CLU-095
TEST(Database, EachCommitIsOneGenerationOneWriteAndOneChange) {
    Shell shell;
    const auto before = shell.database->own().generation;
    std::vector<Change> told;
    shell.database->subscribe([&](const Change& change) { told.push_back(change); });
    shell.database->commit({PutFlag{FlagName("a")}, PutFlag{FlagName("b")}});
    EXPECT_EQ(shell.database->own().generation, before + 1);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].generation, before + 1);
    EXPECT_EQ(told[0].edits.size(), 2U);
    EXPECT_EQ(shell.store.written.back().generation, before + 1);

    shell.database->commit({});
    shell.database->set_flag(FlagName("a"), true);  // is there already
    shell.database->set_state(Tag("none"), State::isp, "");
    EXPECT_EQ(shell.database->own().generation, before + 1);
    EXPECT_EQ(told.size(), 1U);
}

TEST(Database, RecordsGetAscendingOrdersAndKeepThemWhenReplaced) {
    Shell shell;
    shell.database->commit({PutInstance{instance("a")}, PutInstance{instance("b")}});
    const auto first = shell.database->own().find(Tag("a"))->order;
    EXPECT_LT(first, shell.database->own().find(Tag("b"))->order);
    shell.database->commit({PutInstance{instance("a")}});
    EXPECT_EQ(shell.database->own().find(Tag("a"))->order, first);

    // After a restart new records come behind the old ones.
    MemoryStore store;
    store.loaded.own = shell.database->own();
    auto again = Database::open(shell.world.world(), store, NodeName("nodeA"));
    ASSERT_TRUE(again);
    (*again)->commit({PutInstance{instance("c")}});
    EXPECT_GT((*again)->own().find(Tag("c"))->order, (*again)->own().find(Tag("b"))->order);
}

TEST(Database, ACommitByASubscriberIsToldAfterTheOneItReactsTo) {
    Shell shell;
    std::vector<std::uint64_t> first;
    std::vector<std::uint64_t> second;
    shell.database->subscribe([&](const Change& change) {
        first.push_back(change.generation);
        if (!shell.database->has_flag(FlagName("reaction")))
            shell.database->set_flag(FlagName("reaction"), true);
    });
    shell.database->subscribe([&](const Change& change) { second.push_back(change.generation); });
    const auto base = shell.database->own().generation;
    shell.database->set_flag(FlagName("cause"), true);
    EXPECT_THAT(first, ElementsAre(base + 1, base + 2));
    EXPECT_EQ(second, first);
}

// Spec: CMD-045, CLU-089
TEST(Database, SyncWaitsForEverythingCommittedBeforeIt) {
    Shell shell;
    shell.store.automatic = false;
    shell.database->set_flag(FlagName("a"), true);
    shell.database->set_flag(FlagName("b"), true);
    std::vector<bool> done;
    shell.database->sync([&](Result<> result) { done.push_back(result.has_value()); });
    shell.database->set_flag(FlagName("c"), true);
    shell.store.confirm({});
    EXPECT_TRUE(done.empty());
    shell.store.confirm({});
    EXPECT_THAT(done, ElementsAre(true));
}

TEST(Database, SyncWithNothingToWriteWritesNothingAndAnswersLater) {
    Shell shell;
    const auto writes = shell.store.written.size();
    bool done = false;
    shell.database->sync([&](Result<> result) { done = result.has_value(); });
    EXPECT_FALSE(done);
    shell.world.tasks.run_ready();
    EXPECT_TRUE(done);
    EXPECT_EQ(shell.store.written.size(), writes);
}

TEST(Database, SyncReportsTheStoresErrorAndTriesAgain) {
    Shell shell;
    shell.store.automatic = false;
    shell.database->set_flag(FlagName("a"), true);
    shell.store.confirm(fail(Code::failure, "no space"));
    std::vector<Result<>> results;
    const auto keep = [&](Result<> result) { results.push_back(std::move(result)); };
    shell.database->sync(keep);
    ASSERT_EQ(shell.store.unconfirmed.size(), 1U);  // the second try
    EXPECT_TRUE(shell.store.written.back().edits.empty());
    shell.store.confirm(fail(Code::failure, "no space"));
    shell.database->sync(keep);
    shell.store.confirm({});
    ASSERT_EQ(results.size(), 2U);
    EXPECT_EQ(results[0].error().text, "no space");
    EXPECT_TRUE(results[1]);
}

TEST(Database, AStalledDiskIsAskedForABoundedNumberOfAnswers) {
    Shell shell;
    shell.store.automatic = false;
    for (std::uint64_t i = 0; i < 2 * kMaxUnconfirmedCommits; ++i)
        shell.database->set_flag(FlagName("f"), i % 2 == 0);
    EXPECT_EQ(shell.store.unconfirmed.size(), kMaxUnconfirmedCommits);
    EXPECT_EQ(shell.store.written.size(), 2 * kMaxUnconfirmedCommits + 1);  // nothing is held back
    bool done = false;
    shell.database->sync([&](Result<> result) { done = result.has_value(); });
    while (!shell.store.unconfirmed.empty())
        shell.store.confirm({});
    EXPECT_TRUE(done);
}

// Spec: CLU-095
TEST(Database, AChangeThatContinuesTheCopyIsAppliedAnyOtherIsNot) {
    Shell shell;
    EXPECT_FALSE(shell.database->apply_replica({kPeer, 1, {PutFlag{FlagName("x")}}}));  // never seen
    NodeConfig copy;
    copy.generation = 5;
    shell.database->replace_replica(kPeer, copy);
    std::vector<std::pair<NodeName, std::uint64_t>> told;
    shell.database->subscribe(
        [&](const Change& change) { told.emplace_back(change.owner, change.generation); });
    EXPECT_FALSE(shell.database->apply_replica({kPeer, 7, {PutFlag{FlagName("x")}}}));
    EXPECT_FALSE(shell.database->apply_replica({kPeer, 5, {PutFlag{FlagName("x")}}}));
    EXPECT_TRUE(shell.database->of(kPeer)->flags.empty());
    EXPECT_TRUE(shell.database->apply_replica({kPeer, 6, {PutFlag{FlagName("x")}}}));
    EXPECT_EQ(shell.database->of(kPeer)->generation, 6U);
    EXPECT_TRUE(shell.database->of(kPeer)->flags.contains(FlagName("x")));
    EXPECT_THAT(told, ElementsAre(std::pair(kPeer, 6U)));
    shell.database->drop_replica(kPeer);
    EXPECT_EQ(shell.database->of(kPeer), nullptr);
    EXPECT_THAT(shell.store.log, ElementsAre("write nodeB 5", "advance nodeB 6", "drop nodeB"));
}

TEST(Database, NobodyElseChangesWhatThisNodeOwns) {
    Shell shell;
    const auto before = shell.database->own();
    shell.database->apply_replica({NodeName("nodeA"), before.generation + 1, {PutFlag{FlagName("x")}}});
    shell.database->replace_replica(NodeName("nodeA"), NodeConfig{});
    EXPECT_EQ(shell.database->own(), before);
    EXPECT_TRUE(shell.database->replicas().empty());
}

TEST(Database, JournalIdsGoOnAfterARestart) {
    TestWorld world;
    MemoryStore store;
    store.loaded.last_journal_id = 41;
    auto database = Database::open(world.world(), store, NodeName("nodeA"));
    ASSERT_TRUE(database);
    std::vector<std::uint64_t> seen;
    (*database)->subscribe_journal([&](const JournalEntry& entry) { seen.push_back(entry.id); });
    (*database)->journal(120, "node", "nodeB", "nodeB is down");
    (*database)->journal(0, "path", "TCP:1500", "up");
    ASSERT_EQ(store.journal.size(), 2U);
    EXPECT_EQ(store.journal[0].id, 42U);
    EXPECT_EQ(store.journal[0].wall_us, 1'700'000'000'000'000);
    EXPECT_EQ(store.journal[0].node, NodeName("nodeA"));
    EXPECT_EQ(store.journal[0].event, 120);
    EXPECT_THAT(seen, ElementsAre(42U, 43U));
    std::vector<JournalEntry> read;
    (*database)->read_journal(1, [&](std::vector<JournalEntry> entries) { read = std::move(entries); });
    ASSERT_EQ(read.size(), 1U);
    EXPECT_EQ(read[0].id, 43U);
}

// Spec: CLU-090
TEST(Database, DamageIsKeptInTheJournal) {
    TestWorld world;
    MemoryStore store;
    store.loaded.damage = "it was damaged";
    auto database = Database::open(world.world(), store, NodeName("nodeA"));
    ASSERT_TRUE(database);
    EXPECT_EQ((*database)->damage(), "it was damaged");
    ASSERT_EQ(store.journal.size(), 1U);
    EXPECT_EQ(store.journal[0].text, "it was damaged");
}

// Spec: CLU-122
TEST(Database, StateReasonAndReservationAreSetTogether) {
    Shell shell;
    shell.database->commit({PutInstance{instance("t")}});
    shell.database->set_state(Tag("t"), State::isp, "restore action has succeeded");
    shell.database->set_reservation(Tag("t"), Reservation::remove, 77);
    const auto* found = shell.database->own().find(Tag("t"));
    EXPECT_EQ(found->state, State::isp);
    EXPECT_EQ(found->reason, "restore action has succeeded");
    EXPECT_EQ(found->reservation, Reservation::remove);
    EXPECT_EQ(found->reserving_pid, 77);
}

TEST(Database, AnAnswerAfterItsEndIsIgnored) {
    Shell shell;
    shell.store.automatic = false;
    shell.database->set_flag(FlagName("a"), true);
    bool called = false;
    shell.database->sync([&](Result<>) { called = true; });
    shell.database.reset();
    shell.store.confirm({});
    EXPECT_FALSE(called);
}

}  // namespace
}  // namespace understudy::config
