// Operations that are disturbed in the middle on clusters with quorum: the essence of seeds that broke a rule
// once.

#include "sim/quorum_scenario.h"

namespace understudy::sim {
namespace {

// A seed found it: all nodes recorded it as stopped while it ran on the target of the switchover, for good.
TEST_F(MajorityUnderFaults, TargetThatIsKilledJustAfterASwitchoverStillKnowsWhatItStarted) {
    start_in_service();
    cluster.disk(beta).most_write = 2s;
    for (int i = 0; i < 10; ++i) {
        cluster.start(beta, SimulatedCluster::switchover(app, beta));
        ASSERT_TRUE(sim.run_until([&] { return cluster.kits().runs(beta, app); }, 60s));
        cluster.host(beta).kill_program();
        cluster.power_on(beta);
        ASSERT_TRUE(cluster.wait_in_service(60s));
        sim.run_for(60s);
        EXPECT_THAT(running(), ElementsAre(beta));
        cluster.start(alpha, SimulatedCluster::switchover(app, alpha));
        ASSERT_TRUE(wait_running(alpha, 60s));
        sim.run_for(60s);
    }
}

// The owner is killed right after a switchover has taken its application away, and is cut off from the node
// that runs it now: what it stopped must be on its slow disk before another node starts it.
TEST_F(MajorityUnderFaults, OwnerThatIsKilledJustAfterASwitchoverDoesNotTakeWhatItStoppedForRunning) {
    start_in_service();
    cluster.disk(alpha).most_write = 2s;
    for (int i = 0; i < 10; ++i) {
        cluster.start(beta, SimulatedCluster::switchover(app, beta));
        ASSERT_TRUE(sim.run_until([&] { return cluster.kits().runs(beta, app); }, 60s));
        cluster.host(alpha).kill_program();
        cut(alpha, beta);
        cluster.power_on(alpha);
        sim.run_for(60s);
        EXPECT_THAT(running(), ElementsAre(beta));
        heal();
        sim.run_for(60s);
        cluster.start(alpha, SimulatedCluster::switchover(app, alpha));
        ASSERT_TRUE(wait_running(alpha, 60s));
        sim.run_for(60s);
    }
}

// The target of a switchover is gone and back before it is missed; see the scenario of sim_test.cpp.
// Spec: CLU-107, QUO-069
TEST_F(MajorityUnderFaults, TargetOfASwitchoverThatRestartsUnnoticedLeavesNoHalfOfAHierarchy) {
    start_in_service();
    const auto all_is_down = [&] { return running().empty() && cluster.kits().hosts_running(ip).empty(); };
    for (const bool reboots : {true, false})
        for (const bool half : {true, false}) {
            const auto to = running().front() == alpha ? beta : alpha;
            cluster.start(to, SimulatedCluster::switchover(app, to));
            ASSERT_TRUE(sim.run_until([&] { return half ? running().empty() : all_is_down(); }, 10s));
            if (reboots)
                cluster.host(to).power_off();
            else
                cluster.host(to).kill_program();
            sim.run_for(cluster.detection() / 3);
            cluster.power_on(to);
            sim.run_for(30s);
            EXPECT_TRUE(cluster.all_in_service())
                << (half ? "half" : "all") << (reboots ? ", the host" : ", the daemon");
        }
}

// The storage answers so late that the target may start nothing for a moment, in the middle of the
// switchover; with its quorum back, nobody goes on with it. Spec: CLU-107, QUO-044
TEST_F(StorageUnderFaults, TargetOfASwitchoverThatHasNoQuorumForAMomentLeavesNoHalfOfAHierarchy) {
    start_in_service();
    int stopped = 0;
    for (auto after = 0ms; after <= 5000ms; after += 50ms) {  // a check of the storage every 5 s
        const auto to = running().front() == alpha ? beta : alpha;
        cluster.storage().reachable(to, false);
        sim.run_for(after);
        const auto removes = changes();
        const auto reply = cluster.run(to, SimulatedCluster::switchover(app, to), 60s);
        ASSERT_TRUE(reply);
        if (reply->exit_code != 0 && changes() > removes) ++stopped;
        cluster.storage().reachable(to, true);
        sim.run_for(60s);
        ASSERT_TRUE(cluster.all_in_service()) << "after " << after.count() << " ms: " << reply->err;
    }
    EXPECT_GT(stopped, 3) << "in the middle";
}

/// Hierarchies of four resources on a cluster with storage quorum.
class LargeHierarchies : public testing::Test, protected Story {
  protected:
    explicit LargeHierarchies()
        : Story({.nodes = 2,
                 .hierarchies = 1,
                 .resources = 4,
                 .settings = quorum_settings(quorum::Mode::storage),
                 .quorum = quorum::Mode::storage},
                7) {}
    /// The storage is away from `node` for a moment that begins when its next start has reached `script`.
    void no_quorum_for_a_moment(const NodeName& node, int script) {
        cluster.kits().on_next_restore([this, node, script, seen = 0](const NodeName& host) mutable {
            if (host != node || seen++ < script) return false;
            cluster.storage().reachable(node, false);
            sim.after(12s, [this, node] { cluster.storage().reachable(node, true); });
            return true;
        });
        cluster.kits().set_trouble({.least = 4s, .most = 6s});
    }
};

// A part of the hierarchy was in service then, and nobody ever looked at the rest. Spec: CLU-129, QUO-044
TEST_F(LargeHierarchies, StartThatIsStoppedByAMomentWithoutQuorumIsWholeInTheEnd) {
    for (int script = 0; script < 4; ++script) {
        for (const auto& node : cluster.nodes())
            cluster.host(node).power_off();
        no_quorum_for_a_moment(alpha, script);
        cluster.power_on_all();
        EXPECT_TRUE(cluster.wait_in_service(180s)) << "at script " << script;
        cluster.kits().set_trouble({});
        sim.run_for(30s);
        invariants.check_calm();
    }
}

// Spec: CLU-188, QUO-044
TEST_F(LargeHierarchies, TakeoverThatIsStoppedByAMomentWithoutQuorumIsWholeInTheEnd) {
    for (int script = 0; script < 4; ++script) {
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(240s));
        sim.run_for(60s);
        const auto owner = running().front();
        const auto heir = owner == alpha ? beta : alpha;
        no_quorum_for_a_moment(heir, script);
        cluster.host(owner).power_off();
        EXPECT_TRUE(cluster.wait_in_service(240s)) << "at script " << script;
        cluster.kits().set_trouble({});
    }
}

}  // namespace
}  // namespace understudy::sim
