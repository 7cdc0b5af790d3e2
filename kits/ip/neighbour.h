#pragma once
// What a switchable address says to its network: is anybody using it (ARP probe), and "it is here now"
// (gratuitous ARP, unsolicited neighbour advertisement). Blocking, for kits. Spec: KIT-089, KIT-102.

#include "base/result.h"

#include <chrono>
#include <optional>
#include <string>

namespace understudy::kits {

struct Interface {
    std::string name;
    int index = 0;
    unsigned char mac[6] = {};
    bool link_up = false;
};
Result<Interface> find_interface(const std::string& name);

/// The MAC address of a host that answers for an IPv4 address, nullopt when nobody does within `limit`.
Result<std::optional<std::string>> who_has(const Interface& interface, const std::string& address,
                                           std::chrono::milliseconds limit);

/// Tells the neighbours where the address is now; IPv4 or IPv6.
Result<> announce(const Interface& interface, const std::string& address);

}  // namespace understudy::kits
