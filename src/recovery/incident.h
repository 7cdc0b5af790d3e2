#pragma once
// What a node remembers for incident reports: facts in its own journal, each with the id of its incident.
//
//   detection (loss of a node, failed check, somebody's switchover) --begin()--> id
//   the decision and its inputs, each step, the end                 --add()----> facts with that id
//   `understudy incident`: all nodes' facts --incident_report.h--> one page
//
// Every node that notices the loss of a node begins an incident of its own; the report joins them by node and
// time. What is asked of another node because of an incident carries its id along. Facts are kept as long as
// the journal keeps its entries, restarts included. Threading: loop thread only.

#include "config/database.h"
#include "recovery/gate.h"
#include "recovery/peers.h"
#include "recovery/plan.h"

#include <map>
#include <string>
#include <string_view>

namespace understudy::recovery {

/// How an incident began.
enum class IncidentKind { node_failure, resource_failure, move };
std::string_view to_string(IncidentKind kind);  // "node failure", "resource failure", "move"

/// The facts and their details. Times ("_us") are microseconds since 1970 by the wall clock of the node whose
/// journal it is; "took_us" is a length. A reader ignores facts and details that it does not know.
namespace fact {
/// Subject: the lost node, the failed or moved tag. kind; known_good_us: the last moment it is known to have
/// worked (absent: unknown); clock.NODE: "offset_us uncertainty_us" of NODE's wall clock against this node's.
inline constexpr std::string_view begin = "begin";
/// Subject: device. peer, heard_us (last heartbeat; absent: never), interval_ms, misses, problem.
inline constexpr std::string_view path = "path";
/// A check of the subject, a tag. check ("quick", "deep"), result ("ok", "failed", "timed out"), why.
inline constexpr std::string_view check = "check";
/// Subject: gate. answer ("go on", "stop"), why, took_us.
inline constexpr std::string_view gate = "gate";
/// Subject: a flag that the decision looks at and that is set. node: on which.
inline constexpr std::string_view flag = "flag";
/// Subject: a hierarchy's root. node.NODE: "priority 10, ALIVE", what the choice was made from; state.NODE:
/// the state it was last known to have there ("ISP").
inline constexpr std::string_view candidates = "candidates";
/// Subject: tag. order, node, action, why: one step of the plan, "leave" included.
inline constexpr std::string_view plan = "plan";
/// Nothing is done, why: subject as of begin.
inline constexpr std::string_view refused = "refused";
/// Subject: tag. node, action, began_us, took_us, result ("ok", "failed", "skipped"), why.
inline constexpr std::string_view step = "step";
/// Subject: tag. node: which node is asked to go on with it.
inline constexpr std::string_view asked = "asked";
/// This node's part has ended. recovered, failed: tags, separated by ", ".
inline constexpr std::string_view end = "end";
/// Subject: a lost node that is ALIVE again. No incident's own: it ends those of that node.
inline constexpr std::string_view returned = "returned";
/// Subject: this node, whose daemon started. after: "boot", "stop", "daemon" (only the daemon was restarted).
inline constexpr std::string_view started = "started";
/// Subject: volume. What mirrord told at the incident's begin or at this node's start: moment ("begin",
/// "start"), type, role, state, peer, queue_bytes, dirty_bytes.
inline constexpr std::string_view mirror = "mirror";
/// Subject: volume. What its source told last of what it had not yet got through to the target: source,
/// at_us, queue_bytes, write_rate (bytes a second; absent: unknown).
inline constexpr std::string_view lag = "lag";
}  // namespace fact

using Details = std::map<std::string, std::string>;

class IncidentLog {
  public:
    /// All outlive it.
    IncidentLog(runtime::World world, config::Database& database, const Peers& peers)
        : world_(world), database_(database), peers_(peers) {}

    /// A new incident about `subject`; `text` and `event` (CLU-082, 0: none) are what `understudy events`
    /// shows. The result is its id, such as 20261128-124501-left (UTC).
    std::string begin(IncidentKind kind, const std::string& subject, Details details, std::string text,
                      int event);
    /// Adds a fact; nothing happens when `incident` is empty. `text` (may be empty) and `event` as for
    /// begin().
    void add(const std::string& incident, std::string_view fact, std::string subject, Details details = {},
             std::string text = {}, int event = 0);

    /// The loss of a node, with what is known of its paths.
    std::string node_lost(const NodeName& peer, int event);
    /// Ends what node_lost() began, if anything.
    void node_returned(const NodeName& peer);
    void gate(const std::string& incident, const std::string& name, const TakeoverGate::Verdict& verdict,
              runtime::Duration took);
    /// A plan, the candidates for what it starts, and the flags that were looked at.
    void decision(const std::string& incident, const ClusterView& view, const Plan& plan);
    /// One step that ended. `why`: its error, empty when it succeeded.
    void step(const std::string& incident, const Step& step, runtime::Duration took, std::string_view result,
              const std::string& why);
    /// This node's daemon started. after: see fact::started.
    void started(std::string_view after);

    [[nodiscard]] std::int64_t now_us() const;
    /// The wall clock's time at a moment of the monotonic clock, for details.
    [[nodiscard]] std::int64_t wall_us(runtime::TimePoint at) const;

  private:
    std::string new_id(const std::string& subject);

    runtime::World world_;
    config::Database& database_;
    const Peers& peers_;
    std::map<NodeName, std::string> lost_;  // incidents of nodes that have not returned
    std::string last_id_;
    int same_id_ = 0;
};

}  // namespace understudy::recovery
