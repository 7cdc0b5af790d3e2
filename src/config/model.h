#pragma once
// What a node's configuration database holds (manual: LCD). Plain values with the manual's field meanings
// (Spec: CMD-017 to CMD-030, CLU-101). A NodeConfig is what one node owns; peers keep cached copies of it.

#include "base/types.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace understudy::config {

/// Spec: CMD-022, CLU-116. UNKNOWN is for display only and never stored.
enum class State { isp, isu, osu, osf, illstate };
/// Spec: CMD-024.
enum class Init { autores_isp, init_isp, init_osu };
/// Spec: CMD-071.
enum class Switchback { intelligent, automatic };
/// Spec: CMD-059 field 10.
enum class Reservation { none, restore, remove, recover };

std::string_view to_string(State state);              // "ISP" ...
std::string_view to_string(Init init);                // "AUTORES_ISP" ...
std::string_view to_string(Switchback switchback);    // "INTELLIGENT" ...
std::string_view to_string(Reservation reservation);  // "", "RESTORE" ...
std::optional<State> parse_state(std::string_view text);
std::optional<Init> parse_init(std::string_view text);
std::optional<Switchback> parse_switchback(std::string_view text);

struct Instance {
    AppName app;
    TypeName type;
    Tag tag;
    ResourceId id;
    std::string info;
    State state = State::osu;
    std::string reason;
    Init init = Init::autores_isp;
    Reservation reservation = Reservation::none;
    int reserving_pid = 0;
    int quick_interval_s = 180;
    int deep_interval_s = 300;
    bool local_recovery = true;
    Switchback switchback = Switchback::intelligent;
    std::int64_t created_at = 0;  // seconds since 1970
    std::uint64_t order = 0;      // creation order, for listings
    friend bool operator==(const Instance&, const Instance&) = default;
};

/// Parent needs child. Spec: CMD-078.
struct Dependency {
    Tag parent;
    Tag child;
    std::uint64_t order = 0;
    friend bool operator==(const Dependency&, const Dependency&) = default;
};

/// A node's own view of a pair: field 1 is always the owner of the record. Spec: CMD-084, CMD-085.
struct Equivalency {
    Tag tag;
    NodeName other_node;
    Tag other_tag;
    Priority priority;        // of the owner for `tag`
    Priority other_priority;  // of other_node
    std::uint64_t order = 0;
    friend bool operator==(const Equivalency&, const Equivalency&) = default;
};

/// One end of a communication path. Spec: CLU-055, CLU-057, CLU-059.
struct Path {
    NodeName remote;
    std::string device;      // "TCP:1500"
    std::string transport;   // "TLI" or "DISK"
    int priority = 1;        // 1 (highest) to 99
    int interval_ms = 6000;  // heartbeat interval
    int misses = 5;          // consecutive missed heartbeats that make it DEAD
    std::string remote_address;
    std::string local_address;
    [[nodiscard]] int port() const;  // of a TCP device, 0 otherwise
    friend bool operator==(const Path&, const Path&) = default;
};

struct ResourceType {
    AppName app;
    TypeName type;
    friend auto operator<=>(const ResourceType&, const ResourceType&) = default;
};

/// What makes the look-ups of a NodeConfig fast with 10,000 instances. Maintained by apply() (database.h) and
/// rebuilt by NodeConfig::reindex(). It is derived, so it takes no part in comparisons. A NodeConfig that was
/// filled in by hand answers correctly without it, only by scanning; one that was *changed* by hand after it
/// was indexed must be reindexed.
struct ConfigIndex {
    // How many records it covers: anything else means that it is not to be used.
    std::size_t instances = 0;
    std::size_t dependencies = 0;
    std::size_t equivalencies = 0;
    std::uint64_t digest = 0;  // digest_of() of the config (edit.h)
    std::unordered_map<ResourceId, Tag> by_id;
    std::unordered_map<Tag, std::vector<Tag>> children;             // dependency creation order
    std::unordered_map<Tag, std::vector<Tag>> parents;              // dependency creation order
    std::unordered_map<Tag, std::vector<Equivalency>> equivalents;  // creation order
    friend bool operator==(const ConfigIndex&, const ConfigIndex&) { return true; }
};

/// Everything one node owns. Lookup helpers are in model.cpp; instances are kept in a map by tag with an
/// index by id.
struct NodeConfig {
    std::uint64_t generation = 0;
    std::set<AppName> apps;
    std::set<ResourceType> types;
    std::map<Tag, Instance> instances;
    std::vector<Dependency> dependencies;    // in creation order
    std::vector<Equivalency> equivalencies;  // in creation order
    std::set<NodeName> systems;              // including the owner
    std::set<FlagName> flags;
    std::vector<Path> paths;  // by device

    [[nodiscard]] const Instance* find(const Tag& tag) const;
    [[nodiscard]] const Instance* find_id(const ResourceId& id) const;
    [[nodiscard]] std::vector<Tag> children(const Tag& parent) const;  // dependency creation order
    [[nodiscard]] std::vector<Tag> parents(const Tag& child) const;
    /// T and everything below it; parents before children, each once.
    [[nodiscard]] std::vector<Tag> subtree(const Tag& top) const;
    /// T and everything above it; parents before children, each once.
    [[nodiscard]] std::vector<Tag> ancestry(const Tag& tag) const;
    [[nodiscard]] std::vector<Tag> roots() const;
    [[nodiscard]] std::vector<Tag> roots_above(const Tag& tag) const;
    [[nodiscard]] bool reaches(const Tag& from_parent, const Tag& to_descendant) const;
    [[nodiscard]] std::vector<Equivalency> equivalents(const Tag& tag) const;  // ascending other_priority
    /// The owner's priority for the tag, nullopt without an equivalency.
    [[nodiscard]] std::optional<Priority> priority(const Tag& tag) const;
    /// The path with this device name, nullptr when there is none.
    [[nodiscard]] const Path* find_path(std::string_view device) const;
    /// Instances in creation order.
    [[nodiscard]] std::vector<const Instance*> in_creation_order() const;

    /// Makes the index match the records, after they were filled in or changed by hand.
    void reindex();
    /// The same when digest_of() is known already.
    void reindex(std::uint64_t digest);
    ConfigIndex index;

    friend bool operator==(const NodeConfig&, const NodeConfig&) = default;
};

/// `members` ordered so that parents come before children, otherwise in the given order; each once.
std::vector<Tag> parents_first(const NodeConfig& config, const std::vector<Tag>& members);

/// Order of `paths` and of net_list: by kind of device, then by port as a number.
bool path_less(const Path& a, const Path& b);

/// Tag rule of CMD-012: empty result when legal, otherwise what is wrong with it, for a person.
std::string tag_problem(const Tag& tag);

}  // namespace understudy::config
