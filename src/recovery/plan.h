#pragma once
// The planner: a pure function from what is known of the cluster and a request to an ordered list of steps
// with a reason each. The executor runs the plan, `understudy plan` prints it, tests compare it with golden
// files.

#include "base/result.h"
#include "config/model.h"

#include <map>
#include <optional>
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

[[nodiscard]] inline bool is_in_service(config::State state) {
    return state == config::State::isp || state == config::State::isu;
}

enum class Scope {
    related,    // restore: below and above T up to all related roots; remove: T and everything above it
    below,      // -b
    single,     // -s
    moving,     // switchover: like related, and what is taken down elsewhere for it comes in service here too
    as_it_was,  // like below, and what is taken down elsewhere for it: nothing is started that was not
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
    /// Nodes that tried and failed in this episode: no candidates any more, and what they hold is pulled
    /// over.
    std::set<NodeName> tried = {};
    /// Only the hierarchy that holds this tag of `self` (the next candidate takes one over); empty: all.
    Tag only = {};
};
/// LCM_AVAIL: first states of every hierarchy of `self`. A resource of `self` that is ISP or ISU here kept
/// running while the daemon was away: its restore script affirms it. Spec: CLU-119, CLU-124 to CLU-129,
/// CLU-132.
struct InitialiseRequest {
    Tag only = {};  // only the hierarchy that holds this tag; empty: all
    /// Only hierarchies that an earlier one left out because a peer could not be asked (kNotAsked), and of
    /// which nothing is in service here.
    bool left_out = false;
    /// In service on `self` when its host went down. When another node is bringing it in service at this
    /// moment, and leaves that undone, it is brought back (kInterrupted).
    std::set<Tag> had = {};
};
/// Everything in service on `self` out of service, whole hierarchies. Spec: CMD-052.
struct StopRequest {
    Tag only = {};
    bool also_failed = false;  // and what may still run after a failed action
};
/// COMM_UP with quorum: what is in service nowhere is started on the node that comes first of all that have
/// it. Spec: QUO-069, QUO-070.
struct RejoinRequest {
    Tag only = {};
};
/// What an operation of another node took out of service on `self` and left so (kInterrupted): in service
/// here again, unless it is in service elsewhere by now. The same for what a start of this node had not
/// reached when it was stopped (is_half_started()).
struct InterruptedRequest {
    Tag only = {};
    /// Nodes that have not been heard in this daemon's life, had their time, and are proven to be dead: no
    /// loss is noticed that a takeover would follow.
    std::set<NodeName> never_heard = {};
};

/// Automatic switchback to `self`, which has just started or sees a peer again: hierarchies whose roots say
/// AUTOMATIC and that a node has that comes after `self`. Spec: CLU-195 to CLU-200.
struct SwitchbackRequest {
    NodeName holder = {};  // only what this node has; empty: any living node
    Tag only = {};
};
/// The host of `self` shuts down: with the flag `shutdown_switchover` what is in service moves to the best
/// node that may take it, except mirrored volumes' hierarchies; without it, as StopRequest. The steps of a
/// hierarchy that moves are those that its new node will plan. Spec: CLU-202 to CLU-206, CMD-054.
struct ShutdownRequest {
    Tag only = {};
    std::set<NodeName> tried = {};
};

/// A resource failed on a living node and could not be repaired there. On `failed_on` the plan is what that
/// node takes out of service; on another node, which comes next, what that brings in service. Spec: CLU-176
/// to CLU-179.
struct ResourceFailoverRequest {
    NodeName failed_on;
    Tag tag;  // of `self`
    /// Nodes that tried and failed in this episode: no candidates any more, and what they hold is pulled
    /// over.
    std::set<NodeName> tried = {};
    /// Of `self`: the uppermost of what ran on `failed_on`; empty: the hierarchy's roots. Not used there.
    std::vector<Tag> wanted = {};
};

using Request = std::variant<RestoreRequest, RemoveRequest, FailoverRequest, InitialiseRequest, StopRequest,
                             SwitchbackRequest, ShutdownRequest, ResourceFailoverRequest, RejoinRequest,
                             InterruptedRequest>;

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
    /// Run the script although the recorded state would make it a no-op: a remove on a failed
    /// instance that may still hold the resource (Spec: CMD-118), a restore that affirms
    /// what kept running while the daemon was away (Spec: CMD-053).
    bool force = false;
    /// Of remove and set_osu on `self`: another node is bringing it in service at this moment, and what that
    /// leaves undone is brought back (kInterrupted).
    NodeName yields_to = {};
    friend bool operator==(const Step&, const Step&) = default;
};

struct Plan {
    std::vector<Step> steps;
    [[nodiscard]] bool does_nothing() const;
};

/// Reasons that the engine stores with a state. Spec: CMD-116, CMD-120.
inline constexpr std::string_view kRestoreSucceeded = "restore action has succeeded";
inline constexpr std::string_view kRestoreFailed = "restore action has failed";
inline constexpr std::string_view kRemoveSucceeded = "remove action has succeeded";
inline constexpr std::string_view kRemoveFailed = "remove action has failed";
/// OSF that stays for a person to see, though a remove script made sure that nothing is left running.
inline constexpr std::string_view kFailedAndTakenDown =
    "restore action has failed; remove action has succeeded";
/// OSF of a resource whose check failed and that could not be repaired; more may follow. Spec: CLU-119.
inline constexpr std::string_view kCheckFailed = "check has failed";
inline constexpr std::string_view kCheckFailedAndTakenDown = "check has failed; remove action has succeeded";
inline constexpr std::string_view kRecoverSucceeded = "recover action has succeeded";
/// OSF of a resource that kept running while the daemon was away, but whose child could not be affirmed.
inline constexpr std::string_view kNotAffirmed = "not affirmed after the restart";

/// The end of the reason of an OSU resource that was not started because a peer, named before it, could
/// neither be asked nor taken for dead: it is decided about when the peer can be asked, or at the next start.
inline constexpr std::string_view kNotAsked = "cannot be asked and may have it in service";

/// The beginning of the reason of an OSU resource that an operation of another node, whose name follows, took
/// out of service here, as long as this node has not heard of the operation's end. The next daemon finds it.
inline constexpr std::string_view kTakenFor = "taken out of service by an operation that has not ended on ";
/// The same when the operation is over and has not brought in service what it took: it was given up in the
/// middle, or its node was restarted or lost. Until it is decided what becomes of it.
inline constexpr std::string_view kInterrupted =
    "taken out of service by an operation that was interrupted on ";

/// The beginning of the reason of an OSU resource whose start here was stopped before it was its turn,
/// because this node might start nothing at that moment; why follows. It goes on when it may, unless another
/// node has the hierarchy by then.
inline constexpr std::string_view kStartStopped = "its start was stopped before its turn and will go on: ";

/// Whether a start of this node, in this daemon's life or the one before, has not come to its end for it: it
/// waits for its turn (kStartStopped), its script was cut short, or what kept running has not been affirmed.
/// Once the node has initialised itself.
bool is_half_started(const config::Instance& instance);

/// The node whose operation took it and goes on (kTakenFor); empty: there is none.
NodeName taken_for(const config::Instance& instance);
/// The node whose operation left it so (kInterrupted); empty: none did.
NodeName interrupted_on(const config::Instance& instance);

/// OSU of a resource whose initialisation method is INIT_OSU. Spec: CLU-124.
inline constexpr std::string_view kByHand = "INIT_OSU: an administrator starts it";

/// ISP or ISU of a resource that kept running while the daemon was away, until its script affirmed it.
inline constexpr std::string_view kKeptRunning = "kept running while the daemon was away";

/// On a node whose shutdown switches over. Spec: CLU-202.
inline constexpr std::string_view kShutdownSwitchoverFlag = "shutdown_switchover";

/// Flags that stop a failover: on `stopped`'s peers while it is down on purpose; the settings "system
/// failover from `from` to `to` is disabled" and the same for resources. Spec: CLU-182, CLU-210, CLU-219.
FlagName no_failover_flag(const NodeName& stopped);
FlagName no_system_failover_flag(const NodeName& from, const NodeName& to);
FlagName no_resource_failover_flag(const NodeName& from, const NodeName& to);

/// Why a hierarchy leaves its node by itself.
enum class Cause {
    node_lost,        // every path to it is DEAD
    resource_failed,  // a check failed there and local recovery did not help
    shutdown,         // it shuts down and its strategy is to switch over
};

/// Errors: unknown tag (not_found), a peer that may hold the resource cannot be reached (unreachable).
Result<Plan> plan(const ClusterView& view, const Request& request);

/// The parts of a plan that belong to different hierarchies of `view.self`: they may run at the same time.
/// Order within a part is kept. Spec: CLU-191.
std::vector<Plan> by_hierarchy(const ClusterView& view, const Plan& plan);

/// A replicated volume: it does not move by itself while both its sides live. Spec: CLU-199, CLU-204.
[[nodiscard]] bool is_mirrored(const config::Instance& instance);

/// Every tag of `config` connected with `tag` by dependencies, `tag` included, in creation order. It is the
/// unit that moves together (Spec: CLU-177) and that operations lock.
std::vector<Tag> hierarchy_of(const config::NodeConfig& config, const Tag& tag);

/// Alive nodes that have `tag` of `self` or its equivalent ISP. More than one: split, and nothing is moved
/// automatically (Spec: CLU-222).
std::vector<NodeName> in_service_on(const ClusterView& view, const Tag& tag);

/// The living node that comes first for `tag` of `self` when it leaves `from` for this cause, leaving out
/// `tried`; nullopt when none is left. Spec: CLU-179, CLU-186, CLU-188.
std::optional<NodeName> next_candidate(const ClusterView& view, Cause cause, const NodeName& from,
                                       const Tag& tag, const std::set<NodeName>& tried);

/// What a switchover of `tag` to `self` restores: `tag`, or the first of its roots that is not in service
/// here; nullopt when all is. With Scope::as_it_was roots are left alone. Errors: in service twice (failure).
/// Spec: CLU-144, CLU-222.
Result<std::optional<RestoreRequest>> switchover_request(const ClusterView& view, const Tag& tag,
                                                         Scope scope);

/// Members of the hierarchy of `member` that are in service on `self` with nothing in service above them.
std::vector<Tag> in_service_tops(const ClusterView& view, const Tag& member);

/// The next node that may take `tag` of `self` over after it failed on `failed_on`; nullopt when none is
/// left. Spec: CLU-176, CLU-179.
std::optional<config::Equivalency> next_backup(const ClusterView& view, const NodeName& failed_on,
                                               const Tag& tag, const std::set<NodeName>& tried);

/// One line a step: "1. left  remove   pg.0   in service here, wanted on right". For commands, logs and
/// golden files.
std::string describe(const Plan& plan);

}  // namespace understudy::recovery
