#pragma once
// What the plans of hierarchy operations share. Private to config/hierarchy*.cpp.

#include "config/hierarchy.h"

#include <fmt/format.h>

namespace understudy::config::hierarchy {

/// A resource on its nodes.
using Tags = std::map<NodeName, Tag>;

/// Resources that belong together, as one of their nodes has them.
struct Members {
    NodeName home;                // whose records name them
    const NodeConfig* config;     // of home
    std::vector<Tags> resources;  // what is needed comes before what needs it
    [[nodiscard]] std::set<NodeName> nodes() const;
    [[nodiscard]] std::vector<Tag> on(const NodeName& node) const;
    [[nodiscard]] const Instance& at_home(const Tags& tags) const;
};

[[nodiscard]] bool in_service(const Instance& instance);
[[nodiscard]] bool is_volume(const Instance& instance);
/// The node whose resource is meant: `prefer`, this node, or the one that has it. Code::not_found, and
/// Code::bad_argument when several nodes have different ones.
Result<NodeName> home_of(const ClusterFacts& cluster, const Tag& tag, const NodeName& prefer);
/// The resource on all its nodes.
Tags everywhere(const NodeConfig& own, const NodeName& self, const Tag& tag);
/// Everything that dependencies connect with the tag.
Result<Members> connected(const ClusterFacts& cluster, const Tag& tag, const NodeName& prefer);
/// Code::unreachable unless all of them answered. Spec: CLU-097.
Result<> check_reachable(const ClusterFacts& cluster, const std::set<NodeName>& nodes, const Tag& tag,
                         const std::set<NodeName>& without = {});
/// Code::unreachable unless each hears each other. Spec: CLU-045, CLU-050.
Result<> check_paths(const ClusterFacts& cluster, const std::set<NodeName>& nodes);
/// Whether the kit of this type is installed on the node and has the action.
[[nodiscard]] bool has_action(const ClusterFacts& cluster, const NodeName& node, const AppName& app,
                              const TypeName& type, const std::string& action);
/// Code::not_found unless the kit is there. Spec: CLU-159.
Result<> check_kit(const ClusterFacts& cluster, const NodeName& node, const AppName& app,
                   const TypeName& type);
/// "a, b, c".
std::string list(const std::vector<Tag>& tags);
HierarchyStep records(const NodeName& node, std::string text, RecordChange change, RecordChange back = {});
HierarchyStep kit_action(const NodeName& node, const Instance& instance, std::string action,
                         std::string text);
HierarchyStep global_scripts(const NodeName& node, const std::string& action);

}  // namespace understudy::config::hierarchy
