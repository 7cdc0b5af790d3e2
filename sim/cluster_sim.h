#pragma once
// A cluster of real nodes (daemons::Node with everything in it) in one simulation: hosts, paths, hierarchies,
// kits.
//
//   Simulation sim(seed);
//   SimulatedCluster cluster(sim, {.nodes = 2});
//   cluster.power_on_all();
//   cluster.wait_in_service(30s);
//   cluster.host("alpha").power_off();  ...
//
// Hierarchy number i is the application "app<i>" on the address "ip<i>", with three resources on the volume
// "vol<i>" too, with four the database "db<i>" is between them; its best node is number i modulo the number
// of nodes. Every pair of nodes has its paths on networks of their own.

#include "comm/disk_format.h"
#include "daemons/node.h"
#include "runtime/simulated/reserved_file.h"
#include "runtime/simulated/shared_disk.h"
#include "runtime/simulated/simulated_world.h"
#include "sim/kit_model.h"
#include "sim/quorum_model.h"
#include "sim/simulated_store.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::sim {

struct ClusterOptions {
    int nodes = 2;  // 2 to 8
    int hierarchies = 2;
    int resources = 2;       // of each hierarchy; 2 to 4
    int paths = 2;           // between each pair
    bool disk_path = false;  // a DISK path beside them; two nodes only
    std::chrono::milliseconds interval{1000};
    int misses = 3;
    config::Switchback switchback = config::Switchback::intelligent;
    bool shutdown_switchover = false;        // the shutdown strategy of every node
    std::chrono::seconds check_interval{0};  // of every resource; 0: nothing is checked
    bool local_recovery = true;
    bool log = false;  // the nodes' own log goes to standard error
    /// Lines of etc/default/LifeKeeper on every node. With QUORUM_MODE=storage the storage is initialised.
    std::string settings = {};
    quorum::Mode quorum = quorum::Mode::none;  // what those lines say
    std::chrono::seconds boot_takes{5};        // after a reset by the watchdog
    std::size_t reserved_tail =
        256 * 1024;        // bytes that commits have in the run directory (config/tail_store.h)
    bool watchdog = true;  // false: nothing resets a host
};

/// Their names, best first.
std::vector<NodeName> node_names(int nodes);

/// Settings for a kind of quorum: majority with remote_verify, or storage with storage.
std::string quorum_settings(quorum::Mode mode, const std::string& more = {});

struct Hierarchy {
    Tag root;
    Tag child;                 // at the bottom
    std::vector<Tag> members;  // all, children first
};

class SimulatedCluster {
  public:
    SimulatedCluster(runtime::Simulation& simulation, ClusterOptions options);
    SimulatedCluster(const SimulatedCluster&) = delete;
    SimulatedCluster& operator=(const SimulatedCluster&) = delete;
    ~SimulatedCluster();

    [[nodiscard]] runtime::Simulation& simulation() { return simulation_; }
    [[nodiscard]] const ClusterOptions& options() const { return options_; }
    [[nodiscard]] KitModel& kits() { return kits_; }
    [[nodiscard]] const std::vector<NodeName>& nodes() const { return names_; }
    [[nodiscard]] const std::vector<Hierarchy>& hierarchies() const { return hierarchies_; }
    [[nodiscard]] runtime::SimulatedNode& host(const NodeName& name);
    [[nodiscard]] StoreDisk& disk(const NodeName& name);
    /// Whether the host's disk is full, for its database and for its other files; `run_too`: those of the run
    /// directory as well, but for what has its room there.
    void fill_disk(const NodeName& name, bool full, bool run_too = false);
    /// Whether a daemon that is killed now would have lost commits.
    [[nodiscard]] bool forgets_when_killed(const NodeName& name);
    [[nodiscard]] SharedStorage& storage() { return storage_; }
    /// The device of the DISK path.
    [[nodiscard]] runtime::SimulatedDisk& shared_disk() { return shared_disk_; }
    [[nodiscard]] HostWatchdog& watchdog(const NodeName& name) { return *members_.at(name).watchdog; }
    /// How often a node has begun a quarantine.
    [[nodiscard]] int quarantines(const NodeName& name) const { return members_.at(name).quarantines; }
    /// Replaces the settings of a node; they are read at use.
    void configure_settings(const NodeName& name, const std::string& text);
    /// Whether quorum promises that nothing runs twice, whatever happens.
    [[nodiscard]] bool fenced() const { return options_.quorum != quorum::Mode::none; }

    /// The release that the node's next daemon is of; every one speaks version 1 at least.
    void set_release(const NodeName& name, const comm::Protocol& protocol) {
        members_.at(name).protocol = protocol;
    }

    /// Boots the host when it is off and starts its daemon when it does not run.
    void power_on(const NodeName& name);
    void power_on_all();
    /// The plug is pulled and stays out.
    void keep_off(const NodeName& name);
    /// Every host is up and its daemon runs.
    void resume_all();

    /// The node's daemon, null when it does not run.
    [[nodiscard]] daemons::Node* daemon(const NodeName& name);
    /// Runs a command on a node and waits; nullopt when it was not answered within `limit` (a dead node
    /// does not answer).
    std::optional<config::Reply> run(const NodeName& name, const config::Command& command,
                                     runtime::Duration limit = std::chrono::minutes(2));
    /// Starts a command and does not wait.
    void start(const NodeName& name, const config::Command& command);
    static config::Command switchover(const Tag& tag, const NodeName& to);
    /// Enables or disables failover from a node to another one, as a person does on `from`.
    static config::Command system_failover(const NodeName& from, const NodeName& to, bool on);
    /// Every running node forgets that failover from or to it was disabled.
    void enable_failover();
    static config::Command perform_action(const Tag& tag, const std::string& action);

    /// The state that the node's own database records; nullopt when its daemon does not run.
    [[nodiscard]] std::optional<config::State> state(const NodeName& name, const Tag& tag);
    /// Whether this hierarchy runs, whole, on exactly one host, and the databases of all running nodes say
    /// so.
    [[nodiscard]] bool in_service(const Hierarchy& hierarchy);
    [[nodiscard]] bool all_in_service();
    bool wait_in_service(runtime::Duration limit);
    /// The time after which a silent peer is taken for dead.
    [[nodiscard]] int misses() const { return options_.misses; }
    [[nodiscard]] runtime::Duration detection() const { return options_.interval * options_.misses; }

    /// Whether every network between the two is cut, one way or both, and no disk joins them.
    [[nodiscard]] bool separated(const NodeName& a, const NodeName& b);

    using PeerObserver = std::function<void(const NodeName& at, const comm::PeerEvent& event)>;
    void on_peer_event(PeerObserver observer) { peer_observer_ = std::move(observer); }
    using DaemonObserver = std::function<void(const NodeName& at)>;
    void on_daemon_start(DaemonObserver observer) { daemon_observer_ = std::move(observer); }

  private:
    struct Daemon;
    struct Member {
        runtime::SimulatedNode* host = nullptr;
        StoreDisk disk;
        runtime::SimulatedReservedFile::Content tail;  // of its run directory
        Daemon* daemon = nullptr;                      // owned by the host while its program runs
        std::uint64_t boot = 0;                        // in which the daemon ran last
        std::unique_ptr<HostWatchdog> watchdog;
        int quarantines = 0;
        bool kept_off = false;
        comm::Protocol protocol;
    };
    void configure(std::size_t index);
    void add_paths(std::size_t index, config::NodeConfig& config) const;
    void reset(const NodeName& name);
    void quarantine(const NodeName& name, runtime::Duration time);
    void capture_storage(const NodeName& name);
    void note_change(const NodeName& name, const config::Change& change);

    runtime::Simulation& simulation_;
    ClusterOptions options_;
    KitModel kits_;
    SharedStorage storage_{simulation_};
    runtime::SimulatedDisk shared_disk_{simulation_, comm::disk::kProbeBytes};
    std::vector<NodeName> names_;
    std::map<NodeName, Member> members_;
    std::vector<Hierarchy> hierarchies_;
    PeerObserver peer_observer_;
    DaemonObserver daemon_observer_;
};

}  // namespace understudy::sim
