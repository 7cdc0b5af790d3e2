// Adding and removing dependencies.

#include "base/text.h"
#include "config/hierarchy_internal.h"

#include <algorithm>

namespace understudy::config {

using namespace hierarchy;

namespace {

struct Pair {
    NodeName home;
    Tags parent;
    Tags child;
};

Result<Pair> find_pair(const ClusterFacts& cluster, const DependencyRequest& request) {
    Pair pair;
    UNDERSTUDY_TRY(pair.home, home_of(cluster, request.parent, NodeName()));
    const auto& own = *cluster.nodes.at(pair.home);
    if (own.find(request.child) == nullptr)
        return fail(Code::not_found, "there is no resource with tag \"{}\" on {}", request.child.str(),
                    pair.home.str());
    pair.parent = everywhere(own, pair.home, request.parent);
    pair.child = everywhere(own, pair.home, request.child);
    for (const auto* tags : {&pair.parent, &pair.child}) {
        std::set<NodeName> nodes;
        for (const auto& [node, tag] : *tags)
            nodes.insert(node);
        UNDERSTUDY_CHECK(check_reachable(cluster, nodes, tags->at(pair.home)));
    }
    return pair;
}

/// The nodes in the order of their priorities for a resource.
std::vector<NodeName> order_of(const NodeConfig& own, const NodeName& self, const Tag& tag) {
    std::vector<std::pair<Priority, NodeName>> ranks;
    if (const auto priority = own.priority(tag)) ranks.emplace_back(*priority, self);
    for (const auto& pair : own.equivalents(tag))
        ranks.emplace_back(pair.other_priority, pair.other_node);
    std::sort(ranks.begin(), ranks.end());
    std::vector<NodeName> order;
    order.reserve(ranks.size());
    for (const auto& [priority, node] : ranks)
        order.push_back(node);
    return order;
}

std::string names(const Tags& tags) {
    std::string text;
    for (const auto& [node, tag] : tags)
        text += (text.empty() ? "" : ", ") + node.str();
    return text;
}

/// Spec: CLU-106.
Result<> check_candidate(const ClusterFacts& cluster, const DependencyRequest& request, const Pair& pair) {
    const auto& own = *cluster.nodes.at(pair.home);
    const auto& parent = request.parent.str();
    const auto& child = request.child.str();
    if (request.parent == request.child)
        return fail(Code::bad_argument, "{} cannot depend on itself", parent);
    const auto children = own.children(request.parent);
    if (std::find(children.begin(), children.end(), request.child) != children.end())
        return fail(Code::exists, "{} depends on {} already", parent, child);
    const auto same_nodes =
        std::equal(pair.parent.begin(), pair.parent.end(), pair.child.begin(), pair.child.end(),
                   [](const auto& a, const auto& b) { return a.first == b.first; });
    if (!same_nodes)
        return fail(Code::bad_argument,
                    "{} is on {}, {} is on {}: both must be extended to the same nodes first", parent,
                    names(pair.parent), child, names(pair.child));
    if (order_of(own, pair.home, request.parent) != order_of(own, pair.home, request.child))
        return fail(Code::bad_argument,
                    "the priorities of {} and {} put the nodes in different orders; make them the same first "
                    "(understudy priorities)",
                    parent, child);
    bool volume = false;
    bool automatic = false;
    for (const auto& [node, tag] : pair.parent) {
        const auto& there = *cluster.nodes.at(node);
        const auto& needed = pair.child.at(node);
        const auto* upper = there.find(tag);
        const auto* lower = there.find(needed);
        if (upper == nullptr || lower == nullptr)
            return fail(
                Code::not_found,
                "{} has no resource {}, but an equivalency to it is defined on {}; compare eqv_list on "
                "both",
                node.str(), upper == nullptr ? tag.str() : needed.str(), pair.home.str());
        if (there.reaches(needed, tag))
            return fail(Code::bad_argument,
                        "{} depends on {} already, directly or not: that would be a cycle", child, parent);
        if (in_service(*upper) && !in_service(*lower))
            return fail(Code::bad_argument,
                        "{} is in service on {}, but {} is not; bring it in service there first", tag.str(),
                        node.str(), needed.str());
        for (const auto& below : there.subtree(needed))
            volume = volume || is_volume(*there.find(below));
        for (const auto& above : there.ancestry(tag))
            automatic = automatic || there.find(above)->switchback == Switchback::automatic;
    }
    if (volume && automatic)  // Spec: CLU-199
        return fail(Code::bad_argument,
                    "{} would contain a replicated volume, which does not support AUTOMATIC switchback; set "
                    "switchback=INTELLIGENT first",
                    parent);
    return {};
}

}  // namespace

Result<HierarchyPlan> plan_add_dependency(const ClusterFacts& cluster, const DependencyRequest& request) {
    UNDERSTUDY_TRY(const auto pair, find_pair(cluster, request));
    UNDERSTUDY_CHECK(check_candidate(cluster, request, pair));
    HierarchyPlan plan;
    plan.lock = "Create_Dependency";
    plan.what = fmt::format("the dependency of {} on {}", request.parent.str(), request.child.str());
    for (const auto& [node, tag] : pair.parent) {
        const auto& needed = pair.child.at(node);
        RecordChange change;
        change.edits.emplace_back(PutDependency{{tag, needed, 0}});
        RecordChange back;
        back.edits.emplace_back(DropDependency{tag, needed});
        plan.steps.push_back(records(node, fmt::format("make {} depend on {}", tag.str(), needed.str()),
                                     std::move(change), std::move(back)));
    }
    plan.final_from = plan.steps.size();
    return plan;
}

Result<HierarchyPlan> plan_remove_dependency(const ClusterFacts& cluster, const DependencyRequest& request) {
    UNDERSTUDY_TRY(const auto pair, find_pair(cluster, request));
    HierarchyPlan plan;
    plan.lock = "Remove_Dependency";
    plan.what =
        fmt::format("the removal of the dependency of {} on {}", request.parent.str(), request.child.str());
    for (const auto& [node, tag] : pair.parent) {
        const auto at = pair.child.find(node);
        if (at == pair.child.end()) continue;
        for (const auto& each : cluster.nodes.at(node)->dependencies) {
            if (each.parent != tag || each.child != at->second) continue;
            RecordChange change;
            change.edits.emplace_back(DropDependency{each.parent, each.child});
            RecordChange back;
            back.edits.emplace_back(PutDependency{each});
            plan.steps.push_back(
                records(node, fmt::format("{} does not depend on {} any more", tag.str(), at->second.str()),
                        std::move(change), std::move(back)));
        }
    }
    if (plan.steps.empty())
        return fail(Code::not_found, "{} does not depend on {}", request.parent.str(), request.child.str());
    plan.final_from = plan.steps.size();
    return plan;
}

}  // namespace understudy::config
