// Quorum under faults that no table of the manual shows: what cannot be stopped, what stands still, a storage
// that lies, settings that change. And the essence of seeds that broke a rule once.

#include "messages/messages.h"
#include "sim/quorum_scenario.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>

namespace understudy::sim {
namespace {

class MajorityUnderFaults : public QuorumScenario {
  protected:
    MajorityUnderFaults() : QuorumScenario(3, quorum::Mode::majority) {}
};

class StorageUnderFaults : public QuorumScenario {
  protected:
    StorageUnderFaults() : QuorumScenario(2, quorum::Mode::storage) {}
    /// Alpha, which runs everything, has a full disk and loses quorum; returns when it has stopped
    /// everything. `run_too`: the run directory is full as well.
    void lose_quorum_with_a_full_disk(bool run_too) {
        cluster.fill_disk(alpha, true, run_too);
        cluster.storage().reachable(alpha, false);
        sim.run_for(20s);
        cut(alpha, beta);
        ASSERT_TRUE(sim.run_until([&] { return running().empty(); }, takeover()));
    }
};

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

// Spec: QUO-037, QUO-108
TEST_F(StorageUnderFaults, QuorumCheckAnswersByTheStateOfTheStorage) {
    start_in_service();
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::have);
    cluster.storage().reachable(alpha, false);
    sim.run_for(12s);
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::lost);
    EXPECT_EQ(quorum_of(beta), quorum::Quorum::have) << "a fact about alpha";
    cluster.storage().reachable(alpha, true);
    sim.run_for(12s);
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::have);
    cluster.configure_settings(alpha, "");
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::have) << "switched off";
    cluster.daemon(alpha)->database().commit({config::PutSystem{gamma}});
    cluster.configure_settings(alpha, quorum_settings(quorum::Mode::storage));
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::config_error) << "gamma was not captured";
}

// A node that starts while it does not reach the storage must not begin its object anew over the one that is
// there: its peer would take the lower numbers for silence, and it for dead.
TEST_F(StorageUnderFaults, NodeThatStartsWithoutTheStorageGoesOnFromItsOldSequenceLater) {
    start_in_service();
    sim.run_for(60s);
    const auto before = quorum::decode_object(*cluster.storage().newest("/qwk/beta"), beta);
    cluster.storage().reachable(beta, false);
    cluster.host(beta).kill_program();
    cluster.power_on(beta);
    sim.run_for(20s);
    cluster.storage().reachable(beta, true);
    sim.run_for(20s);
    const auto after = quorum::decode_object(*cluster.storage().newest("/qwk/beta"), beta);
    ASSERT_TRUE(before && after);
    EXPECT_GT(after->sequence, before->sequence);
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

// Spec: QUO-073
TEST_F(StorageUnderFaults, OwnerThatCanNoteNowhereWhatItStoppedDoesNotTakeItForRunningLater) {
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
TEST_F(StorageUnderFaults, OwnerWhoseDiskHasRoomAgainWithinTheGraceNotesWhatItStoppedAndLeavesInOrder) {
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
    WithoutWatchdog() : QuorumScenario(2, quorum::Mode::storage, {}, false) {}
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

// Both nodes were without the storage when they started; no event of the paths tells them that it is back.
TEST_F(StorageUnderFaults, StorageThatReturnsStartsWhatIsInServiceNowhere) {
    for (const auto& node : cluster.nodes())
        cluster.storage().reachable(node, false);
    cluster.power_on_all();
    sim.run_for(60s);
    EXPECT_THAT(running(), IsEmpty());
    cluster.storage().all_reachable();
    EXPECT_TRUE(wait_running(alpha, 60s));
}

// Spec: QUO-063, QUO-101
TEST_F(StorageUnderFaults, BetweenExitAndInitNothingIsStartedOrStopped) {
    start_in_service();
    config::Command leave;
    leave.name = "qwk_storage_exit";
    for (const auto& node : cluster.nodes()) {
        const auto left = cluster.run(node, leave);
        ASSERT_TRUE(left);
        EXPECT_EQ(left->exit_code, 0) << left->err;
    }
    const auto before = changes();
    cut(alpha, beta);
    sim.run_for(120s);
    EXPECT_EQ(changes(), before);
    EXPECT_EQ(quorum_of(beta), quorum::Quorum::frozen);
    EXPECT_TRUE(cluster.storage().newest("/qwk/alpha")) << "the object stays in place";
}

class NewStorage : public QuorumScenario {
  protected:
    NewStorage()
        : QuorumScenario(2, quorum::Mode::storage,
                         "QWK_STORAGE_TYPE=file\nQWK_STORAGE_OBJECT_ALPHA=/qwk/alpha\n"
                         "QWK_STORAGE_OBJECT_BETA=/qwk/beta\n") {
        for (const auto& node : cluster.nodes())
            static_cast<void>(cluster.host(node).files().remove("/var/lib/understudy/qwk.conf"));
    }
    std::shared_ptr<std::optional<config::Reply>> init(const NodeName& node, const std::string& limit = "0") {
        config::Command command;
        command.name = "qwk_storage_init";
        command.options["t"] = limit;
        auto reply = std::make_shared<std::optional<config::Reply>>();
        cluster.daemon(node)->run(command, [reply](const config::Reply& answer) { *reply = answer; });
        return reply;
    }
};

// Spec: QUO-099, QUO-087, QUO-103
TEST_F(NewStorage, InitWaitsForTheInitOfEveryNodeAndLastsAcrossRestarts) {
    cluster.power_on_all();
    sim.run_for(30s);
    EXPECT_THAT(running(), IsEmpty()) << "frozen: not initialised";
    const auto first = init(alpha);
    sim.run_for(20s);
    EXPECT_FALSE(first->has_value()) << "blocked";
    const auto second = init(beta);
    ASSERT_TRUE(sim.run_until([&] { return first->has_value() && second->has_value(); }, 30s));
    for (const auto& reply : {*first, *second})
        EXPECT_EQ(reply->exit_code, 0) << reply->err;
    sim.run_for(10s);
    for (const auto& node : cluster.nodes())
        EXPECT_EQ(quorum_of(node), quorum::Quorum::have);
    const auto before = quorum::decode_object(*cluster.storage().newest("/qwk/alpha"), alpha);
    cluster.host(alpha).power_off();
    cluster.power_on(alpha);
    sim.run_for(30s);
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::have) << "initialised for good";
    const auto after = quorum::decode_object(*cluster.storage().newest("/qwk/alpha"), alpha);
    ASSERT_TRUE(before && after);
    EXPECT_GT(after->sequence, before->sequence) << "goes on from what it finds";
}

// Spec: QUO-098, QUO-100, QUO-102
TEST_F(NewStorage, InitRefusesWhileAPathIsDeadAndEndsAtItsLimit) {
    cluster.power_on(alpha);
    sim.run_for(20s);
    const auto dead = init(alpha);
    ASSERT_TRUE(sim.run_until([&] { return dead->has_value(); }, 10s));
    EXPECT_EQ((*dead)->exit_code, 4);
    EXPECT_THAT((*dead)->err, HasSubstr("TCP:1500"));
    cluster.power_on(beta);
    sim.run_for(20s);
    const auto limited = init(alpha, "10");
    ASSERT_TRUE(sim.run_until([&] { return limited->has_value(); }, 30s));
    EXPECT_EQ((*limited)->exit_code, 5);
    cluster.storage().reachable(alpha, false);
    const auto unreached = init(alpha);
    ASSERT_TRUE(sim.run_until([&] { return unreached->has_value(); }, 30s));
    EXPECT_EQ((*unreached)->exit_code, 3);
}

class ThirdNode : public QuorumScenario {
  protected:
    ThirdNode()
        : QuorumScenario(3, quorum::Mode::storage,
                         "QWK_STORAGE_TYPE=file\nQWK_STORAGE_OBJECT_ALPHA=/qwk/alpha\n"
                         "QWK_STORAGE_OBJECT_BETA=/qwk/beta\nQWK_STORAGE_OBJECT_GAMMA=/qwk/gamma\n") {}
};

// Spec: QUO-105, QUO-106, QUO-108
TEST_F(ThirdNode, NodeThatWasAddedNeedsExitAndInitOnAll) {
    quorum::StorageConfiguration old;
    old.hbeattime_s = 5;
    old.objects = {{alpha, {"/qwk/alpha"}}, {beta, {"/qwk/beta"}}};
    const std::string captured = "/var/lib/understudy/qwk.conf";
    static_cast<void>(cluster.host(gamma).files().remove(captured));
    for (const auto& node : {alpha, beta}) {
        old.self = node;
        static_cast<void>(cluster.host(node).files().write_atomic(captured, quorum::encode(old)));
    }
    cluster.power_on_all();
    sim.run_for(30s);
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::config_error);
    EXPECT_EQ(quorum_of(gamma), quorum::Quorum::frozen);
    EXPECT_THAT(running(), IsEmpty());
    config::Command leave;
    leave.name = "qwk_storage_exit";
    config::Command init;
    init.name = "qwk_storage_init";
    for (const auto& node : cluster.nodes())
        ASSERT_TRUE(cluster.run(node, leave));
    for (const auto& node : cluster.nodes())
        cluster.start(node, init);
    EXPECT_TRUE(wait_running(alpha, 60s)) << "quorum is there, and what was in service nowhere is started";
    sim.run_for(15s);  // the others may still read each other's objects
    for (const auto& node : cluster.nodes())
        EXPECT_EQ(quorum_of(node), quorum::Quorum::have);
}

// Spec: QUO-086, QUO-051
TEST_F(StorageUnderFaults, DamagedObjectIsAMissedCheckAndNoFailover) {
    start_in_service();
    cut(alpha, beta);
    for (int i = 0; i < 6; ++i) {
        cluster.storage().damage("/qwk/alpha");
        sim.run_for(7s);
    }
    EXPECT_THAT(running(), ElementsAre(alpha));
    EXPECT_EQ(quorum_of(beta), quorum::Quorum::have);
}

// Spec: QUO-053
TEST_F(StorageUnderFaults, ClockOfAPeerThatIsAnHourAheadMeansNothing) {
    start_in_service();
    cluster.host(beta).jump_wall_clock(1h);
    cut(alpha, beta);
    sim.run_for(60s);
    EXPECT_THAT(running(), ElementsAre(alpha));
    cluster.keep_off(alpha);
    EXPECT_TRUE(sim.run_until([&] { return running().empty(); }, 1s));
}

// The lone survivor that loses the storage too has no proof any more: its peer may boot, reach the storage
// and start. Spec: QUO-043 names the outage with paths up; this is the other one.
TEST_F(StorageUnderFaults, LoneNodeThatLosesTheStorageStopsBeforeItsPeerMayStart) {
    start_in_service();
    cluster.host(beta).power_off();
    sim.run_for(60s);
    cut(alpha, beta);
    cluster.storage().reachable(alpha, false);
    cluster.power_on(beta);
    EXPECT_TRUE(wait_running(beta, 120s));
    EXPECT_THAT(invariants.violations(), IsEmpty());
}

TEST_F(StorageUnderFaults, StaleAndSlowStorageCausesNoTakeover) {
    start_in_service();
    cluster.storage().set_staleness(4s);
    cluster.storage().set_delay(1s);
    cut(alpha, beta);
    sim.run_for(300s);
    EXPECT_THAT(running(), ElementsAre(alpha));
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

// Spec: QUO-031
TEST_F(StorageUnderFaults, WhetherAMajorityOfNodesUsesTheStorageIsToldAndDecidesNothing) {
    start_in_service();
    EXPECT_THAT(status_of(alpha).out, HasSubstr("2 of 2 nodes use the storage\n"));
    cluster.storage().reachable(beta, false);
    sim.run_for(60s);
    EXPECT_THAT(status_of(alpha).out, HasSubstr("1 of 2 nodes use the storage: no majority of them"));
    EXPECT_EQ(quorum_of(alpha), quorum::Quorum::have);
    EXPECT_THAT(running(), ElementsAre(alpha));
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

/// The log of all nodes while `act` runs.
std::string log_of(const std::function<void()>& act) {
    const auto path = std::filesystem::temp_directory_path() /
                      fmt::format("understudy-quorum-log-{}", std::random_device()());
    messages::configure({.process = "test", .file = path.string(), .least = messages::Severity::info});
    act();
    messages::configure({.process = "test", .file = "", .least = messages::Severity::critical});
    std::ifstream file(path);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    std::filesystem::remove(path);
    return text;
}

// Spec: QUO-015
TEST_F(MajorityUnderFaults, DebugMessagesAreLoggedOnlyWhenTheyAreAskedFor) {
    const auto start_alone = [&] {
        cluster.power_on(alpha);
        sim.run_for(60s);
        cluster.host(alpha).power_off();
    };
    EXPECT_THAT(log_of(start_alone), Not(HasSubstr("quorum check in progress")));
    cluster.configure_settings(alpha, cluster.options().settings + "QUORUM_DEBUG=1\n");
    EXPECT_THAT(log_of(start_alone), HasSubstr("quorum check in progress"));
}

// Spec: QUO-093
TEST_F(StorageUnderFaults, AFirstCheckOfTheStorageThatDoesNotEndIsTold) {
    cluster.storage().set_delay(30s);
    const auto text = log_of([&] {
        cluster.power_on_all();
        sim.run_for(60s);
    });
    EXPECT_THAT(text,
                HasSubstr("(No. 18218) the first storage check was not finished after 5000 ms, 0 completed"));
    EXPECT_THAT(running(), IsEmpty());
    cluster.storage().set_delay(20ms);
    EXPECT_TRUE(wait_running(alpha, 120s));
    const auto later = log_of([&] {
        cluster.storage().set_delay(30s);
        sim.run_for(10s);
        cluster.storage().set_delay(20ms);
    });
    EXPECT_THAT(later, Not(HasSubstr("18218"))) << "it is not the first";
}

// Spec: QUO-032, CLU-078, CLU-079
TEST_F(MajorityUnderFaults, EachStartIsOneEventAndEachLossAndReturnOfAPeerIsOneForEachNodeThatSeesIt) {
    for (const auto& node : cluster.nodes())
        for (const auto* event : {"lcm_avail", "comm_up", "comm_down"})
            cluster.host(node).install_executable(
                fmt::format("/usr/lib/understudy/events/lifekeeper/{}/told", event));
    sim.set_trace_detail(runtime::TraceDetail::full);
    std::size_t seen = 0;
    // What was raised on the node since the last call, in order: "lcm_avail comm_up".
    const auto raised = [&](const NodeName& node) {
        std::string events;
        std::istringstream lines(sim.trace().substr(seen));
        for (std::string line; std::getline(lines, line);)
            for (const auto* event : {"lcm_avail", "comm_up", "comm_down"})
                if (line.substr(line.find(' ') + 1).starts_with(node.str() + " ") &&
                    line.find(fmt::format("starts: /usr/lib/understudy/events/lifekeeper/{}/told", event)) !=
                        std::string::npos)
                    events += (events.empty() ? "" : " ") + std::string(event);
        return events;
    };
    const auto all = [&] {
        const auto result = raised(alpha) + "|" + raised(beta) + "|" + raised(gamma);
        seen = sim.trace().size();
        return result;
    };
    start_in_service();
    EXPECT_EQ(all(), "lcm_avail comm_up comm_up|lcm_avail comm_up comm_up|lcm_avail comm_up comm_up");
    sim.partition(alpha.str(), beta.str());
    sim.heal(alpha.str(), beta.str());
    sim.run_for(30s);
    EXPECT_EQ(all(), "||");
    cluster.host(gamma).power_off();
    sim.run_for(60s);
    EXPECT_EQ(all(), "comm_down|comm_down|");
    cluster.power_on(gamma);
    sim.run_for(60s);
    EXPECT_EQ(all(), "comm_up|comm_up|lcm_avail comm_up comm_up");
}

// Spec: QUO-029
TEST_F(MajorityUnderFaults, TheWitnessIsAskedAtTheStartWhenAPeerComesAndWhenOneGoes) {
    EXPECT_THAT(log_of([&] {
                    cluster.power_on(alpha);
                    cluster.power_on(beta);
                    ASSERT_TRUE(wait_running(alpha, 120s));
                }),
                HasSubstr("witness_verify LCM_AVAIL gamma:"));
    cluster.power_on(gamma);
    sim.run_for(60s);
    EXPECT_THAT(log_of([&] {
                    cluster.host(gamma).power_off();
                    sim.run_for(60s);
                }),
                HasSubstr("witness_verify COMM_DOWN gamma:"));
    EXPECT_THAT(log_of([&] {
                    cluster.host(beta).power_off();
                    sim.run_for(60s);
                    cluster.power_on(beta);
                    sim.run_for(180s);
                }),
                HasSubstr("witness_verify COMM_UP gamma:"));
}

}  // namespace
}  // namespace understudy::sim
