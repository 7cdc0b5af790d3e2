// Which node gets a hierarchy that leaves its node by itself. Spec: CLU-179, CLU-182, CLU-186, CLU-206,
// CLU-207 to CLU-212, CLU-219, CLU-171.

#include "config/maintenance.h"
#include "recovery/plan_builder.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

bool has_flag(const PlanBuilder& builder, const NodeName& node, const FlagName& flag) {
    const auto* view = builder.node(node);
    return view != nullptr && view->config.flags.contains(flag);
}

/// The settings are stored on both nodes; one that was told suffices, and a dead one's copy too.
bool is_disabled(const PlanBuilder& builder, const ClusterView& view, const FlagName& flag,
                 const NodeName& from, const NodeName& to) {
    return has_flag(builder, to, flag) || has_flag(builder, from, flag) || has_flag(builder, view.self, flag);
}

}  // namespace

FlagName no_failover_flag(const NodeName& stopped) {
    return FlagName("!nofailover!" + stopped.str());
}

FlagName no_system_failover_flag(const NodeName& from, const NodeName& to) {
    return FlagName(fmt::format("!nosysfailover!{}!{}", from.str(), to.str()));
}

FlagName no_resource_failover_flag(const NodeName& from, const NodeName& to) {
    return FlagName(fmt::format("!noresfailover!{}!{}", from.str(), to.str()));
}

std::string barred(const PlanBuilder& builder, const ClusterView& view, Cause cause, const NodeName& from,
                   const NodeName& to) {
    for (const auto& node : {from, to})
        for (const auto* known : {&builder.own(), &builder.node(to)->config})
            if (config::node_in_maintenance(*known, node))
                return fmt::format("{} is in maintenance", node.str());
    // A node that shuts down has set that flag itself, for what does not move.
    if (cause != Cause::shutdown && has_flag(builder, to, no_failover_flag(from)))
        return fmt::format("flag {} is set on {}: {} was stopped on purpose", no_failover_flag(from).str(),
                           to.str(), from.str());
    const bool resource = cause == Cause::resource_failed;
    const auto flag = resource ? no_resource_failover_flag(from, to) : no_system_failover_flag(from, to);
    if (is_disabled(builder, view, flag, from, to))
        return fmt::format("{} failover from {} to {} is disabled", resource ? "resource" : "system",
                           from.str(), to.str());
    return {};
}

std::vector<Candidate> candidates(const PlanBuilder& builder, const ClusterView& view, Cause cause,
                                  const NodeName& from, const Tag& tag, const std::set<NodeName>& tried) {
    std::vector<Candidate> found;
    const auto consider = [&](const NodeName& node, int priority) {
        if (node == from || tried.contains(node) || !builder.alive(node)) return;
        if (barred(builder, view, cause, from, node).empty()) found.push_back({node, priority});
    };
    const auto& pairs = builder.equivalents(tag);
    consider(view.self, pairs.empty() ? Priority::kMin : pairs.front().priority.value);
    for (const auto& pair : pairs)
        consider(pair.other_node, pair.other_priority.value);
    std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
        return std::tie(a.priority, a.node) < std::tie(b.priority, b.node);
    });
    return found;
}

std::optional<NodeName> next_candidate(const ClusterView& view, Cause cause, const NodeName& from,
                                       const Tag& tag, const std::set<NodeName>& tried) {
    const PlanBuilder builder(view, PlanBuilder::Order::parallel);
    const auto found = candidates(builder, view, cause, from, tag, tried);
    return found.empty() ? std::nullopt : std::optional(found.front().node);
}

}  // namespace understudy::recovery
