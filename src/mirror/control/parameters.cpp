#include "mirror/control/parameters.h"

#include "base/text.h"
#include "mirror/core/block_map.h"

#include <algorithm>
#include <array>

namespace understudy::mirror::control {
namespace {

using enum Effect;

/// Spec: REP-269 to REP-299.
constexpr auto kTable = std::to_array<Parameter>({
    {"AutoResyncOnBoot", true, at_start},
    {"AutoResyncOnContinue", true, at_once},
    {"BandwidthThrottle", true, at_once},
    {"BitmapBytesPerBlock", true, at_once},
    {"BlockWritesOnLagLimit", true, at_once},
    {"BlockWritesOnLimitReached", true, at_once},
    {"CompressionLevel", true, at_once},
    {"CopyFreeSpace", true, at_once},
    {"LagLimitMB", true, at_once},
    {"LagLimitMs", true, at_once},
    {"MaxPingMisses", true, at_once},
    {"MaxResyncPasses", true, at_once},
    {"PingInterval", true, at_once},
    {"ResyncBlockWritesTimeoutMs", true, at_once},
    {"ResyncLowWater", true, at_once},
    {"ResyncReads", true, at_once},
    {"TargetSnapshotBlocksize", true, at_once},
    {"VssQuiesceWaitTimeoutMs", true, at_once},
    {"WriteQueueByteLimitMB", true, at_once},
    {"WriteQueueHighWater", true, at_once},
    {"BitmapBaseDir", false, at_start},
    {"BlockWritesOnNDLGTimeoutReached", false, at_start},
    {"DontFlushAsyncQueue", false, at_start},
    {"NDLGTimeoutMs", false, at_start},
    {"TargetDispatchPort", false, at_start},
    {"TargetPortBase", false, at_connect},
    {"TargetPortIncr", false, at_connect},
    {"WaitForBitmapBaseDirMs", false, at_start},
    {"WriteQueueLowWater", false, never},
});

constexpr auto kOwnKeys = [] {
    std::array<std::string_view,
               std::count_if(kTable.begin(), kTable.end(), [](const Parameter& one) { return one.own; })>
        keys;
    std::size_t at = 0;
    for (const Parameter& one : kTable)
        if (one.own) keys[at++] = one.key;
    return keys;
}();

constexpr std::uint32_t kAlwaysFull = 2;  // of AutoResyncOn...
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

const config::Setting& setting_of(std::string_view key) {
    const auto table = config::setting_table();
    return *std::find_if(table.begin(), table.end(), [&](const auto& one) { return one.key == key; });
}

Effect effect_of(std::string_view key) {
    return std::find_if(kTable.begin(), kTable.end(), [&](const auto& one) { return one.key == key; })
        ->effect;
}

/// What a record holds is checked like the file: a newer program may have written it.
config::Settings as_settings(const OwnParameters& own, std::vector<std::string>& problems) {
    std::string text;
    for (const auto& [key, value] : own)
        text += fmt::format("{}={}\n", key, value);
    return config::Settings::parse_leniently(text, problems);
}

}  // namespace

std::span<const Parameter> parameter_table() {
    return kTable;
}

std::string_view to_string(Effect effect) {
    switch (effect) {
        case at_once:
            return "at once";
        case at_connect:
            return "with READREGISTRY, for the next connection to this node as target";
        case at_start:
            return "at the next start of mirrord";
        case never:
            return "without effect";
    }
    return "?";
}

std::span<const std::string_view> own_parameter_keys() {
    return kOwnKeys;
}

MirrorParameters parameters_of(const config::Settings& settings, const OwnParameters& own,
                               const VolumeId& volume, std::vector<std::string>& problems) {
    const config::Settings mine = as_settings(own, problems);
    const auto where = [&](std::string_view key) -> const config::Settings& {
        return mine.present(key) ? mine : settings;
    };
    const auto number = [&](std::string_view key) {
        return static_cast<std::uint32_t>(where(key).integer(key));
    };
    MirrorParameters out;
    out.bandwidth_throttle_kbit = number("BandwidthThrottle");
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
    out.block_writes_on_limit_reached =
        where("BlockWritesOnLimitReached").boolean("BlockWritesOnLimitReached");
    out.snapshot_block_bytes = number("TargetSnapshotBlocksize");
    out.quiesce_wait_ms = number("VssQuiesceWaitTimeoutMs");
    out.compression_level = number("CompressionLevel");
    out.lag_limit_ms = number("LagLimitMs");
    out.lag_limit_mb = number("LagLimitMB");
    out.block_writes_on_lag_limit = where("BlockWritesOnLagLimit").boolean("BlockWritesOnLagLimit");
    out.full_resync_on_boot = number("AutoResyncOnBoot") == kAlwaysFull;
    out.full_resync_on_continue = number("AutoResyncOnContinue") == kAlwaysFull;
    out.copy_free_space = where("CopyFreeSpace").boolean("CopyFreeSpace");
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

Result<OwnParameters> with_changes(const config::Settings& settings, OwnParameters own,
                                   std::span<const std::string> changes, const VolumeId& volume) {
    for (const std::string& change : changes) {
        const auto equals = change.find('=');
        const std::string key = change.substr(0, equals);
        if (equals == std::string::npos || std::find(kOwnKeys.begin(), kOwnKeys.end(), key) == kOwnKeys.end())
            return fail(Code::bad_argument, "\"{}\" is not KEY=value with one of {}", change,
                        text::join(std::vector<std::string>(kOwnKeys.begin(), kOwnKeys.end()), ", "));
        const std::string value = change.substr(equals + 1);
        if (value.empty()) {
            own.erase(key);
            continue;
        }
        // Numbers and switches only: nothing that could be read as a second line.
        if (value.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") !=
            std::string::npos)
            return fail(Code::bad_argument, "{} takes a number, not \"{}\"", key, value);
        UNDERSTUDY_CHECK(config::Settings::check(key, value));
        own[key] = value;
    }
    std::vector<std::string> problems;
    parameters_of(settings, own, volume, problems);
    if (!problems.empty()) return fail(Code::bad_argument, "{}", text::join(problems, "; "));
    return own;
}

std::string describe_parameters(const config::Settings& settings, const OwnParameters& own) {
    std::string out;
    for (const std::string_view key : kOwnKeys) {
        const config::Setting& setting = setting_of(key);
        const auto mine = own.find(std::string(key));
        const bool switch_ = setting.kind == config::SettingKind::boolean;
        out += fmt::format("{}={} ({}; {} to {}{}{}, default {}; takes effect {}) {}\n", key,
                           mine != own.end() ? mine->second : settings.text(key),
                           mine != own.end()       ? "this volume's own"
                           : settings.present(key) ? "from the settings file"
                                                   : "default",
                           switch_ ? 0 : setting.least, switch_ ? 1 : setting.most,
                           setting.unit.empty() ? "" : " ", setting.unit, setting.fallback,
                           to_string(effect_of(key)), setting.meaning);
    }
    return out;
}

}  // namespace understudy::mirror::control
