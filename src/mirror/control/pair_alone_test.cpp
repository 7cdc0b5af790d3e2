// A source that goes on without its target tells the cluster first, in the simulated world.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

// Spec: REP-079
TEST_F(PairTest, NoWriteIsAcknowledgedAloneBeforeTheClusterKnows) {
    create();
    pair.cluster.silent.insert("right");  // its node is alive, so it has to be told
    pair.cut();
    EXPECT_FALSE(pair.write(left, 3, 33, 5s));
    EXPECT_TRUE(pair.cluster.notes["right"].empty());
    pair.cluster.silent.clear();
    EXPECT_TRUE(pair.write(left, 5, 55, 2s));
    EXPECT_EQ(left.disk.blocks[3], 33);
    EXPECT_EQ(pair.cluster.notes["right"].size(), 1U);
}

// Spec: REP-079 REP-217, MOP-133
TEST_F(PairTest, AClusterThatCannotBeToldFailsTheWritesUntilItCan) {
    create();
    pair.cluster.silent.insert("right");
    pair.cut();
    EXPECT_FALSE(pair.write(left, 3, 33, 40s));
    EXPECT_FALSE(pair.write(left, 4, 44, 1s));
    EXPECT_EQ(left.disk.blocks[4], 0);
    const auto shown = pair.run(left, {"status", "R"});
    EXPECT_NE(shown.out.find("writes fail"), std::string::npos) << shown.out;
    pair.cluster.silent.clear();
    pair.sim.run_for(1s);
    EXPECT_TRUE(pair.write(left, 4, 45));
    const auto later = pair.run(left, {"status", "R"});
    EXPECT_EQ(later.out.find("writes fail"), std::string::npos) << later.out;
}

// Spec: REP-219
TEST_F(PairTest, WritesWaitForTheirOwnClusterDaemonLongerThanForOthers) {
    create();
    pair.cluster.silent.insert("left");  // its understudyd has died
    pair.cut();
    EXPECT_FALSE(pair.write(left, 3, 33, 200s));
    const auto shown = pair.run(left, {"status", "R"});
    EXPECT_NE(shown.out.find("writes wait until the cluster knows"), std::string::npos) << shown.out;
    pair.cluster.silent = {"right"};  // it is back, and needs a moment to find the others
    pair.sim.run_for(20s);
    EXPECT_EQ(left.disk.blocks[3], 0);
    pair.cluster.silent.clear();
    ASSERT_TRUE(pair.until([&] { return left.disk.blocks[3] == 33; }, 2s)) << "the write that waited goes on";
    EXPECT_EQ(pair.cluster.notes["right"].size(), 1U);
    EXPECT_TRUE(pair.write(left, 4, 44, 1s));
}

// Spec: REP-217, REP-219
TEST_F(PairTest, AClusterDaemonThatStaysAwayFailsTheWritesInTheEnd) {
    create();
    pair.cluster.silent.insert("left");
    pair.cut();
    EXPECT_FALSE(pair.write(left, 3, 33, 280s));
    EXPECT_EQ(pair.run(left, {"status", "R"}).out.find("writes fail"), std::string::npos);
    pair.sim.run_for(25s);
    EXPECT_NE(pair.run(left, {"status", "R"}).out.find("writes fail"), std::string::npos);
    EXPECT_FALSE(pair.write(left, 4, 44, 1s));
    pair.cluster.silent.clear();
    pair.sim.run_for(1s);
    EXPECT_TRUE(pair.write(left, 5, 55, 1s));
    EXPECT_EQ(left.disk.blocks[4], 0);
}

// Spec: REP-146, REP-219
TEST_F(PairTest, ASourceThatWasTakenOverFromWhileItsClusterDaemonWasAwayAcceptsNoWrite) {
    create();
    pair.cluster.silent.insert("left");
    pair.cut();
    EXPECT_FALSE(pair.write(left, 3, 33, 35s));
    pair.cluster.dead.insert("left");  // as the heartbeats of the others have found it
    expect_ok(pair.run(right, {"promote", "R"}, {{"peer-dead", ""}}));
    EXPECT_TRUE(pair.write(right, 5, 55, 2s));
    pair.cluster.dead.clear();
    pair.cluster.silent.clear();  // its understudyd is back; the mirror's network is not
    pair.sim.run_for(2s);
    EXPECT_EQ(left.disk.blocks[3], 0);
    EXPECT_FALSE(pair.write(left, 4, 44, 20s));
    EXPECT_EQ(left.disk.blocks[4], 0);
    const auto shown = pair.run(left, {"status", "R"});
    EXPECT_NE(shown.out.find("right has taken volume R over"), std::string::npos) << shown.out;
    EXPECT_TRUE(pair.write(right, 6, 66, 2s));
}

// Spec: REP-079 REP-152
TEST_F(PairTest, AnAsynchronousSourceTellsTheClusterButDoesNotWaitForIt) {
    create({{"type", "async"}});
    pair.cluster.silent.insert("right");
    pair.cut();
    EXPECT_TRUE(pair.write(left, 3, 33, 1s));
    pair.cluster.silent.clear();
    ASSERT_TRUE(pair.until([&] { return !pair.cluster.notes["right"].empty(); }));
    pair.power_off(left);
    pair.heal();
    expect_right_refused_as_behind();
}

// Spec: REP-079 REP-138
TEST_F(PairTest, ATargetThatTheClusterFindsDeadHoldsNoWriteUntilItsPingsAreMissed) {
    create();
    pair.wire.silent = true;
    pair.power_off(right);
    EXPECT_FALSE(pair.write(left, 3, 33, 1s));
    left.daemon->host->miss_answers();
    EXPECT_FALSE(pair.write(left, 4, 44, 1s));  // the heartbeats have not found it dead yet
    EXPECT_EQ(pair.cluster.questions, 1);
    EXPECT_TRUE(left.daemon->host->linked());
    pair.cluster.dead.insert("right");
    left.daemon->host->miss_answers();
    EXPECT_TRUE(pair.write(left, 5, 55, 200ms));
    EXPECT_FALSE(pair.generations(left).peer_may_hold_current);
    EXPECT_TRUE(pair.record(left).alone_noted);
    pair.cluster.dead.clear();
    pair.start(right);
    const auto sent = pair.wire.blocks_sent;
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, sent + 3);
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

// Spec: REP-095
TEST_F(PairTest, WithoutItsClusterDaemonASilentTargetIsLeftToThePings) {
    create();
    pair.wire.silent = true;
    pair.cluster.silent.insert("left");
    pair.cluster.dead.insert("right");
    pair.power_off(right);
    left.daemon->host->miss_answers();
    EXPECT_FALSE(pair.write(left, 3, 33, 1s));
    EXPECT_TRUE(left.daemon->host->linked());
    EXPECT_EQ(pair.peer(left).state, MirrorState::mirroring);
}

// Spec: REP-079
TEST_F(PairTest, AfterATakeoverTheFirstWriteWaitsForNobodyWhoIsDead) {
    create();
    pair.power_off(left);
    pair.cluster.dead.insert("left");
    expect_ok(pair.run(right, {"promote", "R"}, {{"peer-dead", ""}}));
    EXPECT_TRUE(pair.write(right, 3, 33, 100ms));
    EXPECT_EQ(pair.cluster.notes["right"].size(), 1U);
}

// Spec: REP-079
TEST_F(PairTest, ANodeThatWasDeadIsToldWhenItIsBack) {
    create();
    pair.cluster.dead.insert("right");
    pair.cut();
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_TRUE(pair.cluster.notes["right"].empty());
    pair.kill(left);  // who was told is forgotten with the process
    pair.start(left);
    pair.cluster.dead.clear();
    ASSERT_TRUE(pair.until([&] { return !pair.cluster.notes["right"].empty(); }));
    pair.power_off(left);
    pair.heal();
    expect_right_refused_as_behind();
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
