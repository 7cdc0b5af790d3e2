// Where a mirror's intent log lies, and what its loss costs, in the simulated world.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

// Spec: REP-057, REP-066, REP-068, REP-275, MOP-183
TEST_F(PairTest, TheIntentLogMovesWithItsSettingAndItsBitsComeAlong) {
    create();
    const std::string before = pair.peer(left).log_path;
    ASSERT_TRUE(left.node->files().make_directories("/mnt/fast"));
    pair.kill(right);
    ASSERT_TRUE(pair.write(left, 2, 9));
    pair.kill(left);
    left.settings = "BitmapBaseDir=/mnt/fast\n";
    pair.wire.blocks_sent = 0;
    pair.start(left);
    pair.start(right);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.peer(left).log_path, "/mnt/fast/R@right.bitmap");
    EXPECT_TRUE(left.node->files().exists("/mnt/fast/R@right.bitmap"));
    EXPECT_FALSE(left.node->files().exists(before));
    EXPECT_EQ(pair.wire.blocks_sent, 1U);
    pair.kill(left);
    left.settings.clear();
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.peer(left).log_path, before);
}

// Spec: REP-061, REP-062, REP-063, REP-210, MOP-186
TEST_F(PairTest, ADirectoryOfLogsThatIsMissingIsWaitedForAndThenReplaced) {
    create();
    pair.kill(left);
    left.settings = "BitmapBaseDir=/mnt/fast\nWaitForBitmapBaseDirMs=1000\n";
    pair.start(left);
    pair.sim.run_for(50s);
    EXPECT_FALSE(pair.in_sync());
    auto status = pair.run(left, {"status", "R"});
    EXPECT_NE(status.out.find("BitmapBaseDir=/mnt/fast, is not there"), std::string::npos) << status.out;
    ASSERT_TRUE(left.node->files().make_directories("/mnt/fast"));
    ASSERT_TRUE(pair.wait_in_sync());
    status = pair.run(left, {"status", "R"});
    EXPECT_EQ(status.out.find("BitmapBaseDir"), std::string::npos) << status.out;

    pair.kill(left);
    left.settings = "BitmapBaseDir=/mnt/gone\nWaitForBitmapBaseDirMs=1000\n";
    ASSERT_TRUE(left.node->files().remove("/mnt/fast/R@right.bitmap"));  // its disk is another one now
    pair.wire.blocks_sent = 0;
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(); }, 120s));
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks) << "a new log knows nothing";
    EXPECT_EQ(pair.peer(left).log_path, "/var/lib/understudy/Bitmaps/R@right.bitmap");
    status = pair.run(left, {"status", "R"});
    EXPECT_NE(status.out.find("BitmapBaseDir=/mnt/gone has not appeared"), std::string::npos) << status.out;
}

// Spec: REP-057, REP-063, MOP-188
TEST_F(PairTest, AMirrorIsNotMadeWhereItsLogHasNoPlace) {
    pair.kill(right);
    right.settings = "BitmapBaseDir=/mnt/fast\n";
    pair.start(right);
    expect_error(pair.create(), "BitmapBaseDir=/mnt/fast, is not there on right");
    EXPECT_TRUE(left.daemon->manager.all().empty());
    ASSERT_TRUE(right.node->files().make_directories("/mnt/fast"));
    create();
    EXPECT_EQ(pair.peer(right).log_path, "/mnt/fast/R@left.bitmap");
}

// Spec: REP-059, REP-187, REP-210
TEST_F(PairTest, WithoutALogThatOutlivesACrashACrashNeedsAFullResyncAndACleanEndDoesNot) {
    left.settings = "BitmapBaseDir=\n";
    pair.kill(left);
    pair.start(left);
    create();
    pair.wire.blocks_sent = 0;
    pair.kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
}

// Spec: REP-125, REP-299
TEST_F(PairTest, AFullResyncAtEachStartOrContinueIsDoneWhereItIsWanted) {
    create();
    expect_ok(pair.run(left, {"set", "R", "AutoResyncOnContinue=2"}));
    pair.wire.blocks_sent = 0;
    expect_ok(pair.run(left, {"pause", "R"}));
    expect_ok(pair.run(left, {"continue", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    expect_ok(pair.run(left, {"set", "R", "AutoResyncOnContinue=", "AutoResyncOnBoot=2"}));
    pair.wire.blocks_sent = 0;
    expect_ok(pair.run(left, {"pause", "R"}));
    expect_ok(pair.run(left, {"continue", "R"}));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, 0U);
    pair.kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
}

// Spec: REP-073, REP-147, REP-184, REP-185, EMC-077, MOP-091, MOP-132
TEST_F(PairTest, AfterACleanEndEvenALostLogNeedsNoResyncAndTheRecordSaysMirroring) {
    create();
    pair.write(left, 3, 5);
    pair.wire.blocks_sent = 0;
    pair.stop(left);
    EXPECT_EQ(pair.peer(left).state, MirrorState::mirroring);
    EXPECT_TRUE(pair.peer(left).clean);
    pair.kill(left);
    left.disk.log_lost = true;
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, 0U);
    EXPECT_FALSE(pair.peer(left).split_brain);
}

// Spec: REP-064, REP-216
TEST_F(PairTest, ALogThatFailedIsUsedNoMoreAndACrashThenNeedsAFullResync) {
    create();
    left.daemon->host->fail_log();
    EXPECT_TRUE(pair.write(left, 3, 5));
    EXPECT_TRUE(pair.in_sync());
    pair.wire.blocks_sent = 0;
    pair.power_off(left);
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    EXPECT_TRUE(pair.peer(left).log_valid);
}

// Spec: REP-064
TEST_F(PairTest, ALogThatFailedIsNotBelievedAfterALaterResyncEither) {
    create();
    left.daemon->host->fail_log();
    ASSERT_TRUE(pair.until([&] { return !pair.peer(left).log_valid; }));
    pair.cut();
    EXPECT_TRUE(pair.write(left, 3, 5));
    pair.heal();
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_FALSE(pair.peer(left).log_valid);
    pair.wire.blocks_sent = 0;
    pair.power_off(left);
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    EXPECT_TRUE(pair.peer(left).log_valid);
}

// Spec: REP-187 REP-055
TEST_F(PairTest, ALostLogMeansAFullResync) {
    create();
    pair.power_off(left);
    left.disk.log_lost = true;
    const auto sent = pair.wire.blocks_sent;
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, sent + kBlocks);
    EXPECT_TRUE(pair.peer(left).log_valid);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
