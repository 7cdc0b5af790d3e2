// Paths of the driver: coming up, dying, coming back, in a simulated world.

#include "comm/cluster_test_world.h"

namespace understudy::comm::testing {
namespace {

using ClusterPaths = TwoNodes;

constexpr Duration kLimit = 600ms;

TEST_F(ClusterPaths, ComeAliveWithinMilliseconds) {
    boot_both();
    EXPECT_TRUE(sim.run_until([&] { return all_alive(); }, 20ms));
    EXPECT_TRUE(a.cluster->settled());
    EXPECT_EQ(a.problem(), "");
}

// Spec: CLU-079
TEST_F(ClusterPaths, CommUpFiresOnceOnBothEnds) {
    start();
    sim.run_for(5s);
    for (const auto* host : {&a, &b}) {
        EXPECT_EQ(host->count(Kind::comm_up), 1);
        EXPECT_EQ(host->count(Kind::path_up), 2);
        EXPECT_EQ(host->count(Kind::comm_down) + host->count(Kind::path_down), 0);
    }
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::alive);
    EXPECT_EQ(a.cluster->alive_peers(), std::vector{kB});
}

TEST_F(ClusterPaths, APeerThatWasNeverSeenIsUnknownAndSaysWhatIsMissing) {
    boot(kA, a);
    sim.run_for(5s);
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::unknown);
    EXPECT_TRUE(a.events.empty());
    EXPECT_NE(a.problem().find("10.0.0.2:1500"), std::string::npos) << a.problem();
    sim.node("A").power_off();
    boot(kB, b);
    sim.run_for(5s);
    EXPECT_EQ(b.problem(), "waiting for A to connect to 10.0.0.2 port 1500");
}

// Spec: CLU-067, CLU-078
TEST_F(ClusterPaths, PowerOffIsCommDownAfterIntervalTimesMisses) {
    start();
    sim.run_for(1s);
    const auto off = sim.now();
    sim.node("A").power_off();
    ASSERT_TRUE(sim.run_until([&] { return b.count(Kind::comm_down) == 1; }, 5s));
    const auto& down = b.events.back();
    EXPECT_EQ(down.peer, kA);
    // One heartbeat interval before the power went at the latest, and not a step later than the limit.
    EXPECT_GE(sim.now() - off, kLimit - 201ms);
    EXPECT_LE(sim.now() - off, kLimit + 2ms);
    EXPECT_EQ(b.event_times.back() - down.last_heard, kLimit + 1ns);
    EXPECT_EQ(b.cluster->peer_state(kA), PeerState::dead);
    sim.run_for(10s);
    EXPECT_EQ(b.count(Kind::comm_down), 1);
    EXPECT_EQ(b.count(Kind::path_down), 2);
    EXPECT_NE(b.problem(), "");
}

TEST_F(ClusterPaths, ANodeThatReturnsIsCommUpOnBothEnds) {
    start();
    sim.node("A").power_off();
    ASSERT_TRUE(sim.run_until([&] { return b.count(Kind::comm_down) == 1; }, 5s));
    a.events.clear();
    boot(kA, a);
    EXPECT_TRUE(sim.run_until([&] { return all_alive(); }, 500ms));
    sim.run_for(1ms);
    EXPECT_EQ(a.count(Kind::comm_up), 1);
    EXPECT_EQ(b.count(Kind::comm_up), 2);
}

TEST_F(ClusterPaths, ADaemonThatRestartsInTimeIsNoNodeFailure) {
    start();
    sim.node("B").kill_program();
    sim.run_for(100ms);
    boot(kB, b);
    EXPECT_TRUE(sim.run_until([&] { return all_alive(); }, 1s));
    EXPECT_EQ(a.count(Kind::comm_down) + a.count(Kind::path_down), 0);
}

// Spec: AS-02, CLU-068
TEST_F(ClusterPaths, LossOfOnePathIsNoNodeFailure) {
    start();
    cut_first_network();
    sim.run_for(kLimit + 10ms);
    for (const auto* host : {&a, &b}) {
        EXPECT_EQ(host->state("TCP:1500"), PathState::dead);
        EXPECT_EQ(host->state("TCP:1510"), PathState::alive);
        EXPECT_EQ(host->count(Kind::path_down), 1);
        EXPECT_EQ(host->count(Kind::comm_down), 0);
        EXPECT_EQ(host->cluster->paths().front().times_down, 1);
    }
    EXPECT_EQ(call(a, kB, "echo", "over the second").value_or("failed"), "over the second");
    heal_first_network();
    EXPECT_TRUE(sim.run_until([&] { return all_alive(); }, 2s));
}

// Spec: CLU-070
TEST_F(ClusterPaths, AOneWayFailureIsDeadOnBothEnds) {
    start();
    sim.cut_one_way("10.0.0.2", "10.0.0.1");
    sim.run_for(kLimit + 200ms);
    EXPECT_EQ(a.state("TCP:1500"), PathState::dead);
    EXPECT_EQ(b.state("TCP:1500"), PathState::dead);
    sim.heal_one_way("10.0.0.2", "10.0.0.1");
    EXPECT_TRUE(sim.run_until([&] { return all_alive(); }, 2s));
}

// Spec: CLU-067
TEST_F(ClusterPaths, AResetConnectionIsNoDeadPath) {
    start();
    for (int i = 0; i < 10; ++i) {
        sim.break_connections("A", "B");
        sim.run_for(450ms);
    }
    EXPECT_TRUE(all_alive());
    EXPECT_EQ(a.count(Kind::path_down) + b.count(Kind::path_down), 0);
}

// Spec: CLU-067
TEST_F(ClusterPaths, WallClockJumpsDoNotMatter) {
    start();
    sim.node("A").jump_wall_clock(1h);
    sim.node("B").jump_wall_clock(-24h);
    sim.run_for(5s);
    EXPECT_EQ(a.count(Kind::path_down) + b.count(Kind::path_down), 0);
}

TEST_F(ClusterPaths, AShortDisturbanceIsSurvivedByANewConnection) {
    start();
    sim.run_for(1s);
    cut_first_network();
    sim.run_for(300ms);
    heal_first_network();
    sim.run_for(5s);
    EXPECT_EQ(a.count(Kind::path_down) + b.count(Kind::path_down), 0);
}

TEST_F(ClusterPaths, AStoppedProcessDeclaresNobodyDeadAndLearnsThatItWas) {
    start();
    sim.run_for(1s);
    sim.node("A").pause();
    ASSERT_TRUE(sim.run_until([&] { return b.count(Kind::comm_down) == 1; }, 5s));
    sim.run_for(20s);
    sim.node("A").resume();
    sim.run_for(1ms);
    EXPECT_FALSE(a.cluster->settled());
    EXPECT_TRUE(sim.run_until([&] { return b.count(Kind::comm_up) == 2; }, 1s));
    sim.run_for(1s);
    EXPECT_EQ(a.count(Kind::comm_down), 0);
    EXPECT_GE(a.count(Kind::comm_up), 2);  // told again: B had given it up
    ASSERT_EQ(a.absences.size(), 1U);
    EXPECT_GE(a.absences.front(), 20s);
    EXPECT_TRUE(a.cluster->settled());
    EXPECT_TRUE(b.absences.empty());
}

// Spec: CLU-029
TEST_F(ClusterPaths, ALateHeartbeatIsToldOnceForAllPaths) {
    start();
    sim.run_for(1s);
    sim.node("A").pause();
    sim.run_for(500ms);  // more than the interval, less than the limit
    sim.node("A").resume();
    sim.run_for(2s);
    ASSERT_EQ(a.late.size(), 1U);
    EXPECT_GE(a.late.front(), 200ms);
    EXPECT_TRUE(a.absences.empty());
    EXPECT_TRUE(b.late.empty());
    EXPECT_EQ(a.count(Kind::path_down) + b.count(Kind::path_down), 0);
    sim.node("A").pause();
    sim.run_for(5s);
    sim.node("A").resume();
    sim.run_for(2s);
    EXPECT_EQ(a.absences.size(), 1U);
    EXPECT_EQ(a.late.size(), 1U) << "an absence tells more";
}

TEST_F(ClusterPaths, AFrozenHostDeclaresNobodyDead) {
    start();
    sim.run_for(1s);
    sim.node("B").pause(runtime::Pause::host);
    sim.run_for(60s);
    sim.node("B").resume();
    ASSERT_TRUE(sim.run_until([&] { return all_alive(); }, 2s));
    sim.run_for(1s);
    EXPECT_EQ(a.count(Kind::comm_down), 1);
    EXPECT_EQ(b.count(Kind::comm_down), 0);
    EXPECT_EQ(b.absences.size(), 1U);
}

TEST_F(ClusterPaths, APeerThatDiedWhileThisProcessWasStoppedIsFoundOutAfterAFreshWindow) {
    start();
    sim.node("A").pause();
    sim.run_for(1s);
    sim.node("B").power_off();
    sim.run_for(5s);
    sim.node("A").resume();
    sim.run_for(kLimit - 10ms);
    EXPECT_EQ(a.count(Kind::comm_down), 0);
    sim.run_for(kLimit);
    EXPECT_EQ(a.count(Kind::comm_down), 1);
}

TEST_F(ClusterPaths, EndsWithDifferentIntervalsStayAlive) {
    a.paths[0].interval_ms = 100;
    b.paths[0].interval_ms = 6000;
    start();
    sim.run_for(20s);
    EXPECT_EQ(a.count(Kind::path_down) + b.count(Kind::path_down), 0);
}

// Spec: CLU-061
TEST_F(ClusterPaths, DeletedPathsCauseNoEvent) {
    start();
    a.cluster->set_paths({a.paths[1]});
    sim.run_for(5s);
    EXPECT_EQ(a.cluster->peer_state(kB), PeerState::alive);
    a.cluster->set_paths({});
    sim.run_for(5s);
    EXPECT_EQ(a.count(Kind::comm_down) + a.count(Kind::path_down), 0);
    EXPECT_TRUE(a.cluster->peers().empty());
    EXPECT_TRUE(a.cluster->paths().empty());
}

TEST_F(ClusterPaths, AnUnchangedPathKeepsItsConnectionAndNewLimitsAreTakenOver) {
    start();
    auto changed = a.paths;
    changed[0].priority = 7;
    changed[1].interval_ms = 500;
    a.cluster->set_paths(changed);
    EXPECT_TRUE(all_alive());
    sim.run_for(3s);
    EXPECT_TRUE(all_alive());
    EXPECT_EQ(a.cluster->paths()[0].path.priority, 7);
    EXPECT_EQ(a.count(Kind::path_down) + b.count(Kind::path_down), 0);
}

TEST_F(ClusterPaths, APortThatIsTakenIsToldAndTriedAgain) {
    auto* node = &sim.node("B");
    std::unique_ptr<runtime::Listener> other;
    b.node = node;
    node->boot([&](runtime::World world) {
        other = world.network.listen({"10.0.0.2", 1500}, runtime::Security::cluster, [](auto) {}).value();
        return std::make_unique<Daemon>(world, kB, b);
    });
    boot(kA, a);
    sim.run_for(2s);
    EXPECT_NE(b.problem().find("taken"), std::string::npos) << b.problem();
    EXPECT_EQ(b.state("TCP:1510"), PathState::alive);
    other.reset();
    EXPECT_TRUE(sim.run_until([&] { return all_alive(); }, 1s));
}

TEST_F(ClusterPaths, DevicesThatCannotWorkAreTold) {
    auto disk = path(kB, "DISK:/dev/sdx1", "", "", 61);
    disk.transport = "DISK";
    a.paths = {disk, path(kB, "TCP:x", "10.0.0.2", "10.0.0.1"), path(kA, "TCP:1600", "10.0.0.1", "10.0.0.1")};
    boot(kA, a);
    sim.run_for(1s);
    EXPECT_EQ(a.problem("DISK:/dev/sdx1"), "there is no such device");
    EXPECT_EQ(a.problem("TCP:x"), "\"TCP:x\" is no TCP device: use TCP:<port>");
    EXPECT_EQ(a.problem("TCP:1600"), "A is this node itself: a path needs another node");
    EXPECT_TRUE(a.cluster->settled());
}

TEST_F(ClusterPaths, RoundTripAndClockOffsetAreMeasured) {
    start();
    EXPECT_FALSE(a.cluster->clock_offset(kC));
    sim.node("B").jump_wall_clock(5s);
    sim.run_for(20s);
    const auto offset = a.cluster->clock_offset(kB);
    const auto round_trip = a.cluster->round_trip(kB);
    ASSERT_TRUE(offset && round_trip);
    EXPECT_LE(std::chrono::abs(*offset - (b.world->clock.wall() - a.world->clock.wall())), 1ms);
    EXPECT_GT(*round_trip, 0s);
    EXPECT_LE(*round_trip, 2ms);
    EXPECT_EQ(a.cluster->software_of(kB), "1.0");
}

TEST_F(ClusterPaths, SeveralPeersShareAListenerAndFailOneByOne) {
    sim.add_node("C", {"10.0.0.3"});
    a.paths = {path(kC, "TCP:1500", "10.0.0.3", "10.0.0.1")};
    b.paths = {path(kC, "TCP:1500", "10.0.0.3", "10.0.0.2")};
    c.paths = {path(kA, "TCP:1500", "10.0.0.1", "10.0.0.3"), path(kB, "TCP:1500", "10.0.0.2", "10.0.0.3")};
    boot(kC, c);
    boot_both();
    ASSERT_TRUE(sim.run_until([&] { return c.cluster->alive_peers().size() == 2; }, 1s));
    sim.node("A").power_off();
    sim.run_for(2s);
    EXPECT_EQ(c.cluster->alive_peers(), std::vector{kB});
    EXPECT_EQ(c.count(Kind::comm_down), 1);
    sim.node("B").power_off();
    sim.run_for(2s);
    EXPECT_EQ(c.count(Kind::comm_down), 2);
}

}  // namespace
}  // namespace understudy::comm::testing
