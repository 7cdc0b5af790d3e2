#pragma once
// Operations on hierarchies as one call each: create, extend, unextend, delete, dependencies, properties.
// Pure: what is checked and what is done on which node, in which order, and what takes each step back. The
// daemon (daemons/hierarchy.h) asks the nodes, runs the checks and the steps, and shows the plan as a
// preview.
//
// Whatever can be refused is refused here, before anything changes. Every member of the hierarchy must be
// reachable (Spec: CLU-097). A resource that is not complete yet is not started by itself, and no other node
// counts on it: the step that makes it count is the last one.

#include "base/result.h"
#include "config/model.h"
#include "config/record_change.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace understudy::config {

/// What a node answers before an operation.
struct NodeFacts {
    std::set<NodeName> alive;                               // peers that it hears
    std::map<ResourceType, std::set<std::string>> actions;  // of the kits that are installed
    std::set<ResourceType> disabled;                        // kits that are installed and not to be used
    std::set<std::string> global_scripts;                   // predelete, postdelete
};

struct ClusterFacts {
    NodeName self;
    std::map<NodeName, const NodeConfig*> nodes;  // those that answered
    std::map<NodeName, NodeFacts> facts;          // of the same
    std::int64_t now_s = 0;
};

struct HierarchyStep {
    enum class Kind {
        records,         // `change`, taken back by `back`
        kit_action,      // a script of the kit
        engine_action,   // restore or remove, as perform_action does it
        global_scripts,  // action "predelete" or "postdelete"; what they do wrong is logged only
    };
    Kind kind = Kind::records;
    NodeName node;
    std::string text;  // what and why, without the node
    RecordChange change = {};
    RecordChange back = {};
    // Of scripts.
    AppName app = {};
    TypeName type = {};
    Tag tag = {};
    ResourceId id = {};
    std::string action = {};
    std::string back_action = {};             // empty: nothing to take back
    std::vector<std::string> arguments = {};  // behind -t TAG -i ID
};

struct HierarchyPlan {
    std::string lock;                   // identifier of the admin lock. Spec: CLU-213
    std::string what;                   // "the extension of web.0 to right"
    std::vector<HierarchyStep> checks;  // scripts that only look; all must succeed before the first step
    std::vector<HierarchyStep> steps;
    std::size_t final_from = 0;      // see daemons::Transaction
    std::vector<std::string> notes;  // for the person
};

/// First backup 10, second 20. Spec: CLU-104.
inline constexpr int kPriorityStep = 10;

struct CreateRequest {
    NodeName node;
    AppName app;
    TypeName type;
    Tag tag;
    ResourceId id;  // empty: the tag
    std::string info;
    std::vector<Tag> needs;
    std::vector<std::pair<std::string, std::string>> properties;
    bool start = true;  // bring it in service at the end
};
struct ExtendRequest {
    Tag tag;
    NodeName to;
    NodeName from = {};                              // template; empty: where it is in service, else the best
    std::optional<Priority> priority = {};           // of `to`; default the next free step
    std::optional<Priority> template_priority = {};  // of `from` when it is the only node yet; default 1
    Tag new_tag = {};                                // of `tag` on `to`; default the same
    /// Words of the info text that differ on `to`, by the template's tag.
    std::map<Tag, std::vector<std::pair<std::string, std::string>>> info = {};
};
struct UnextendRequest {
    Tag tag;
    NodeName from;
};
struct DeleteRequest {
    Tag tag;
    std::set<NodeName> without = {};  // nodes that are left out because they cannot be reached
};
struct DependencyRequest {
    Tag parent;
    Tag child;
};
struct SetRequest {
    Tag tag;
    std::vector<std::pair<std::string, std::string>> properties;  // kProperties, and "info.KEY"
    NodeName only = {};                                           // empty: on every node
};

/// Spec: KIT-019 to KIT-024, CLU-104, CLU-115, APP-012, APP-013.
Result<HierarchyPlan> plan_create(const ClusterFacts& cluster, const CreateRequest& request);
/// The whole hierarchy of the tag, all its roots. Spec: KIT-026 to KIT-035, CLU-159, CLU-269.
Result<HierarchyPlan> plan_extend(const ClusterFacts& cluster, const ExtendRequest& request);
/// Spec: KIT-036 to KIT-039, GUI-290, GUI-291.
Result<HierarchyPlan> plan_unextend(const ClusterFacts& cluster, const UnextendRequest& request);
/// On every node; what else depends on a part of it keeps that part. Spec: KIT-045 to KIT-047, GUI-300 to
/// GUI-303.
Result<HierarchyPlan> plan_delete(const ClusterFacts& cluster, const DeleteRequest& request);
/// Spec: CLU-105, CLU-106, GUI-294, GUI-295.
Result<HierarchyPlan> plan_add_dependency(const ClusterFacts& cluster, const DependencyRequest& request);
/// Spec: GUI-296, KIT-043.
Result<HierarchyPlan> plan_remove_dependency(const ClusterFacts& cluster, const DependencyRequest& request);
/// Spec: KIT-056, CLU-196, CLU-199.
Result<HierarchyPlan> plan_set(const ClusterFacts& cluster, const SetRequest& request);

}  // namespace understudy::config
