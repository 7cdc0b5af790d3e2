// Role changes: what is told of them, what they wait for, and what never happens by itself.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct RoleChange : PairTest {
    using PairTest::PairTest;
};

// Spec: REP-370
TEST_F(RoleChange, ASwitchoverIsToldWhenItBeginsAndWhenItFails) {
    create();
    left.disk.used_by = "postgres (pid 812)";
    EXPECT_NE(pair.run(right, {"promote", "R"}).exit_code, 0);
    EXPECT_EQ(times(right, Event::switchover_started), 1U);
    EXPECT_EQ(times(right, Event::switchover_failed, "postgres (pid 812)"), 1U);
    left.disk.used_by.clear();
    right.events.clear();
    EXPECT_EQ(pair.run(right, {"promote", "R"}).exit_code, 0);
    EXPECT_EQ(times(right, Event::switchover_started), 1U);
    EXPECT_EQ(times(right, Event::switchover_failed), 0U);
    EXPECT_EQ(times(right, Event::switched_over_all), 0U) << "there is one target";
    right.events.clear();
    EXPECT_EQ(pair.run(right, {"promote", "R"}).exit_code, 0) << "it is source already";
    EXPECT_EQ(times(right, Event::switchover_started), 0U);
}

// Spec: REP-188
TEST_F(RoleChange, ASourceThatStartsWithoutTargetsSaysSoAndTheNextMirrorIsFull) {
    const auto made = pair.run(left, {"create", "R"}, {{"device", "/disks/r"}});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    EXPECT_TRUE(pair.write(left, 3, 33));
    pair.power_off(left);
    left.events.clear();
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return times(left, Event::no_targets) == 1; }));
    ASSERT_TRUE(pair.until([&] { return left.daemon->host && left.daemon->host->writable(); }));
    EXPECT_TRUE(pair.write(left, 4, 44));
    pair.wire.blocks_sent = 0;
    const auto added = pair.run(left, {"add", "R"},
                                {{"target", right.name},
                                 {"target-device", "/disks/r"},
                                 {"source-address", left.address},
                                 {"target-address", right.address}});
    ASSERT_EQ(added.exit_code, 0) << added.err;
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

// Spec: REP-223
TEST_F(RoleChange, AStoppedSourceIsNotFollowedAndAPromotedTargetIsNotSwitchedBackByItself) {
    create();
    pair.stop(left);
    pair.kill(left);
    pair.sim.run_for(10min);
    EXPECT_EQ(pair.record(right).role, Role::target);
    EXPECT_FALSE(right.daemon->host->exported());
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.record(left).role, Role::source);
    // The other way round: the old source is back, and the new one stays source.
    pair.power_off(left);
    pair.cluster.dead.insert("left");
    ASSERT_EQ(pair.run(right, {"promote", "R"}).exit_code, 0);
    pair.cluster.dead.clear();
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.record(left).role == Role::target && pair.in_sync(); }));
    pair.sim.run_for(10min);
    EXPECT_EQ(pair.record(right).role, Role::source);
    EXPECT_EQ(pair.record(left).role, Role::target);
    EXPECT_FALSE(left.daemon->host->exported());
    EXPECT_TRUE(pair.write(right, 3, 33));
}

// Spec: REP-197
TEST_F(RoleChange, TheEndOfAMirrorEndsItsSnapshotAndFreesTheTargetsDisk) {
    create();
    ASSERT_EQ(pair.run(right, {"snapshot", "location", "R", "/snapshots"}).exit_code, 0);
    ASSERT_EQ(pair.run(right, {"snapshot", "take", "R"}).exit_code, 0);
    right.disk.snapshot_used_by = "a reader";
    ASSERT_EQ(right.disk.opened.size(), 1U);
    EXPECT_EQ(pair.run(left, {"delete", "R"}).exit_code, 0);
    EXPECT_EQ(right.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_TRUE(right.disk.snapshot_files.empty());
    EXPECT_TRUE(right.disk.opened.empty()) << "unlocked: nobody of ours holds it";
}

// Spec: REP-197. As on a target without one, the lock stays (docs/decisions.md), and so does what hangs on
// it.
TEST_F(RoleChange, ABreakLeavesTheTargetsSnapshotAsItIsAlsoThroughTheFullResyncThatFollows) {
    create();
    ASSERT_TRUE(pair.write(left, 3, 33));
    ASSERT_EQ(pair.run(right, {"snapshot", "location", "R", "/snapshots"}).exit_code, 0);
    ASSERT_EQ(pair.run(right, {"snapshot", "take", "R"}).exit_code, 0);
    EXPECT_EQ(pair.run(left, {"break", "R"}).exit_code, 0);
    EXPECT_FALSE(right.daemon->host->exported());
    EXPECT_TRUE(pair.write(left, 3, 34));
    EXPECT_EQ(pair.run(left, {"continue", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.wait_in_sync());
    ASSERT_TRUE(right.daemon->host->snapshot());
    EXPECT_EQ(right.daemon->host->snapshot()->blocks[3], 33);
    EXPECT_EQ(right.disk.blocks[3], 34);
}

struct RoleChangeOfThree : RoleChange {
    RoleChangeOfThree() : RoleChange(3) {}
};

// Spec: REP-370
TEST_F(RoleChangeOfThree, ASwitchoverWithSeveralTargetsIsToldWhenItIsDone) {
    const auto made = pair.create({{"target", "right,third"}, {"target-address", "10.0.0.2,10.0.0.3"}});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(left, {&right, &pair.third}); }));
    EXPECT_EQ(pair.run(right, {"promote", "R"}).exit_code, 0);
    EXPECT_EQ(times(right, Event::switchover_started), 1U);
    EXPECT_EQ(times(right, Event::switched_over_all, "left, third"), 1U);
    EXPECT_EQ(times(right, Event::switchover_failed), 0U);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
