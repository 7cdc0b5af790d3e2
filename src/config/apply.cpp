// One edit to a NodeConfig, with its index. See edit.h.

#include "config/codec.h"

#include <algorithm>
#include <cassert>

namespace understudy::config {
namespace {

/// Records are mostly dropped soon after they were made, and dropped in reverse when there are many:
/// searching from the end keeps both cheap.
template <class Records, class Predicate>
auto find_from_end(Records& records, Predicate predicate) {
    const auto at = std::find_if(records.rbegin(), records.rend(), predicate);
    return at == records.rend() ? records.end() : std::prev(at.base());
}

template <class Map, class Predicate>
void drop_from(Map& map, const Tag& key, Predicate predicate) {
    const auto at = map.find(key);
    if (at == map.end()) return;
    auto& values = at->second;
    if (const auto found = find_from_end(values, predicate); found != values.end()) values.erase(found);
    if (values.empty()) map.erase(at);
}

std::uint64_t hash_of(const Edit& put) {
    return config::record_hash(std::string_view(encode(put)));
}

struct Applier {
    NodeConfig& config;

    void appears(const Edit& put) const { config.index.digest += hash_of(put); }
    void goes(const Edit& put) const { config.index.digest -= hash_of(put); }

    void operator()(const PutApp& edit) const {
        if (config.apps.insert(edit.app).second) appears(edit);
    }
    void operator()(const DropApp& edit) const {
        if (config.apps.erase(edit.app) > 0) goes(PutApp{edit.app});
    }
    void operator()(const PutType& edit) const {
        if (config.types.insert(edit.type).second) appears(edit);
    }
    void operator()(const DropType& edit) const {
        if (config.types.erase(edit.type) > 0) goes(PutType{edit.type});
    }

    void operator()(const PutInstance& edit) const {
        const auto& instance = edit.instance;
        const auto [at, added] = config.instances.try_emplace(instance.tag);
        if (!added) {
            if (at->second.id != instance.id) forget_id(at->second);
            goes(PutInstance{std::move(at->second)});
        }
        at->second = instance;
        appears(edit);
        config.index.by_id[instance.id] = instance.tag;
        config.index.instances = config.instances.size();
    }
    void operator()(const DropInstance& edit) const {
        const auto at = config.instances.find(edit.tag);
        if (at == config.instances.end()) return;
        forget_id(at->second);
        goes(PutInstance{std::move(at->second)});
        config.instances.erase(at);
        config.index.instances = config.instances.size();
    }
    void forget_id(const Instance& instance) const {
        const auto at = config.index.by_id.find(instance.id);
        if (at != config.index.by_id.end() && at->second == instance.tag) config.index.by_id.erase(at);
    }

    void operator()(const PutDependency& edit) const {
        const auto& dependency = edit.dependency;
        auto& children = config.index.children[dependency.parent];
        if (std::find(children.begin(), children.end(), dependency.child) != children.end()) {
            if (const auto at = find_dependency(dependency.parent, dependency.child);
                at != config.dependencies.end()) {
                goes(PutDependency{*at});
                *at = dependency;
                appears(edit);
            }
            return;
        }
        appears(edit);
        children.push_back(dependency.child);
        config.index.parents[dependency.child].push_back(dependency.parent);
        config.dependencies.push_back(dependency);
        config.index.dependencies = config.dependencies.size();
    }
    void operator()(const DropDependency& edit) const {
        const auto at = find_dependency(edit.parent, edit.child);
        if (at == config.dependencies.end()) return;
        goes(PutDependency{*at});
        config.dependencies.erase(at);
        drop_from(config.index.children, edit.parent, [&](const Tag& tag) { return tag == edit.child; });
        drop_from(config.index.parents, edit.child, [&](const Tag& tag) { return tag == edit.parent; });
        config.index.dependencies = config.dependencies.size();
    }
    [[nodiscard]] std::vector<Dependency>::iterator find_dependency(const Tag& parent,
                                                                    const Tag& child) const {
        return find_from_end(config.dependencies, [&](const Dependency& each) {
            return each.parent == parent && each.child == child;
        });
    }

    void operator()(const PutEquivalency& edit) const {
        const auto& equivalency = edit.equivalency;
        const auto same = [&](const Equivalency& each) {
            return each.tag == equivalency.tag && each.other_node == equivalency.other_node &&
                   each.other_tag == equivalency.other_tag;
        };
        auto& indexed = config.index.equivalents[equivalency.tag];
        if (const auto at = find_from_end(indexed, same); at != indexed.end()) {
            goes(PutEquivalency{*at});
            appears(edit);
            *at = equivalency;
            if (const auto record = find_from_end(config.equivalencies, same);
                record != config.equivalencies.end())
                *record = equivalency;
            return;
        }
        appears(edit);
        indexed.push_back(equivalency);
        config.equivalencies.push_back(equivalency);
        config.index.equivalencies = config.equivalencies.size();
    }
    void operator()(const DropEquivalency& edit) const {
        const auto same = [&](const Equivalency& each) {
            return each.tag == edit.tag && each.other_node == edit.other_node &&
                   each.other_tag == edit.other_tag;
        };
        const auto at = find_from_end(config.equivalencies, same);
        if (at == config.equivalencies.end()) return;
        goes(PutEquivalency{*at});
        config.equivalencies.erase(at);
        drop_from(config.index.equivalents, edit.tag, same);
        config.index.equivalencies = config.equivalencies.size();
    }

    void operator()(const PutSystem& edit) const {
        if (config.systems.insert(edit.system).second) appears(edit);
    }
    void operator()(const DropSystem& edit) const {
        if (config.systems.erase(edit.system) > 0) goes(PutSystem{edit.system});
    }
    void operator()(const PutFlag& edit) const {
        if (config.flags.insert(edit.flag).second) appears(edit);
    }
    void operator()(const DropFlag& edit) const {
        if (config.flags.erase(edit.flag) > 0) goes(PutFlag{edit.flag});
    }

    void operator()(const PutPath& edit) const {
        (*this)(DropPath{edit.path.device});
        config.paths.insert(std::upper_bound(config.paths.begin(), config.paths.end(), edit.path, path_less),
                            edit.path);
        appears(edit);
    }
    void operator()(const DropPath& edit) const {
        for (const auto& path : config.paths)
            if (path.device == edit.device) goes(PutPath{path});
        std::erase_if(config.paths, [&](const Path& path) { return path.device == edit.device; });
    }
};

}  // namespace

void apply(NodeConfig& config, const Edit& edit) {
    const auto& index = config.index;
    if (index.instances != config.instances.size() || index.dependencies != config.dependencies.size() ||
        index.equivalencies != config.equivalencies.size())
        config.reindex();
    std::visit(Applier{config}, edit);
}

std::vector<Edit> edits_of(const NodeConfig& config) {
    std::vector<Edit> edits;
    for (const auto& app : config.apps)
        edits.emplace_back(PutApp{app});
    for (const auto& type : config.types)
        edits.emplace_back(PutType{type});
    for (const auto& [tag, instance] : config.instances)
        edits.emplace_back(PutInstance{instance});
    for (const auto& dependency : config.dependencies)
        edits.emplace_back(PutDependency{dependency});
    for (const auto& equivalency : config.equivalencies)
        edits.emplace_back(PutEquivalency{equivalency});
    for (const auto& system : config.systems)
        edits.emplace_back(PutSystem{system});
    for (const auto& flag : config.flags)
        edits.emplace_back(PutFlag{flag});
    for (const auto& path : config.paths)
        edits.emplace_back(PutPath{path});
    return edits;
}

namespace {

struct Loader {
    NodeConfig& config;
    void operator()(PutApp& put) const { config.apps.insert(std::move(put.app)); }
    void operator()(PutType& put) const { config.types.insert(std::move(put.type)); }
    void operator()(PutInstance& put) const {
        // Rows come in the order of their keys, so the end is the place.
        auto tag = put.instance.tag;
        config.instances.insert_or_assign(config.instances.end(), std::move(tag), std::move(put.instance));
    }
    void operator()(PutDependency& put) const { config.dependencies.push_back(std::move(put.dependency)); }
    void operator()(PutEquivalency& put) const { config.equivalencies.push_back(std::move(put.equivalency)); }
    void operator()(PutSystem& put) const { config.systems.insert(std::move(put.system)); }
    void operator()(PutFlag& put) const { config.flags.insert(std::move(put.flag)); }
    void operator()(PutPath& put) const {
        config.paths.insert(std::upper_bound(config.paths.begin(), config.paths.end(), put.path, path_less),
                            std::move(put.path));
    }
    template <class Drop>
    void operator()(Drop&) const {
        assert(!"only what puts a record can be loaded");
    }
};

}  // namespace

void load(NodeConfig& config, Edit put) {
    std::visit(Loader{config}, put);
}

// 64 bits, so mixed that sums of them tell configs apart.
std::uint64_t record_hash(std::string_view encoded_put) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char byte : encoded_put) {
        hash ^= static_cast<unsigned char>(byte);
        hash *= 0x100000001b3ULL;
    }
    hash ^= hash >> 33;
    hash *= 0xff51afd7ed558ccdULL;
    hash ^= hash >> 33;
    return hash;
}

std::uint64_t digest_of(const NodeConfig& config) {
    std::uint64_t sum = 0;
    for (const auto& edit : edits_of(config))
        sum += hash_of(edit);
    return sum;
}

}  // namespace understudy::config
