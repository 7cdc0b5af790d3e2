#pragma once
// Nodes with a Cluster each in a simulated world, for tests of this folder.

#include "comm/cluster.h"
#include "comm/wire.h"
#include "runtime/simulated/shared_disk.h"
#include "runtime/simulated/simulated_world.h"

#include <gtest/gtest.h>

#include <map>

namespace understudy::comm::testing {

using namespace std::chrono_literals;
using runtime::Duration;
using Kind = PeerEvent::Kind;

inline const NodeName kA("A");
inline const NodeName kB("B");
inline const NodeName kC("C");

inline config::Path path(const NodeName& remote, const std::string& device, const std::string& remote_address,
                         const std::string& local_address, int priority = 1, int interval_ms = 200,
                         int misses = 3) {
    config::Path out;
    out.remote = remote;
    out.device = device;
    out.transport = "TLI";
    out.priority = priority;
    out.interval_ms = interval_ms;
    out.misses = misses;
    out.remote_address = remote_address;
    out.local_address = local_address;
    return out;
}

/// What a node's program does and saw. Outlives the program, not the world.
struct Host {
    std::vector<config::Path> paths;
    std::string version = "1.0";
    Protocol protocol;
    std::vector<PeerEvent> events;
    std::vector<runtime::TimePoint> event_times;
    std::vector<Duration> absences;
    std::vector<Duration> late;
    std::map<std::string, int> runs;  // of the method "echo", by payload
    std::vector<std::string> notices;
    Duration answer_after{};  // of "echo"
    std::map<std::string, runtime::SimulatedDisk*> disks;
    const runtime::SimulatedNode* node = nullptr;
    Cluster* cluster = nullptr;
    runtime::World* world = nullptr;

    [[nodiscard]] int count(Kind kind) const {
        return static_cast<int>(std::count_if(events.begin(), events.end(),
                                              [&](const auto& event) { return event.kind == kind; }));
    }
    [[nodiscard]] PathState state(const std::string& device = "TCP:1500") const {
        for (const auto& status : cluster->paths())
            if (status.path.device == device) return status.state;
        return PathState::dead;
    }
    [[nodiscard]] std::string problem(const std::string& device = "TCP:1500") const {
        for (const auto& status : cluster->paths())
            if (status.path.device == device) return status.problem;
        return "no such path";
    }
};

/// A node's program: a Cluster that serves "echo", and writes what happens to its Host.
class Daemon {
  public:
    Daemon(runtime::World world, NodeName name, Host& host)
        : world_(world),
          host_(host),
          disks_(*host.node, world.tasks, host.disks),
          cluster_(world, {std::move(name), host.version, 4, &disks_, host.protocol}) {
        host.cluster = &cluster_;
        host.world = &world_;
        cluster_.on_peer_event([this](const PeerEvent& event) {
            host_.events.push_back(event);
            host_.event_times.push_back(world_.clock.now());
        });
        cluster_.on_absence([this](Duration absent) { host_.absences.push_back(absent); });
        cluster_.on_late_heartbeat([this](Duration late) { host_.late.push_back(late); });
        cluster_.serve("echo", [this](const NodeName&, std::string_view payload, Cluster::Answer answer) {
            ++host_.runs[std::string(payload)];
            world_.tasks.after(host_.answer_after,
                               [answer = std::move(answer), text = std::string(payload)] { answer(text); });
        });
        cluster_.serve("fail", [](const NodeName& caller, std::string_view, const Cluster::Answer& answer) {
            answer(fail(Error{Code::has_dependents, "no, " + caller.str(), 424}));
        });
        cluster_.serve("drop", [](const NodeName&, std::string_view, const Cluster::Answer&) {});
        cluster_.serve("notice",
                       [this](const NodeName& caller, std::string_view payload, const Cluster::Answer&) {
                           host_.notices.push_back(caller.str() + ":" + std::string(payload));
                       });
        cluster_.set_paths(host.paths);
    }
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon() {
        host_.cluster = nullptr;
        host_.world = nullptr;
    }

  private:
    runtime::World world_;
    Host& host_;
    runtime::SimulatedDisks disks_;
    Cluster cluster_;
};

/// Two nodes with two networks between them: TCP:1500 (priority 1) and TCP:1510 (priority 2).
class TwoNodes : public ::testing::Test {
  protected:
    explicit TwoNodes(std::uint64_t seed = 1) : sim(seed) {
        sim.set_trace_detail(runtime::TraceDetail::none);
        sim.add_node("A", {"10.0.0.1", "10.1.0.1"});
        sim.add_node("B", {"10.0.0.2", "10.1.0.2"});
        a.paths = {path(kB, "TCP:1500", "10.0.0.2", "10.0.0.1", 1),
                   path(kB, "TCP:1510", "10.1.0.2", "10.1.0.1", 2)};
        b.paths = {path(kA, "TCP:1500", "10.0.0.1", "10.0.0.2", 1),
                   path(kA, "TCP:1510", "10.1.0.1", "10.1.0.2", 2)};
    }
    void boot(const NodeName& name, Host& host) {
        host.node = &sim.node(name.str());
        sim.node(name.str()).boot([name, &host](runtime::World world) {
            return std::make_unique<Daemon>(world, name, host);
        });
    }
    void boot_both() {
        boot(kB, b);
        boot(kA, a);
    }
    void start() {
        boot_both();
        ASSERT_TRUE(sim.run_until([&] { return all_alive(); }, 1s));
        sim.run_for(10ms);
    }
    [[nodiscard]] bool all_alive() const {
        for (const auto* host : {&a, &b})
            for (const auto& status : host->cluster->paths())
                if (status.state != PathState::alive) return false;
        return true;
    }
    /// Calls and runs the world until the answer came.
    Result<std::string> call(Host& from, const NodeName& to, const std::string& method,
                             const std::string& payload, Duration deadline = 5s) {
        std::optional<Result<std::string>> answer;
        from.cluster->call(to, method, payload, deadline, [&](Result<std::string> result) {
            EXPECT_FALSE(answer) << "answered twice";
            answer = std::move(result);
        });
        EXPECT_FALSE(answer) << "answered on the caller's stack";
        EXPECT_TRUE(sim.run_until([&] { return answer.has_value(); }, deadline + 1s));
        return answer ? *answer : fail(Code::internal, "never answered");
    }
    void cut_first_network() {
        sim.cut_one_way("10.0.0.1", "10.0.0.2");
        sim.cut_one_way("10.0.0.2", "10.0.0.1");
    }
    void heal_first_network() {
        sim.heal_one_way("10.0.0.1", "10.0.0.2");
        sim.heal_one_way("10.0.0.2", "10.0.0.1");
    }

    // Programs write to their hosts until the world ends.
    Host a;
    Host b;
    Host c;
    runtime::Simulation sim;
};

/// A peer by hand: accepts connections on 10.0.0.2 port 1500 and records the frames.
class ScriptedPeer {
  public:
    explicit ScriptedPeer(runtime::World world) : world_(world) {
        auto listening = world.network.listen({"10.0.0.2", 1500}, runtime::Security::cluster,
                                              [this](std::unique_ptr<runtime::Channel> channel) {
                                                  ++connections;
                                                  channels_.push_back(std::move(channel));
                                                  channels_.back()->start(
                                                      [this](std::span<const std::byte> bytes) {
                                                          if (auto frame = wire::decode(bytes))
                                                              frames.push_back(*frame);
                                                          if (on_frame) on_frame();
                                                      },
                                                      [this](const Error&) { ++closed; });
                                                  if (on_connect) on_connect();
                                              });
        EXPECT_TRUE(listening);
        if (listening) listener_ = std::move(*listening);
    }
    void send_bytes(const std::string& bytes) {
        channels_.back()->send(std::as_bytes(std::span(bytes.data(), bytes.size())));
    }
    void send(const wire::Frame& frame) { send_bytes(wire::encode(frame)); }
    [[nodiscard]] static wire::Hello hello() { return {1, 0, "B", "1.0", "TCP:1500", 42, 200, 3}; }
    template <class Frame>
    [[nodiscard]] std::vector<Frame> received() const {
        std::vector<Frame> out;
        for (const auto& frame : frames)
            if (const auto* one = std::get_if<Frame>(&frame)) out.push_back(*one);
        return out;
    }

    int connections = 0;
    int closed = 0;
    std::vector<wire::Frame> frames;
    std::function<void()> on_connect;
    std::function<void()> on_frame;

  private:
    runtime::World world_;
    std::unique_ptr<runtime::Listener> listener_;
    std::vector<std::unique_ptr<runtime::Channel>> channels_;
};

}  // namespace understudy::comm::testing
