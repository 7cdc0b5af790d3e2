// The source's limits: queue, memory, loss; and compression.

#include "base/checksum.h"
#include "mirror/core/source_test_support.h"

#include <gtest/gtest.h>

namespace understudy::mirror::model {
namespace {

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

// Spec: REP-143, REP-167
TEST_F(SourceTest, ATargetWhoseFlushFailedWithNothingToCopyMirrorsAgainByItself) {
    start(MirrorType::sync);
    pass(std::chrono::seconds(5));  // no block may differ
    ASSERT_TRUE(world.source().log->epoch_empty());
    world.target().disk.fail_flushes = 100;
    AppRequest& request = flush();
    world.settle();
    world.target().disk.fail_flushes = 0;
    EXPECT_FALSE(request.failed) << "the target's error is not the caller's";
    ASSERT_EQ(source().cause(), PauseCause::target_error);
    pass(std::chrono::seconds(62));
    EXPECT_EQ(state(), MirrorState::mirroring);
    EXPECT_EQ(world.target().target->state(), MirrorState::mirroring);
}

}  // namespace
}  // namespace understudy::mirror::model
