// Whether the data port of a mirror that runs would take new connections. Those that there are outlive a
// firewall's change of mind, and the first reconnection finds out too late. Spec: REP-045.

#include "mirror/control/mirror.h"

namespace understudy::mirror::control {

using runtime::Task;

Result<std::uint16_t> Mirror::expect_probe(const std::string& peer, const SessionId& session,
                                           const SessionKey& key) {
    const Leg* leg = find(peer);
    // While a session is being made the port is its own.
    if (source() || !open_ || closing_ || !leg || !leg->linked || leg->state == MirrorState::none)
        return fail(Code::failure, "volume {} has no links with {}", record_.volume.str(), peer);
    return around_.links.expect(record_.volume, record_.peer(peer)->local_address, session, key,
                                [](const LinkResult&) {});
}

Task<Result<>> Mirror::reach_probe(std::string peer, std::uint16_t port, SessionId session, SessionKey key) {
    const PeerRecord* one = record_.peer(peer);
    if (one == nullptr) co_return fail(Code::not_found, "{} is no peer any more", peer);
    runtime::Endpoint to{one->address, port};
    std::string from = one->local_address;
    LinkResult made = co_await around_.links.connect(std::move(to), std::move(from), session, key);
    if (!made) co_return fail(made.error());
    co_return Result<>{};
}

}  // namespace understudy::mirror::control
