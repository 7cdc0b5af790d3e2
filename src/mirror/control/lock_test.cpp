// Targets opened to local use, broken mirrors, full resyncs.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct LockTest : HostsTest {
    LockTest() {
        const auto made = pair.create();
        EXPECT_EQ(made.exit_code, 0) << made.err;
        EXPECT_TRUE(pair.wait_in_sync());
        pair.wire.blocks_sent = 0;
    }
};

// Spec: EMC-080, EMC-260, MOP-100, MOP-101, MOP-103, MOP-105, REP-046, REP-190, REP-195
TEST_F(LockTest, WritesOnAnUnlockedTargetAreTrackedAndOverwrittenByAPartialResync) {
    ok(left, {"pause", "R"});
    ok(right, {"unlock", "R"});
    EXPECT_TRUE(right.daemon->host->exported());
    EXPECT_TRUE(pair.write(right, 5, 55));
    EXPECT_TRUE(pair.write(left, 6, 66));
    EXPECT_EQ(right.disk.blocks[5], 55);
    EXPECT_EQ(left.disk.blocks[5], 0);
    ok(right, {"lock", "R"});
    EXPECT_FALSE(right.daemon->host->exported());
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    EXPECT_EQ(right.disk.blocks[6], 66);
    EXPECT_EQ(pair.wire.blocks_sent, 2U);
}

// Spec: EMC-131, MOP-106, REP-194
TEST_F(LockTest, AnUnlockedTargetIsNotWrittenTo) {
    ok(left, {"pause", "R"});
    ok(right, {"unlock", "R"});
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.until([&] { return !pair.peer(left).problem.empty(); }));
    EXPECT_NE(pair.peer(left).problem.find("unlocked"), std::string::npos) << pair.peer(left).problem;
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    EXPECT_TRUE(pair.peer(left).user_requested);
}

// Spec: EMC-083
TEST_F(LockTest, UnlockingWhileMirroringPausesTheSourceForGood) {
    ok(right, {"unlock", "R"});
    ASSERT_TRUE(pair.until([&] { return pair.peer(left).user_requested; }));
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_EQ(right.disk.blocks[1], 0);
}

// Spec: EMC-082, EMC-084, EMC-261, MOP-006, REP-196, REP-202, REP-207
TEST_F(LockTest, ATargetThatDiesUnlockedComesBackUnlockedAndGetsAFullResync) {
    ok(left, {"pause", "R"});
    ok(right, {"unlock", "R"});
    pair.power_off(right);
    pair.start(right);
    ASSERT_TRUE(pair.until([&] { return right.daemon->host && right.daemon->host->exported(); }));
    ok(right, {"lock", "R"});
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
}

// Spec: EMC-218, EMC-220, MOP-102, MOP-107, REP-091, REP-193, REP-198, REP-203
TEST_F(LockTest, LockingFailsWhileTheDeviceIsInUseAndAnUnlockedTargetDoesNotTakeOver) {
    ok(right, {"lock", "R"});  // locked already
    ok(left, {"pause", "R"});
    ok(right, {"unlock", "R"});
    right.disk.used_by = "bash (pid 7)";
    refused(right, {"lock", "R"}, "bash (pid 7)");
    EXPECT_TRUE(pair.record(right).unlocked);
    refused(right, {"promote", "R"}, "unlocked");
    right.disk.used_by.clear();
    ok(right, {"lock", "R"});
    refused(left, {"lock", "R"}, "is source");
}

// Without bitmaps what is written there could not be overwritten again.
// Spec: REP-192
TEST_F(LockTest, ATargetWhoseLogFailedIsNotUnlockedUntilItsNextStart) {
    right.daemon->host->fail_log();
    pair.sim.run_for(1s);
    ok(left, {"pause", "R"});
    refused(right, {"unlock", "R"}, "event 169");
    EXPECT_FALSE(right.daemon->host->exported());
    EXPECT_FALSE(pair.record(right).unlocked);
    pair.kill(right);
    pair.start(right);
    pair.sim.run_for(1s);
    ok(right, {"unlock", "R"});
    EXPECT_TRUE(right.daemon->host->exported());
    ok(right, {"lock", "R"});
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
}

// Spec: EMC-258, MOP-104, REP-191
TEST_F(LockTest, ATargetInTheMiddleOfAResyncIsNotUnlocked) {
    pair.wire.resync_takes = 60s;
    ok(left, {"resync", "R"});
    ASSERT_TRUE(pair.until([&] { return !pair.record(right).consistent; }));
    refused(right, {"unlock", "R"}, "resync");
    EXPECT_FALSE(right.daemon->host->exported());
    pair.power_off(left);
    refused(right, {"unlock", "R"}, "resync");
}

// Spec: EMC-088, EMC-089, EMC-091, EMC-093, MOP-109, REP-131, REP-161
TEST_F(LockTest, ABrokenMirrorIsResynchronisedInFull) {
    refused(right, {"break", "R"}, "is target");
    EXPECT_EQ(pair.peer(left).state, MirrorState::mirroring);
    ok(left, {"break", "R"});
    EXPECT_EQ(pair.peer(left).state, MirrorState::broken);
    EXPECT_TRUE(pair.peer(left).user_requested);
    EXPECT_TRUE(pair.write(left, 2, 22));
    EXPECT_EQ(right.disk.blocks[2], 0);
    refused(left, {"pause", "R"}, "broken");
    pair.kill(left);
    pair.start(left);
    pair.sim.run_for(5s);
    EXPECT_EQ(pair.peer(left).state, MirrorState::broken);
    pair.wire.blocks_sent = 0;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    EXPECT_EQ(right.disk.blocks[2], 22);
}

// The notice of a pause travels on a connection of its own and may come after the mirror was continued.
TEST_F(LockTest, ANoticeOfAPauseThatComesLateChangesNothing) {
    ok(left, {"pause", "R"});
    PeerRequest late;
    late.kind = RequestKind::pause_notice;
    late.volume = VolumeId("R");
    late.uuid = pair.record(left).uuid;
    late.summary.generations = pair.generations(left);
    ASSERT_TRUE(pair.until([&] { return pair.record(right).outdated; }));
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    struct Waiter {
        static runtime::Task<> wait(std::shared_ptr<Mirror> mirror, PeerRequest request, bool* done) {
            const PeerReply reply = co_await mirror->serve("left", std::move(request));
            *done = reply.code == Code::ok;
        }
    };
    bool done = false;
    right.daemon->tasks.spawn(Waiter::wait(right.daemon->manager.find(VolumeId("R")), late, &done));
    ASSERT_TRUE(pair.until([&] { return done; }));
    EXPECT_TRUE(pair.in_sync());
    EXPECT_FALSE(pair.record(right).outdated);
}

// Spec: EMC-235, MOP-110, REP-162
TEST_F(LockTest, AResyncFromAnyStateIsFull) {
    for (const char* before : {"", "pause", "break"}) {
        if (*before != '\0') ok(left, {before, "R"});
        pair.wire.blocks_sent = 0;
        ok(left, {"resync", "R"});
        ASSERT_TRUE(pair.until([&] { return pair.wire.blocks_sent == kBlocks && pair.in_sync(); })) << before;
    }
    refused(right, {"resync", "R"}, "is target");
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
