#pragma once
// eqv_create and eqv_remove: a shared equivalency has a record on each of its two nodes. Spec: CMD-082,
// CMD-083, CMD-086.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/lcdi.h"

#include <functional>

namespace understudy::daemons {

class EquivalencyService {
  public:
    using Done = std::function<void(config::Reply)>;
    EquivalencyService(runtime::World world, config::Database& database, comm::Cluster& cluster);
    void start();
    /// False when the command is not one of these.
    bool run(const config::Command& command, const Done& done);
    /// Drops the other node's record of a pair that this node has given up.
    runtime::Task<Result<>> drop_on_peer(config::Equivalency ours);

  private:
    [[nodiscard]] Result<config::EquivalencyPair> involving_us(Result<config::EquivalencyPair> pair) const;
    void create(const config::Command& command, const Done& done);
    void remove(const config::Command& command, const Done& done);

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
};

}  // namespace understudy::daemons
