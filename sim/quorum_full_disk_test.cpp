// Loss of quorum, and switchovers, on hosts whose disk is full.

#include "sim/quorum_scenario.h"

namespace understudy::sim {
namespace {

// The same with full disks, at every moment of the switchover and with either of the two killed. A switchover
// that was cut short in its middle is repeated by whoever asked for it.
TEST_F(MajorityUnderFaults, NoKillOnAFullDiskDuringASwitchoverMakesTheApplicationRunTwiceOrNowhereForGood) {
    start_in_service();
    for (const auto& victim : {alpha, beta})
        for (auto at = 0ms; at < 1200ms; at += 60ms) {
            const auto when = fmt::format("{} after {} ms", victim.str(), at.count());
            for (const auto& node : cluster.nodes())
                cluster.fill_disk(node, true);
            const auto to = running().front() == alpha ? beta : alpha;
            cluster.start(to, SimulatedCluster::switchover(app, to));
            sim.run_for(at);
            cluster.host(victim).kill_program();
            cut(alpha, beta);
            cluster.power_on(victim);
            sim.run_for(30s);
            heal();
            if (!cluster.wait_in_service(60s)) {
                const auto again = cluster.run(to, SimulatedCluster::switchover(app, to), 300s);
                ASSERT_TRUE(again) << when;
                ASSERT_EQ(again->exit_code, 0) << when << ": " << again->err;
            }
            for (const auto& node : cluster.nodes())
                cluster.fill_disk(node, false);
            sim.run_for(60s);
            ASSERT_TRUE(cluster.all_in_service()) << when;
        }
}

// A seed found it: the owner that lost quorum could not note on its full disk that it had stopped everything,
// took it for running after its quarantine, and affirmed it beside the peer that had taken over meanwhile.
// Spec: QUO-073
TEST_F(StorageUnderFaults, OwnerWhoseDiskIsFullKnowsAfterItsQuarantineWhatItStopped) {
    start_in_service();
    lose_quorum_with_a_full_disk(false);
    ASSERT_TRUE(sim.run_until([&] { return cluster.quarantines(alpha) == 1; }, 5s));
    ASSERT_TRUE(wait_running(beta, 2 * takeover())) << "it does not hold up its peer";
    sim.run_for(120s);  // cut off from its peer and from the storage, and back from its quarantine
    EXPECT_THAT(running(), ElementsAre(beta));
    cluster.storage().reachable(alpha, true);
    sim.run_for(120s);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 0);
}

// Spec: QUO-073, CLU-089
TEST_F(StorageUnderFaults, OwnerWhoseRunDirectoryIsFullTooHasRoomForWhatItStopped) {
    start_in_service();
    lose_quorum_with_a_full_disk(true);
    ASSERT_TRUE(wait_running(beta, 2 * takeover()));
    sim.run_for(120s);
    cluster.storage().reachable(alpha, true);
    sim.run_for(120s);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 0) << "it has left in order";
    EXPECT_GE(cluster.quarantines(alpha), 1);
}

/// Hosts whose commits have no room of their own in the run directory: what is so when it is used up.
class NoRoomForNotes : public StorageUnderFaults {
  protected:
    NoRoomForNotes() : StorageUnderFaults(0) {}
};

// Spec: QUO-073
TEST_F(NoRoomForNotes, OwnerThatCanNoteNowhereWhatItStoppedDoesNotTakeItForRunningLater) {
    start_in_service();
    lose_quorum_with_a_full_disk(true);
    ASSERT_TRUE(wait_running(beta, 2 * takeover())) << "it does not hold up its peer";
    cluster.storage().reachable(alpha, true);
    sim.run_for(120s);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 1) << "after a boot nothing is taken for running";
    EXPECT_EQ(cluster.quarantines(alpha), 0);
}

// Spec: QUO-073
TEST_F(NoRoomForNotes, OwnerWhoseDiskHasRoomAgainWithinTheGraceNotesWhatItStoppedAndLeavesInOrder) {
    start_in_service();
    lose_quorum_with_a_full_disk(true);
    cluster.fill_disk(alpha, false);
    ASSERT_TRUE(sim.run_until([&] { return cluster.quarantines(alpha) == 1; }, 5s));
    ASSERT_TRUE(wait_running(beta, 2 * takeover()));
    cluster.storage().reachable(alpha, true);
    sim.run_for(120s);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 0);
}

class WithoutWatchdog : public QuorumScenario {
  protected:
    WithoutWatchdog() : QuorumScenario(2, quorum::Mode::storage, {}, false, 0) {}
};

// Spec: QUO-073
TEST_F(WithoutWatchdog, OwnerThatCanNoteNowhereWhatItStoppedStaysAndStartsNothingUntilThereIsRoom) {
    start_in_service();
    cluster.fill_disk(alpha, true, true);
    cluster.storage().reachable(alpha, false);
    sim.run_for(20s);
    cut(alpha, beta);
    ASSERT_TRUE(sim.run_until([&] { return running().empty(); }, takeover()));
    ASSERT_TRUE(wait_running(beta, 2 * takeover())) << "it does not hold up its peer";
    heal();
    cluster.storage().reachable(alpha, true);
    sim.run_for(300s);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.quarantines(alpha), 0);
    ASSERT_NE(cluster.daemon(alpha), nullptr) << "a new life would take for running what it stopped";
    cluster.fill_disk(alpha, false);
    ASSERT_TRUE(sim.run_until([&] { return cluster.quarantines(alpha) == 1; }, 10s));
    sim.run_for(180s);
    EXPECT_THAT(running(), ElementsAre(beta));
    EXPECT_EQ(cluster.state(alpha, app), config::State::osu);
    EXPECT_EQ(cluster.watchdog(alpha).resets(), 0);
}

}  // namespace
}  // namespace understudy::sim
