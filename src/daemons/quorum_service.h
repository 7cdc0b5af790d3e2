#pragma once
// Quorum in the node: the guard between the loss of a peer and a takeover, the loss action, its commands.
//
//   engine --gates--> quorum_gate, witness_gate (then the safety check's, registered after them)
//   engine <--quorum_lost-- lose(deadline) --quarantine--> the daemon ends this node and starts it later
//
// Threading: loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/layout.h"
#include "quorum/guard.h"
#include "recovery/engine.h"

#include <functional>
#include <memory>
#include <string>

namespace understudy::daemons {

/// How long this node is down after a loss of quorum. The process that gets it ends the node at once, and
/// starts one anew after that time. Spec: QUO-073 to QUO-077.
using Quarantine = std::function<void(runtime::Duration)>;

class QuorumService {
  public:
    using Done = std::function<void(config::Reply)>;
    using Progress = std::function<void(std::string)>;
    /// `storage`, `watchdog` and `counters` may be null.
    QuorumService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                  recovery::Engine& engine, const config::Layout& layout, quorum::Storage* storage,
                  quorum::Watchdog* watchdog, quorum::Counters* counters);
    ~QuorumService();
    QuorumService(const QuorumService&) = delete;
    QuorumService& operator=(const QuorumService&) = delete;

    /// Registers with the engine. Before the engine's start.
    void start();
    void on_quarantine(Quarantine handler);
    /// The engine has stopped: nothing resets this host any more, whatever runs was left running on purpose.
    void stopped();
    /// False when the command is none of quorum's.
    bool run(const config::Command& command, const Progress& progress, const Done& done);

    /// For `understudy status`: one line for a person, and the same as JSON text.
    [[nodiscard]] std::string summary();
    [[nodiscard]] std::string json();
    [[nodiscard]] quorum::Guard& guard();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Where qwk_storage_init keeps what it captured, and what lasts while a quarantine does.
std::string captured_path(const config::Layout& layout);
std::string quarantine_path(const config::Layout& layout);

}  // namespace understudy::daemons
