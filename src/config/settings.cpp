#include "config/settings.h"

#include "base/text.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace understudy::config {
namespace {

using enum SettingKind;

constexpr std::int64_t kDayS = 86400;

// clang-format off
constexpr auto kTable = std::to_array<Setting>({
    {"ALLOW_FAST_HEARTBEATS", boolean, "0", 0, 1, "",
     "1 permits heartbeat intervals from 100 ms; 0 keeps the minimum of 4 s. Read when a path is created."},
    {"LCMHBEATTIME", integer, "5", 1, 15, "s",
     "Heartbeat interval of the paths that still have the default; below 4 only with ALLOW_FAST_HEARTBEATS. "
     "Absent: each path's own. Read at start."},
    {"LCMNUMHBEATS", integer, "3", 3, 99, "heartbeats",
     "Missed heartbeats after which the paths that still have the default are DEAD. Absent: each path's own. Read "
     "at start."},
    {"SAFETY_CHECK_TIMEOUT", integer, "30", 1, 3600, "s",
     "How long a node whose paths are all DEAD is probed before it is taken to be down; every takeover waits so "
     "long. Read at start."},
    {"SAFETY_CHECK_MODE", text, "off", 0, 0, "",
     "off: no safety check; strict: a node that answered a probe is left alone while its paths stay DEAD; recheck: "
     "probing goes on. Read at start.", "off|strict|recheck"},
    {"SAFETY_CHECK_NEIGHBOURS", boolean, "1", 0, 1, "",
     "1: the safety check takes an answer to ARP or neighbour discovery for a sign of life; 0: not, for virtual networks "
     "that give it for hosts that are down. Read at start."},
    {"WARN_NOT_REDUNDANT", boolean, "1", 0, 1, "",
     "1: status warns of a node to which fewer than two paths are defined; 0: only of paths that are DEAD. Read at use."},
    {"INIT_PEER_WAIT", integer, "auto", 0, 3600, "s",
     "How long a starting node waits for its paths before it brings resources in service; auto: the longest "
     "interval x misses over all paths. Read at start.", "auto"},
    {"PARALLEL_HIERARCHIES", integer, "8", 1, 256, "hierarchies",
     "How many hierarchies one event (a takeover, a start, a stop) works on at the same time. Read at start."},
    {"RESRVTIMEOUT", integer, "150", 0, kDayS, "s",
     "How long restore and remove wait for a resource that another process has reserved. Read at use."},
    {"RESRVRECTIMEOUT", integer, "150", 0, kDayS, "s",
     "The same for local recovery; 300 is advised in clouds. Read at use."},
    {"REMOTETIMEOUT", integer, "900", 1, kDayS, "s",
     "How long lcdremexec waits for a command on another system, which is ended then. Read at start."},
    {"RESMON_CHECK_TIMEOUT", integer, "auto", 1, kDayS, "s",
     "How long a quick or deep check may take; auto: its interval, at least 60. Read at the next check.", "auto"},
    {"ResMon_RecordTimeout", boolean, "1", 0, 1, "",
     "1 records each check that took too long in ResMonTimeout.log. Read at the next check."},
    {"ResMon_RecordMemory", boolean, "1", 0, 1, "",
     "1 records memory use of the system and its processes with it. Read at the next check."},
    {"ResMon_ResFail", boolean, "0", 0, 1, "",
     "1: a check that takes too long fails its hierarchy over; 0: it is only recorded. Read at the next check."},
    {"ResMon_RebootWaitInSec", integer, "0", 0, kDayS, "s",
     "Other than 0: a check that takes too long reboots this node after a countdown of so long. Read at the next "
     "check."},
    {"ResMon_ResFailMaxWaitInMin", integer, "0", 0, 1440, "minutes",
     "Other than 0: a failover that takes longer reboots this node. Read at the next failure."},
    {"SHUTDOWN_SWITCHOVER_TIMEOUT", integer, "600", 1, kDayS, "s",
     "How long a shutdown that switches over waits for each hierarchy. Read at use."},
    {"ON_RECOVERY_FAILURE", text, "failover", 0, 0, "",
     "What follows when local recovery fails. Read at use.", "failover|reboot|notify"},
    {"NOBCASTPING", boolean, "0", 0, 1, "",
     "1 leaves out the broadcast ping check of address resources. Read at the next check."},
    {"HISTORY_DAYS", integer, "90", 1, 3650, "days",
     "How long `understudy history` keeps changes; fewer when they are very many. Read at start."},
    {"DISABLED_KITS", text, "", 0, 0, "",
     "Kits that are not to be used on this node, as application/type separated by commas: their resources are not "
     "brought in service here. Read at start."},
    {"SHARE_CA_KEY", boolean, "1", 0, 1, "",
     "1: every node holds the key of the cluster's certificate authority, so hosts can join through any of them; 0: "
     "the key stays where it is and is given to nobody. Read at start."},
    {"ADMIN_GROUP", text, "lkadmin", 0, 0, "",
     "Members of this group may run every command, as root may. Read at start."},
    {"OPERATOR_GROUP", text, "LK_OPERATOR", 0, 0, "",
     "Members of this group may bring resources in and out of service and look at everything. Read at start."},
    {"GUEST_GROUP", text, "LK_GUEST", 0, 0, "",
     "Members of this group may look at everything. Read at start."},
    {"QUORUM_MODE", text, "none", 0, 0, "",
     "How this node finds out whether it belongs to the majority. Read at use.", "majority|storage|none|off"},
    {"WITNESS_MODE", text, "none", 0, 0, "",
     "Who is asked whether a silent node is really down. Read at use.", "remote_verify|storage|none|off"},
    {"QUORUM_LOSS_ACTION", text, "osu", 0, 0, "",
     "What a node without quorum does with its resources: take them out of service. Read at use.", "osu"},
    {"QUORUM_QUARANTINE_SECS", integer, "300", 0, kDayS, "s",
     "How long the engine stays down after it lost quorum; 0 restarts it at once. Read at use."},
    {"QUORUM_FAILOVER_DELAY_SECS", integer, "auto", 0, kDayS, "s",
     "How long survivors wait before they start a lost node's resources; auto: until the lost node must have "
     "stopped them; 0: not at all. Read at use.", "auto"},
    {"QUORUM_STOP_GRACE_SECS", integer, "10", 1, 3600, "s",
     "How long a node that lost quorum may take to stop its resources before it is reset. Read at start."},
    {"QUORUM_REEVALUATE", boolean, "0", 0, 1, "",
     "1 repeats a refused failover when quorum returns. Read at use."},
    {"QUORUM_DEBUG", boolean, "0", 0, 1, "", "1 logs quorum's debug messages. Read at use."},
    {"QUORUM_WATCHDOG", text, "process", 0, 0, "",
     "What resets a node that lost quorum and cannot stop its resources in time: process (a supervising process), none, "
     "or the path of a watchdog device, which that process then keeps awake. Read at start."},
    {"QWK_STORAGE_TYPE", text, "", 0, 0, "",
     "Kind of the shared storage of storage quorum. Read by qwk_storage_init.", "file|aws_s3"},
    {"QWK_STORAGE_HBEATTIME", integer, "6", 5, 10, "s",
     "Interval between two writes to the quorum storage. Read by qwk_storage_init."},
    {"QWK_STORAGE_NUMHBEATS", integer, "4", 3, 9999, "heartbeats",
     "Missed writes after which a node is taken to be down. Read by qwk_storage_init."},
    {"QWK_STORAGE_S3_ENDPOINT", text, "", 0, 0, "",
     "URL of an S3 server other than Amazon's, or two, separated by a comma, for the first and second object of each "
     "node. Read by qwk_storage_init."},
    {"QWK_STORAGE_S3_REGION", text, "", 0, 0, "",
     "Region of the bucket, or two, separated by a comma; empty: us-east-1. Read by qwk_storage_init."},
    {"BitmapBytesPerBlock", integer, "65536", 0, 1LL << 31, "bytes",
     "How much around a write is marked in the intent log, rounded down to a multiple of 65536. Read at start of "
     "mirrord, as the next ones."},
    {"BandwidthThrottle", integer, "0", 0, 100000000, "kbit/s",
     "Most that a mirror sends, resync and writes together; 0: no limit."},
    {"MaxResyncPasses", integer, "200", 1, 1000000, "passes",
     "A resync that needs more passes pauses and starts anew after a minute."},
    {"PingInterval", integer, "3000", 10, 3600000, "ms", "Between two keep-alives of a mirror's link."},
    {"MaxPingMisses", integer, "10", 2, 1000, "keep-alives",
     "Keep-alives without an answer after which a mirror's link is lost."},
    {"ResyncReads", integer, "20", 1, 100000, "blocks", "64 KiB blocks of a resync on their way at a time."},
    {"ResyncLowWater", integer, "150", 0, 1000000, "blocks",
     "A resync with no more blocks left may hold writes to come to its end; 0: never."},
    {"ResyncBlockWritesTimeoutMs", integer, "15000", 1, 3600000, "ms", "How long a resync may hold writes."},
    {"WriteQueueHighWater", integer, "20000", 0, 100000000, "requests",
     "Writes that may wait for the target; 0: any number."},
    {"WriteQueueByteLimitMB", integer, "0", 0, 1000000, "MiB", "The same in bytes; 0: any number."},
    {"BlockWritesOnLimitReached", boolean, "0", 0, 1, "",
     "1: writes wait while the write queue is full; 0: the mirror pauses and resyncs."},
    {"BitmapBaseDir", text, "", 0, 0, "",
     "Existing directory for the mirrors' intent logs, on a fast local file system that is not mirrored; not set: the "
     "default one; set and empty: logs are not trusted after a crash, which then needs a full resync. Read at start of "
     "mirrord, which moves the logs."},
    {"WaitForBitmapBaseDirMs", integer, "180000", 0, 86400000, "ms",
     "How long a start of mirrord waits for BitmapBaseDir to appear, a minute at least, before it makes new logs in the "
     "default directory."},
    {"CompressionLevel", integer, "0", 0, 9, "",
     "How small a mirror makes what it sends: 0 not at all, 1 fastest to 9 smallest; 3 to 5 for slow lines."},
    {"LagLimitMs", integer, "0", 0, 86400000, "ms",
     "How far an asynchronous target may be behind, by the age of the oldest write that it has not confirmed; 0: any."},
    {"LagLimitMB", integer, "0", 0, 1000000, "MiB", "The same in bytes; 0: any number."},
    {"BlockWritesOnLagLimit", boolean, "1", 0, 1, "",
     "1: writes wait while the target is so far behind; 0: the mirror pauses and resyncs."},
    {"CopyFreeSpace", boolean, "0", 0, 1, "",
     "1: a resync in full also sends what the volume's ext4 or XFS file system does not use."},
    {"AutoResyncOnBoot", integer, "0", 0, 2, "", "2: every start of mirrord resyncs a mirror in full."},
    {"AutoResyncOnContinue", integer, "0", 0, 2, "", "2: continuing a paused mirror resyncs it in full."},
    {"TargetDispatchPort", integer, "9999", 1, 65535, "",
     "TCP port on which mirrord answers its peers; the same on all nodes. Read at start of mirrord."},
    {"TargetPortBase", integer, "10000", 1, 65510, "",
     "First TCP port of the data links: this for volume A, 25 more for Z, 26 more for volumes with other names. Read "
     "at start of mirrord and, for the next connection, by READREGISTRY."},
    {"TargetPortIncr", integer, "256", 26, 65535, "",
     "Added to a data port that is taken, up to 16 times. Read at start of mirrord and, for the next connection, by "
     "READREGISTRY."},
    {"WriteQueueLowWater", integer, "150", 0, 100000000, "requests", "Has no effect."},
    {"DontFlushAsyncQueue", text, "", 0, 0, "",
     "Volumes of asynchronous mirrors whose flushes do not wait for the target."},
    {"TargetSnapshotBlocksize", integer, "65536", 512, 1 << 20, "bytes",
     "Blocks in which a snapshot of a target copies what changes, a multiple of the sector size: larger for sequential "
     "writers, smaller for random ones. Used by the next snapshot."},
    {"VssQuiesceWaitTimeoutMs", integer, "60000", 1000, 3600000, "ms",
     "How long a target waits for its source to quiesce the volumes of a snapshot."},
    {"MirrorDevice", text, "auto", 0, 0, "",
     "How this host makes a mirrored volume a block device, where the mirror says nothing else: ublk, FUSE with a loop "
     "device, or the first of them that the kernel has. Read at start of mirrord, for devices that are made then.",
     "auto|ublk|fuse"},
    {"MirrorProcessors", text, "", 0, 0, "",
     "Processors that the threads of mirrored volumes are kept to, such as 0-3,6; empty: all. Read at start of mirrord."},
    {"NbdListen", text, "", 0, 0, "",
     "Volumes exported by NBD that clients on other hosts reach by TCP with TLS, and where: VOLUME=ADDRESS:PORT, "
     "separated by blanks. Read at start of mirrord, for exports that are made then."},
    {"NbdClientCa", text, "", 0, 0, "",
     "PEM file of the authorities that issue certificates to NBD clients; empty: the cluster's own, so that its nodes "
     "are let in and nobody else. A change of the setting or of the file holds for connections from then on."},
    {"NbdPlainTcp", boolean, "0", 0, 1, "",
     "1: NBD clients by TCP are served without TLS too: whoever reaches the port reads and writes the volume. Read at "
     "start of mirrord."},
    {"VolumeLockLeaseMs", integer, "6000", 1000, 120000, "ms",
     "How long the owner of a shared volume may use it without having written to the lock area; longer than the "
     "longest pause of the shared storage. Read at start of mirrord."},
    {"VolumeLockMarginMs", integer, "3000", 500, 120000, "ms",
     "How much longer than the lease another host waits for a silent owner: what writes may be under way, and clocks "
     "may differ. Read at start of mirrord."},
    {"NDLGTimeoutMs", integer, "30000", 1000, 3600000, "ms",
     "How long a synchronous mirror that lost its target tries to record in the cluster that the target is out of "
     "date, before BlockWritesOnNDLGTimeoutReached applies; longer than heartbeat interval x misses. Ten times as long "
     "while this node's understudyd does not answer. Read at start of mirrord."},
    {"BlockWritesOnNDLGTimeoutReached", boolean, "1", 0, 1, "",
     "1: writes that could not be recorded so fail, and further ones too; 0: they go on, and a takeover may lose "
     "them. Read at start of mirrord."},
    {"LK_TRAP_MGR", text, "", 0, 0, "",
     "Who gets SNMP traps of the engine's events: host[:port][/community], separated by commas; port 162, community "
     "public. Empty: nobody. Read at use."},
    {"LK_TRAP_VERSION", text, "2c", 0, 0, "", "SNMP version of the traps. Read at use.", "1|2c"},
    {"LK_TRAP_PREFIX", text, ".1.3.6.1.4.1.7359.1", 0, 0, "",
     "Object identifier under which the traps lie; the MIB file is to be changed with it. Read at use."},
    {"LK_TRAP_COMM", boolean, "0", 0, 1, "",
     "1 sends traps 140 and 141 too, when a node is heard again and when it is heard no more. Read at use."},
    {"HTTP_PROXY", text, "", 0, 0, "", "Proxy for cloud services. Read at use."},
    {"HTTPS_PROXY", text, "", 0, 0, "", "Proxy for cloud services over TLS. Read at use."},
    {"NO_PROXY", text, "", 0, 0, "", "Hosts that are reached without a proxy. Read at use."},
    {"GUI_WEB_PORT", integer, "81", 1, 65535, "",
     "TCP port of the console; the same on all nodes. Read by `understudy firewall`."},
    {"GUI_RMI_PORT", integer, "82", 1, 65535, "",
     "TCP port of what consoles ask of other nodes; the same on all nodes. Read by `understudy firewall`."},
    {"FIREWALL", text, "warn", 0, 0, "",
     "What a new communication path does with this host's firewall. apply: its rules follow (`understudy firewall "
     "apply`); warn: net_create tells which ports it closes; off: nothing. Read at use.", "apply|warn|off"},
    {"PATH", text, "", 0, 0, "",
     "Search path of kit actions, behind the product's own directory; empty: the system's usual one. Read at use."},
    {"HA_DISABLE", boolean, "1", 0, 1, "",
     "Single-node protection: 0 reports to the hypervisor's monitoring. Read at start."},
    {"SSP_NOTIFICATION_ONLY", boolean, "0", 0, 1, "",
     "Single-node protection: 1 marks a failed resource and does nothing else. Read at start."},
});
// clang-format on

const Setting* find_setting(std::string_view key) {
    const auto at = std::find_if(kTable.begin(), kTable.end(),
                                 [&](const Setting& setting) { return setting.key == key; });
    return at == kTable.end() ? nullptr : &*at;
}

[[maybe_unused]] bool is_a(std::string_view key, SettingKind kind) {
    const auto* setting = find_setting(key);
    return setting != nullptr && setting->kind == kind;
}

/// The choice as the table spells it, empty when `value` is none.
std::string choice(const Setting& setting, std::string_view value) {
    if (setting.choices.empty()) return {};
    for (const auto& word : text::split(setting.choices, '|'))
        if (text::iequals(word, value)) return word;
    return {};
}

std::optional<bool> to_boolean(std::string_view value) {
    for (const auto* word : {"1", "yes", "true", "on"})
        if (text::iequals(value, word)) return true;
    for (const auto* word : {"0", "no", "false", "off"})
        if (text::iequals(value, word)) return false;
    return std::nullopt;
}

/// The value to keep: choices in the table's spelling, otherwise as given.
Result<std::string> checked(const Setting& setting, const std::string& value) {
    if (auto word = choice(setting, value); !word.empty()) return word;
    switch (setting.kind) {
        case integer: {
            const auto number = text::to_int(value);
            if (number && *number >= setting.least && *number <= setting.most) return value;
            return fail(Code::bad_argument, "{}={} is not {}a number from {} to {}{}{}", setting.key, value,
                        setting.choices.empty() ? "" : fmt::format("\"{}\" or ", setting.choices),
                        setting.least, setting.most, setting.unit.empty() ? "" : " ", setting.unit);
        }
        case boolean:
            if (to_boolean(value)) return value;
            return fail(Code::bad_argument, "{}={} is not 0 or 1", setting.key, value);
        case text:
            if (setting.choices.empty() || value.empty()) return value;
            return fail(Code::bad_argument, "{}={} is not one of {}", setting.key, value, setting.choices);
    }
    return value;
}

/// Cuts a comment off: '#' at the start or behind a blank, but not within quotes.
std::string_view without_comment(std::string_view line) {
    char quote = '\0';
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (quote != '\0') {
            if (c == quote) quote = '\0';
        } else if ((c == '"' || c == '\'') && i > 0 && line[i - 1] == '=') {
            quote = c;
        } else if (c == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
            return line.substr(0, i);
        }
    }
    return line;
}

struct Assignment {
    std::string key;
    std::string value;
};

Result<Assignment> parse_assignment(std::string_view line) {
    const auto equals = line.find('=');
    if (equals == std::string_view::npos || text::trim(line.substr(0, equals)).empty())
        return fail(Code::bad_argument, "\"{}\" is not of the form KEY=value", line);
    auto key = text::trim(line.substr(0, equals));
    auto value = text::trim(line.substr(equals + 1));
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value.front())
        value = value.substr(1, value.size() - 2);
    const auto* setting = find_setting(key);
    if (setting == nullptr) return Assignment{std::string(key), std::string(value)};
    UNDERSTUDY_TRY(auto kept, checked(*setting, std::string(value)));
    return Assignment{std::string(key), std::move(kept)};
}

}  // namespace

std::span<const Setting> setting_table() {
    return kTable;
}

Settings Settings::parse_leniently(std::string_view text, std::vector<std::string>& problems) {
    constexpr std::int64_t kLeastWithoutFast = 4;  // Spec: CLU-066
    Settings settings;
    std::size_t number = 0;
    for (const auto& raw : text::split(text, '\n')) {
        ++number;
        const auto line = text::trim(without_comment(text::trim(raw)));
        if (line.empty()) continue;
        auto assignment = parse_assignment(line);
        if (assignment)
            settings.values_[assignment->key] = std::move(assignment->value);
        else
            problems.push_back(fmt::format("line {}: {}", number, assignment.error().text));
    }
    if (settings.present("LCMHBEATTIME") && !settings.boolean("ALLOW_FAST_HEARTBEATS") &&
        settings.integer("LCMHBEATTIME") < kLeastWithoutFast) {
        problems.push_back(fmt::format("LCMHBEATTIME={} is below {} s, which needs ALLOW_FAST_HEARTBEATS=1",
                                       settings.text("LCMHBEATTIME"), kLeastWithoutFast));
        settings.values_.erase("LCMHBEATTIME");
    }
    return settings;
}

Result<Settings> Settings::parse(std::string_view text) {
    std::vector<std::string> problems;
    auto settings = parse_leniently(text, problems);
    if (!problems.empty()) return fail(Code::bad_argument, "{}", text::join(problems, "; "));
    return settings;
}

Result<> Settings::check(std::string_view key, std::string_view value) {
    if (const auto* setting = find_setting(key); setting != nullptr)
        UNDERSTUDY_CHECK(checked(*setting, std::string(value)));
    return {};
}

std::int64_t Settings::integer(std::string_view key) const {
    assert(is_a(key, SettingKind::integer) && "an integer of the settings table");
    return text::to_int(text(key)).value_or(kAutomatic);
}

bool Settings::boolean(std::string_view key) const {
    assert(is_a(key, SettingKind::boolean) && "a boolean of the settings table");
    return to_boolean(text(key)).value_or(false);
}

std::string Settings::text(std::string_view key) const {
    if (const auto at = values_.find(std::string(key)); at != values_.end()) return at->second;
    const auto* setting = find_setting(key);
    return setting == nullptr ? std::string() : std::string(setting->fallback);
}

bool Settings::present(std::string_view key) const {
    return values_.contains(std::string(key));
}

std::string sample_settings() {
    constexpr std::string_view kActive = "QUORUM_MODE";  // an install always has this line. Spec: QUO-003
    constexpr std::size_t kWidth = 100;
    std::string sample = "# Settings of this node, KEY=value. A line that begins with # shows the default.\n";
    for (const auto& setting : kTable) {
        sample += "\n";
        std::string line = "#";
        for (const auto& word : text::words(setting.meaning)) {
            if (line.size() + 1 + word.size() > kWidth) {
                sample += line + "\n";
                line = "#";
            }
            line += " " + word;
        }
        sample += line + "\n";
        if (setting.kind == integer)
            sample += fmt::format("# {}{} to {} {}\n",
                                  setting.choices.empty() ? "" : fmt::format("{}, or ", setting.choices),
                                  setting.least, setting.most, setting.unit);
        else if (!setting.choices.empty())
            sample += fmt::format("# {}\n", setting.choices);
        sample += fmt::format("{}{}={}\n", setting.key == kActive ? "" : "#", setting.key, setting.fallback);
    }
    return sample;
}

}  // namespace understudy::config
