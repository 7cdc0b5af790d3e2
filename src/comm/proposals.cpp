#include "comm/proposals.h"

#include "config/ports.h"

namespace understudy::comm {
namespace {

// The defaults of a new path. Spec: CLU-059
constexpr std::string_view kTcpTransport = "TLI";

wire::ProposedPath common(const config::Path& path) {
    wire::ProposedPath out;
    out.device = path.device;
    out.transport = path.transport;
    out.priority = static_cast<std::uint32_t>(std::clamp(path.priority, 1, 99));
    out.interval_ms = static_cast<std::uint32_t>(std::clamp(path.interval_ms, 1, 3'600'000));
    out.misses = static_cast<std::uint32_t>(std::clamp(path.misses, 1, 1000));
    return out;
}

config::Path end_of(const wire::ProposedPath& proposed, const NodeName& remote) {
    config::Path out;
    out.remote = remote;
    out.device = proposed.device.empty() ? fmt::format("TCP:{}", config::kFirstPathPort) : proposed.device;
    out.transport = proposed.transport.empty() ? std::string(kTcpTransport) : proposed.transport;
    if (proposed.priority != 0) out.priority = static_cast<int>(proposed.priority);
    if (proposed.interval_ms != 0) out.interval_ms = static_cast<int>(proposed.interval_ms);
    if (proposed.misses != 0) out.misses = static_cast<int>(proposed.misses);
    return out;
}

}  // namespace

std::vector<wire::ProposedPath> to_proposal(const std::vector<config::Path>& ends) {
    std::vector<wire::ProposedPath> out;
    for (const auto& path : ends) {
        out.push_back(common(path));
        out.back().joiner_address = path.local_address;
        out.back().member_address = path.remote_address;
    }
    return out;
}

std::vector<wire::ProposedPath> to_wire(const std::vector<config::Path>& ends) {
    std::vector<wire::ProposedPath> out;
    for (const auto& path : ends) {
        out.push_back(common(path));
        out.back().joiner_address = path.remote_address;
        out.back().member_address = path.local_address;
    }
    return out;
}

Result<std::vector<config::Path>> member_ends(const std::vector<wire::ProposedPath>& proposal,
                                              const NodeName& joiner, const runtime::Channel& channel) {
    auto wanted = proposal;
    if (wanted.empty()) wanted.emplace_back();
    std::vector<config::Path> out;
    for (const auto& proposed : wanted) {
        auto path = end_of(proposed, joiner);
        if (!path.device.starts_with("TCP:") || path.transport != kTcpTransport)
            return fail(Code::bad_argument,
                        "path {} ({}) cannot be made when a node joins: only TCP paths can", path.device,
                        path.transport);
        path.local_address =
            proposed.member_address.empty() ? channel.local_endpoint().address : proposed.member_address;
        path.remote_address =
            proposed.joiner_address.empty() ? channel.remote_endpoint().address : proposed.joiner_address;
        out.push_back(std::move(path));
    }
    return out;
}

std::vector<config::Path> joiner_ends(const std::vector<wire::ProposedPath>& answer, const NodeName& member) {
    std::vector<config::Path> out;
    for (const auto& accepted : answer) {
        out.push_back(end_of(accepted, member));
        out.back().local_address = accepted.joiner_address;
        out.back().remote_address = accepted.member_address;
    }
    return out;
}

}  // namespace understudy::comm
