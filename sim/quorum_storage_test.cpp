// Storage quorum: its initialisation, and a storage that is away, late, stale or damaged.

#include "sim/quorum_scenario.h"

namespace understudy::sim {
namespace {

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

}  // namespace
}  // namespace understudy::sim
