#include "sim/run.h"

#include "sim/cluster_sim.h"
#include "sim/faults.h"
#include "sim/invariants.h"

#include <algorithm>
#include <iterator>

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr double kQuorumChance = 0.35;
constexpr double kDiskPathChance = 0.3;  // of two nodes
constexpr double kSurvivorChance = 0.4;
constexpr double kAutomaticChance = 0.4;
constexpr double kSwitchoverChance = 0.5;
// A host that is shutting down when the faults end boots within it.
constexpr runtime::Duration kAllUp = 120s;
constexpr runtime::Duration kLastCommands = 30s;  // longer than what waits for a slow disk
// The slowest that may still be going on when the faults end: a hanging kit action, a reservation that is
// waited for (150 s), then detection and a takeover.
constexpr runtime::Duration kSettle = 240s;
// With quorum a quarantine, its start, the witness and the wait until a lost node must have stopped come on
// top.
constexpr runtime::Duration kSettleWithQuorum = 480s;
constexpr runtime::Duration kFirstStart = 120s;

/// Two and three nodes are what most people have, and the quickest to run.
int number_of_nodes(runtime::Simulation& simulation) {
    constexpr int kOfTwenty[] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 5, 6, 7};
    return kOfTwenty[simulation.random_below(std::size(kOfTwenty))];
}

ClusterOptions cluster_options(runtime::Simulation& simulation, const RunOptions& options) {
    struct Heartbeat {
        std::chrono::milliseconds interval;
        int misses;
    };
    constexpr Heartbeat kHeartbeats[] = {{200ms, 3}, {1000ms, 3}, {1000ms, 5}, {6000ms, 5}};
    ClusterOptions result;
    const int by_seed = number_of_nodes(simulation);
    result.nodes = options.nodes != 0 ? options.nodes : by_seed;
    result.hierarchies = 1 + static_cast<int>(simulation.random_below(3));
    const auto& heartbeat = kHeartbeats[simulation.random_below(std::size(kHeartbeats))];
    result.interval = heartbeat.interval;
    result.misses = heartbeat.misses;
    if (simulation.chance(kAutomaticChance)) result.switchback = config::Switchback::automatic;
    result.shutdown_switchover = simulation.chance(kSwitchoverChance);
    constexpr std::chrono::seconds kCheckIntervals[] = {0s, 5s, 10s, 30s};
    result.check_interval = kCheckIntervals[simulation.random_below(std::size(kCheckIntervals))];
    result.local_recovery = simulation.chance(0.5);
    result.log = options.log;
    result.disk_path = result.nodes == 2 && simulation.chance(kDiskPathChance);
    if (simulation.chance(0.3)) result.reserved_tail = 0;
    result.resources = 2 + static_cast<int>(simulation.random_below(3));
    const bool quorum = options.quorum == 1 || (options.quorum == 0 && simulation.chance(kQuorumChance));
    if (!quorum) return result;
    // Storage is for up to four; of two a majority is both.
    const bool storage = result.nodes == 2 || (result.nodes <= 4 && simulation.chance(0.5));
    result.quorum = storage ? quorum::Mode::storage : quorum::Mode::majority;
    result.settings = quorum_settings(result.quorum);
    return result;
}

class Run {
  public:
    Run(std::uint64_t seed, const RunOptions& options) : simulation_(seed), options_(options) {
        if (options.faults) injector_.only(*options.faults);
        simulation_.set_trace_detail(options.trace ? runtime::TraceDetail::full
                                                   : runtime::TraceDetail::notes);
    }

    RunResult run() {
        start_hosts();
        if (!cluster_.wait_in_service(cluster_.fenced() ? kSettleWithQuorum : kFirstStart))
            invariants_.violation("the cluster does not come in service after its first start");
        suffer();
        const bool quorum_is_left = leave_survivors();
        simulation_.run_for(settle());
        if (!quorum_is_left) {
            check_nothing_runs();
            return result();
        }
        if (needs_administrator()) administrate();
        invariants_.check_calm();
        return result();
    }

  private:
    [[nodiscard]] runtime::Duration settle() const { return cluster_.fenced() ? kSettleWithQuorum : kSettle; }

    RunResult result() {
        RunResult result{invariants_.violations(), simulation_.trace(), describe()};
        for (const auto& node : cluster_.nodes())
            result.nodes.push_back(node.str());
        result.faults = injector_.drawn();
        result.virtual_seconds = std::chrono::duration<double>(simulation_.now().time_since_epoch()).count();
        result.events = simulation_.events_run();
        return result;
    }

    // A minority has no right to run anything.
    void check_nothing_runs() {
        for (const auto& hierarchy : cluster_.hierarchies())
            for (const auto& tag : hierarchy.members)
                if (!cluster_.kits().hosts_running(tag).empty())
                    invariants_.violation(tag.str() + " runs on a minority");
    }

    void start_hosts() {
        for (const auto& name : cluster_.nodes())
            simulation_.after(simulation_.random_duration(0s, 2s), [this, name] { cluster_.power_on(name); });
        simulation_.run_for(2s);
    }

    void suffer() {
        injector_.start();
        simulation_.run_for(options_.faults_for);
        injector_.stop();
        if (!profile_.has(Fault::policy) && !profile_.has(Fault::shutdown)) return;
        const auto up = [this](const NodeName& name) { return cluster_.daemon(name) != nullptr; };
        simulation_.run_until(
            [&] { return std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), up); }, kAllUp);
        // A command that disables failover may still wait for a slow disk.
        simulation_.run_for(kLastCommands);
        cluster_.enable_failover();
    }

    /// Some hosts never come back. Whether those that are left can have quorum.
    bool leave_survivors() {
        if (!simulation_.chance(kSurvivorChance)) return true;
        simulation_.run_for(simulation_.random_duration(0s, kSettle));
        const auto all = cluster_.nodes().size();
        const auto first = simulation_.random_below(all);
        const auto count = 1 + simulation_.random_below(all - 1);
        const auto survives = [&](std::size_t i) { return (i + all - first) % all < count; };
        // Who was stopped on purpose and has not been seen since is not taken over.
        for (std::size_t i = 0; i < all; ++i)
            if (survives(i) && marks_a_stop(cluster_.nodes()[i])) return true;
        for (std::size_t i = 0; i < all; ++i)
            if (!survives(i)) cluster_.keep_off(cluster_.nodes()[i]);
        return cluster_.options().quorum != quorum::Mode::majority || 2 * count > all;
    }

    [[nodiscard]] bool marks_a_stop(const NodeName& survivor) {
        auto* node = cluster_.daemon(survivor);
        return node != nullptr &&
               std::any_of(cluster_.nodes().begin(), cluster_.nodes().end(), [&](const NodeName& other) {
                   return node->database().has_flag(recovery::no_failover_flag(other));
               });
    }

    /// Otherwise everything must have come in service again by itself.
    [[nodiscard]] bool needs_administrator() const {
        if (invariants_.split_possible()) return true;
        if (profile_.has(Fault::failing_kits) || profile_.has(Fault::hanging_kits)) return true;
        // What a script has not done is found by a check, if there is one, and by nobody at the end of a run.
        if (profile_.has(Fault::lying_kits)) return true;
        const auto& options = cluster_.options();
        // Nobody looks at it; or the only living node has nobody to hand it to.
        if (options.check_interval == 0s) return profile_.has(Fault::application);
        return !options.local_recovery &&
               (profile_.has(Fault::application) || profile_.has(Fault::lying_checks));
    }

    // What failed or was split waits for a person, who has the commands of the manual and nothing else.
    void administrate() {
        simulation_.note("administrator", "looks");
        for (const auto& hierarchy : cluster_.hierarchies()) {
            if (cluster_.in_service(hierarchy)) continue;
            for (const auto& name : cluster_.nodes())
                for (const auto& tag : hierarchy.members)
                    command(name, SimulatedCluster::perform_action(tag, "remove"));
        }
        // What a remove failed for goes on running and is ignored by the next remove (CMD-120); the
        // switchover repeats it.
        if (!runs_twice()) invariants_.split_resolved();
        for (const auto& hierarchy : cluster_.hierarchies()) {
            if (cluster_.in_service(hierarchy)) continue;
            for (const auto& name : cluster_.nodes()) {
                if (cluster_.daemon(name) == nullptr) continue;
                command(name, SimulatedCluster::switchover(hierarchy.root, name));
                break;
            }
        }
        invariants_.split_resolved();
        simulation_.run_for(30s);
    }

    [[nodiscard]] bool runs_twice() {
        for (const auto& hierarchy : cluster_.hierarchies())
            for (const auto& tag : hierarchy.members)
                if (cluster_.kits().hosts_running(tag).size() > 1) return true;
        return false;
    }

    void command(const NodeName& name, const config::Command& what) {
        if (cluster_.daemon(name) == nullptr) return;
        const auto reply = cluster_.run(name, what, kSettle);
        const auto text = fmt::format("{} on {}", what.name, name.str());
        if (!reply)
            invariants_.violation(text + " is not answered");
        else if (reply->exit_code != 0)
            invariants_.violation(
                fmt::format("{} fails with {}: {}{}", text, reply->exit_code, reply->out, reply->err));
    }

    [[nodiscard]] std::string describe() const {
        const auto& options = cluster_.options();
        return fmt::format(
            "{} nodes{}, quorum {}, {} hierarchies of {} {}, heartbeat {} ms x {}{}, checks every {} s, {} "
            "local "
            "recovery, {} "
            "faults of: {}",
            options.nodes, options.disk_path ? " with a DISK path" : "", quorum::to_string(options.quorum),
            options.hierarchies, options.resources, config::to_string(options.switchback),
            options.interval.count(), options.misses,
            options.shutdown_switchover ? ", shutdown switches over" : "", options.check_interval.count(),
            options.local_recovery ? "with" : "without", injector_.struck(), profile_.describe());
    }

    runtime::Simulation simulation_;
    RunOptions options_;
    SimulatedCluster cluster_{simulation_, cluster_options(simulation_, options_)};
    Invariants invariants_{cluster_};
    FaultProfile profile_ = FaultProfile::random(simulation_, cluster_.fenced());
    FaultInjector injector_{cluster_, invariants_, profile_};
};

}  // namespace

RunResult run_seed(std::uint64_t seed, const RunOptions& options) {
    return Run(seed, options).run();
}

std::set<int> minimise(const std::set<int>& numbers, const std::function<bool(const std::set<int>&)>& fails) {
    std::vector<int> kept(numbers.begin(), numbers.end());
    auto piece = (kept.size() + 1) / 2;
    while (piece > 0) {
        bool fewer_now = false;
        for (std::size_t at = 0; at < kept.size();) {
            auto fewer = kept;
            const auto size = std::min(piece, fewer.size() - at);
            const auto from = fewer.begin() + static_cast<std::ptrdiff_t>(at);
            fewer.erase(from, from + static_cast<std::ptrdiff_t>(size));
            if (fails(std::set<int>(fewer.begin(), fewer.end()))) {
                kept = std::move(fewer);
                fewer_now = true;
            } else {
                at += size;
            }
        }
        // One by one until none can go: what was needed may not be any more.
        if (piece > 1)
            piece = (piece + 1) / 2;
        else if (!fewer_now)
            piece = 0;
    }
    return {kept.begin(), kept.end()};
}

std::optional<std::set<int>> minimise(std::uint64_t seed, RunOptions options) {
    options.trace = false;
    const auto whole = run_seed(seed, options);
    if (whole.violations.empty()) return std::nullopt;
    std::set<int> numbers;
    for (int number = 1; number <= whole.faults; ++number)
        if (!options.faults || options.faults->contains(number)) numbers.insert(number);
    return minimise(numbers, [&](const std::set<int>& some) {
        options.faults = some;
        return !run_seed(seed, options).violations.empty();
    });
}

}  // namespace understudy::sim
