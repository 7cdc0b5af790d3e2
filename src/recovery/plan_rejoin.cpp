// A peer returned and this node has quorum: what is in service nowhere is started by the node that comes
// first of all that have it, reachable or not. Whoever is silent and not known to be down may have it. Spec:
// QUO-069 to QUO-071.

#include "recovery/plan_builder.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

using config::State;

/// Why `members` are not started here; empty: they are.
std::string objection(const PlanBuilder& builder, const std::vector<Tag>& members) {
    for (const auto& tag : members)
        for (const auto& pair : builder.equivalents(tag)) {
            if (builder.has_it(pair.other_node, pair.other_tag))
                return fmt::format("in service on {}", pair.other_node.str());
            if (builder.holding(pair.other_node, pair.other_tag) == Holding::unreachable)
                return fmt::format("{} {}", pair.other_node.str(), kNotAsked);
        }
    for (const auto& root : builder.graph().roots_of(members)) {
        if (builder.own().instances.at(root).init != config::Init::autores_isp)
            return "its initialisation is not AUTORES_ISP";
        for (const auto& pair : builder.equivalents(root))
            if (pair.other_priority < pair.priority)
                return fmt::format("{} comes first (priority {}, here {})", pair.other_node.str(),
                                   pair.other_priority.value, pair.priority.value);
    }
    return {};
}

}  // namespace

Result<Plan> plan_rejoin(const ClusterView& view, const RejoinRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    for (const auto& members : builder.graph().hierarchies()) {
        if (!is_meant(members, request.only)) continue;
        const auto any = [&](const auto& is) { return std::any_of(members.begin(), members.end(), is); };
        if (any([&](const Tag& tag) { return builder.in_service(tag); })) continue;
        if (any([&](const Tag& tag) { return builder.state(tag) == State::osf; })) {
            builder.leave(members.front(), "it failed here: an administrator decides");
            continue;
        }
        if (const auto why = objection(builder, members); !why.empty()) {
            builder.leave(members.front(), why);
            continue;
        }
        for (const auto& root : builder.graph().roots_of(members))
            UNDERSTUDY_CHECK(
                builder.down(root, "in service nowhere after a peer returned, and this node comes first"));
    }
    return std::move(builder).finish();
}

}  // namespace understudy::recovery
