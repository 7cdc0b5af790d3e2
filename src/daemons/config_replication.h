#pragma once
// Keeps the cached copies of configuration equal on all nodes: an owner pushes every change to its living
// peers; a peer that missed one, or that comes up, pulls the owner's whole copy. Copies are compared by
// generation and digest, so that a node whose file was exchanged for an older one is noticed too. What the
// copies say about equivalencies is compared with our own records, and differences are reported, never
// merged. Spec: CLU-092, CLU-095, CLU-096.

#include "comm/cluster.h"
#include "config/database.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::daemons {

class ConfigReplication {
  public:
    ConfigReplication(runtime::World world, config::Database& database, comm::Cluster& cluster);
    ConfigReplication(const ConfigReplication&) = delete;
    ConfigReplication& operator=(const ConfigReplication&) = delete;
    ~ConfigReplication();

    void start();

    /// Runs `done` once: when everything committed so far is on this node's disk and in every living peer's
    /// copy. With the disk's error, or with the peers that have not confirmed in time (they will: replication
    /// goes on). Spec: CLU-089, CLU-092.
    void sync(std::function<void(Result<>, std::vector<NodeName> unconfirmed)> done);

  private:
    void push(const config::Change& change);
    void compare(const NodeName& peer);
    void compare_all();
    void pull(const NodeName& peer);
    void pulled(const NodeName& peer, const Result<std::string>& answer);
    void wait_for_copy(const NodeName& owner, std::uint64_t generation, comm::Cluster::Answer answer);
    void answer_waiters(const NodeName& owner);
    void check_equivalencies(const NodeName& peer);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    struct Pull {
        bool again = false;  // something came meanwhile that the answer may not have
    };
    std::map<NodeName, Pull> pulling_;
    struct Waiter {
        std::uint64_t generation = 0;
        comm::Cluster::Answer answer;
    };
    std::map<NodeName, std::vector<Waiter>>
        waiters_;  // peers that want to know when our copy of theirs is there
    std::map<NodeName, std::pair<std::uint64_t, std::uint64_t>>
        checked_;                               // our and their generation, by peer
    std::map<NodeName, std::string> reported_;  // divergence already reported, by peer
    std::optional<runtime::TimerId> timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::daemons
