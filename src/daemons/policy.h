#pragma once
// `understudy policy`: what happens by itself to what runs on a node, when the node shuts down and when it or
// a resource of it fails. Threading: loop thread only. Spec: CLU-202, CLU-204, CLU-207 to CLU-212.
//
// All of it is flags. The shutdown strategy is the node's own. Whether failover from a node to another one is
// disabled must be known to both, since a dead node can tell nobody: the other one is told first, and only
// when it has it on disk does the setting change here.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "runtime/task.h"

#include <functional>

namespace understudy::daemons {

class PolicyService {
  public:
    using Done = std::function<void(config::Reply)>;
    PolicyService(runtime::World world, config::Database& database, comm::Cluster& cluster);
    PolicyService(const PolicyService&) = delete;
    PolicyService& operator=(const PolicyService&) = delete;
    ~PolicyService();
    void start();
    /// False when the command is not one of these.
    bool run(const config::Command& command, const Done& done);

  private:
    [[nodiscard]] config::Reply show(bool as_json) const;
    void set(const config::Command& command, const Done& done);
    runtime::Task<> set_here(config::Command command, Done done);
    runtime::Task<Result<std::string>> change(config::Command command);
    runtime::Task<Result<>> put_flags(std::vector<std::pair<FlagName, bool>> flags);
    runtime::Task<> serve_flags(NodeName caller, config::Command command, comm::Cluster::Answer answer);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    runtime::TaskScope scope_;
};

}  // namespace understudy::daemons
