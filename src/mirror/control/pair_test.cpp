// What two hosts do with one mirror, in the simulated world. The model of the data path is in test_pair.h.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct PairTest : testing::Test {
    Pair pair;
    Host& left = pair.left;
    Host& right = pair.right;

    void create(std::map<std::string, std::string> more = {}) {
        const auto made = pair.create(std::move(more));
        ASSERT_EQ(made.exit_code, 0) << made.err;
        ASSERT_TRUE(pair.wait_in_sync());
    }
    void expect_ok(const config::Reply& reply) { EXPECT_EQ(reply.exit_code, 0) << reply.err; }
    void expect_error(const config::Reply& reply, const char* says) {
        EXPECT_NE(reply.exit_code, 0) << reply.out;
        EXPECT_NE(reply.err.find(says), std::string::npos) << reply.err;
    }
};

// Spec: REP-002 REP-025 REP-036 REP-109 REP-133 REP-153
TEST_F(PairTest, CreationCopiesTheWholeSourceAndThenMirrors) {
    left.disk.blocks.assign(kBlocks, 7);
    create();
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    EXPECT_TRUE(pair.write(left, 3, 42));
    EXPECT_EQ(right.disk.blocks[3], 42);
    EXPECT_FALSE(right.daemon->host->exported());
    EXPECT_EQ(pair.record(right).volume, pair.record(left).volume);
    EXPECT_EQ(pair.peer(left).local_address, left.address);  // as the administrator chose them
    EXPECT_EQ(pair.peer(left).address, right.address);
    EXPECT_EQ(pair.peer(right).local_address, right.address);
}

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

// Spec: REP-154
TEST_F(PairTest, CreationWithoutResyncSendsNothing) {
    create({{"no-resync", ""}});
    EXPECT_EQ(pair.wire.blocks_sent, 0U);
    EXPECT_TRUE(pair.record(right).consistent);
}

// Spec: REP-018 REP-021 REP-023 REP-024 REP-026 REP-037
TEST_F(PairTest, WhatDoesNotFitIsRefusedAndLeavesNoTrace) {
    right.disk.size = 65536;
    expect_error(pair.create(), "less than the source's");
    right.disk.size = left.disk.size;
    right.disk.sector = 4096;
    expect_error(pair.create(), "sector sizes differ");
    right.disk.sector = 512;
    right.disk.used_by = "mysqld (pid 5)";
    expect_error(pair.create(), "mysqld (pid 5)");
    right.disk.used_by.clear();
    left.disk.used_by = "bash (pid 6)";
    expect_error(pair.create(), "bash (pid 6)");
    left.disk.used_by.clear();
    expect_error(pair.create({{"target", "left"}}), "same node");
    expect_error(pair.create({{"target", "other"}}), "is node right, not other");
    expect_error(pair.create({{"target-address", "::1"}}), "address families");
    expect_error(pair.create({{"target-address", "10.0.0.9"}}), "does not answer");
    for (Host* host : {&left, &right}) {
        EXPECT_TRUE(host->daemon->manager.all().empty());
        EXPECT_TRUE(host->node->files().list("/var/lib/understudy/mirrors").empty());
    }
    create();
    expect_error(pair.create(), "exists already");
}

TEST_F(PairTest, ACreationCutShortIsUndone) {
    bool off = false;
    pair.sim.after_each_event([&] {
        // The power goes as soon as the target has its half.
        if (off || !right.daemon || right.daemon->manager.all().empty()) return;
        off = true;
    });
    config::Command command;
    struct Spawn {
        static runtime::Task<> create(Daemon* daemon) {
            CreateOptions options;
            options.volume = VolumeId("R");
            options.device = "/disks/r";
            TargetOptions target;
            target.node = "right";
            target.device = "/disks/r";
            target.source_address = "10.0.0.1";
            target.address = "10.0.0.2";
            options.targets.push_back(target);
            auto made = co_await daemon->manager.create(options);
            (void)made;
        }
    };
    left.daemon->tasks.spawn(Spawn::create(left.daemon));
    ASSERT_TRUE(pair.until([&] { return off; }));
    pair.power_off(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return right.daemon->manager.all().empty(); }));
    ASSERT_TRUE(pair.until([&] { return left.node->files().list("/var/lib/understudy/mirrors").empty(); }));
    create();
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

/// Only the mirror's network goes; the cluster sees both nodes.
void expect_refused_as_behind(PairTest& test) {
    test.expect_error(test.pair.run(test.right, {"promote", "R"}), "left went on without it at ");
    test.expect_error(test.pair.run(test.right, {"promote", "R"}, {{"peer-dead", ""}}), "promote --force R");
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
    expect_refused_as_behind(*this);
    EXPECT_EQ(pair.record(right).role, Role::target);
    // Also after the spare itself has been off.
    pair.power_off(right);
    pair.start(right);
    pair.sim.run_for(1s);
    expect_refused_as_behind(*this);
    expect_ok(pair.run(right, {"promote", "R"}, {{"force", ""}}));
    EXPECT_TRUE(pair.write(right, 4, 44));
}

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
    pair.cluster.silent.insert("left");
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
    expect_refused_as_behind(*this);
}

// Spec: REP-355
TEST_F(PairTest, VerifyTellsWhatDiffersAndRepairsItWhenAsked) {
    create();
    EXPECT_TRUE(pair.write(left, 3, 33));
    const auto equal = pair.run(left, {"verify", "R"});
    expect_ok(equal);
    EXPECT_NE(equal.out.find("1.0 MiB of 1.0 MiB compared, no difference"), std::string::npos) << equal.out;
    right.disk.blocks[3] = 34;
    expect_error(pair.run(left, {"verify", "R"}), "1 blocks of 64 KiB differ, at byte 196608");
    EXPECT_EQ(right.disk.blocks[3], 34);
    expect_error(pair.run(right, {"verify", "R"}), "verify it on its source");
    expect_error(pair.run(left, {"verify", "R"}, {{"rate", "0"}}), "--rate takes 1 to");
    const auto repaired = pair.run(left, {"verify", "R"}, {{"repair", ""}});
    expect_ok(repaired);
    EXPECT_NE(repaired.out.find("1 blocks of 64 KiB differ and were sent again"), std::string::npos)
        << repaired.out;
    EXPECT_EQ(right.disk.blocks[3], 33);
    pair.cut();
    expect_error(pair.run(left, {"verify", "R"}), "only while they mirror");
}

// Spec: REP-151 REP-269 REP-271 REP-273
TEST_F(PairTest, AVolumesParametersAreItsOwnTakeEffectAtOnceAndOutliveTheDaemon) {
    create();
    expect_ok(pair.run(left, {"set", "R", "BandwidthThrottle=8000", "ResyncReads=30"}));
    EXPECT_EQ(left.daemon->host->parameters().bandwidth_throttle_kbit, 8000U);
    EXPECT_EQ(left.daemon->host->parameters().resync_reads, 30U);
    EXPECT_EQ(right.daemon->host->parameters().bandwidth_throttle_kbit, 0U);
    expect_error(pair.run(left, {"set", "R", "ResyncReads=10", "PingInterval=0"}), "PingInterval=0 is not");
    EXPECT_EQ(left.daemon->host->parameters().resync_reads, 30U);  // all of it or nothing
    expect_error(pair.run(left, {"set", "Q", "ResyncReads=10"}), "no volume Q");
    const auto shown = pair.run(left, {"set", "R"});
    EXPECT_NE(shown.out.find("ResyncReads=30 (this volume's own"), std::string::npos) << shown.out;
    pair.kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(left.daemon->host->parameters().bandwidth_throttle_kbit, 8000U);
    expect_ok(pair.run(left, {"set", "R", "BandwidthThrottle="}));
    EXPECT_EQ(left.daemon->host->parameters().bandwidth_throttle_kbit, 0U);
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
    expect_refused_as_behind(*this);
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

// Spec: REP-163 REP-200
TEST_F(PairTest, DeletionEndsBothHalvesAndKeepsTheData) {
    create();
    EXPECT_TRUE(pair.write(left, 2, 5));
    expect_error(pair.run(right, {"delete", "R"}), "delete it on left");
    left.disk.used_by = "mount /data";
    expect_error(pair.run(left, {"delete", "R"}), "mount /data");
    left.disk.used_by.clear();
    expect_ok(pair.run(left, {"delete", "R"}));
    EXPECT_TRUE(left.daemon->manager.all().empty());
    EXPECT_TRUE(right.daemon->manager.all().empty());
    EXPECT_EQ(right.disk.blocks[2], 5);
    create();
    pair.power_off(left);
    expect_ok(pair.run(right, {"delete", "R"}));
}

TEST_F(PairTest, DeletionWithTheTargetAwayNeedsForce) {
    create();
    pair.power_off(right);
    expect_error(pair.run(left, {"delete", "R"}), "--force");
    EXPECT_TRUE(left.daemon->host->exported());
    expect_ok(pair.run(left, {"delete", "R"}, {{"force", ""}}));
    EXPECT_TRUE(left.daemon->manager.all().empty());
}

// Spec: REP-145 REP-183
TEST_F(PairTest, ATargetOfAnotherMirrorIsLeftAlone) {
    create();
    pair.power_off(right);
    expect_ok(pair.run(left, {"delete", "R"}, {{"force", ""}}));
    pair.start(right);
    expect_error(pair.create(), "exists already on right");
    EXPECT_TRUE(left.daemon->manager.all().empty());
    expect_ok(pair.run(right, {"delete", "R"}));
    create();
}

// Spec: REP-180
TEST_F(PairTest, TheTypeChangesOnBothEnds) {
    create();
    expect_ok(pair.run(left, {"type", "R", "async"}));
    ASSERT_TRUE(pair.until([&] { return pair.peer(right).type == MirrorType::async; }));
    EXPECT_EQ(pair.peer(left).type, MirrorType::async);
    expect_error(pair.run(left, {"type", "R", "maybe"}), "sync or async");
}

TEST_F(PairTest, OnlyRootChangesThings) {
    config::Command command;
    command.name = "mirror";
    command.arguments = {"pause", "R"};
    command.uid = 1000;
    struct Ask {
        static runtime::Task<> run(Daemon* daemon, config::Command asked, config::Reply* out) {
            config::Reply reply = co_await daemon->commands.run(std::move(asked));
            *out = reply;
        }
    };
    config::Reply reply;
    left.daemon->tasks.spawn(Ask::run(left.daemon, command, &reply));
    pair.sim.run_for(1s);
    expect_error(reply, "needs root");
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
