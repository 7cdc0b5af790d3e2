// A full disk, and a daemon that ends meanwhile: what it started and stopped is known to the next one, for
// the run directory has what the disk does not take (config/tail_store.h).

#include "sim/story.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using config::State;
using testing::ElementsAre;
using testing::HasSubstr;

class FullDisk : public testing::Test, protected Story {
  protected:
    explicit FullDisk(std::size_t reserved_tail = ClusterOptions{}.reserved_tail)
        : Story({.nodes = 2, .hierarchies = 1, .reserved_tail = reserved_tail}) {}

    void fill(bool full, bool run_too = false) {
        for (const auto& node : cluster.nodes())
            cluster.fill_disk(node, full, run_too);
    }
    void kill_and_restart(const NodeName& node) {
        cluster.host(node).kill_program();
        cluster.power_on(node);
    }
    std::optional<config::Reply> stop(const NodeName& node) {
        config::Command command;
        command.name = "lkstop";
        return cluster.run(node, command);
    }
};

// Spec: CLU-089, CLU-125
TEST_F(FullDisk, ADaemonThatIsKilledLeavesWhatItStartedToTheNextOne) {
    start_in_service();
    fill(true);
    cluster.host(alpha).power_off();
    ASSERT_TRUE(sim.run_until([&] { return cluster.state(beta, app) == State::isp; }, 60s));
    kill_and_restart(beta);
    cluster.power_on(alpha);  // it comes first, and would start what runs nowhere
    sim.run_for(60s);
    EXPECT_THAT(running(), ElementsAre(beta));
    fill(false);
    sim.run_for(60s);
    invariants.check_calm();
}

// Spec: CLU-089, CLU-125
TEST_F(FullDisk, ADaemonThatIsKilledDoesNotTakeForRunningWhatItStopped) {
    start_in_service();
    fill(true);
    cluster.start(beta, SimulatedCluster::switchover(app, beta));
    ASSERT_TRUE(wait_running(beta, 60s));
    // Cut off, it could not ask who has it now.
    invariants.disturbed(alpha, beta);
    sim.partition(alpha.str(), beta.str());
    kill_and_restart(alpha);
    sim.run_for(60s);
    EXPECT_NE(cluster.state(alpha, app), State::isp);
    EXPECT_FALSE(cluster.kits().runs(alpha, app)) << "nothing kept running there that a script would affirm";
}

// A switchover that was cut short in its middle is repeated by whoever asked for it.
TEST_F(FullDisk, AKillAtAnyMomentOfASwitchoverEndsWithTheApplicationInServiceOnce) {
    start_in_service();
    for (const auto& victim : {alpha, beta})
        for (auto at = 0ms; at < 1200ms; at += 40ms) {
            const auto when = fmt::format("{} after {} ms", victim.str(), at.count());
            fill(true);
            const auto to = running().front() == alpha ? beta : alpha;
            cluster.start(to, SimulatedCluster::switchover(app, to));
            sim.run_for(at);
            kill_and_restart(victim);
            sim.run_for(60s);  // what was under way comes to its end
            if (!cluster.all_in_service()) {
                const auto again = cluster.run(to, SimulatedCluster::switchover(app, to), 300s);
                ASSERT_TRUE(again) << when;
                ASSERT_EQ(again->exit_code, 0) << when << ": " << again->err;
            }
            sim.run_for(30s);
            ASSERT_TRUE(cluster.all_in_service()) << when;
            fill(false);
            sim.run_for(30s);
        }
    invariants.check_calm();
}

// Spec: CMD-050, CMD-052
TEST_F(FullDisk, AStopThatTheDiskDoesNotKnowOfIsAnErrorAndIsKnownUntilTheNextBoot) {
    start_in_service();
    fill(true);
    const auto reply = stop(alpha);
    ASSERT_TRUE(reply.has_value());
    EXPECT_NE(reply->exit_code, 0);
    EXPECT_THAT(reply->err, HasSubstr("no space left"));
    EXPECT_THAT(reply->err, HasSubstr("A start before the next boot finds them"));
    EXPECT_FALSE(cluster.kits().runs(alpha, app));
    sim.run_for(30s);
    EXPECT_EQ(cluster.daemon(alpha), nullptr) << "it has stopped all the same";
    const auto stopped = cluster.kits().changes();
    cluster.power_on(alpha);
    ASSERT_TRUE(cluster.wait_in_service(60s));
    EXPECT_THAT(running(), ElementsAre(alpha));
    EXPECT_EQ(cluster.kits().changes(), stopped + 2) << "both parts were started, as after any stop";
}

// The run directory is full as well, and commits have their room in it. Spec: CLU-089, CLU-125
TEST_F(FullDisk, WithAFullRunDirectoryTooAKillAtAnyMomentOfASwitchoverEndsWithTheApplicationInServiceOnce) {
    start_in_service();
    for (const auto& victim : {alpha, beta})
        for (auto at = 0ms; at < 1200ms; at += 40ms) {
            const auto when = fmt::format("{} after {} ms", victim.str(), at.count());
            fill(true, true);
            const auto to = running().front() == alpha ? beta : alpha;
            cluster.start(to, SimulatedCluster::switchover(app, to));
            sim.run_for(at);
            EXPECT_FALSE(cluster.forgets_when_killed(victim)) << when;
            kill_and_restart(victim);
            sim.run_for(60s);
            if (!cluster.all_in_service()) {
                const auto again = cluster.run(to, SimulatedCluster::switchover(app, to), 300s);
                ASSERT_TRUE(again) << when;
                ASSERT_EQ(again->exit_code, 0) << when << ": " << again->err;
            }
            fill(false);
            sim.run_for(60s);
            ASSERT_TRUE(cluster.all_in_service()) << when;
        }
    invariants.check_calm();
}

/// Hosts whose commits have no room of their own: what is so when it is used up.
class NoRoomLeft : public FullDisk {
  protected:
    NoRoomLeft() : FullDisk(0) {}
};

// What can be noted nowhere is not done: whatever a killed daemon did not know of, nobody relies on.
// Spec: CLU-089, CLU-107
TEST_F(NoRoomLeft, NothingIsMovedFromOrToAHostThatCanNoteNothing) {
    start_in_service();
    for (const auto& sick : {alpha, beta}) {
        cluster.fill_disk(sick, true, true);
        sim.run_for(10s);
        const auto moved = cluster.run(beta, SimulatedCluster::switchover(app, beta), 300s);
        ASSERT_TRUE(moved);
        EXPECT_NE(moved->exit_code, 0) << sick.str();
        EXPECT_THAT(moved->err, HasSubstr("make room")) << sick.str();
        cluster.fill_disk(sick, false);
        ASSERT_TRUE(cluster.wait_in_service(120s)) << sick.str();
        EXPECT_THAT(running(), ElementsAre(alpha)) << sick.str();
    }
    const auto moved = cluster.run(beta, SimulatedCluster::switchover(app, beta), 300s);
    ASSERT_TRUE(moved);
    EXPECT_EQ(moved->exit_code, 0) << moved->err;
}

// Spec: CLU-089, CLU-188
TEST_F(NoRoomLeft, ATakeoverWaitsForRoom) {
    start_in_service();
    cluster.fill_disk(beta, true, true);
    cluster.keep_off(alpha);
    sim.run_for(120s);
    EXPECT_FALSE(cluster.kits().runs(beta, app));
    cluster.fill_disk(beta, false);
    EXPECT_TRUE(wait_running(beta, 60s));
}

// Spec: CLU-089, CLU-107, CLU-125
TEST_F(NoRoomLeft, AKillAtAnyMomentRunsNothingTwice) {
    start_in_service();
    for (const auto& victim : {alpha, beta})
        for (auto at = 0ms; at < 1200ms; at += 40ms) {
            const auto when = fmt::format("{} after {} ms", victim.str(), at.count());
            const auto to = running().front() == alpha ? beta : alpha;
            cluster.start(to, SimulatedCluster::switchover(app, to));
            sim.run_for(at);
            fill(true, true);
            sim.run_for(at);
            kill_and_restart(victim);
            sim.run_for(60s);
            fill(false);
            sim.run_for(60s);
            ASSERT_TRUE(cluster.all_in_service()) << when;
        }
    invariants.check_calm();
}

// Spec: CMD-052
TEST_F(NoRoomLeft, AStopThatNothingKnowsOfSaysWhatTheNextStartMayDo) {
    start_in_service();
    fill(true, true);
    sim.run_for(10s);
    const auto reply = stop(alpha);
    ASSERT_TRUE(reply.has_value());
    EXPECT_NE(reply->exit_code, 0);
    EXPECT_THAT(reply->err, HasSubstr("may take for running what was stopped"));
}

}  // namespace
}  // namespace understudy::sim
