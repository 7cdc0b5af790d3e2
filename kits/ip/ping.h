#pragma once
// ICMP echo, for the ping list and the broadcast ping of an IP resource. Blocking, bounded by the caller.
// Spec: KIT-105, KIT-115.

#include "base/result.h"

#include <chrono>
#include <string>
#include <vector>

namespace understudy::kits {

struct PingRequest {
    std::string source;                // sent from this address where the family is the target's
    std::vector<std::string> targets;  // IPv4 or IPv6; broadcast and multicast addresses too
    std::string interface;             // for link-local, broadcast and multicast targets
    bool anybody = false;              // an answer counts from any other host, not from the targets only
    int tries = 3;
    std::chrono::milliseconds per_try = std::chrono::seconds(1);
};

/// Pings all targets at the same time, up to `tries` times, and returns at the first answer: who answered,
/// empty when nobody did. Errors: no raw socket. A target that cannot be sent to counts as silent.
Result<std::string> ping(const PingRequest& request);

}  // namespace understudy::kits
