#pragma once
// The cluster's certificate authority on every member. A cluster that lost the only holder of ca.key could
// never let a node in again, so each member takes the key from the first peer that has it. It gains no power
// by that: a member may run any command as root on every other (lcdremexec). SHARE_CA_KEY=0 keeps the key
// where it is. Spec: DEP-216. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/database.h"
#include "daemons/node.h"

namespace understudy::daemons {

class Authority {
  public:
    Authority(runtime::World world, config::Database& database, comm::Cluster& cluster,
              const NodeOptions& options);
    Authority(const Authority&) = delete;
    Authority& operator=(const Authority&) = delete;
    ~Authority() { *alive_ = false; }
    /// Gives the key to members that ask, and asks each peer that comes up while this node has none.
    void start();
    /// Asks every living peer for the key, if this node lacks the one of the authority that it trusts.
    void ask_all();

  private:
    [[nodiscard]] bool wanted() const;
    [[nodiscard]] Result<std::string> give(const NodeName& caller) const;
    void ask(const NodeName& peer);
    Result<> keep(const std::string& key);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    const NodeOptions& options_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::daemons
