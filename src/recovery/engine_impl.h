#pragma once
// Inside the engine: one object, its subjects in several files.
//   engine.cpp             construction, the public face
//   engine_operations.cpp  views of the cluster; an operation = plan, reserve, plan again, execute, release
//   engine_nodes.cpp       start, initialisation, loss and return of peers
//   engine_commands.cpp    perform_action, switchover
//   engine_globals.cpp     global pre and post scripts around an operation
//   engine_stop.cpp        lkstop

#include "recovery/engine.h"
#include "recovery/executor.h"

#include <list>

namespace understudy::recovery {

inline constexpr runtime::Duration kPoll = std::chrono::milliseconds(50);
inline constexpr runtime::Duration kShortCall = std::chrono::seconds(5);
/// A peer that decides about taking over from us is asked again for this long.
inline constexpr runtime::Duration kBusyLimit = std::chrono::seconds(60);
inline constexpr int kMaxPlanAttempts = 4;
/// Hierarchies that one event works on at the same time.
inline constexpr std::size_t kMaxParallelHierarchies = 8;
/// Own marker of an orderly stop: at the next start everything is initialised anew.
inline constexpr std::string_view kStoppedFlag = "!stopped";

inline constexpr std::string_view kViewMethod = "recovery.view";
inline constexpr std::string_view kReserveMethod = "recovery.reserve";
inline constexpr std::string_view kReleaseMethod = "recovery.release";
inline constexpr std::string_view kSwitchoverMethod = "recovery.perform";
inline constexpr std::string_view kTakeoverMethod = "recovery.takeover";
inline constexpr std::string_view kStoppingMethod = "recovery.stopping";

/// Exported event numbers. Spec: CLU-082.
enum class Event {
    none = 0,
    start_complete = 100,
    shutdown_initiated = 101,
    shutdown_complete = 102,
    switchover_initiated = 110,
    switchover_recovered = 111,
    switchover_failed = 112,
    node_failure = 120,
    node_recovered = 121,
    node_recovery_failed = 122,
    recovery_initiated = 130,
    recovery_failed = 131,
    recovery_complete = 132,
};

/// The takeover of one hierarchy from a dead node, as long as it runs.
struct Takeover {
    NodeName dead;
    std::set<Tag> tags;
    std::string cancelled;   // why it must go no further; empty: it may
    bool give_back = false;  // cancelled because its owner still has it
};

struct Operation {
    std::string what;  // for the log
    Request request;
    std::vector<std::string> arguments = {};
    int pid = 0;
    bool reserve = true;
    std::optional<Plan> plan = {};  // made from what is known at this moment
    std::shared_ptr<Takeover> takeover = {};
    std::function<void()> reserved = {};  // once, when the reservations stand or nothing will be done
    /// Engine::Impl::absences when its plan was looked for; empty: it is now. A change ends the operation.
    std::optional<std::uint64_t> absences = {};
    bool comes_again = false;  // see Executor::Run
    std::string global = {};   // the global scripts around it: "restore", "remove"; empty: none (-G)
    std::shared_ptr<std::set<NodeName>> prepared = {};  // see Executor::Run
};

struct OperationResult {
    Plan plan;
    Outcome outcome;
    [[nodiscard]] std::vector<std::string> restored(const NodeName& self) const;
    [[nodiscard]] std::vector<std::string> not_restored(const NodeName& self) const;
};

struct Engine::Impl : std::enable_shared_from_this<Engine::Impl> {
    Impl(runtime::World w, config::Database& d, std::unique_ptr<Peers> p, Options o);
    void serve();  // needs shared_from_this

    // engine_operations.cpp
    [[nodiscard]] ClusterView view() const;
    runtime::Task<ClusterView> ask_everyone(NodeName except);
    runtime::Task<Result<config::NodeConfig>> ask(NodeName peer);
    runtime::Task<OperationResult> operate(Operation operation);
    /// operate() between the global scripts that the operation names. engine_globals.cpp
    runtime::Task<OperationResult> operate_with_globals(Operation operation);
    runtime::Task<std::vector<OperationResult>> operate_all(std::vector<Operation> operations);
    runtime::Task<> next_of(std::deque<Operation>& waiting, std::vector<OperationResult>& results,
                            std::size_t& open, runtime::OneShot<runtime::Done> all_ended);
    using Needed = std::map<NodeName, std::vector<Tag>>;
    runtime::Task<Result<bool>> reserve(std::string id, Needed needed, Operation operation);
    void release(const std::string& id, const Needed& needed);
    runtime::Task<> release_on(NodeName node, std::string id);
    runtime::Task<config::Reply> serve_reserve(NodeName caller, config::Command command);
    runtime::Task<config::Reply> serve_step(NodeName caller, config::Command command);
    /// How long this process stood still, when that is longer than its peers wait for a heartbeat: they may
    /// have taken over, and what is under way must not go on (a frozen machine, SIGSTOP).
    [[nodiscard]] std::optional<runtime::Duration> overslept() const;
    runtime::Task<> keep_awake();
    void watch_absence();  // from here to the matching unwatch: keep_awake() looks for stand-stills
    void unwatch_absence();
    /// Looks for a stand-still that no timer has told of yet.
    void look_for_absence();
    void mark_own(const std::string& id, const Plan& plan);

    // engine_nodes.cpp
    void start();
    runtime::Task<> initialise();
    runtime::Task<> initialise_once(std::uint64_t before);
    runtime::Task<> wait_for_peers();
    [[nodiscard]] runtime::Duration longest_detection() const;
    void on_peer_event(const comm::PeerEvent& event);
    void on_absence(runtime::Duration absent);
    runtime::Task<> node_lost(NodeName peer);
    runtime::Task<> take_over(NodeName peer, std::function<void()> decided);
    runtime::Task<> take_over_now(NodeName peer, std::function<void()> decided, std::string refused);
    runtime::Task<std::string> refused_by_gates(NodeName peer);
    runtime::Task<> take_over_parts(NodeName peer, Plan plan, std::set<NodeName> tried,
                                    std::function<void()> decided, std::vector<std::string>& recovered,
                                    std::vector<std::string>& failed);
    runtime::Task<Result<>> hand_over(NodeName dead, Tag tag, std::set<NodeName> tried);
    runtime::Task<config::Reply> serve_takeover(NodeName caller, config::Command command);
    runtime::Task<> node_returned(NodeName peer);
    runtime::Task<> reconsider(std::set<NodeName> dead, std::vector<Tag> interrupted);
    [[nodiscard]] static bool runs_elsewhere(const ClusterView& seen, const Tag& tag);
    runtime::Task<bool> wait_ready(runtime::Duration limit);

    // engine_commands.cpp
    runtime::Task<config::Reply> perform(config::Command command);
    runtime::Task<config::Reply> run_script(config::Command command, config::Instance instance);
    runtime::Task<config::Reply> move(Operation operation, std::string done_text);
    runtime::Task<config::Reply> switchover(Tag tag, NodeName to);
    runtime::Task<config::Reply> switchover_here(Tag tag);
    runtime::Task<config::Reply> serve_switchover(NodeName caller, config::Command command);
    runtime::Task<> reply_with(runtime::Task<config::Reply> work, std::function<void(config::Reply)> done);

    // engine_stop.cpp
    runtime::Task<> stop(bool leave_running, std::function<void(std::string)> progress,
                         std::function<void(Result<>)> done);

    void journal(Event event, std::string kind, std::string subject, std::string text);
    [[nodiscard]] runtime::Duration reservation_limit() const;  // RESRVTIMEOUT
    [[nodiscard]] bool alive(const NodeName& peer) const {
        return peers->state(peer) == comm::PeerState::alive;
    }

    runtime::World world;
    config::Database& database;
    std::unique_ptr<Peers> peers;
    Options options;
    Scripts scripts;
    Reservations reservations;
    Jobs jobs;
    GlobalScripts globals;
    Executor executor;
    std::vector<TakeoverGate*> gates;
    bool ready = false;
    bool peers_had_their_time = false;
    bool stopping = false;
    std::map<NodeName, int> deciding;  // peers whose takeover is being decided, not yet reserved
    std::list<std::shared_ptr<Takeover>> takeovers;
    int under_way = 0;           // operations that execute, and the start
    std::uint64_t absences = 0;  // how often this process stood still
    std::uint64_t losses = 0;    // of peers, ever
    bool watching = false;       // keep_awake() runs
    runtime::TimePoint last_awake;
    runtime::TaskScope scope;  // last: its coroutines use everything above
};

}  // namespace understudy::recovery
