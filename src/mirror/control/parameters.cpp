#include "mirror/control/parameters.h"

#include "base/text.h"
#include "mirror/core/block_map.h"

#include <algorithm>

namespace understudy::mirror::control {
namespace {

constexpr std::uint32_t kBlocksPerMebibyte = (1U << 20) / kBlockBytes;

/// "XY", or names with blanks or commas between them: one-letter volumes may stand together. Spec: REP-084
bool names(const std::string& list, const VolumeId& volume) {
    std::string spaced = list;
    std::replace(spaced.begin(), spaced.end(), ',', ' ');
    const auto words = text::words(spaced);
    return std::any_of(words.begin(), words.end(), [&](const auto& word) {
        return word == volume.str() ||
               (volume.str().size() == 1 && word.find(volume.str()) != std::string_view::npos);
    });
}

}  // namespace

MirrorParameters parameters_of(const config::Settings& settings, const VolumeId& volume,
                               std::vector<std::string>& problems) {
    const auto number = [&](std::string_view key) {
        return static_cast<std::uint32_t>(settings.integer(key));
    };
    MirrorParameters out;
    // One bit is one block: values between are rounded down. Spec: REP-050
    out.bitmap_bytes_per_block =
        std::max<std::uint32_t>(number("BitmapBytesPerBlock") / kBlockBytes, 1) * kBlockBytes;
    out.max_resync_passes = number("MaxResyncPasses");
    out.ping_interval_ms = number("PingInterval");
    out.max_ping_misses = number("MaxPingMisses");
    out.resync_reads = number("ResyncReads");
    out.resync_low_water = number("ResyncLowWater");
    out.resync_block_writes_timeout_ms = number("ResyncBlockWritesTimeoutMs");
    out.write_queue_high_water = number("WriteQueueHighWater");
    out.write_queue_byte_limit_mb = number("WriteQueueByteLimitMB");
    out.block_writes_on_limit_reached = settings.boolean("BlockWritesOnLimitReached");
    out.dont_flush_async_queue = names(settings.text("DontFlushAsyncQueue"), volume);

    std::uint32_t most_reads = out.resync_reads;
    if (out.write_queue_high_water != 0) most_reads = std::min(most_reads, out.write_queue_high_water);
    if (out.write_queue_byte_limit_mb != 0)
        most_reads = static_cast<std::uint32_t>(std::min<std::uint64_t>(
            most_reads, std::uint64_t{out.write_queue_byte_limit_mb} * kBlocksPerMebibyte));
    if (most_reads < out.resync_reads) {
        problems.push_back(fmt::format(
            "ResyncReads={} does not fit the write queue (WriteQueueHighWater={}, WriteQueueByteLimitMB={}); "
            "{} is "
            "used",
            out.resync_reads, out.write_queue_high_water, out.write_queue_byte_limit_mb, most_reads));
        out.resync_reads = most_reads;
    }
    return out;
}

}  // namespace understudy::mirror::control
