// Whole nodes in simulated clusters: named scenarios, and a handful of random runs. Many more seeds run by
// understudy-sim.

#include "recovery/plan.h"
#include "sim/faults.h"
#include "sim/run.h"
#include "sim/story.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using config::State;
using testing::ElementsAre;
using testing::IsEmpty;

class Scenario : public testing::Test, protected Story {
  protected:
    explicit Scenario(int nodes) : Scenario(ClusterOptions{.nodes = nodes, .hierarchies = 1}) {}
    explicit Scenario(ClusterOptions options) : Story(std::move(options)) {}
};

class ClusterScenario : public Scenario {
  protected:
    ClusterScenario() : Scenario(2) {}
};

class ThreeNodeScenario : public Scenario {
  protected:
    ThreeNodeScenario() : Scenario(3) {}
};

class CheckedScenario : public Scenario {
  protected:
    CheckedScenario() : Scenario(ClusterOptions{.nodes = 2, .hierarchies = 1, .check_interval = 5s}) {}
};

class UnrepairedScenario : public Scenario {
  protected:
    UnrepairedScenario()
        : Scenario(
              ClusterOptions{.nodes = 2, .hierarchies = 1, .check_interval = 5s, .local_recovery = false}) {}
};

// Spec: CLU-166, CLU-167
TEST_F(CheckedScenario, AnApplicationThatStopsByItselfIsStartedAgainWhereItRan) {
    start_in_service();
    cluster.kits().break_down(alpha, app);
    ASSERT_TRUE(cluster.wait_in_service(10s));
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(alpha));
}

// Spec: CLU-176, CLU-177
TEST_F(UnrepairedScenario, WithoutLocalRecoveryItMovesWithAllThatItNeeds) {
    start_in_service();
    cluster.kits().break_down(alpha, ip);
    ASSERT_TRUE(cluster.wait_in_service(20s));
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(beta));
    cluster.kits().break_down(beta, app);
    ASSERT_TRUE(cluster.wait_in_service(20s));
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(alpha));
}

// Spec: CLU-165, CLU-222
TEST_F(CheckedScenario, AnApplicationThatStopsWhileItsHostIsFrozenIsNotStartedBesideItsSuccessor) {
    start_in_service();
    cluster.host(alpha).pause(runtime::Pause::host);
    ASSERT_TRUE(sim.run_until([&] { return cluster.kits().runs(beta, app); }, 60s));
    cluster.kits().break_down(alpha, app);
    cluster.kits().break_down(alpha, ip);
    invariants.disturbed(alpha);
    cluster.host(alpha).resume();
    sim.run_for(60s);
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(beta));
}

// Spec: CLU-128
TEST_F(ClusterScenario, OfTwoNodesThatStartTogetherOnlyTheBestStartsTheApplication) {
    start_in_service();
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(alpha));
    EXPECT_EQ(cluster.state(beta, app), State::osu);
}

// Spec: CLU-181, CLU-186, CLU-193
TEST_F(ClusterScenario, StandbyTakesOverAfterThePowerOffOfTheActiveNode) {
    start_in_service();
    const auto off = sim.now();
    cluster.host(alpha).power_off();
    ASSERT_TRUE(sim.run_until([&] { return cluster.kits().runs(beta, app); }, 60s));
    EXPECT_GE(sim.now() - off, cluster.detection() - cluster.options().interval);
    EXPECT_LE(sim.now() - off, cluster.detection() + 2s) << "detection, then two restores";
    EXPECT_TRUE(cluster.wait_in_service(1s));
}

// Spec: CLU-125, CLU-195, CLU-201
TEST_F(ClusterScenario, ReturningNodeBecomesStandbyAndDoesNotDisturbTheApplication) {
    start_in_service();
    cluster.host(alpha).power_off();
    ASSERT_TRUE(cluster.wait_in_service(60s));
    const auto changes = cluster.kits().changes();
    cluster.power_on(alpha);
    sim.run_for(120s);
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(beta));
    EXPECT_EQ(cluster.kits().changes(), changes) << "nothing was started or stopped meanwhile";
    EXPECT_EQ(cluster.state(alpha, app), State::osu);
    invariants.check_calm();
}

TEST_F(ClusterScenario, ADaemonKilledJustAfterAStartOnASlowDiskStillKnowsOfIt) {
    start_in_service();
    cluster.disk(beta).most_write = 2s;
    cluster.host(alpha).power_off();
    ASSERT_TRUE(sim.run_until([&] { return cluster.kits().runs(beta, app); }, 60s));
    cluster.host(beta).kill_program();
    cluster.power_on(beta);
    cluster.power_on(alpha);  // it comes first, and would start what runs nowhere
    sim.run_for(60s);
    EXPECT_TRUE(cluster.wait_in_service(60s));
}

TEST_F(ClusterScenario, LoneSurvivorOfATotalBlackoutStartsEverything) {
    start_in_service();
    cluster.host(alpha).power_off();
    cluster.host(beta).power_off();
    cluster.power_on(beta);
    EXPECT_TRUE(cluster.wait_in_service(60s));
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(beta));
}

// Spec: CLU-144
TEST_F(ClusterScenario, SwitchoverMovesTheWholeHierarchyAndBack) {
    start_in_service();
    for (const auto& target : {beta, alpha}) {
        const auto reply = cluster.run(alpha, SimulatedCluster::switchover(app, target));
        ASSERT_TRUE(reply);
        EXPECT_EQ(reply->exit_code, 0) << reply->err;
        EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(target));
        EXPECT_TRUE(cluster.wait_in_service(5s));
    }
}

TEST_F(ClusterScenario, DaemonThatCrashesAndIsRestartedLeavesTheApplicationAlone) {
    start_in_service();
    const auto changes = cluster.kits().changes();
    for (const auto& victim : {alpha, beta}) {
        cluster.host(victim).kill_program();
        sim.run_for(300ms);
        EXPECT_TRUE(cluster.kits().runs(alpha, app));
        cluster.power_on(victim);
        sim.run_for(60s);
        EXPECT_TRUE(cluster.all_in_service());
    }
    EXPECT_EQ(cluster.kits().changes(), changes);
}

TEST_F(ClusterScenario, ShortPauseOfANodeIsNotNoticed) {
    start_in_service();
    const auto changes = cluster.kits().changes();
    for (const auto what : {runtime::Pause::program, runtime::Pause::host}) {
        cluster.host(alpha).pause(what);
        sim.run_for(cluster.detection() - 2 * cluster.options().interval);
        cluster.host(alpha).resume();
        sim.run_for(30s);
        EXPECT_TRUE(cluster.all_in_service());
    }
    EXPECT_EQ(cluster.kits().changes(), changes);
}

// Spec: CLU-194: without quorum both sides run then; an administrator ends it.
TEST_F(ClusterScenario, NodePausedBeyondDetectionIsTakenOverAndTheSplitCanBeResolved) {
    start_in_service();
    cluster.host(alpha).pause(runtime::Pause::host);
    ASSERT_TRUE(sim.run_until([&] { return cluster.kits().runs(beta, app); }, 30s));
    invariants.disturbed(alpha);
    cluster.host(alpha).resume();
    sim.run_for(60s);
    const auto reply = cluster.run(alpha, SimulatedCluster::perform_action(ip, "remove"));
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->exit_code, 0) << reply->err;
    sim.run_for(30s);
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(beta));
    invariants.split_resolved();
    invariants.check_calm();
}

// Spec: CLU-188
TEST_F(ClusterScenario, RestoreThatFailsOnTheBestNodeLeavesNoHalfHierarchyRecordedInService) {
    cluster.kits().fail_next(alpha, "restore", 1, ip);
    cluster.power_on_all();
    sim.run_for(60s);
    EXPECT_NE(cluster.state(alpha, app), State::isp);
    EXPECT_FALSE(cluster.kits().runs(alpha, app));
}

TEST_F(ClusterScenario, PowerOffInTheMiddleOfASwitchoverEndsInServiceOnTheOtherNode) {
    for (const auto& victim : {alpha, beta}) {
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(60s));
        const auto from = cluster.kits().hosts_running(app).front();
        const auto to = from == alpha ? beta : alpha;
        cluster.start(alpha, SimulatedCluster::switchover(app, to));
        ASSERT_TRUE(sim.run_until([&] { return cluster.kits().hosts_running(app).empty(); }, 10s));
        cluster.host(victim).power_off();
        EXPECT_TRUE(cluster.wait_in_service(60s)) << "victim " << victim.str();
    }
}

// The target of a switchover is gone and back before it is missed, at any moment of it: no loss is noticed
// that would cause a takeover, and the target's next life knows nothing of the operation. What it had taken
// out of service is in service again in the end. Spec: CLU-107, CLU-132
TEST_F(ClusterScenario, TargetOfASwitchoverThatRestartsUnnoticedLeavesNoHalfOfAHierarchy) {
    start_in_service();
    const auto app_is_down = [&] { return cluster.kits().hosts_running(app).empty(); };
    const auto all_is_down = [&] { return app_is_down() && cluster.kits().hosts_running(ip).empty(); };
    const auto half_is_up = [&] { return app_is_down() && !all_is_down(); };
    for (const bool reboots : {true, false})
        for (const int moment : {0, 1, 2}) {
            const auto from = cluster.kits().hosts_running(app).front();
            const auto to = from == alpha ? beta : alpha;
            cluster.start(from, SimulatedCluster::switchover(app, to));
            ASSERT_TRUE(sim.run_until(app_is_down, 10s));
            if (moment > 0) {
                ASSERT_TRUE(sim.run_until(all_is_down, 10s));
            }
            if (moment > 1) {
                ASSERT_TRUE(sim.run_until(half_is_up, 10s));
            }
            if (reboots)
                cluster.host(to).power_off();
            else
                cluster.host(to).kill_program();
            sim.run_for(cluster.detection() / 3);
            cluster.power_on(to);
            sim.run_for(30s);
            EXPECT_TRUE(cluster.wait_in_service(1s))
                << "moment " << moment << (reboots ? ", the host" : ", the daemon");
        }
}

// Rebooting faster than the detection time must not leave the application in service nowhere.
TEST_F(ClusterScenario, ActiveNodeThatRebootsUnnoticedEndsWithTheApplicationInService) {
    start_in_service();
    ASSERT_TRUE(cluster.run(alpha, SimulatedCluster::switchover(app, beta)));
    ASSERT_TRUE(cluster.wait_in_service(5s));
    cluster.host(beta).power_off();
    sim.run_for(cluster.detection() / 3);
    cluster.power_on(beta);
    EXPECT_TRUE(cluster.wait_in_service(120s));
}

// What a node believed before it stood still must be asked again before it acts on it.
TEST_F(ClusterScenario, NodeFrozenWhileItStartsLooksForItsPeersBeforeItActs) {
    start_in_service();
    cluster.host(alpha).power_off();
    ASSERT_TRUE(cluster.wait_in_service(60s));
    sim.partition("alpha", "beta");
    cluster.power_on(alpha);
    sim.run_for(cluster.detection() / 2);
    cluster.host(alpha).pause(runtime::Pause::host);
    sim.heal("alpha", "beta");
    sim.run_for(10 * cluster.detection());
    cluster.host(alpha).resume();
    sim.run_for(60s);
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(beta));
}

// Spec: CMD-118
TEST_F(ThreeNodeScenario, TakeoverDoesNotStartWhatAFailedRemoveMayHaveLeftRunningElsewhere) {
    start_in_service();
    ASSERT_TRUE(cluster.run(alpha, SimulatedCluster::switchover(app, beta)));
    ASSERT_TRUE(cluster.wait_in_service(5s));
    // The address cannot be taken down on beta, then alpha, which wanted it, dies, then beta cannot start it.
    cluster.kits().fail_next(beta, "remove", 1, ip);
    ASSERT_TRUE(cluster.run(alpha, SimulatedCluster::switchover(app, alpha)));
    EXPECT_TRUE(cluster.kits().runs(beta, ip));
    cluster.kits().fail_next(beta, "restore", 1, ip);
    cluster.host(alpha).power_off();
    sim.run_for(60s);
    EXPECT_LE(cluster.kits().hosts_running(ip).size(), 1U);
}

// Spec: CLU-176
TEST_F(ClusterScenario, WhatARestartedDaemonCannotAffirmMovesByItself) {
    start_in_service();
    cluster.kits().fail_next(alpha, "restore", 1, ip);
    cluster.host(alpha).kill_program();
    sim.run_for(300ms);
    cluster.power_on(alpha);
    sim.run_for(30s);
    EXPECT_THAT(cluster.kits().hosts_running(ip), ElementsAre(beta));
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(beta));
}

// The restarted daemon could not affirm the address, which goes on running there.
TEST_F(ClusterScenario, SwitchoverTakesDownWhatARestartedDaemonCouldNotAffirm) {
    start_in_service();
    cluster.daemon(alpha)->database().set_flag(recovery::no_resource_failover_flag(alpha, beta), true);
    sim.run_for(1s);
    cluster.kits().fail_next(alpha, "restore", 1, ip);
    cluster.host(alpha).kill_program();
    sim.run_for(300ms);
    cluster.power_on(alpha);
    sim.run_for(30s);
    EXPECT_TRUE(cluster.kits().runs(alpha, ip));
    EXPECT_TRUE(cluster.run(beta, SimulatedCluster::switchover(app, beta)));
    EXPECT_THAT(cluster.kits().hosts_running(ip), ElementsAre(beta));
    EXPECT_THAT(cluster.kits().hosts_running(app), ElementsAre(beta));
}

// A crashed daemon's script must not undo what the next daemon has affirmed.
TEST_F(ClusterScenario, RemoveThatOutlivesItsDaemonStopsNothingThatTheNextOneAffirmed) {
    start_in_service();
    cluster.kits().set_trouble({.least = 5s, .most = 5s});
    cluster.start(alpha, SimulatedCluster::switchover(app, beta));
    ASSERT_TRUE(sim.run_until([&] { return cluster.state(alpha, app) == State::osu; }, 20s));
    sim.run_for(1s);  // the address is being removed
    cluster.host(alpha).kill_program();
    sim.run_for(200ms);
    cluster.kits().set_trouble({});
    cluster.power_on(alpha);
    for (int second = 0; second < 30; ++second) {
        sim.run_for(1s);
        EXPECT_TRUE(cluster.state(alpha, ip) != State::isp || cluster.kits().runs(alpha, ip));
    }
    ASSERT_TRUE(cluster.run(alpha, SimulatedCluster::switchover(app, alpha)));
    EXPECT_TRUE(cluster.wait_in_service(5s));
}

// Spec: CLU-125, CLU-107
TEST(Races, NodeThatStartsWhileAPeerTakesOverDoesNotStartTheSame) {
    for (int step = 0; step < 100; ++step) {
        runtime::Simulation sim(static_cast<std::uint64_t>(step) + 1);
        SimulatedCluster cluster(sim, {.nodes = 5, .hierarchies = 1, .interval = 2s, .misses = 5});
        Invariants invariants(cluster);
        const NodeName alpha("alpha");
        const NodeName delta("delta");
        const NodeName epsilon("epsilon");
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(60s));
        cluster.host(epsilon).power_off();
        sim.run_for(30s);
        // The active node dies, another starts, and before the survivor misses the first the fourth dies too:
        // survivor and starter ask it in vain, and both go on when they miss it, the survivor a little later.
        cluster.host(alpha).power_off();
        sim.run_for(2s);
        cluster.power_on(epsilon);
        sim.run_for(5s);
        sim.break_connections("delta", "epsilon");  // a new one begins with a heartbeat, here the last one
        sim.run_for(step * 100us);
        sim.break_connections("beta", "delta");
        sim.run_for(10ms);
        cluster.host(delta).power_off();
        EXPECT_TRUE(cluster.wait_in_service(60s)) << "step " << step;
        EXPECT_THAT(invariants.violations(), IsEmpty()) << "step " << step;
    }
}

// Spec: CLU-107, CLU-141
TEST(Races, SwitchoverToAThirdNodeAtTheMomentOfATakeoverStartsTheApplicationOnce) {
    for (int step = 0; step < 60; ++step) {
        runtime::Simulation sim(static_cast<std::uint64_t>(step) + 1);
        SimulatedCluster cluster(sim, {.nodes = 3, .hierarchies = 1});
        Invariants invariants(cluster);
        const NodeName alpha("alpha");
        const NodeName gamma("gamma");
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(60s));
        cluster.host(alpha).power_off();
        const auto misses_alpha = [&] {
            return cluster.daemon(gamma)->cluster().peer_state(alpha) == comm::PeerState::dead;
        };
        ASSERT_TRUE(sim.run_until(misses_alpha, 10s));
        sim.run_for(step * 100us);
        cluster.start(gamma, SimulatedCluster::switchover(Tag("app0"), gamma));
        EXPECT_TRUE(cluster.wait_in_service(60s)) << "step " << step;
        EXPECT_THAT(invariants.violations(), IsEmpty()) << "step " << step;
    }
}

// Spec: CLU-067
TEST(Races, NodeThatRebootsUnnoticedTakesNobodyForDead) {
    for (auto off_for = 100ms; off_for <= 3500ms; off_for += 50ms) {
        runtime::Simulation sim(static_cast<std::uint64_t>(off_for.count()));
        SimulatedCluster cluster(sim, {.nodes = 3, .hierarchies = 1});
        Invariants invariants(cluster);
        const NodeName beta("beta");
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(60s));
        sim.set_delay(1ms, cluster.options().interval / 10);
        sim.run_for(10s);
        cluster.host(beta).power_off();
        sim.run_for(off_for);
        cluster.power_on(beta);
        sim.run_for(60s);
        EXPECT_TRUE(cluster.all_in_service()) << off_for.count() << " ms";
        EXPECT_THAT(invariants.violations(), IsEmpty()) << off_for.count() << " ms";
    }
}

// Spec: CLU-125, CLU-222
TEST(Races, NodeThatSeesItsPeerTheMomentItHasGivenItUpGivesBackWhatItStarts) {
    for (auto after = 2900ms; after <= 3300ms; after += 10ms) {
        runtime::Simulation sim(static_cast<std::uint64_t>(after.count()));
        SimulatedCluster cluster(sim, {.nodes = 2, .hierarchies = 1});
        Invariants invariants(cluster);
        const NodeName alpha("alpha");
        const NodeName beta("beta");
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(60s));
        cluster.host(alpha).power_off();
        ASSERT_TRUE(cluster.wait_in_service(60s));
        sim.partition("alpha", "beta");
        cluster.power_on(alpha);
        sim.run_for(after);
        invariants.disturbed(alpha, beta);
        sim.heal("alpha", "beta");
        sim.run_for(60s);
        // Had it finished before it saw the other, only a person could end it.
        if (cluster.kits().hosts_running(Tag("app0")).size() == 1) {
            EXPECT_TRUE(cluster.kits().runs(beta, Tag("app0"))) << after.count() << " ms";
            EXPECT_TRUE(cluster.all_in_service()) << after.count() << " ms";
        }
        EXPECT_THAT(invariants.violations(), IsEmpty()) << after.count() << " ms";
    }
}

/// A two-node cluster under crashes, partitions, pauses and lost connections.
std::string trace_under_faults(std::uint64_t seed) {
    runtime::Simulation sim(seed);
    SimulatedCluster cluster(sim, {.nodes = 2, .hierarchies = 2});
    Invariants invariants(cluster);
    FaultProfile profile;
    profile.kinds = {Fault::power_off,          Fault::power_off_in_write, Fault::daemon_crash,
                     Fault::broken_connections, Fault::connection_loss,    Fault::partition,
                     Fault::one_way_cut,        Fault::program_pause,      Fault::host_pause,
                     Fault::failing_kits,       Fault::switchover};
    profile.most_gap = 10s;
    FaultInjector injector(cluster, invariants, profile);
    cluster.power_on_all();
    injector.start();
    sim.run_for(300s);
    injector.stop();
    sim.run_for(60s);
    EXPECT_GT(injector.struck(), 20);
    return sim.trace();
}

TEST(SimulatedClusterRun, SameSeedGivesTheSameTraceByteForByteAndAnotherSeedAnother) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        const auto trace = trace_under_faults(seed);
        EXPECT_GT(trace.size(), 50'000U);
        EXPECT_TRUE(trace == trace_under_faults(seed)) << "seed " << seed;
        EXPECT_FALSE(trace == trace_under_faults(seed + 100)) << "seed " << seed;
    }
}

TEST(SimulatedClusterRun, RandomSeedsKeepTheInvariants) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        const auto result = run_seed(seed, {});
        EXPECT_THAT(result.violations, IsEmpty()) << "seed " << seed << ": " << result.summary;
    }
}

}  // namespace
}  // namespace understudy::sim
