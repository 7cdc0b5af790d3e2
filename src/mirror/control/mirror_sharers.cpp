// Hosts that share the disk of an end, added and dropped while there is a mirror. Each end says which its own
// are; a source's word on both comes with each session. Spec: MOP-161 to MOP-164.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"
#include "mirror/control/peer_facts.h"

namespace understudy::mirror::control {

using runtime::Task;

PeerRequest Mirror::pairs_request(RequestKind kind, const std::string& peer,
                                  const std::vector<EndpointPair>& pairs) const {
    PeerRequest out = request(kind, peer);
    out.pairs = flipped(pairs, around_.dispatch_port);
    return out;
}

/// Addresses that are known here stay as they are. None: not told, as by a build that does not know them.
Result<> Mirror::adopt_pairs(const std::string& peer, std::vector<EndpointPair> pairs) {
    const PeerRecord* known = record_.peer(peer);
    if (known == nullptr || pairs.empty()) return {};
    pairs = merged(known->pairs, std::move(pairs));
    if (pairs == known->pairs) return {};
    MirrorRecord next = record_;
    if (!give_pairs(*next.peer(peer), std::move(pairs), around_.node))
        return fail(Code::failure, "{} does not know {} as a host of volume {}", peer, around_.node,
                    record_.volume.str());
    UNDERSTUDY_CHECK(commit(std::move(next)));
    messages::info("volume {}: the hosts of the mirror with {} have changed", record_.volume.str(), peer);
    return {};
}

Task<PeerReply> Mirror::on_set_pairs(std::string caller, PeerRequest request) {
    auto held = co_await lock_.acquire(kDemoteWait);
    if (!held) co_return error_reply(busy(record_).value());
    auto adopted = adopt_pairs(caller, std::move(request.pairs));
    if (!adopted) co_return error_reply(adopted.error());
    PeerReply reply;
    reply.summary = co_await summary(caller);
    if (const PeerRecord* one = record_.peer(caller)) reply.pairs_taken = one->pairs.size();
    co_return reply;
}

Task<Result<>> Mirror::tell_pairs(std::string peer, std::vector<EndpointPair> pairs) {
    PeerRequest told = pairs_request(RequestKind::set_pairs, peer, pairs);
    auto reply = co_await call(peer, std::move(told), {.connect = kConnectLimit, .answer = kHelloLimit});
    // One that does not know the request takes it for damaged.
    const bool unknown = !reply && reply.error().code == Code::internal;
    if (!reply && !unknown) co_return fail(reply.error());
    if (unknown || reply->pairs_taken != pairs.size())
        co_return fail(
            Code::failure,
            "{} runs a release that does not know hosts that share a disk of a mirror with others: "
            "install the same on all ends",
            peer);
    co_return Result<>{};
}

Task<Result<>> Mirror::check_ends() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    for (const std::string& peer : names()) {
        std::vector<EndpointPair> as_known = record_.peer(peer)->pairs;
        auto told = co_await tell_pairs(peer, std::move(as_known));
        if (told) continue;
        if (told.error().code != Code::unreachable) co_return told;
        messages::warning(
            "volume {}: {} cannot be asked whether its release knows shared disks beside others: {}",
            record_.volume.str(), peer, told.error().text);
    }
    co_return Result<>{};
}

Task<Result<>> Mirror::set_pairs(PairsOf pairs, bool added) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    MirrorRecord next = record_;
    for (const auto& [peer, wanted] : pairs) {
        PeerRecord* const one = next.peer(peer);
        if (one == nullptr || !give_pairs(*one, wanted, around_.node))
            co_return fail(Code::failure, "volume {} has no mirror of {} with {}", record_.volume.str(),
                           around_.node, peer);
    }
    // The next session with a source brings its word: it must know before.
    std::vector<std::string> later;
    for (const std::string& peer : names()) {
        if (!pairs.contains(peer)) continue;
        if (!added && (source() || record_.origin != peer)) {
            later.push_back(peer);
            continue;
        }
        std::vector<EndpointPair> wanted = pairs.at(peer);
        auto told = co_await tell_pairs(peer, std::move(wanted));
        if (!told)
            co_return fail(told.error().code, "{} cannot be told of the hosts of volume {}: {}", peer,
                           record_.volume.str(), told.error().text);
    }
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    for (const std::string& peer : later) {
        std::vector<EndpointPair> wanted = pairs.at(peer);
        auto told = co_await tell_pairs(peer, std::move(wanted));
        if (!told) messages::warning("volume {}: {}", record_.volume.str(), told.error().text);
    }
    co_return Result<>{};
}

}  // namespace understudy::mirror::control
