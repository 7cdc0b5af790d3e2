#pragma once
// Inside the planner: the view with fast look-ups, and the states as they will be after the steps so far.

#include "recovery/plan.h"
#include "recovery/plan_graph.h"

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace understudy::recovery {

/// What the planner may assume about an instance on another node.
enum class Holding {
    nothing,      // known: not in service there, or the node is dead
    in_service,   // ISP or ISU
    may_hold,     // a script of it failed, or it was never affirmed: its remove script must run (again)
    unreachable,  // cannot be asked
};

class PlanBuilder {
  public:
    /// chained: every step needs the one before it, so that the order is exact and the first failure ends
    /// everything (perform_action). parallel: needs are the real ones only.
    enum class Order { chained, parallel };
    PlanBuilder(const ClusterView& view, Order order);

    [[nodiscard]] const config::NodeConfig& own() const { return own_; }
    [[nodiscard]] const Graph& graph() const { return graph_; }
    [[nodiscard]] const NodeView* node(const NodeName& name) const;
    [[nodiscard]] bool alive(const NodeName& name) const;
    [[nodiscard]] config::State state(const Tag& own_tag) const;
    [[nodiscard]] bool in_service(const Tag& own_tag) const;
    [[nodiscard]] Holding holding(const NodeName& node, const Tag& tag) const;
    /// In service on `node`, or being brought in service there right now.
    [[nodiscard]] bool has_it(const NodeName& node, const Tag& tag) const;
    [[nodiscard]] const std::vector<config::Equivalency>& equivalents(const Tag& own_tag) const;

    std::size_t add(Step step);
    /// A plan that was made elsewhere, behind the steps so far.
    void append(const Plan& plan);
    /// Says that nothing is done about `tag` and why.
    void leave(const Tag& tag, std::string why);

    /// Brings `tag` and all below it in service here, taking it away from peers. Spec: CMD-116, CMD-118.
    Result<> down(const Tag& tag, std::string why);
    /// down(), then the same for every parent, up to all related roots.
    Result<> up(const Tag& tag, std::string why);
    /// Only `tag`.
    Result<> one(const Tag& tag, std::string why);
    /// What stood above `moved` on peers and was taken down there for it comes in service here too: it
    /// belongs where its child is now. Spec: CLU-177.
    Result<> bring_back(const Tag& moved);
    /// down(), then bring_back(): what is in service elsewhere comes here, and no more.
    Result<> down_as_it_was(const Tag& tag, std::string why);
    /// Removes equivalents of `tag` on peers, with everything above them there. Spec: CMD-118.
    Result<> release_elsewhere(const Tag& tag, std::vector<std::size_t>& needs);
    /// Takes `tag` and what is in service above it out of service on `self`. Spec: CMD-120.
    /// `yields_to`: see Step.
    void remove_upward(const Tag& tag, std::string why, const NodeName& yields_to = {});
    /// Takes `tag` out of service on `self`, after what was done to its parents.
    void remove_one(const Tag& tag, std::string why, bool force, const NodeName& yields_to = {});

    [[nodiscard]] std::vector<std::size_t> steps_of_children(const Tag& tag) const;
    [[nodiscard]] Plan finish() && { return std::move(plan_); }
    [[nodiscard]] const std::vector<Step>& steps() const { return plan_.steps; }
    [[nodiscard]] std::size_t size() const { return plan_.steps.size(); }

  private:
    /// What the steps so far did to an instance: its state then, and the last of them.
    struct Change {
        config::State state;
        std::size_t step;
    };
    const Graph& graph_of(const NodeName& node);
    [[nodiscard]] const Change* change(const NodeName& node, const Tag& tag) const;
    Result<> release_on(const NodeName& node, const Tag& tag, std::vector<std::size_t>& needs);

    const ClusterView& view_;
    Order order_;
    config::NodeConfig none_;
    const config::NodeConfig& own_;
    Graph graph_;
    std::map<NodeName, Graph> peer_graphs_;
    std::unordered_map<Tag, std::vector<config::Equivalency>> equivalents_;
    std::map<NodeName, std::unordered_map<Tag, Change>> changes_;
    std::set<Tag> visited_down_;
    std::set<Tag> visited_up_;
    Plan plan_;
};

/// Whether `hierarchy` is meant by a request that names `only` (empty: all are).
[[nodiscard]] bool is_meant(const std::vector<Tag>& hierarchy, const Tag& only);

/// Members that are in service here with nothing in service above them, in creation order.
[[nodiscard]] std::vector<Tag> in_service_tops(const PlanBuilder& builder, const std::vector<Tag>& hierarchy);

/// What is undecided becomes OSU. Where a script was interrupted the daemon cannot know what runs: only a
/// remove, of what needs it first, makes it so. `yields_to`: see Step.
void out_of_service(PlanBuilder& builder, const ClusterView& view, const Tag& tag, const std::string& why,
                    const NodeName& yields_to = {});
/// What kept running while the daemon was away is in service here: its script makes sure of it.
void affirm(PlanBuilder& builder, const ClusterView& view, const Tag& tag);

struct Candidate {
    NodeName node;
    int priority = 0;
};

/// Why `to` may not take what leaves `from` for this cause; empty when it may. Only automatic actions ask.
/// Spec: CLU-182, CLU-209, CLU-210, CLU-212.
[[nodiscard]] std::string barred(const PlanBuilder& builder, const ClusterView& view, Cause cause,
                                 const NodeName& from, const NodeName& to);

/// The living nodes that have `tag` of `self` and may take it when it leaves `from`, best priority first; the
/// numbers alone decide, so a node that comes before `from` is one too. Neither `from` nor those of `tried`.
/// Spec: CLU-178, CLU-179, CLU-186.
[[nodiscard]] std::vector<Candidate> candidates(const PlanBuilder& builder, const ClusterView& view,
                                                Cause cause, const NodeName& from, const Tag& tag,
                                                const std::set<NodeName>& tried);

Result<Plan> plan_restore(const ClusterView& view, const RestoreRequest& request);
Result<Plan> plan_remove(const ClusterView& view, const RemoveRequest& request);
Result<Plan> plan_stop(const ClusterView& view, const StopRequest& request);
Result<Plan> plan_failover(const ClusterView& view, const FailoverRequest& request);
Result<Plan> plan_resource_failover(const ClusterView& view, const ResourceFailoverRequest& request);
Result<Plan> plan_initialise(const ClusterView& view, const InitialiseRequest& request);
Result<Plan> plan_switchback(const ClusterView& view, const SwitchbackRequest& request);
Result<Plan> plan_shutdown(const ClusterView& view, const ShutdownRequest& request);
Result<Plan> plan_rejoin(const ClusterView& view, const RejoinRequest& request);
Result<Plan> plan_interrupted(const ClusterView& view, const InterruptedRequest& request);

}  // namespace understudy::recovery
