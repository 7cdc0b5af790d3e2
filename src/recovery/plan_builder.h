#pragma once
// Inside the planner: the view with fast look-ups, and the states as they will be after the steps so far.

#include "recovery/plan.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace understudy::recovery {

/// The dependency graph of one node, in dependency creation order.
class Graph {
  public:
    explicit Graph(const config::NodeConfig& config);
    [[nodiscard]] const std::vector<Tag>& children(const Tag& parent) const;
    [[nodiscard]] const std::vector<Tag>& parents(const Tag& child) const;
    /// Everything connected with `tag`, in creation order of the instances.
    [[nodiscard]] std::vector<Tag> connected(const Tag& tag) const;
    /// `tag` and everything above it; every resource before all it depends on. Spec: CMD-120.
    [[nodiscard]] std::vector<Tag> upward(const Tag& tag) const;
    /// All hierarchies: connected sets in creation order of their first member.
    [[nodiscard]] std::vector<std::vector<Tag>> hierarchies() const;
    /// Members in creation order that nothing depends on.
    [[nodiscard]] std::vector<Tag> roots_of(const std::vector<Tag>& hierarchy) const;
    /// `hierarchy` with every resource after all it depends on.
    [[nodiscard]] std::vector<Tag> children_first(const std::vector<Tag>& hierarchy) const;

  private:
    std::map<Tag, std::vector<Tag>> children_;
    std::map<Tag, std::vector<Tag>> parents_;
    std::map<Tag, std::uint64_t> order_;
};

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
    /// Says that nothing is done about `tag` and why.
    void leave(const Tag& tag, std::string why);

    /// Brings `tag` and all below it in service here, taking it away from peers. Spec: CMD-116, CMD-118.
    Result<> down(const Tag& tag, std::string why);
    /// down(), then the same for every parent, up to all related roots.
    Result<> up(const Tag& tag, std::string why);
    /// Only `tag`.
    Result<> one(const Tag& tag, std::string why);
    /// Removes equivalents of `tag` on peers, with everything above them there. Spec: CMD-118.
    Result<> release_elsewhere(const Tag& tag, std::vector<std::size_t>& needs);
    /// Takes `tag` and what is in service above it out of service on `self`. Spec: CMD-120.
    void remove_upward(const Tag& tag, std::string why);
    /// Takes `tag` out of service on `self`, after what was done to its parents.
    void remove_one(const Tag& tag, std::string why, bool force);

    [[nodiscard]] std::vector<std::size_t> steps_of_children(const Tag& tag) const;
    [[nodiscard]] Plan finish() && { return std::move(plan_); }
    [[nodiscard]] const std::vector<Step>& steps() const { return plan_.steps; }
    [[nodiscard]] std::size_t size() const { return plan_.steps.size(); }

  private:
    using Where = std::pair<NodeName, Tag>;
    const Graph& graph_of(const NodeName& node);
    void set(const Where& where, config::State state, std::size_t step);
    Result<> release_on(const NodeName& node, const Tag& tag, std::vector<std::size_t>& needs);

    const ClusterView& view_;
    Order order_;
    config::NodeConfig none_;
    const config::NodeConfig& own_;
    Graph graph_;
    std::map<NodeName, Graph> peer_graphs_;
    std::map<Tag, std::vector<config::Equivalency>> equivalents_;
    std::map<Where, config::State> states_;   // changed by the steps so far
    std::map<Where, std::size_t> last_step_;  // that changed it
    std::set<Tag> visited_down_;
    std::set<Tag> visited_up_;
    Plan plan_;
};

/// Whether `hierarchy` is meant by a request that names `only` (empty: all are).
[[nodiscard]] bool is_meant(const std::vector<Tag>& hierarchy, const Tag& only);

Result<Plan> plan_restore(const ClusterView& view, const RestoreRequest& request);
Result<Plan> plan_remove(const ClusterView& view, const RemoveRequest& request);
Result<Plan> plan_stop(const ClusterView& view, const StopRequest& request);
Result<Plan> plan_failover(const ClusterView& view, const FailoverRequest& request);
Result<Plan> plan_initialise(const ClusterView& view, const InitialiseRequest& request);

}  // namespace understudy::recovery
