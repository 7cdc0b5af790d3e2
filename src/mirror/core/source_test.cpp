// The source's rules one by one, in the model's world with everything under the test's control: writes,
// flushes, errors.

#include "mirror/core/source_test_support.h"

#include <gtest/gtest.h>

namespace understudy::mirror::model {
namespace {

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
    EXPECT_TRUE(source().all_written());  // the target has nothing of it yet
    EXPECT_NE(request.completed, 0U);     // its buffer was overwritten at once by the model
    EXPECT_EQ(source().queue_requests(), 1U);
    world.settle();
    EXPECT_EQ(source().queue_requests(), 0U);
    EXPECT_EQ(world.target().disk.cell(0), request.id);
}

// Spec: REP-051, REP-052
TEST_F(SourceTest, NothingReachesDeviceOrLinkBeforeItsBitIsDurable) {
    start(MirrorType::sync);
    Node& node = world.source();
    ASSERT_FALSE(node.disk.busy());
    EXPECT_TRUE(source().all_written());
    write(0);
    write(8 * 128);
    EXPECT_FALSE(source().all_written());
    EXPECT_FALSE(node.disk.busy());
    EXPECT_TRUE(node.data.queued.empty());
    node.start_commit();
    EXPECT_FALSE(node.disk.busy());
    node.finish_commit();  // one commit for both
    EXPECT_TRUE(node.disk.busy());
    EXPECT_EQ(node.data.queued.size(), 2U);
    EXPECT_FALSE(node.log->wants_commit());
    EXPECT_FALSE(source().all_written());
    world.settle();
    EXPECT_TRUE(source().all_written());
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

}  // namespace
}  // namespace understudy::mirror::model
