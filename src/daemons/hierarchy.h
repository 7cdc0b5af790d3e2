#pragma once
// `understudy resource create|extend|unextend|delete|set` and `understudy dependency add|remove`: one call
// for all nodes. What is done is decided by config/hierarchy.h and done by transaction.h: all of it or
// nothing, also when a daemon dies on the way. --dry-run shows the same lines that the real thing shows.
//
// Any member may be asked for a hierarchy of others. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/hierarchy.h"
#include "daemons/hierarchy_steps.h"
#include "daemons/transaction.h"
#include "runtime/task.h"

#include <functional>

namespace understudy::daemons {

class HierarchyService {
  public:
    using Done = std::function<void(config::Reply)>;
    using Progress = std::function<void(std::string)>;
    HierarchyService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                     TransactionService& transactions, HierarchySteps& steps);
    HierarchyService(const HierarchyService&) = delete;
    HierarchyService& operator=(const HierarchyService&) = delete;

    /// False when the command is none of these.
    bool run(const config::Command& command, const Progress& progress, const Done& done);

  private:
    using Planner = std::function<Result<config::HierarchyPlan>(const config::ClusterFacts&)>;
    /// What is known of one operation while it runs.
    struct Operation {
        std::string lock;
        Planner planner;
        config::Command command;
        Progress progress;                   // empty with --json
        config::HierarchyPlan plan = {};     // once it is prepared
        std::vector<std::string> done = {};  // lines shown so far
    };
    [[nodiscard]] Result<std::shared_ptr<Operation>> parse(const config::Command& command) const;
    runtime::Task<void> handle(std::shared_ptr<Operation> operation, Done done);
    runtime::Task<Result<>> prepare(std::shared_ptr<Operation> operation);
    runtime::Task<Result<Transaction>> transaction(std::shared_ptr<Operation> operation);
    runtime::Task<Result<>> check(config::HierarchyStep step, AskedBy asked);
    static void show(Operation& operation, const std::string& line);
    [[nodiscard]] static config::Reply reply(const Operation& operation, const Result<>& result);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    TransactionService& transactions_;
    HierarchySteps& steps_;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
