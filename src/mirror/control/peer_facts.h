#pragma once
// What hosts of a volume tell each other of a third, and what becomes of that on record. Pure; any thread.
// Spec: REP-240, MOP-020, MOP-070.

#include "mirror/control/protocol.h"
#include "mirror/control/record.h"

#include <string>
#include <vector>

namespace understudy::mirror::control {

/// `peer` as the hosts of `receiver` are told of it by `self`. Between them the addresses count by which
/// `self` reaches each, until they are told others. What logs say is left out.
PeerFacts facts_of(const PeerRecord& peer, const PeerRecord& receiver, const std::string& self);

/// A peer that `self` has heard of and not met: paused, and nothing is known of what it lacks.
PeerRecord record_of(const PeerFacts& facts, const std::string& self);

/// The pairs that are told; of those that are known already the addresses stay, unless they were changed
/// since.
std::vector<EndpointPair> merged(const std::vector<EndpointPair>& known, std::vector<EndpointPair> told);
/// The same pairs as the other end has them; `port`: the dispatch port of this end.
std::vector<EndpointPair> flipped(const std::vector<EndpointPair>& pairs, std::uint16_t port);

/// Gives the peer these pairs; means another host of it when the one that was met last is not among them. Of
/// several the one at `peer.address`, if there. False: none of them is of `self`; the peer is unchanged.
bool give_pairs(PeerRecord& peer, std::vector<EndpointPair> pairs, const std::string& self);

}  // namespace understudy::mirror::control
