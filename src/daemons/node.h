#pragma once
// One cluster node, composed: configuration database, communication, recovery engine, command router. The
// daemon runs it in the posix world, the simulator in simulated ones.
//
//   commands (unix socket) --> Node::run --> config/lcdi, recovery::Engine, status, membership
//                                 |  -d other node: comm call "command" --> that node's Node::run
//   database changes --> ConfigReplication --> peers' cached copies
//
// Threading: loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/layout.h"
#include "config/settings.h"
#include "quorum/counters.h"
#include "quorum/storage.h"
#include "recovery/engine.h"
#include "runtime/shared_disk.h"

#include <functional>
#include <memory>

namespace understudy::daemons {

struct NodeOptions {
    NodeName self;
    config::Layout layout;
    config::Settings settings;
    bool host_rebooted = true;  // false when only the daemon was restarted and applications may still run
    int pid = 0;                // of the daemon, shown with its reservations
    // Both outlive the node; null: no storage quorum, nothing resets this host.
    quorum::Storage* quorum_storage = nullptr;
    quorum::Watchdog* watchdog = nullptr;
    quorum::Counters* quorum_counters = nullptr;   // outlive the node; null: they begin with it
    runtime::SharedDisks* shared_disks = nullptr;  // null: no DISK paths
    comm::Protocol protocol = {};                  // another one than this release's: for tests
};

class Node {
  public:
    using Done = std::function<void(config::Reply)>;
    using Progress = std::function<void(std::string)>;

    static Result<std::unique_ptr<Node>> open(runtime::World world, config::Store& store,
                                              NodeOptions options);
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    ~Node();

    /// Opens the paths of the database, serves peers, starts the engine.
    void start();
    /// Runs a command as an authorised local caller would; answers exactly once. `progress` gets lines
    /// meanwhile.
    void run(const config::Command& command, Progress progress, Done done);
    void run(const config::Command& command, Done done) { run(command, {}, std::move(done)); }
    /// Called once when lkstop has finished: the process should end.
    void on_stopped(std::function<void()> handler);

    /// Called once when quorum was lost and everything is out of service: this node must end, and may start
    /// anew after that time. Spec: QUO-073.
    void on_quarantine(std::function<void(runtime::Duration)> handler);

    [[nodiscard]] config::Database& database();
    [[nodiscard]] comm::Cluster& cluster();
    [[nodiscard]] recovery::Engine& engine();

  private:
    struct Impl;
    explicit Node(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

/// What a command asks of its caller. Spec: CMD-002.
enum class Role { guest, operate, administer };
Role role_needed(const config::Command& command);

}  // namespace understudy::daemons
