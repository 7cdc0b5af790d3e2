#pragma once
// Proposed paths between a joiner and a member: on the wire they name both ends, here each side sees its own.
// Private to this folder.

#include "comm/wire.h"
#include "config/model.h"
#include "runtime/network.h"

#include <vector>

namespace understudy::comm {

/// The joiner's ends as a proposal.
std::vector<wire::ProposedPath> to_proposal(const std::vector<config::Path>& joiner_ends);
/// The member's ends of a proposal, with what it leaves open filled in from the connection it came over. Only
/// TCP.
Result<std::vector<config::Path>> member_ends(const std::vector<wire::ProposedPath>& proposal,
                                              const NodeName& joiner, const runtime::Channel& channel);
/// The member's ends as the answer.
std::vector<wire::ProposedPath> to_wire(const std::vector<config::Path>& member_ends);
/// The joiner's ends of an answer.
std::vector<config::Path> joiner_ends(const std::vector<wire::ProposedPath>& answer, const NodeName& member);

}  // namespace understudy::comm
