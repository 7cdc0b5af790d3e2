// Unextending a hierarchy from a node, and deleting it on all.

#include "base/text.h"
#include "config/hierarchy_internal.h"
#include "config/lcdi.h"

#include <algorithm>

namespace understudy::config {

using namespace hierarchy;

namespace {

/// The kit's clean-up of these on a node, what depends on others first. Spec: KIT-039, KIT-046.
void add_scripts(const ClusterFacts& cluster, HierarchyPlan& plan, const NodeName& node,
                 const std::vector<Tag>& parents_first, std::initializer_list<const char*> actions) {
    for (const auto& tag : parents_first) {
        const auto* instance = cluster.nodes.at(node)->find(tag);
        if (instance == nullptr) continue;
        for (const auto* action : actions) {
            if (!has_action(cluster, node, instance->app, instance->type, action)) continue;
            plan.steps.push_back(
                kit_action(node, *instance, action, fmt::format("let the kit clean up {}", tag.str())));
            break;
        }
    }
}

/// Asks the kits first: a clean-up that refuses in the middle would leave what others have cleaned up
/// already.
void add_checks(const ClusterFacts& cluster, HierarchyPlan& plan, const NodeName& node,
                const std::vector<Tag>& tags, const char* action, std::string_view what) {
    for (const auto& tag : tags) {
        const auto* instance = cluster.nodes.at(node)->find(tag);
        if (instance == nullptr || !has_action(cluster, node, instance->app, instance->type, action))
            continue;
        plan.checks.push_back(kit_action(node, *instance, action,
                                         fmt::format("ask the kit whether {} can be {}", tag.str(), what)));
    }
}

bool has_global(const ClusterFacts& cluster, const NodeName& node, const std::string& name) {
    const auto facts = cluster.facts.find(node);
    return facts != cluster.facts.end() && facts->second.global_scripts.contains(name);
}

void add_global(const ClusterFacts& cluster, HierarchyPlan& plan, const NodeName& node,
                const std::string& name) {
    if (has_global(cluster, node, name)) plan.steps.push_back(global_scripts(node, name));
}

RecordChange removal_of(const NodeConfig& own, const std::vector<Tag>& tags) {
    RecordChange change;
    for (const auto& tag : tags)
        if (const auto* instance = own.find(tag)) {
            change.removals.push_back({tag, instance->id, instance->created_at});
            change.unreserved.push_back(tag);
        }
    return change;
}

Result<> check_idle_on(const NodeConfig& own, const NodeName& node, const std::vector<Tag>& tags) {
    for (const auto& tag : tags) {
        const auto* instance = own.find(tag);
        if (instance == nullptr)  // Spec: CLU-269
            return fail(Code::bad_argument,
                        "{} has no resource {}, but other nodes count it as one of its nodes (was it set up "
                        "anew?); remove what is left with delallsys -f {} or eqv_remove on every other node",
                        node.str(), tag.str(), node.str());
        if (in_service(*instance))  // Spec: KIT-037
            return fail(Code::failure,
                        "{} is in service on {}; a hierarchy is unextended from a node where it is not: "
                        "bring it in service elsewhere first (understudy switchover {} --to NODE)",
                        tag.str(), node.str(), tag.str());
    }
    return {};
}

}  // namespace

Result<HierarchyPlan> plan_unextend(const ClusterFacts& cluster, const UnextendRequest& request) {
    if (!cluster.nodes.contains(request.from))
        return fail(Code::unreachable, "{} is not reachable; nothing is changed", request.from.str());
    UNDERSTUDY_TRY(const auto members, connected(cluster, request.tag, request.from));
    const auto nodes = members.nodes();
    if (!nodes.contains(request.from))
        return fail(Code::not_found, "{} is not extended to {}", request.tag.str(), request.from.str());
    UNDERSTUDY_CHECK(check_reachable(cluster, nodes, request.tag));
    if (nodes.size() == 1)
        return fail(Code::bad_argument,
                    "{} is on {} only; understudy resource delete {} removes it altogether",
                    request.tag.str(), request.from.str(), request.tag.str());
    auto tags = members.on(request.from);
    std::reverse(tags.begin(), tags.end());
    UNDERSTUDY_CHECK(check_idle_on(*cluster.nodes.at(request.from), request.from, tags));

    HierarchyPlan plan;
    plan.lock = "Unextend_Hierarchy";
    plan.what = fmt::format("the removal of {} from {}", request.tag.str(), request.from.str());
    add_global(cluster, plan, request.from, "predelete");
    add_checks(cluster, plan, request.from, tags, "canunextend", "unextended");
    add_scripts(cluster, plan, request.from, tags, {"unextend", "delete"});
    auto remove = removal_of(*cluster.nodes.at(request.from), tags);
    remove.idle = tags;
    // From here on it cannot start anything; the others still count on it until they are told.
    plan.final_from = plan.steps.size();
    plan.steps.push_back(records(request.from, fmt::format("remove {}", list(tags)), std::move(remove)));
    std::map<NodeName, RecordChange> others;
    for (const auto& each : members.resources) {
        const auto at = each.find(request.from);
        if (at == each.end()) continue;
        for (const auto& [node, tag] : each)
            if (node != request.from)
                others[node].edits.emplace_back(DropEquivalency{tag, request.from, at->second});
    }
    for (auto& [node, change] : others)
        plan.steps.push_back(records(node,
                                     fmt::format("do not count {} as a backup any more", request.from.str()),
                                     std::move(change)));
    add_global(cluster, plan, request.from, "postdelete");
    if (nodes.size() == 2)
        plan.notes.push_back(fmt::format("{} is not protected any more", request.tag.str()));
    return plan;
}

Result<HierarchyPlan> plan_delete(const ClusterFacts& cluster, const DeleteRequest& request) {
    UNDERSTUDY_TRY(const auto home, home_of(cluster, request.tag, NodeName()));
    const auto& own = *cluster.nodes.at(home);
    std::string roots;
    for (const auto& root : own.roots_above(request.tag))
        roots += (roots.empty() ? "" : "\x01") + root.str();
    Command selection;
    selection.options = {{"R", roots}};
    UNDERSTUDY_TRY(const auto tags, removal_set(own, selection));
    std::map<NodeName, std::vector<Tag>> on;
    for (const auto& tag : tags)
        for (const auto& [node, there] : everywhere(own, home, tag))
            on[node].push_back(there);
    std::set<NodeName> nodes;
    for (const auto& [node, there] : on)
        nodes.insert(node);
    for (const auto& node : request.without)
        if (!nodes.contains(node) || cluster.nodes.contains(node))
            return fail(Code::bad_argument, "{} cannot be left out: {}", node.str(),
                        nodes.contains(node) ? "it is reachable" : "it has no part in the hierarchy");
    UNDERSTUDY_CHECK(check_reachable(cluster, nodes, request.tag, request.without));
    for (const auto& node : request.without)
        on.erase(node);
    for (const auto& [node, there] : on)
        for (const auto& tag : there)
            for (const auto& parent : cluster.nodes.at(node)->parents(tag))
                if (std::find(there.begin(), there.end(), parent) == there.end())
                    return fail(Code::has_dependents, "{} depends on {} on {} and is not to be deleted",
                                parent.str(), tag.str(), node.str());

    HierarchyPlan plan;
    plan.lock = "Delete_Hierarchy";
    plan.what = fmt::format("the deletion of {}", request.tag.str());
    // Starting with the node where it was asked for. Spec: KIT-045
    std::vector<NodeName> order{home};
    for (const auto& [node, there] : on)
        if (node != home) order.push_back(node);
    bool running = false;
    for (const auto& node : order) {
        add_global(cluster, plan, node, "predelete");
        add_checks(cluster, plan, node, on.at(node), "candelete", "deleted");
        add_scripts(cluster, plan, node, on.at(node), {"delete"});
        for (const auto& tag : on.at(node))
            if (const auto* instance = cluster.nodes.at(node)->find(tag); instance != nullptr)
                running = running || in_service(*instance);
    }
    plan.final_from = plan.steps.size();
    for (const auto& node : order)
        plan.steps.push_back(records(node, fmt::format("remove {}", list(on.at(node))),
                                     removal_of(*cluster.nodes.at(node), on.at(node))));
    for (const auto& node : order)
        add_global(cluster, plan, node, "postdelete");
    if (running)  // Spec: KIT-047
        plan.notes.push_back("what is in service goes on running, unprotected");
    for (const auto& node : request.without)
        plan.notes.push_back(
            fmt::format("{} keeps its part; when it is back: understudy resource delete {} there", node.str(),
                        request.tag.str()));
    return plan;
}

}  // namespace understudy::config
