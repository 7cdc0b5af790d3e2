// Settings to parameters.

#include "mirror/control/parameters.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace understudy::mirror::control {
namespace {

MirrorParameters read(std::string_view text, const char* volume = "R", std::size_t problems = 0,
                      const OwnParameters& own = {}) {
    const auto settings = config::Settings::parse(text);
    EXPECT_TRUE(settings) << settings.error().text;
    std::vector<std::string> told;
    const auto out = parameters_of(*settings, own, VolumeId(volume), told);
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

// Spec: MOP-199, MOP-205, REP-269, REP-274, REP-276, REP-277, REP-281, REP-283, REP-284, REP-285, REP-286,
// REP-287, REP-293, REP-294, REP-296, REP-297
TEST(Parameters, AVolumesOwnValueWinsOverTheFileAndTheFileOverTheDefault) {
    const OwnParameters own = {{"BandwidthThrottle", "8000"},
                               {"BitmapBytesPerBlock", "131072"},
                               {"AutoResyncOnBoot", "2"},
                               {"AutoResyncOnContinue", "2"},
                               {"BlockWritesOnLagLimit", "0"},
                               {"BlockWritesOnLimitReached", "1"},
                               {"CompressionLevel", "4"},
                               {"CopyFreeSpace", "1"},
                               {"LagLimitMB", "12"},
                               {"LagLimitMs", "1300"},
                               {"MaxPingMisses", "5"},
                               {"MaxResyncPasses", "50"},
                               {"PingInterval", "500"},
                               {"ResyncBlockWritesTimeoutMs", "7"},
                               {"ResyncLowWater", "8"},
                               {"ResyncReads", "9"},
                               {"TargetSnapshotBlocksize", "4096"},
                               {"VssQuiesceWaitTimeoutMs", "5000"},
                               {"WriteQueueByteLimitMB", "10"},
                               {"WriteQueueHighWater", "11"}};
    EXPECT_EQ(own.size(), own_parameter_keys().size());
    const MirrorParameters out = read("PingInterval=1000\nMaxResyncPasses=60\n", "R", 0, own);
    EXPECT_EQ(out.bandwidth_throttle_kbit, 8000U);
    EXPECT_EQ(out.bitmap_bytes_per_block, 131072U);
    EXPECT_TRUE(out.block_writes_on_limit_reached);
    EXPECT_TRUE(out.copy_free_space);
    EXPECT_TRUE(out.full_resync_on_boot);
    EXPECT_TRUE(out.full_resync_on_continue);
    EXPECT_FALSE(out.block_writes_on_lag_limit);
    EXPECT_EQ(out.compression_level, 4U);
    EXPECT_EQ(out.lag_limit_mb, 12U);
    EXPECT_EQ(out.lag_limit_ms, 1300U);
    EXPECT_EQ(out.max_ping_misses, 5U);
    EXPECT_EQ(out.max_resync_passes, 50U);
    EXPECT_EQ(out.snapshot_block_bytes, 4096U);
    EXPECT_EQ(out.quiesce_wait_ms, 5000U);
    EXPECT_EQ(out.ping_interval_ms, 500U);
    EXPECT_EQ(out.resync_block_writes_timeout_ms, 7U);
    EXPECT_EQ(out.resync_low_water, 8U);
    EXPECT_EQ(out.resync_reads, 9U);
    EXPECT_EQ(out.write_queue_byte_limit_mb, 10U);
    EXPECT_EQ(out.write_queue_high_water, 11U);
    EXPECT_EQ(read("PingInterval=1000\n").ping_interval_ms, 1000U);
    EXPECT_EQ(read("PingInterval=1000\n", "R", 1, {{"PingInterval", "soon"}}).ping_interval_ms, 1000U);
}

/// As the requirements have it.
struct Wanted {
    std::string_view key, fallback;
    std::int64_t least, most;  // values at its ends; outside of them are refused
    bool own;
    Effect effect;
};
constexpr Wanted kWanted[] = {
    {"BandwidthThrottle", "0", 0, 100000000, true, Effect::at_once},
    {"TargetSnapshotBlocksize", "65536", 512, 1 << 20, true, Effect::at_once},
    {"VssQuiesceWaitTimeoutMs", "60000", 1000, 3600000, true, Effect::at_once},
    {"BitmapBaseDir", "", 0, 0, false, Effect::at_start},
    {"WaitForBitmapBaseDirMs", "180000", 0, 86400000, false, Effect::at_start},
    {"BitmapBytesPerBlock", "65536", 0, 1LL << 31, true, Effect::at_once},
    {"BlockWritesOnLimitReached", "0", 0, 1, true, Effect::at_once},
    {"BlockWritesOnNDLGTimeoutReached", "1", 0, 1, false, Effect::at_start},
    {"CompressionLevel", "0", 0, 9, true, Effect::at_once},
    {"DontFlushAsyncQueue", "", 0, 0, false, Effect::at_start},
    {"MaxResyncPasses", "200", 1, 1000000, true, Effect::at_once},
    {"PingInterval", "3000", 10, 3600000, true, Effect::at_once},
    {"MaxPingMisses", "10", 2, 1000, true, Effect::at_once},
    {"ResyncBlockWritesTimeoutMs", "15000", 1, 3600000, true, Effect::at_once},
    {"ResyncLowWater", "150", 0, 1000000, true, Effect::at_once},
    {"ResyncReads", "20", 1, 100000, true, Effect::at_once},
    {"TargetDispatchPort", "9999", 1, 65535, false, Effect::at_start},
    {"TargetPortBase", "10000", 1, 65510, false, Effect::at_connect},
    {"TargetPortIncr", "256", 26, 65535, false, Effect::at_connect},
    {"WriteQueueByteLimitMB", "0", 0, 1000000, true, Effect::at_once},
    {"WriteQueueHighWater", "20000", 0, 100000000, true, Effect::at_once},
    {"WriteQueueLowWater", "150", 0, 100000000, false, Effect::never},
    {"AutoResyncOnBoot", "0", 0, 2, true, Effect::at_start},
    {"AutoResyncOnContinue", "0", 0, 2, true, Effect::at_once},
    {"NDLGTimeoutMs", "30000", 1000, 3600000, false, Effect::at_start},
    {"LagLimitMs", "0", 0, 86400000, true, Effect::at_once},
    {"LagLimitMB", "0", 0, 1000000, true, Effect::at_once},
    {"BlockWritesOnLagLimit", "1", 0, 1, true, Effect::at_once},
    {"CopyFreeSpace", "0", 0, 1, true, Effect::at_once},
};

// Spec: REP-104, REP-275, REP-295, REP-269, REP-270, REP-271, REP-272, REP-274, REP-276, REP-277, REP-278,
// REP-279, REP-280, REP-281, REP-283, REP-284, REP-285, REP-286, REP-287, REP-290, REP-291, REP-292, REP-293,
// REP-294, REP-296, REP-297, REP-298, REP-299
TEST(Parameters, EachHasItsDefaultRangeScopeAndMoment) {
    const config::Settings none;
    ASSERT_EQ(std::size(kWanted), parameter_table().size());
    for (const Wanted& wanted : kWanted) {
        SCOPED_TRACE(wanted.key);
        const auto is = [&](const auto& one) { return one.key == wanted.key; };
        const auto settings = config::setting_table();
        const auto setting = std::find_if(settings.begin(), settings.end(), is);
        ASSERT_NE(setting, settings.end());
        const auto table = parameter_table();
        const auto known = std::find_if(table.begin(), table.end(), is);
        ASSERT_NE(known, table.end());
        EXPECT_EQ(setting->fallback, wanted.fallback);
        EXPECT_EQ(known->own, wanted.own);
        EXPECT_EQ(known->effect, wanted.effect);
        if (setting->kind == config::SettingKind::text) continue;
        const auto in_file = [&](std::int64_t value) {
            return config::Settings::parse(fmt::format("{}={}\n", wanted.key, value)).has_value();
        };
        EXPECT_TRUE(in_file(wanted.least) && in_file(wanted.most));
        EXPECT_FALSE(in_file(wanted.least - 1) || in_file(wanted.most + 1));
        const auto own = [&](std::int64_t value) {
            const std::vector<std::string> change{fmt::format("{}={}", wanted.key, value),
                                                  // wide enough for any ResyncReads
                                                  "WriteQueueHighWater=0"};
            const auto words = std::span(change).first(wanted.key == "WriteQueueHighWater" ? 1 : 2);
            return with_changes(none, {}, words, VolumeId("R")).has_value();
        };
        if (wanted.key == "WriteQueueByteLimitMB" || wanted.key == "WriteQueueHighWater")
            continue;  // not alone
        EXPECT_EQ(own(wanted.least), wanted.own);
        EXPECT_EQ(own(wanted.most), wanted.own);
        EXPECT_FALSE(own(wanted.least - 1) || own(wanted.most + 1));
    }
}

// Spec: REP-301
TEST(Parameters, TheRewindOfOldReleasesIsNotThere) {
    for (const auto& one : config::setting_table())
        EXPECT_EQ(one.key.find("Rewind"), std::string_view::npos) << one.key;
    for (const auto& one : parameter_table())
        EXPECT_EQ(one.key.find("Rewind"), std::string_view::npos) << one.key;
    EXPECT_FALSE(with_changes({}, {}, std::vector<std::string>{"RewindLogLocation=/x"}, VolumeId("R")));
}

// Spec: REP-103, REP-272
TEST(Parameters, AChangeIsCheckedAndTakenBack) {
    const config::Settings none;
    const auto change = [&](OwnParameters own, std::vector<std::string> words) {
        return with_changes(none, std::move(own), words, VolumeId("R"));
    };
    EXPECT_EQ(*change({}, {"PingInterval=100", "ResyncReads=30"}),
              (OwnParameters{{"PingInterval", "100"}, {"ResyncReads", "30"}}));
    EXPECT_EQ(*change({{"PingInterval", "100"}}, {"PingInterval="}), OwnParameters{});
    EXPECT_EQ(*change({}, {"ResyncReads=17", "WriteQueueByteLimitMB=2"}),
              (OwnParameters{{"ResyncReads", "17"}, {"WriteQueueByteLimitMB", "2"}}));
    for (const char* wrong : {"PingInterval", "PingInterval=1", "PingInterval=1000000000", "PingInterval=1 2",
                              "PingInterval=100\nResyncReads=9", "NDLGTimeoutMs=2000", "=3", "",
                              "BitmapBaseDir=x", "ResyncReads=0", "BlockWritesOnLimitReached=2"})
        EXPECT_FALSE(change({}, {wrong})) << wrong;
    EXPECT_TRUE(
        change({}, {"ResyncReads=0"}).error().text.starts_with("ResyncReads=0 is not a number from 1"))
        << change({}, {"ResyncReads=0"}).error().text;
    EXPECT_FALSE(change({}, {"ResyncReads=33", "WriteQueueByteLimitMB=2"}));  // 33 blocks are more than 2 MiB
}

// Spec: REP-271
TEST(Parameters, TheirDescriptionNamesValueOriginAndRange) {
    const auto file = config::Settings::parse("PingInterval=1000\n");
    const std::string text = describe_parameters(*file, {{"ResyncReads", "30"}});
    EXPECT_NE(
        text.find("ResyncReads=30 (this volume's own; 1 to 100000 blocks, default 20; takes effect at once)"),
        std::string::npos)
        << text;
    EXPECT_NE(text.find("PingInterval=1000 (from the settings file; 10 to 3600000 ms, default 3000; takes "
                        "effect at once)"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("BandwidthThrottle=0 (default; 0 to "), std::string::npos) << text;
}

}  // namespace
}  // namespace understudy::mirror::control
