// What two joined volumes send again after cuts, pauses, restarts and promotions.

#include "mirror/volume_fixture.h"

#include <gtest/gtest.h>

#include <optional>

namespace understudy::mirror::testing_volume {
namespace {

// Spec: REP-002, REP-074, REP-109, MOP-004
TEST_F(VolumeTest, AFullResyncThenSynchronousWritesMakeEqualEnds) {
    std::ofstream(path("left"), std::ios::in | std::ios::out).seekp(1 << 20)
        << "content from before the mirror";
    std::ofstream(path("right"), std::ios::in | std::ios::out).seekp(5 << 20) << "rubbish";
    start(ResyncKind::full);
    EXPECT_EQ(left_events.synced, 1);
    EXPECT_EQ(right_events.synced, 1);
    EXPECT_TRUE(equal());
    storm(*left, 300, 1);
    EXPECT_TRUE(equal());  // each write waited for both ends
    EXPECT_EQ(left->status().dirty_blocks, 0U);
}

// Spec: REP-244, REP-246
TEST_F(VolumeTest, AThrottledMirrorSendsNoFasterThanItsRateUntilTheLimitIsLifted) {
    type = MirrorType::async;
    start(ResyncKind::full);
    parameters.bandwidth_throttle_kbit = 8000;
    left->set_parameters(parameters);
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(write(*left, 0, 1 << 20, 9), 0);
    ASSERT_EQ(flush(*left), 0);
    // 1 MiB at 1 MB/s, of which a tenth of a second's worth may go at once.
    EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(900));
    EXPECT_TRUE(equal());
    parameters.bandwidth_throttle_kbit = 1;  // as good as never
    left->set_parameters(parameters);
    ASSERT_EQ(write(*left, 0, 1 << 20, 10), 0);
    parameters.bandwidth_throttle_kbit = 0;
    left->set_parameters(parameters);
    ASSERT_EQ(flush(*left), 0);
    EXPECT_TRUE(equal());
}

// Spec: REP-355
TEST_F(VolumeTest, AComparisonFindsAndRepairsWhatWasChangedBehindItsBack) {
    start(ResyncKind::full);
    ASSERT_EQ(write(*left, 0, 1 << 20, 3), 0);
    std::ofstream(path("right"), std::ios::in | std::ios::out).seekp(5 * kBlock + 100) << "rubbish";
    ASSERT_EQ(::system(("sync " + path("right")).c_str()), 0);
    for (const bool repair : {false, true, false}) {
        std::optional<CompareReport> report;
        left->compare({1 << 30, repair}, [&](Result<CompareReport> result) {
            ASSERT_TRUE(result) << result.error().text;
            report = *result;
        });
        storm(*left, 50, 7);
        ASSERT_TRUE(run_until([&] { return report && left->status().dirty_blocks == 0; }));
        EXPECT_EQ(report->stopped, "");
        EXPECT_EQ(report->compared_bytes + report->skipped_bytes, kSize);
        EXPECT_FALSE(left->status().comparison.running);
        if (repair) {
            EXPECT_TRUE(equal());
        }
        EXPECT_LE(report->different_blocks, 1U);
    }
    EXPECT_TRUE(equal());
    right->compare({}, [](const Result<CompareReport>& result) { EXPECT_FALSE(result); });
}

// Spec: REP-086, REP-122, REP-138, REP-166, REP-204
TEST_F(VolumeTest, AfterACutOnlyChangedBlocksAreSentAgain) {
    start(ResyncKind::full);
    storm(*left, 100, 3);
    ASSERT_EQ(flush(*left), 0);
    // An idle moment lets the epoch end, so that nothing counts as unconfirmed.
    ASSERT_TRUE(
        run_until([&] { return left->status().log_commits > 0 && left->status().dirty_blocks == 0; }));
    reactor_idle(milliseconds(400));
    cut();
    ASSERT_TRUE(
        run_until([&] { return left->status().state == MirrorState::paused && right_events.lost > 0; }));
    EXPECT_EQ(left->status().cause, PauseCause::link_lost);
    EXPECT_EQ(left_events.degradations, 1);
    EXPECT_EQ(right->status().state, MirrorState::mirroring);  // Spec: REP-152
    for (unsigned i = 0; i < 10; ++i)
        EXPECT_EQ(write(*left, i * 2 * kBlock, 4096, 0x40 + static_cast<int>(i)), 0);
    EXPECT_EQ(left->status().dirty_blocks, 10U);
    left->resume();
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_EQ(left->status().resync_bytes_sent, 10 * kBlock);
    EXPECT_TRUE(equal());
}

// Spec: REP-079
TEST_F(VolumeTest, WritesThatWaitForALostTargetAreReleasedOnlyAfterTheRecordIsMade) {
    start(ResyncKind::full);
    left_events.hold_release = true;
    cut();
    auto request = submit(*left, BlockOp::write, 0, 4096, std::byte{7});
    ASSERT_TRUE(run_until([&] { return left_events.held != nullptr; }));
    auto later = submit(*left, BlockOp::write, 8192, 4096, std::byte{8});
    reactor_idle(milliseconds(300));
    EXPECT_FALSE(request->done);
    EXPECT_FALSE(later->done);
    left_events.held(true);
    EXPECT_TRUE(run_until([&] { return request->done && later->done; }));
    EXPECT_EQ(request->block.result, 0);
}

// Spec: REP-096, REP-164
TEST_F(VolumeTest, ConnectionsThatBreakUnderLoadAreReplacedWithoutAResync) {
    features = wire::kAllFeatures;
    for (const MirrorType kind : {MirrorType::sync, MirrorType::async}) {
        type = kind;
        start(ResyncKind::full);
        const auto sent = left->status().resync_bytes_sent;
        for (unsigned i = 0; i < 5; ++i) {
            std::deque<std::unique_ptr<Request>> flying;
            for (unsigned n = 0; n < 40; ++n)
                flying.push_back(submit(*left, BlockOp::write, (n * 7 + i) % 300 * 65536, 65536,
                                        static_cast<std::byte>(n + i)));
            left_events.interrupted = 0;
            cut();
            ASSERT_TRUE(run_until([&] { return left_events.interrupted > 0 && right->status().resumable; }));
            EXPECT_EQ(left->status().state, MirrorState::mirroring);
            rejoin(*left, *right);
            ASSERT_TRUE(run_until([&] {
                return std::all_of(flying.begin(), flying.end(),
                                   [](const auto& request) { return request->done; });
            }));
            for (const auto& request : flying)
                EXPECT_EQ(request->block.result, 0);
        }
        ASSERT_EQ(flush(*left), 0);
        EXPECT_EQ(left_events.lost, 0);
        EXPECT_EQ(left_events.degradations, 0);
        EXPECT_EQ(left->status().resync_bytes_sent, sent);
        EXPECT_TRUE(equal());
        close(left);
        close(right);
    }
}

// Spec: REP-119, REP-121, REP-198, REP-211, REP-236
TEST_F(VolumeTest, APromotedTargetGoesOnAndTheOldSourceFollowsWithItsOwnBlocksOverwritten) {
    start(ResyncKind::full);
    storm(*left, 30, 4);
    reactor_idle(milliseconds(400));
    cut();
    ASSERT_TRUE(run_until([&] { return left_events.lost > 0 && right_events.lost > 0; }));
    ASSERT_EQ(write(*left, 3 << 20, 65536, 0x11), 0);  // only the old source has this

    bool drained = false;
    right->drain([&](Result<> result) { drained = result.has_value(); });
    ASSERT_TRUE(run_until([&] { return drained; }));
    right->become_source(MirrorState::paused, PauseCause::link_lost, false);
    ASSERT_EQ(write(*right, 9 << 20, 65536, 0x22), 0);

    bool quiet = false;
    left->quiesce([&](Result<>) { quiet = true; });
    ASSERT_TRUE(run_until([&] { return quiet; }));
    EXPECT_EQ(submit(*left, BlockOp::write, 0, 4096)->block.result, -EROFS);
    left->become_target();
    right->resume();
    join(*right, *left, ResyncKind::partial);
    ASSERT_TRUE(
        run_until([&] { return right->status().state == MirrorState::mirroring && left_events.synced > 1; }));
    EXPECT_TRUE(equal());
    EXPECT_LT(right->status().resync_bytes_sent, kSize);  // partial
    EXPECT_NE(content(path("left")).substr(3 << 20, 65536), std::string(65536, 0x11));
    storm(*right, 50, 5);
    EXPECT_TRUE(equal());
}

// Spec: REP-184, REP-185, REP-218
TEST_F(VolumeTest, ACleanShutdownLeavesACleanLogAndNoResyncWork) {
    type = MirrorType::async;
    start(ResyncKind::full);
    storm(*left, 200, 6);
    close(left);
    close(right);
    EXPECT_TRUE(equal());
    left = open("left", left_events);
    EXPECT_TRUE(left->status().log_was_clean);
    EXPECT_TRUE(left->status().log_valid);
    left->become_source(MirrorState::pending, PauseCause::none, false);
    EXPECT_EQ(left->status().dirty_blocks, 0U);
}

// Spec: REP-186, REP-209, MOP-123
TEST_F(VolumeTest, DirtyBlocksOutliveARestartWhilePaused) {
    start(ResyncKind::full);
    cut();
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::paused; }));
    for (unsigned i = 0; i < 5; ++i)
        ASSERT_EQ(write(*left, i * kBlock * 3, 8192, 0x60), 0);
    const auto dirty = left->status().dirty_blocks;
    close(left);
    left = open("left", left_events);
    left->become_source(MirrorState::pending, PauseCause::none, false);
    EXPECT_EQ(left->status().dirty_blocks, dirty);
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_TRUE(equal());
}

// Spec: REP-150, REP-159
TEST_F(VolumeTest, APauseGivesTheTargetWhatIsQueuedAndThenOnlyTracks) {
    type = MirrorType::async;
    start(ResyncKind::full);
    storm(*left, 100, 7);
    bool paused = false;
    left->pause([&](Result<> result) { paused = result.has_value(); });
    ASSERT_TRUE(run_until([&] { return paused && right_events.lost > 0; }));
    EXPECT_NE(right_events.reason.find("paused by the user"), std::string::npos) << right_events.reason;
    EXPECT_EQ(left->status().cause, PauseCause::user);
    EXPECT_EQ(left->status().dirty_blocks, 0U);
    EXPECT_TRUE(equal());
    ASSERT_EQ(write(*left, 0, 4096, 0x55), 0);
    EXPECT_EQ(left->status().dirty_blocks, 1U);
}

// Spec: REP-029, REP-110, REP-355
TEST_F(VolumeTest, WhatAFullCopyLeavesOutIsNeitherSentNorComparedUntilItIsWritten) {
    constexpr std::uint64_t kBlocks = kSize / kBlock;
    for (const char* name : {"left", "right"}) {
        std::ofstream file(path(name), std::ios::in | std::ios::out);
        for (std::uint64_t at = 0; at < kSize; at += 4096)
            file << std::string(4096, name[0]);
    }
    const auto differing = [this] {
        std::vector<std::uint64_t> out;
        const std::string here = content(path("left")), there = content(path("right"));
        for (std::uint64_t block = 0; block * kBlock < kSize; ++block)
            if (here.compare(block * kBlock, kBlock, there, block * kBlock, kBlock) != 0)
                out.push_back(block);
        return out;
    };
    left = open("left", left_events);
    right = open("right", right_events);
    ASSERT_TRUE(left && right);
    left->become_source(MirrorState::pending, PauseCause::none, true);
    right->become_target();
    left->watch_writes(1);
    left->leave_out(1, {{5, 1}}, false);  // overtaken by the next question
    left->watch_writes(2);
    ASSERT_EQ(write(*left, 102 * kBlock + 4096, 4096, 7), 0);  // while the file system is asked
    left->leave_out(1, {{5, 1}}, false);
    left->leave_out(2, {{100, 6}}, false);
    join(*left, *right, ResyncKind::full);
    ASSERT_TRUE(run_until([&] {
        return left->status().state == MirrorState::mirroring && right->status().consistent &&
               right->status().state == MirrorState::mirroring;
    }));
    EXPECT_EQ(differing(), (std::vector<std::uint64_t>{100, 101, 103, 104, 105}));
    EXPECT_EQ(left->status().resync_bytes_sent, kSize - 5 * kBlock);
    EXPECT_EQ(left->status().left_out_blocks, 5U);
    const auto compare = [this](CompareReport& report) {
        bool done = false;
        left->compare({1 << 30, false}, [&](Result<CompareReport> result) {
            ASSERT_TRUE(result) << result.error().text;
            report = *result;
            done = true;
        });
        ASSERT_TRUE(run_until([&] { return done && left->status().dirty_blocks == 0; }));
    };
    CompareReport report;
    compare(report);
    EXPECT_EQ(report.unused_bytes, 5 * kBlock);
    EXPECT_EQ(report.different_blocks + report.completed_blocks, 0U);
    // A part is used now: the file system never reads the rest, and a comparison makes it equal all the same.
    ASSERT_EQ(write(*left, 104 * kBlock, 4096, 9), 0);
    EXPECT_EQ(content(path("right")).substr(104 * kBlock, 4096), std::string(4096, 9));
    compare(report);
    EXPECT_EQ(report.completed_blocks, 1U);
    EXPECT_EQ(report.different_blocks, 0U);
    EXPECT_EQ(report.compared_bytes + report.skipped_bytes + report.unused_bytes + kBlock, kSize);
    EXPECT_EQ(differing(), (std::vector<std::uint64_t>{100, 101, 103, 105}));
    // After the loss of the link nothing more is owed.
    cut();
    ASSERT_TRUE(run_until([&] { return left_events.lost == 1; }));
    EXPECT_LT(left->status().dirty_blocks, kBlocks / 2);
    left->resume();
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_EQ(differing(), (std::vector<std::uint64_t>{100, 101, 103, 105}));
    // In full, and nobody was asked.
    left->detach();
    join(*left, *right, ResyncKind::full);
    ASSERT_TRUE(run_until([&] { return left_events.synced == 3; }));
    EXPECT_TRUE(equal());
    EXPECT_FALSE(left->status().left_out_known);
}

}  // namespace
}  // namespace understudy::mirror::testing_volume
