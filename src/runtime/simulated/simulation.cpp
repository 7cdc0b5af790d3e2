#include "runtime/simulated/disk.h"
#include "runtime/simulated/host_clock.h"
#include "runtime/simulated/network_core.h"
#include "runtime/simulated/process_table.h"
#include "runtime/simulated/random_stream.h"
#include "runtime/simulated/simulated_world.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace understudy::runtime {

using simulated::Disk;
using simulated::EventQueue;
using simulated::HostClock;
using simulated::HostContext;
using simulated::Incarnation;
using simulated::NetworkCore;
using simulated::NetworkHost;
using simulated::ProcessTable;
using simulated::RandomStream;

namespace {

// A host's monotonic clock stands somewhere in here when its program starts after a power-on, so that no two
// hosts' clocks can be mixed up unnoticed.
constexpr Duration kLeastUptime = std::chrono::seconds(10);
constexpr Duration kMostUptime = std::chrono::seconds(1000);

/// A mistake in the simulation's use: no run may go on from it, in any build.
void require(bool holds, std::string_view what, std::string_view on) {
    if (holds) return;
    fmt::print(stderr, "simulation: {}: {}\n", on, what);
    std::abort();
}

class NodeRandom : public Random {
  public:
    explicit NodeRandom(RandomStream& stream) : stream_(stream) {}
    std::uint64_t next() override { return stream_.next(); }
    void fill(std::span<std::byte> out) override {
        for (std::size_t at = 0; at < out.size(); at += sizeof(std::uint64_t)) {
            const auto word = stream_.next();
            std::memcpy(out.data() + at, &word, std::min(sizeof word, out.size() - at));
        }
    }

  private:
    RandomStream& stream_;
};

}  // namespace

struct Simulation::Impl {
    explicit Impl(std::uint64_t seed) : random(seed), network(queue, random), node_random(random) {
        set_detail(TraceDetail::full);
    }

    EventQueue queue;
    RandomStream random;
    NetworkCore network;
    NodeRandom node_random;
    std::vector<std::unique_ptr<SimulatedNode>> nodes;
    std::function<void()> check;
    TraceDetail detail = TraceDetail::full;
    std::string trace;
    std::uint64_t events = 0;
    TimePoint instant{};
    std::size_t events_at_instant = 0;
    int depth = 0;                                // callbacks on the stack
    std::vector<std::function<void()>> deferred;  // deaths that wait for a callback to return

    void line(std::string_view who, std::string_view what) {
        if (trace.size() > kMaxTraceBytes) trace.erase(0, trace.find('\n', kMaxTraceBytes / 2) + 1);
        const auto time = queue.now().time_since_epoch().count();
        fmt::format_to(std::back_inserter(trace), "{}.{:09} {} {}\n", time / 1'000'000'000,
                       time % 1'000'000'000, who, what);
    }
    void note(std::string_view who, std::string_view what) {
        if (detail != TraceDetail::none) line(who, what);
    }
    void set_detail(TraceDetail wanted) {
        detail = wanted;
        if (detail == TraceDetail::full)
            network.set_trace([this](std::string_view who, const std::string& what) { line(who, what); });
        else
            network.set_trace({});
    }
    [[nodiscard]] SimulatedNode::Impl& node(std::string_view name);

    /// Runs a callback of `owner`; deaths asked for inside it happen when the outermost one has returned.
    void run(simulated::EventOwner* owner, const std::function<void()>& function) {
        ++depth;
        if (owner != nullptr) ++owner->depth;
        function();
        if (owner != nullptr) --owner->depth;
        if (--depth > 0) return;
        for (const auto& death : std::exchange(deferred, {}))
            death();
    }
    bool step(TimePoint limit);
};

struct SimulatedNode::Impl {
    Impl(Simulation::Impl& owner, std::string node_name, std::vector<std::string> node_addresses)
        : sim(owner),
          disk(owner.random, [&owner] { return owner.queue.now(); }),
          processes(owner.queue, host_events, [this](const std::string& what) {
              if (sim.detail == TraceDetail::full) sim.line(net.name, what);
          }) {
        net.name = std::move(node_name);
        net.addresses = std::move(node_addresses);
        sim.network.add_host(net);
    }

    void die(bool power_off);
    void finish_death(const std::shared_ptr<Incarnation>& program, bool power_off);

    Simulation::Impl& sim;
    NetworkHost net;
    HostClock clock;
    Disk disk;
    simulated::EventOwner host_events;  // processes
    ProcessTable processes;
    RunningProgram running;
    bool dying = false;         // a death waits for the program's callback to return
    bool losing_power = false;  // and it is a power-off
    std::uint64_t boots = 0;
    HostContext context{sim.queue,
                        sim.network,
                        processes,
                        disk,
                        sim.node_random,
                        net.name,
                        [this] { return clock.now(sim.queue.now()); },
                        [this] { return clock.wall(sim.queue.now()); },
                        [this](Duration local) { return clock.truly(local); },
                        [this] { die(true); }};
};

SimulatedNode::Impl& Simulation::Impl::node(std::string_view name) {
    for (const auto& node : nodes)
        if (node->name() == name) return *node->impl_;
    require(false, "there is no such node", name);
    std::abort();
}

bool Simulation::Impl::step(TimePoint limit) {
    auto event = queue.take_next(limit);
    if (!event.function) return false;
    ++events;
    if (queue.now() != std::exchange(instant, queue.now())) events_at_instant = 0;
    if (++events_at_instant > kMaxEventsAtOneInstant) {
        fmt::print(stderr, "the simulation does not advance: {} events at one instant; end of the trace:\n{}",
                   events_at_instant, trace.substr(trace.size() - std::min<std::size_t>(trace.size(), 4096)));
        std::abort();
    }
    run(event.owner, event.function);
    event.function = nullptr;
    if (check) check();
    return true;
}

Simulation::Simulation(std::uint64_t seed) : impl_(std::make_unique<Impl>(seed)) {}

Simulation::~Simulation() {
    impl_->check = nullptr;
    for (const auto& node : impl_->nodes)
        node->power_off();
    // What is left belongs to nobody; it may own what refers to the queue.
    while (impl_->queue.take_next(TimePoint::max()).function) {
    }
}

SimulatedNode& Simulation::add_node(const std::string& name, const std::vector<std::string>& addresses) {
    require(!addresses.empty(), "a node needs an address", name);
    impl_->nodes.emplace_back(
        new SimulatedNode(std::make_unique<SimulatedNode::Impl>(*impl_, name, addresses)));
    return *impl_->nodes.back();
}

SimulatedNode& Simulation::node(const std::string& name) {
    const auto at = std::find_if(impl_->nodes.begin(), impl_->nodes.end(),
                                 [&](const auto& node) { return node->name() == name; });
    require(at != impl_->nodes.end(), "there is no such node", name);
    return **at;
}

void Simulation::run_for(Duration duration) {
    const auto limit = now() + duration;
    while (impl_->step(limit)) {
    }
}

bool Simulation::run_until(const std::function<bool()>& condition, Duration limit) {
    const auto end = now() + limit;
    while (!condition())
        if (!impl_->step(end)) return condition();
    return true;
}

TimePoint Simulation::now() const {
    return impl_->queue.now();
}

std::uint64_t Simulation::events_run() const {
    return impl_->events;
}

void Simulation::after_each_event(std::function<void()> check) {
    impl_->check = std::move(check);
}

void Simulation::at(TimePoint when, std::function<void()> function) {
    impl_->queue.schedule(when, nullptr, std::move(function));
}

void Simulation::cut_one_way(const std::string& from_address, const std::string& to_address) {
    impl_->note("network", fmt::format("cut {} -> {}", from_address, to_address));
    impl_->network.cut(from_address, to_address);
}

void Simulation::heal_one_way(const std::string& from_address, const std::string& to_address) {
    impl_->note("network", fmt::format("heal {} -> {}", from_address, to_address));
    impl_->network.heal(from_address, to_address);
}

void Simulation::partition(const std::string& node_a, const std::string& node_b) {
    impl_->note("network", fmt::format("cut {} and {}", node_a, node_b));
    for (const auto& a : impl_->node(node_a).net.addresses)
        for (const auto& b : impl_->node(node_b).net.addresses) {
            impl_->network.cut(a, b);
            impl_->network.cut(b, a);
        }
}

void Simulation::heal(const std::string& node_a, const std::string& node_b) {
    impl_->note("network", fmt::format("heal {} and {}", node_a, node_b));
    for (const auto& a : impl_->node(node_a).net.addresses)
        for (const auto& b : impl_->node(node_b).net.addresses) {
            impl_->network.heal(a, b);
            impl_->network.heal(b, a);
        }
}

void Simulation::heal_all() {
    impl_->note("network", "heal all");
    impl_->network.heal_all();
}

bool Simulation::is_cut(const std::string& node_a, const std::string& node_b) const {
    for (const auto& a : impl_->node(node_a).net.addresses)
        for (const auto& b : impl_->node(node_b).net.addresses)
            if (impl_->network.is_cut(a, b) || impl_->network.is_cut(b, a)) return true;
    return false;
}

bool Simulation::is_cut_one_way(const std::string& from_address, const std::string& to_address) const {
    return impl_->network.is_cut(from_address, to_address);
}

void Simulation::set_delay(Duration least, Duration most) {
    impl_->network.set_delay(least, most);
}

void Simulation::set_connection_loss(double probability) {
    impl_->network.set_loss(probability);
}

int Simulation::connections_lost(const std::string& node_a, const std::string& node_b, TimePoint from,
                                 TimePoint to) const {
    return impl_->network.losses(impl_->node(node_a).net, impl_->node(node_b).net, from, to);
}

void Simulation::break_connections(const std::string& node_a, const std::string& node_b) {
    impl_->note("network", fmt::format("breaks the connections of {} and {}", node_a, node_b));
    impl_->network.break_connections(impl_->node(node_a).net, impl_->node(node_b).net);
}

std::uint64_t Simulation::random() {
    return impl_->random.next();
}

std::uint64_t Simulation::random_below(std::uint64_t bound) {
    return impl_->random.below(bound);
}

Duration Simulation::random_duration(Duration least, Duration most) {
    return least + Duration(impl_->random.below(static_cast<std::uint64_t>((most - least).count()) + 1));
}

bool Simulation::chance(double probability) {
    return impl_->random.chance(probability);
}

void Simulation::note(std::string_view who, std::string_view what) {
    impl_->note(who, what);
}

void Simulation::set_trace_detail(TraceDetail detail) {
    impl_->set_detail(detail);
}

const std::string& Simulation::trace() const {
    return impl_->trace;
}

SimulatedNode::SimulatedNode(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SimulatedNode::~SimulatedNode() = default;

void SimulatedNode::boot(Program program) {
    require(impl_->net.program == nullptr, "boot() while a program runs", name());
    if (!impl_->net.powered) {
        impl_->net.powered = true;
        ++impl_->boots;
        impl_->clock.boot(impl_->sim.queue.now(),
                          kLeastUptime + Duration(impl_->sim.random.below(static_cast<std::uint64_t>(
                                             (kMostUptime - kLeastUptime).count()))));
        impl_->sim.note(name(), "powers on");
        impl_->sim.network.reachability_changed();
    }
    impl_->sim.note(name(), "starts its program");
    impl_->processes.end_unfinished();
    const auto incarnation = std::make_shared<Incarnation>(impl_->context, impl_->processes.next_pid());
    impl_->net.program = incarnation;
    impl_->dying = false;
    impl_->sim.run(incarnation.get(), [&] { impl_->running = program(incarnation->world()); });
}

void SimulatedNode::Impl::die(bool power_off) {
    const auto program = net.program;
    if (!net.powered || losing_power) return;
    // A frozen host delivers no signal.
    if (!power_off && (program == nullptr || dying || net.frozen)) return;
    sim.note(net.name, power_off ? "loses power" : "program is killed");
    if (program != nullptr) program->die();
    dying = true;
    losing_power = power_off;
    if (program != nullptr && program->depth > 0)
        sim.deferred.emplace_back([this, program, power_off] { finish_death(program, power_off); });
    else
        finish_death(program, power_off);
}

void SimulatedNode::Impl::finish_death(const std::shared_ptr<Incarnation>& program, bool power_off) {
    if (power_off) net.powered = false;
    if (program != nullptr && program == net.program) {
        program->held = false;
        sim.network.program_died(*program, !power_off);
        net.program = nullptr;
        const auto destroyed = std::exchange(running, {});
        static_cast<void>(destroyed);
    }
    if (program != nullptr) {
        processes.forget_starter(*program);
        sim.queue.purge(*program);
    }
    dying = false;
    if (!power_off) return;
    losing_power = false;
    net.frozen = false;
    host_events.held = false;
    processes.power_off();
    sim.queue.purge(host_events);
    disk.lose_unsynced();
    sim.network.reachability_changed();
}

void SimulatedNode::power_off() {
    impl_->die(true);
}

void SimulatedNode::kill_program() {
    impl_->die(false);
}

void SimulatedNode::call(const std::function<void()>& function) {
    const auto program = impl_->net.program;
    if (program != nullptr) impl_->sim.run(program.get(), function);
}

bool SimulatedNode::running() const {
    return impl_->net.program != nullptr && !impl_->dying;
}

bool SimulatedNode::powered() const {
    return impl_->net.powered;
}

std::uint64_t SimulatedNode::boots() const {
    return impl_->boots;
}

void SimulatedNode::pause(Pause what) {
    if (!impl_->net.powered || impl_->net.program == nullptr) return;
    impl_->sim.note(name(), what == Pause::host ? "freezes" : "program stops");
    impl_->net.program->held = true;
    if (what == Pause::program || impl_->net.frozen) return;
    impl_->net.frozen = true;
    impl_->host_events.held = true;
    impl_->sim.network.reachability_changed();
}

void SimulatedNode::resume() {
    if (!paused()) return;
    impl_->sim.note(name(), "resumes");
    if (std::exchange(impl_->net.frozen, false)) {
        impl_->sim.network.reachability_changed();
        impl_->sim.queue.release(impl_->host_events);
    }
    impl_->sim.queue.release(*impl_->net.program);
}

bool SimulatedNode::paused() const {
    return impl_->net.program != nullptr && impl_->net.program->held;
}

void SimulatedNode::jump_wall_clock(std::chrono::microseconds by) {
    impl_->sim.note(name(), fmt::format("wall clock jumps by {} us", by.count()));
    impl_->clock.jump(by);
}

void SimulatedNode::set_clock_drift(int parts_per_million) {
    impl_->sim.note(name(), fmt::format("clock drifts by {} ppm", parts_per_million));
    impl_->clock.set_drift(impl_->sim.queue.now(), parts_per_million);
}

void SimulatedNode::set_process_model(ProcessModel model) {
    impl_->processes.set_model(std::move(model));
}

void SimulatedNode::install_executable(const std::string& path) {
    impl_->disk.install(path);
}

int SimulatedNode::start_foreign_process(Duration lives) {
    return impl_->processes.start_foreign(lives);
}

std::size_t SimulatedNode::processes() const {
    return impl_->processes.count();
}

void SimulatedNode::set_ca_fingerprint(std::string fingerprint) {
    impl_->net.ca_fingerprint = std::move(fingerprint);
}

const std::string& SimulatedNode::name() const {
    return impl_->net.name;
}

const std::vector<std::string>& SimulatedNode::addresses() const {
    return impl_->net.addresses;
}

Files& SimulatedNode::files() {
    return impl_->disk;
}

void SimulatedNode::power_off_in_next_write() {
    impl_->disk.power_off_in_next_write();
}

void SimulatedNode::set_run_full(bool full) {
    impl_->disk.set_run_full(full);
}

void SimulatedNode::set_disk_full(bool full) {
    impl_->disk.set_full(full);
}

}  // namespace understudy::runtime
