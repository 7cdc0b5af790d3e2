// Quorum under faults that no table of the manual shows: what cannot be stopped, what stands still, one-way
// cuts, settings that change.

#include "sim/quorum_scenario.h"

namespace understudy::sim {
namespace {

// Spec: QUO-078, QUO-062
TEST_F(MajorityUnderFaults, IsolatedNodeThatCannotStopItsResourcesIsReset) {
    start_in_service();
    cluster.kits().fail_next(alpha, "remove", 100, ip);
    isolate(alpha);
    ASSERT_TRUE(wait_running(beta, takeover()));
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 1);
}

TEST_F(MajorityUnderFaults, IsolatedNodeWhoseRemoveHangsIsReset) {
    start_in_service();
    cluster.kits().set_trouble({.hangs = 1});
    isolate(alpha);
    ASSERT_TRUE(
        sim.run_until([&] { return cluster.watchdog(alpha).resets() == 1; }, cluster.detection() + 6s));
    cluster.kits().set_trouble({});
    EXPECT_TRUE(wait_running(beta, takeover()));
}

// Spec: QUO-078
TEST_F(MajorityUnderFaults, RemoveThatFailsOnceIsTriedAgain) {
    start_in_service();
    cluster.kits().fail_next(alpha, "remove", 1, app);
    isolate(alpha);
    ASSERT_TRUE(wait_running(beta, takeover()));
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 0);
    EXPECT_EQ(cluster.quarantines(alpha), 1);
}

TEST_F(MajorityUnderFaults, FrozenOwnerIsResetBeforeAnotherNodeStartsItsApplication) {
    for (const auto what : {runtime::Pause::program, runtime::Pause::host}) {
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(120s));
        const auto owner = running().front();
        const auto resets = cluster.watchdog(owner).resets();
        invariants.disturbed(owner);
        cluster.host(owner).pause(what);
        ASSERT_TRUE(
            sim.run_until([&] { return running().size() == 1 && running().front() != owner; }, takeover()));
        EXPECT_EQ(cluster.watchdog(owner).resets(), resets + 1);
        sim.run_for(60s);
        invariants.disturbed(owner);
    }
}

// The owner stands still for less than the watchdog waits, and finds itself cut off when it goes on: what it
// had proof of counts, not the fresh window that its paths get.
TEST_F(MajorityUnderFaults, OwnerThatStoodStillAndIsIsolatedMeanwhileStopsInTime) {
    for (auto pause = 500ms; pause <= 8000ms; pause += 500ms) {
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(240s)) << pause.count() << " ms";
        sim.run_for(30s);
        const auto owner = running().front();
        invariants.disturbed(owner);
        cluster.host(owner).pause(runtime::Pause::host);
        isolate(owner);
        sim.run_for(pause);
        cluster.host(owner).resume();
        ASSERT_TRUE(sim.run_until([&] { return running().size() == 1 && running().front() != owner; },
                                  takeover() + pause))
            << pause.count() << " ms";
        heal();
        sim.run_for(60s);
    }
}

TEST_F(MajorityUnderFaults, DaemonThatStaysAwayCostsItsHostItsPower) {
    start_in_service();
    cluster.host(alpha).kill_program();
    ASSERT_TRUE(wait_running(beta, takeover()));
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 1);
}

// Spec: QUO-046, QUO-048
TEST_F(MajorityUnderFaults, OneWayCutThatOnlyOneNodeNoticesFirstLosesNoFailover) {
    start_in_service();
    for (std::size_t network = 0; network < 2; ++network)
        sim.cut_one_way(cluster.host(alpha).addresses()[network], cluster.host(beta).addresses()[network]);
    invariants.disturbed(alpha);
    sim.run_for(2s);
    cluster.keep_off(alpha);
    EXPECT_TRUE(wait_running(beta, 2 * takeover()));
}

// Spec: QUO-060, QUO-072
TEST_F(MajorityUnderFaults, OwnerThatDiesWhileItsLinkIsDownIsTakenOverByTheNodeThatHeardIt) {
    start_in_service();
    cut(alpha, beta);
    sim.run_for(60s);
    EXPECT_THAT(running(), ElementsAre(alpha));
    cluster.keep_off(alpha);
    // B has judged this loss already; C finds A down and tells B, which comes first. Spec: QUO-049
    EXPECT_TRUE(wait_running(beta, 2 * takeover()));
}

class Reevaluating : public QuorumScenario {
  protected:
    Reevaluating() : QuorumScenario(3, quorum::Mode::majority, "QUORUM_REEVALUATE=1\n") {}
};

// Spec: QUO-072
TEST_F(MajorityUnderFaults, RefusedTakeoverIsNotReplayedWhenQuorumReturns) {
    start_in_service();
    for (const auto& node : cluster.nodes())
        isolate(node);
    sim.run_for(20s);
    cluster.keep_off(alpha);
    heal();
    sim.run_for(180s);
    EXPECT_THAT(running(), IsEmpty()) << "A comes first and is away; nobody else starts it by itself";
}

// Spec: QUO-072, CLU-081
TEST_F(Reevaluating, RefusedTakeoverIsReplayedWhenQuorumReturns) {
    start_in_service();
    for (const auto& node : cluster.nodes())
        isolate(node);
    sim.run_for(20s);
    cluster.keep_off(alpha);
    heal();
    EXPECT_TRUE(wait_running(beta, 60s));
}

// Spec: QUO-006, QUO-107
TEST_F(MajorityUnderFaults, QuarantineThatIsChangedMeanwhileHoldsAtOnce) {
    start_in_service();
    cluster.configure_settings(alpha,
                               quorum_settings(quorum::Mode::majority) + "QUORUM_QUARANTINE_SECS=60\n");
    isolate(alpha);
    ASSERT_TRUE(sim.run_until([&] { return cluster.quarantines(alpha) == 1; }, 30s));
    const auto began = sim.now();
    ASSERT_TRUE(sim.run_until([&] { return cluster.daemon(alpha) != nullptr; }, 90s));
    EXPECT_NEAR(std::chrono::duration<double>(sim.now() - began).count(), 60.0, 1.0);
}

// Spec: QUO-016, QUO-019, QUO-021
TEST_F(MajorityUnderFaults, UnsupportedCombinationNeitherFailsOverNorStopsAnything) {
    start_in_service();
    for (const auto& node : cluster.nodes())
        cluster.configure_settings(node, "QUORUM_MODE=storage\nWITNESS_MODE=remote_verify\n");
    const auto before = changes();
    isolate(alpha);
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_THAT(running(), ElementsAre(alpha));
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::config_error);
    const auto refused = cluster.run(beta, SimulatedCluster::perform_action(app, "restore"));
    ASSERT_TRUE(refused);
    EXPECT_THAT(refused->err, HasSubstr("CONFIG ERROR"));
}

// Spec: QUO-044
TEST_F(MajorityUnderFaults, NodeWithoutQuorumRefusesToStartAnythingUnlessForced) {
    cluster.power_on(alpha);
    sim.run_for(60s);
    EXPECT_THAT(running(), IsEmpty());
    const auto refused = cluster.run(alpha, SimulatedCluster::perform_action(app, "restore"));
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->exit_code, 1);
    EXPECT_THAT(refused->err, HasSubstr("no quorum"));
    auto by_force = SimulatedCluster::perform_action(app, "restore");
    by_force.options["force"] = "";
    by_force.user = "operator";
    const auto forced = cluster.run(alpha, by_force);
    ASSERT_TRUE(forced);
    EXPECT_EQ(forced->exit_code, 0) << forced->err;
    sim.run_for(60s);
    EXPECT_THAT(running(), ElementsAre(alpha)) << "the person who forced it answers for it";
    bool logged = false;
    for (const auto& entry : cluster.disk(alpha).journal)
        logged = logged || entry.text.find("operator starts resources") != std::string::npos;
    EXPECT_TRUE(logged);
}

// Spec: QUO-035
TEST_F(MajorityUnderFaults, LossOfOneOfTwoNetworksIsNoLossOfAnybody) {
    start_in_service();
    for (const auto& one : cluster.nodes())
        for (const auto& other : cluster.nodes())
            if (one != other)
                sim.cut_one_way(cluster.host(one).addresses()[0], cluster.host(other).addresses()[0]);
    const auto before = changes();
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::have);
}

// Spec: QUO-065
TEST_F(MajorityUnderFaults, StartWaitsForQuorumWithinThePathsTimeAndNoLonger) {
    cluster.power_on(alpha);
    sim.run_for(1s);
    EXPECT_THAT(running(), IsEmpty());
    cluster.power_on(beta);
    cluster.power_on(gamma);
    EXPECT_TRUE(wait_running(alpha, cluster.detection() + 2s));
}

// Spec: QUO-133
TEST(Off, WithoutQuorumASilentPeerIsPresumedDead) {
    runtime::Simulation sim(9);
    SimulatedCluster cluster(sim, {.nodes = 2, .hierarchies = 1});
    cluster.power_on_all();
    ASSERT_TRUE(cluster.wait_in_service(60s));
    EXPECT_FALSE(cluster.storage().newest("/qwk/alpha"));
    sim.partition("alpha", "beta");
    sim.run_for(30s);
    EXPECT_EQ(cluster.kits().hosts_running(Tag("app0")).size(), 2U);
    EXPECT_EQ(cluster.quarantines(NodeName("alpha")), 0);
}

// Spec: QUO-033
TEST_F(MajorityUnderFaults, ANodeThatIsStillStartingSendsItsHeartbeatsAndAnswersThose) {
    cluster.kits().set_trouble({.least = 300s, .most = 300s});  // its start takes as long
    cluster.power_on_all();
    sim.run_for(120s);
    ASSERT_THAT(running(), IsEmpty());
    for (const auto& name : cluster.nodes())
        for (const auto& other : cluster.nodes())
            if (name != other) {
                EXPECT_EQ(cluster.daemon(name)->cluster().peer_state(other), comm::PeerState::alive);
            }
    sim.run_for(600s);
    EXPECT_THAT(running(), ElementsAre(alpha));
}

}  // namespace
}  // namespace understudy::sim
