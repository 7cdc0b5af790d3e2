// DISK paths in the simulated world: liveness without commands.

#include "comm/cluster_test_world.h"
#include "comm/disk_format.h"
#include "comm/disk_setup.h"

#include <gmock/gmock.h>

namespace understudy::comm::testing {
namespace {

using runtime::SimulatedDisk;
using ::testing::HasSubstr;

constexpr const char* kDevice = "DISK:/dev/shared";

config::Path disk_path(const NodeName& remote) {
    auto out = path(remote, kDevice, "", "", 61);
    out.transport = "DISK";
    return out;
}

class DiskPaths : public TwoNodes {
  protected:
    DiskPaths() : disk(sim, disk::kProbeBytes) {
        for (auto* host : {&a, &b})
            host->disks["/dev/shared"] = &disk;
        a.paths.push_back(disk_path(kB));
        b.paths.push_back(disk_path(kA));
        write_header(kA, kB);
    }
    void write_header(const NodeName& one, const NodeName& other) {
        disk.content().replace(0, disk::kBlockBytes, disk::encode_header(disk::Pair::of(one, other), 1));
    }
    void begin() {
        boot_both();
        ASSERT_TRUE(sim.run_until([&] { return all_alive(); }, 2s)) << a.problem(kDevice);
        sim.run_for(10ms);
    }

    SimulatedDisk disk;
};

// Spec: CLU-046, CLU-053
TEST_F(DiskPaths, ComeAliveOnBothEnds) {
    begin();
    EXPECT_EQ(a.state(kDevice), PathState::alive);
    EXPECT_EQ(b.state(kDevice), PathState::alive);
    EXPECT_GE(a.count(Kind::comm_up), 1);
    sim.run_for(60s);
    EXPECT_EQ(a.count(Kind::path_down), 0);
    EXPECT_EQ(b.count(Kind::path_down), 0);
}

// Spec: CLU-052, CLU-053, CLU-068
TEST_F(DiskPaths, KeepANodeAliveWhoseNetworksAreCut) {
    begin();
    sim.partition("A", "B");
    sim.run_for(30s);
    for (const auto* host : {&a, &b}) {
        EXPECT_EQ(host->count(Kind::comm_down), 0);
        EXPECT_EQ(host->count(Kind::path_down), 2);
    }
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::alive);
    EXPECT_FALSE(a.cluster->carries_calls(kB));
    const auto ups = a.count(Kind::comm_up);
    sim.heal("A", "B");
    ASSERT_TRUE(sim.run_until([&] { return all_alive(); }, 10s));
    sim.run_for(10ms);
    EXPECT_EQ(a.count(Kind::comm_up), ups + 1) << "it can be asked again";
    EXPECT_TRUE(a.cluster->carries_calls(kB));
    EXPECT_EQ(call(a, kB, "echo", "hello").value_or(""), "hello");
}

// Spec: CLU-052, CLU-091
TEST_F(DiskPaths, CarryNoCalls) {
    begin();
    b.answer_after = 10s;
    std::optional<Result<std::string>> running;
    a.cluster->call(kB, "echo", "x", 60s, [&](Result<std::string> result) { running = std::move(result); });
    sim.run_for(100ms);
    sim.partition("A", "B");
    ASSERT_TRUE(sim.run_until([&] { return running.has_value(); }, 3s))
        << "a call must not wait for a path that carries none";
    EXPECT_EQ(running->error().code, Code::unreachable);
    EXPECT_THAT(running->error().text, HasSubstr("the last TCP path to B died"));
    const auto refused = call(a, kB, "echo", "y");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::unreachable);
    EXPECT_THAT(refused.error().text, HasSubstr("by its DISK path only"));
}

// Spec: CLU-053, CLU-067
TEST_F(DiskPaths, ADeadNodeIsFoundOverTheDiskToo) {
    begin();
    sim.partition("A", "B");
    sim.run_for(5s);
    const auto before = sim.now();
    sim.node("B").power_off();
    ASSERT_TRUE(sim.run_until([&] { return a.count(Kind::comm_down) == 1; }, 5s));
    EXPECT_LE(sim.now() - before, 900ms) << "interval x misses, and the time between two readings";
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::dead);
    sim.run_for(60s);
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::dead) << "what it has left is no sign of life";
    boot(kB, b);
    ASSERT_TRUE(sim.run_until([&] { return a.count(Kind::comm_up) == 2; }, 5s)) << "by the disk alone";
}

// Spec: CLU-070, CLU-053
TEST_F(DiskPaths, AFailureInOneDirectionIsDeadOnBothEnds) {
    begin();
    for (const auto link : {SimulatedDisk::Link::fails, SimulatedDisk::Link::hangs}) {
        disk.set_link("B", link);
        ASSERT_TRUE(sim.run_until(
            [&] { return a.state(kDevice) == PathState::dead && b.state(kDevice) == PathState::dead; }, 3s));
        EXPECT_THAT(b.problem(kDevice), link == SimulatedDisk::Link::hangs ? HasSubstr("does not answer")
                                                                           : HasSubstr("Input/output error"));
        EXPECT_THAT(a.problem(kDevice), HasSubstr("no heartbeat from B"));
        EXPECT_EQ(a.count(Kind::comm_down), 0) << "the TCP paths work";
        disk.set_link("B", SimulatedDisk::Link::works);
        ASSERT_TRUE(sim.run_until([&] { return all_alive(); }, 5s));
    }
}

// Spec: CLU-053
TEST_F(DiskPaths, WriteToNoDiskButTheirOwn) {
    std::string someone_elses(disk::kProbeBytes, 'x');
    disk.content() = someone_elses;
    boot_both();
    sim.run_for(10s);
    EXPECT_EQ(disk.content(), someone_elses);
    EXPECT_EQ(a.state(kDevice), PathState::dead);
    EXPECT_THAT(a.problem(kDevice), HasSubstr("does not carry a path between A and B"));
    EXPECT_EQ(a.state(), PathState::alive);
    write_header(kA, kC);
    someone_elses = disk.content();
    sim.run_for(10s);
    EXPECT_EQ(disk.content(), someone_elses);
    EXPECT_THAT(a.problem(kDevice), HasSubstr("belongs to a path between A and C"));
    write_header(kA, kB);
    EXPECT_TRUE(sim.run_until([&] { return all_alive(); }, 5s)) << "it is looked at again and again";
}

// Spec: CLU-053
TEST_F(DiskPaths, ADiskUnderAnotherNameOnOneServerIsReported) {
    SimulatedDisk another(sim, disk::kProbeBytes);
    another.content() = disk.content();
    b.disks["/dev/shared"] = &another;
    boot_both();
    sim.run_for(10s);
    EXPECT_EQ(a.state(kDevice), PathState::dead);
    EXPECT_EQ(b.state(kDevice), PathState::dead);
    b.disks.clear();
    sim.node("B").kill_program();
    boot(kB, b);
    sim.run_for(5s);
    EXPECT_THAT(b.problem(kDevice), HasSubstr("no such device"));
    sim.node("B").power_off();  // before the disk goes
    sim.node("A").power_off();
}

// A power cut in the middle of a write leaves half a record; the next life writes over it. Spec: CLU-053
TEST_F(DiskPaths, PowerCutsNeverMakeASignOfLife) {
    begin();
    sim.partition("A", "B");
    sim.run_for(2s);
    for (int round = 0; round < 50; ++round) {
        sim.run_for(sim.random_duration(0ms, 400ms));
        sim.node("B").power_off();
        ASSERT_TRUE(sim.run_until([&] { return a.cluster->peer_state(kB) == PeerState::dead; }, 2s));
        boot(kB, b);
        ASSERT_TRUE(sim.run_until([&] { return a.cluster->peer_state(kB) == PeerState::alive; }, 3s))
            << round << " " << a.problem(kDevice);
    }
}

// Spec: CLU-061
TEST_F(DiskPaths, DeletingTheLastTcpPathIsNoFailure) {
    begin();
    auto only_disk = a.paths;
    only_disk.erase(only_disk.begin(), only_disk.begin() + 2);
    std::optional<Result<std::string>> running;
    b.answer_after = 10s;
    a.cluster->call(kB, "echo", "x", 60s, [&](Result<std::string> result) { running = std::move(result); });
    sim.run_for(50ms);
    a.cluster->set_paths(only_disk);
    sim.run_for(5s);
    EXPECT_EQ(a.count(Kind::comm_down), 0);
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::alive);
    EXPECT_TRUE(running && !*running) << "the call has nowhere to be answered";
    a.cluster->set_paths({});
    sim.run_for(5s);
    EXPECT_EQ(a.count(Kind::comm_down), 0);
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::unknown);
}

class DiskSetup : public ::testing::Test {
  protected:
    DiskSetup() : disk(sim, 2 * disk::kProbeBytes), host(sim.add_node("A", {"10.0.0.1"})) {
        host.boot([this](runtime::World world) {
            program.emplace(world);
            return std::make_unique<int>();
        });
    }
    Result<> prepare(const std::string& device, const NodeName& self, const NodeName& peer) {
        runtime::SimulatedDisks disks(host, program->tasks, {{"/dev/shared", &disk}});
        runtime::TaskScope scope;
        std::optional<Result<>> outcome;
        scope.spawn(run(disks, device, self, peer, outcome));
        sim.run_until([&] { return outcome.has_value(); }, 1min);
        return outcome ? *outcome : fail(Code::internal, "never answered");
    }
    runtime::Task<> run(runtime::SharedDisks& disks, std::string device, NodeName self, NodeName peer,
                        std::optional<Result<>>& outcome) {
        Result<> done = co_await prepare_disk(disks, program->clock, program->tasks, device, self, peer);
        outcome = done;
    }

    runtime::Simulation sim{1};
    SimulatedDisk disk;
    runtime::SimulatedNode& host;
    std::optional<runtime::World> program;
};

// Spec: CLU-053, CLU-058
TEST_F(DiskSetup, ABlankDiskBecomesThePathsOwn) {
    ASSERT_TRUE(prepare("/dev/shared", kA, kB));
    const auto once = disk.content();
    EXPECT_NE(once, std::string(once.size(), '\0'));
    ASSERT_TRUE(prepare("/dev/shared", kB, kA)) << "the other end finds it made";
    EXPECT_EQ(disk.content(), once);
    const auto third = prepare("/dev/shared", kA, kC);
    ASSERT_FALSE(third);
    EXPECT_THAT(third.error().text, HasSubstr("carries a path between A and B"));
    EXPECT_EQ(disk.content(), once);
}

// Spec: CLU-053
TEST_F(DiskSetup, WhatHoldsSomethingIsLeftAlone) {
    disk.content()[100'000] = 'x';
    const auto before = disk.content();
    const auto refused = prepare("/dev/shared", kA, kB);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::bad_argument);
    EXPECT_THAT(refused.error().text, HasSubstr("is not empty"));
    EXPECT_EQ(disk.content(), before);
    EXPECT_FALSE(prepare("/dev/missing", kA, kB));
}

TEST_F(DiskSetup, ADiskThatDoesNotAnswerIsGivenUp) {
    disk.set_link("A", SimulatedDisk::Link::hangs);
    const auto refused = prepare("/dev/shared", kA, kB);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text, HasSubstr("did not answer within 20 s"));
}

}  // namespace
}  // namespace understudy::comm::testing
