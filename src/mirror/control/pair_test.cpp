// How mirrors are made, changed and deleted by two hosts, in the simulated world.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

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

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
