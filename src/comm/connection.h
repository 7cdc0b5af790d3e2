#pragma once
// One channel of a path and what was agreed on it. Private to this folder.

#include "comm/wire.h"
#include "runtime/network.h"

#include <memory>
#include <optional>
#include <string>

namespace understudy::comm {

// What a frame needs beside its payload fits between the two limits.
static_assert(wire::kMaxPayloadBytes + wire::kMaxTextBytes + 4096 <= runtime::kMaxFrameBytes);

struct Connection {
    std::uint64_t id = 0;
    std::uint64_t path = 0;  // PathEnd::id
    std::unique_ptr<runtime::Channel> channel;
    std::optional<wire::Hello> greeting;  // the peer's; empty until it came
    Agreed agreed{kLowestProtocol, 0};    // with the greeting
    bool told_unknown = false;            // that the peer sends frames which this release does not know
    runtime::TimePoint last_frame;

    bool send(const wire::Frame& frame) { return send_encoded(wire::encode(frame, agreed.version)); }
    bool send_encoded(const std::string& bytes) {
        return channel->send(std::as_bytes(std::span(bytes.data(), bytes.size())));
    }
};

}  // namespace understudy::comm
