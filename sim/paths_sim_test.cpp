// Whole nodes and their paths: what a DISK path prevents, what settings do to heartbeats, nodes of different
// releases.

#include "sim/cluster_sim.h"
#include "sim/invariants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

const NodeName kAlpha("alpha");
const NodeName kBeta("beta");
const Tag kApp("app0");

class Paths : public testing::Test {
  protected:
    void start(ClusterOptions options) {
        sim.set_trace_detail(runtime::TraceDetail::notes);
        options.hierarchies = 1;
        cluster.emplace(sim, options);
        invariants.emplace(*cluster);
        cluster->power_on_all();
        ASSERT_TRUE(cluster->wait_in_service(60s));
    }
    void TearDown() override {
        if (invariants) {
            EXPECT_THAT(invariants->violations(), IsEmpty());
        }
        if (HasFailure()) std::fputs(sim.trace().c_str(), stderr);
    }
    [[nodiscard]] std::vector<NodeName> running() { return cluster->kits().hosts_running(kApp); }

    runtime::Simulation sim{3};
    std::optional<SimulatedCluster> cluster;
    std::optional<Invariants> invariants;
};

// Spec: CLU-052, CLU-053, CLU-226
TEST_F(Paths, WithADiskPathNothingIsTakenOverFromANodeThatHasLostItsNetworks) {
    start({.nodes = 2, .disk_path = true});
    sim.partition("alpha", "beta");
    sim.run_for(300s);
    EXPECT_THAT(running(), ElementsAre(kAlpha));
    for (const auto& on : {kBeta, kAlpha}) {
        const auto asked = cluster->run(on, SimulatedCluster::switchover(kApp, kBeta), 1s);
        ASSERT_TRUE(asked) << "answered at once";
        EXPECT_EQ(asked->exit_code, 9) << asked->err;
        EXPECT_THAT(asked->err, testing::HasSubstr("DISK path only"));
    }
    EXPECT_THAT(running(), ElementsAre(kAlpha));
    sim.heal_all();
    sim.run_for(30s);
    EXPECT_THAT(running(), ElementsAre(kAlpha));
    EXPECT_TRUE(cluster->wait_in_service(30s));
}

// Spec: CLU-053
TEST_F(Paths, ANodeThatDiesBehindADiskPathIsTakenOver) {
    start({.nodes = 2, .disk_path = true});
    sim.partition("alpha", "beta");
    sim.run_for(60s);
    cluster->keep_off(kAlpha);
    ASSERT_TRUE(sim.run_until([&] { return running() == std::vector{kBeta}; }, 60s));
}

// A daemon that is restarted while only the disk joins the nodes must neither be missed nor start what the
// other runs. Spec: CLU-080
TEST_F(Paths, ADaemonThatIsRestartedBehindADiskPathStartsNothingTwice) {
    start({.nodes = 2, .disk_path = true});
    sim.partition("alpha", "beta");
    sim.run_for(20s);
    for (const auto& name : {kBeta, kAlpha, kBeta}) {
        cluster->host(name).kill_program();
        sim.run_for(300ms);
        cluster->power_on(name);
        sim.run_for(60s);
        EXPECT_THAT(running(), ElementsAre(kAlpha)) << name.str();
    }
    sim.heal_all();
    EXPECT_TRUE(cluster->wait_in_service(60s));
}

// What beta has cannot be asked, so alpha may start nothing until a network is back; then it does. Spec:
// CLU-080, CLU-126, CLU-127
TEST_F(Paths, ANodeThatBootsBehindADiskPathStartsNothingBeforeItsPeerCanBeAsked) {
    start({.nodes = 2, .disk_path = true});
    sim.partition("alpha", "beta");
    sim.run_for(20s);
    cluster->host(kAlpha).power_off();
    sim.run_for(500ms);
    cluster->power_on(kAlpha);
    sim.run_for(120s);
    EXPECT_THAT(running(), IsEmpty());
    sim.heal_all();
    EXPECT_TRUE(sim.run_until([&] { return running() == std::vector{kAlpha}; }, 30s));
    EXPECT_TRUE(cluster->wait_in_service(30s));
    // What a person stops after that stays out of service.
    ASSERT_EQ(cluster->run(kAlpha, SimulatedCluster::perform_action(Tag("ip0"), "remove"))->exit_code, 0);
    sim.run_for(60s);
    EXPECT_THAT(running(), IsEmpty());
}

// Spec: CLU-124, CLU-126, CLU-132
TEST_F(Paths, OfTwoNodesThatBootBehindADiskPathTheBetterOneStartsWhenANetworkIsBack) {
    start({.nodes = 2, .disk_path = true});
    ASSERT_EQ(cluster->run(kBeta, SimulatedCluster::switchover(kApp, kBeta))->exit_code, 0);
    sim.partition("alpha", "beta");
    sim.run_for(20s);
    for (const auto& name : {kBeta, kAlpha}) {
        cluster->host(name).power_off();
        sim.run_for(500ms);
        cluster->power_on(name);
        sim.run_for(60s);
    }
    EXPECT_THAT(running(), IsEmpty());
    sim.heal_all();
    EXPECT_TRUE(sim.run_until([&] { return running() == std::vector{kAlpha}; }, 60s));
    sim.run_for(60s);
    EXPECT_TRUE(cluster->wait_in_service(10s));
}

// Spec: CLU-067, CLU-080
TEST_F(Paths, ANodeThatStoodStillStartsNothingFromWhatItKnewBefore) {
    start({.nodes = 2});
    cluster->host(kBeta).pause();
    sim.run_for(60s);
    invariants->disturbed(kBeta);
    cluster->host(kBeta).resume();
    for (int i = 0; i < 300; ++i) {
        sim.run_for(100ms);
        ASSERT_THAT(running(), ElementsAre(kAlpha));
    }
}

// Spec: CLU-069
TEST_F(Paths, SettingsReplaceTheLimitsOfPathsThatHaveTheDefaultsOnly) {
    start({.nodes = 2, .interval = 6000ms, .misses = 5, .settings = "LCMHBEATTIME=4\nLCMNUMHBEATS=9\n"});
    for (const auto& status : cluster->daemon(kAlpha)->cluster().paths()) {
        EXPECT_EQ(status.path.interval_ms, 4000);
        EXPECT_EQ(status.path.misses, 9);
    }
    runtime::Simulation another(3);
    SimulatedCluster own_values(another, {.nodes = 2,
                                          .hierarchies = 1,
                                          .interval = 1000ms,
                                          .misses = 3,
                                          .settings = "LCMHBEATTIME=4\nLCMNUMHBEATS=9\n"});
    own_values.power_on_all();
    for (const auto& status : own_values.daemon(kAlpha)->cluster().paths()) {
        EXPECT_EQ(status.path.interval_ms, 1000);
        EXPECT_EQ(status.path.misses, 3);
    }
}

// Spec: CLU-256
TEST_F(Paths, AClusterIsUpgradedNodeByNodeWhileItsApplicationRuns) {
    start({.nodes = 3});
    const comm::Protocol later{1, comm::kHighestProtocol + 1, comm::kFeatures | (1ULL << 40), true};
    for (const auto& name : cluster->nodes()) {
        cluster->set_release(name, {1, 1, 0});
        cluster->host(name).kill_program();
        sim.run_for(200ms);
        cluster->power_on(name);
        sim.run_for(20s);
        EXPECT_THAT(running(), ElementsAre(kAlpha));
    }
    for (const auto& name : cluster->nodes()) {
        cluster->set_release(name, later);
        cluster->host(name).kill_program();
        sim.run_for(200ms);
        cluster->power_on(name);
        sim.run_for(20s);
        EXPECT_THAT(running(), ElementsAre(kAlpha)) << name.str();
    }
    ASSERT_TRUE(cluster->wait_in_service(20s));
    EXPECT_EQ(cluster->daemon(kAlpha)->cluster().agreed_with(kBeta)->version, comm::kHighestProtocol + 1);
    const auto moved = cluster->run(kAlpha, SimulatedCluster::switchover(kApp, kBeta));
    ASSERT_TRUE(moved);
    EXPECT_EQ(moved->exit_code, 0) << moved->err;
    EXPECT_THAT(running(), ElementsAre(kBeta));
}

config::Command remove(const std::string& node) {
    config::Command command;
    command.name = "understudy remove";
    command.arguments = {node};
    return command;
}

// Spec: CLU-099, CLU-272
TEST_F(Paths, ARemovedNodeIsForgottenAlsoByThoseThatWereDown) {
    start({.nodes = 3});
    const NodeName gamma("gamma");
    const auto knows = [&](const NodeName& name) {
        const auto& own = cluster->daemon(name)->database().own();
        return own.systems.contains(gamma) ||
               std::any_of(own.paths.begin(), own.paths.end(),
                           [&](const config::Path& path) { return path.remote == gamma; }) ||
               std::any_of(own.equivalencies.begin(), own.equivalencies.end(),
                           [&](const config::Equivalency& pair) { return pair.other_node == gamma; });
    };
    EXPECT_EQ(cluster->run(kAlpha, remove("gamma"))->exit_code, 1) << "it lives";
    cluster->keep_off(gamma);
    cluster->host(kBeta).power_off();
    sim.run_for(30s);
    const auto removed = cluster->run(kAlpha, remove("gamma"));
    ASSERT_TRUE(removed);
    EXPECT_EQ(removed->exit_code, 0) << removed->err;
    EXPECT_FALSE(knows(kAlpha));
    EXPECT_EQ(cluster->run(kAlpha, remove("gamma"))->exit_code, 7) << "it is gone";
    EXPECT_EQ(cluster->run(kAlpha, remove("alpha"))->exit_code, 5);
    // The set is on disk: the next life of alpha tells it too.
    cluster->host(kAlpha).kill_program();
    cluster->power_on(kAlpha);
    cluster->power_on(kBeta);
    ASSERT_TRUE(sim.run_until([&] { return cluster->daemon(kBeta) && !knows(kBeta); }, 60s));
    EXPECT_TRUE(cluster->wait_in_service(60s));
}

}  // namespace
}  // namespace understudy::sim
