// Snapshots between two hosts: preconditions, the command on either host, failures, role changes.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

class Snapshots : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_EQ(pair.create().exit_code, 0);
        ASSERT_TRUE(pair.wait_in_sync());
        ASSERT_TRUE(pair.write(pair.left, 3, 33));
    }
    config::Reply take(Host& host, std::map<std::string, std::string> options = {}) {
        return pair.run(host, {"snapshot", "take", "R"}, std::move(options));
    }
    config::Reply location(Host& host, const std::string& directory = "/snapshots") {
        return pair.run(host, {"snapshot", "location", "R", directory});
    }
    nlohmann::json status(Host& host) {
        const auto reply = pair.run(host, {"snapshot", "status"}, {{"json", ""}});
        return nlohmann::json::parse(reply.out)["snapshots"][0];
    }
    ModelSnapshotTools& tools(Host& host) { return host.daemon->snapshots; }
    const std::optional<ModelHost::Snapshot>& kept() { return pair.right.daemon->host->snapshot(); }

    Pair pair;
};

// Spec: REP-312, REP-324, MOP-189, MOP-191, EMC-250, EMC-253
TEST_F(Snapshots, TheTargetShowsTheMomentWhileTheMirrorGoesOn) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    const auto taken = take(pair.right);
    ASSERT_EQ(taken.exit_code, 0) << taken.err;
    EXPECT_EQ(taken.out, "/dev/understudy/R.snapshot\n");
    EXPECT_TRUE(pair.write(pair.left, 3, 34));
    EXPECT_EQ(kept()->blocks[3], 33);
    EXPECT_EQ(pair.right.disk.blocks[3], 34);
    EXPECT_TRUE(pair.in_sync());
    EXPECT_EQ(status(pair.right)["state"], "active");
    EXPECT_EQ(tools(pair.left).quiets, 1);
    EXPECT_EQ(tools(pair.left).open_quiets, 0);
    EXPECT_TRUE(pair.right.disk.snapshot_files.contains("/snapshots/datakeeper_snapshot_volR.cow"));

    EXPECT_EQ(pair.run(pair.right, {"snapshot", "drop", "R"}).exit_code, 0);
    EXPECT_TRUE(pair.right.disk.snapshot_files.empty());
    EXPECT_EQ(status(pair.right)["state"], "none");
    EXPECT_NE(pair.run(pair.right, {"snapshot", "drop", "R"}).exit_code, 0);
}

// Spec: MOP-197, EMC-251
TEST_F(Snapshots, TheSourcePassesTheCommandOnToTheTarget) {
    const auto refused = take(pair.left);
    EXPECT_NE(refused.exit_code, 0);
    EXPECT_NE(refused.err.find("no snapshot location on right"), std::string::npos) << refused.err;
    ASSERT_EQ(location(pair.right).exit_code, 0);
    const auto taken = take(pair.left);
    ASSERT_EQ(taken.exit_code, 0) << taken.err;
    EXPECT_EQ(taken.out, "/dev/understudy/R.snapshot\n");
    EXPECT_TRUE(kept()->begun);
}

// Spec: REP-324, MOP-203
TEST_F(Snapshots, WritesWaitWhileTheMarkersAreQueued) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    static bool acknowledged;
    acknowledged = false;
    bool held = false;
    // Between the quiet moment and the marker: what reaches the gate waits and is not in the snapshot.
    tools(pair.left).in_quiet = [&] {
        pair.left.daemon->world.tasks.after(10us, [&] {
            held = pair.left.daemon->host->gate() == GateMode::hold_writes;
            pair.left.daemon->host->write(5, 55, &acknowledged);
        });
    };
    ASSERT_EQ(take(pair.right).exit_code, 0);
    EXPECT_TRUE(held);
    EXPECT_TRUE(pair.until([&] { return acknowledged; }));
    EXPECT_EQ(kept()->blocks[5], 0);
    EXPECT_EQ(pair.right.disk.blocks[5], 55);
    EXPECT_EQ(pair.left.daemon->host->gate(), GateMode::open);
}

// Spec: REP-315, REP-325, EMC-252
TEST_F(Snapshots, AQuietMomentThatFailsOrEndsTooEarlyLeavesNothing) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    tools(pair.left).refuse = "the hook 10-database ended with 1";
    auto taken = take(pair.right);
    EXPECT_NE(taken.exit_code, 0);
    EXPECT_NE(taken.err.find("10-database"), std::string::npos) << taken.err;
    EXPECT_FALSE(kept());
    EXPECT_TRUE(pair.right.disk.snapshot_files.empty());
    tools(pair.left).refuse.clear();
    tools(pair.left).late = true;
    taken = take(pair.right);
    EXPECT_NE(taken.exit_code, 0);
    EXPECT_FALSE(kept());
    EXPECT_TRUE(pair.right.disk.snapshot_files.empty());
    EXPECT_TRUE(pair.in_sync());
    EXPECT_TRUE(pair.write(pair.left, 1, 11));
    tools(pair.left).late = false;
    EXPECT_EQ(take(pair.right).exit_code, 0);
}

// Spec: REP-315, REP-325, MOP-200
TEST_F(Snapshots, OnlyOfAMirrorInSyncWhoseSourceAnswers) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}).exit_code, 0);
    auto taken = take(pair.right);
    EXPECT_NE(taken.exit_code, 0);
    ASSERT_EQ(pair.run(pair.left, {"continue", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.wait_in_sync());
    pair.wire.silent = true;
    pair.power_off(pair.left);
    taken = take(pair.right);
    EXPECT_NE(taken.exit_code, 0);
    EXPECT_FALSE(kept());
    EXPECT_TRUE(pair.right.disk.snapshot_files.empty());
}

// Spec: REP-316, MOP-200, EMC-174
TEST_F(Snapshots, ItOutlivesItsSourceAndCanBeDroppedWithoutIt) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    ASSERT_EQ(take(pair.right).exit_code, 0);
    pair.power_off(pair.left);
    EXPECT_TRUE(kept()->begun);
    EXPECT_EQ(pair.run(pair.right, {"snapshot", "drop", "R"}).exit_code, 0);
    EXPECT_FALSE(kept());
}

// Spec: REP-317, MOP-207, EMC-256
TEST_F(Snapshots, ATargetWithASnapshotDoesNotBecomeSource) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    ASSERT_EQ(take(pair.right).exit_code, 0);
    const auto refused = pair.run(pair.right, {"promote", "R"});
    EXPECT_NE(refused.exit_code, 0);
    EXPECT_NE(refused.err.find("snapshot drop R"), std::string::npos) << refused.err;
    EXPECT_TRUE(pair.in_sync());
    EXPECT_TRUE(pair.write(pair.left, 2, 22));
    ASSERT_EQ(pair.run(pair.right, {"snapshot", "drop", "R"}).exit_code, 0);
    const auto promoted = pair.run(pair.right, {"promote", "R"});
    EXPECT_EQ(promoted.exit_code, 0) << promoted.err;
}

// Spec: REP-317, REP-333
TEST_F(Snapshots, ADropNamesWhoUsesItAndForceDoesNotAsk) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    ASSERT_EQ(take(pair.right).exit_code, 0);
    pair.right.disk.snapshot_used_by = "postgres (pid 812)";
    const auto refused = pair.run(pair.right, {"snapshot", "drop", "R"});
    EXPECT_NE(refused.exit_code, 0);
    EXPECT_NE(refused.err.find("pid 812"), std::string::npos);
    EXPECT_NE(take(pair.right, {{"refresh", ""}}).exit_code, 0);
    EXPECT_TRUE(kept()->begun);
    EXPECT_EQ(pair.run(pair.right, {"snapshot", "drop", "R"}, {{"force", ""}}).exit_code, 0);
    EXPECT_FALSE(kept());
}

// Spec: REP-315, MOP-210
TEST_F(Snapshots, ASecondOneIsRefusedUnlessItReplacesTheFirst) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    ASSERT_EQ(take(pair.right).exit_code, 0);
    ASSERT_TRUE(pair.write(pair.left, 3, 34));
    EXPECT_NE(take(pair.right).exit_code, 0);
    EXPECT_EQ(kept()->blocks[3], 33);
    EXPECT_EQ(take(pair.right, {{"refresh", ""}}).exit_code, 0);
    EXPECT_EQ(kept()->blocks[3], 34);
}

// Spec: REP-332, MOP-209, EMC-254
TEST_F(Snapshots, WhenItsFileIsFullItGoesAndTheMirrorDoesNot) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    ASSERT_EQ(take(pair.right).exit_code, 0);
    pair.right.disk.snapshot_used_by = "a reader";
    pair.right.daemon->host->fail_snapshot();
    EXPECT_TRUE(pair.until([&] { return !kept(); }));
    EXPECT_TRUE(pair.until([&] { return pair.right.disk.snapshot_files.empty(); }));
    EXPECT_NE(std::string(status(pair.right)["problem"]).find("No space left"), std::string::npos);
    EXPECT_TRUE(pair.in_sync());
    EXPECT_EQ(pair.run(pair.right, {"promote", "R"}).exit_code, 0);
}

// Spec: REP-330
TEST_F(Snapshots, AKilledTargetComesBackWithoutIt) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    ASSERT_EQ(take(pair.right).exit_code, 0);
    pair.kill(pair.right);
    EXPECT_FALSE(pair.right.disk.snapshot_files.empty());
    pair.start(pair.right);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_TRUE(pair.right.disk.snapshot_files.empty());
    EXPECT_EQ(status(pair.right)["state"], "none");
    EXPECT_EQ(status(pair.right)["location"], "/snapshots");
}

// Spec: REP-289, REP-319, REP-320, MOP-192, MOP-193, MOP-194, EMC-120, EMC-121, EMC-122, EMC-124, EMC-125
TEST_F(Snapshots, ALocationIsPerVolumeAndNodeAndStaysWhileASnapshotIsInIt) {
    EXPECT_EQ(pair.run(pair.right, {"snapshot", "location", "R"}).out, "");
    EXPECT_NE(location(pair.right, "snapshots").exit_code, 0);
    EXPECT_NE(location(pair.right, "/dev/understudy/R/inside").exit_code, 0);
    EXPECT_NE(location(pair.right, "").exit_code, 0);
    ASSERT_EQ(location(pair.right, "/right/").exit_code, 0);
    ASSERT_EQ(location(pair.left, "/left").exit_code, 0);
    EXPECT_EQ(pair.run(pair.right, {"snapshot", "location", "R"}).out, "/right\n");
    EXPECT_EQ(pair.run(pair.left, {"snapshot", "location", "R"}).out, "/left\n");
    ASSERT_EQ(take(pair.left).exit_code, 0);
    EXPECT_TRUE(pair.right.disk.snapshot_files.contains("/right/datakeeper_snapshot_volR.cow"));
    EXPECT_NE(location(pair.right, "/elsewhere").exit_code, 0);
    EXPECT_NE(pair.run(pair.right, {"snapshot", "location", "R"}, {{"clear", ""}}).exit_code, 0);
    ASSERT_EQ(pair.run(pair.right, {"snapshot", "drop", "R"}).exit_code, 0);
    EXPECT_EQ(pair.run(pair.right, {"snapshot", "location", "R"}, {{"clear", ""}}).exit_code, 0);
    EXPECT_EQ(pair.run(pair.right, {"snapshot", "location", "R"}).out, "");
    EXPECT_NE(take(pair.right).exit_code, 0);
}

TEST_F(Snapshots, DeletingTheMirrorEndsItsSnapshot) {
    ASSERT_EQ(location(pair.right).exit_code, 0);
    ASSERT_EQ(take(pair.right).exit_code, 0);
    EXPECT_EQ(pair.run(pair.left, {"delete", "R"}).exit_code, 0);
    EXPECT_TRUE(pair.right.disk.snapshot_files.empty());
}

TEST_F(Snapshots, NonsenseIsRefused) {
    EXPECT_NE(pair.run(pair.right, {"snapshot"}).exit_code, 0);
    EXPECT_NE(pair.run(pair.right, {"snapshot", "keep", "R"}).exit_code, 0);
    EXPECT_NE(pair.run(pair.right, {"snapshot", "take"}).exit_code, 0);
    EXPECT_NE(pair.run(pair.right, {"snapshot", "take", "R", "R"}).exit_code, 0);
    EXPECT_NE(pair.run(pair.right, {"snapshot", "take", "other"}).exit_code, 0);
    EXPECT_NE(pair.run(pair.right, {"snapshot", "status", "other"}).exit_code, 0);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
