// Start by method, perform_action, reservations.

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

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

// Spec: CLU-006, CMD-122, CMD-116, CMD-118
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

// Spec: CMD-119, CMD-114, CLU-120, CLU-135
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

// Spec: CMD-109, CMD-110, CMD-124, CLU-133
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

// Spec: CLU-134, CMD-110
TEST(PerformAction, TheTypesScriptComesBeforeTheApplicationsAndEndingsInTheirOrder) {
    One c;
    const std::string application = fmt::format("{}/subsys/gen/actions/", kRoot);
    const std::string type = fmt::format("{}/subsys/gen/resources/app/actions/", kRoot);
    for (const auto& script :
         {application + "both", type + "both.pl", application + "mine.pl", application + "mine.py",
          application + "mine.ksh", type + "plain.sh", type + "plain", type + "last.pl"})
        c.host("A").node->install_executable(script);
    c.boot_all();
    const auto path = [&](const std::string& action) {
        return c.host("A").daemon->engine->action_path(AppName("gen"), TypeName("app"), action);
    };
    EXPECT_EQ(path("both"), type + "both.pl");
    EXPECT_EQ(path("mine"), application + "mine.ksh");
    EXPECT_EQ(path("plain"), type + "plain");
    EXPECT_EQ(path("last"), type + "last.pl");
    EXPECT_EQ(path("nosuch"), "");
    EXPECT_EQ(c.perform("A", "-t pg.0 -a nosuch").exit_code, 7);
}

// Spec: CMD-113, CMD-114, CMD-115, CLU-137, CLU-141, CLU-216
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

// What it is about is not in service yet, or still: there is something to do all the same.
// Spec: CMD-113
TEST(Reservations, ARemoveWaitsForTheRestoreThatIsRunningAndARestoreForTheRemove) {
    One c;
    c.boot_all();
    EXPECT_EQ(c.perform("A", "-t Vol.E -a remove").exit_code, 0);
    c.take_trace();
    c.host("A").slow = {{"restore Vol.E", 20s}, {"remove Vol.E", 20s}};
    const auto restore = c.begin("A", "-s -t Vol.E -a restore");
    c.run(1s);
    const auto remove = c.begin("A", "-t Vol.E -a remove");
    c.run(1s);
    EXPECT_FALSE(remove->has_value());
    EXPECT_EQ(c.perform("A", "-n -t Vol.E -a remove").exit_code, 0) << "-n does not wait";
    ASSERT_TRUE(c.wait([&] { return restore->has_value(); }, 30s));
    c.run(5s);
    EXPECT_EQ(c.take_trace(), "A: restore Vol.E, A: remove Vol.E");
    const auto again = c.begin("A", "-s -t Vol.E -a restore");
    c.run(1s);
    EXPECT_FALSE(again->has_value());
    ASSERT_TRUE(c.wait([&] { return remove->has_value() && again->has_value(); }, 60s));
    EXPECT_EQ((*remove)->exit_code, 0);
    EXPECT_EQ((*again)->exit_code, 0);
    EXPECT_EQ(c.state("A", "Vol.E"), "ISP");
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

}  // namespace
}  // namespace understudy::recovery::testing
