// The engine on a simulated cluster: real communication, real database, modelled scripts.

#include "recovery/test_cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t kSeed = 7;

/// A and B (and C): web.0 needs ip.0 and Vol.E, db.0 needs Vol.E. In service on A after boot.
struct Web : TestCluster {
    explicit Web(const std::vector<std::string>& names = {"A", "B"}, std::uint64_t seed = kSeed)
        : TestCluster(seed, names) {
        resource("web.0", {"ip.0", "Vol.E"});
        resource("db.0", {"Vol.E"});
    }
};

struct One : TestCluster {
    explicit One(const std::vector<std::string>& names = {"A", "B"}, std::uint64_t seed = kSeed)
        : TestCluster(seed, names) {
        resource("pg.0", {"ip.0", "Vol.E"});
    }
};

// Spec: CLU-119, CLU-124, CLU-128, CLU-129
TEST(EngineStart, OnlyTheFirstByPriorityStartsAHierarchy) {
    One c;
    c.boot_all();
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    EXPECT_EQ(c.reason("A", "pg.0"), "restore action has succeeded");
    EXPECT_FALSE(c.was_ever_twice());
    EXPECT_THAT(c.events("A"), Contains(100));
}

// Spec: CLU-124, CLU-127
TEST(EngineStart, ANodeAloneWaitsForItsPeersAndThenStartsByMethod) {
    TestCluster c(kSeed, {"A", "B"});
    c.resource("auto.0", {});
    c.resource("given.0", {});
    c.resource("hand.0", {});
    c.init("given.0", config::Init::init_isp);
    c.init("hand.0", config::Init::init_osu);
    c.boot("A");
    c.run(400ms);
    EXPECT_EQ(c.take_trace(), "") << "B still has time to answer";
    ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }));
    EXPECT_EQ(c.states("A"), "ISP ISP OSU");
    EXPECT_EQ(c.take_trace(), "A: restore auto.0");
}

struct Row {
    std::string command;
    std::string trace;
};

// Spec: CMD-122, CMD-116, CMD-118
TEST(PerformAction, RestoresInTheOrderOfTheWorkedExample) {
    const std::vector<Row> rows{
        {"-t Vol.E -a restore",
         "A: remove web.0, A: remove db.0, A: remove Vol.E, B: restore Vol.E, A: remove ip.0, B: restore "
         "ip.0, "
         "B: restore web.0, B: restore db.0"},
        {"-b -t web.0 -a restore",
         "A: remove web.0, A: remove ip.0, B: restore ip.0, A: remove db.0, A: remove Vol.E, B: restore "
         "Vol.E, "
         "B: restore web.0"},
        {"-s -t Vol.E -a restore", "A: remove web.0, A: remove db.0, A: remove Vol.E, B: restore Vol.E"},
        {"-G -b -t db.0 -a restore",
         "A: remove web.0, A: remove db.0, A: remove Vol.E, B: restore Vol.E, B: restore db.0"},
    };
    for (const auto& row : rows) {
        Web c;
        c.boot_all();
        const auto reply = c.perform("B", row.command);
        EXPECT_EQ(reply.exit_code, 0) << reply.err;
        EXPECT_EQ(c.take_trace(), row.trace) << row.command;
        EXPECT_FALSE(c.was_ever_twice());
    }
}

// Spec: CMD-120, CMD-121, CMD-122
TEST(PerformAction, RemovesInTheOrderOfTheWorkedExample) {
    const std::vector<Row> rows{{"-t Vol.E -a remove", "A: remove web.0, A: remove db.0, A: remove Vol.E"},
                                {"-s -t Vol.E -a remove", "A: remove Vol.E"},
                                {"-t web.0 -a remove", "A: remove web.0"}};
    for (const auto& row : rows) {
        Web c;
        c.boot_all();
        EXPECT_EQ(c.perform("A", row.command).exit_code, 0);
        EXPECT_EQ(c.take_trace(), row.trace) << row.command;
        EXPECT_EQ(c.state("A", "ip.0"), "ISP");
    }
}

// Spec: CMD-117, CMD-121
TEST(PerformAction, DoesNothingWhenThereIsNothingToDo) {
    One c;
    c.boot_all();
    EXPECT_EQ(c.perform("A", "-t pg.0 -a restore").exit_code, 0);
    EXPECT_EQ(c.perform("B", "-t pg.0 -a remove").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "");
}

// Spec: CMD-119, CMD-114, CLU-135
TEST(PerformAction, AFailingRestoreLeavesOsfStopsAndReleasesItsReservations) {
    One c;
    c.boot_all();
    c.host("B").failing = {"restore Vol.E"};
    const auto reply = c.perform("B", "-t pg.0 -a restore");
    EXPECT_EQ(reply.exit_code, 1);
    EXPECT_THAT(reply.err, HasSubstr("restore of Vol.E on B failed with exit code 1: restore Vol.E speaks"));
    EXPECT_EQ(c.states("B"), "OSU ISP OSF");
    EXPECT_EQ(c.reason("B", "Vol.E"), "restore action has failed");
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("B: restore pg.0")));
    c.run(1s);
    for (const auto* node : {"A", "B"})
        for (const auto& [tag, instance] : c.host(node).store.own.instances)
            EXPECT_EQ(instance.reservation, config::Reservation::none) << node << " " << tag.str();
    EXPECT_THAT(c.events("B"), Contains(112));
}

// Spec: CMD-118, CMD-120, CLU-142
TEST(PerformAction, AFailingRemoveOnTheOtherNodeStartsNothingHereAndIsRepeatedNextTime) {
    One c;
    c.boot_all();
    c.host("A").failing = {"remove pg.0"};
    EXPECT_EQ(c.perform("B", "-t pg.0 -a restore").exit_code, 1);
    EXPECT_EQ(c.take_trace(), "A: remove pg.0");
    EXPECT_EQ(c.state("A", "pg.0"), "OSF");
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    c.host("A").failing.clear();
    EXPECT_EQ(c.perform("B", "-t pg.0 -a restore").exit_code, 0);
    EXPECT_THAT(c.take_trace(), HasSubstr("A: remove pg.0, A: remove ip.0"));
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CMD-109, CMD-110, CMD-124
TEST(PerformAction, RefusesBadCommandLinesWithTheDocumentedCodes) {
    One c;
    c.boot_all();
    EXPECT_EQ(c.perform("A", "-t nosuch -a restore").exit_code, 7);
    EXPECT_EQ(c.perform("A", "-t pg.0").exit_code, 2);
    EXPECT_EQ(c.perform("A", "-a restore").exit_code, 2);
    EXPECT_EQ(c.perform("A", "-m -t pg.0 -a restore").exit_code, 2);
    EXPECT_EQ(c.perform("A", "-s -t pg.0 -a reset-heads").exit_code, 2);
    EXPECT_EQ(c.perform("A", "-t pg.0 -a nosuch").exit_code, 7);
    EXPECT_EQ(c.perform("A", "-t pg.0 -a ../../bin/sh").exit_code, 5);
    EXPECT_EQ(c.take_trace(), "");
}

// Spec: CMD-111, CMD-112, CLU-148, CLU-150
TEST(PerformAction, ScriptsGetTheirArgumentsAndExactlyTheDocumentedEnvironment) {
    One c;
    c.host("A").settings = {{"LKPGSQL_X", "1"}};
    c.boot_all();
    auto& started = c.host("A").started;
    started.clear();
    auto reply = c.perform("A", "-t pg.0 -a reset-heads -- -h 7");
    EXPECT_EQ(reply.exit_code, 0);
    EXPECT_EQ(reply.out, "reset-heads pg.0 speaks\n");
    EXPECT_EQ(c.perform("A", "-t pg.0 -a quickchk").exit_code, 0);
    EXPECT_EQ(c.perform("A", "-t pg.0 -a remove -- -x 7").exit_code, 0);
    ASSERT_EQ(started.size(), 3U);
    using Arguments = std::vector<std::string>;
    EXPECT_EQ(started[0].arguments, (Arguments{"-t", "pg.0", "-h", "7"}));
    EXPECT_EQ(started[1].arguments, (Arguments{"-t", "pg.0", "-i", "id-pg.0"}));
    EXPECT_EQ(started[2].arguments, (Arguments{"-t", "pg.0", "-i", "id-pg.0", "-x", "7"}));
    const std::map<std::string, std::string> expected{
        {"PATH", "/usr/lib/understudy/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        {"LKROOT", "/usr/lib/understudy"},
        {"LANG", "C.UTF-8"},
        {"LC_ALL", "C.UTF-8"},
        {"LKPGSQL_X", "1"},
        {"UNDERSTUDY_ROOT", "/sim"}};
    EXPECT_EQ(started[2].environment, expected);
    EXPECT_FALSE(started[2].limit) << "restore and remove have no time limit";
}

// Spec: CMD-113, CMD-114, CMD-115, CLU-141
TEST(Reservations, ASecondOperationWaitsForTheFirstUnlessToldOtherwise) {
    One c;
    c.boot_all();
    c.host("A").slow["remove pg.0"] = 20s;
    const auto first = c.begin("A", "-t pg.0 -a remove");
    c.run(1s);
    EXPECT_EQ(c.host("A").store.own.instances.at(Tag("pg.0")).reservation, config::Reservation::remove);
    const auto second = c.begin("A", "-t ip.0 -a remove");
    c.run(5s);
    EXPECT_FALSE(second->has_value());
    EXPECT_EQ(c.take_trace(), "A: remove pg.0");
    const auto third = c.begin("A", "-n -s -t Vol.E -a remove");
    c.run(1s);
    EXPECT_EQ(c.take_trace(), "A: remove Vol.E");
    ASSERT_TRUE(c.wait([&] { return second->has_value(); }));
    EXPECT_EQ((*first)->exit_code, 0);
    EXPECT_EQ((*second)->exit_code, 0);
    EXPECT_EQ(c.take_trace(), "A: remove ip.0");
}

// Spec: CMD-114
TEST(Reservations, TheReservationOfADeadProcessIsBrokenAtOnceAndOthersAfterTheLimit) {
    constexpr int kNoSuchProcess = 999999;
    for (const int pid : {kNoSuchProcess, 0}) {
        One c;
        c.host("A").settings = {{"RESRVTIMEOUT", "5"}};
        c.boot_all();
        c.host("A").slow["remove pg.0"] = 60s;
        const auto first = c.begin("A", "-t pg.0 -a remove", pid);
        c.run(500ms);
        const auto second = c.begin("A", "-s -t ip.0 -a remove");
        const bool soon = c.wait([&] { return second->has_value(); }, 2s);
        EXPECT_EQ(soon, pid == kNoSuchProcess);
        EXPECT_TRUE(c.wait([&] { return second->has_value(); }, 5s));
        EXPECT_FALSE(first->has_value()) << "its script is not killed";
    }
}

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

// Spec: CLU-144, CLU-082
TEST(Switchover, MovesTheWholeHierarchyFromAnyNodeAndJournalsIt) {
    Web c;
    c.boot_all();
    const auto reply = c.switchover("A", "web.0", "B");
    EXPECT_EQ(reply.exit_code, 0) << reply.err;
    EXPECT_EQ(reply.out, "web.0 is in service on B\n");
    EXPECT_EQ(c.states("B"), "ISP ISP ISP ISP");
    EXPECT_EQ(c.states("A"), "OSU OSU OSU OSU");
    EXPECT_THAT(c.events("B"), Contains(110));
    EXPECT_THAT(c.events("B"), Contains(111));
    EXPECT_EQ(c.switchover("A", "web.0", "B").out, "web.0 is in service on B already\n");
    EXPECT_EQ(c.switchover("B", "Vol.E", "A").exit_code, 0);
    EXPECT_EQ(c.states("A"), "ISP ISP ISP ISP");
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CMD-124
TEST(Switchover, RefusesUnknownNamesAndDeadNodes) {
    One c;
    c.boot_all();
    EXPECT_EQ(c.switchover("A", "pg.0", "Z").exit_code, 7);
    EXPECT_EQ(c.switchover("A", "nosuch", "B").exit_code, 7);
    c.power_off("B");
    c.run(3s);
    const auto dead = c.switchover("A", "pg.0", "B");
    EXPECT_EQ(dead.exit_code, 9);
    EXPECT_THAT(dead.err, HasSubstr("B is DEAD"));
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
}

// Spec: CMD-052, CLU-020, CLU-021, CLU-219
TEST(Stop, TakesEverythingDownWithoutATakeoverAndTheNextStartBringsItBack) {
    One c;
    c.boot_all();
    const auto lines = c.stop("A", false);
    EXPECT_EQ(lines.back(), "LIFEKEEPER NOW STOPPED");
    EXPECT_EQ(c.take_trace().substr(0, 14), "A: remove pg.0");
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    c.run(10s);
    EXPECT_EQ(c.take_trace(), "");
    EXPECT_TRUE(c.host("B").store.own.flags.contains(no_failover_flag(NodeName("A"))));
    EXPECT_THAT(c.events("A"), Contains(101));
    EXPECT_THAT(c.events("A"), Contains(102));
    c.boot("A", false);
    ASSERT_TRUE(c.wait([&] { return c.states("A") == "ISP ISP ISP"; }, 10s));
    EXPECT_FALSE(c.host("B").store.own.flags.contains(no_failover_flag(NodeName("A"))));
}

// Spec: CMD-052
TEST(Stop, GoesOnWhenARemoveFails) {
    One c;
    c.boot_all();
    c.host("A").failing = {"remove ip.0"};
    const auto lines = c.stop("A", false);
    EXPECT_EQ(lines.back(), "LIFEKEEPER NOW STOPPED");
    EXPECT_EQ(c.states("A"), "OSU OSF OSU");
}

// Spec: CMD-050, CMD-053
TEST(Stop, LeavingThingsRunningNeitherRemovesNorMovesThemAndTheNextStartAffirmsThem) {
    One c;
    c.boot_all();
    c.stop("A", true);
    c.run(10s);
    EXPECT_EQ(c.take_trace(), "");
    EXPECT_EQ(c.host("A").running.size(), 3U);
    c.boot("A", false);
    ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }, 10s));
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    EXPECT_EQ(c.reason("A", "pg.0"), "restore action has succeeded");
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CMD-053, CLU-119
TEST(DaemonCrash, WhatRanIsAffirmedAndWhatWasStoppedStaysStopped) {
    TestCluster c(kSeed, {"A", "B"});
    c.resource("pg.0", {"Vol.E"});
    c.resource("mail.0", {});
    c.boot_all();
    ASSERT_EQ(c.perform("A", "-t mail.0 -a remove").exit_code, 0);
    c.take_trace();
    c.kill_daemon("A");
    c.boot("A", false);
    ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }, 10s));
    EXPECT_EQ(c.take_trace(), "A: restore Vol.E, A: restore pg.0");
    EXPECT_EQ(c.states("A"), "ISP ISP OSU");
}

// Spec: CLU-125, CLU-107
TEST(DaemonCrash, WhatAPeerTookOverMeanwhileIsTakenDownHere) {
    One c;
    c.boot_all();
    c.kill_daemon("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 10s));
    c.boot("A", false);
    ASSERT_TRUE(c.wait([&] { return c.states("A") == "OSU OSU OSU"; }, 10s));
    EXPECT_TRUE(c.host("A").running.empty());
    c.run(5s);
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
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

// The same faults under many seeds: whatever the order of messages, nothing runs twice and A's death is
// survived.
TEST(Seeds, PowerLossIsSurvivedWhateverTheTiming) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        Web c({"A", "B", "C"}, seed);
        c.boot_all();
        const auto moving = c.begin("B", "-t web.0 -a restore");
        c.run(c.sim().random_duration(0ms, 400ms));
        c.power_off("A");
        const auto up = [&] {
            return c.states("B") == "ISP ISP ISP ISP" || c.states("C") == "ISP ISP ISP ISP";
        };
        ASSERT_TRUE(c.wait(up, 60s)) << "seed " << seed << ": B " << c.states("B") << ", C " << c.states("C");
        c.boot("A");
        ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }, 60s)) << "seed " << seed;
        c.run(5s);
        EXPECT_TRUE(up()) << "seed " << seed;
        EXPECT_FALSE(c.was_ever_twice()) << "seed " << seed;
    }
}

// Spec: CLU-107, CLU-128, CLU-187, CLU-201
TEST(Seeds, RandomPowerLossesFailuresAndCommandsNeverRunAnythingTwiceAndEndWithEverythingInService) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        Web c({"A", "B", "C"}, seed);
        c.resource("mail.0", {"ip.1"});
        c.boot_all();
        const std::vector<std::string> nodes{"A", "B", "C"};
        const std::vector<std::string> scripts{"restore ip.0", "remove Vol.E", "restore mail.0",
                                               "remove web.0"};
        const auto pick = [&](const std::vector<std::string>& from) {
            return from[c.sim().random_below(from.size())];
        };
        std::vector<std::shared_ptr<std::optional<config::Reply>>> replies;
        for (int event = 0; event < 15; ++event) {
            const auto node = pick(nodes);
            auto& host = c.host(node);
            const auto living = std::count_if(nodes.begin(), nodes.end(),
                                              [&](const auto& n) { return c.host(n).daemon != nullptr; });
            switch (c.sim().random_below(5)) {
                case 0:
                    if (host.daemon && living > 1) c.power_off(node);
                    break;
                case 1:
                    if (!host.daemon) c.boot(node);
                    break;
                case 2:
                    host.failing.insert(pick(scripts));
                    break;
                case 3:
                    host.failing.clear();
                    break;
                default:
                    if (host.daemon)
                        replies.push_back(c.begin(
                            node, fmt::format("-t {} -a {}", pick({"web.0", "Vol.E", "mail.0", "db.0"}),
                                              pick({"restore", "restore", "remove"}))));
            }
            c.run(c.sim().random_duration(10ms, 4s));
            ASSERT_FALSE(c.was_ever_twice()) << "seed " << seed << " event " << event;
        }
        for (const auto& node : nodes) {
            c.host(node).failing.clear();
            if (!c.host(node).daemon) c.boot(node);
        }
        ASSERT_TRUE(c.wait([&] {
            return std::all_of(nodes.begin(), nodes.end(),
                               [&](const auto& n) { return c.host(n).daemon->engine->ready(); });
        })) << "seed "
            << seed;
        c.run(400s);  // whatever waits for a reservation has had its limit
        // An administrator can always bring everything up, wherever the faults left it.
        for (const auto* root : {"web.0", "db.0", "mail.0"}) {
            const auto reply = c.perform("B", fmt::format("-t {} -a restore", root));
            EXPECT_EQ(reply.exit_code, 0) << "seed " << seed << ": " << reply.err;
        }
        c.run(2s);  // reservations on other nodes end by a message
        EXPECT_EQ(c.states("B"), "ISP ISP ISP ISP ISP ISP") << "seed " << seed;
        EXPECT_EQ(c.host("B").running.size(), 6U) << "seed " << seed;
        EXPECT_FALSE(c.was_ever_twice()) << "seed " << seed;
        for (const auto& node : nodes)
            for (const auto& [tag, instance] : c.host(node).store.own.instances)
                EXPECT_EQ(instance.reservation, config::Reservation::none)
                    << "seed " << seed << " " << node << " " << tag.str();
        if (::testing::Test::HasFailure()) return;
    }
}

}  // namespace
}  // namespace understudy::recovery::testing
