#pragma once
// The unit of storage and of replication: one record of a NodeConfig set or erased.

#include "config/model.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace understudy::config {

struct PutApp {
    AppName app;
};
struct DropApp {
    AppName app;
};
struct PutType {
    ResourceType type;
};
struct DropType {
    ResourceType type;
};
struct PutInstance {
    Instance instance;
};
struct DropInstance {
    Tag tag;
};
struct PutDependency {
    Dependency dependency;
};
struct DropDependency {
    Tag parent;
    Tag child;
};
struct PutEquivalency {
    Equivalency equivalency;
};
struct DropEquivalency {
    Tag tag;
    NodeName other_node;
    Tag other_tag;
};
struct PutSystem {
    NodeName system;
};
struct DropSystem {
    NodeName system;
};
struct PutFlag {
    FlagName flag;
};
struct DropFlag {
    FlagName flag;
};
struct PutPath {
    Path path;
};
struct DropPath {
    std::string device;
};

using Edit = std::variant<PutApp, DropApp, PutType, DropType, PutInstance, DropInstance, PutDependency,
                          DropDependency, PutEquivalency, DropEquivalency, PutSystem, DropSystem, PutFlag,
                          DropFlag, PutPath, DropPath>;

/// Applies one edit to a config and keeps its index; used by Database, stores and the simulator alike. A
/// record that is already there is replaced in its place; dropping one that is not there does nothing.
void apply(NodeConfig& config, const Edit& edit);

/// Edits that make an empty config equal to this one.
std::vector<Edit> edits_of(const NodeConfig& config);

/// Puts a record that is not there yet into a config without its index: reindex() comes after the last one.
/// For reading whole configs.
void load(NodeConfig& config, Edit put);
/// A record's part in the digest, by its byte form (codec.h).
std::uint64_t record_hash(std::string_view encoded_put);

/// Of everything in a config but its generation: two copies with the same digest are equal. Computed from
/// scratch; apply() and reindex() keep it in ConfigIndex::digest.
std::uint64_t digest_of(const NodeConfig& config);

}  // namespace understudy::config
