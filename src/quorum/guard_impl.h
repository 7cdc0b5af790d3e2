#pragma once
// The driver's parts. Private to this folder.
//   guard.cpp           construction, quorum check, gates, proof and watchdog
//   guard_witness.cpp   witness of both kinds, the wait before a start, judging silent peers
//   guard_storage.cpp   cycles of the shared storage, qwk_storage_init and _exit
//   guard_requests.cpp  qwk.sock: quorum_verify, witness_verify, terminate

#include "quorum/guard.h"

namespace understudy::quorum {

/// How often the proof is looked at; the pause between two questions of the witness is an interval.
inline constexpr runtime::Duration kLeastTick = std::chrono::milliseconds(100);
inline constexpr runtime::Duration kMostTick = std::chrono::seconds(1);
/// Another node's view is waited for so long.
inline constexpr runtime::Duration kViewLimit = std::chrono::seconds(2);
/// Between two cycles while qwk_storage_init waits for the others.
inline constexpr runtime::Duration kInitCycle = std::chrono::seconds(2);

/// A node's view of a suspect.
struct View {
    Opinion opinion = Opinion::unknown;
    runtime::Duration silence{};
};
std::string encode(const View& view);
View decode_view(std::string_view text);

struct Guard::Impl : std::enable_shared_from_this<Guard::Impl> {
    Impl(runtime::World w, config::Database& d, comm::Cluster& c, Storage* s, Watchdog* dog, GuardOptions o,
         Host h);

    // guard.cpp
    void start();
    void stop();
    const Configuration& refresh();
    [[nodiscard]] Quorum check();
    [[nodiscard]] std::set<NodeName> known() const;
    [[nodiscard]] std::set<NodeName> others() const;
    [[nodiscard]] bool alive(const NodeName& peer) const {
        return cluster.peer_state(peer) == comm::PeerState::alive;
    }
    /// The longest interval x misses of this node's paths, and of those that `peer` has.
    [[nodiscard]] runtime::Duration patience(const NodeName& peer = {}) const;
    [[nodiscard]] runtime::Duration longest_interval() const;
    [[nodiscard]] std::optional<runtime::TimePoint> proof() const;
    void tick();
    void arm();
    void lose(const std::string& why);
    void on_peer_event(const comm::PeerEvent& event);
    runtime::Task<Verdict> quorum_gate(NodeName peer);
    [[nodiscard]] std::string refusal();
    void note(const Note& note);
    void note(const std::vector<Note>& notes) {
        for (const auto& one : notes)
            note(one);
    }
    [[nodiscard]] Status status();

    // guard_witness.cpp
    [[nodiscard]] View view_of(const NodeName& suspect) const;
    runtime::Task<std::vector<View>> ask(NodeName suspect);
    runtime::Task<Witness> remote_witness(NodeName suspect);
    runtime::Task<Witness> storage_witness(NodeName suspect);
    /// Empty when WITNESS_MODE is none.
    runtime::Task<std::optional<Witness>> witness(std::string event, NodeName suspect);
    /// Until the suspect must have stopped what it had; the text says why not.
    runtime::Task<std::string> wait_for_fence(NodeName suspect);
    runtime::Task<std::string> wait_for_silence(NodeName suspect);
    runtime::Task<std::string> wait_for_quiet(NodeName suspect);
    runtime::Task<Verdict> witness_gate(NodeName peer);
    runtime::Task<> judge(std::string event, std::set<NodeName> silent);
    runtime::Task<> judge_one(std::string event, NodeName peer, std::size_t& open,
                              runtime::OneShot<runtime::Done> all);
    void log_views(const NodeName& suspect);

    // guard_storage.cpp
    void load_captured();
    void use(std::unique_ptr<StorageMonitor> with);
    runtime::Task<> run_cycles(std::uint64_t round);
    /// One cycle with its limit; false: it did not end in time.
    runtime::Task<bool> cycle(StorageMonitor& on, bool only_read);
    /// After this returns a cycle that began after the call has ended, well or not.
    runtime::Task<> fresh_cycle();
    runtime::Task<> storage_init(config::Command command, std::function<void(std::string)> progress,
                                 std::function<void(config::Reply)> done);
    [[nodiscard]] config::Reply storage_exit();
    [[nodiscard]] std::string unready_path() const;

    // guard_requests.cpp
    void listen();
    void accept(std::unique_ptr<runtime::Channel> channel);
    runtime::Task<> answer(std::uint64_t client, std::string request);

    runtime::World world;
    config::Database& database;
    comm::Cluster& cluster;
    Storage* storage;
    Watchdog* watchdog;
    GuardOptions options;
    Host host;
    Counters own_counters;
    Counters& counters = options.counters == nullptr ? own_counters : *options.counters;

    std::string settings_text = "\n";  // as read last; differs from every file at first
    std::size_t settings_nodes = 0;
    config::Settings settings;
    Configuration configuration;
    std::string told_error;

    runtime::TimePoint started_at;
    bool losing = false;
    bool armed = false;
    bool forced = false;  // a person answers for what runs without quorum
    int expired_ticks = 0;
    std::set<NodeName> proven;   // peers that are known to be down
    std::set<NodeName> refused;  // peers whose loss was judged without a takeover
    bool had_quorum = true;      // at the tick before

    std::unique_ptr<StorageMonitor> monitor;
    std::uint64_t round = 0;  // of run_cycles(): those of an earlier one end
    bool storage_busy = false;
    bool initialising = false;
    bool hurry = false;  // the next cycle is wanted at once
    std::uint64_t cycles_begun = 0;
    std::uint64_t newest_ended = 0;  // cycles that have ended, well or not
    std::string captured_problem;

    std::unique_ptr<runtime::Listener> listener;
    std::map<std::uint64_t, std::unique_ptr<runtime::Channel>> clients;
    std::uint64_t next_client = 1;

    bool stopped = false;
    std::optional<runtime::TimerId> timer;
    runtime::TaskScope scope;  // last: its coroutines use everything above
};

}  // namespace understudy::quorum
