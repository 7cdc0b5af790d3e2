#pragma once
// What an IP resource is set to, and the arithmetic of addresses. Pure: no interface is looked at.
// Spec: KIT-004, KIT-093, KIT-106 to KIT-115.

#include "base/result.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::kits {

struct IpSettings {
    std::string address;
    std::string device;  // the primary interface
    std::string backup;  // the interface local recovery moves to; empty: none
    int prefix = 0;
    bool disabled = false;  // restore mode Disable. Spec: KIT-099
};

/// From the id and the info words device=, prefix=, backup=, restore_mode=enable|disable.
Result<IpSettings> ip_settings(const std::string& id, const std::map<std::string, std::string>& info);
/// The info text that ip_settings reads.
std::string ip_info(const IpSettings& settings);

[[nodiscard]] bool is_ipv4(const std::string& address);
/// Prefix length of "255.255.255.0" or "24"; nullopt when the mask has holes or the number does not fit.
std::optional<int> prefix_of(const std::string& mask, bool ipv4);
/// Prefix length usual for the class of an IPv4 address; 64 for IPv6. Spec: KIT-093.
int usual_prefix(const std::string& address);
/// Whether both addresses of one family lie in one subnet of this prefix length.
bool same_subnet(const std::string& one, const std::string& other, int prefix);
/// Last address of the IPv4 subnet; nullopt when it has none (prefix 31 and 32).
std::optional<std::string> broadcast_of(const std::string& address, int prefix);

/// The addresses of a ping list; blank lines and what follows # are left out. Lines that are no address go to
/// `bad`. Spec: KIT-115.
std::vector<std::string> parse_ping_list(std::string_view text, std::vector<std::string>* bad = nullptr);

}  // namespace understudy::kits
