#pragma once
// What nodes say to each other, as plain values, and their bytes (cluster.proto). One frame of a channel is
// one Envelope. Decoding trusts nothing: sizes, ranges and names are checked here, once. Pure; any thread.

#include "base/result.h"
#include "base/types.h"
#include "comm/protocol.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace understudy::comm::wire {

inline constexpr std::size_t kMaxNameBytes = 256;       // node, device, method, version
inline constexpr std::size_t kMaxTextBytes = 1U << 20;  // an answer's text
inline constexpr std::size_t kMaxPathsProposed = 16;
/// Room that a frame needs beside its payload. A larger payload is refused before it is sent.
inline constexpr std::size_t kMaxPayloadBytes = (16UL << 20) - kMaxTextBytes - 4096;

/// First frame of each side. Its layout is the same in all protocol versions.
struct Hello {
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
    std::string node;
    std::string software;
    std::string device;
    std::uint64_t incarnation = 0;
    std::uint32_t interval_ms = 0;
    std::uint32_t misses = 0;
    std::uint32_t highest = 0;  // 0: of a release that speaks one version
    std::uint64_t features = 0;
    friend bool operator==(const Hello&, const Hello&) = default;
};

/// Why the sender closes the connection, for a person. Its layout is the same in all protocol versions.
struct Refusal {
    std::string reason;
    friend bool operator==(const Refusal&, const Refusal&) = default;
};

/// How the sender sees a path. Spec: CLU-070.
enum class View : std::uint8_t {
    unknown = 0,  // nothing heard since it started
    heard = 1,    // a heartbeat within its limit
    silent = 2,   // it had heartbeats, but not within its limit
};

struct Heartbeat {
    std::uint64_t sequence = 0;
    std::uint64_t last_seen = 0;
    View view = View::unknown;
    std::int64_t wall_us = 0;
    std::int64_t sent_ns = 0;
    std::int64_t echo_ns = 0;
    std::int64_t held_ns = 0;
    friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};

struct Call {
    std::uint64_t id = 0;
    std::uint64_t oldest = 0;
    std::uint32_t attempt = 1;
    std::int64_t deadline_ms = 0;
    std::string method;
    std::string payload;
    friend bool operator==(const Call&, const Call&) = default;
};

struct Answer {
    std::uint64_t id = 0;
    Code code = Code::ok;
    std::int32_t number = 0;
    std::string text;
    std::string payload;
    friend bool operator==(const Answer&, const Answer&) = default;
};

struct Notice {
    std::string method;
    std::string payload;
    friend bool operator==(const Notice&, const Notice&) = default;
};

struct ProposedPath {
    std::string device;
    std::string transport;
    std::uint32_t priority = 1;
    std::uint32_t interval_ms = 0;
    std::uint32_t misses = 0;
    std::string joiner_address;
    std::string member_address;
    friend bool operator==(const ProposedPath&, const ProposedPath&) = default;
};

struct JoinRequest {
    std::string secret;
    std::string node;
    std::string request_pem;
    std::vector<ProposedPath> paths;
    std::int64_t wall_us = 0;
    std::string software;
    friend bool operator==(const JoinRequest&, const JoinRequest&) = default;
};

struct JoinReply {
    Code code = Code::ok;
    std::string text;
    std::string certificate_pem;
    std::string ca_pem;
    std::string cluster;
    std::string member;
    std::vector<ProposedPath> paths;
    friend bool operator==(const JoinReply&, const JoinReply&) = default;
};

/// A frame of a later release, which may be ignored.
struct Unknown {
    friend bool operator==(const Unknown&, const Unknown&) = default;
};

using Frame = std::variant<Hello, Refusal, Heartbeat, Call, Answer, Notice, JoinRequest, JoinReply, Unknown>;

/// The frame's bytes, under a protocol version.
std::string encode(const Frame& frame, std::uint32_t version = kLowestProtocol);

/// Hello and Refusal are decoded whatever the sender's version; another frame of a version that is not within
/// these limits is Code::internal with the numbers. Values that only a later release can have made are taken
/// for the most careful one that is known (a view for unknown, a code for failure); anything else that
/// encode() cannot have made is Code::internal.
Result<Frame> decode(std::span<const std::byte> bytes, std::uint32_t lowest = kLowestProtocol,
                     std::uint32_t highest = kHighestProtocol);

/// Whether `name` can be a node's name: 1 to 63 of letters, digits, '.', '-', '_', starting with a letter or
/// digit. It stands in certificates, file names and logs.
bool is_node_name(std::string_view name);

}  // namespace understudy::comm::wire
