// Whole nodes in simulated clusters: shutdown strategy, automatic switchback, disabled failover, with the
// power cut at bad moments. Each test reads as a story.

#include "sim/story.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using config::State;
using testing::ElementsAre;
using testing::IsEmpty;

struct World : Story {
    explicit World(ClusterOptions options) : Story(std::move(options)) {
        cluster.power_on_all();
        EXPECT_TRUE(cluster.wait_in_service(60s));
    }

    void begin_shutdown(const NodeName& name) {
        config::Command stop;
        stop.name = "lkstop";
        stop.options = {{"shutdown", ""}};
        cluster.start(name, stop);
    }
    bool shut_down(const NodeName& name) {
        begin_shutdown(name);
        const bool ended = sim.run_until([&] { return !cluster.host(name).running(); }, 120s);
        cluster.host(name).power_off();
        return ended;
    }
};

// Spec: CLU-202, CLU-206, CMD-054
TEST(ShutdownScenario, TheBackupRunsItBeforeTheHostIsGone) {
    World w({.nodes = 2, .hierarchies = 1, .shutdown_switchover = true});
    ASSERT_TRUE(w.shut_down(w.alpha));
    EXPECT_THAT(w.running(), ElementsAre(w.beta));
    w.cluster.power_on(w.alpha);
    w.sim.run_for(60s);
    EXPECT_THAT(w.running(), ElementsAre(w.beta));
    w.invariants.check_calm();
}

// Spec: CLU-202, CLU-205
TEST(ShutdownScenario, WithoutTheStrategyItComesBackWithItsHost) {
    World w({.nodes = 2, .hierarchies = 1});
    ASSERT_TRUE(w.shut_down(w.alpha));
    w.sim.run_for(120s);
    EXPECT_THAT(w.running(), IsEmpty());
    w.cluster.power_on(w.alpha);
    ASSERT_TRUE(w.cluster.wait_in_service(60s));
    EXPECT_THAT(w.running(), ElementsAre(w.alpha));
}

// Spec: CLU-205, CLU-219
TEST(ShutdownScenario, ANodeThatCameBackIsTakenOverLikeAnyOther) {
    World w({.nodes = 2, .hierarchies = 1});
    ASSERT_TRUE(w.shut_down(w.alpha));
    w.cluster.power_on(w.alpha);
    ASSERT_TRUE(w.cluster.wait_in_service(60s));
    w.sim.run_for(10s);
    w.cluster.host(w.alpha).power_off();
    ASSERT_TRUE(w.cluster.wait_in_service(60s));
    EXPECT_THAT(w.running(), ElementsAre(w.beta));
}

// Spec: CLU-206
TEST(ShutdownScenario, WhicheverNodeLosesPowerMeanwhileItRunsOnceInTheEnd) {
    for (const auto* victim : {"alpha", "beta"})
        for (auto when = 0ms; when <= 1000ms; when += 50ms) {
            World w({.nodes = 3, .hierarchies = 1, .shutdown_switchover = true});
            w.begin_shutdown(w.alpha);
            w.sim.run_for(when);
            w.cluster.host(NodeName(victim)).power_off();
            w.sim.run_until([&] { return !w.cluster.host(w.alpha).running(); }, 120s);
            w.cluster.host(w.alpha).power_off();
            w.sim.run_for(30s);
            w.cluster.resume_all();
            EXPECT_TRUE(w.cluster.wait_in_service(120s)) << victim << " off after " << when.count() << " ms";
        }
}

// Spec: CLU-195, CLU-197, CLU-200
TEST(SwitchbackScenario, AHierarchyGoesHomeAfterEveryFailure) {
    World w({.nodes = 2, .hierarchies = 2, .switchback = config::Switchback::automatic});
    for (int round = 0; round < 3; ++round) {
        w.cluster.host(w.alpha).power_off();
        ASSERT_TRUE(w.sim.run_until([&] { return w.running() == std::vector{w.beta}; }, 60s));
        ASSERT_TRUE(w.cluster.wait_in_service(30s));
        w.cluster.power_on(w.alpha);
        ASSERT_TRUE(w.sim.run_until([&] { return w.running() == std::vector{w.alpha}; }, 60s))
            << "round " << round;
        ASSERT_TRUE(w.cluster.wait_in_service(30s));
        w.sim.run_for(10s);
        EXPECT_THAT(w.cluster.kits().hosts_running(Tag("app1")), ElementsAre(w.beta)) << "beta's own stays";
    }
    w.invariants.check_calm();
}

// Spec: CLU-200, CLU-188
TEST(SwitchbackScenario, WhicheverNodeLosesPowerMeanwhileItRunsOnceInTheEnd) {
    for (const auto* victim : {"alpha", "beta"})
        for (auto when = 0ms; when <= 1000ms; when += 50ms) {
            World w({.nodes = 2, .hierarchies = 1, .switchback = config::Switchback::automatic});
            w.cluster.host(w.alpha).power_off();
            ASSERT_TRUE(w.cluster.wait_in_service(60s));
            w.cluster.power_on(w.alpha);
            ASSERT_TRUE(w.sim.run_until([&] { return !w.cluster.kits().runs(w.beta, w.app); }, 60s));
            w.sim.run_for(when);
            w.cluster.host(NodeName(victim)).power_off();
            EXPECT_TRUE(w.cluster.wait_in_service(120s)) << victim << " off after " << when.count() << " ms";
            w.cluster.resume_all();
            EXPECT_TRUE(w.cluster.wait_in_service(120s));
        }
}

// Spec: CLU-210, CLU-211
TEST(DisabledFailoverScenario, ADeadNodeIsNotTakenOverByTheOneThatMayNot) {
    World w({.nodes = 3, .hierarchies = 1});
    const auto set = w.cluster.run(w.alpha, SimulatedCluster::system_failover(w.alpha, w.beta, false));
    ASSERT_TRUE(set && set->exit_code == 0);
    w.cluster.host(w.alpha).power_off();
    ASSERT_TRUE(w.cluster.wait_in_service(60s));
    EXPECT_THAT(w.running(), ElementsAre(w.gamma));
    // And gamma's death is another matter.
    w.cluster.host(w.gamma).power_off();
    ASSERT_TRUE(w.cluster.wait_in_service(60s));
    EXPECT_THAT(w.running(), ElementsAre(w.beta));
}

// Spec: CLU-210
TEST(DisabledFailoverScenario, BetweenTwoNodesItWaitsForItsOwn) {
    World w({.nodes = 2, .hierarchies = 1});
    const auto set = w.cluster.run(w.beta, SimulatedCluster::system_failover(w.alpha, w.beta, false));
    ASSERT_TRUE(set && set->exit_code == 0) << "asked on the other node";
    w.cluster.host(w.alpha).power_off();
    w.sim.run_for(120s);
    EXPECT_THAT(w.running(), IsEmpty());
    w.cluster.power_on(w.alpha);
    ASSERT_TRUE(w.cluster.wait_in_service(60s));
    EXPECT_THAT(w.running(), ElementsAre(w.alpha));
}

// Spec: CLU-011
TEST(CascadingFailover, AHierarchyGoesFromNodeToNodeAsOneAfterTheOtherDies) {
    World w({.nodes = 4, .hierarchies = 1});
    const NodeName delta("delta");
    for (const auto& [dies, next] :
         {std::pair(w.alpha, w.beta), std::pair(w.beta, w.gamma), std::pair(w.gamma, delta)}) {
        w.cluster.host(dies).power_off();
        ASSERT_TRUE(w.wait_running(next, 60s)) << dies.str() << " died";
        ASSERT_TRUE(w.cluster.wait_in_service(10s));
    }
}

// Spec: CLU-011
TEST(CascadingFailover, WhatRanOnOneNodeGoesToSeveralWhenTheyComeFirstForIt) {
    World w({.nodes = 4, .hierarchies = 4});
    const auto app = [](int i) { return Tag(fmt::format("app{}", i)); };
    w.cluster.host(w.alpha).power_off();
    w.cluster.host(w.gamma).power_off();
    ASSERT_TRUE(w.cluster.wait_in_service(60s));
    EXPECT_THAT(w.cluster.kits().hosts_running(app(0)), ElementsAre(w.beta));
    EXPECT_THAT(w.cluster.kits().hosts_running(app(2)), ElementsAre(NodeName("delta")));
    // And each from where it is, to where it comes first then.
    w.cluster.host(w.beta).power_off();
    ASSERT_TRUE(w.cluster.wait_in_service(60s));
    for (int i = 0; i < 4; ++i)
        EXPECT_THAT(w.cluster.kits().hosts_running(app(i)), ElementsAre(NodeName("delta")));
}

// Spec: CLU-004
TEST(LossOfOnePath, LeavesHeartbeatsCommandsConfigurationAndFailoverAsTheyWere) {
    World w({.nodes = 2, .hierarchies = 1});
    const auto changes = w.cluster.kits().changes();
    w.sim.cut_one_way("10.0.0.1", "10.0.0.2");
    w.sim.cut_one_way("10.0.0.2", "10.0.0.1");
    w.sim.run_for(120s);
    EXPECT_EQ(w.cluster.kits().changes(), changes) << "nothing was stopped or started";
    EXPECT_EQ(w.cluster.daemon(w.alpha)->cluster().peer_state(w.beta), comm::PeerState::alive);
    const auto paths = w.cluster.daemon(w.alpha)->cluster().paths();
    EXPECT_EQ(std::count_if(paths.begin(), paths.end(),
                            [](const auto& path) { return path.state == comm::PathState::alive; }),
              1);
    config::Command list;
    list.name = "ins_list";
    list.options = {{"d", "beta"}};
    const auto listed = w.cluster.run(w.alpha, list);
    ASSERT_TRUE(listed);
    EXPECT_EQ(listed->exit_code, 0) << listed->err;
    w.cluster.daemon(w.alpha)->database().set_flag(FlagName("seen"), true);
    w.sim.run_for(1s);
    EXPECT_TRUE(w.cluster.daemon(w.beta)->database().of(w.alpha)->flags.contains(FlagName("seen")));
    w.cluster.host(w.alpha).power_off();
    EXPECT_TRUE(w.wait_running(w.beta, 60s));
}

// Spec: CLU-127
TEST(StartScenario, APeerThatIsAliveAndDoesNotAnswerForAMomentIsAskedAgain) {
    World w({.nodes = 2, .hierarchies = 2, .interval = 6000ms, .misses = 5});
    ASSERT_TRUE(w.shut_down(w.beta));  // alpha takes nothing over from it
    w.cluster.power_on(w.beta);
    ASSERT_TRUE(w.sim.run_until(
        [&] {
            auto* node = w.cluster.daemon(w.beta);
            return node != nullptr && node->cluster().peer_state(w.alpha) == comm::PeerState::alive;
        },
        60s));
    w.sim.partition("alpha", "beta");
    w.sim.run_for(12s);
    w.invariants.disturbed(w.alpha, w.beta);
    w.sim.heal("alpha", "beta");
    EXPECT_TRUE(w.cluster.wait_in_service(120s));
    EXPECT_THAT(w.cluster.kits().hosts_running(Tag("app1")), ElementsAre(w.beta));
}

}  // namespace
}  // namespace understudy::sim
