// The source's rules one by one, in the model's world with everything under the test's control.

#include "base/checksum.h"
#include "mirror/core/limits.h"
#include "mirror/core/model_world.h"

#include <gtest/gtest.h>

#include <deque>

namespace understudy::mirror::model {
namespace {

using std::chrono::milliseconds;

struct Compared {
    bool done = false;
    CompareReport report;
    std::string error;
    std::function<void(Result<CompareReport>)> callback() {
        return [this](Result<CompareReport> result) {
            done = true;
            if (result)
                report = *result;
            else
                error = result.error().text;
        };
    }
};

class SourceTest : public ::testing::Test {
  protected:
    void start(MirrorType type, ResyncKind kind = ResyncKind::none) {
        world.type = type;
        world.start(kind);
        ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
        world.settle();
    }
    Source& source() { return *world.source().source; }
    MirrorState state() { return source().state(); }

    AppRequest& write(std::uint64_t cell, std::uint64_t cells = 8) {
        world.submit(BlockOp::write, cell, cells, false);
        return *world.history.back();
    }
    AppRequest& flush() {
        world.submit(BlockOp::flush, 0, 0, false);
        return *world.flushes.back();
    }
    /// The source's own disk and log only: nothing reaches the target.
    void run_here() {
        Node& node = world.source();
        while (true) {
            if (node.log->committing()) {
                node.finish_commit();
            } else if (node.commit_wanted && node.log->wants_commit()) {
                node.start_commit();
            } else if (node.disk.busy()) {
                node.disk.complete_one();
            } else {
                return;
            }
        }
    }
    void pass(milliseconds time) {
        for (milliseconds left = time; left > milliseconds(0); left -= kTick) {
            world.tick(kTick);
            world.settle(2000);
        }
    }

    std::deque<Compared> comparisons;  // outlive the world, whose end is theirs
    World world{1};
};

// Spec: REP-074, REP-077
TEST_F(SourceTest, ASynchronousWriteCompletesWhenBothEndsHaveIt) {
    start(MirrorType::sync);
    AppRequest& request = write(0);
    run_here();
    EXPECT_EQ(request.completed, 0U);
    world.settle();
    EXPECT_NE(request.completed, 0U);
    EXPECT_EQ(world.target().disk.cell(0), request.id);
}

// Spec: REP-081
TEST_F(SourceTest, AnAsynchronousWriteCompletesWhenThisEndHasItAndItsBufferIsFreeThen) {
    start(MirrorType::async);
    AppRequest& request = write(0);
    run_here();
    EXPECT_NE(request.completed, 0U);  // its buffer was overwritten at once by the model
    EXPECT_EQ(source().queue_requests(), 1U);
    world.settle();
    EXPECT_EQ(source().queue_requests(), 0U);
    EXPECT_EQ(world.target().disk.cell(0), request.id);
}

// Spec: REP-095
TEST_F(SourceTest, ATargetThatOwesAnAnswerAndIsSilentIsReportedLongBeforeItsPingsAreMissed) {
    start(MirrorType::sync);
    Node& node = world.source();
    pass(milliseconds(2000));
    EXPECT_EQ(node.silences, 0U);  // idle: the pings of 3 s are all it owes
    AppRequest& request = write(0);
    run_here();
    for (milliseconds time(0); time < kSilence; time += kTick)
        world.tick(kTick);
    EXPECT_EQ(node.silences, 0U);
    for (milliseconds time(0); time < milliseconds(3000); time += kTick)
        world.tick(kTick);
    EXPECT_GE(node.silences, 9U);
    EXPECT_TRUE(source().linked());  // only told: it may be slow
    EXPECT_EQ(request.completed, 0U);
    world.settle();
    const unsigned before = node.silences;
    pass(milliseconds(1000));
    EXPECT_EQ(node.silences, before);
    EXPECT_NE(request.completed, 0U);
}

// Spec: REP-355
TEST_F(SourceTest, AComparisonNamesWhatDiffersAndChangesNothing) {
    start(MirrorType::sync);
    auto& there = world.target().disk.content_for_setup();
    there[5 * 128 * kCell + 77] ^= std::byte{1};
    there[19 * 128 * kCell] ^= std::byte{0x80};
    Compared& result = comparisons.emplace_back();
    source().compare({1 << 30, false}, result.callback());
    Compared& second = comparisons.emplace_back();
    source().compare({1 << 30, false}, second.callback());
    EXPECT_EQ(second.error, "the mirror is being compared already");
    pass(milliseconds(1000));
    ASSERT_TRUE(result.done);
    EXPECT_EQ(result.report.different_blocks, 2U);
    EXPECT_EQ(result.report.offsets, (std::vector<std::uint64_t>{5 * kBlockBytes, 19 * kBlockBytes}));
    EXPECT_EQ(result.report.compared_bytes, kVolume);
    EXPECT_EQ(result.report.stopped, "");
    EXPECT_EQ(source().dirty_blocks(), 0U);
    EXPECT_NE(world.check_equal(), "");
}

// Spec: REP-041
TEST_F(SourceTest, AnOlderTargetIsMirroredToAndNotAskedForWhatItDoesNotKnow) {
    world.features = 0;
    start(MirrorType::sync, ResyncKind::full);
    Compared& result = comparisons.emplace_back();
    source().compare({1 << 30, false}, result.callback());
    EXPECT_NE(result.error.find("older and cannot compare"), std::string::npos) << result.error;
    AppRequest& request = write(0);
    pass(milliseconds(500));
    EXPECT_NE(request.completed, 0U);
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-096, REP-164
TEST_F(SourceTest, AfterAShortCutWhatWasNotAcknowledgedIsSentAgainAndNothingElse) {
    world.features |= wire::kFeatureResend;
    start(MirrorType::async);
    AppRequest& arrived = write(0);
    run_here();
    world.source().data.transmit();
    ASSERT_TRUE(world.deliver(world.source(), false));  // applied, but its acknowledgement is lost
    AppRequest& lost = write(8);
    run_here();
    source().link_broken("reset");
    world.target().target->link_broken("reset");
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_FALSE(source().linked());
    EXPECT_EQ(world.source().interrupted_reason, "reset");
    EXPECT_EQ(world.source().lost_reason, "");
    AppRequest& meanwhile = write(16);
    run_here();
    EXPECT_NE(meanwhile.completed, 0U);
    EXPECT_EQ(source().queue_requests(), 3U);
    world.settle();
    EXPECT_EQ(world.target().target->writes(), 1U);
    world.reconnect();
    world.settle();
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(source().queue_requests(), 0U);
    EXPECT_EQ(source().resumptions(), 1U);
    EXPECT_EQ(source().resync_bytes_sent(), 0U);
    EXPECT_EQ(world.target().target->writes(), 3U) << "a duplicate was applied";
    for (const AppRequest* request : {&arrived, &lost, &meanwhile})
        EXPECT_EQ(world.target().disk.cell(request->block.offset / kCell), request->id);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-096
TEST_F(SourceTest, ASynchronousWriteWaitsForTheReconnectionAndNoLongerThanADetectionInterval) {
    world.features |= wire::kFeatureResend;
    start(MirrorType::sync);
    AppRequest& first = write(0);
    run_here();
    source().link_broken("reset");
    world.target().target->link_broken("reset");
    pass(milliseconds(5000));
    EXPECT_EQ(first.completed, 0U);
    world.reconnect();
    world.settle();
    EXPECT_NE(first.completed, 0U);
    EXPECT_EQ(world.target().disk.cell(0), first.id);

    AppRequest& second = write(8);
    run_here();
    source().link_broken("reset again");
    EXPECT_FALSE(world.source().release);
    pass(milliseconds(29000));
    EXPECT_EQ(state(), MirrorState::mirroring);
    pass(milliseconds(2000));
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::link_lost);
    EXPECT_NE(world.source().lost_reason, "");
    world.settle();  // the cluster's record, then the write
    EXPECT_NE(second.completed, 0U);
    EXPECT_EQ(source().dirty_blocks(), 1U);
}

// Spec: REP-096, REP-099, REP-139
TEST_F(SourceTest, AFullQueueEndsTheWaitForAReconnection) {
    world.features |= wire::kFeatureResend;
    world.parameters.write_queue_high_water = 2;
    start(MirrorType::async);
    source().link_broken("reset");
    write(0);
    write(128);
    run_here();
    EXPECT_EQ(state(), MirrorState::mirroring);
    write(256);
    run_here();
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::queue_limit);
    EXPECT_EQ(source().dirty_blocks(), 3U);
    EXPECT_FALSE(source().suspended());
}

// Spec: REP-096
TEST_F(SourceTest, ATargetWithAWriteErrorMeanwhileIsResynchronised) {
    world.features |= wire::kFeatureResend;
    start(MirrorType::async);
    write(0);
    run_here();
    world.source().data.transmit();
    world.target().disk.fail_writes = 100;
    ASSERT_TRUE(world.deliver(world.source(), false));
    source().link_broken("reset");
    world.target().target->link_broken("reset");
    EXPECT_TRUE(world.target().target->resumable());
    world.settle();
    world.target().disk.fail_writes = 0;
    EXPECT_FALSE(world.target().target->resumable());
    world.reconnect();
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().dirty_blocks(), 1U);
}

// Spec: REP-098
TEST_F(SourceTest, AnImpossibleAnswerToAResumptionLosesTheLinkAndNothingElse) {
    world.features |= wire::kFeatureResend;
    start(MirrorType::async);
    for (const auto& [expected, applied] : {std::pair{100U, 1U}, {1U, 100U}, {0U, 0U}}) {
        write(0);
        run_here();
        source().link_broken("reset");
        ASSERT_TRUE(source().suspended());
        source().attach({ResyncKind::partial, world.features, true}, world.now);
        wire::Header answer;
        answer.type = wire::Type::resume_ack;
        answer.sequence = expected;
        answer.argument = applied;
        source().on_data(answer, nullptr, world.now);
        EXPECT_FALSE(source().suspended());
        EXPECT_EQ(state(), MirrorState::paused);
        EXPECT_EQ(source().dirty_blocks(), 1U);
        world.settle();
        world.connect(ResyncKind::partial);
        ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
        world.settle();
    }
}

// Spec: REP-355, REP-089
TEST_F(SourceTest, AComparisonWithRepairSendsWhatDiffersAgain) {
    start(MirrorType::async);
    world.target().disk.content_for_setup()[5 * 128 * kCell + 77] ^= std::byte{1};
    Compared& result = comparisons.emplace_back();
    source().compare({1 << 30, true}, result.callback());
    pass(milliseconds(1000));
    ASSERT_TRUE(result.done);
    EXPECT_EQ(result.report.different_blocks, 1U);
    EXPECT_EQ(world.check_equal(), "");
    EXPECT_EQ(state(), MirrorState::mirroring);
}

TEST_F(SourceTest, AWriteWaitsForTheComparisonOfItsBlockAndTheComparisonForTheWritesBeforeIt) {
    start(MirrorType::sync);
    write(0);
    run_here();
    world.settle();
    AppRequest& before = write(0);
    EXPECT_TRUE(world.source().disk.busy());
    Compared& result = comparisons.emplace_back();
    source().compare({1, false}, result.callback());  // the first block only, at this rate
    AppRequest& behind = write(4);
    AppRequest& beside = write(128 * 3);
    run_here();
    EXPECT_EQ(before.completed, 0U);  // not there yet
    EXPECT_EQ(behind.completed, 0U);
    EXPECT_EQ(beside.completed, 0U);
    EXPECT_EQ(world.source().data.queued.size(), 2U);  // not the one that waits
    world.settle();
    EXPECT_NE(behind.completed, 0U);
    EXPECT_EQ(result.report.different_blocks, 0U);
    EXPECT_EQ(source().comparison().compared_bytes, kBlockBytes);
    EXPECT_EQ(world.check_equal(), "");
}

TEST_F(SourceTest, AComparisonGoesNoFasterThanItsRate) {
    start(MirrorType::sync);
    Compared& result = comparisons.emplace_back();
    source().compare({4 * kBlockBytes, false}, result.callback());
    pass(milliseconds(2000));
    EXPECT_FALSE(result.done);
    EXPECT_GE(source().comparison().compared_bytes, 7 * kBlockBytes);
    EXPECT_LE(source().comparison().compared_bytes, 10 * kBlockBytes);
    pass(milliseconds(5000));
    EXPECT_TRUE(result.done);
}

TEST_F(SourceTest, AComparisonEndsWithTheLinkAndWithAPause) {
    start(MirrorType::sync);
    Compared& lost = comparisons.emplace_back();
    source().compare({1, false}, lost.callback());
    world.cut();
    EXPECT_EQ(lost.report.stopped, "the link was lost");
    Compared& refused = comparisons.emplace_back();
    source().compare({1, false}, refused.callback());
    EXPECT_EQ(refused.error, "both ends can be compared only while they mirror");
    world.settle();
    world.connect(ResyncKind::partial);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
    Compared& paused = comparisons.emplace_back();
    source().compare({1, false}, paused.callback());
    source().pause([](const Result<>&) {});
    pass(milliseconds(1000));
    EXPECT_TRUE(paused.done);
    EXPECT_NE(paused.report.stopped, "");
}

// Spec: REP-051, REP-052
TEST_F(SourceTest, NothingReachesDeviceOrLinkBeforeItsBitIsDurable) {
    start(MirrorType::sync);
    Node& node = world.source();
    ASSERT_FALSE(node.disk.busy());
    write(0);
    write(8 * 128);
    EXPECT_FALSE(node.disk.busy());
    EXPECT_TRUE(node.data.queued.empty());
    node.start_commit();
    EXPECT_FALSE(node.disk.busy());
    node.finish_commit();  // one commit for both
    EXPECT_TRUE(node.disk.busy());
    EXPECT_EQ(node.data.queued.size(), 2U);
    EXPECT_FALSE(node.log->wants_commit());
}

TEST_F(SourceTest, OverlappingWritesGoOneAfterTheOther) {
    start(MirrorType::sync);
    write(0);
    run_here();
    world.settle();
    write(0);
    write(4);
    EXPECT_EQ(world.source().data.queued.size(), 1U);
    run_here();
    EXPECT_EQ(world.source().data.queued.size(), 2U);
    world.settle();
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-075, REP-076, REP-167, REP-221
TEST_F(SourceTest, AWriteErrorOnTheTargetPausesTheMirrorAndTheCallerSeesSuccess) {
    start(MirrorType::sync);
    world.target().disk.fail_writes = 100;
    AppRequest& request = write(0);
    world.settle();
    EXPECT_NE(request.completed, 0U);
    EXPECT_FALSE(request.failed);
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::target_error);
    EXPECT_GT(source().dirty_blocks(), 0U);
    world.target().disk.fail_writes = 0;
    write(5000 % kCells);
    world.settle();
    // Spec: REP-143
    pass(kRetryDelay + milliseconds(500));
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-089, REP-173, REP-214
TEST_F(SourceTest, ALocalWriteErrorIsTheCallersAndTheBlockIsSentAgain) {
    start(MirrorType::sync);
    world.source().disk.fail_writes = 100;
    AppRequest& request = write(0);
    world.settle();
    EXPECT_TRUE(request.failed);
    EXPECT_EQ(state(), MirrorState::mirroring);
    world.source().disk.fail_writes = 0;
    pass(milliseconds(500));
    EXPECT_EQ(source().dirty_blocks(), 0U);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-079
TEST_F(SourceTest, AfterALostLinkNothingCompletesBeforeTheRecordIsMade) {
    start(MirrorType::sync);
    AppRequest& waiting = write(0);
    run_here();
    source().give_up_links("cut");
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(waiting.completed, 0U);
    AppRequest& later = write(64);
    run_here();
    EXPECT_EQ(later.completed, 0U);
    ASSERT_NE(world.source().release, nullptr);
    world.source().release(true);
    EXPECT_NE(waiting.completed, 0U);
    EXPECT_NE(later.completed, 0U);
    EXPECT_FALSE(waiting.failed);
}

// Spec: REP-079, REP-217
TEST_F(SourceTest, WhatCouldNotBeRecordedFailsAndIsSentAgainLater) {
    start(MirrorType::sync);
    AppRequest& waiting = write(0);
    run_here();
    source().give_up_links("cut");
    world.source().release(false);
    EXPECT_NE(waiting.completed, 0U);
    EXPECT_TRUE(waiting.failed);
    EXPECT_GT(source().dirty_blocks(), 0U);
}

// Spec: REP-083
TEST_F(SourceTest, AFlushWaitsUntilTheTargetHasEverythingDurably) {
    start(MirrorType::async);
    write(0);
    AppRequest& request = flush();
    run_here();
    EXPECT_EQ(request.completed, 0U);
    world.settle();
    EXPECT_NE(request.completed, 0U);
    world.target().disk.crash();
    EXPECT_EQ(world.target().disk.cell(0), world.history.back()->id);
}

// Spec: REP-084
TEST_F(SourceTest, AnExemptedVolumesFlushIsLocalAndAForcedWriteOfOthersWaitsLikeAFlush) {
    start(MirrorType::async);
    world.parameters.dont_flush_async_queue = true;
    source().set_parameters(world.parameters);
    write(0);
    AppRequest& request = flush();
    run_here();
    EXPECT_NE(request.completed, 0U);
    world.parameters.dont_flush_async_queue = false;
    source().set_parameters(world.parameters);
    world.submit(BlockOp::write, 16, 8, true);
    AppRequest& forced = *world.history.back();
    run_here();
    EXPECT_EQ(forced.completed, 0U);
    world.settle();
    EXPECT_NE(forced.completed, 0U);
}

// Spec: REP-085, REP-086
TEST_F(SourceTest, WhilePausedWritesAreTrackedAndAFlushIsLocal) {
    start(MirrorType::async);
    bool paused = false;
    source().pause([&](Result<> result) { paused = result.has_value(); });
    ASSERT_TRUE(world.run_until([&] { return paused; }));
    AppRequest& tracked = write(0);
    AppRequest& request = flush();
    run_here();
    EXPECT_NE(tracked.completed, 0U);
    EXPECT_NE(request.completed, 0U);
    EXPECT_EQ(source().dirty_blocks(), 1U);
    EXPECT_TRUE(world.source().data.queued.empty());
}

// Spec: REP-099, REP-100, REP-106, REP-139, REP-168, EMC-074
TEST_F(SourceTest, AFullQueuePausesTheMirrorWhichResumesByItself) {
    start(MirrorType::async);
    world.parameters.write_queue_high_water = 10;
    source().set_parameters(world.parameters);
    for (std::uint64_t i = 0; i < 30; ++i)
        write(i * 8);
    run_here();
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::queue_limit);
    for (const auto& request : world.history)
        EXPECT_NE(request->completed, 0U);
    EXPECT_EQ(source().queue_requests(), 10U);  // these still go out, in order
    world.settle();
    EXPECT_EQ(source().queue_requests(), 0U);
    EXPECT_EQ(world.target().disk.cell(0), world.history.front()->id);
    pass(milliseconds(world.parameters.auto_resume_delay_ms + 1000));
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-087, REP-107, REP-136, REP-140, REP-170
TEST_F(SourceTest, WithoutMemoryForAWriteTheMirrorPausesAndResumesByItself) {
    world.copy_bytes = 2 * 8 * kCell;
    start(MirrorType::async);
    write(0);
    write(128);
    AppRequest& third = write(256);
    run_here();
    EXPECT_NE(third.completed, 0U);
    EXPECT_FALSE(third.failed);
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::resource);
    pass(milliseconds(62000));
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.check_equal(), "");
    // In a resync the block only becomes dirty again.
    source().give_up_links("cut");
    world.settle();
    world.connect(ResyncKind::full);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::resync; }));
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
}

// Spec: REP-114
TEST_F(SourceTest, ABlockWrittenDuringItsResyncIsSentAgain) {
    world.parameters.resync_reads = 1;
    world.parameters.resync_low_water = 0;
    start(MirrorType::async);
    source().give_up_links("cut");
    world.settle();
    world.connect(ResyncKind::full);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::resync; }));
    // Its copy is being read or is under way: the write is not sent but makes the block dirty.
    write(0, 2048);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
    EXPECT_GT(source().resync_bytes_sent(), kVolume);
    world.settle();
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-101, REP-169, EMC-074
TEST_F(SourceTest, WithBlockingWritersWaitAndTheMirrorStays) {
    start(MirrorType::async);
    world.parameters.write_queue_high_water = 10;
    world.parameters.block_writes_on_limit_reached = true;
    source().set_parameters(world.parameters);
    for (std::uint64_t i = 0; i < 30; ++i)
        write(i * 8);
    run_here();
    EXPECT_EQ(source().queue_requests(), 10U);
    ASSERT_TRUE(world.run_until([&] {
        EXPECT_LE(source().queue_requests(), 10U);
        EXPECT_EQ(state(), MirrorState::mirroring);
        return world.pending_requests == 0;
    }));
    world.settle();
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-099
TEST_F(SourceTest, TheByteLimitCountsBytes) {
    start(MirrorType::async);
    world.parameters.write_queue_high_water = 0;
    world.parameters.write_queue_byte_limit_mb = 1;
    source().set_parameters(world.parameters);
    for (std::uint64_t i = 0; i < 16; ++i)
        write(i * 128, 128);  // 64 KiB each
    run_here();
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(source().queue_bytes(), 1U << 20);
    write(0, 1);
    EXPECT_EQ(source().cause(), PauseCause::queue_limit);
    run_here();
}

// Spec: REP-242, REP-243, REP-246
TEST_F(SourceTest, CompressionTakesEffectWithTheNextWriteAndIsCountedOnBothSidesOfIt) {
    start(MirrorType::async);
    const auto counted = [&] { return source().counters(world.now); };
    write(0, 64);
    world.settle();
    EXPECT_EQ(counted().data_bytes, 64 * kCell);
    EXPECT_EQ(counted().data_bytes_on_wire, 64 * kCell);
    EXPECT_EQ(counted().compressed_messages, 0U);
    world.parameters.compression_level = 5;
    source().set_parameters(world.parameters);
    for (const MirrorType type : {MirrorType::async, MirrorType::sync}) {
        source().set_type(type);
        AppRequest& request = write(128, 64);
        world.settle();
        EXPECT_NE(request.completed, 0U);
        EXPECT_EQ(world.check_equal(), "");
    }
    EXPECT_EQ(counted().compressed_messages, 2U);
    EXPECT_EQ(counted().data_bytes, 3 * 64 * kCell);
    EXPECT_LT(counted().data_bytes_on_wire, 64 * kCell + 2 * 64 * kCell / 4);
    pass(milliseconds(3000));
    source().give_up_links("cut");
    write(0, 64);
    world.settle();
    const auto before = counted();
    world.connect(ResyncKind::partial);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
    EXPECT_EQ(counted().data_bytes - before.data_bytes, kBlockBytes);
    EXPECT_LT(counted().data_bytes_on_wire - before.data_bytes_on_wire, kBlockBytes / 2);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-243
TEST_F(SourceTest, ATargetThatDoesNotKnowCompressionGetsWhatItKnows) {
    world.features &= ~wire::kFeatureZstd;
    world.parameters.compression_level = 9;
    start(MirrorType::sync, ResyncKind::full);
    write(0, 64);
    world.settle();
    EXPECT_EQ(source().counters(world.now).compressed_messages, 0U);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-098, REP-243
TEST_F(SourceTest, APayloadThatCannotBeUnpackedIsAWriteErrorAndIsSentAgain) {
    world.parameters.compression_level = 3;
    start(MirrorType::async);
    write(0, 64);
    run_here();
    world.source().data.transmit();
    Message& message = world.source().data.travelling.front();
    auto header = *wire::decode(message.header);
    ASSERT_NE(header.flags & wire::kCompressed, 0);
    message.payload.resize(message.payload.size() / 2);  // not what was packed, with the right checksums
    header.length = static_cast<std::uint32_t>(message.payload.size());
    header.payload_crc = crc32c(message.payload);
    wire::encode(header, message.header);
    world.settle();
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::target_error);
    pass(milliseconds(62000));
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-255, REP-256, REP-257, REP-108
TEST_F(SourceTest, HowFarTheTargetIsBehindIsAlwaysKnown) {
    start(MirrorType::async);
    EXPECT_EQ(source().counters(world.now).lag_bytes, 0U);
    write(0, 8);
    run_here();
    world.tick(kTick);
    write(128, 16);
    run_here();
    world.tick(kTick);
    auto counted = source().counters(world.now);
    EXPECT_EQ(counted.queue_age_ms, 200U);
    EXPECT_EQ(counted.lag_ms, 200U);
    EXPECT_EQ(counted.lag_bytes, 24 * kCell);
    EXPECT_EQ(counted.lag_requests, 2U);
    world.settle();
    counted = source().counters(world.now);
    EXPECT_EQ(counted.lag_ms + counted.lag_bytes + counted.lag_requests + counted.queue_age_ms, 0U);
    pass(milliseconds(3000));
    source().give_up_links("cut");
    world.settle();
    write(0, 8);
    world.settle();
    pass(milliseconds(3000));
    counted = source().counters(world.now);
    EXPECT_EQ(counted.lag_ms, 3000U);
    EXPECT_EQ(counted.lag_bytes, kBlockBytes);
}

// Spec: REP-101, REP-108
TEST_F(SourceTest, AtTheLimitOfLossWritersWaitUntilTheTargetHasCaughtUp) {
    world.parameters.lag_limit_ms = 500;
    start(MirrorType::async);
    write(0);
    run_here();
    for (int i = 0; i < 6; ++i)
        world.tick(kTick);
    AppRequest& late = write(128);
    AppRequest& later = write(256);
    run_here();
    world.tick(kTick);
    EXPECT_EQ(late.completed + later.completed, 0U);
    EXPECT_EQ(source().counters(world.now).held_writes, 2U);
    EXPECT_EQ(state(), MirrorState::mirroring);
    world.settle();
    EXPECT_NE(late.completed, 0U);
    EXPECT_NE(later.completed, 0U);
    // In bytes; one that is larger than all of it passes alone.
    world.parameters.lag_limit_ms = 0;
    world.parameters.lag_limit_mb = 1;
    source().set_parameters(world.parameters);
    AppRequest& huge = write(0, 2100);
    run_here();
    EXPECT_NE(huge.completed, 0U);
    AppRequest& more = write(2400, 8);
    run_here();
    EXPECT_EQ(more.completed, 0U);
    // Raising the limit lets them go at once.
    world.parameters.lag_limit_mb = 10;
    source().set_parameters(world.parameters);
    run_here();
    EXPECT_NE(more.completed, 0U);
    world.settle();
    EXPECT_EQ(state(), MirrorState::mirroring);
}

// Spec: REP-100, REP-136
TEST_F(SourceTest, AtTheLimitOfLossTheMirrorPausesWhereThatIsWanted) {
    world.parameters.lag_limit_ms = 500;
    world.parameters.block_writes_on_lag_limit = false;
    world.parameters.auto_resume_delay_ms = 300;
    start(MirrorType::async);
    write(0);
    run_here();
    for (int i = 0; i < 4; ++i)
        world.tick(kTick);
    EXPECT_EQ(state(), MirrorState::mirroring);
    for (int i = 0; i < 3; ++i)
        world.tick(kTick);
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::lag_limit);
    EXPECT_EQ(source().counters(world.now).pauses[static_cast<std::size_t>(PauseCause::lag_limit)], 1U);
    AppRequest& free = write(128);
    run_here();
    EXPECT_NE(free.completed, 0U);
    pass(milliseconds(2000));
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.check_equal(), "");
    // A synchronous mirror loses nothing, so it has no such limit.
    source().set_type(MirrorType::sync);
    write(0);
    run_here();
    for (int i = 0; i < 10; ++i)
        world.tick(kTick);
    EXPECT_EQ(state(), MirrorState::mirroring);
}

// Spec: REP-124, REP-250, REP-263, REP-264, REP-266
TEST_F(SourceTest, AResyncIsCountedWhileItRunsAndItsLengthIsKept) {
    world.parameters.resync_reads = 1;
    start(MirrorType::async);
    pass(milliseconds(1500));
    EXPECT_EQ(source().counters(world.now).mirroring_ms, 1500U);
    EXPECT_EQ(source().counters(world.now).resync_phase, 3U);
    source().give_up_links("cut");
    world.settle();
    EXPECT_EQ(source().counters(world.now).mirroring_ms, 0U);
    world.connect(ResyncKind::full);
    ASSERT_TRUE(world.run_until(
        [&] { return state() == MirrorState::resync && source().dirty_blocks() < blocks_of(kVolume); }));
    ASSERT_EQ(state(), MirrorState::resync);
    auto counted = source().counters(world.now);
    EXPECT_EQ(counted.resync_phase, 1U);
    EXPECT_GT(counted.resync_current_block, 0U);
    EXPECT_EQ(counted.resync_total_blocks, blocks_of(kVolume));
    EXPECT_GT(source().dirty_blocks(), 0U);
    EXPECT_LT(source().dirty_blocks(), blocks_of(kVolume));
    EXPECT_EQ(source().resync_pass(), 0U);
    write(0, 8);
    run_here();
    world.tick(kTick);
    counted = source().counters(world.now);
    EXPECT_EQ(counted.resync_new_writes, 1U);
    EXPECT_GE(counted.resync_ms, 100U);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
    const auto length = source().counters(world.now).resync_ms;
    EXPECT_GE(length, 100U);
    pass(milliseconds(1000));
    counted = source().counters(world.now);
    EXPECT_EQ(counted.resync_ms, length);
    EXPECT_EQ(counted.resync_current_block, 0U);
    EXPECT_EQ(source().dirty_blocks(), 0U);
    std::uint64_t acknowledged = 0;
    for (const std::uint64_t count : counted.acknowledged)
        acknowledged += count;
    EXPECT_LE(acknowledged, 1U);
    write(0);
    world.settle();
    std::uint64_t now_acknowledged = 0;
    for (const std::uint64_t count : source().counters(world.now).acknowledged)
        now_acknowledged += count;
    EXPECT_EQ(now_acknowledged, acknowledged + 1);
}

// Spec: REP-095, REP-138, REP-165, REP-204, MOP-122
TEST_F(SourceTest, SilenceOfTheDetectionIntervalIsALostLink) {
    world.parameters.ping_interval_ms = 200;
    world.parameters.max_ping_misses = 5;
    start(MirrorType::sync);
    AppRequest& request = write(0);
    run_here();
    for (int i = 0; i < 9; ++i)
        world.tick(milliseconds(100));
    EXPECT_EQ(state(), MirrorState::mirroring);
    for (int i = 0; i < 3; ++i)
        world.tick(milliseconds(100));
    EXPECT_EQ(state(), MirrorState::paused);
    EXPECT_EQ(source().cause(), PauseCause::link_lost);
    EXPECT_FALSE(source().linked());
    world.source().release(true);
    EXPECT_NE(request.completed, 0U);
}

TEST_F(SourceTest, ASourceThatWasStoppedDoesNotBlameItsTarget) {
    start(MirrorType::sync);
    world.tick(std::chrono::minutes(10));
    EXPECT_EQ(state(), MirrorState::mirroring);
    pass(milliseconds(3000));
    EXPECT_EQ(state(), MirrorState::mirroring);
}

// Spec: REP-115, REP-141, REP-171, EMC-075, MOP-128
TEST_F(SourceTest, TooManyPassesInterruptTheResyncWhichIsTriedAgain) {
    world.parameters.max_resync_passes = 3;
    world.parameters.resync_low_water = 0;
    start(MirrorType::async);
    source().give_up_links("cut");
    write(0);
    run_here();
    if (world.source().release) world.source().release(true);
    world.connect(ResyncKind::partial);
    // A writer that meets every copy of its block on the way.
    unsigned rounds = 0;
    ASSERT_TRUE(world.run_until([&] {
        if (!world.source().resync.travelling.empty() && world.pending_requests == 0 && rounds < 20) {
            ++rounds;
            write(0);
        }
        return state() == MirrorState::paused;
    }));
    EXPECT_EQ(source().cause(), PauseCause::resync_passes);
    pass(kRetryDelay - milliseconds(2000));
    EXPECT_EQ(state(), MirrorState::paused);
    pass(milliseconds(5000));
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.check_equal(), "");
}

// Spec: REP-116, REP-117, REP-142, REP-172, EMC-075
TEST_F(SourceTest, LateInAResyncWritesAreHeldAndReleasedWhenItTakesTooLong) {
    world.parameters.max_resync_passes = 20;  // writes may be held from the third pass on
    start(MirrorType::async);
    source().give_up_links("cut");
    write(0);
    run_here();
    if (world.source().release) world.source().release(true);
    world.connect(ResyncKind::partial);
    std::uint32_t held_in_pass = 0;
    ASSERT_TRUE(world.run_until([&] {
        if (world.source().resync.travelling.empty() || world.pending_requests > 0) return held_in_pass != 0;
        const auto waiting = world.pending_requests;
        write(0);
        run_here();
        if (world.pending_requests > waiting) held_in_pass = source().resync_pass();
        return held_in_pass != 0;
    }));
    EXPECT_EQ(held_in_pass, 2U);  // counted from 0: the third
    // The target stops answering: the held write goes on after the limit.
    while (world.pending_requests > 0 && state() == MirrorState::resync) {
        world.tick(kTick);
        for (auto& node : world.nodes)
            node->data.travelling.clear();
        run_here();
    }
    EXPECT_EQ(source().cause(), PauseCause::write_block_timeout);
    run_here();
    EXPECT_EQ(world.pending_requests, 0U);
}

// Spec: REP-120, REP-174, EMC-069
TEST_F(SourceTest, AReadErrorOnTheSourceInterruptsTheResync) {
    start(MirrorType::async);
    source().give_up_links("cut");
    write(0);
    run_here();
    world.source().disk.fail_reads = 100;
    world.connect(ResyncKind::partial);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::paused; }));
    EXPECT_EQ(source().cause(), PauseCause::source_read_error);
    EXPECT_EQ(source().dirty_blocks(), 1U);
    world.source().disk.fail_reads = 0;
    pass(kRetryDelay + milliseconds(500));
    EXPECT_EQ(state(), MirrorState::mirroring);
}

// Spec: REP-118
TEST_F(SourceTest, TheTargetIsOnRecordAsInconsistentWhileAResyncRuns) {
    start(MirrorType::async);
    source().give_up_links("cut");
    write(0);
    run_here();
    world.connect(ResyncKind::partial);
    bool sent = false;
    ASSERT_TRUE(world.run_until([&] {
        if (!world.source().resync.queued.empty() || !world.source().resync.travelling.empty()) {
            sent = true;
            EXPECT_FALSE(world.target().file_consistent);
        }
        return state() == MirrorState::mirroring;
    }));
    EXPECT_TRUE(sent);
    EXPECT_TRUE(world.target().file_consistent);
}

// Spec: REP-161
TEST_F(SourceTest, ABrokenMirrorHasEveryBlockDirtyAndNoLink) {
    start(MirrorType::sync);
    source().break_mirror();
    EXPECT_EQ(state(), MirrorState::broken);
    EXPECT_FALSE(source().linked());
    EXPECT_EQ(source().dirty_blocks(), blocks_of(kVolume));
    world.source().release(true);
    run_here();
}

// Spec: REP-180
TEST_F(SourceTest, ChangingTheTypeTakesEffectWithTheNextWrite) {
    start(MirrorType::sync);
    source().set_type(MirrorType::async);
    AppRequest& first = write(0);
    run_here();
    EXPECT_NE(first.completed, 0U);
    source().set_type(MirrorType::sync);
    AppRequest& second = write(64);
    run_here();
    EXPECT_EQ(second.completed, 0U);
    world.settle();
    EXPECT_NE(second.completed, 0U);
}

// Spec: REP-098
TEST_F(SourceTest, AnAcknowledgementOutOfNowhereEndsTheLink) {
    start(MirrorType::sync);
    wire::Header strange;
    strange.type = wire::Type::write_ack;
    strange.sequence = 4711;
    strange.argument = 1;
    source().on_data(strange, nullptr, world.now);
    EXPECT_FALSE(source().linked());
    EXPECT_NE(world.source().lost_reason.find("protocol"), std::string::npos);
}

class TargetTest : public SourceTest {
  protected:
    Target& target() { return *world.target().target; }
    void give(wire::Header header) {
        std::byte* payload = nullptr;
        if (header.length > 0) {
            payload = world.target().pool.take(header.length);
            std::memset(payload, 7, header.length);
        }
        target().on_data(header, payload, world.now);
    }
    /// The next number on this link, as the source would give it.
    std::uint64_t next = 0;
    wire::Header message(wire::Type type, std::uint64_t offset, std::uint64_t depends) {
        wire::Header header;
        header.type = type;
        header.sequence = ++next;
        header.depends = depends;
        if (type == wire::Type::write) {
            header.offset = offset;
            header.length = header.extent = kCell;
        }
        return header;
    }
    void fresh_link() {
        start(MirrorType::async);
        source().give_up_links("cut");
        target().link_broken("cut");
        world.settle();
        world.target().link_open = true;
        target().attach({ResyncKind::none, world.features}, world.now);
    }
    std::size_t in_device() {
        std::size_t count = 0;
        while (world.target().disk.busy()) {
            world.target().disk.complete_one();
            ++count;
        }
        return count;
    }
};

// Spec: REP-082
TEST_F(TargetTest, WhatRanTogetherAtTheSourceRunsTogetherAndTheRestWaits) {
    fresh_link();
    give(message(wire::Type::write, 0, 0));
    give(message(wire::Type::write, 4096, 0));
    give(message(wire::Type::write, 8192, 2));  // its writer had seen both
    Disk& disk = world.target().disk;
    disk.complete_one();
    EXPECT_TRUE(disk.busy());
    disk.complete_one();
    EXPECT_TRUE(disk.busy());  // only now the third
    disk.complete_one();
    EXPECT_FALSE(disk.busy());
}

// Spec: REP-082
TEST_F(TargetTest, OverlappingWritesAreNeverReordered) {
    fresh_link();
    give(message(wire::Type::write, 0, 0));
    give(message(wire::Type::write, 0, 0));
    world.target().disk.complete_one();
    EXPECT_TRUE(world.target().disk.busy());
    EXPECT_EQ(in_device(), 1U);
}

// Spec: REP-083
TEST_F(TargetTest, AFlushWaitsForAllBeforeItAndLaterWritesWaitForTheFlush) {
    fresh_link();
    give(message(wire::Type::write, 0, 0));
    give(message(wire::Type::flush, 0, 0));
    give(message(wire::Type::write, 4096, 2));
    Disk& disk = world.target().disk;
    const std::uint64_t before = disk.cell(8);
    disk.complete_one();  // the write
    EXPECT_EQ(disk.cell(8), before);
    disk.complete_one();  // the flush
    EXPECT_EQ(disk.cell(8), before);
    disk.complete_one();
    EXPECT_NE(disk.cell(8), before);
}

// Spec: REP-098
TEST_F(TargetTest, MessagesThatCannotBeEndTheLinkAndChangeNothing) {
    const auto refused = [this](auto&& change) {
        world.target().lost_reason.clear();
        next = 0;
        target().attach({ResyncKind::none, world.features}, world.now);
        wire::Header header = message(wire::Type::write, 0, 0);
        change(header);
        give(header);
        EXPECT_FALSE(world.target().disk.busy());
        return !target().linked() && !world.target().lost_reason.empty();
    };
    fresh_link();
    EXPECT_TRUE(refused([](wire::Header& header) { header.offset = kVolume; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.offset = ~std::uint64_t{0} - 511; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.offset = 1; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.sequence = 2; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.depends = 1; }));
    EXPECT_TRUE(refused([](wire::Header& header) { header.type = wire::Type::resync_block; }));
    EXPECT_EQ(world.target().pool.out(), 0U);
}

TEST_F(TargetTest, ACopyThatWaitsForLostLiveWritesIsGivenUpWithTheLink) {
    fresh_link();
    give(message(wire::Type::resync_begin, 0, 0));
    next = 0;
    world.settle();
    wire::Header copy;
    copy.type = wire::Type::resync_zeroes;
    copy.sequence = 1;
    copy.extent = 65536;
    copy.depends = 5;  // which are still on their way
    target().on_resync(copy, nullptr, world.now);
    EXPECT_FALSE(target().applied());
    EXPECT_FALSE(world.target().disk.busy());
    target().link_broken("cut");
    EXPECT_TRUE(target().applied());
    EXPECT_FALSE(world.target().disk.busy());
}

// Spec: REP-199
TEST_F(TargetTest, AfterAWriteErrorNothingMoreIsWritten) {
    fresh_link();
    world.target().disk.fail_writes = 100;
    give(message(wire::Type::write, 0, 0));
    in_device();
    EXPECT_EQ(target().cause(), PauseCause::target_error);
    world.target().disk.fail_writes = 0;
    give(message(wire::Type::write, 4096, 0));
    EXPECT_FALSE(world.target().disk.busy());
}

}  // namespace
}  // namespace understudy::mirror::model
