#pragma once
// Runs plans (manual: LRACI) and reacts to node events. One per daemon.
//
//   perform_action, switchover, COMM_DOWN ... -> plan() -> executor: this node's steps run here, a peer's
//   steps are remote calls ("recovery.step") that the peer's engine runs on its own resources.
//
// States, reasons and reservations are written only by the node that owns them. Threading: loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "recovery/plan.h"

#include <functional>
#include <memory>
#include <string>

namespace understudy::recovery {

class Engine {
  public:
    struct Options {
        std::string lkroot;  // kits: <lkroot>/subsys/<app>/resources/<type>/actions
        std::map<std::string, std::string>
            settings;  // etc/default/LifeKeeper, goes into every script's environment
        std::map<std::string, std::string> environment;  // further variables for scripts (UNDERSTUDY_ROOT)
        runtime::Duration init_peer_wait{};  // INIT_PEER_WAIT; 0: the longest interval x misses (CLU-127)
    };
    Engine(runtime::World world, config::Database& database, comm::Cluster& cluster, Options options);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    ~Engine();

    /// Engine start: every own instance ILLSTATE, then LCM_AVAIL and initialisation once peers had their time
    /// (Spec: CLU-119, CLU-124 to CLU-129). Also subscribes to peer events.
    void start();
    /// Whether initialisation has ended (lkstart waits for it).
    [[nodiscard]] bool ready() const;

    /// The command perform_action. Spec: CMD-109 to CMD-124.
    void perform_action(const config::Command& command, std::function<void(config::Reply)> done);
    /// Brings TAG's whole hierarchy in service on NODE, from wherever it runs. Spec: CLU-144.
    void switchover(const Tag& tag, const NodeName& to, std::function<void(config::Reply)> done);
    /// lkstop: flags the peers, takes everything out of service unless `leave_running`. Spec: CMD-050 to
    /// CMD-053. `progress` gets the lines that lkstop prints.
    void stop(bool leave_running, std::function<void(std::string)> progress,
              std::function<void(Result<>)> done);
    /// Script path of an action for a type, empty when there is none. Spec: CLU-134, CMD-021.
    [[nodiscard]] std::string action_path(const AppName& app, const TypeName& type,
                                          const std::string& action) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::recovery
