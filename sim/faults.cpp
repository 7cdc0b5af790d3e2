#include "sim/faults.h"

#include <algorithm>

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr double kKindChance = 0.5;
constexpr double kCalmNetworkChance = 0.5;
// Rare enough that a path is never without a connection for a whole detection time by chance alone.
constexpr double kConnectionLoss = 0.002;
constexpr double kFailChance = 0.2;
constexpr double kHangChance = 0.1;
constexpr double kLieChance = 0.2;
constexpr int kMostDriftPpm = 200;
constexpr runtime::Duration kRebootTime = 10s;
constexpr runtime::Duration kShutdownPoll = 20ms;
constexpr runtime::Duration kShutdownLimit = 90s;
// Less than what storage quorum is made for: T_dead minus the time of a write that is on its way.
constexpr auto kMostStale = 4s;
constexpr auto kSlowWrite = 2s;
constexpr double kRunFullChance = 0.5;
constexpr double kActionLieChance = 0.1;
constexpr auto kSlowestScript = 5s;
constexpr auto kQuickestScript = 20ms;
constexpr auto kMostMoment = 15s;  // longer than the storage is left alone between two accesses

std::uint64_t seed_of_fault(std::uint64_t seed, int number) {
    return seed + static_cast<std::uint64_t>(number);  // the stream's own start mixes it
}

bool excuses_a_split(Fault fault) {
    switch (fault) {
        case Fault::partition:
        case Fault::one_way_cut:
        case Fault::program_pause:
        case Fault::host_pause:
        case Fault::isolation:
            return true;
        case Fault::quorum_moment:
        case Fault::lying_kits:
        case Fault::slow_kits:
        case Fault::restore:
        case Fault::disk_trouble:
        case Fault::upgrade:
        case Fault::storage_cut:
        case Fault::storage_slow:
        case Fault::power_off:
        case Fault::power_off_in_write:
        case Fault::daemon_crash:
        case Fault::switchover:
        case Fault::shutdown:
        case Fault::policy:
        case Fault::broken_connections:
        case Fault::connection_loss:
        case Fault::slow_network:
        case Fault::clock:
        case Fault::failing_kits:
        case Fault::hanging_kits:
        case Fault::application:
        case Fault::lying_checks:
        case Fault::hanging_checks:
        case Fault::one_network:
        case Fault::slow_disk:
        case Fault::full_disk:
            return false;
    }
    return false;
}

}  // namespace

std::string_view to_string(Fault fault) {
    switch (fault) {
        case Fault::power_off:
            return "power-off";
        case Fault::power_off_in_write:
            return "power-off in a write";
        case Fault::daemon_crash:
            return "daemon crash";
        case Fault::switchover:
            return "switchover";
        case Fault::restore:
            return "restore";
        case Fault::shutdown:
            return "shutdown";
        case Fault::policy:
            return "disabled failover";
        case Fault::broken_connections:
            return "broken connections";
        case Fault::connection_loss:
            return "connection loss";
        case Fault::slow_network:
            return "slow network";
        case Fault::clock:
            return "clock";
        case Fault::failing_kits:
            return "failing kits";
        case Fault::hanging_kits:
            return "hanging kits";
        case Fault::lying_kits:
            return "lying kits";
        case Fault::slow_kits:
            return "slow kits";
        case Fault::application:
            return "application failure";
        case Fault::lying_checks:
            return "lying checks";
        case Fault::hanging_checks:
            return "hanging checks";
        case Fault::partition:
            return "partition";
        case Fault::one_way_cut:
            return "one-way cut";
        case Fault::one_network:
            return "cut of one network";
        case Fault::program_pause:
            return "program pause";
        case Fault::host_pause:
            return "host pause";
        case Fault::slow_disk:
            return "slow disk";
        case Fault::full_disk:
            return "full disk";
        case Fault::disk_trouble:
            return "disk trouble";
        case Fault::upgrade:
            return "upgrade";
        case Fault::storage_cut:
            return "storage cut";
        case Fault::storage_slow:
            return "slow storage";
        case Fault::quorum_moment:
            return "moment without quorum";
        case Fault::isolation:
            return "isolation";
    }
    return "?";
}

FaultProfile FaultProfile::random(runtime::Simulation& simulation, bool quorum) {
    FaultProfile profile;
    const bool calm_network = simulation.chance(kCalmNetworkChance);
    const int kinds_there_are = quorum ? kFaultKinds : kFaultKindsWithoutQuorum;
    for (int i = 0; i < kinds_there_are; ++i) {
        const auto fault = static_cast<Fault>(i);
        const bool wanted = simulation.chance(kKindChance);
        const bool kits =
            fault == Fault::failing_kits || fault == Fault::hanging_kits || fault == Fault::lying_kits;
        if (wanted && !(calm_network && (excuses_a_split(fault) || kits))) profile.kinds.push_back(fault);
    }
    if (profile.kinds.empty()) profile.kinds.push_back(Fault::power_off);
    profile.most_gap = simulation.random_duration(5s, 60s);
    return profile;
}

bool FaultProfile::has(Fault fault) const {
    return std::find(kinds.begin(), kinds.end(), fault) != kinds.end();
}

std::string FaultProfile::describe() const {
    std::string text;
    for (const auto kind : kinds)
        text += fmt::format("{}{}", text.empty() ? "" : ", ", to_string(kind));
    return text;
}

FaultInjector::FaultInjector(SimulatedCluster& cluster, Invariants& invariants, FaultProfile profile)
    : cluster_(cluster),
      simulation_(cluster.simulation()),
      invariants_(invariants),
      profile_(std::move(profile)),
      seed_(simulation_.random()),
      schedule_(seed_),
      fault_(seed_) {}

runtime::Duration FaultInjector::duration(runtime::Duration least, runtime::Duration most) {
    return least + runtime::Duration(fault_.below(static_cast<std::uint64_t>((most - least).count()) + 1));
}

void FaultInjector::later(runtime::Duration delay, std::function<void()> function) {
    simulation_.after(delay, [this, round = round_, function = std::move(function)] {
        if (round == round_) function();
    });
}

void FaultInjector::start() {
    ++round_;
    stopped_ = false;
    next();
}

void FaultInjector::next() {
    const auto spread = static_cast<std::uint64_t>((profile_.most_gap - profile_.least_gap).count()) + 1;
    const auto gap = profile_.least_gap + runtime::Duration(schedule_.below(spread));
    const auto kind = profile_.kinds[schedule_.below(profile_.kinds.size())];
    later(gap, [this, kind] {
        ++drawn_;
        if (!only_ || only_->contains(drawn_)) strike(kind);
        next();
    });
}

void FaultInjector::stop() {
    ++round_;
    stopped_ = true;
    simulation_.note("faults", "end");
    for (const auto& a : cluster_.nodes())
        for (const auto& b : cluster_.nodes())
            if (a < b) note_if_separated(a, b);
    simulation_.heal_all();
    simulation_.set_connection_loss(0);
    simulation_.set_delay(100us, 1ms);
    cluster_.kits().set_trouble({});
    cluster_.kits().on_next_restore(nullptr);
    cluster_.storage().all_reachable();
    for (const auto& name : cluster_.nodes()) {
        cluster_.disk(name).most_write = StoreDisk::kMostWrite;
        cluster_.fill_disk(name, false);
    }
    cluster_.shared_disk().all_reach();
    for (const auto& name : cluster_.nodes())
        if (cluster_.host(name).paused()) invariants_.disturbed(name);
    cluster_.resume_all();
    // A host that has not written anything since would lose its power when all is calm.
    for (const auto& name : std::exchange(armed_, {})) {
        cluster_.host(name).power_off();
        simulation_.after(kRebootTime, [this, name] { cluster_.power_on(name); });
    }
}

NodeName FaultInjector::any_node() {
    return cluster_.nodes()[fault_.below(cluster_.nodes().size())];
}

NodeName FaultInjector::other_than(const NodeName& node) {
    auto other = any_node();
    while (other == node)
        other = any_node();
    return other;
}

void FaultInjector::cut(const NodeName& from, const NodeName& to, int network) {
    const auto& sources = cluster_.host(from).addresses();
    const auto& targets = cluster_.host(to).addresses();
    for (std::size_t i = 0; i < sources.size(); ++i)
        if (network < 0 || static_cast<std::size_t>(network) == i)
            simulation_.cut_one_way(sources[i], targets[i]);
}

void FaultInjector::isolate(const NodeName& node) {
    if (fault_.chance(0.5)) cluster_.storage().reachable(node, false);
    for (const auto& other : cluster_.nodes())
        if (other != node) simulation_.partition(node.str(), other.str());
    later(duration(1s, 120s), [this, node] {
        cluster_.storage().reachable(node, true);
        for (const auto& other : cluster_.nodes()) {
            if (other == node) continue;
            note_if_separated(node, other);
            simulation_.heal(node.str(), other.str());
        }
    });
}

// Shorter than what makes a peer DEAD, or the storage only: nobody else notices, and nothing tells the node
// when it is over. Spec: QUO-044
void FaultInjector::lose_quorum_for_a_moment(const NodeName& node) {
    const auto most = cluster_.detection();
    const auto after = duration(1ms, kQuickestScript);
    const auto lasts = duration(10ms, kMostMoment);
    const auto slow = duration(5s, 30s);
    const bool storage = cluster_.options().quorum == quorum::Mode::storage;
    cluster_.kits().on_next_restore([this, node, after, lasts, slow, most, storage](const NodeName& host) {
        if (host != node) return false;
        // So that the moment is over before the start is.
        cluster_.kits().set_trouble({.least = 1s, .most = kSlowestScript});
        later(slow, [this] { cluster_.kits().set_trouble({}); });
        later(after, [this, node, lasts, most, storage] {
            if (storage) {
                cluster_.storage().reachable(node, false);
                return later(lasts, [this, node] { cluster_.storage().reachable(node, true); });
            }
            for (const auto& other : cluster_.nodes())
                if (other != node) simulation_.partition(node.str(), other.str());
            later(std::min<runtime::Duration>(lasts, most), [this, node] {
                for (const auto& other : cluster_.nodes()) {
                    if (other == node) continue;
                    note_if_separated(node, other);
                    simulation_.heal(node.str(), other.str());
                }
            });
        });
        return true;
    });
}

void FaultInjector::lose_disk(const NodeName& node) {
    using Link = runtime::SimulatedDisk::Link;
    cluster_.shared_disk().set_link(node.str(), fault_.chance(0.5) ? Link::fails : Link::hangs);
    later(duration(100ms, 60s), [this, node] {
        for (const auto& other : cluster_.nodes())
            if (other != node) note_if_separated(node, other);
        cluster_.shared_disk().set_link(node.str(), Link::works);
    });
}

/// Any order, back and forth: an administrator also takes an upgrade back.
void FaultInjector::upgrade(const NodeName& node) {
    constexpr std::uint64_t kLaterFeature = 1ULL << 40;
    const comm::Protocol releases[] = {
        {1, 1, 0}, {}, {1, comm::kHighestProtocol + 1, comm::kFeatures | kLaterFeature, true}};
    cluster_.set_release(node, releases[fault_.below(std::size(releases))]);
    crash_daemon(node);
}

void FaultInjector::note_if_separated(const NodeName& a, const NodeName& b) {
    if (cluster_.separated(a, b)) invariants_.disturbed(a, b);
}

void FaultInjector::heal_later(const NodeName& a, const NodeName& b) {
    later(duration(100ms, 60s), [this, a, b] {
        note_if_separated(a, b);
        simulation_.heal(a.str(), b.str());
    });
}

void FaultInjector::power_off(const NodeName& node) {
    cluster_.host(node).power_off();
    later(duration(100ms, 60s), [this, node] { cluster_.power_on(node); });
}

/// What an operating system does: lets the engine stop, within a limit, then cuts the power.
void FaultInjector::shut_down(const NodeName& node) {
    if (!cluster_.host(node).running() || !shutting_down_.insert(node).second) return;
    config::Command stop;
    stop.name = "lkstop";
    stop.options = {{"shutdown", ""}};
    cluster_.start(node, stop);
    await_shutdown(node, simulation_.now() + kShutdownLimit);
}

// It goes on when no new faults come: a host that is shutting down then boots again too.
void FaultInjector::await_shutdown(const NodeName& node, runtime::TimePoint limit) {
    simulation_.after(kShutdownPoll, [this, node, limit] {
        auto& host = cluster_.host(node);
        if ((host.running() || host.paused()) && simulation_.now() < limit)
            return await_shutdown(node, limit);
        shutting_down_.erase(node);
        host.power_off();
        if (stopped_)
            cluster_.power_on(node);
        else
            later(duration(100ms, 60s), [this, node] { cluster_.power_on(node); });
    });
}

void FaultInjector::disable_failover(const NodeName& from, const NodeName& to) {
    cluster_.start(from, SimulatedCluster::system_failover(from, to, false));
    later(duration(5s, 60s),
          [this, from, to] { cluster_.start(from, SimulatedCluster::system_failover(from, to, true)); });
}

// The service manager restarts it well before its peers could miss it. Crashes that follow each other closely
// would add up to a silence that nobody can tell from a dead host.
void FaultInjector::crash_daemon(const NodeName& node) {
    if (!cluster_.host(node).running() || cluster_.host(node).paused()) return;
    if (last_crash_ && simulation_.now() - *last_crash_ < 3 * cluster_.detection()) return;
    last_crash_ = simulation_.now();
    cluster_.host(node).kill_program();
    const runtime::Duration most = cluster_.options().interval / 2;
    later(duration(most / 10, most), [this, node] {
        if (cluster_.host(node).powered()) cluster_.power_on(node);
    });
}

void FaultInjector::pause(const NodeName& node, runtime::Pause what) {
    if (!cluster_.host(node).running()) return;
    cluster_.host(node).pause(what);
    later(duration(10ms, 30s), [this, node] {
        invariants_.disturbed(node);
        cluster_.host(node).resume();
    });
}

void FaultInjector::kits_later(KitModel::Trouble trouble) {
    cluster_.kits().set_trouble(trouble);
    later(duration(1s, 60s), [this] { cluster_.kits().set_trouble({}); });
}

void FaultInjector::break_an_application() {
    const auto& hierarchy = cluster_.hierarchies()[fault_.below(cluster_.hierarchies().size())];
    const auto& tag = hierarchy.members[fault_.below(hierarchy.members.size())];
    for (const auto& host : cluster_.kits().hosts_running(tag))
        cluster_.kits().break_down(host, tag);
}

void FaultInjector::slow_disk(const NodeName& node) {
    cluster_.disk(node).most_write = kSlowWrite;
    later(duration(1s, 60s), [this, node] { cluster_.disk(node).most_write = StoreDisk::kMostWrite; });
}

void FaultInjector::full_disk(const NodeName& node) {
    cluster_.fill_disk(node, true, fault_.chance(kRunFullChance));
    const auto lasts = duration(1s, 30s);
    if (fault_.chance(0.5)) later(duration(1ms, lasts), [this, node] { crash_daemon(node); });
    later(lasts, [this, node] { cluster_.fill_disk(node, false); });
}

void FaultInjector::strike(Fault fault) {
    ++struck_;
    fault_ = runtime::simulated::RandomStream(seed_of_fault(seed_, drawn_));
    simulation_.note("fault", fmt::format("{}: {}", drawn_, to_string(fault)));
    const auto node = any_node();
    const auto other = other_than(node);
    const runtime::Duration interval = cluster_.options().interval;
    switch (fault) {
        case Fault::power_off:
            return power_off(node);
        case Fault::power_off_in_write:
            cluster_.host(node).power_off_in_next_write();
            armed_.insert(node);
            return later(duration(10s, 60s), [this, node] { cluster_.power_on(node); });
        case Fault::daemon_crash:
            return crash_daemon(node);
        case Fault::switchover: {
            const auto which = fault_.below(cluster_.hierarchies().size());
            return cluster_.start(node,
                                  SimulatedCluster::switchover(cluster_.hierarchies()[which].root, other));
        }
        case Fault::restore: {
            const auto& hierarchy = cluster_.hierarchies()[fault_.below(cluster_.hierarchies().size())];
            const auto& tag = hierarchy.members[fault_.below(hierarchy.members.size())];
            return cluster_.start(node, SimulatedCluster::perform_action(tag, "restore"));
        }
        case Fault::shutdown:
            return shut_down(node);
        case Fault::policy:
            return disable_failover(node, other);
        case Fault::broken_connections:
            return simulation_.break_connections(node.str(), other.str());
        case Fault::connection_loss:
            simulation_.set_connection_loss(kConnectionLoss);
            return later(duration(1s, 60s), [this] { simulation_.set_connection_loss(0); });
        case Fault::slow_network:
            simulation_.set_delay(1ms, interval / 10);
            return later(duration(1s, 60s), [this] { simulation_.set_delay(100us, 1ms); });
        case Fault::clock:
            cluster_.host(node).set_clock_drift(static_cast<int>(fault_.below(2 * kMostDriftPpm + 1)) -
                                                kMostDriftPpm);
            return cluster_.host(other).jump_wall_clock(
                std::chrono::duration_cast<std::chrono::microseconds>(duration(-24h, 24h)));
        case Fault::failing_kits:
            return kits_later({.fails = kFailChance});
        case Fault::hanging_kits:
            return kits_later({.hangs = kHangChance});
        case Fault::application:
            return break_an_application();
        case Fault::lying_kits:
            return kits_later({.lies = kActionLieChance});
        case Fault::slow_kits:
            return kits_later({.least = 1s, .most = kSlowestScript});
        case Fault::lying_checks:
            return kits_later({.check_lies = kLieChance});
        case Fault::hanging_checks:
            return kits_later({.check_hangs = kHangChance});
        case Fault::partition:
            simulation_.partition(node.str(), other.str());
            return heal_later(node, other);
        case Fault::one_way_cut:
            cut(node, other, -1);
            return heal_later(node, other);
        case Fault::one_network: {
            const auto network =
                static_cast<int>(fault_.below(static_cast<std::uint64_t>(cluster_.options().paths)));
            cut(node, other, network);
            cut(other, node, network);
            return heal_later(node, other);
        }
        case Fault::program_pause:
            return pause(node, runtime::Pause::program);
        case Fault::host_pause:
            return pause(node, runtime::Pause::host);
        case Fault::slow_disk:
            return slow_disk(node);
        case Fault::full_disk:
            return full_disk(node);
        case Fault::disk_trouble:
            return lose_disk(node);
        case Fault::upgrade:
            return upgrade(node);
        case Fault::storage_cut:
            cluster_.storage().reachable(node, false);
            return later(duration(1s, 60s), [this, node] { cluster_.storage().reachable(node, true); });
        case Fault::storage_slow:
            cluster_.storage().set_delay(2s);
            cluster_.storage().set_staleness(kMostStale);
            return later(duration(1s, 60s), [this] {
                cluster_.storage().set_delay(20ms);
                cluster_.storage().set_staleness({});
            });
        case Fault::quorum_moment:
            return lose_quorum_for_a_moment(node);
        case Fault::isolation:
            return isolate(node);
    }
}

}  // namespace understudy::sim
