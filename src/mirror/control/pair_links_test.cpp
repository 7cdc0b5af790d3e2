// How a mirror lives with broken connections, lost links, pauses and daemons that end, in the simulated
// world.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

// Spec: REP-041
TEST_F(PairTest, APeerOfAnOlderBuildIsMirroredToWithoutTheFeaturesThatItLacks) {
    pair.kill(right);
    right.offer = {};
    pair.start(right);
    create();
    ASSERT_EQ(pair.wire.sessions.size(), 1U);
    EXPECT_EQ(pair.wire.sessions.begin()->second.features, 0U);
    EXPECT_TRUE(pair.write(left, 3, 42));
    // Upgraded, the next session has them; then the source is the older one.
    pair.kill(right);
    right.offer = mirror::wire::offer_of_this_build();
    pair.start(right);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.sessions.begin()->second.features, mirror::wire::kAllFeatures);
    pair.kill(right);
    right.offer = {7, 9, 0};  // of a far release: nothing in common, and both sides say so
    pair.start(right);
    ASSERT_TRUE(pair.until([&] { return !left.daemon->host->linked(); }));
    pair.sim.run_for(5s);
    EXPECT_FALSE(pair.in_sync());
    const auto status = pair.run(left, {"status", "R"});
    EXPECT_NE(status.out.find("install the same release on both nodes"), std::string::npos) << status.out;
    EXPECT_TRUE(pair.write(left, 3, 43)) << "the source goes on alone";
}

// Spec: REP-096
TEST_F(PairTest, BrokenConnectionsAreReplacedWithoutAResyncOrANewGeneration) {
    create();
    const auto generation = pair.generations(left).current;
    const auto sent = pair.wire.blocks_sent;
    pair.reset();
    EXPECT_TRUE(pair.write(left, 3, 42));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, sent);
    EXPECT_EQ(pair.generations(left).current, generation);
    EXPECT_TRUE(pair.generations(left).peer_may_hold_current);
    EXPECT_EQ(pair.cluster.posts, 0);
    EXPECT_EQ(right.disk.blocks[3], 42);
    for (int i = 0; i < 5; ++i) {  // again and again, also while the links are being replaced
        pair.reset();
        pair.sim.run_for(1ms);
        pair.reset();
        EXPECT_TRUE(pair.write(left, 4, 50 + i));
    }
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, sent);
    EXPECT_EQ(right.disk.blocks[4], 54);
}

// Spec: REP-096, REP-164, REP-206
TEST_F(PairTest, ATargetWhoseDaemonEndedIsNotWaitedFor) {
    create();
    pair.kill(right);
    pair.reset();
    EXPECT_TRUE(pair.write(left, 3, 42, 2s)) << "a refusal ends the wait at once";
    EXPECT_FALSE(pair.generations(left).peer_may_hold_current);
    pair.start(right);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks[3], 42);
}

// Spec: REP-096, REP-079
TEST_F(PairTest, ANetworkThatStaysSilentIsWaitedForNoLongerThanADetectionInterval) {
    create();
    pair.sim.partition("left", "right");
    pair.reset();
    EXPECT_FALSE(pair.write(left, 3, 42, 25s));
    EXPECT_TRUE(pair.generations(left).peer_may_hold_current);
    ASSERT_TRUE(pair.until([&] { return !pair.generations(left).peer_may_hold_current; }, 10s));
    EXPECT_TRUE(pair.write(left, 5, 43));
    pair.sim.heal_all();
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks[3], 42);
    // Known dead by the cluster, it is not waited for at all.
    pair.sim.partition("left", "right");
    pair.cluster.dead.insert("right");
    pair.reset();
    left.daemon->host->miss_answers();
    EXPECT_TRUE(pair.write(left, 6, 44, 2s));
}

// Spec: REP-096
TEST_F(PairTest, APauseOrAPromotionWhileTheLinksAreBrokenGoesItsUsualWay) {
    create();
    pair.sim.partition("left", "right");
    pair.reset();
    expect_ok(pair.run(left, {"pause", "R"}));
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    EXPECT_TRUE(pair.write(left, 3, 42));
    pair.sim.heal_all();
    expect_ok(pair.run(left, {"continue", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks[3], 42);
    // A promotion that meets the broken links may be refused, as one of a paused mirror is, and changes
    // nothing.
    pair.reset();
    if (pair.run(right, {"promote", "R"}).exit_code != 0) {
        EXPECT_EQ(pair.record(left).role, Role::source);
        ASSERT_TRUE(pair.wait_in_sync());
        expect_ok(pair.run(right, {"promote", "R"}));
    }
    EXPECT_EQ(pair.record(right).role, Role::source);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.record(left).role, Role::target);
}

// Spec: REP-135, REP-136, REP-137, REP-138, REP-148, REP-160
TEST_F(PairTest, WhatAUserPausedStaysPausedAndWhatALossPausedDoesNot) {
    create();
    pair.cut();
    ASSERT_TRUE(pair.until([&] { return pair.peer(left).state == MirrorState::paused; }));
    EXPECT_FALSE(pair.peer(left).user_requested);
    pair.heal();
    ASSERT_TRUE(pair.wait_in_sync());
    expect_ok(pair.run(left, {"pause", "R"}));
    EXPECT_TRUE(pair.peer(left).user_requested);
    for (int i = 0; i < 2; ++i) {
        pair.cut();
        pair.sim.run_for(5s);
        pair.heal();
        pair.sim.run_for(20s);
        EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
        EXPECT_TRUE(pair.peer(left).user_requested);
        pair.power_off(left);  // the state and the wish outlive the host
        pair.start(left);
        ASSERT_TRUE(pair.until([&] { return left.daemon->host && left.daemon->host->exported(); }));
    }
    expect_ok(pair.run(left, {"continue", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_FALSE(pair.peer(left).user_requested);
}

// Spec: REP-137 REP-150 REP-159 REP-160 REP-086
TEST_F(PairTest, PauseKeepsTheTargetAsItWasAndContinueSendsTheDifference) {
    create();
    expect_error(pair.run(right, {"pause", "R"}), "pause it on its source");
    expect_ok(pair.run(left, {"pause", "R"}));
    const auto sent = pair.wire.blocks_sent;
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_TRUE(pair.write(left, 2, 12));
    pair.sim.run_for(10s);
    EXPECT_EQ(right.disk.blocks[1], 0);
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    EXPECT_TRUE(pair.record(right).outdated);
    expect_ok(pair.run(left, {"continue", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    EXPECT_EQ(pair.wire.blocks_sent, sent + 2);
}

// Spec: REP-138 REP-164 REP-166 REP-204 REP-206
// Spec: EMC-073, MOP-124
TEST_F(PairTest, AfterALinkLossTheSourceGoesOnAloneAndResyncsByItself) {
    create();
    pair.power_off(right);
    EXPECT_TRUE(pair.write(left, 5, 55));
    const auto alone = pair.generations(left);
    EXPECT_FALSE(alone.peer_may_hold_current);
    pair.start(right);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks[5], 55);
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks + 1);
}

// Spec: REP-209 REP-212 REP-186
TEST_F(PairTest, ASourceThatRestartsWithItsPeerAwayServesAndRemembersThatItIsAlone) {
    create();
    pair.power_off(right);
    pair.power_off(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return left.daemon->host && left.daemon->host->exported(); }));
    EXPECT_TRUE(pair.generations(left).peer_may_hold_current || !pair.generations(left).history.empty());
    EXPECT_TRUE(pair.write(left, 6, 66));
    EXPECT_FALSE(pair.generations(left).peer_may_hold_current);
    pair.start(right);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks[6], 66);
}

// Spec: REP-220
TEST_F(PairTest, AKilledDaemonTakesItsExportBackAndGoesOn) {
    create();
    left.disk.used_by = "mount /data";
    pair.kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return left.daemon->host && left.daemon->host->exported(); }));
    EXPECT_TRUE(pair.write(left, 8, 88));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks[8], 88);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
