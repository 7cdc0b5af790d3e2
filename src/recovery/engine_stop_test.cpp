// Switchover, stop, restart of the daemon.

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;

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

}  // namespace
}  // namespace understudy::recovery::testing
