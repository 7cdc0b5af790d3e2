#pragma once
// Random faults for a simulated cluster: the seed decides which kinds a run has, when they strike, whom, and
// how long they last. Faults are numbered from 1; each has a random stream of its own, so that a run without
// some of them has the others as they were.

#include "runtime/simulated/random_stream.h"
#include "sim/invariants.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace understudy::sim {

enum class Fault {
    power_off,           // the plug is pulled; boots again later
    power_off_in_write,  // at the next file write
    daemon_crash,        // kill -9, restarted by the service manager at once
    switchover,          // not a fault: an administrator moves a hierarchy
    restore,             // neither is this: perform_action -a restore of any resource on any node
    shutdown,            // not one either: the host shuts down in order, as its strategy says; boots later
    policy,              // nor this: failover from a node to another one is disabled for a while
    broken_connections,
    connection_loss,  // for a while any frame may break its connection
    slow_network,     // delays up to a part of the heartbeat interval
    clock,            // wall clock jumps, clocks drift
    failing_kits,     // actions fail
    hanging_kits,     // actions hang
    lying_kits,    // actions that have done their work say that they failed, starts that did nothing succeed
    slow_kits,     // actions take seconds, so that other faults strike in the middle of operations
    application,   // an application stops by itself
    lying_checks,  // checks say the opposite of what is true
    hanging_checks,  // checks do not end
    partition,       // both ways, all networks
    one_way_cut,     // one way, all networks
    one_network,     // one network only: the other path goes on
    program_pause,   // SIGSTOP of the daemon
    host_pause,      // VM freeze
    slow_disk,       // what a host writes into its database takes seconds
    full_disk,       // a host can write nothing to it; often its daemon is killed meanwhile
    disk_trouble,    // a host does not reach the disk of its DISK path, or waits for it
    upgrade,         // not one either: a node runs another release from now on, with a short restart
    storage_cut,     // a host does not reach the quorum storage
    storage_slow,    // the storage is slow, and what is read from it is old
    quorum_moment,   // a host has no quorum for a moment, in the middle of the next start there
    isolation,       // a host loses every network, and perhaps the storage
};
inline constexpr int kFaultKinds = static_cast<int>(Fault::isolation) + 1;
/// Kinds that every cluster knows; the others need quorum.
inline constexpr int kFaultKindsWithoutQuorum = static_cast<int>(Fault::upgrade) + 1;
std::string_view to_string(Fault fault);

/// What a run suffers.
struct FaultProfile {
    std::vector<Fault> kinds;
    runtime::Duration least_gap = std::chrono::seconds(1);
    runtime::Duration most_gap = std::chrono::seconds(30);

    /// Half of the seeds have neither cuts nor pauses nor failing kits: there nothing excuses a split.
    static FaultProfile random(runtime::Simulation& simulation, bool quorum = false);
    [[nodiscard]] bool has(Fault fault) const;
    [[nodiscard]] std::string describe() const;
};

class FaultInjector {
  public:
    /// The injector must outlive the simulation's run.
    FaultInjector(SimulatedCluster& cluster, Invariants& invariants, FaultProfile profile);
    FaultInjector(const FaultInjector&) = delete;
    FaultInjector& operator=(const FaultInjector&) = delete;

    /// Faults strike from now on, until stop().
    void start();
    /// No new ones; ends those in force: heals cuts, resumes, boots, lets kits work.
    void stop();
    void strike(Fault fault);
    /// From now on only the faults with these numbers strike.
    void only(std::set<int> numbers) { only_ = std::move(numbers); }
    [[nodiscard]] int struck() const { return struck_; }
    /// Faults so far, those that only() kept from striking too.
    [[nodiscard]] int drawn() const { return drawn_; }

  private:
    void next();
    [[nodiscard]] runtime::Duration duration(runtime::Duration least, runtime::Duration most);
    /// Runs `function` after `delay` unless stop() was called before.
    void later(runtime::Duration delay, std::function<void()> function);
    NodeName any_node();
    NodeName other_than(const NodeName& node);
    void cut(const NodeName& from, const NodeName& to, int network);
    void power_off(const NodeName& node);
    void shut_down(const NodeName& node);
    void await_shutdown(const NodeName& node, runtime::TimePoint limit);
    void disable_failover(const NodeName& from, const NodeName& to);
    void crash_daemon(const NodeName& node);
    void pause(const NodeName& node, runtime::Pause what);
    void isolate(const NodeName& node);
    void lose_quorum_for_a_moment(const NodeName& node);
    void lose_disk(const NodeName& node);
    void upgrade(const NodeName& node);
    /// What ends now may have kept the two apart: a takeover is excused then.
    void note_if_separated(const NodeName& a, const NodeName& b);
    void heal_later(const NodeName& a, const NodeName& b);
    void kits_later(KitModel::Trouble trouble);
    void break_an_application();
    void slow_disk(const NodeName& node);
    void full_disk(const NodeName& node);

    SimulatedCluster& cluster_;
    runtime::Simulation& simulation_;
    Invariants& invariants_;
    FaultProfile profile_;
    std::uint64_t seed_;
    runtime::simulated::RandomStream schedule_;  // when which kind strikes
    runtime::simulated::RandomStream fault_;     // of the fault that strikes
    std::optional<std::set<int>> only_;
    std::set<NodeName> shutting_down_;
    bool stopped_ = false;
    std::uint64_t round_ = 0;  // of start and stop: what was scheduled before a stop does nothing
    std::optional<runtime::TimePoint> last_crash_;
    std::set<NodeName> armed_;  // lose their power in their next write
    int drawn_ = 0;
    int struck_ = 0;
};

}  // namespace understudy::sim
