#include "config/definition.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace understudy::config {
namespace {

using Configs = std::map<NodeName, const NodeConfig*>;
using Place = std::pair<NodeName, Tag>;

/// A resource's instances on all nodes: what equivalencies connect.
std::map<NodeName, Tag> equivalents_of(const Configs& nodes, const Place& start) {
    std::map<NodeName, Tag> found{start};
    std::deque<Place> open{start};
    while (!open.empty()) {
        const auto [node, tag] = std::move(open.front());
        open.pop_front();
        for (const auto& pair : nodes.at(node)->equivalents(tag)) {
            const auto other = nodes.find(pair.other_node);
            if (other == nodes.end() || other->second->find(pair.other_tag) == nullptr) continue;
            if (found.emplace(pair.other_node, pair.other_tag).second)
                open.emplace_back(pair.other_node, pair.other_tag);
        }
    }
    return found;
}

/// The node's priority as its own record has it, or, when that is missing, as a peer's has.
std::optional<Priority> priority_of(const Configs& nodes, const std::map<NodeName, Tag>& places,
                                    const NodeName& node) {
    if (const auto own = nodes.at(node)->priority(places.at(node))) return own;
    for (const auto& [peer, tag] : places)
        for (const auto& pair : nodes.at(peer)->equivalents(tag))
            if (pair.other_node == node) return pair.other_priority;
    return std::nullopt;
}

DefinedResource resource_of(const Configs& nodes, const std::map<NodeName, Tag>& places) {
    DefinedResource resource;
    for (const auto& [node, tag] : places) {
        const auto& instance = *nodes.at(node)->find(tag);
        resource.on[node] = {tag, instance.id, instance.info,
                             places.size() > 1 ? priority_of(nodes, places, node) : std::nullopt};
    }
    const auto best =
        std::min_element(resource.on.begin(), resource.on.end(), [](const auto& a, const auto& b) {
            return a.second.priority.value_or(Priority{}) < b.second.priority.value_or(Priority{});
        });
    const auto& model = *nodes.at(best->first)->find(best->second.tag);
    resource.app = model.app;
    resource.type = model.type;
    resource.init = model.init;
    resource.switchback = model.switchback;
    resource.local_recovery = model.local_recovery;
    resource.quick_interval_s = model.quick_interval_s;
    resource.deep_interval_s = model.deep_interval_s;
    return resource;
}

std::vector<DefinedPath> paths_of(const Configs& nodes) {
    std::vector<DefinedPath> paths;
    for (const auto& [node, config] : nodes)
        for (const auto& path : config->paths) {
            if (!nodes.contains(path.remote)) continue;
            DefinedPath defined{path.transport, path.port(),      {},
                                path.priority,  path.interval_ms, path.misses};
            if (path.transport == "DISK") {
                const auto& there = nodes.at(path.remote)->paths;
                const auto end = std::find_if(there.begin(), there.end(), [&here = node](const Path& other) {
                    return other.transport == "DISK" && other.remote == here;
                });
                constexpr auto kPrefix = std::string_view("DISK:").size();
                defined.ends[node] = path.device.substr(kPrefix);
                defined.ends[path.remote] = (end == there.end() ? path : *end).device.substr(kPrefix);
            } else {
                defined.ends = {{node, path.local_address}, {path.remote, path.remote_address}};
            }
            const bool known = std::any_of(paths.begin(), paths.end(), [&](const DefinedPath& other) {
                return other.transport == defined.transport && other.port == defined.port &&
                       other.ends == defined.ends;
            });
            if (!known) paths.push_back(std::move(defined));
        }
    return paths;
}

/// Resources so that what is needed stands before what needs it, otherwise in the given order.
std::vector<DefinedResource> needed_first(std::vector<DefinedResource> resources) {
    // Resources on different nodes may have one name.
    std::map<Tag, std::vector<std::size_t>> index;
    for (std::size_t i = 0; i < resources.size(); ++i)
        index[resources[i].name()].push_back(i);
    std::vector<bool> placed(resources.size());
    std::vector<std::size_t> order;
    // Depth first, with a stack of its own: a hierarchy may be deep.
    std::vector<std::pair<std::size_t, std::size_t>> stack;  // resource, how many of its needs are placed
    for (std::size_t i = 0; i < resources.size(); ++i) {
        if (placed[i]) continue;
        placed[i] = true;
        stack.emplace_back(i, 0);
        while (!stack.empty()) {
            auto& [at, next] = stack.back();
            if (next == resources[at].needs.size()) {
                order.push_back(at);
                stack.pop_back();
                continue;
            }
            for (const auto child : index[resources[at].needs[next++]]) {
                if (placed[child]) continue;
                placed[child] = true;
                stack.emplace_back(child, 0);
            }
        }
    }
    std::vector<DefinedResource> sorted;
    sorted.reserve(resources.size());
    for (const auto at : order)
        sorted.push_back(std::move(resources[at]));
    return sorted;
}

}  // namespace

const Tag& DefinedResource::name() const {
    return std::min_element(on.begin(), on.end(),
                            [](const auto& a, const auto& b) {
                                return a.second.priority.value_or(Priority{}) <
                                       b.second.priority.value_or(Priority{});
                            })
        ->second.tag;
}

Definition define(const std::map<NodeName, const NodeConfig*>& nodes,
                  const std::map<NodeName, NodeSettings>& settings) {
    Definition definition;
    for (const auto& [node, config] : nodes) {
        const auto at = settings.find(node);
        definition.nodes[node] = at == settings.end() ? NodeSettings{} : at->second;
    }
    definition.paths = paths_of(nodes);
    std::vector<DefinedResource> resources;
    std::map<Place, std::size_t> index;
    for (const auto& [node, config] : nodes)
        for (const auto* instance : config->in_creation_order()) {
            if (index.contains({node, instance->tag})) continue;
            const auto places = equivalents_of(nodes, {node, instance->tag});
            for (const auto& place : places)
                index.emplace(place, resources.size());
            resources.push_back(resource_of(nodes, places));
        }
    for (const auto& [place, at] : index)
        for (const auto& child : nodes.at(place.first)->children(place.second)) {
            const auto below = index.find({place.first, child});
            if (below == index.end()) continue;
            auto& needs = resources[at].needs;
            const auto& name = resources[below->second].name();
            if (std::find(needs.begin(), needs.end(), name) == needs.end()) needs.push_back(name);
        }
    definition.resources = needed_first(std::move(resources));
    return definition;
}

}  // namespace understudy::config
