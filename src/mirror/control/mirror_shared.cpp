// Volumes whose disk several hosts share, at this end or at the other. Of each end one host has the mirror at
// a time, the owner of the disk (mirror/shared); what it knows lies beside the volume. To the other end all
// of them are one peer. Spec: MOP-018, MOP-067, EMC-039, EMC-262.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"

namespace understudy::mirror::control {

using runtime::Task;

// --- this end is shared

void Mirror::refuse_writes() {
    lost_ = true;
    if (!host_ || !open_) return;
    host_->set_gate(GateMode::refuse_writes);
    // A target's writes come over the link.
    for (const std::string& peer : names())
        host_->detach(peer);
}

Task<Result<>> Mirror::lay_down(bool lost) {
    if (lost) refuse_writes();
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!host_) co_return Result<>{};
    if (exporting_) {
        auto stopped = co_await take_down_export(lost);
        if (!stopped && !lost) co_return fail(stopped.error());
        if (!stopped) messages::warning("volume {}: {}", record_.volume.str(), stopped.error().text);
    }
    if (!lost) {
        co_await shut_down();
    } else {
        closing_ = true;
        for (const std::string& peer : names())
            if (open_) host_->detach(peer);
    }
    const bool was_open = std::exchange(open_, false);
    for (auto& [peer, leg] : legs_)
        stop_timers(leg);
    around_.links.forget(record_.volume);
    // Nothing is in the device when the next owner begins. What others asked is answered before.
    if (was_open) co_await host_->idle();
    if (was_open) co_await host_->status(record_.peers.front().node);
    host_.reset();
    co_return Result<>{};
}

// --- the other end is shared

/// The peer's disk is served by this host of it now.
void Mirror::meet(const std::string& peer, const std::string& host) {
    const PeerRecord* one = record_.peer(peer);
    if (!one || one->pairs.empty() || host.empty() || host == one->host_name()) return;
    MirrorRecord next = record_;
    if (!next.peer(peer)->use(around_.node, host)) return;
    if (auto saved = commit(std::move(next)); !saved) return alarm(saved.error().text);
    messages::info("volume {}: {} serves the disk that it shares with {}", record_.volume.str(), host, peer);
}

/// Any of which may be asked about its peer's copy, or have it next.
std::vector<std::string> Mirror::hosts_of(const std::vector<std::string>& peers) const {
    std::vector<std::string> out;
    for (const std::string& peer : peers)
        if (const PeerRecord* one = record_.peer(peer))
            for (std::string& host : one->hosts())
                out.push_back(std::move(host));
    return out;
}

/// A host that has lost the disk does not know it yet: what it asks for is not for it to ask. A session is
/// asked for by whoever has become the owner; decide() tells an older one by its epoch. So are addresses.
Result<> Mirror::check_host(const std::string& peer, const PeerRequest& request) const {
    const PeerRecord* one = record_.peer(peer);
    if (!one || one->pairs.empty() || request.host.empty() || request.host == one->host_name()) return {};
    if (request.kind == RequestKind::query || request.kind == RequestKind::hello) return {};
    if (request.kind == RequestKind::change_address && request.summary.role_epoch > record_.role_epoch)
        return {};
    return fail(Code::failure, "{} serves volume {} there, not {}", one->host_name(), record_.volume.str(),
                request.host);
}

Task<Result<PeerReply>> Mirror::call(std::string peer, PeerRequest request, CallLimits limits) {
    auto first = co_await call_peer(world_, address_of(peer), request, limits);
    const PeerRecord* const known = record_.peer(peer);
    if (first || !known || known->hosts().size() < 2) co_return first;
    const auto elsewhere = [](const Error& error) {
        return error.code == Code::unreachable || error.code == Code::not_found;
    };
    if (!elsewhere(first.error())) co_return first;
    const PeerRecord one = *known;
    std::string silent = first.error().code == Code::unreachable ? first.error().text : "";
    for (const EndpointPair& pair : one.pairs) {
        if (pair.here != around_.node || pair.there == one.host_name()) continue;
        const PeerAddress address{pair.there, pair.address, pair.port, pair.local_address};
        auto next = co_await call_peer(world_, address, request, limits);
        if (next) meet(peer, pair.there);
        if (next || !elsewhere(next.error())) co_return next;
        if (silent.empty() && next.error().code == Code::unreachable) silent = next.error().text;
    }
    co_return fail(
        Code::unreachable, "{}",
        !silent.empty() ? silent : fmt::format("no host of {} serves volume {}", peer, record_.volume.str()));
}

}  // namespace understudy::mirror::control
