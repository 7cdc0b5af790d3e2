#include "config/ports.h"

#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace understudy::config {
namespace {

using enum Transport;

constexpr std::uint16_t kLastDataPort = kMirrorFirstDataPort + kMirrorDataPorts - 1;

// clang-format off
constexpr auto kTable = std::to_array<PortEntry>({
    {"LifeKeeper CommPath.1500", tcp, kFirstPathPort, kFirstPathPort, From::peers, PortGroup::engine, "",
     "understudyd", "heartbeats and commands, first communication path"},
    {"LifeKeeper CommPath.1510", tcp, kFirstPathPort + kPathPortStep, kFirstPathPort + kPathPortStep, From::peers,
     PortGroup::engine, "", "understudyd", "the same, second path"},
    {"LifeKeeper CommPath", tcp, 0, 0, From::peers, PortGroup::engine, "net_create", "understudyd",
     "the same, each further path"},
    {"LifeKeeper lkcmserver", tcp, kMessageServerPort, kMessageServerPort, From::peers, PortGroup::engine, "",
     "understudyd", "hosts that join; certificates"},
    {"LifeKeeper EISM", tcp, kExternalInterfacesPort, kExternalInterfacesPort, From::peers, PortGroup::engine, "", "",
     "external interfaces"},
    {"LifeKeeper Web Server", tcp, 81, 81, From::anywhere, PortGroup::engine, "GUI_WEB_PORT", "",
     "console: pages and their API"},
    {"LifeKeeper RMI", tcp, 82, 82, From::peers, PortGroup::engine, "GUI_RMI_PORT", "", "consoles among themselves"},
    {"LifeKeeper ICMPv4", icmp, 0, 0, From::peers, PortGroup::engine, "", "kernel",
     "pings: safety check, lists of addresses to ping"},
    {"DataKeeper Dispatch", tcp, kMirrorDispatchPort, kMirrorDispatchPort, From::peers, PortGroup::mirror,
     "TargetDispatchPort", "mirrord", "control of mirrors"},
    {"DataKeeper Volumes", tcp, kMirrorFirstDataPort, kLastDataPort, From::peers, PortGroup::mirror, "TargetPortBase",
     "mirrord", "data of mirrors: A to Z, then all volumes with other names"},
    {"DataKeeper NBD", tcp, 0, 0, From::anywhere, PortGroup::mirror, "NbdListen", "mirrord",
     "volumes for clients on other hosts"},
    {"DataKeeper NETBIOS", udp, 137, 138, From::anywhere, PortGroup::mirror, "lanman, volshare", "nmbd",
     "names of Windows networks"},
    {"DataKeeper NETBIOS session", tcp, 139, 139, From::anywhere, PortGroup::mirror, "lanman, volshare", "smbd",
     "file shares"},
    {"DataKeeper File Share", tcp, 445, 445, From::anywhere, PortGroup::mirror, "lanman, volshare", "smbd",
     "file shares"},
    {"LifeKeeper Probe", tcp, 0, 0, From::anywhere, PortGroup::probe, "Gen-LB", "kit", "answers to load balancers"},
});
// clang-format on

std::uint16_t port_of(const PortNeeds& needs, std::string_view setting, std::uint16_t otherwise) {
    const auto at = needs.settings.find(std::string(setting));
    const auto port = at == needs.settings.end() ? std::nullopt : text::to_int(at->second);
    const bool legal = port && *port > 0 && *port <= std::numeric_limits<std::uint16_t>::max();
    return legal ? static_cast<std::uint16_t>(*port) : otherwise;
}

/// The ports of NbdListen: VOLUME=ADDRESS:PORT, separated by blanks; those of addresses that others do not
/// reach are left out.
std::set<std::uint16_t> nbd_ports(const PortNeeds& needs) {
    std::set<std::uint16_t> ports;
    const auto at = needs.settings.find("NbdListen");
    if (at == needs.settings.end()) return ports;
    for (const auto& word : text::words(at->second)) {
        const auto equals = word.find('=');
        const auto colon = word.rfind(':');
        if (equals == word.npos || colon == word.npos || colon < equals) continue;
        const auto address = word.substr(equals + 1, colon - equals - 1);
        const auto port = text::to_int(word.substr(colon + 1));
        const bool local = address.starts_with("127.") || address == "[::1]" || address == "localhost";
        if (!local && port && *port > 0 && *port <= std::numeric_limits<std::uint16_t>::max())
            ports.insert(static_cast<std::uint16_t>(*port));
    }
    return ports;
}

}  // namespace

bool is_reserved_port(int port) {
    return port == kMessageServerPort || port == kExternalInterfacesPort || port == kMirrorDispatchPort ||
           port == kMirrorFirstDataPort;
}

bool answers_load_balancers(std::string_view type, std::string_view tag) {
    return text::iequals(type, "genlb") || text::iequals(tag, "Gen-LB");
}

std::string_view to_string(PortGroup group) {
    switch (group) {
        case PortGroup::engine:
            return "understudy";
        case PortGroup::mirror:
            return "understudy-mirror";
        case PortGroup::probe:
            return "understudy-probe";
    }
    return "";
}

std::span<const PortEntry> port_table() {
    return kTable;
}

std::vector<Opening> openings(const PortNeeds& needs) {
    std::vector<Opening> found;
    const auto add = [&found](const PortEntry& entry, std::uint16_t first, std::uint16_t last) {
        Opening opening{
            std::string(entry.name),     entry.transport,       first, last, entry.from, entry.group,
            std::string(entry.listener), std::string(entry.use)};
        const bool twice = std::any_of(found.begin(), found.end(), [&](const Opening& other) {
            return other.transport == opening.transport && other.first == first && other.last == last &&
                   (other.from == opening.from || other.from == From::anywhere);
        });
        if (!twice) found.push_back(std::move(opening));
    };
    for (const auto& entry : kTable) {
        if (entry.setting == "net_create") {
            for (const auto port : needs.path_ports)
                add(entry, port, port);
        } else if (entry.setting == "NbdListen") {
            for (const auto port : nbd_ports(needs))
                add(entry, port, port);
        } else if (entry.setting == "Gen-LB") {
            for (const auto port : needs.probe_ports)
                add(entry, port, port);
        } else if (entry.setting == "lanman, volshare") {
            if (needs.file_shares) add(entry, entry.first, entry.last);
        } else if (entry.setting.empty()) {
            add(entry, entry.first, entry.last);
        } else {
            const auto first = port_of(needs, entry.setting, entry.first);
            const int last = std::min(first + (entry.last - entry.first),
                                      static_cast<int>(std::numeric_limits<std::uint16_t>::max()));
            add(entry, first, static_cast<std::uint16_t>(last));
        }
    }
    return found;
}

bool covers(std::span<const Opening> open, Transport transport, std::uint16_t port) {
    return std::any_of(open.begin(), open.end(), [&](const Opening& opening) {
        return opening.transport == transport && opening.first <= port && port <= opening.last;
    });
}

std::string port_text(const Opening& opening) {
    if (opening.transport == Transport::icmp) return {};
    return opening.first == opening.last ? std::to_string(opening.first)
                                         : fmt::format("{}-{}", opening.first, opening.last);
}

}  // namespace understudy::config
