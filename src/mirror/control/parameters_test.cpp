// Settings to parameters.

#include "mirror/control/parameters.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

MirrorParameters read(std::string_view text, const char* volume = "R", std::size_t problems = 0) {
    const auto settings = config::Settings::parse(text);
    EXPECT_TRUE(settings) << settings.error().text;
    std::vector<std::string> told;
    const auto out = parameters_of(*settings, VolumeId(volume), told);
    EXPECT_EQ(told.size(), problems) << (told.empty() ? "" : told.front());
    return out;
}

// Spec: REP-050 REP-095 REP-099 REP-100 REP-113 REP-115 REP-116 REP-117
TEST(Parameters, WithoutSettingsTheyAreTheManualsDefaults) {
    const MirrorParameters out = read(""), defaults;
    EXPECT_EQ(out.bitmap_bytes_per_block, defaults.bitmap_bytes_per_block);
    EXPECT_EQ(out.max_resync_passes, defaults.max_resync_passes);
    EXPECT_EQ(out.ping_interval_ms, defaults.ping_interval_ms);
    EXPECT_EQ(out.max_ping_misses, defaults.max_ping_misses);
    EXPECT_EQ(out.resync_reads, defaults.resync_reads);
    EXPECT_EQ(out.resync_low_water, defaults.resync_low_water);
    EXPECT_EQ(out.resync_block_writes_timeout_ms, defaults.resync_block_writes_timeout_ms);
    EXPECT_EQ(out.write_queue_high_water, defaults.write_queue_high_water);
    EXPECT_EQ(out.write_queue_byte_limit_mb, defaults.write_queue_byte_limit_mb);
    EXPECT_EQ(out.block_writes_on_limit_reached, defaults.block_writes_on_limit_reached);
    EXPECT_FALSE(out.dont_flush_async_queue);
}

// Spec: REP-050
TEST(Parameters, TheMarkedRegionIsAMultipleOfABlock) {
    EXPECT_EQ(read("BitmapBytesPerBlock=200000\n").bitmap_bytes_per_block, 3U * 65536);
    EXPECT_EQ(read("BitmapBytesPerBlock=1\n").bitmap_bytes_per_block, 65536U);
}

// Spec: REP-084
TEST(Parameters, VolumesAreNamedTogetherOrApart) {
    for (const char* text :
         {"DontFlushAsyncQueue=QR\n", "DontFlushAsyncQueue=Q R\n", "DontFlushAsyncQueue=Q,R\n"})
        EXPECT_TRUE(read(text).dont_flush_async_queue) << text;
    EXPECT_FALSE(read("DontFlushAsyncQueue=QS\n").dont_flush_async_queue);
    EXPECT_TRUE(read("DontFlushAsyncQueue=logs data\n", "data").dont_flush_async_queue);
    EXPECT_FALSE(read("DontFlushAsyncQueue=database\n", "data").dont_flush_async_queue);
}

// Spec: REP-103
TEST(Parameters, ResyncReadsAreCutToTheQueue) {
    EXPECT_EQ(read("WriteQueueByteLimitMB=1\n", "R", 1).resync_reads, 16U);
    EXPECT_EQ(read("WriteQueueByteLimitMB=2\n").resync_reads, 20U);
    EXPECT_EQ(read("WriteQueueHighWater=5\n", "R", 1).resync_reads, 5U);
    EXPECT_EQ(read("WriteQueueHighWater=0\n").resync_reads, 20U);
}

}  // namespace
}  // namespace understudy::mirror::control
