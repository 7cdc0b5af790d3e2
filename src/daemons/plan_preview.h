#pragma once
// `understudy plan`: what a command or an event would do, in order and why, without doing it; planned by the
// node that would do it, from what that node knows, and in the words of its log. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "recovery/engine.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace understudy::daemons {

/// One plan of one node. The log of the real thing has "what:" and then `plan` as describe() writes it.
struct Preview {
    NodeName node;
    std::string what;
    recovery::Plan plan;
};

/// What `view.self` would do for `understudy plan ACTION OBJECT`. Pure. Errors: unknown action (syntax),
/// unknown node or tag (not_found), what the planner refuses.
Result<std::vector<Preview>> preview(const recovery::ClusterView& view, const config::Command& command);

class PlanService {
  public:
    using Done = std::function<void(config::Reply)>;
    PlanService(config::Database& database, comm::Cluster& cluster, const recovery::Engine& engine);
    PlanService(const PlanService&) = delete;
    PlanService& operator=(const PlanService&) = delete;
    ~PlanService();
    void start();
    /// False when the command is not this one.
    bool run(const config::Command& command, const Done& done);

  private:
    /// Who plans for this command; nobody: every living node but `lost`.
    struct Planners {
        std::vector<NodeName> nodes;
        bool all = false;
    };
    [[nodiscard]] Result<Planners> planners(const config::Command& command) const;
    void ask(const NodeName& node, const config::Command& command,
             std::function<void(Result<std::string>)> answer);
    [[nodiscard]] Result<std::string> planned_as(const NodeName& node, const config::Command& command) const;

    config::Database& database_;
    comm::Cluster& cluster_;
    const recovery::Engine& engine_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::daemons
