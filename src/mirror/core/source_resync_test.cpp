// The source's resynchronisation, in the model's world.

#include "mirror/core/source_test_support.h"

#include <gtest/gtest.h>

namespace understudy::mirror::model {
namespace {

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

// A copy that was read while a write was under way in its block would take the target back behind a write
// that is complete, and the target may be promoted at any moment. Spec: REP-077, REP-089, REP-255
TEST(Repair, NeverTakesTheTargetBackBehindACompletedWrite) {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        World world(seed);
        world.start(ResyncKind::none);
        ASSERT_TRUE(
            world.run_until([&] { return world.source().source->state() == MirrorState::mirroring; }));
        world.source().disk.fail_writes = 20;
        for (int i = 0; i < 400; ++i) {
            // All in one block, so that it is repaired all the time.
            if (world.pending_requests < 4 && world.dice.chance(20))
                world.submit(BlockOp::write, world.dice.below(100), 8, false);
            world.step();
            ASSERT_EQ(world.check_promoted(), "") << "seed " << seed;
        }
        world.source().disk.fail_writes = 0;
        ASSERT_TRUE(world.run_until(
            [&] { return world.source().source->dirty_blocks() == 0 && world.pending_requests == 0; }));
        world.settle();
        ASSERT_EQ(world.source().source->state(), MirrorState::mirroring);
        ASSERT_EQ(world.check_equal(), "") << "seed " << seed;
    }
}

}  // namespace
}  // namespace understudy::mirror::model
