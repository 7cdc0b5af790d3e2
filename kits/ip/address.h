#pragma once
// Addresses of interfaces over netlink (libnl). Blocking, for kits.

#include "base/result.h"

#include <optional>
#include <string>
#include <vector>

namespace understudy::kits {

/// Name of the interface that carries the address, whole addresses compared (Spec: KIT-096); nullopt when
/// none does.
Result<std::optional<std::string>> holder_of(const std::string& address);
/// Adds address/prefix to the interface; no error when it is there already. IPv6: waits for duplicate
/// detection.
Result<> add_address(const std::string& address, int prefix, const std::string& interface);
/// Removes the address from the interface and no other one with it; no error when it is not there.
Result<> remove_address(const std::string& address, const std::string& interface);
struct InterfaceAddress {
    std::string interface;
    std::string address;
    int prefix = 0;
};
/// Every address of this host but those of the loopback interface.
Result<std::vector<InterfaceAddress>> host_addresses();
/// From now on routes over this interface count only while it has a link, so that replies do not go where
/// nobody receives them.
void prefer_other_routes(const std::string& interface, bool ipv4);
/// Whether IPv4 or IPv6 packets have a default route.
bool has_default_gateway();
/// Whether the text is an IPv4 or IPv6 address.
bool is_address(const std::string& text);

}  // namespace understudy::kits
