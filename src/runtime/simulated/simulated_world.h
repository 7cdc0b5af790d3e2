#pragma once
// The simulated world: virtual time, one random stream, a network that delays, loses and cuts, processes that
// are functions, files that lose what was not synced. One seed is one run: the same seed gives the same
// trace, byte for byte.
//
//   Simulation sim(seed);
//   auto& a = sim.add_node("A", "10.0.0.1");
//   a.boot([&](World world) { return std::make_unique<MyDaemon>(world); });   // runs until crash
//   sim.run_for(30s);  sim.cut("A", "B");  a.power_off();  ...
//   sim.trace()  -> everything observable that happened, as text
//
// Faults a world can suffer: power_off (unsynced file writes are lost, processes die, channels break at the
// peer only after its timeouts), pause/resume (no callbacks run; time goes on), partitions (symmetric and
// one-way; frames are held and dropped, TCP-like: a cut connection does not close by itself until
// `kConnectionTimeout`), delay and loss of connections.

#include "runtime/world.h"

#include <any>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace understudy::runtime {

class SimulatedNode;

class Simulation {
  public:
    explicit Simulation(std::uint64_t seed);
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;
    ~Simulation();

    /// Adds a powered-off host with one or more addresses.
    SimulatedNode& add_node(const std::string& name, const std::vector<std::string>& addresses);
    SimulatedNode& node(const std::string& name);

    /// Runs events in order of time until virtual time has advanced by `duration`.
    void run_for(Duration duration);
    /// Runs until `condition` holds, checked after each event; false when `limit` passed first.
    bool run_until(const std::function<bool()>& condition, Duration limit);
    [[nodiscard]] TimePoint now() const;

    /// Called after every event; used for invariants.
    void after_each_event(std::function<void()> check);

    /// Cuts traffic from one address to another (one way). heal() mends it.
    void cut_one_way(const std::string& from_address, const std::string& to_address);
    void heal_one_way(const std::string& from_address, const std::string& to_address);
    /// Both ways between all addresses of two nodes.
    void partition(const std::string& node_a, const std::string& node_b);
    void heal(const std::string& node_a, const std::string& node_b);
    void heal_all();
    /// One-way delay of a frame: uniform between these. Default 0.1 to 1 ms.
    void set_delay(Duration least, Duration most);
    /// Probability that a frame breaks its connection (both ends see it closed).
    void set_connection_loss(double probability);

    [[nodiscard]] std::uint64_t random();  // the run's one stream
    /// Appends a line "<time> <who> <what>" to the trace.
    void note(std::string_view who, std::string_view what);
    [[nodiscard]] const std::string& trace() const;

  private:
    friend class SimulatedNode;
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// A kit action or tool in the simulated world: the exit code and how long it takes. It runs at its end.
struct SimulatedOutcome {
    int exit_code = 0;
    Duration takes = std::chrono::milliseconds(5);
    std::string output;
};

class SimulatedNode {
  public:
    /// Boots the host: `program` is made with the node's world and destroyed at power-off or shutdown. One at
    /// a time.
    using Program = std::function<std::any(World)>;
    void boot(Program program);
    /// The power plug is pulled: the program, its timers, processes, channels and unsynced writes are gone.
    void power_off();
    /// Stops the program only (kill -9 of the daemon): files keep their unsynced writes, processes go on.
    void kill_program();
    [[nodiscard]] bool running() const;

    /// No callback of this node runs until resume(); time goes on elsewhere (SIGSTOP, VM freeze).
    void pause();
    void resume();

    /// What a process does: called when it would end; decides by path and arguments.
    using ProcessModel = std::function<SimulatedOutcome(const ProcessSpec&)>;
    void set_process_model(ProcessModel model);
    /// Marks an executable as existing, for Files::executable.
    void install_executable(const std::string& path);

    [[nodiscard]] const std::string& name() const;
    /// The node's files outlive power-offs (their synced content).
    [[nodiscard]] Files& files();

  private:
    friend class Simulation;
    struct Impl;
    explicit SimulatedNode(std::unique_ptr<Impl> impl);

  public:
    ~SimulatedNode();

  private:
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::runtime
