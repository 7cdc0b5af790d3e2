#pragma once
// Addresses of interfaces over netlink (libnl). Blocking, for kits.

#include "base/result.h"

#include <optional>
#include <string>

namespace understudy::kits {

/// Name of the interface that carries the address, whole addresses compared (Spec: KIT-096); nullopt when
/// none does.
Result<std::optional<std::string>> holder_of(const std::string& address);
/// Adds address/prefix to the interface; no error when it is there already. IPv6: waits for duplicate
/// detection.
Result<> add_address(const std::string& address, int prefix, const std::string& interface);
/// Removes the address from the interface; no error when it is not there.
Result<> remove_address(const std::string& address, const std::string& interface);
/// Whether the text is an IPv4 or IPv6 address.
bool is_address(const std::string& text);

}  // namespace understudy::kits
