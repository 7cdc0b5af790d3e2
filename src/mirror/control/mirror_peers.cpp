// The hosts of a volume: every one knows every other, with addresses for each pair, so that any can become
// source. The source's list is the one that counts; the others take it over with each session. Spec: REP-240,
// MOP-069 to MOP-071, MOP-155, MOP-160.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"
#include "mirror/control/peer_facts.h"

#include <algorithm>

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

/// The volume's hosts but this one and `peer`, as this end knows them. The receiver's own address is the one
/// that this end uses for it, until it is told another.
std::vector<PeerFacts> Mirror::others(const std::string& peer) const {
    std::vector<PeerFacts> out;
    const PeerRecord* receiver = record_.peer(peer);
    for (const PeerRecord& one : record_.peers) {
        if (one.node == peer) continue;
        const auto base = record_.lineage.peers.find(one.node);
        PeerFacts facts = facts_of(one, receiver != nullptr ? *receiver : PeerRecord(), around_.node);
        if (base != record_.lineage.peers.end()) {
            facts.sync_base = base->second.sync_base;
            facts.offered = base->second.offered;
        }
        out.push_back(std::move(facts));
    }
    return out;
}

/// A host that shares its disk is known by another's name at one end than at the other.
std::vector<PeerFacts> Mirror::by_names_here(std::vector<PeerFacts> peers) const {
    for (PeerFacts& facts : peers) {
        const PeerRecord* known = record_.peer_of_host(facts.node);
        for (const EndpointPair& pair : facts.pairs)
            if (known == nullptr) known = record_.peer_of_host(pair.there);
        if (known != nullptr) facts.node = known->node;
    }
    return peers;
}

/// Target: the source's list of hosts becomes this end's. Addresses that are known here stay as they are.
Task<Result<>> Mirror::adopt_peers(std::string source, std::vector<PeerFacts> peers,
                                   std::vector<EndpointPair> pairs) {
    auto paired = adopt_pairs(source, std::move(pairs));
    if (!paired) co_return fail(paired.error());
    peers = by_names_here(std::move(peers));
    const auto listed = [&peers](const std::string& node) {
        return std::any_of(peers.begin(), peers.end(),
                           [&](const PeerFacts& one) { return one.node == node; });
    };
    for (const std::string& peer : names()) {
        if (peer == source || listed(peer)) continue;
        messages::info("volume {}: {} is no host of it any more", record_.volume.str(), peer);
        auto gone = co_await forget_peer(peer);
        if (!gone) co_return fail(gone.error());
    }
    for (const PeerFacts& facts : peers) {
        if (facts.node == around_.node) continue;
        if (record_.peer(facts.node)) {
            paired = adopt_pairs(facts.node, facts.pairs);
            if (!paired) co_return fail(paired.error());
            continue;
        }
        PeerRecord peer = record_of(facts, around_.node);
        auto log = co_await new_log(facts.node);
        if (!log) co_return fail(log.error());
        peer.log_path = *log;
        auto old_log = world_.files.remove(peer.log_path);
        if (!old_log) co_return fail(old_log.error());
        MirrorRecord next = record_;
        next.lineage.peers[peer.node] = {};
        next.peers.push_back(peer);
        auto saved = commit(std::move(next));
        if (!saved) co_return fail(saved.error());
        legs_[facts.node].backoff = kConnectBackoffStart;
        if (!open_) continue;
        const std::string name = facts.node;
        auto opened = co_await open_log(name, true);
        if (!opened) co_return fail(opened.error());
    }
    co_return Result<>{};
}

Task<PeerReply> Mirror::on_set_peers(std::string caller, PeerRequest request) {
    auto held = co_await lock_.acquire(kDemoteWait);
    if (!held) co_return error_reply(busy(record_).value());
    if (source())
        co_return error_reply(
            {Code::failure,
             fmt::format("{} is source of volume {} itself", around_.node, record_.volume.str()), 0});
    auto adopted = co_await adopt_peers(caller, request.peers, request.pairs);
    if (!adopted) co_return error_reply(adopted.error());
    PeerReply reply;
    reply.summary = co_await summary(caller);
    co_return reply;
}

/// Who is away is told with its next session.
Task<> Mirror::tell_peers() {
    for (const std::string& peer : names()) {
        PeerRequest list = pairs_request(RequestKind::set_peers, peer, record_.peer(peer)->pairs);
        list.peers = others(peer);
        tasks_.spawn(notify_task(peer, std::move(list)));
    }
    co_return;
}

Task<Result<>> Mirror::add_peer(PeerRecord peer, bool equal) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source() || !open_ || closing_)
        co_return fail(Code::failure, "{} is not source of volume {}: add the target there", around_.node,
                       record_.volume.str());
    if (record_.peer(peer.node))
        co_return fail(Code::exists, "volume {} is mirrored to {} already", record_.volume.str(), peer.node);
    const std::string name = peer.node;
    auto log = co_await new_log(name);
    if (!log) co_return fail(log.error());
    peer.log_path = *log;
    peer.state = MirrorState::pending;
    auto old_log = world_.files.remove(peer.log_path);
    if (!old_log) co_return fail(old_log.error());
    MirrorRecord next = record_;
    PeerBase base;
    if (equal) base = {next.lineage.current, next.lineage.current, true};
    next.lineage.peers[name] = base;
    next.peers.push_back(std::move(peer));
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    legs_[name].backoff = kConnectBackoffStart;
    auto opened = co_await open_log(name, false);
    if (!opened) {
        auto gone = co_await forget_peer(name);
        if (!gone) messages::error("volume {}: {}", record_.volume.str(), gone.error().text);
        co_return fail(opened.error());
    }
    // What is under way is not in this target's log: its copy must not read where that has not been written
    // yet.
    adding_ = true;
    update_gate();
    const bool written = co_await host_->written(kWrittenWait);
    adding_ = false;
    if (!written) {
        update_gate();
        auto gone = co_await forget_peer(name);
        if (!gone) messages::error("volume {}: {}", record_.volume.str(), gone.error().text);
        co_return fail(
            Code::failure,
            "writes to volume {} that were under way have not ended within {} s: {} is not added; try "
            "again when its device and its targets answer",
            record_.volume.str(), std::chrono::duration_cast<std::chrono::seconds>(kWrittenWait).count(),
            name);
    }
    host_->become_source(name, MirrorState::pending, PauseCause::none, !equal);
    update_gate();
    schedule_connect(name, 0s);
    co_await tell_peers();
    messages::info("volume {} is mirrored to {} too", record_.volume.str(), name);
    co_return Result<>{};
}

Task<Result<>> Mirror::forget_peer(std::string peer) {
    Leg* leg = find(peer);
    if (!leg) co_return Result<>{};
    stop_timers(*leg);
    const std::string log = record_.peer(peer)->log_path;
    MirrorRecord next = record_;
    std::erase_if(next.peers, [&](const PeerRecord& one) { return one.node == peer; });
    next.lineage.peers.erase(peer);
    if (next.origin == peer) next.origin.clear();
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    legs_.erase(peer);
    serve_without_targets();
    if (open_) co_await host_->remove(peer);
    auto log_gone = world_.files.remove(log);
    if (!log_gone) tell(Event::log_not_deleted, peer, log_gone.error().text);
    co_return Result<>{};
}

Task<Result<>> Mirror::drop_peer(std::string peer) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source())
        co_return fail(Code::failure, "{} is not source of volume {}: remove the target there", around_.node,
                       record_.volume.str());
    if (!record_.peer(peer))
        co_return fail(Code::not_found, "volume {} has no mirror with {}; it has: {}", record_.volume.str(),
                       peer, record_.peer_names());
    if (record_.shared && record_.peers.size() == 1)
        co_return fail(Code::failure, "{} is the only target of volume {}: delete the mirror", peer,
                       record_.volume.str());
    auto gone = co_await forget_peer(peer);
    if (!gone) co_return fail(gone.error());
    update_gate();
    co_await tell_peers();
    tell(Event::deleted, peer, fmt::format("it is not mirrored to {} any more", peer));
    co_return Result<>{};
}

}  // namespace understudy::mirror::control
