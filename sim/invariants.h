#pragma once
// What must hold in every run of a simulated cluster.
//
// At every step:
//   * never two hosts run the application of one equivalency - unless one of them does not see the other,
//   which
//     lives, because all networks between them are cut or it stood still: without quorum each side then
//     starts everything (Spec: CLU-194);
//   * a node that lives is taken for dead only when its network was cut or it stood still (Spec: CLU-067):
//     lost connections, delays within the heartbeat interval, clock jumps and a daemon that is restarted at
//     once are no reason;
//   * with quorum there is no such excuse: never two hosts run the application of one equivalency, whatever
//     happens (README ruling 11);
//   * a restore script runs only where the resource's children run.
// When faults have stopped and some time has passed (check_calm):
//   * every hierarchy runs, whole, on exactly one host, and the databases record exactly that: a survivor has
//     taken over and a returned node is a standby (Spec: CLU-201);
//   * every node's cached copies are those of their owners (Spec: CLU-095).

#include "sim/cluster_sim.h"

#include <string>
#include <vector>

namespace understudy::sim {

class Invariants {
  public:
    /// Watches the cluster from now on; takes its observers.
    explicit Invariants(SimulatedCluster& cluster);
    Invariants(const Invariants&) = delete;
    Invariants& operator=(const Invariants&) = delete;

    /// To be called when a fault begins or ends that excuses taking `a` and `b` for dead: a cut, a pause, a
    /// daemon that stays away.
    void disturbed(const NodeName& a, const NodeName& b);
    /// The same for all that involves `node`.
    void disturbed(const NodeName& node);
    /// Whether two hosts may run one application because a living node was taken for dead.
    [[nodiscard]] bool split_possible() const { return split_possible_; }
    /// An administrator has resolved every split: from now on it is a violation again.
    void split_resolved();

    /// Adds what is wrong although the cluster has had its time to settle.
    void check_calm();
    void violation(std::string what);
    [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }

  private:
    void check_step();
    void peer_event(const NodeName& at, const comm::PeerEvent& event);
    [[nodiscard]] bool excused(const NodeName& a, const NodeName& b, runtime::TimePoint since) const;
    /// Whether `a` has taken `b` for alive since before `when`.
    [[nodiscard]] bool saw(const NodeName& a, const NodeName& b, runtime::TimePoint when) const;
    void check_together(const Tag& tag, const NodeName& a, const NodeName& b);
    void check_hierarchy(const Hierarchy& hierarchy);
    void check_copies();

    SimulatedCluster& cluster_;
    std::vector<std::string> violations_;
    std::uint64_t seen_changes_ = 0;
    bool split_possible_ = false;
    std::map<std::pair<NodeName, NodeName>, runtime::TimePoint> disturbed_at_;  // names in order
    std::map<NodeName, runtime::TimePoint> daemon_started_at_;
    std::map<std::pair<NodeName, NodeName>, runtime::TimePoint> seen_since_;  // by whom, whom
};

/// More violations than this are the same fault over and over.
inline constexpr std::size_t kMaxViolations = 10;

}  // namespace understudy::sim
