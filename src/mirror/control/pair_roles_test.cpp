// Who becomes source, by promotion or switchover, and what becomes of the other end, in the simulated world.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

// Spec: REP-203 REP-189 REP-079
TEST_F(PairTest, ATargetThatKnowsItIsBehindIsPromotedByForceOnly) {
    create();
    expect_ok(pair.run(left, {"pause", "R"}));
    pair.sim.run_for(1s);
    expect_error(pair.run(right, {"promote", "R"}), "not mirroring");
    pair.power_off(left);
    expect_error(pair.run(right, {"promote", "R"}), "--force");
    expect_ok(pair.run(right, {"promote", "R"}, {{"force", ""}}));
}

// Spec: REP-079
TEST_F(PairTest, WhatASourceWroteAloneIsNotLostToAPromotionOfItsOldTarget) {
    create();
    pair.cut();
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_FALSE(pair.record(right).outdated);  // its own record could not be told
    ASSERT_EQ(pair.cluster.notes["right"].size(), 1U);
    pair.power_off(left);
    pair.heal();
    expect_right_refused_as_behind();
    EXPECT_EQ(pair.record(right).role, Role::target);
    // Also after the spare itself has been off.
    pair.power_off(right);
    pair.start(right);
    pair.sim.run_for(1s);
    expect_right_refused_as_behind();
    expect_ok(pair.run(right, {"promote", "R"}, {{"force", ""}}));
    EXPECT_TRUE(pair.write(right, 4, 44));
}

// Spec: REP-079
TEST_F(PairTest, ATargetThatCaughtUpIsPromotedAndItsNotesAreGone) {
    create();
    pair.cut();
    EXPECT_TRUE(pair.write(left, 3, 33));
    pair.heal();
    ASSERT_TRUE(pair.wait_in_sync());
    ASSERT_TRUE(pair.until([&] { return pair.cluster.notes["right"].empty(); }));
    pair.power_off(left);
    expect_ok(pair.run(right, {"promote", "R"}));
    EXPECT_EQ(right.disk.blocks[3], 33);
}

// Spec: REP-118
// Spec: MOP-081
TEST_F(PairTest, ATargetInTheMiddleOfAResyncIsNeverPromoted) {
    pair.wire.resync_takes = 1h;
    ASSERT_EQ(pair.create().exit_code, 0);
    pair.sim.run_for(1s);
    expect_error(pair.run(right, {"promote", "R"}), "never synchronised");
    pair.wire.resync_takes = 20ms;
    pair.kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    pair.kill(right);
    EXPECT_TRUE(pair.write(left, 1, 1));
    pair.wire.resync_takes = 1h;
    pair.start(right);
    ASSERT_TRUE(pair.until([&] { return !pair.record(right).consistent; }));
    pair.power_off(left);
    expect_error(pair.run(right, {"promote", "R"}, {{"force", ""}}), "interrupted");
    EXPECT_EQ(pair.record(right).role, Role::target);
}

// Spec: REP-211 REP-236 REP-237 REP-189 REP-198, MOP-093
TEST_F(PairTest, AfterATakeoverTheOldSourceComesBackAsTargetAndItsOwnWritesGo) {
    create();
    EXPECT_TRUE(pair.write(left, 0, 1));
    // Written locally, not acknowledged: the link is dead already.
    pair.wire.cut = true;
    EXPECT_FALSE(pair.write(left, 9, 99, 10ms));
    pair.power_off(left);
    pair.wire.cut = false;
    expect_ok(pair.run(right, {"promote", "R"}, {{"peer-dead", ""}}));
    expect_ok(pair.run(right, {"promote", "R"}));  // idempotent
    EXPECT_TRUE(right.daemon->host->exported());
    EXPECT_TRUE(pair.write(right, 0, 2));
    EXPECT_EQ(left.disk.blocks[9], 99);
    const auto sent = pair.wire.blocks_sent;
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.record(left).role, Role::target);
    EXPECT_EQ(left.disk.blocks[9], 0);
    EXPECT_EQ(left.disk.blocks, right.disk.blocks);
    EXPECT_EQ(pair.wire.blocks_sent, sent + 2);
    EXPECT_FALSE(left.daemon->host->exported());
}

// Spec: REP-233 REP-235
TEST_F(PairTest, APlannedSwitchoverSwapsTheRolesWithoutAResync) {
    create();
    EXPECT_TRUE(pair.write(left, 4, 44));
    const auto sent = pair.wire.blocks_sent;
    left.disk.used_by = "mount /data";
    expect_error(pair.run(right, {"promote", "R"}), "mount /data");
    EXPECT_TRUE(pair.write(left, 4, 45));
    left.disk.used_by.clear();
    expect_ok(pair.run(right, {"promote", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.record(left).role, Role::target);
    EXPECT_TRUE(pair.write(right, 4, 46));
    EXPECT_EQ(left.disk.blocks[4], 46);
    EXPECT_EQ(pair.wire.blocks_sent, sent);
    expect_ok(pair.run(left, {"promote", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.record(right).role, Role::target);
}

TEST_F(PairTest, DemoteAndPromoteOnTheSameNodeLoseNothing) {
    create();
    EXPECT_TRUE(pair.write(left, 4, 44));
    left.disk.used_by = "mount /data";
    expect_error(pair.run(left, {"demote", "R"}), "mount /data");
    left.disk.used_by.clear();
    expect_ok(pair.run(left, {"demote", "R"}));
    expect_ok(pair.run(left, {"demote", "R"}));
    EXPECT_FALSE(left.daemon->host->exported());
    EXPECT_EQ(pair.record(left).role, Role::source);
    expect_ok(pair.run(left, {"promote", "R"}));
    EXPECT_TRUE(pair.write(left, 4, 45));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks[4], 45);
}

TEST_F(PairTest, ADemotedSourceThatCrashesFollowsThePromotedPeerOrServesAgain) {
    create();
    expect_ok(pair.run(left, {"demote", "R"}));
    pair.power_off(left);
    pair.start(left);
    pair.sim.run_for(5s);
    EXPECT_FALSE(left.daemon->host->exported());
    expect_ok(pair.run(left, {"promote", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    expect_ok(pair.run(left, {"demote", "R"}));
    pair.power_off(left);
    expect_ok(pair.run(right, {"promote", "R"}));
    EXPECT_TRUE(pair.write(right, 1, 71));
    pair.start(left);
    // The cluster wants it here again: it follows first, then takes over as planned.
    expect_ok(pair.run(right, {"demote", "R"}));
    expect_ok(pair.run(left, {"promote", "R"}));
    EXPECT_EQ(left.disk.blocks[1], 71);
    EXPECT_EQ(pair.record(left).role, Role::source);
    ASSERT_TRUE(pair.wait_in_sync());
}

// Spec: REP-146 REP-182 REP-213 REP-224 REP-226
// Spec: MOP-092, MOP-093
TEST_F(PairTest, WritesOnBothSidesAreASplitBrainAndNothingIsOverwritten) {
    create();
    pair.cluster.apart = true;
    pair.cut();
    EXPECT_TRUE(pair.write(left, 1, 11));
    expect_ok(pair.run(right, {"promote", "R"}));
    EXPECT_TRUE(pair.write(right, 2, 22));
    pair.heal();
    ASSERT_TRUE(pair.until([&] { return pair.peer(left).split_brain && pair.peer(right).split_brain; }));
    pair.sim.run_for(60s);
    EXPECT_EQ(left.disk.blocks[1], 11);
    EXPECT_EQ(left.disk.blocks[2], 0);
    EXPECT_EQ(right.disk.blocks[1], 0);
    EXPECT_EQ(right.disk.blocks[2], 22);
    const auto status = pair.run(left, {"status", "R"}, {{"json", ""}});
    EXPECT_NE(status.out.find("SPLIT BRAIN"), std::string::npos) << status.out;
    expect_error(pair.run(left, {"type", "R", "async"}), "split brain");  // Spec: REP-229
    EXPECT_NE(status.out.find("mirror split-brain R"), std::string::npos) << status.out;
    for (Host* host : {&left, &right}) {  // Spec: MOP-096
        const auto sides = pair.run(*host, {"split-brain", "R"});
        EXPECT_EQ(sides.exit_code, 0) << sides.err;
        EXPECT_NE(sides.out.find("left: 1 blocks"), std::string::npos) << sides.out;
        EXPECT_NE(sides.out.find("right: 1 blocks"), std::string::npos) << sides.out;
        EXPECT_NE(sides.out.find("alone since"), std::string::npos) << sides.out;
        EXPECT_NE(sides.out.find("0 of these blocks on both"), std::string::npos) << sides.out;
    }
    // A restart does not heal it by itself.
    pair.power_off(left);
    pair.start(left);
    pair.sim.run_for(20s);
    EXPECT_EQ(pair.record(left).role, Role::source);
    EXPECT_EQ(left.disk.blocks[1], 11);
    // Spec: REP-227 REP-228
    expect_ok(pair.run(left, {"yield", "R"}));
    expect_ok(pair.run(right, {"continue", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(left.disk.blocks, right.disk.blocks);
    EXPECT_EQ(left.disk.blocks[1], 0);
    EXPECT_EQ(left.disk.blocks[2], 22);
}

// Spec: REP-226 REP-237
TEST_F(PairTest, ASourceThatWroteAloneBeforeItCrashedIsNotOverwritten) {
    create();
    pair.cluster.apart = true;
    pair.cut();
    EXPECT_TRUE(pair.write(left, 1, 11));
    pair.power_off(left);
    expect_ok(pair.run(right, {"promote", "R"}));
    pair.heal();
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.peer(left).split_brain && pair.peer(right).split_brain; }));
    EXPECT_EQ(left.disk.blocks[1], 11);
    EXPECT_EQ(right.disk.blocks[1], 0);
}

TEST_F(PairTest, AKilledDaemonWhosePeerWasPromotedTakesTheDeviceAwayFromItsUsers) {
    create();
    left.disk.used_by = "mount /data";
    pair.kill(left);
    pair.sim.run_for(1s);
    expect_ok(pair.run(right, {"promote", "R"}));
    EXPECT_TRUE(pair.write(right, 8, 81));
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_FALSE(left.daemon->host->exported());
    EXPECT_EQ(left.disk.blocks[8], 81);
}

/// Random faults: an acknowledged write is on whoever is source, unless both sides wrote apart.
class RandomFaults : public testing::TestWithParam<int> {};

TEST_P(RandomFaults, NoAcknowledgedWriteIsLost) {
    Pair pair(static_cast<std::uint64_t>(GetParam()));
    ASSERT_EQ(pair.create().exit_code, 0);
    ASSERT_TRUE(pair.wait_in_sync());
    std::map<std::size_t, int> acknowledged;
    Host* active = &pair.left;
    int value = 1;
    for (int step = 0; step < 40; ++step) {
        Host* standby = active == &pair.left ? &pair.right : &pair.left;
        switch (pair.sim.random_below(8)) {
            case 0:
            case 1:
            case 2: {
                const std::size_t block = pair.sim.random_below(kBlocks);
                if (pair.write(*active, block, ++value)) acknowledged[block] = value;
                break;
            }
            case 3:
                pair.power_off(*standby);
                if (pair.write(*active, 0, ++value)) acknowledged[0] = value;
                pair.start(*standby);
                break;
            case 4:
                pair.kill(*active);
                pair.start(*active);
                ASSERT_TRUE(
                    pair.until([&] { return active->daemon->host && active->daemon->host->exported(); }));
                break;
            case 5:  // the source dies, the target in sync takes over
                if (!pair.wait_in_sync()) FAIL() << "not in sync";
                pair.power_off(*active);
                ASSERT_EQ(pair.run(*standby, {"promote", "R"}).exit_code, 0);
                pair.start(*active);
                std::swap(active, standby);
                break;
            case 6:
                if (!pair.wait_in_sync()) FAIL() << "not in sync";
                ASSERT_EQ(pair.run(*standby, {"promote", "R"}).exit_code, 0);
                std::swap(active, standby);
                break;
            case 7:  // only the mirror's network goes; the source writes alone and dies
                if (!pair.wait_in_sync()) FAIL() << "not in sync";
                pair.cut();
                ASSERT_TRUE(pair.write(*active, 1, ++value));
                acknowledged[1] = value;
                pair.power_off(*active);
                pair.heal();
                ASSERT_NE(pair.run(*standby, {"promote", "R"}).exit_code, 0);
                pair.start(*active);
                ASSERT_TRUE(
                    pair.until([&] { return active->daemon->host && active->daemon->host->exported(); }));
                break;
        }
        for (const auto& [block, expected] : acknowledged)
            ASSERT_EQ(active->disk.blocks[block], expected) << "step " << step << " block " << block;
        ASSERT_FALSE(pair.peer(*active).split_brain);
    }
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.left.disk.blocks, pair.right.disk.blocks);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomFaults, testing::Range(1, 41));

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
