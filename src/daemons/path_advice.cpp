#include "daemons/path_advice.h"

#include "base/text.h"
#include "config/address.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using nlohmann::json;

constexpr std::string_view kDevice = "device=";

struct Found {
    std::string interface;
    config::Address address;
    int prefix = 0;
    bool dynamic = false;  // has a lifetime: DHCP, router advertisement
};

std::vector<Found> addresses_of(std::string_view text) {
    std::vector<Found> found;
    const auto interfaces = json::parse(text, nullptr, false);
    if (!interfaces.is_array()) return found;
    for (const auto& interface : interfaces) {
        if (!interface.is_object() || !interface.contains("addr_info")) continue;
        for (const auto& each : interface["addr_info"]) {
            const auto address = config::parse_address(each.value("local", std::string()));
            if (!address || config::is_link_local(*address)) continue;
            found.push_back({interface.value("ifname", std::string()), *address, each.value("prefixlen", 0),
                             each.value("dynamic", false)});
        }
    }
    return found;
}

bool same_subnet(const Found& a, const Found& b) {
    if (a.address.v6 != b.address.v6 || a.prefix != b.prefix) return false;
    const auto bit = [](const config::Address& address, int at) {
        return address.bytes.at(static_cast<std::size_t>(at) / 8) >> (7 - at % 8) & 1;
    };
    for (int i = 0; i < std::min(a.prefix, 128); ++i)
        if (bit(a.address, i) != bit(b.address, i)) return false;
    return true;
}

/// The interface of an address that moves, as the kit for IP addresses keeps it.
std::string interface_of(const config::Instance& instance) {
    if (!text::iequals(instance.app.str(), "comm") || !text::iequals(instance.type.str(), "ip")) return {};
    for (const auto& word : text::words(instance.info))
        if (word.starts_with(kDevice)) return word.substr(kDevice.size());
    return {};
}

}  // namespace

std::vector<std::string> path_advice(std::string_view addresses, const config::NodeConfig& own,
                                     const config::Path& path) {
    const auto found = addresses_of(addresses);
    const auto wanted = config::parse_address(path.local_address);
    if (found.empty() || !wanted) return {};
    const auto ours =
        std::find_if(found.begin(), found.end(), [&](const Found& each) { return each.address == *wanted; });
    if (ours == found.end()) return {fmt::format("{} is no address of this system now", path.local_address)};
    std::vector<std::string> advice;
    if (ours->dynamic)
        advice.push_back(
            fmt::format("{} on {} was assigned for a time (DHCP): the address of a path must stay the same",
                        path.local_address, ours->interface));
    for (const auto& other : found)
        if (other.interface != ours->interface && same_subnet(other, *ours)) {
            advice.push_back(
                fmt::format("{} and {} are in the same subnet: give each interface one of its own",
                            ours->interface, other.interface));
            break;
        }
    const bool first = std::none_of(own.paths.begin(), own.paths.end(), [&](const config::Path& other) {
        return other.remote == path.remote && other.device != path.device && other.priority < path.priority;
    });
    for (const auto& [tag, instance] : own.instances)
        if (first && interface_of(instance) == ours->interface) {
            advice.push_back(
                fmt::format("{} moves on {} too: the path of the highest priority belongs on an interface "
                            "without such addresses",
                            tag.str(), ours->interface));
            break;
        }
    return advice;
}

}  // namespace understudy::daemons
