#pragma once
// Inside the engine: one object, its subjects in several files.
//   engine.cpp             construction, the public face
//   engine_operations.cpp  views of the cluster; an operation = plan, reserve, plan again, execute, release
//   engine_reserving.cpp   reservations on all nodes that an operation concerns
//   engine_start.cpp       start, initialisation
//   engine_nodes.cpp       loss and return of peers
//   engine_absence.cpp     stand-stills of this process
//   engine_commands.cpp    perform_action, switchover
//   engine_globals.cpp     global pre and post scripts around an operation
//   engine_recovery.cpp    a resource that fails: local recovery, resource failover
//   engine_stop.cpp        lkstop, shutdown
//   engine_switchback.cpp  automatic switchback
//   engine_interrupted.cpp  what operations left half-done here
//   engine_quorum.cpp      what quorum asks for: start after COMM_UP, loss of quorum

#include "recovery/checks.h"
#include "recovery/engine.h"
#include "recovery/events.h"
#include "recovery/executor.h"
#include "recovery/incident.h"

#include <deque>
#include <list>

namespace understudy::recovery {

inline constexpr runtime::Duration kPoll = std::chrono::milliseconds(50);
inline constexpr runtime::Duration kShortCall = std::chrono::seconds(5);
/// A peer that decides about taking over from us is asked again for this long.
/// Witness and the wait until a lost node must have stopped are part of the decision.
inline constexpr runtime::Duration kBusyLimit = std::chrono::seconds(150);
inline constexpr runtime::Duration kDetectionMargin = std::chrono::seconds(10);
/// An operation that waits for another one looks at the cluster again after this long: what it wanted may be
/// done, or not be its business any more.
inline constexpr runtime::Duration kReserveAgain = std::chrono::seconds(2);
/// Between attempts to tell a peer that an operation has ended: at first, and when whoever waits there has
/// broken its reservation already.
inline constexpr runtime::Duration kReleaseAgain = std::chrono::seconds(1);
inline constexpr runtime::Duration kReleaseMuchLater = std::chrono::seconds(10);
/// Plans of one operation, not counting those after a wait in vain. Each further one follows a change.
inline constexpr int kMaxPlanAttempts = 8;
/// Own marker of an orderly stop: at the next start everything is initialised anew.
inline constexpr std::string_view kStoppedFlag = "!stopped";

inline constexpr std::string_view kViewMethod = "recovery.view";
inline constexpr std::string_view kReserveMethod = "recovery.reserve";
inline constexpr std::string_view kReleaseMethod = "recovery.release";
/// The same when the operation was given up before its end; earlier releases do not serve it.
inline constexpr std::string_view kAbandonMethod = "recovery.abandon";
inline constexpr std::string_view kSwitchoverMethod = "recovery.perform";
/// Option of it: only what is in service elsewhere is started, not parents that are stopped.
inline constexpr const char* kAsItWas = "as-it-was";
inline constexpr std::string_view kRecoverMethod = "recovery.failed";
inline constexpr std::string_view kTakeoverMethod = "recovery.takeover";
inline constexpr std::string_view kStartedMethod = "recovery.started";

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

/// What an operation that starts something believes, as long as it runs.
struct Start {
    NodeName dead;              // of a takeover
    bool comes_again = false;   // its caller looks at the cluster again by itself
    std::set<NodeName> absent;  // peers that cannot have it, for they do not live
    std::set<Tag> tags;         // whole hierarchies; none when it starts nothing
    std::string cancelled;      // why it must go no further; empty: it may
    bool give_back = false;     // cancelled because an absent one lives and has it
};

struct Operation {
    std::string what;  // for the log
    Request request;
    std::vector<std::string> arguments = {};
    int pid = 0;
    bool reserve = true;
    bool asked_by_person = false;         // breaks reservations that are held for too long
    std::optional<Plan> plan = {};        // made at this moment, or not at all
    std::optional<Plan> announced = {};   // is in the log already, as a part of a larger one
    NodeName dead = {};                   // of a takeover: not asked any more
    std::function<void()> reserved = {};  // once, when the reservations stand or nothing will be done
    /// Engine::Impl::absences when its plan was looked for; empty: it is now. A change ends the operation.
    std::optional<std::uint64_t> absences = {};
    bool comes_again = false;     // see Executor::Run
    std::string global = {};      // the global scripts around it: "restore", "remove"; empty: none (-G)
    bool prepares_peers = false;  // runs the global pre-scripts on the peers that it takes something from
    std::string incident = {};    // whose facts its steps are; empty: none
    bool forced = false;          // a person starts it without quorum
};

/// What an operation reserves on a node: tags, of which the first `removed` are taken down there.
struct Reserved {
    std::vector<Tag> tags;
    std::size_t removed = 0;
};
using Needed = std::map<NodeName, Reserved>;

struct OperationResult {
    Plan plan;
    Outcome outcome;
    Start start;
    [[nodiscard]] std::vector<std::string> restored(const NodeName& self) const;
    [[nodiscard]] std::vector<std::string> not_restored(const NodeName& self) const;
};

/// A tag of `self` in a part; every part of by_hierarchy() has one.
Tag own_tag(const Plan& part, const NodeName& self);

struct Engine::Impl : std::enable_shared_from_this<Engine::Impl> {
    Impl(runtime::World w, config::Database& d, std::unique_ptr<Peers> p, Options o);
    void serve();  // needs shared_from_this

    // engine_operations.cpp
    [[nodiscard]] ClusterView view() const;
    /// Only what a plan for `tag` needs (view_part.h); `fresh`: what nodes have just told.
    [[nodiscard]] ClusterView view_of(const Tag& tag,
                                      const std::map<NodeName, config::NodeConfig>& fresh) const;
    /// The view with the living peers' own answers. Before reservations stand a peer that decides about a
    /// takeover is waited for; afterwards that would be waiting for one that waits for us.
    /// `only`: what view_of() gives; empty: everything.
    runtime::Task<ClusterView> ask_everyone(NodeName except, bool reserved = false, Tag only = {});
    runtime::Task<Result<config::NodeConfig>> ask(NodeName peer, bool reserved = false);
    void serve_view(const NodeName& caller, std::string_view question, const Peers::Done& answer);
    runtime::Task<OperationResult> operate(Operation operation);
    /// operate() between the global scripts that the operation names. engine_globals.cpp
    runtime::Task<OperationResult> operate_with_globals(Operation operation);
    runtime::Task<> prepare_peers(Plan plan);
    runtime::Task<std::vector<OperationResult>> operate_all(std::vector<Operation> operations);
    runtime::Task<> next_of(std::deque<Operation>& waiting, std::vector<OperationResult>& results,
                            std::size_t& open, runtime::OneShot<runtime::Done> all_ended);
    void add_peers(ClusterView& to) const;
    /// What was committed here outlives a kill of this daemon before what follows from it happens: what is
    /// marked as being started before its script starts, what was stopped before another node starts it. The
    /// next daemon knows then what may run here and what does not. That is so at once, unless the run
    /// directory takes nothing: then the disk is waited for, for a bounded time. An error, for a person, when
    /// it does not take it either: then nothing may follow from it.
    runtime::Task<Result<>> outlive_kill(std::string what);
    /// Plan, reserve, ask, plan again, until the plan fits what is reserved.
    runtime::Task<Result<Plan>> plan_reserved(std::string& id, Needed& held, Operation& operation);
    [[nodiscard]] std::shared_ptr<Start> start_of(const Plan& plan, const Operation& operation) const;
    runtime::Task<> give_back(Tag tag, std::string why);
    runtime::Task<config::Reply> serve_step(NodeName caller, config::Command command);

    // engine_reserving.cpp
    [[nodiscard]] Needed needed_for(const Plan& plan, const Request& request) const;
    /// The whole hierarchies of which the plan starts something here.
    [[nodiscard]] std::set<Tag> started(const Plan& plan) const;
    /// The request's own tag, when another operation is doing the opposite with it; else empty.
    [[nodiscard]] Tag contested(const Request& request) const;
    [[nodiscard]] static bool covers(const Needed& held, const Needed& needed);
    /// Until `give_up`, then what is in the way is broken if it may be.
    runtime::Task<Result<Waited>> reserve(std::string id, Needed needed, Operation operation,
                                          runtime::TimePoint give_up);
    /// `abandoned`: the operation was given up in the middle, and where it took something out of service that
    /// is to be looked after (engine_interrupted.cpp).
    /// `taken`: the uppermost of that, as the other node calls it, for nodes of an earlier release, which do
    /// not look after it.
    using Taken = std::map<NodeName, std::vector<Tag>>;
    void release(const std::string& id, const Needed& needed, bool abandoned = false,
                 const Taken& taken = {});
    runtime::Task<> release_on(NodeName node, std::string id, bool abandoned, std::vector<Tag> taken);
    /// Lets a node of an earlier release bring back what an operation of this node took there and left.
    runtime::Task<> bring_back_on(NodeName node, Tag theirs);
    runtime::Task<config::Reply> serve_reserve(NodeName caller, config::Command command);
    void mark_own(const std::string& id, const Plan& plan);

    // engine_absence.cpp
    runtime::Task<> keep_awake();
    void watch_absence();  // from here to the matching unwatch: keep_awake() looks for stand-stills
    void unwatch_absence();
    /// Looks for a stand-still that no timer has told of yet: longer than peers wait for a heartbeat, so that
    /// they may have taken over (a frozen machine, SIGSTOP).
    void look_for_absence();
    void on_absence(runtime::Duration absent);
    runtime::Task<> reconsider(std::set<NodeName> dead, std::vector<Tag> interrupted);
    [[nodiscard]] static bool runs_elsewhere(const ClusterView& seen, const Tag& tag);

    // engine_start.cpp
    void start();
    runtime::Task<> initialise();
    runtime::Task<> initialise_once(std::uint64_t before);
    /// Nothing stays undecided: what could not be started yet goes on later (is_half_started()).
    void end_initialisation();
    /// What the start left out because a peer could not be asked (kNotAsked) is decided when it can be: at a
    /// COMM_UP, and looked at now and then. With quorum rejoin() does that. Spec: CLU-126, CLU-127.
    [[nodiscard]] bool has_left_out() const;
    runtime::Task<> decide_left_out();
    runtime::Task<> decide_left_out_once();
    runtime::Task<> watch_left_out();
    runtime::Task<> wait_for_peers();
    [[nodiscard]] runtime::Duration longest_detection() const;
    runtime::Task<bool> wait_ready(runtime::Duration limit);

    // engine_nodes.cpp
    void on_peer_event(const comm::PeerEvent& event);
    runtime::Task<> node_lost(NodeName peer);
    // `incident`: see IncidentLog
    runtime::Task<> take_over(NodeName peer, std::string incident, std::function<void()> decided);
    runtime::Task<> take_over_now(NodeName peer, std::string incident, std::function<void()> decided,
                                  std::string refused);
    runtime::Task<std::string> refused_by_gates(NodeName peer, std::string incident);
    runtime::Task<> take_over_parts(NodeName peer, std::string incident, Plan whole, std::uint64_t before,
                                    std::set<NodeName> tried, std::function<void()> decided,
                                    std::vector<std::string>& recovered, std::vector<std::string>& failed);
    runtime::Task<Result<>> hand_over(NodeName dead, std::string incident, Tag tag, std::set<NodeName> tried);
    runtime::Task<config::Reply> serve_takeover(NodeName caller, config::Command command);
    runtime::Task<> node_returned(NodeName peer);
    /// Whether `peer`, which an operation of this node took for absent, keeps what it starts.
    [[nodiscard]] bool keeps(const config::Equivalency& pair, const config::NodeConfig& theirs) const;
    /// Cancels every start that counts on the absence of the pair's other node, which has it in service.
    /// Whether there is one.
    bool gives_back(const config::Equivalency& pair);
    /// Asks the peers that were absent when it was planned and live now, before its first script.
    runtime::Task<> hear_returned(std::shared_ptr<Start> start);

    // engine_commands.cpp
    runtime::Task<config::Reply> perform(config::Command command);
    runtime::Task<config::Reply> run_script(config::Command command, config::Instance instance);
    runtime::Task<config::Reply> move(Operation operation, std::string done_text);
    /// Journals what is about to move; the incident's id, empty when nothing is taken from another node.
    std::string begin_move(const Request& request, const std::string& subject);
    runtime::Task<config::Reply> switchover(Tag tag, NodeName to, Scope scope);
    runtime::Task<config::Reply> switchover_here(Tag tag, Scope scope);
    runtime::Task<config::Reply> serve_switchover(NodeName caller, config::Command command);
    runtime::Task<> reply_with(runtime::Task<config::Reply> work, std::function<void(config::Reply)> done);

    // engine_switchback.cpp
    /// What `joined` holds; empty: what any peer holds.
    runtime::Task<> switch_back(NodeName joined);
    runtime::Task<> switched_back(Plan part, OperationResult result);
    /// Lets `node` bring its `theirs` in service, from wherever it is.
    runtime::Task<Result<std::string>> ask_to_take(NodeName node, Tag theirs);

    // engine_recovery.cpp
    struct Failure {
        Tag tag;
        std::string why;
        bool local = true;              // local recovery may be tried
        std::string check = {};         // "quick", "deep"; empty: somebody else noticed
        std::string result = "failed";  // or "timed_out"
    };
    enum class LocalRecovery {
        succeeded,
        failed,     // the resource is OSF now
        overtaken,  // something else happened to it meanwhile
    };
    class Episode;
    [[nodiscard]] const config::Settings& settings_now() const;
    /// Why nothing may be checked or done about a failure of `tag` now; empty: it may. Spec: CLU-165
    [[nodiscard]] std::string hindered(const Tag& tag) const;
    void check_failed(const CheckFinding& finding);
    void check_timed_out(const CheckFinding& finding);
    bool recovers_because_of(const EventReport& report);
    void reboot(std::int64_t countdown, const std::string& why);
    runtime::Task<> run_reboot(std::string path, std::int64_t countdown, std::string why);
    runtime::Task<> watch_failover(Tag tag, std::uint64_t episode, std::chrono::minutes most);
    runtime::Task<> recover(Failure failure);
    runtime::Task<LocalRecovery> recover_locally(Tag tag, Failure failure, std::string incident);
    runtime::Task<Waited> reserve_for_recovery(std::string id, Tag tag);
    void mark_failed(const Tag& tag, const std::string& why);
    void end_episode(const Tag& tag, const std::string& outcome, const std::string& incident = {},
                     bool elsewhere = false);
    /// `ran`: what of the hierarchy was in service when it failed.
    runtime::Task<> after_failure(Tag tag, std::set<Tag> ran, std::string incident);
    runtime::Task<> fail_over(Tag tag, std::set<Tag> ran, std::string incident);
    runtime::Task<Result<NodeName>> offer(Tag tag, std::set<Tag> ran, std::string incident);
    runtime::Task<config::Reply> serve_recover(NodeName caller, config::Command command);
    void resume_recoveries();
    /// `ran`: as after_failure(). `why`: for a person.
    runtime::Task<> resume_recovery(Tag tag, std::set<Tag> ran, std::string why);
    /// After a stand-still: nothing is concluded from checks before the peers' states are known again.
    runtime::Task<> look_again();

    // engine_stop.cpp
    runtime::Task<> stop(StopMode mode, std::function<void(std::string)> progress,
                         std::function<void(Result<>)> done);
    using Say = std::function<void(std::string)>;
    runtime::Task<> tell_stopping(Say say);
    runtime::Task<> take_down_all(Say say);
    runtime::Task<> move_away(Say say);
    runtime::Task<> move_away_next(std::deque<Tag>& waiting, std::size_t& open,
                                   runtime::OneShot<runtime::Done> all_ended, Say say);
    runtime::Task<> move_away_one(Tag member, Say say, runtime::OneShot<runtime::Done> ended);
    runtime::Task<> tell_started(NodeName peer);

    // engine_interrupted.cpp
    /// An operation of another node ended before its end; `left` is what it had taken out of service here.
    void interrupted(const OperationOwner& owner, const std::set<Tag>& left);
    /// An operation of this node was stopped because it might start nothing at that moment: what it had not
    /// reached is left to restore_interrupted(), unless somebody else goes on with it.
    void left_half_started(const Operation& operation, const OperationResult& result, const std::string& why);
    void mark_half_started(const Tag& tag, const std::string& why);
    /// Whether something is in between: taken for an operation that was interrupted, or is_half_started().
    [[nodiscard]] bool has_interrupted() const;
    /// Whether a node whose operation was interrupted lives, or its loss causes no takeover (never_heard()).
    [[nodiscard]] bool can_decide_interrupted() const;
    /// With quorum: not in this daemon's life, so that there is no loss that a takeover would follow. Without
    /// quorum a node that cannot be heard is left alone: most probably it runs what was taken for it.
    [[nodiscard]] bool never_heard(const NodeName& peer) const;
    /// Decides about what was left, again and again until it is decided.
    runtime::Task<> restore_interrupted();
    runtime::Task<> restore_interrupted_once(std::string& told);

    // engine_quorum.cpp
    [[nodiscard]] bool holds_resources() const;
    [[nodiscard]] std::string start_refusal() const {
        return guard == nullptr ? std::string() : guard->refusal();
    }
    [[nodiscard]] bool starts_at_comm_up() const { return guard != nullptr && guard->starts_at_comm_up(); }
    /// Equivalents' nodes that do not live.
    [[nodiscard]] std::set<NodeName> silent_peers() const;
    runtime::Task<> judge(std::string event, NodeName except);
    /// Starts, after COMM_UP, what is in service nowhere and belongs here. Spec: QUO-069, QUO-070.
    runtime::Task<> rejoin();
    runtime::Task<> rejoin_once();
    runtime::Task<> quorum_lost(std::string why, std::function<void()> done);
    /// Returns when the next life will know everything committed so far; while it would not, tries the disk
    /// again and again, until the watchdog or a stop ends this life.
    runtime::Task<> note_loss();
    /// LCM_AVAIL without quorum: every instance OSU.
    [[nodiscard]] static ClusterView without_peers(ClusterView seen);

    void journal(Event event, std::string kind, std::string subject, std::string text);
    /// The plan in the log, as `understudy plan` prints it.
    static void announce(const std::string& what, const Plan& plan);
    [[nodiscard]] runtime::Duration reservation_limit() const;  // RESRVTIMEOUT
    [[nodiscard]] runtime::Duration shutdown_limit() const;     // SHUTDOWN_SWITCHOVER_TIMEOUT
    [[nodiscard]] std::size_t parallel_hierarchies() const;     // PARALLEL_HIERARCHIES
    [[nodiscard]] std::int64_t setting(const std::string& key, std::int64_t fallback) const;
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
    IncidentLog incidents;
    config::Settings settings_at_start;
    Events events;
    Checks checks;
    std::vector<TakeoverGate*> gates;
    StartGuard* guard = nullptr;
    bool rejoining = false;
    bool rejoin_again = false;
    bool deciding_left_out = false;
    bool left_out_again = false;
    bool restoring_interrupted = false;
    bool interrupted_again = false;
    bool ready = false;
    bool peers_had_their_time = false;
    bool stopping = false;
    bool looking_again = false;  // look_again() runs
    bool rebooting = false;
    std::set<Tag> kept_running;             // in service when the daemon came back
    std::set<Tag> had;                      // in service when the host went down
    std::map<Tag, std::uint64_t> episodes;  // failed resources that are being dealt with
    std::uint64_t last_episode = 0;
    std::map<NodeName, int> deciding;          // peers whose takeover is being decided, not yet reserved
    std::list<std::shared_ptr<Start>> starts;  // of operations that execute
    int under_way = 0;                         // operations that execute, and the start
    std::uint64_t absences = 0;                // how often this process stood still
    std::uint64_t losses = 0;                  // of peers, ever
    bool watching = false;                     // keep_awake() runs
    runtime::TimePoint last_awake;
    runtime::TaskScope scope;  // last: its coroutines use everything above
};

}  // namespace understudy::recovery
