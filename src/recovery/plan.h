#pragma once
// The planner: a pure function from what is known of the cluster and a request to an ordered list of steps
// with a reason each. The executor runs the plan, `understudy plan` prints it, tests compare it with golden
// files.

#include "base/result.h"
#include "config/model.h"

#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace understudy::recovery {

struct NodeView {
    bool alive = false;         // a path is ALIVE, or it is ourselves
    bool known_dead = false;    // COMM_DOWN was processed for it
    config::NodeConfig config;  // own, or the cached copy
};

struct ClusterView {
    NodeName self;
    std::map<NodeName, NodeView> nodes;
};

enum class Scope {
    related,  // restore: below and above T up to all related roots; remove: T and everything above it
    below,    // -b
    single,   // -s
};

/// perform_action -a restore on `self`. Spec: CMD-116 to CMD-119.
struct RestoreRequest {
    Tag tag;
    Scope scope = Scope::related;
};
/// perform_action -a remove on `self`. Spec: CMD-120, CMD-121.
struct RemoveRequest {
    Tag tag;
    Scope scope = Scope::related;
};
/// A peer was lost and the checks before it allow a takeover. Spec: CLU-182, CLU-186, CLU-187.
struct FailoverRequest {
    NodeName dead;
};
/// LCM_AVAIL: first states of every hierarchy of `self`. Spec: CLU-119, CLU-124 to CLU-129.
struct InitialiseRequest {};
/// Everything in service on `self` out of service, whole hierarchies. Spec: CMD-052.
struct StopRequest {};

using Request = std::variant<RestoreRequest, RemoveRequest, FailoverRequest, InitialiseRequest, StopRequest>;

enum class Action {
    restore,  // run the restore script, then ISP or OSF
    remove,   // run the remove script, then OSU or OSF
    set_isp,  // record only (ISU -> ISP; INIT_ISP)
    set_osu,  // record only
    leave,    // nothing is done, `why` says it for a person
};
std::string_view to_string(Action action);

struct Step {
    NodeName node;
    Tag tag;
    Action action = Action::leave;
    std::string why;
    /// Indexes of earlier steps that must have succeeded; a step whose need failed is skipped.
    std::vector<std::size_t> needs;
    friend bool operator==(const Step&, const Step&) = default;
};

struct Plan {
    std::vector<Step> steps;
    [[nodiscard]] bool does_nothing() const;
};

/// Errors: unknown tag (not_found), a peer that may hold the resource cannot be reached (unreachable).
Result<Plan> plan(const ClusterView& view, const Request& request);

/// One line a step: "1. left  remove   pg.0   in service here, wanted on right". For commands, logs and
/// golden files.
std::string describe(const Plan& plan);

}  // namespace understudy::recovery
