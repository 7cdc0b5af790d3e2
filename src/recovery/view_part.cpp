#include "recovery/view_part.h"

#include <deque>
#include <set>

namespace understudy::recovery {
namespace {

/// The configuration with nothing but these of its instances, and the relations between them.
config::NodeConfig part_of(const config::NodeConfig& whole, const std::set<Tag>& tags) {
    config::NodeConfig part;
    part.generation = whole.generation;
    part.apps = whole.apps;
    part.types = whole.types;
    part.systems = whole.systems;
    part.flags = whole.flags;
    part.paths = whole.paths;
    for (const auto& tag : tags)
        if (const auto* instance = whole.find(tag)) part.instances.emplace(tag, *instance);
    for (const auto& each : whole.dependencies)
        if (tags.contains(each.parent) && tags.contains(each.child)) part.dependencies.push_back(each);
    for (const auto& each : whole.equivalencies)
        if (tags.contains(each.tag)) part.equivalencies.push_back(each);
    part.reindex(0);  // nobody asks for its digest
    return part;
}

}  // namespace

void fill_part(ClusterView& view, const Tag& tag,
               const std::function<const config::NodeConfig*(const NodeName&)>& whole) {
    std::map<NodeName, std::set<Tag>> members;
    std::deque<std::pair<NodeName, Tag>> open{{view.self, tag}};
    for (; !open.empty(); open.pop_front()) {
        const auto [name, start] = open.front();
        const auto* config = whole(name);
        auto& known = members[name];
        if (config == nullptr || known.contains(start)) continue;
        for (const auto& member : hierarchy_of(*config, start)) {
            if (!known.insert(member).second) continue;
            for (const auto& pair : config->equivalents(member))
                open.emplace_back(pair.other_node, pair.other_tag);
        }
    }
    for (auto& [name, node] : view.nodes)
        if (const auto* config = whole(name)) node.config = part_of(*config, members[name]);
}

}  // namespace understudy::recovery
