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
    sim.run_for(500ms);  // beta sees nothing of it
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

config::Command path_command(const std::string& name, std::map<std::string, std::string> options) {
    config::Command command;
    command.name = name;
    command.options = std::move(options);
    return command;
}

/// Between the nodes with these numbers on the network with this one.
config::Command create_path(const std::string& device, int network, int from, int to, bool both) {
    auto command = path_command("net_create", {{"s", node_names(3)[static_cast<std::size_t>(to)].str()},
                                               {"D", device},
                                               {"n", "TLI"},
                                               {"p", "2"},
                                               {"l", fmt::format("10.{}.0.{}", network, from + 1)},
                                               {"r", fmt::format("10.{}.0.{}", network, to + 1)},
                                               {"h", "4"},
                                               {"c", "3"}});
    if (both) command.options["both"] = "";
    return command;
}

// Spec: CLU-061
TEST_F(Paths, TheLastPathIsDeletedOnlyWhenThatIsSaidAndItsEndIsNoFailureForThePeer) {
    start({.nodes = 2});
    EXPECT_EQ(cluster->run(kAlpha, path_command("net_remove", {{"D", "TCP:1600"}}))->exit_code, 0);
    const auto refused = cluster->run(kAlpha, path_command("net_remove", {{"D", "TCP:1500"}}));
    EXPECT_EQ(refused->exit_code, 8);
    EXPECT_THAT(refused->err, testing::HasSubstr("the last path to beta"));
    const auto removed = cluster->run(kAlpha, path_command("net_remove", {{"D", "TCP:1500"}, {"last", ""}}));
    EXPECT_EQ(removed->exit_code, 0) << removed->err;
    EXPECT_EQ(removed->err, "");
    invariants->disturbed(kAlpha, kBeta);
    sim.run_for(120s);
    EXPECT_THAT(running(), ElementsAre(kAlpha)) << "nothing is taken over";
    EXPECT_EQ(cluster->run(kBeta, path_command("sys_getst", {{"s", "alpha"}}))->out, "DEAD\n");
    EXPECT_THAT(cluster->run(kBeta, path_command("sys_getds", {{"s", "alpha"}}))->out,
                testing::HasSubstr("deleted its paths to this system on purpose"));
    EXPECT_EQ(cluster->run(kAlpha, path_command("sys_getds", {{"s", "beta"}}))->out,
              "no communication path is defined\n");
    // A path that is ALIVE again ends it: the next loss is one.
    EXPECT_EQ(cluster->run(kAlpha, create_path("TCP:1500", 0, 0, 1, false))->exit_code, 0);
    ASSERT_TRUE(sim.run_until(
        [&] { return cluster->daemon(kBeta)->cluster().peer_state(kAlpha) == comm::PeerState::alive; }, 60s));
    sim.run_for(30s);
    EXPECT_THAT(running(), ElementsAre(kAlpha));
    cluster->keep_off(kAlpha);
    EXPECT_TRUE(sim.run_until([&] { return running() == std::vector{kBeta}; }, 60s));
}

// Spec: CLU-050
TEST_F(Paths, NothingIsSharedWithANodeToWhichThereIsNoPath) {
    start({.nodes = 2});
    for (const auto& name : {kAlpha, kBeta})
        ASSERT_EQ(cluster
                      ->run(name, path_command("ins_create",
                                               {{"a", "gen"}, {"r", "app"}, {"t", "new"}, {"i", "new"}}))
                      ->exit_code,
                  0);
    const auto share =
        path_command("eqv_create", {{"t", "new"}, {"S", "beta"}, {"o", "new"}, {"e", "SHARED"}});
    ASSERT_EQ(cluster->run(kAlpha, path_command("net_remove", {{"D", "TCP:1600"}}))->exit_code, 0);
    EXPECT_THAT(cluster->run(kAlpha, path_command("understudy status", {}))->out,
                testing::HasSubstr("Warning"))
        << "one path is not enough for good";
    ASSERT_EQ(cluster->run(kAlpha, path_command("net_remove", {{"D", "TCP:1500"}, {"last", ""}}))->exit_code,
              0);
    invariants->disturbed(kAlpha, kBeta);
    EXPECT_EQ(cluster->run(kAlpha, share)->exit_code, 9);
    EXPECT_TRUE(cluster->daemon(kAlpha)->database().own().equivalents(Tag("new")).empty());
    ASSERT_EQ(cluster->run(kAlpha, create_path("TCP:1500", 0, 0, 1, false))->exit_code, 0);
    ASSERT_TRUE(sim.run_until(
        [&] { return cluster->daemon(kAlpha)->cluster().peer_state(kBeta) == comm::PeerState::alive; }, 60s));
    EXPECT_EQ(cluster->run(kAlpha, share)->exit_code, 0);
}

// Spec: CLU-057
TEST_F(Paths, OneCommandMakesBothEndsOfAPathOrNeither) {
    start({.nodes = 3, .paths = 2});
    for (const auto& name : {kAlpha, kBeta})
        ASSERT_EQ(cluster->run(name, path_command("net_remove", {{"D", "TCP:1600"}}))->exit_code, 0);
    const auto ends = [&](const std::string& device) {
        int alive = 0;
        for (const auto& name : {kAlpha, kBeta})
            for (const auto& path : cluster->daemon(name)->cluster().paths())
                if (path.path.device == device && path.state == comm::PathState::alive) ++alive;
        return alive;
    };
    const auto made = cluster->run(kAlpha, create_path("TCP:1700", 1, 0, 1, true));
    EXPECT_EQ(made->exit_code, 0) << made->err;
    EXPECT_TRUE(sim.run_until([&] { return ends("TCP:1700") == 2; }, 60s));
    // 1502 is beta's end of its path to gamma.
    const auto taken = cluster->run(kAlpha, create_path("TCP:1502", 1, 0, 1, true));
    EXPECT_EQ(taken->exit_code, 4);
    EXPECT_THAT(taken->err, testing::HasSubstr("beta does not make its end"));
    EXPECT_EQ(cluster->daemon(kAlpha)->database().own().find_path("TCP:1502"), nullptr);
    // Alpha's own end is checked before beta hears of it.
    EXPECT_EQ(cluster->run(kAlpha, create_path("TCP:1501", 1, 0, 1, true))->exit_code, 4);
    EXPECT_EQ(cluster->daemon(kBeta)->database().own().find_path("TCP:1501"), nullptr);
    cluster->keep_off(kBeta);
    sim.run_for(30s);
    const auto dead = cluster->run(kAlpha, create_path("TCP:1710", 1, 0, 1, true));
    EXPECT_EQ(dead->exit_code, 9);
    EXPECT_EQ(cluster->daemon(kAlpha)->database().own().find_path("TCP:1710"), nullptr);
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
