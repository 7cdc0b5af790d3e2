#pragma once
// Commands about communication paths that concern both ends. Spec: CLU-057, CLU-061.
//
//   net_create          with what its interface should be otherwise (path_advice.h)
//   net_create --both   the other end first, by a call over a path that works; then this one. Both or none.
//   net_remove --last   the peer hears, while it still can, that the silence to come is no failure of this
//   node.
//
// Threading: loop thread only.

#include "comm/cluster.h"
#include "config/lcdi.h"
#include "daemons/firewall.h"
#include "daemons/node.h"

#include <functional>

namespace understudy::daemons {

class PathCommands {
  public:
    using Done = std::function<void(config::Reply)>;
    /// Runs a command on this node, as Node::run does.
    using Run = std::function<void(const config::Command&, const Done&)>;
    PathCommands(runtime::World world, config::Database& database, comm::Cluster& cluster,
                 std::function<config::LiveView()> live, FirewallFollower& firewall, Run run)
        : world_(world),
          database_(database),
          cluster_(cluster),
          live_(std::move(live)),
          firewall_(firewall),
          run_(std::move(run)) {}
    /// False when the command is another one.
    bool run(const config::Command& command, const Done& done);

  private:
    runtime::Task<> create(config::Command command, Done done);
    runtime::Task<> create_both(config::Command command, Done done);
    /// What `ip` says of this host's addresses; empty when it says nothing.
    runtime::Task<std::string> addresses();
    runtime::Task<> remove_last(config::Command command, NodeName peer, Done done);
    runtime::Task<Result<config::Reply>> run_on(NodeName node, config::Command command);
    runtime::Task<config::Reply> run_here(config::Command command);
    /// Whether the peer's copy shows that its end is there already.
    [[nodiscard]] bool has_end(const config::Path& ours) const;

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    std::function<config::LiveView()> live_;
    FirewallFollower& firewall_;
    Run run_;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::daemons
