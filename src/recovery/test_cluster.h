#pragma once
// A simulated cluster for the engine's tests: real database, communication and engine on every host; scripts
// are modelled, a reservoir of "what really runs where" is kept, and every script's start is traced in order.

#include "comm/cluster.h"
#include "config/database.h"
#include "recovery/engine.h"
#include "runtime/simulated/simulated_world.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace understudy::recovery::testing {

inline constexpr auto kRoot = "/usr/lib/understudy";

/// Keeps everything at once; outlives power-offs.
class MemoryStore final : public config::Store {
  public:
    config::NodeConfig own;
    std::map<NodeName, config::NodeConfig> replicas;
    std::vector<config::JournalEntry> journal;

    Result<Loaded> load(const NodeName& self) override;
    void write(const config::Change& change, std::function<void(Result<>)> durable) override;
    void write_replica(const NodeName& owner, const config::NodeConfig& config) override;
    void drop_replica(const NodeName& owner) override;
    void append(const config::JournalEntry& entry) override;
    void read_journal(std::size_t limit,
                      std::function<void(std::vector<config::JournalEntry>)> done) override;
};

class TestCluster;

/// The daemon: what understudyd composes, as far as recovery needs it. Configurations are sent whole.
struct Daemon {
    Daemon(runtime::World world_of_host, MemoryStore& store, const NodeName& self, bool host_rebooted,
           std::map<std::string, std::string> settings, StartGuard* guard);
    runtime::World world;
    runtime::Tasks& tasks;
    std::unique_ptr<config::Database> database;
    std::unique_ptr<comm::Cluster> cluster;
    std::unique_ptr<Engine> engine;
};

struct Host {
    NodeName name;
    std::string address;
    MemoryStore store;
    runtime::SimulatedNode* node = nullptr;
    std::shared_ptr<Daemon> daemon;
    std::map<std::string, std::string> settings;
    StartGuard* guard = nullptr;                    // of the next boot; outlives the host
    std::set<std::string> running;                  // tags whose application runs
    std::set<std::string> failing;                  // "restore pg.0": this script exits 1
    std::set<std::string> broken;                   // "quickchk pg.0": exits 1 until a restore or recover
    std::map<std::string, runtime::Duration> slow;  // "remove pg.0": how long it takes
    std::vector<runtime::ProcessSpec> started;
};

class TestCluster {
  public:
    /// Hosts with priorities 1, 10, 20 in this order, connected pairwise, powered off.
    TestCluster(std::uint64_t seed, const std::vector<std::string>& names);
    /// "web.0: ip.0 Vol.E", on all hosts. Before boot.
    void resource(const std::string& parent, const std::vector<std::string>& children);
    void init(const std::string& tag, config::Init method);
    /// The whole hierarchy of `root` says AUTOMATIC on this host. Before its boot.
    void automatic(const std::string& on, const std::string& root);
    /// Check intervals on a host, whether it is up or not; resources have none by default.
    void check_every(const std::string& node, const std::string& tag, std::chrono::seconds quick,
                     std::chrono::seconds deep = std::chrono::seconds(0));
    /// The same for any part of an instance.
    void change(const std::string& node, const std::string& tag,
                const std::function<void(config::Instance&)>& edit);
    void unflag(const std::string& node, const std::string& name);
    [[nodiscard]] bool has_flag(const std::string& node, const std::string& name);
    /// An action of gen/app, on all hosts.
    void install(const std::string& action);

    Host& host(const std::string& name) { return *hosts_.at(name); }
    runtime::Simulation& sim() { return sim_; }
    void boot(const std::string& name, bool host_rebooted = true);
    /// Boots all and waits until all are ready.
    void boot_all();
    void power_off(const std::string& name);
    void flag(const std::string& name, const FlagName& flag);
    /// Scripts that began since the last take_trace().
    [[nodiscard]] std::size_t scripts_begun() const { return trace_.size(); }
    void kill_daemon(const std::string& name);
    [[nodiscard]] bool wait(const std::function<bool()>& condition,
                            runtime::Duration limit = std::chrono::seconds(60));
    void run(runtime::Duration duration) { sim_.run_for(duration); }

    /// Runs a command on a host to its end.
    config::Reply perform(const std::string& on, const std::string& line);
    /// Starts one; the reply is set when it ends.
    std::shared_ptr<std::optional<config::Reply>> begin(const std::string& on, const std::string& line,
                                                        int pid = 0);
    /// lcdrecover with one option, such as "g", "restore".
    config::Reply lcdrecover(const std::string& on, const std::string& option, const std::string& action);
    config::Reply switchover(const std::string& on, const std::string& tag, const std::string& to);
    std::vector<std::string> stop(const std::string& name, bool leave_running);
    std::vector<std::string> stop(const std::string& name, StopMode mode);

    std::string state(const std::string& node, const std::string& tag);
    std::string reason(const std::string& node, const std::string& tag);
    /// States of all tags on a host, in creation order: "ISP ISP OSU".
    std::string states(const std::string& node);
    /// Scripts since the last call, in order of their start: "B: restore ip.0".
    std::string take_trace();
    std::vector<int> events(const std::string& node);
    /// Scripts of this action ("quickchk pg.0") that a host has started.
    std::size_t count(const std::string& node, const std::string& what);
    /// sendevent with options as they are typed.
    config::Reply sendevent(const std::string& on, const std::string& line);
    /// Tags that run on more than one host at this moment.
    std::set<std::string> twice() const;
    [[nodiscard]] bool was_ever_twice() const { return !ever_twice_.empty(); }

  private:
    runtime::SimulatedOutcome script(Host& host, const runtime::ProcessSpec& spec);
    runtime::Simulation sim_;
    std::vector<std::string> names_;
    std::vector<std::string> tags_;
    std::map<std::string, std::unique_ptr<Host>> hosts_;
    std::vector<std::string> trace_;
    std::set<std::string> ever_twice_;
};

}  // namespace understudy::recovery::testing
