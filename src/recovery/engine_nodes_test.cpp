// Loss and return of nodes, partitions, stand-stills, gates.

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// Spec: CLU-181, CLU-187, CLU-188, CLU-189, CLU-201, CLU-195
TEST(NodeFailure, TheSurvivorTakesOverAndTheReturningNodeIsStandby) {
    One c;
    c.boot_all();
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 5s));
    c.run(1s);
    EXPECT_THAT(c.events("B"), Contains(120));
    EXPECT_THAT(c.events("B"), Contains(121));
    EXPECT_THAT(c.events("B"), Not(Contains(122)));
    c.take_trace();
    c.boot("A");
    ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }));
    c.run(5s);
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
    EXPECT_EQ(c.take_trace(), "");
    EXPECT_FALSE(c.was_ever_twice());
}

/// Notes what the engine asks and whether its start is over then; takes its time at the start.
class NotingGuard final : public StartGuard {
  public:
    runtime::Task<> judge(std::string event, std::set<NodeName> /*silent*/) override {
        asked.push_back(event + (engine->ready() ? " when ready" : " while starting"));
        if (event == "LCM_AVAIL") co_await runtime::sleep_for(*tasks, 5s);
        asked.push_back(event + " done");
    }
    std::string refusal() override { return {}; }
    [[nodiscard]] bool proven_dead(const NodeName& /*peer*/) const override { return true; }
    bool starts_at_comm_up() override { return true; }
    void forced(const std::string& /*who*/) override {}

    Engine* engine = nullptr;
    runtime::Tasks* tasks = nullptr;
    std::vector<std::string> asked;
};

// Spec: QUO-034, CLU-078
TEST(NodeReturn, APeerThatComesDuringTheStartIsDealtWithWhenTheStartIsOver) {
    NotingGuard guard;
    One c;
    c.boot("A");
    auto& daemon = *c.host("A").daemon;
    guard.engine = daemon.engine.get();
    guard.tasks = &daemon.tasks;
    daemon.engine->set_start_guard(guard);
    ASSERT_TRUE(c.wait([&] { return guard.asked.size() == 1; }, 30s));
    c.boot("B");
    ASSERT_TRUE(
        c.wait([&] { return daemon.cluster->peer_state(NodeName("B")) == comm::PeerState::alive; }, 4s));
    EXPECT_EQ(guard.asked.size(), 1U) << "it is there while the start is judged";
    ASSERT_TRUE(c.wait([&] { return guard.asked.size() == 4; }, 30s));
    EXPECT_THAT(guard.asked, ::testing::ElementsAre("LCM_AVAIL while starting", "LCM_AVAIL done",
                                                    "COMM_UP when ready", "COMM_UP done"));
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    c.kill_daemon("A");
}

// Spec: CLU-191
TEST(NodeFailure, ChildrenAreRestoredAtTheSameTime) {
    One c;
    c.boot_all();
    c.host("B").slow = {{"restore ip.0", 2s}, {"restore Vol.E", 2s}};
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.state("B", "pg.0") == "ISP"; }, 4s))
        << "one after the other takes longer";
}

// Spec: CLU-186
TEST(NodeFailure, OfTwoSurvivorsOnlyTheBetterPriorityActs) {
    One c({"A", "B", "C"});
    c.boot_all();
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 5s));
    c.run(5s);
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("C:")));
    EXPECT_THAT(c.events("C"), Contains(120));
}

// Spec: CLU-188, CLU-082
TEST(NodeFailure, WhenTheFirstBackupFailsTheNextOneTakesOver) {
    One c({"A", "B", "C"});
    c.boot_all();
    c.host("B").failing = {"restore pg.0"};
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("C") == "ISP ISP ISP"; }, 20s));
    EXPECT_EQ(c.state("B", "pg.0"), "OSF");
    EXPECT_EQ(c.state("B", "ip.0"), "OSU") << "what had been started on B moved on";
    c.run(1s);
    EXPECT_THAT(c.events("B"), Contains(131));
    EXPECT_THAT(c.events("B"), Contains(122));
    EXPECT_THAT(c.events("B"), Not(Contains(121)));
    EXPECT_THAT(c.events("C"), Contains(132));
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-187
TEST(NodeFailure, AHierarchyStoppedEverywhereIsStartedWhenAMemberDies) {
    One c;
    c.boot_all();
    ASSERT_EQ(c.perform("A", "-t Vol.E -a remove").exit_code, 0);
    ASSERT_EQ(c.perform("A", "-t ip.0 -a remove").exit_code, 0);
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    c.power_off("A");
    EXPECT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 5s));
}

// Spec: CMD-118, CLU-142
TEST(NodeFailure, AnOwnerThatDiesDuringItsRemoveGivesUnreachableAndIsThenTakenOverFrom) {
    One c;
    c.boot_all();
    c.host("A").slow["remove pg.0"] = 60s;
    const auto moving = c.begin("B", "-t pg.0 -a restore");
    c.run(1s);
    EXPECT_FALSE(moving->has_value());
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return moving->has_value(); }, 10s));
    EXPECT_EQ((*moving)->exit_code, 9) << (*moving)->err;
    EXPECT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 10s));
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-125, CLU-141
TEST(NodeFailure, APeerThatReturnsDuringTheTakeoverBecomesStandby) {
    One c;
    c.boot_all();
    c.host("B").slow["restore Vol.E"] = 30s;
    c.power_off("A");
    ASSERT_TRUE(c.wait(
        [&] {
            return c.host("B").store.own.instances.at(Tag("Vol.E")).reservation ==
                   config::Reservation::restore;
        },
        5s));
    c.boot("A");
    ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }, 10s));
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 60s));
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("A: restore")));
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-222
TEST(Partition, BothSidesInServiceIsReportedAndNothingMovesUntilItIsSolved) {
    One c;
    c.boot_all();
    c.sim().partition("A", "B");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 10s));
    c.take_trace();
    c.sim().heal("A", "B");
    const auto reported = [&](const std::string& node) {
        return std::any_of(c.host(node).store.journal.begin(), c.host(node).store.journal.end(),
                           [](const auto& e) { return e.text.find("at once") != std::string::npos; });
    };
    ASSERT_TRUE(c.wait([&] { return reported("A") && reported("B"); }, 60s));
    c.run(5s);
    EXPECT_EQ(c.take_trace(), "");
    const auto refused = c.switchover("A", "pg.0", "B");
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.err, HasSubstr("at once"));
    ASSERT_EQ(c.perform("B", "-t Vol.E -a remove").exit_code, 0);
    ASSERT_EQ(c.perform("B", "-t ip.0 -a remove").exit_code, 0);
    EXPECT_EQ(c.switchover("A", "pg.0", "B").exit_code, 0);
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
}

// Spec: CLU-222, CLU-074
TEST(Partition, ATakeoverUnderWayIsGivenBackWhenTheOwnerTurnsOutAlive) {
    One c;
    c.boot_all();
    c.host("B").slow = {{"restore ip.0", 1s}, {"restore Vol.E", 60s}};
    c.sim().partition("A", "B");
    ASSERT_TRUE(c.wait([&] { return c.state("B", "ip.0") == "ISP"; }, 10s));
    c.sim().heal("A", "B");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "OSU OSU OSU"; }, 120s));
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("B: restore pg.0")));
}

// Spec: CLU-107, CLU-188
TEST(Pause, ANodeThatStoodStillDuringItsTakeoverGoesNoFurtherAndGivesUpWhatAnotherTook) {
    One c({"A", "B", "C"});
    c.boot_all();
    c.host("B").slow["restore Vol.E"] = 3s;
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.state("B", "ip.0") == "ISP"; }, 10s));
    c.host("B").node->pause(runtime::Pause::host);
    ASSERT_TRUE(c.wait([&] { return c.states("C") == "ISP ISP ISP"; }, 20s));
    c.host("B").node->resume();
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "OSU OSU OSU"; }, 60s)) << c.states("B");
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("B: restore pg.0")));
    EXPECT_TRUE(c.host("B").running.empty());
    EXPECT_EQ(c.states("C"), "ISP ISP ISP");
}

// Spec: CLU-183
struct Refusing final : TakeoverGate {
    [[nodiscard]] std::string name() const override { return "test"; }
    runtime::Task<Verdict> check(NodeName) override { co_return Verdict{false, "no quorum"}; }
};

TEST(Gates, AGateThatRefusesEndsTheTakeover) {
    One c;
    c.boot_all();
    Refusing gate;
    c.host("B").daemon->engine->add_gate(gate);
    c.power_off("A");
    c.run(10s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    const auto& journal = c.host("B").store.journal;
    EXPECT_TRUE(std::any_of(journal.begin(), journal.end(), [](const auto& e) {
        return e.text == "nothing is taken over: test: no quorum";
    }));
}

}  // namespace
}  // namespace understudy::recovery::testing
