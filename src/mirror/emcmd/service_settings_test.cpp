// What of the settings file reaches mirrors that run.

#include "mirror/emcmd/test_lab.h"

#include <gmock/gmock.h>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

struct SettingsOfMirrors : Emcmd {
    static void write(Host& host, const std::string& text) {
        ASSERT_TRUE(host.node->files().write_atomic(config::Layout{}.settings(), text, 0600));
    }
};

// Spec: EMC-230, EMC-232, EMC-233
TEST_F(SettingsOfMirrors, EverythingThatMayChangeUnderAMirrorIsReadAgainOnDemandAndNothingElse) {
    one_target();
    const std::string logs = pair.peer(left).log_path;
    write(left,
          "BandwidthThrottle=4000\nCompressionLevel=3\nResyncReads=4\nWriteQueueHighWater=777\n"
          "BlockWritesOnLimitReached=1\nWriteQueueByteLimitMB=12\nMaxResyncPasses=9\nResyncLowWater=33\n"
          "ResyncBlockWritesTimeoutMs=1500\nPingInterval=1000\nMaxPingMisses=7\nBitmapBaseDir=/elsewhere\n");
    const MirrorParameters before = left.daemon->host->parameters();
    EXPECT_EQ(before.max_resync_passes, MirrorParameters{}.max_resync_passes) << "not by itself";
    EXPECT_EQ(before.bandwidth_throttle_kbit, 0U);
    ok(left, {".", "READREGISTRY", "R"});
    const MirrorParameters& now = left.daemon->host->parameters();
    EXPECT_EQ(now.bandwidth_throttle_kbit, 4000U);
    EXPECT_EQ(now.compression_level, 3U);
    EXPECT_EQ(now.resync_reads, 4U);
    EXPECT_EQ(now.write_queue_high_water, 777U);
    EXPECT_TRUE(now.block_writes_on_limit_reached);
    EXPECT_EQ(now.write_queue_byte_limit_mb, 12U);
    // Neither of the manual's lists has these.
    EXPECT_EQ(now.max_resync_passes, 9U);
    EXPECT_EQ(now.resync_low_water, 33U);
    EXPECT_EQ(now.resync_block_writes_timeout_ms, 1500U);
    EXPECT_EQ(now.ping_interval_ms, 1000U);
    EXPECT_EQ(now.max_ping_misses, 7U);
    // The log stays where it is.
    EXPECT_EQ(pair.peer(left).log_path, logs);
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_EQ(state(left, "10.0.0.2"), "1 1");
    EXPECT_EQ(right.disk.blocks[1], 11);
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
