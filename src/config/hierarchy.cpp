#include "config/hierarchy.h"

#include "base/text.h"
#include "config/hierarchy_internal.h"

#include <algorithm>

namespace understudy::config::hierarchy {

std::set<NodeName> Members::nodes() const {
    std::set<NodeName> found;
    for (const auto& tags : resources)
        for (const auto& [node, tag] : tags)
            found.insert(node);
    return found;
}

std::vector<Tag> Members::on(const NodeName& node) const {
    std::vector<Tag> found;
    for (const auto& tags : resources)
        if (const auto at = tags.find(node); at != tags.end()) found.push_back(at->second);
    return found;
}

const Instance& Members::at_home(const Tags& tags) const {
    return *config->find(tags.at(home));
}

bool in_service(const Instance& instance) {
    return instance.state == State::isp || instance.state == State::isu;
}

bool is_volume(const Instance& instance) {
    return instance.app.str() == "filesys" && instance.type.str() == "volume";
}

Tags everywhere(const NodeConfig& own, const NodeName& self, const Tag& tag) {
    Tags tags{{self, tag}};
    for (const auto& pair : own.equivalents(tag))
        tags.emplace(pair.other_node, pair.other_tag);
    return tags;
}

Result<NodeName> home_of(const ClusterFacts& cluster, const Tag& tag, const NodeName& prefer) {
    const auto has = [&](const NodeName& node) {
        const auto at = cluster.nodes.find(node);
        return at != cluster.nodes.end() && at->second->find(tag) != nullptr;
    };
    if (!prefer.empty() && has(prefer)) return prefer;
    if (has(cluster.self)) return cluster.self;
    std::optional<NodeName> found;
    for (const auto& [node, config] : cluster.nodes) {
        if (config->find(tag) == nullptr) continue;
        if (!found) {
            found = node;
        } else if (!everywhere(*cluster.nodes.at(*found), *found, tag).contains(node)) {
            return fail(Code::bad_argument,
                        "{} on {} and {} on {} are different resources; run this on the one that is meant",
                        tag.str(), found->str(), tag.str(), node.str());
        }
    }
    if (!found) return fail(Code::not_found, "there is no resource with tag \"{}\"", tag.str());
    return *found;
}

Result<Members> connected(const ClusterFacts& cluster, const Tag& tag, const NodeName& prefer) {
    UNDERSTUDY_TRY(const auto home, home_of(cluster, tag, prefer));
    const auto& own = *cluster.nodes.at(home);
    std::set<Tag> seen{tag};
    std::vector<Tag> found{tag};
    for (std::size_t i = 0; i < found.size(); ++i)
        for (const auto& neighbours : {own.children(found[i]), own.parents(found[i])})
            for (const auto& each : neighbours)
                if (own.find(each) != nullptr && seen.insert(each).second) found.push_back(each);
    auto ordered = parents_first(own, found);
    std::reverse(ordered.begin(), ordered.end());
    Members members{home, &own, {}};
    for (const auto& each : ordered)
        members.resources.push_back(everywhere(own, home, each));
    return members;
}

Result<> check_reachable(const ClusterFacts& cluster, const std::set<NodeName>& nodes, const Tag& tag,
                         const std::set<NodeName>& without) {
    for (const auto& node : nodes)
        if (!cluster.nodes.contains(node) && !without.contains(node))
            return fail(Code::unreachable,
                        "{} has a part in the hierarchy of {} and is not reachable; nothing is changed",
                        node.str(), tag.str());
    return {};
}

Result<> check_paths(const ClusterFacts& cluster, const std::set<NodeName>& nodes) {
    for (const auto& one : nodes)
        for (const auto& other : nodes) {
            const auto facts = cluster.facts.find(one);
            if (one == other || facts == cluster.facts.end() || facts->second.alive.contains(other)) continue;
            return fail(Code::unreachable,
                        "{} does not hear {}: the nodes of a hierarchy need a communication path between "
                        "each two that is ALIVE (net_list shows them)",
                        one.str(), other.str());
        }
    return {};
}

bool has_action(const ClusterFacts& cluster, const NodeName& node, const AppName& app, const TypeName& type,
                const std::string& action) {
    const auto facts = cluster.facts.find(node);
    if (facts == cluster.facts.end()) return false;
    const auto kit = facts->second.actions.find(ResourceType{app, type});
    return kit != facts->second.actions.end() && kit->second.contains(action);
}

Result<> check_kit(const ClusterFacts& cluster, const NodeName& node, const AppName& app,
                   const TypeName& type) {
    for (const auto* needed : {"restore", "remove"})
        if (!has_action(cluster, node, app, type, needed))
            return fail(Code::not_found,
                        "the kit {}/{} is not installed on {}: it has no executable {} there; install it on "
                        "every node of the hierarchy",
                        app.str(), type.str(), node.str(), needed);
    if (cluster.facts.at(node).disabled.contains(ResourceType{app, type}))
        return fail(Code::bad_argument, "the kit {}/{} is not enabled on {} (DISABLED_KITS in its settings)",
                    app.str(), type.str(), node.str());
    return {};
}

std::string list(const std::vector<Tag>& tags) {
    std::string text;
    for (const auto& tag : tags)
        text += (text.empty() ? "" : ", ") + tag.str();
    return text;
}

HierarchyStep records(const NodeName& node, std::string text, RecordChange change, RecordChange back) {
    HierarchyStep step;
    step.kind = HierarchyStep::Kind::records;
    step.node = node;
    step.text = std::move(text);
    step.change = std::move(change);
    step.back = std::move(back);
    return step;
}

HierarchyStep kit_action(const NodeName& node, const Instance& instance, std::string action,
                         std::string text) {
    HierarchyStep step;
    step.kind = HierarchyStep::Kind::kit_action;
    step.node = node;
    step.text = std::move(text);
    step.app = instance.app;
    step.type = instance.type;
    step.tag = instance.tag;
    step.id = instance.id;
    step.action = std::move(action);
    return step;
}

HierarchyStep global_scripts(const NodeName& node, const std::string& action) {
    HierarchyStep step;
    step.kind = HierarchyStep::Kind::global_scripts;
    step.node = node;
    step.action = action;
    step.text = fmt::format("run the global {} scripts", action);
    return step;
}

}  // namespace understudy::config::hierarchy
