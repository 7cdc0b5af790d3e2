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
#include "config/settings.h"
#include "recovery/gate.h"
#include "recovery/global_scripts.h"
#include "recovery/peers.h"
#include "recovery/plan.h"

#include <functional>
#include <memory>
#include <string>

namespace understudy::recovery {

/// Why the engine stops, and what becomes of what is in service. Spec: CMD-050 to CMD-054, CLU-202.
enum class StopMode {
    take_down,      // lkstop: out of service, started nowhere
    leave_running,  // lkstop -f
    shutdown,       // the host shuts down: take_down, or to the backups with the flag shutdown_switchover
};

class Engine {
  public:
    struct Options {
        std::string lkroot;  // kits: <lkroot>/subsys/<app>/resources/<type>/actions
        std::map<std::string, std::string>
            settings;  // etc/default/LifeKeeper, goes into every script's environment
        /// The same as they are at this moment, for keys that take effect at once; empty: as at start. The
        /// reference holds until the next call.
        std::function<const config::Settings&()> settings_now;
        std::string log_directory = "/var/log/understudy";
        std::map<std::string, std::string> environment;  // further variables for scripts (UNDERSTUDY_ROOT)
        runtime::Duration init_peer_wait{};  // INIT_PEER_WAIT; 0: the longest interval x misses (CLU-127)
        /// The host booted since the daemon last ran (boot id changed): nothing can be running. Otherwise
        /// what was in service kept running, and start() affirms it.
        bool host_rebooted = true;
        int pid = 0;  // of the daemon, shown with its reservations
    };
    Engine(runtime::World world, config::Database& database, comm::Cluster& cluster, Options options);
    /// For tests: peers that are not comm::Cluster.
    Engine(runtime::World world, config::Database& database, std::unique_ptr<Peers> peers, Options options);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    ~Engine();

    /// A check between the loss of a peer and a takeover; asked in the order of registration. `gate` outlives
    /// the engine. Before start(). Spec: CLU-183 to CLU-185.
    void add_gate(TakeoverGate& gate);
    /// What may be started here and who is dead, beside the gates. Outlives the engine. Before start().
    void set_start_guard(StartGuard& guard);
    /// Whether anything is in service here, being started, or may still run after a failed action.
    [[nodiscard]] bool holds_resources() const;
    /// The loss of quorum: what is being started is stopped, everything is taken out of service, a failing
    /// remove is tried twice, peers are not told. Nothing starts here any more. Spec: QUO-073, QUO-078.
    void quorum_lost(const std::string& why, std::function<void()> done);
    /// Starts what is in service nowhere and belongs here, as after COMM_UP. Spec: QUO-069, QUO-072.
    void quorum_returned();
    /// Judges the loss of a peer again that led to no takeover. Spec: QUO-049, QUO-072.
    void lost_again(const NodeName& peer);
    /// Engine start. Call it before the communication tells peers anything about this node.
    /// After a reboot or an orderly stop every own instance becomes ILLSTATE; otherwise (the daemon crashed,
    /// or lkstop -f) what was in service stays so and its restore scripts, which tolerate a running
    /// application, affirm it, and what was out of service stays out. Then LCM_AVAIL and initialisation once
    /// peers had their time. Spec: CLU-119, CLU-124 to CLU-129, CMD-053.
    void start();
    /// Whether initialisation has ended (lkstart waits for it).
    [[nodiscard]] bool ready() const;
    /// What is known of the cluster now; previews are planned from it.
    [[nodiscard]] ClusterView view() const;

    /// The command perform_action. Spec: CMD-109 to CMD-124.
    void perform_action(const config::Command& command, std::function<void(config::Reply)> done);
    /// The lock that global postrestore scripts run under; none until it is set. Before start().
    void set_admin_lock(GlobalScripts::AdminLock lock);
    /// The command lcdrecover with -g or -G: global pre and post scripts. Spec: CMD-034 to CMD-036.
    void lcdrecover(const config::Command& command, std::function<void(config::Reply)> done);
    /// The command sendevent. Spec: CMD-125 to CMD-133.
    void sendevent(const config::Command& command, std::function<void(config::Reply)> done);
    /// Brings TAG's whole hierarchy in service on NODE, from wherever it runs. Spec: CLU-144.
    void switchover(const Tag& tag, const NodeName& to, std::function<void(config::Reply)> done);
    /// lkstop: flags the peers, then does to what is in service what `mode` says. Spec: CMD-050 to CMD-054.
    /// `progress` gets the lines that lkstop prints.
    void stop(StopMode mode, std::function<void(std::string)> progress, std::function<void(Result<>)> done);
    /// Script path of an action for a type, empty when there is none. Spec: CLU-134, CMD-021.
    [[nodiscard]] std::string action_path(const AppName& app, const TypeName& type,
                                          const std::string& action) const;

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // handlers given to Peers hold it weakly
};

}  // namespace understudy::recovery
