#pragma once
// `understudy config export` and `understudy config apply`: the whole cluster as one file. What has to be
// done is decided by config/definition.h; here the nodes are asked for their settings and the commands are
// run.
//
// An apply that fails on the way is undone: the difference between what is there then and what was there
// before is applied. Files are read, written and compared on a worker: a large one must not keep heartbeats
// waiting. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/database.h"
#include "config/definition.h"
#include "daemons/gathering.h"
#include "daemons/node.h"
#include "runtime/task.h"

#include <functional>

namespace understudy::daemons {

class DefinitionService {
  public:
    using Done = std::function<void(config::Reply)>;
    using Progress = std::function<void(std::string)>;
    using Run = std::function<void(const config::Command&, Done)>;

    /// `run` executes one command as a local caller's.
    DefinitionService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                      const NodeOptions& options, Run run);
    DefinitionService(const DefinitionService&) = delete;
    DefinitionService& operator=(const DefinitionService&) = delete;
    ~DefinitionService();

    void start();
    /// False when the command is none of these.
    bool run(const config::Command& command, const Progress& progress, const Done& done);

  private:
    /// What the members that are ALIVE have, copied for the worker.
    struct Picture {
        std::map<NodeName, config::NodeConfig> nodes;
        std::map<NodeName, config::NodeSettings> settings;
        std::string missing;  // for people; empty when every member has answered
        [[nodiscard]] config::Definition define() const;
        [[nodiscard]] Result<config::Difference> difference(const config::Definition& wanted,
                                                            const config::DifferenceOptions& how) const;
    };
    /// What an apply has to do, and what was there before.
    struct Plan {
        config::Difference difference;
        config::Definition before;
    };
    runtime::Task<Picture> look();
    runtime::Task<void> export_all(Done done);
    runtime::Task<void> apply(config::Command command, Progress progress, Done done);
    runtime::Task<Result<Plan>> plan(config::Command command);
    runtime::Task<config::Reply> carry_out(Plan plan, config::Command as, Progress progress);
    runtime::Task<Result<>> run_all(std::vector<config::DefinitionChange> changes, config::Command as,
                                    Progress progress);
    runtime::Task<std::string> undo(config::Definition before, config::Command as, Progress progress);
    /// Runs `work` on a worker. Error: too many jobs wait already.
    runtime::Task<Result<>> off_the_loop(std::function<void()> work);
    [[nodiscard]] std::string own_settings() const;
    Result<> set_own_settings(const std::vector<std::string>& pairs);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    const NodeOptions& options_;
    Run run_;
    bool applying_ = false;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
