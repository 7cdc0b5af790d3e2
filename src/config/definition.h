#pragma once
// The definition of a whole cluster as one readable file: paths, resources, dependencies, priorities,
// settings. `understudy config export` writes it, `understudy config apply` makes the cluster match it. Pure.
//
// What is no definition stays out: states, flags, locks, history, certificates. A node joins with a token,
// never by a file. Resources that the file does not name are kept unless pruning is asked for; nodes it does
// not name, and what stands on them, are left alone.

#include "base/result.h"
#include "config/command.h"
#include "config/model.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::config {

/// Both ends of a communication path.
struct DefinedPath {
    std::string transport = "TLI";         // or DISK
    int port = 0;                          // of a TCP path
    std::map<NodeName, std::string> ends;  // two: address, or the disk's device
    int priority = 1;
    int interval_ms = 6000;
    int misses = 5;
    friend bool operator==(const DefinedPath&, const DefinedPath&) = default;
};

/// A resource on one node.
struct DefinedInstance {
    Tag tag;
    ResourceId id;
    std::string info;
    std::optional<Priority> priority;  // none while the resource is on one node only
    friend bool operator==(const DefinedInstance&, const DefinedInstance&) = default;
};

/// A resource on all its nodes.
struct DefinedResource {
    AppName app;
    TypeName type;
    Init init = Init::autores_isp;
    Switchback switchback = Switchback::intelligent;
    bool local_recovery = true;
    int quick_interval_s = 0;
    int deep_interval_s = 0;
    std::map<NodeName, DefinedInstance> on;
    std::vector<Tag> needs;  // names of other resources, as name() gives them
    /// The tag on the node with the best priority: what the file calls the resource.
    [[nodiscard]] const Tag& name() const;
    friend bool operator==(const DefinedResource&, const DefinedResource&) = default;
};

using NodeSettings = std::map<std::string, std::string>;

struct Definition {
    std::map<NodeName, NodeSettings> nodes;
    std::vector<DefinedPath> paths;
    std::vector<DefinedResource> resources;  // what is needed stands before what needs it
    friend bool operator==(const Definition&, const Definition&) = default;
};

/// What the nodes' databases and settings define. Where nodes disagree about a resource's options, the node
/// with the best priority is right.
Definition define(const std::map<NodeName, const NodeConfig*>& nodes,
                  const std::map<NodeName, NodeSettings>& settings);

std::string to_yaml(const Definition& definition);
/// Code::bad_argument with the line for anything that is no definition: unknown words, names that nothing
/// defines, values out of range, two resources with one name, a dependency on itself.
Result<Definition> parse_definition(std::string_view yaml);

/// One thing to change: what a person reads and the command that does it.
struct DefinitionChange {
    std::string text;  // "+ pgsql-5432 on right: database/pgsql, id 5432"
    Command command;   // with -d where it is another node's
};

/// A node's settings are written by this internal command: option "d", arguments KEY=value.
inline constexpr std::string_view kSetSettings = "config-settings";

struct DifferenceOptions {
    NodeName self;       // commands for other nodes get -d
    bool prune = false;  // remove resources, dependencies and paths that the file does not name
};
struct Difference {
    std::vector<DefinitionChange> changes;  // in the order in which they are made
    std::vector<std::string> kept;          // what the file does not name and stays, for people
};
/// The commands that make `nodes` match `wanted`. Errors: a node that is no member (join it first), a
/// resource whose type or id would have to change (remove it first), a path that is the only one of its nodes
/// and would have to be made anew.
Result<Difference> difference(const std::map<NodeName, const NodeConfig*>& nodes,
                              const std::map<NodeName, NodeSettings>& settings, const Definition& wanted,
                              const DifferenceOptions& options);

}  // namespace understudy::config
