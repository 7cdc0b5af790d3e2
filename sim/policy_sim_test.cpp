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

}  // namespace
}  // namespace understudy::sim
