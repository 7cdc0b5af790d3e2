#include "kits/snmp/trap.h"

#include "base/text.h"

#include <algorithm>

namespace understudy::kits::snmp {
namespace {

// Tags of the basic encoding rules, and of SNMP's own types.
constexpr std::uint8_t kInteger = 0x02;
constexpr std::uint8_t kOctets = 0x04;
constexpr std::uint8_t kOid = 0x06;
constexpr std::uint8_t kSequence = 0x30;
constexpr std::uint8_t kIpAddress = 0x40;
constexpr std::uint8_t kTimeTicks = 0x43;
constexpr std::uint8_t kTrapV1 = 0xa4;
constexpr std::uint8_t kTrapV2 = 0xa7;

constexpr std::int64_t kVersion1 = 0;
constexpr std::int64_t kVersion2c = 1;
constexpr std::int64_t kEnterpriseSpecific = 6;
const Oid kSysUpTime{1, 3, 6, 1, 2, 1, 1, 3, 0};
const Oid kSnmpTrapOid{1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0};

constexpr std::size_t kMaxSubIds = 64;
constexpr std::uint32_t kMessage = 1;
constexpr std::uint32_t kTag = 2;
constexpr std::uint32_t kRecovered = 3;
constexpr std::uint32_t kFailed = 4;

std::string element(std::uint8_t tag, std::string_view content) {
    std::string out(1, static_cast<char>(tag));
    if (content.size() < 0x80) {
        out += static_cast<char>(content.size());
    } else {
        std::string length;
        for (auto rest = content.size(); rest > 0; rest >>= 8U)
            length.insert(length.begin(), static_cast<char>(rest & 0xffU));
        out += static_cast<char>(0x80U | length.size());
        out += length;
    }
    out += content;
    return out;
}

/// Two's complement in as few bytes as hold it.
std::string integer(std::int64_t value, std::uint8_t tag = kInteger) {
    std::string bytes;
    while (true) {
        bytes.insert(bytes.begin(), static_cast<char>(value & 0xff));
        const bool sign = (value & 0x80) != 0;
        value >>= 8;
        if ((value == 0 && !sign) || (value == -1 && sign)) break;
    }
    return element(tag, bytes);
}

std::string oid(const Oid& id) {
    std::string content;
    const auto add = [&](std::uint32_t value) {
        std::string bytes(1, static_cast<char>(value & 0x7fU));
        while ((value >>= 7U) != 0)
            bytes.insert(bytes.begin(), static_cast<char>(0x80U | (value & 0x7fU)));
        content += bytes;
    };
    add(id[0] * 40 + id[1]);
    for (std::size_t i = 2; i < id.size(); ++i)
        add(id[i]);
    return element(kOid, content);
}

Oid below(Oid prefix, std::initializer_list<std::uint32_t> more) {
    prefix.insert(prefix.end(), more);
    return prefix;
}

std::string binding(const Oid& name, const std::string& value) {
    return element(kSequence, oid(name) + value);
}

std::string variables(const Trap& trap, const Oid& prefix) {
    auto out = binding(below(prefix, {kMessage}), element(kOctets, trap.message));
    if (trap.extra) out += binding(below(prefix, {trap.extra->first}), element(kOctets, trap.extra->second));
    return out;
}

struct Known {
    int number;
    std::string_view name;    // in front of the node
    std::string_view suffix;  // behind it
    std::uint32_t extra;      // its variable, 0: none
    bool of_subject;          // the node is the event's subject, not this one
};
// Consoles match on these texts. Spec: CMD-150, CMD-151, CMD-154
constexpr Known kKnown[] = {
    {100, "Startup Complete on", "", 0, false},
    {101, "Shutdown Initiated on", "", 0, false},
    {102, "Shutdown Complete on", "", 0, false},
    {110, "Manual Switchover Initiated on Server", "", 0, false},
    {111, "Manual Switchover Complete on", " - recovered list", kRecovered, false},
    {112, "Manual Switchover Complete on", " - failed list", kFailed, false},
    {120, "Node Failure Detected for", "", 0, true},
    {121, "Node Recovery Complete for", " - recovered list", kRecovered, true},
    {122, "Node Recovery Complete for", " - failed list", kFailed, true},
    {130, "Resource Recovery Initiated on", "", kTag, false},
    {131, "Resource Recovery Failed on", "", kTag, false},
    {132, "Resource Recovery Complete on", "", kTag, false},
    {140, "Communications Up for", "", 0, true},
    {141, "Communications Down for", "", 0, true},
};

/// Names of a mirror's states, from -1 on. Spec: CMD-152
constexpr std::string_view kMirrorStates[] = {"invalid", "no mirror", "mirroring",     "resynchronising",
                                              "broken",  "paused",    "resync pending"};

/// The subject is "VOLUME,STATE,ADDRESS", or "VOLUME,ADDRESS" of a split brain. Spec: CMD-152, CMD-153
std::optional<Trap> mirror_trap(int number, const std::string& subject) {
    const auto fields = text::split(subject, ',');
    if (number == kSplitBrain && fields.size() == 2)
        return Trap{number, fmt::format("Split brain: volume={} target={}", fields[0], fields[1])};
    if (number != kMirrorState || fields.size() != 3) return std::nullopt;
    const auto state = text::to_int(fields[1]);
    if (!state || *state < -1 || *state + 1 >= static_cast<int>(std::size(kMirrorStates)))
        return std::nullopt;
    return Trap{number, fmt::format("Mirror state change: volume={} state={} ({}) target={}", fields[0],
                                    *state, kMirrorStates[*state + 1], fields[2])};
}

}  // namespace

Result<Oid> parse_oid(std::string_view text) {
    Oid id;
    if (text.starts_with('.')) text.remove_prefix(1);
    for (const auto& part : text::split(std::string(text), '.')) {
        const auto value = text::to_int(part);
        if (!value || *value < 0 || *value > UINT32_MAX)
            return fail(Code::bad_argument, "\"{}\" is not an object identifier", text);
        id.push_back(static_cast<std::uint32_t>(*value));
    }
    if (id.size() < 2 || id.size() > kMaxSubIds || id[0] > 2 || (id[0] < 2 && id[1] > 39) || id[1] > 1000)
        return fail(Code::bad_argument, "\"{}\" is not an object identifier", text);
    return id;
}

Result<std::vector<Manager>> parse_managers(std::string_view text) {
    std::vector<Manager> managers;
    for (const auto& each : text::split(std::string(text), ',')) {
        std::string_view entry = text::trim(each);
        if (entry.empty()) continue;
        const auto malformed = [&] {
            return fail(Code::bad_argument, "\"{}\" is not host[:port][/community]", text::trim(each));
        };
        Manager manager;
        if (const auto slash = entry.find('/'); slash != std::string_view::npos) {
            manager.community = entry.substr(slash + 1);
            entry = entry.substr(0, slash);
            if (manager.community.empty()) return malformed();
        }
        std::string_view port;
        if (entry.starts_with('[')) {
            const auto end = entry.find(']');
            if (end == std::string_view::npos) return malformed();
            manager.host = entry.substr(1, end - 1);
            port = entry.substr(end + 1);
        } else {
            const auto colon = entry.find(':');
            manager.host = entry.substr(0, colon);
            if (colon != std::string_view::npos) port = entry.substr(colon);
        }
        if (!port.empty()) {
            const auto number = text::to_int(port.substr(1));
            if (!port.starts_with(':') || !number || *number < 1 || *number > 65535) return malformed();
            manager.port = static_cast<std::uint16_t>(*number);
        }
        if (manager.host.empty()) return malformed();
        managers.push_back(std::move(manager));
    }
    return managers;
}

std::optional<Trap> trap_of(int number, const std::string& subject, const std::string& text,
                            const std::string& node) {
    if (number == kMirrorState || number == kSplitBrain) return mirror_trap(number, subject);
    const auto known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                    [number](const Known& each) { return each.number == number; });
    if (known == std::end(kKnown)) return std::nullopt;
    Trap trap;
    trap.number = number;
    trap.message =
        fmt::format("LifeKeeper {} {}{}", known->name, known->of_subject ? subject : node, known->suffix);
    if (known->extra == kTag) trap.extra = {kTag, subject};
    if (known->extra != kRecovered && known->extra != kFailed) return trap;
    const auto colon = text.find(": ");
    auto list = colon == std::string::npos ? std::string() : text.substr(colon + 2);
    list = list.substr(0, list.find(" ("));
    trap.extra = {known->extra, text::join(text::split(list, ','), "")};  // ", " leaves the blanks
    return trap;
}

std::string encode(const Trap& trap, const Sender& sender, const std::string& community) {
    const auto uptime = integer(sender.uptime_cs, kTimeTicks);
    const auto number = static_cast<std::uint32_t>(trap.number);
    std::string body;
    if (sender.version_1) {
        const std::string address(sender.address.begin(), sender.address.end());
        body = element(kTrapV1, oid(sender.prefix) + element(kIpAddress, address) +
                                    integer(kEnterpriseSpecific) + integer(trap.number) + uptime +
                                    element(kSequence, variables(trap, sender.prefix)));
    } else {
        const auto bindings = binding(kSysUpTime, uptime) +
                              binding(kSnmpTrapOid, oid(below(sender.prefix, {0, number}))) +
                              variables(trap, sender.prefix);
        constexpr std::uint32_t kPositive = 0x7fffffff;
        body = element(kTrapV2, integer(sender.request_id & kPositive) + integer(0) + integer(0) +
                                    element(kSequence, bindings));
    }
    return element(kSequence,
                   integer(sender.version_1 ? kVersion1 : kVersion2c) + element(kOctets, community) + body);
}

}  // namespace understudy::kits::snmp
