#pragma once
// SNMP notifications as bytes: version 1 (RFC 1157) and 2c (RFC 3416), in the basic encoding rules. Pure.
//
//   v2c  SEQUENCE { 1, community, TrapV2-PDU { id, 0, 0, { sysUpTime, snmpTrapOID, variable 1, extra variable
//   } } } v1   SEQUENCE { 0, community, Trap-PDU { prefix, agent's address, 6, number, sysUpTime, { variables
//   } } }
//
// Spec: CMD-149 to CMD-151.

#include "base/result.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::kits::snmp {

using Oid = std::vector<std::uint32_t>;

/// Of mirrors: their events have these numbers. Spec: CMD-150
inline constexpr int kMirrorState = 150;
inline constexpr int kSplitBrain = 160;
/// ".1.3.6.1.4.1.7359.1", with or without the leading dot. Code::bad_argument.
Result<Oid> parse_oid(std::string_view text);

/// Who is told: "host[:port][/community]", an IPv6 address in brackets.
struct Manager {
    std::string host;
    std::uint16_t port = 162;
    std::string community = "public";
    friend bool operator==(const Manager&, const Manager&) = default;
};
/// Separated by commas; none for an empty text. Code::bad_argument names the entry. Spec: CMD-156.
Result<std::vector<Manager>> parse_managers(std::string_view text);

struct Trap {
    int number = 0;
    std::string message;  // variable 1
    /// Variable 2 (a tag), 3 (recovered) or 4 (failed resources).
    std::optional<std::pair<std::uint32_t, std::string>> extra = {};
};

/// The trap of an engine's event: number, its subject (a tag or a node), what the event says. The lists of
/// 111, 112, 121 and 122 are what follows the text's colon, tags separated by ", ". nullopt for a number that
/// is no trap. Spec: CMD-150, CMD-151, CMD-154.
std::optional<Trap> trap_of(int number, const std::string& subject, const std::string& text,
                            const std::string& node);

struct Sender {
    bool version_1 = false;
    Oid prefix = {1, 3, 6, 1, 4, 1, 7359, 1};
    std::uint32_t uptime_cs = 0;  // hundredths of a second since boot
    std::uint32_t request_id = 0;
    std::array<std::uint8_t, 4> address{};  // of this node, version 1 only
};
std::string encode(const Trap& trap, const Sender& sender, const std::string& community);

}  // namespace understudy::kits::snmp
