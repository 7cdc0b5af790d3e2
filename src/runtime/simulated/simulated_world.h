#pragma once
// The simulated world: virtual time, one random stream, a network that delays, loses and cuts, processes that
// are functions, files that lose what was not synced. One seed is one run: the same seed gives the same
// trace, byte for byte.
//
//   Simulation sim(seed);
//   auto& a = sim.add_node("A", {"10.0.0.1"});
//   a.boot([&](World world) { return std::make_unique<MyDaemon>(world); });   // runs until crash
//   sim.run_for(30s);  sim.partition("A", "B");  a.power_off();  ...
//   sim.trace()  -> everything observable that happened, as text
//
// Faults a world can suffer: power_off (unsynced file changes are lost, processes die, channels break at the
// peer only after its timeouts), kill_program (the operating system closes what the program had open),
// pause/resume (no callbacks run; time goes on), partitions (symmetric and one-way; frames are held,
// TCP-like: a cut connection does not close by itself until `kConnectionTimeout`), delay and loss of
// connections, clocks that drift and jump, a power cut in the middle of a file write.
//
// Threading: none. Everything runs on the thread that calls run_for() or run_until().

#include "runtime/world.h"

#include <any>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace understudy::runtime {

/// An end of a connection whose peer cannot be reached gives up after this long (plus up to a fifth, drawn
/// for each end by itself).
inline constexpr Duration kConnectionTimeout = std::chrono::seconds(15);
/// The trace keeps its newest part; beyond this many bytes the older half is dropped.
inline constexpr std::size_t kMaxTraceBytes = 256UL << 20;
/// More events than this at one instant are a program that posts to itself forever: the run aborts.
inline constexpr std::size_t kMaxEventsAtOneInstant = 1'000'000;

class SimulatedNode;

/// How much of a run is written to the trace. Frames and process starts are the bulk of it.
enum class TraceDetail {
    none,
    notes,  // note(), power, kills, pauses, cuts
    full,   // also connections, frames, processes, files
};

class Simulation {
  public:
    explicit Simulation(std::uint64_t seed);
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;
    ~Simulation();

    /// Adds a powered-off host with one or more addresses.
    SimulatedNode& add_node(const std::string& name, const std::vector<std::string>& addresses);
    /// The node must exist.
    SimulatedNode& node(const std::string& name);

    /// Runs events in order of time, then of scheduling, until virtual time has advanced by `duration`.
    void run_for(Duration duration);
    /// Runs until `condition` holds, checked before the first and after each event; false when `limit` of
    /// virtual time passed first.
    bool run_until(const std::function<bool()>& condition, Duration limit);
    /// True time of the run, from zero. Nodes have clocks of their own.
    [[nodiscard]] TimePoint now() const;
    /// Events run so far, for measurements.
    [[nodiscard]] std::uint64_t events_run() const;

    /// Called after every event; used for invariants.
    void after_each_event(std::function<void()> check);
    /// Schedules something outside all nodes (a fault, a client).
    void at(TimePoint when, std::function<void()> function);
    void after(Duration delay, std::function<void()> function) { at(now() + delay, std::move(function)); }

    /// Cuts traffic from one address to another (one way). heal mends it. A connection whose packets flow one
    /// way only still breaks at both ends: the acknowledgements are missing.
    void cut_one_way(const std::string& from_address, const std::string& to_address);
    void heal_one_way(const std::string& from_address, const std::string& to_address);
    /// Both ways between all addresses of two nodes.
    void partition(const std::string& node_a, const std::string& node_b);
    void heal(const std::string& node_a, const std::string& node_b);
    void heal_all();
    /// Whether any cut is in force between addresses of the two nodes, either way.
    [[nodiscard]] bool is_cut(const std::string& node_a, const std::string& node_b) const;
    /// Whether traffic from one address to the other is cut.
    [[nodiscard]] bool is_cut_one_way(const std::string& from_address, const std::string& to_address) const;
    /// One-way delay of a frame: uniform between these. Default 0.1 to 1 ms.
    void set_delay(Duration least, Duration most);
    /// Probability that a frame breaks its connection (both ends see it closed). Default 0.
    void set_connection_loss(double probability);
    /// How many connections between the two nodes were lost that way between these moments (of the last 256
    /// of all nodes).
    [[nodiscard]] int connections_lost(const std::string& node_a, const std::string& node_b, TimePoint from,
                                       TimePoint to) const;
    /// Breaks every connection between the two nodes now; both ends see it closed, each at its own time.
    void break_connections(const std::string& node_a, const std::string& node_b);

    [[nodiscard]] std::uint64_t random();  // the run's one stream
    /// Uniform in [0, bound), bound > 0.
    [[nodiscard]] std::uint64_t random_below(std::uint64_t bound);
    /// Uniform between both ends, inclusive.
    [[nodiscard]] Duration random_duration(Duration least, Duration most);
    [[nodiscard]] bool chance(double probability);

    /// Appends a line "<seconds> <who> <what>" to the trace.
    void note(std::string_view who, std::string_view what);
    void set_trace_detail(TraceDetail detail);
    [[nodiscard]] const std::string& trace() const;

    struct Impl;

  private:
    friend class SimulatedNode;
    std::unique_ptr<Impl> impl_;
};

/// A kit action or tool in the simulated world: decided at its start, takes effect at its end.
struct SimulatedOutcome {
    int exit_code = 0;
    Duration takes = std::chrono::milliseconds(5);
    std::string output;
    /// Runs when the process ends by itself; its return value is the exit code. Replaces exit_code when set.
    std::function<int()> effect = {};
    /// Runs instead of `effect` when it is killed (limit, kill, not at power-off): what half of it did.
    std::function<void()> on_kill = {};
};

/// What a node's program factory returns: the running program, owned. Made from a unique_ptr, a shared_ptr, a
/// std::any or any movable object.
class RunningProgram {
  public:
    RunningProgram() = default;
    template <class T>  // implicit, so that factories simply return their program
    requires(!std::is_same_v<std::remove_cvref_t<T>, RunningProgram>)
        RunningProgram(T&& program) {  // NOLINT(bugprone-forwarding-reference-overload): see `requires`
        if constexpr (std::is_convertible_v<T&&, std::shared_ptr<void>>)
            program_ = std::forward<T>(program);
        else
            program_ = std::make_shared<std::remove_cvref_t<T>>(std::forward<T>(program));
    }
    void reset() { program_.reset(); }

  private:
    std::shared_ptr<void> program_;
};

/// What a pause stops.
enum class Pause {
    program,  // SIGSTOP of the daemon: its processes and the kernel's TCP go on
    host,     // VM freeze: processes stand still too and peers get no acknowledgements
};

class SimulatedNode {
  public:
    SimulatedNode(const SimulatedNode&) = delete;
    SimulatedNode& operator=(const SimulatedNode&) = delete;
    ~SimulatedNode();

    /// Boots the host if it is off, then starts `program` with the node's world; it is destroyed at power-off
    /// or kill_program. One at a time: none may be running. Processes that a killed program has left behind
    /// are killed first.
    using Program = std::function<RunningProgram(World)>;
    void boot(Program program);
    /// The power plug is pulled: the program, its timers, processes, channels and unsynced changes are gone.
    /// Called from a callback of this node's own program it takes effect when that callback returns; until
    /// then everything the program does is without effect. Harmless when already off.
    void power_off();
    /// Stops the program only (kill -9 of the daemon, or its own exit): files keep their unsynced changes,
    /// processes go on until the next boot(), the peers of its channels see them closed.
    void kill_program();
    /// Calls into the running program from outside, as its socket's callback would: what kills the program
    /// meanwhile takes effect when `function` has returned. Nothing happens when no program runs.
    void call(const std::function<void()>& function);
    /// Whether a program runs (it may be paused).
    [[nodiscard]] bool running() const;
    /// Whether the host has power.
    [[nodiscard]] bool powered() const;
    /// Counts power-ons; what a model keeps per boot can be compared with it.
    [[nodiscard]] std::uint64_t boots() const;

    /// No callback of this node runs until resume(); time goes on, on its own clock too. Callbacks that fell
    /// due meanwhile run at resume in their order.
    void pause(Pause what = Pause::program);
    void resume();
    [[nodiscard]] bool paused() const;

    /// Moves the wall clock; the monotonic one never jumps.
    void jump_wall_clock(std::chrono::microseconds by);
    /// The node's clocks run faster by this many millionths (negative: slower), from now on.
    void set_clock_drift(int parts_per_million);

    /// What a process does: called when it starts, with its path and arguments.
    using ProcessModel = std::function<SimulatedOutcome(const ProcessSpec&)>;
    void set_process_model(ProcessModel model);
    /// Marks an executable as existing, for Files::executable.
    void install_executable(const std::string& path);
    /// Starts a process that is none of the program's, such as an administrator's shell; its pid. It lives so
    /// long, whatever becomes of the program, unless the power goes.
    int start_foreign_process(Duration lives);
    /// Processes that are running, the program not counted.
    [[nodiscard]] std::size_t processes() const;

    /// The cluster whose certificates the node holds. Nodes of different clusters refuse each other; an empty
    /// fingerprint is a node without credentials. Default "simulated-ca".
    void set_ca_fingerprint(std::string fingerprint);

    [[nodiscard]] const std::string& name() const;
    [[nodiscard]] const std::vector<std::string>& addresses() const;
    /// The node's files outlive power-offs (their synced content). Used from outside the program: writes
    /// create missing directories, and no fault hits them.
    [[nodiscard]] Files& files();
    /// The next write_atomic of the program is hit by a power-off: afterwards the file has its old or its new
    /// content, whole.
    void power_off_in_next_write();
    /// While set, the program's writes fail as on a full disk; those below /run only with the other.
    void set_disk_full(bool full);
    void set_run_full(bool full);

    struct Impl;

  private:
    friend class Simulation;
    explicit SimulatedNode(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace understudy::runtime
