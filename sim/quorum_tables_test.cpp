// Every row of the behaviour tables of the quorum chapter, by its name there: whole nodes in simulated
// clusters.

#include "sim/quorum_scenario.h"

namespace understudy::sim {
namespace {

class Majority : public QuorumScenario {
  protected:
    Majority() : QuorumScenario(3, quorum::Mode::majority) {}
};

class Storage : public QuorumScenario {
  protected:
    Storage() : QuorumScenario(2, quorum::Mode::storage) {}
};

// Spec: QUO-109, QUO-026, QUO-047
TEST_F(Majority, M1OnlyTheLinkBetweenAAndBFails) {
    start_in_service();
    const auto before = changes();
    cut(alpha, beta);
    sim.run_for(120s);
    EXPECT_EQ(changes(), before) << "nothing was stopped or started";
    EXPECT_THAT(running(), ElementsAre(alpha));
    EXPECT_EQ(cluster.state(beta, app), State::osu);
    EXPECT_EQ(cluster.state(gamma, app), State::osu);
    for (const auto& node : {alpha, beta})
        EXPECT_EQ(quorum_of(node), quorum::Quorum::have);
}

// Spec: QUO-110, QUO-058, QUO-061, CLU-184, CLU-186
TEST_F(Majority, M2TheActiveNodeDies) {
    start_in_service();
    cluster.keep_off(alpha);
    ASSERT_TRUE(wait_running(beta, takeover()));
    sim.run_for(60s);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.state(gamma, app), State::osu) << "not the lowest value: it stops";
}

// Spec: QUO-111, QUO-071, QUO-114
TEST_F(Majority, M2aAIsPoweredOnWhileBIsActive) {
    start_in_service();
    cluster.host(alpha).power_off();
    ASSERT_TRUE(wait_running(beta, takeover()));
    sim.run_for(5s);
    const auto before = changes();
    cluster.power_on(alpha);
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_EQ(cluster.state(alpha, app), State::osu);
    EXPECT_THAT(running(), ElementsAre(beta));
}

// Spec: QUO-112, QUO-066, QUO-068, CLU-126
TEST_F(Majority, M2bAIsPoweredOnIsolatedWhileBIsActive) {
    start_in_service();
    cluster.host(alpha).power_off();
    ASSERT_TRUE(wait_running(beta, takeover()));
    isolate(alpha);
    const auto before = changes();
    cluster.power_on(alpha);
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_EQ(cluster.state(alpha, app), State::osu) << "it starts nothing";
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::lost);
    EXPECT_EQ(cluster.quarantines(alpha), 0) << "and has no reason for the loss action";
}

// Spec: QUO-113, QUO-036, QUO-059, QUO-073, QUO-079, CLU-183, CLU-185
TEST_F(Majority, M3AIsIsolatedButRuns) {
    start_in_service();
    isolate(alpha);
    ASSERT_TRUE(sim.run_until([&] { return running().empty(); }, cluster.detection() + 5s))
        << "A takes its resources out of service";
    ASSERT_TRUE(wait_running(beta, takeover())) << "then B starts them";
    EXPECT_EQ(cluster.quarantines(alpha), 1) << "two COMM_DOWN, one loss action";
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 0);
    EXPECT_EQ(cluster.state(gamma, app), State::osu);
}

// Spec: QUO-075, QUO-009
TEST_F(Majority, M3DuringItsQuarantineATalksToNobody) {
    start_in_service();
    isolate(alpha);
    ASSERT_TRUE(sim.run_until([&] { return cluster.quarantines(alpha) == 1; }, 30s));
    const auto began = sim.now();
    heal();
    sim.run_for(15s);
    EXPECT_EQ(cluster.daemon(alpha), nullptr);
    EXPECT_NE(cluster.daemon(beta)->cluster().peer_state(alpha), comm::PeerState::alive);
    ASSERT_TRUE(sim.run_until([&] { return cluster.daemon(alpha) != nullptr; }, 30s));
    EXPECT_NEAR(std::chrono::duration<double>(sim.now() - began).count(), 20.0, 1.0);
}

// Spec: QUO-114, QUO-080
TEST_F(Majority, M3aTheNetworkOfAReturnsWhileBIsActive) {
    start_in_service();
    isolate(alpha);
    ASSERT_TRUE(wait_running(beta, takeover()));
    heal();
    const auto before = changes();
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.state(alpha, app), State::osu);
    for (const auto& node : cluster.nodes())
        EXPECT_EQ(quorum_of(node), quorum::Quorum::have);
}

// Spec: QUO-115, QUO-074, CLU-183
TEST_F(Majority, M4AllThreeAreIsolated) {
    start_in_service();
    for (const auto& node : cluster.nodes())
        isolate(node);
    sim.run_for(60s);
    EXPECT_THAT(running(), IsEmpty());
    EXPECT_EQ(cluster.quarantines(alpha), 1);
    for (const auto& node : {beta, gamma}) {
        EXPECT_EQ(cluster.quarantines(node), 0) << "it had nothing in service";
        EXPECT_NE(cluster.daemon(node), nullptr);
        EXPECT_EQ(quorum_of(node), quorum::Quorum::lost);
    }
}

// Spec: QUO-116, QUO-070, CLU-081
TEST_F(Majority, M4aThePathsRecover) {
    start_in_service();
    for (const auto& node : cluster.nodes())
        isolate(node);
    sim.run_for(60s);
    heal();
    EXPECT_TRUE(wait_running(alpha, 120s));
    EXPECT_TRUE(cluster.wait_in_service(10s));
}

// Spec: QUO-070, QUO-069
TEST_F(Majority, M4aWithAnotherOwnerOnlyTheBestNodeStartsIt) {
    start_in_service();
    ASSERT_TRUE(cluster.run(alpha, SimulatedCluster::switchover(app, beta)));
    ASSERT_TRUE(wait_running(beta, 10s));
    sim.run_for(20s);
    for (const auto& node : cluster.nodes())
        isolate(node);
    ASSERT_TRUE(sim.run_until([&] { return cluster.quarantines(beta) == 1; }, 60s));
    // B stays away: neither it nor C may start it.
    cluster.keep_off(beta);
    heal();
    EXPECT_TRUE(wait_running(alpha, 120s));
}

// Spec: QUO-070, CLU-124
TEST(MajorityInitOsu, M4aWithInitOsuNobodyStartsIt) {
    runtime::Simulation sim(3);
    SimulatedCluster cluster(sim, {.nodes = 3,
                                   .hierarchies = 1,
                                   .settings = quorum_settings(quorum::Mode::majority),
                                   .quorum = quorum::Mode::majority});
    Invariants invariants(cluster);
    const NodeName alpha("alpha");
    for (const auto& node : cluster.nodes())
        for (const auto* tag : {"app0", "ip0"})
            cluster.disk(node).own.instances.at(Tag(tag)).init = config::Init::init_osu;
    cluster.power_on_all();
    sim.run_for(60s);
    ASSERT_TRUE(cluster.run(alpha, SimulatedCluster::switchover(Tag("app0"), alpha)));
    ASSERT_TRUE(cluster.wait_in_service(10s));
    for (const auto& node : cluster.nodes()) {
        invariants.disturbed(node);
        for (const auto& other : cluster.nodes())
            if (node < other) sim.partition(node.str(), other.str());
    }
    sim.run_for(60s);
    sim.heal_all();
    sim.run_for(180s);
    EXPECT_THAT(cluster.kits().hosts_running(Tag("app0")), IsEmpty());
    EXPECT_THAT(invariants.violations(), IsEmpty());
}

// Spec: QUO-117, QUO-027, QUO-052
TEST_F(Storage, S1ThePathsFailAndBothReachTheStorage) {
    start_in_service();
    const auto before = changes();
    cut(alpha, beta);
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_THAT(running(), ElementsAre(alpha));
    EXPECT_EQ(cluster.state(beta, app), State::osu);
}

// Spec: QUO-118, QUO-050, QUO-051
TEST_F(Storage, S2TheActiveNodeDies) {
    start_in_service();
    const auto died = sim.now();
    cluster.keep_off(alpha);
    ASSERT_TRUE(wait_running(beta, 60s));
    EXPECT_GE(sim.now() - died, 15s) << "T_dead after its last write, 5 s x 4 less the age of that write";
}

// Spec: QUO-119, QUO-071
TEST_F(Storage, S2aAIsPoweredOnWhileBIsActive) {
    start_in_service();
    cluster.host(alpha).power_off();
    ASSERT_TRUE(wait_running(beta, 60s));
    sim.run_for(5s);
    const auto before = changes();
    cluster.power_on(alpha);
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_EQ(cluster.state(alpha, app), State::osu);
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::have);
}

// Spec: QUO-120, QUO-067, CLU-126
TEST_F(Storage, S2bAIsPoweredOnWithoutPathsWhileBIsActive) {
    start_in_service();
    cluster.host(alpha).power_off();
    ASSERT_TRUE(wait_running(beta, 60s));
    cut(alpha, beta);
    const auto before = changes();
    cluster.power_on(alpha);
    sim.run_for(180s);
    EXPECT_EQ(changes(), before);
    EXPECT_EQ(cluster.state(alpha, app), State::osu);
}

// Spec: QUO-121, QUO-073
TEST_F(Storage, S3ALosesPathsAndStorage) {
    start_in_service();
    cut(alpha, beta);
    cluster.storage().reachable(alpha, false);
    ASSERT_TRUE(wait_running(beta, 90s));
    EXPECT_EQ(cluster.quarantines(alpha), 1);
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 0);
}

// Spec: QUO-122
TEST_F(Storage, S3aTheQuarantineIsOverAndAReachesStorageAndB) {
    start_in_service();
    cut(alpha, beta);
    cluster.storage().reachable(alpha, false);
    ASSERT_TRUE(wait_running(beta, 90s));
    heal();
    cluster.storage().all_reachable();
    const auto before = changes();
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.state(alpha, app), State::osu);
}

// Spec: QUO-123, QUO-043, QUO-044, QUO-042
TEST_F(Storage, S4BothLoseTheStorageWhileThePathsAreUp) {
    start_in_service();
    for (const auto& node : cluster.nodes())
        cluster.storage().reachable(node, false);
    const auto before = changes();
    sim.run_for(120s);
    EXPECT_EQ(changes(), before) << "no loss action, no failover";
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::lost);
    const auto refused = cluster.run(beta, SimulatedCluster::switchover(app, beta));
    ASSERT_TRUE(refused);
    EXPECT_NE(refused->exit_code, 0);
    EXPECT_THAT(refused->err, HasSubstr("no quorum"));
    EXPECT_THAT(running(), ElementsAre(alpha));
    auto by_force = SimulatedCluster::perform_action(app, "restore");
    by_force.options["force"] = "";
    by_force.user = "operator";
    const auto forced = cluster.run(beta, by_force);
    ASSERT_TRUE(forced);
    EXPECT_EQ(forced->exit_code, 0) << forced->err;
    sim.run_for(60s);
    EXPECT_THAT(running(), ElementsAre(beta));
}

// Spec: QUO-123
TEST_F(Storage, S5PathsAndStorageAreLostOnBoth) {
    start_in_service();
    for (const auto& node : cluster.nodes())
        cluster.storage().reachable(node, false);
    cut(alpha, beta);
    sim.run_for(60s);
    EXPECT_THAT(running(), IsEmpty());
    EXPECT_EQ(cluster.quarantines(alpha), 1);
    EXPECT_EQ(cluster.quarantines(beta), 0);
}

// Spec: QUO-123, QUO-064, QUO-054
TEST_F(Storage, S6AIsDeadAndBIsPoweredOnAlone) {
    start_in_service();
    cluster.keep_off(alpha);
    cluster.host(beta).power_off();
    sim.run_for(30s);
    cluster.power_on(beta);
    EXPECT_TRUE(wait_running(beta, 90s));
}

// Spec: QUO-123: the writer is the daemon's own loop, which a hang stops with everything else.
TEST_F(Storage, S7AHangsAndItsWriterWithIt) {
    start_in_service();
    sim.run_for(6s);
    invariants.disturbed(alpha);
    cluster.host(alpha).pause(runtime::Pause::program);
    sim.run_for(1s);  // a write may have been on its way
    const auto last = cluster.storage().newest("/qwk/alpha");
    ASSERT_TRUE(sim.run_until([&] { return cluster.watchdog(alpha).resets() == 1; }, 30s));
    EXPECT_EQ(cluster.storage().newest("/qwk/alpha"), last);
    EXPECT_TRUE(cluster.wait_in_service(120s));
}

// Spec: QUO-123, QUO-038
TEST(Tables, M5FiveNodesSplitThreeAndTwoWithTheOwnerOnTheSmallerSide) {
    runtime::Simulation sim(5);
    SimulatedCluster cluster(sim, {.nodes = 5,
                                   .hierarchies = 1,
                                   .settings = quorum_settings(quorum::Mode::majority),
                                   .quorum = quorum::Mode::majority});
    Invariants invariants(cluster);
    cluster.power_on_all();
    ASSERT_TRUE(cluster.wait_in_service(120s));
    sim.run_for(10s);
    const auto& names = cluster.nodes();
    for (std::size_t small = 0; small < 2; ++small)
        for (std::size_t big = 2; big < 5; ++big) {
            invariants.disturbed(names[small], names[big]);
            sim.partition(names[small].str(), names[big].str());
        }
    ASSERT_TRUE(sim.run_until(
        [&] { return cluster.kits().hosts_running(Tag("app0")) == std::vector{names[2]}; }, 60s))
        << "the best of the three";
    EXPECT_EQ(cluster.quarantines(names[0]), 1);
    EXPECT_EQ(cluster.quarantines(names[1]), 0);
    EXPECT_THAT(invariants.violations(), IsEmpty());
}

// Spec: QUO-123, QUO-038
TEST(Tables, M6FourNodesSplitInHalvesStopEverything) {
    runtime::Simulation sim(6);
    SimulatedCluster cluster(sim, {.nodes = 4,
                                   .hierarchies = 1,
                                   .settings = quorum_settings(quorum::Mode::majority),
                                   .quorum = quorum::Mode::majority});
    Invariants invariants(cluster);
    cluster.power_on_all();
    ASSERT_TRUE(cluster.wait_in_service(120s));
    sim.run_for(10s);
    const auto& names = cluster.nodes();
    for (std::size_t one = 0; one < 2; ++one)
        for (std::size_t other = 2; other < 4; ++other) {
            invariants.disturbed(names[one], names[other]);
            sim.partition(names[one].str(), names[other].str());
        }
    sim.run_for(120s);
    EXPECT_THAT(cluster.kits().hosts_running(Tag("app0")), IsEmpty());
    EXPECT_GE(cluster.quarantines(names[0]), 1);
    EXPECT_EQ(cluster.quarantines(names[2]), 0);
    sim.heal_all();
    EXPECT_TRUE(cluster.wait_in_service(120s));
    EXPECT_THAT(invariants.violations(), IsEmpty());
}

class MajorityWithoutWitness : public testing::Test {
  protected:
    void start(const std::string& delay) {
        cluster.emplace(sim,
                        ClusterOptions{.nodes = 3,
                                       .hierarchies = 1,
                                       .settings = "QUORUM_MODE=majority\nQUORUM_STOP_GRACE_SECS=5\n" + delay,
                                       .quorum = quorum::Mode::none});
        cluster->power_on_all();
        ASSERT_TRUE(cluster->wait_in_service(120s));
        sim.run_for(20s);
        sim.partition("alpha", "beta");
        sim.run_for(60s);
    }
    runtime::Simulation sim{8};
    std::optional<SimulatedCluster> cluster;
};

// Spec: QUO-123, QUO-017, QUO-062
TEST_F(MajorityWithoutWitness, M7ByTheManualBothTakeEachOtherForDead) {
    start("QUORUM_FAILOVER_DELAY_SECS=0\n");
    EXPECT_THAT(cluster->kits().hosts_running(Tag("app0")), ElementsAre(NodeName("alpha"), NodeName("beta")));
}

// Spec: QUO-062: B starts nothing while C hears A.
TEST_F(MajorityWithoutWitness, M7WithTheDefaultDelayNothingIsStartedWhileAMajorityHearsTheOwner) {
    start("");
    EXPECT_THAT(cluster->kits().hosts_running(Tag("app0")), ElementsAre(NodeName("alpha")));
}

// Spec: QUO-123, QUO-039, QUO-021
TEST_F(Majority, M8PlannedStopOfTwoNodesStopsTheThird) {
    start_in_service();
    config::Command stop;
    stop.name = "lkstop";
    ASSERT_TRUE(cluster.run(beta, stop));
    sim.run_for(30s);
    EXPECT_THAT(running(), ElementsAre(alpha)) << "two of three are a majority";
    // lkstop ends its own daemon before the client has the answer.
    cluster.start(gamma, stop);
    sim.run_for(30s);
    EXPECT_THAT(running(), IsEmpty());
    EXPECT_EQ(cluster.quarantines(alpha), 1);
}

}  // namespace
}  // namespace understudy::sim
