#pragma once
// Every port of a host on which something of ours listens, or which the product keeps for itself: one table,
// from which the firewall's rules, the ports that paths may not have, and the documentation come. Pure; any
// thread. Spec: CLU-031, CLU-032, DEP-100, DEP-101, DEP-103.

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

inline constexpr std::uint16_t kFirstPathPort = 1500;  // then +10 for each further path. Spec: CLU-034
inline constexpr std::uint16_t kPathPortStep = 10;
inline constexpr std::uint16_t kLastPathPort = 10000;
inline constexpr std::uint16_t kMessageServerPort = 3278;
inline constexpr std::uint16_t kExternalInterfacesPort = 3279;
inline constexpr std::uint16_t kMirrorDispatchPort = 9999;    // TargetDispatchPort. Spec: REP-039
inline constexpr std::uint16_t kMirrorFirstDataPort = 10000;  // TargetPortBase: volume A. Spec: REP-039
inline constexpr std::uint16_t kMirrorDataPorts = 27;         // A to Z, and one for all other names

/// Whether a communication path may not have the port, because something else may need it.
bool is_reserved_port(int port);

enum class Transport : std::uint8_t { tcp, udp, icmp };
/// From where connections are to be let in.
enum class From : std::uint8_t {
    peers,    // the cluster's nodes: their addresses when they are known, else anywhere
    anywhere  // administrators, clients
};

/// Rules are kept together by what they are for. Spec: DEP-102.
enum class PortGroup : std::uint8_t { engine, mirror, probe };
std::string_view to_string(PortGroup group);  // the service's name: "understudy", "understudy-mirror" ...

struct PortEntry {
    std::string_view name;  // of the rule
    Transport transport;
    std::uint16_t first = 0;  // as long as no setting says otherwise; 0: see `setting`, or a ping
    std::uint16_t last = 0;
    From from = From::peers;
    PortGroup group = PortGroup::engine;
    std::string_view setting;   // what changes it; empty: nothing does
    std::string_view listener;  // the program; empty: none of this release
    std::string_view use;
};
std::span<const PortEntry> port_table();

/// Whether a resource answers a load balancer's probes, at the port that its information begins with: one of
/// that kit's type, or a generic application with the tag that the manual gives it.
bool answers_load_balancers(std::string_view type, std::string_view tag);

/// What of a host's configuration decides on its ports.
struct PortNeeds {
    std::map<std::string, std::string>
        settings;                         // of etc/default/LifeKeeper; absent ones have their defaults
    std::set<std::uint16_t> path_ports;   // of its communication paths
    std::set<std::uint16_t> probe_ports;  // that load balancers ask
    bool file_shares = false;             // a kit for Windows' names or shares has a resource

    friend bool operator==(const PortNeeds&, const PortNeeds&) = default;
};

/// One port, or a range, that is to be open on this host.
struct Opening {
    std::string name;
    Transport transport = Transport::tcp;
    std::uint16_t first = 0;  // 0 of a ping
    std::uint16_t last = 0;
    From from = From::peers;
    PortGroup group = PortGroup::engine;
    std::string listener;
    std::string use;

    friend bool operator==(const Opening&, const Opening&) = default;
};
/// In the table's order; ports that are named twice come once. A setting that is no port has its default.
std::vector<Opening> openings(const PortNeeds& needs);

/// Whether one of the openings admits TCP connections to the port.
bool covers(std::span<const Opening> open, Transport transport, std::uint16_t port);

/// "1500", "10000-10026"; empty of a ping.
std::string port_text(const Opening& opening);

}  // namespace understudy::config
