// The addresses of a mirror's hosts for each other, changed while the mirror is there. Where hosts share the
// disk of an end, the owner of it changes those of any pair of hosts: they lie in the record beside the
// volume, for whoever owns it next. Spec: EMC-094 to EMC-106, MOP-117.

#include "config/address.h"
#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"
#include "mirror/control/peer_facts.h"

#include <algorithm>

namespace understudy::mirror::control {

using runtime::Task;

namespace {

/// Spec: EMC-098.
constexpr std::size_t kMostHostsToReaddress = 3;

EndpointPair* pair_of(PeerRecord& peer, const std::string& here, const std::string& there) {
    const auto at = std::find_if(peer.pairs.begin(), peer.pairs.end(), [&](const EndpointPair& pair) {
        return pair.here == here && pair.there == there;
    });
    return at == peer.pairs.end() ? nullptr : &*at;
}

/// The host other than `self` that has the address in one of the volume's mirrors; empty: none.
std::string host_at(const MirrorRecord& record, const std::string& address, const std::string& self) {
    for (const PeerRecord& peer : record.peers) {
        if (peer.pairs.empty() && peer.address == address && peer.node != self) return peer.node;
        for (const EndpointPair& pair : peer.pairs) {
            if (pair.local_address == address && pair.here != self) return pair.here;
            if (pair.address == address && pair.there != self) return pair.there;
        }
    }
    return {};
}

bool same_addresses(const EndpointPair& one, const EndpointPair& other) {
    return one.local_address == other.local_address && one.address == other.address;
}

/// Spec: EMC-105.
Result<> fit_together(const std::string& local_address, const std::string& address) {
    for (const std::string& one : {local_address, address})
        if (!config::is_numeric_address(one))
            return fail(Code::bad_argument, "\"{}\" is no numeric IPv4 or IPv6 address", one);
    if (config::is_v6(local_address) != config::is_v6(address))
        return fail(Code::bad_argument, "{} and {} are of different address families", local_address,
                    address);
    return {};
}

bool runs(MirrorState state) {
    return state == MirrorState::mirroring || state == MirrorState::resync;
}

}  // namespace

Task<Result<>> Mirror::change_endpoints(std::string peer, std::string local_address, std::string address,
                                        std::string host) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    const PeerRecord* one = record_.peer_of_host(peer);
    if (!one)
        co_return fail(Code::not_found, "volume {} has no mirror with {}; it has: {}", record_.volume.str(),
                       peer, record_.peer_names());
    if (!one->pairs.empty()) {
        EndpointPair pair{host.empty() ? around_.node : host, peer, local_address, address};
        co_return co_await change_pair(one->node, std::move(pair));
    }
    if (!host.empty() && host != around_.node)
        co_return fail(Code::bad_argument, "{} does not share the disk of volume {} with {}", host,
                       record_.volume.str(), around_.node);
    if (record_.peers.size() + 1 > kMostHostsToReaddress)
        co_return fail(Code::failure,
                       "volume {} has more than {} hosts: delete and create the mirror instead",
                       record_.volume.str(), kMostHostsToReaddress);
    if (auto fit = fit_together(local_address, address); !fit) co_return fit;
    for (const PeerRecord& other : record_.peers)
        if (other.node != peer && (other.address == address || other.address == local_address))
            co_return fail(Code::bad_argument, "{} is an address of {}", other.address, other.node);
    const MirrorState state = legs_.at(peer).state;
    // Spec: EMC-099. A target remembers its last state also when its source is gone.
    if (source() ? runs(state) : legs_.at(peer).linked)
        co_return fail(Code::bad_argument, "the mirror of volume {} with {} is {}: pause it first",
                       record_.volume.str(), peer, to_string(state));
    const PeerAddress before = address_of(peer);
    MirrorRecord next = record_;
    next.peer(peer)->local_address = local_address;
    next.peer(peer)->address = address;
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    PeerRequest told = request(RequestKind::change_address, peer);
    PeerFacts mine;
    mine.node = around_.node;
    mine.address = local_address;
    mine.local_address = address;
    mine.port = before.remote_port;
    told.peers.push_back(mine);
    const CallLimits limits{.connect = kConnectLimit, .answer = kHelloLimit};
    auto reply = co_await call_peer(world_, address_of(peer), told, limits);
    if (!reply && reply.error().code == Code::unreachable)
        reply = co_await call_peer(world_, before, told, limits);
    if (source()) {
        drop_link(legs_.at(peer), peer);
        go_alone_until_recorded({});
        schedule_connect(peer, runtime::Duration::zero());
    }
    // Spec: EMC-109.
    if (!reply)
        co_return fail(reply.error().code,
                       "changed on {}, but {} could not be told: {}; run it there as well", around_.node,
                       peer, reply.error().text);
    co_return Result<>{};
}

/// Whether the mirror runs over these addresses, or will.
bool Mirror::uses(const std::string& peer, const EndpointPair& pair) const {
    const PeerRecord* const one = record_.peer(peer);
    return one != nullptr && pair.here == around_.node && pair.there == one->host_name();
}

/// Why the pair must not get these addresses now. Spec: EMC-099, EMC-105.
Result<> Mirror::check_pair(const std::string& peer, const EndpointPair& pair) const {
    PeerRecord known = *record_.peer(peer);
    if (pair_of(known, pair.here, pair.there) == nullptr)
        return fail(Code::not_found, "{} and {} are no pair of hosts of volume {}", pair.here, pair.there,
                    record_.volume.str());
    UNDERSTUDY_CHECK(fit_together(pair.local_address, pair.address));
    if (const std::string other = host_at(record_, pair.local_address, pair.here); !other.empty())
        return fail(Code::bad_argument, "{} is an address of {}", pair.local_address, other);
    if (const std::string other = host_at(record_, pair.address, pair.there); !other.empty())
        return fail(Code::bad_argument, "{} is an address of {}", pair.address, other);
    if (same_addresses(*pair_of(known, pair.here, pair.there), pair)) return {};
    if (const MirrorState state = legs_.at(peer).state; uses(peer, pair) && source() && runs(state))
        return fail(Code::bad_argument, "the mirror of volume {} with {} is {}: pause it first",
                    record_.volume.str(), pair.there, to_string(state));
    return {};
}

Result<> Mirror::record_pair(const std::string& peer, const EndpointPair& pair) {
    MirrorRecord next = record_;
    PeerRecord& changed = *next.peer(peer);
    EndpointPair* const known = pair_of(changed, pair.here, pair.there);
    if (known == nullptr)
        return fail(Code::not_found, "{} and {} are no pair of hosts of volume {}", pair.here, pair.there,
                    record_.volume.str());
    const bool over_others = uses(peer, pair) && !same_addresses(*known, pair);
    known->local_address = pair.local_address;
    known->address = pair.address;
    known->serial = std::max(known->serial, pair.serial);
    const std::string met = changed.host_name();
    changed.use(around_.node, met);
    UNDERSTUDY_CHECK(commit(std::move(next)));
    if (!over_others) return {};
    if (open_) drop_link(legs_.at(peer), peer);
    if (source()) {
        go_alone_until_recorded({});
        schedule_connect(peer, runtime::Duration::zero());
    }
    return {};
}

/// The other end first: what it refuses changes nothing. A target that cannot be asked learns it with the
/// next session. A source must be asked: nobody else would tell it. Spec: EMC-095, EMC-102, EMC-109.
Task<Result<>> Mirror::change_pair(std::string peer, EndpointPair pair) {
    auto fits = check_pair(peer, pair);
    if (!fits) co_return fits;
    PeerRecord known = *record_.peer(peer);
    const EndpointPair before = *pair_of(known, pair.here, pair.there);
    pair.port = before.port;
    // Again the same: this end has it, and the other may not.
    pair.serial = before.serial + (same_addresses(before, pair) ? 0 : 1);
    const std::vector<EndpointPair> one{pair};
    PeerRequest told = pairs_request(RequestKind::change_address, peer, one);
    told.summary.role_epoch = record_.role_epoch;
    const CallLimits limits{.connect = kConnectLimit, .answer = kHelloLimit};
    Result<PeerReply> reply = fail(Code::unreachable, "nobody was asked");
    if (uses(peer, pair)) {
        const PeerAddress there{pair.there, pair.address, pair.port, pair.local_address};
        reply = co_await call_peer(world_, there, told, limits);
    }
    if (!reply && reply.error().code == Code::unreachable) reply = co_await call(peer, told, limits);
    if (!reply && (reply.error().code != Code::unreachable || !source()))
        co_return fail(reply.error().code, "{} cannot be told of the addresses of volume {}: {}", peer,
                       record_.volume.str(), reply.error().text);
    if (reply && reply->pairs_taken != 1)
        co_return fail(
            Code::failure,
            "{} runs a release that cannot change the addresses of hosts that share a disk: install "
            "the same on both ends",
            peer);
    auto saved = record_pair(peer, pair);
    if (!saved) co_return saved;
    if (!reply)
        co_return fail(Code::unreachable,
                       "changed on {}, but {} cannot be told yet: {}; it is told with the next session",
                       around_.node, peer, reply.error().text);
    co_return Result<>{};
}

/// The other end has changed them.
Result<> Mirror::take_pairs(const std::string& peer, const std::vector<EndpointPair>& pairs) {
    for (const EndpointPair& pair : pairs)
        UNDERSTUDY_CHECK(check_pair(peer, pair));
    for (const EndpointPair& pair : pairs) {
        tell(Event::address_changed, peer,
             fmt::format("the addresses between {} and {} are {} and {} now", pair.here, pair.there,
                         pair.local_address, pair.address));
        UNDERSTUDY_CHECK(record_pair(peer, pair));
    }
    return {};
}

Task<PeerReply> Mirror::on_change_address(std::string caller, PeerRequest request) {
    auto held = co_await lock_.acquire(kDemoteWait);
    if (!held) co_return error_reply(busy(record_).value());
    PeerReply reply;
    if (!request.pairs.empty()) {
        // The next owner of the other end's disk, which has had no session yet.
        if (request.summary.role_epoch > record_.role_epoch) meet(caller, request.host);
        auto taken = take_pairs(caller, request.pairs);
        if (!taken) co_return error_reply(taken.error());
        reply.pairs_taken = request.pairs.size();
    }
    for (const PeerFacts& facts : request.peers) {
        if (facts.node != caller || facts.address.empty() || facts.local_address.empty()) continue;
        MirrorRecord next = record_;
        tell(Event::address_changed, caller,
             fmt::format("the address of {} is {} now, it was {}", caller, facts.address,
                         record_.peer(caller)->address));
        next.peer(caller)->address = facts.address;
        next.peer(caller)->local_address = facts.local_address;
        if (auto saved = commit(std::move(next)); !saved) co_return error_reply(saved.error());
        if (Leg* leg = find(caller)) drop_link(*leg, caller);
        if (source()) schedule_connect(caller, runtime::Duration::zero());
    }
    reply.summary = co_await summary(caller);
    co_return reply;
}

}  // namespace understudy::mirror::control
