#pragma once
// Keeps the cached copies of configuration equal on all nodes: an owner pushes every change to its living
// peers; a peer that missed one, or that comes up, pulls the owner's whole copy. Spec: CLU-092, CLU-095.

#include "comm/cluster.h"
#include "config/database.h"

#include <set>

namespace understudy::daemons {

class ConfigReplication {
  public:
    ConfigReplication(runtime::World world, config::Database& database, comm::Cluster& cluster);
    ConfigReplication(const ConfigReplication&) = delete;
    ConfigReplication& operator=(const ConfigReplication&) = delete;
    ~ConfigReplication();

    void start();

  private:
    void push(const config::Change& change);
    void compare(const NodeName& peer);
    void compare_all();
    void pull(const NodeName& peer);
    void check_equivalencies(const NodeName& peer);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    std::set<NodeName> pulling_;
    std::map<NodeName, std::string> reported_;  // divergence already reported, by peer
    std::optional<runtime::TimerId> timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::daemons
