#include "cli/firewall_rules.h"

#include "base/checksum.h"
#include "base/text.h"
#include "config/address.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace understudy::cli {
namespace {

using config::From;
using config::Opening;
using config::Transport;

/// Before every chain that is likely to be there: what is admitted must be marked when they see it.
constexpr int kPriority = -300;
/// Before every zone and nearly every other policy of firewalld.
constexpr int kFirewalldPriority = -30000;

std::vector<std::string> of_family(const std::vector<std::string>& addresses, bool v6) {
    std::vector<std::string> found;
    for (const auto& address : addresses)
        if (config::is_v6(address) == v6) found.push_back(address);
    return found;
}

std::vector<std::string> port_texts(const FirewallPlan& plan, Transport transport, From from) {
    std::vector<std::string> ports;
    for (const auto& opening : plan.openings)
        if (opening.transport == transport && opening.from == from) ports.push_back(port_text(opening));
    return ports;
}

bool has_ping(const FirewallPlan& plan) {
    return std::any_of(plan.openings.begin(), plan.openings.end(),
                       [](const Opening& opening) { return opening.transport == Transport::icmp; });
}

std::string dports(const FirewallPlan& plan, From from) {
    std::string out;
    for (const auto transport : {Transport::tcp, Transport::udp})
        if (const auto ports = port_texts(plan, transport, from); !ports.empty())
            out += fmt::format("\t\t{} dport {{ {} }} jump admit\n", protocol_word(transport),
                               text::join(ports, ", "));
    return out;
}

std::string address_set(const char* name, const char* type, const std::vector<std::string>& elements) {
    return fmt::format("\tset {} {{\n\t\ttype {}\n{}\t}}\n", name, type,
                       elements.empty()
                           ? std::string()
                           : fmt::format("\t\telements = {{ {} }}\n", text::join(elements, ", ")));
}

std::string table_with(const FirewallPlan& plan, const std::string& version) {
    const auto first = fmt::format("comment \"{}{}{}\"", kOurComment, version.empty() ? "" : " ", version);
    std::string out = fmt::format("table inet {} {{\n", kOurTable);
    out += address_set("peers4", "ipv4_addr", of_family(plan.peers, false));
    out += address_set("peers6", "ipv6_addr", of_family(plan.peers, true));
    // Chains come before those that jump to them.
    out +=
        fmt::format("\tchain admit {{\n\t\tmeta mark set meta mark or {:#x} accept\n\t}}\n", kAdmittedMark);
    out += "\tchain peers {\n";
    // Answers to this host's own connections, where nobody else lets them in.
    if (!plan.peers.empty()) out += "\t\tct state established,related jump admit\n";
    if (has_ping(plan))
        out += "\t\ticmp type echo-request jump admit\n\t\ticmpv6 type echo-request jump admit\n";
    out += dports(plan, From::peers) + "\t}\n";
    out +=
        fmt::format("\tchain input {{\n\t\ttype filter hook input priority {}; policy accept;\n", kPriority);
    if (plan.peers.empty())
        out += fmt::format("\t\tjump peers {}\n", first);
    else
        out += fmt::format("\t\tip saddr @peers4 jump peers {}\n\t\tip6 saddr @peers6 jump peers\n", first);
    out += dports(plan, From::anywhere);
    // Without these no host finds another by IPv6.
    out += "\t\ticmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } jump admit\n";
    return out + "\t}\n}\n";
}

/// A packet for each source and port that the plan opens.
std::vector<Packet> packets_of(const FirewallPlan& plan, const Opening& opening) {
    // Of those who may be anywhere, one that is nobody's: addresses for documentation.
    auto sources = plan.peers;
    if (opening.from == From::anywhere || sources.empty()) sources = {"192.0.2.1", "2001:db8::1"};
    std::set<std::uint16_t> ports{opening.first, opening.last};
    std::vector<Packet> packets;
    for (const auto& source : sources)
        for (const auto port : ports)
            packets.push_back({opening.transport, source, port});
    return packets;
}

std::string opening_text(const Opening& opening) {
    return opening.transport == Transport::icmp ? std::string("ping")
                                                : fmt::format("{} {} ({})", protocol_word(opening.transport),
                                                              port_text(opening), opening.name);
}

/// "understudy", "understudy-clients": what one source may reach of one group.
std::string service_name(const Opening& opening) {
    const bool clients = opening.from == From::anywhere && opening.group != config::PortGroup::probe;
    return fmt::format("{}{}", config::to_string(opening.group), clients ? "-clients" : "");
}

struct Service {
    From from = From::peers;
    std::vector<const Opening*> ports;
};

/// All that there may be; those without ports are not needed.
std::map<std::string, Service> services_of(const FirewallPlan& plan) {
    std::map<std::string, Service> services;
    for (const auto& entry : config::port_table()) {
        Opening of;
        of.group = entry.group;
        of.from = entry.from;
        services[service_name(of)].from = entry.from;
    }
    for (const auto& opening : plan.openings)
        if (opening.transport != Transport::icmp) services[service_name(opening)].ports.push_back(&opening);
    return services;
}

constexpr std::string_view kXml = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";

std::string firewalld_service(const std::string& name, const Service& service) {
    if (service.ports.empty()) return {};
    std::string out(kXml);
    out += fmt::format("<service>\n  <short>{}</short>\n  <description>Understudy, {}</description>\n", name,
                       service.from == From::peers ? "from the cluster's nodes" : "from anywhere");
    for (const auto* port : service.ports)
        out += fmt::format("  <port protocol=\"{}\" port=\"{}\"/>\n", protocol_word(port->transport),
                           port_text(*port));
    return out + "</service>\n";
}

std::string firewalld_set(const std::vector<std::string>& addresses, bool v6) {
    if (addresses.empty()) return {};
    std::string out(kXml);
    out += fmt::format("<ipset type=\"hash:ip\">\n  <option name=\"family\" value=\"{}\"/>\n",
                       v6 ? "inet6" : "inet");
    for (const auto& address : addresses)
        out += fmt::format("  <entry>{}</entry>\n", address);
    return out + "</ipset>\n";
}

std::string firewalld_policy(const FirewallPlan& plan, const std::map<std::string, Service>& services) {
    std::string out(kXml);
    out += fmt::format(
        "<policy priority=\"{}\" target=\"CONTINUE\">\n  <short>understudy</short>\n"
        "  <ingress-zone name=\"ANY\"/>\n  <egress-zone name=\"HOST\"/>\n",
        kFirewalldPriority);
    const auto rule = [&out](const std::string& family, const std::string& set, const std::string& what) {
        out += fmt::format("  <rule{}>\n", family.empty() ? "" : fmt::format(" family=\"{}\"", family));
        if (!set.empty()) out += fmt::format("    <source ipset=\"{}\"/>\n", set);
        out += fmt::format("    {}\n    <accept/>\n  </rule>\n", what);
    };
    const auto from_peers = [&](const std::string& what) {
        if (plan.peers.empty()) return rule("", "", what);
        if (!of_family(plan.peers, false).empty()) rule("ipv4", "understudy4", what);
        if (!of_family(plan.peers, true).empty()) rule("ipv6", "understudy6", what);
    };
    for (const auto& [name, service] : services) {
        if (service.ports.empty()) continue;
        const auto what = fmt::format("<service name=\"{}\"/>", name);
        if (service.from == From::peers)
            from_peers(what);
        else
            rule("", "", what);
    }
    if (has_ping(plan)) from_peers("<icmp-type name=\"echo-request\"/>");
    return out + "</policy>\n";
}

/// ufw's names of profiles begin with a capital letter.
std::string profile_name(std::string name) {
    name.front() = 'U';
    return name;
}

}  // namespace

std::string_view protocol_word(Transport transport) {
    switch (transport) {
        case Transport::tcp:
            return "tcp";
        case Transport::udp:
            return "udp";
        case Transport::icmp:
            return "icmp";
    }
    return "";
}

std::string nft_version(const FirewallPlan& plan) {
    const auto table = table_with(plan, "");
    return fmt::format("{:08x}", crc32c(std::as_bytes(std::span(table))));
}

std::string nft_table(const FirewallPlan& plan) {
    return table_with(plan, nft_version(plan));
}

std::string nft_removal(const NftRuleset& now) {
    std::string out;
    for (const auto& chain : now.dropping_chains())
        for (const auto handle : chain.ours)
            out += fmt::format("delete rule {} handle {}\n", chain.text(), handle);
    if (now.has_our_table()) out += fmt::format("delete table inet {}\n", kOurTable);
    return out;
}

std::string nft_script(const FirewallPlan& plan, const NftRuleset& now) {
    std::string out = nft_removal(now) + nft_table(plan);
    for (const auto& chain : now.dropping_chains())
        out += fmt::format("insert rule {} meta mark and {:#x} == {:#x} accept comment \"{}\"\n",
                           chain.text(), kAdmittedMark, kAdmittedMark, kOurComment);
    return out;
}

std::vector<std::string> nft_problems(const FirewallPlan& plan, const NftRuleset& now, bool blocked_only) {
    std::vector<std::string> problems;
    if (!now.has_our_table() && !blocked_only) problems.emplace_back("table inet understudy is missing");
    for (const auto& opening : plan.openings) {
        std::vector<std::string> missing;
        std::map<std::string, std::vector<std::string>> dropped;  // by what, for whom
        for (const auto& packet : packets_of(plan, opening)) {
            const auto verdict = now.incoming(packet);
            if (!verdict.accepted)
                dropped[verdict.by].push_back(packet.source);
            else if (!verdict.ours)
                missing.push_back(packet.source);
        }
        const auto sources = [&](std::vector<std::string> from) {
            from.erase(std::unique(from.begin(), from.end()), from.end());
            return opening.from == From::anywhere || plan.peers.empty() ? std::string("anywhere")
                                                                        : text::join(from, ", ");
        };
        for (const auto& [by, from] : dropped)
            problems.push_back(
                fmt::format("{} from {} is dropped by {}", opening_text(opening), sources(from), by));
        if (!missing.empty() && now.has_our_table() && !blocked_only)
            problems.push_back(
                fmt::format("the rule for {} from {} is missing", opening_text(opening), sources(missing)));
    }
    return problems;
}

std::vector<GeneratedFile> firewalld_files(const FirewallPlan& plan) {
    const std::string directory = "/etc/firewalld/";
    const auto services = services_of(plan);
    std::vector<GeneratedFile> files;
    for (const auto& [name, service] : services)
        files.push_back({directory + "services/" + name + ".xml", firewalld_service(name, service)});
    for (const bool v6 : {false, true})
        files.push_back({fmt::format("{}ipsets/understudy{}.xml", directory, v6 ? 6 : 4),
                         firewalld_set(of_family(plan.peers, v6), v6)});
    files.push_back({directory + "policies/understudy.xml", firewalld_policy(plan, services)});
    return files;
}

std::string ufw_profiles(const FirewallPlan& plan) {
    std::string out;
    for (const auto& [name, service] : services_of(plan)) {
        if (service.ports.empty()) continue;
        std::map<std::string_view, std::vector<std::string>> ports;
        for (const auto* port : service.ports) {
            auto range = port_text(*port);
            std::replace(range.begin(), range.end(), '-', ':');
            ports[protocol_word(port->transport)].push_back(range);
        }
        std::vector<std::string> parts;
        for (const auto& [protocol, numbers] : ports)
            parts.push_back(fmt::format("{}/{}", text::join(numbers, ","), protocol));
        out += fmt::format("[{}]\ntitle={}\ndescription=Understudy, {}\nports={}\n\n", profile_name(name),
                           name, service.from == From::peers ? "from the cluster's nodes" : "from anywhere",
                           text::join(parts, "|"));
    }
    return out;
}

std::vector<std::string> ufw_rules(const FirewallPlan& plan) {
    std::vector<std::string> rules;
    for (const auto& [name, service] : services_of(plan)) {
        if (service.ports.empty()) continue;
        auto sources = plan.peers;
        if (service.from == From::anywhere || sources.empty()) sources = {"any"};
        for (const auto& source : sources)
            rules.push_back(fmt::format("allow from {} to any app {}", source, profile_name(name)));
    }
    return rules;
}

std::vector<std::string> ufw_problems(const FirewallPlan& plan, std::string_view added) {
    // ufw shows a rule for anywhere without "from any", and one with only a profile by its name.
    const auto forms = [](const std::string& rule) {
        const auto words = text::words(rule);  // allow from SOURCE to any app PROFILE
        std::vector<std::string> all{"ufw " + rule};
        if (words.size() > 6 && words[2] == "any") all.push_back(fmt::format("ufw allow {}", words[6]));
        return all;
    };
    std::vector<std::string> problems;
    for (const auto& rule : ufw_rules(plan)) {
        const auto source = text::words(rule)[2];
        std::string before;  // what denies it
        bool there = false;
        for (const auto& shown : text::split(added, '\n')) {
            const auto line = std::string(text::trim(shown));
            for (const auto& form : forms(rule))
                there = there || line == form || line.starts_with(form + " ");
            if (there) break;
            const auto words = text::words(line);
            if (words.size() < 2 || words[0] != "ufw" || (words[1] != "deny" && words[1] != "reject"))
                continue;
            const auto from = std::find(words.begin(), words.end(), "from");
            const bool everywhere = from == words.end() || from + 1 == words.end() || *(from + 1) == "any";
            const bool about_ports = std::find(words.begin(), words.end(), "port") != words.end() ||
                                     std::find(words.begin(), words.end(), "app") != words.end() ||
                                     words.size() == 3;
            if (!about_ports && (everywhere || *(from + 1) == source)) before = line;
        }
        if (!there)
            problems.push_back(fmt::format("the rule is missing: ufw {}", rule));
        else if (!before.empty())
            problems.push_back(fmt::format("\"{}\" comes before \"ufw {}\"", before, rule));
    }
    return problems;
}

std::vector<std::string> strange_listeners(const FirewallPlan& plan, std::string_view sockets) {
    // LISTEN 0 4096 0.0.0.0:3278 0.0.0.0:* users:(("understudyd",pid=123,fd=9))
    std::vector<std::string> found;
    for (const auto& line : text::split(sockets, '\n')) {
        const auto fields = text::words(line);
        if (fields.size() < 6) continue;
        const auto quote = fields[5].find('"');
        const auto program = quote == std::string::npos
                                 ? std::string()
                                 : fields[5].substr(quote + 1, fields[5].find('"', quote + 1) - quote - 1);
        if (program != "mirrord" && !program.starts_with("understudy")) continue;
        const auto colon = fields[3].rfind(':');
        if (colon == std::string::npos) continue;
        const auto address = fields[3].substr(0, colon);
        const auto port = text::to_int(std::string_view(fields[3]).substr(colon + 1));
        if (!port || address.starts_with("127.") || address == "[::1]") continue;
        if (!config::covers(plan.openings, Transport::tcp, static_cast<std::uint16_t>(*port)))
            found.push_back(fmt::format("{} listens on tcp {}, which no rule admits", program, *port));
    }
    return found;
}

std::string plain_rules(const FirewallPlan& plan) {
    std::string out = fmt::format("{:<9} {:<12} {:<40} {}\n", "protocol", "port", "from", "for");
    for (const auto& opening : plan.openings) {
        const bool anywhere = opening.from == From::anywhere || plan.peers.empty();
        out += fmt::format("{:<9} {:<12} {:<40} {}\n", protocol_word(opening.transport),
                           opening.transport == Transport::icmp ? "echo" : port_text(opening),
                           anywhere ? "anywhere" : text::join(plan.peers, ","), opening.use);
    }
    return out;
}

}  // namespace understudy::cli
