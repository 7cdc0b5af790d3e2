#include "mirror/control/peer_facts.h"

#include <algorithm>

namespace understudy::mirror::control {

namespace {

struct Reach {
    std::string host, address;
    std::uint16_t port = kDispatchPort;
};

/// The hosts of a peer with the addresses by which `self` reaches them.
std::vector<Reach> reaches(const PeerRecord& peer, const std::string& self) {
    std::vector<Reach> out;
    for (const EndpointPair& pair : peer.pairs)
        if (pair.here == self) out.push_back({pair.there, pair.address, pair.port});
    if (out.empty()) out.push_back({peer.host_name(), peer.address, peer.port});
    return out;
}

}  // namespace

PeerFacts facts_of(const PeerRecord& peer, const PeerRecord& receiver, const std::string& self) {
    PeerFacts facts;
    facts.node = peer.node;
    facts.address = peer.address;
    facts.local_address = receiver.address;
    facts.port = peer.port;
    facts.type = peer.type;
    facts.user_requested = peer.user_requested;
    facts.log_valid = peer.log_valid;
    if (peer.pairs.empty() && receiver.pairs.empty()) return facts;
    const auto theirs = reaches(peer, self);
    for (const Reach& here : reaches(receiver, self))
        for (const Reach& there : theirs)
            facts.pairs.push_back({here.host, there.host, here.address, there.address, there.port});
    return facts;
}

PeerRecord record_of(const PeerFacts& facts, const std::string& self) {
    PeerRecord peer;
    peer.node = facts.node;
    peer.address = facts.address;
    peer.local_address = facts.local_address;
    peer.port = facts.port;
    peer.type = facts.type;
    peer.state = MirrorState::paused;
    peer.log_valid = false;
    if (!facts.pairs.empty()) (void)give_pairs(peer, facts.pairs, self);
    return peer;
}

std::vector<EndpointPair> merged(const std::vector<EndpointPair>& known, std::vector<EndpointPair> told) {
    for (EndpointPair& pair : told)
        for (const EndpointPair& one : known)
            if (one.here == pair.here && one.there == pair.there) {
                if (one.serial >= pair.serial)
                    pair = one;
                else
                    pair.port = one.port;  // which nobody changes
            }
    return told;
}

std::vector<EndpointPair> flipped(const std::vector<EndpointPair>& pairs, std::uint16_t port) {
    std::vector<EndpointPair> out;
    out.reserve(pairs.size());
    for (const EndpointPair& pair : pairs)
        out.push_back({pair.there, pair.here, pair.address, pair.local_address, port, pair.serial});
    return out;
}

bool give_pairs(PeerRecord& peer, std::vector<EndpointPair> pairs, const std::string& self) {
    const EndpointPair* best = nullptr;
    for (const EndpointPair& pair : pairs) {
        if (pair.here != self) continue;
        if (best == nullptr || pair.there == peer.host_name() ||
            (best->there != peer.host_name() && pair.address == peer.address))
            best = &pair;
    }
    if (best == nullptr) return false;
    const std::string there = best->there;
    peer.pairs = std::move(pairs);
    return peer.use(self, there);
}

}  // namespace understudy::mirror::control
