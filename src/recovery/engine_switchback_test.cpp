// Automatic switchback of the running engine.

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

bool ready(TestCluster& c, const std::string& name) {
    return c.wait([&] { return c.host(name).daemon->engine->ready(); });
}

/// A has died, B has taken over; A's side of the hierarchy says AUTOMATIC.
struct TakenOver : One {
    explicit TakenOver(const std::vector<std::string>& names = {"A", "B"}) : One(names) {
        for (const auto& name : names)
            automatic(name, "pg.0");
        boot_all();
        power_off("A");
        EXPECT_TRUE(wait([&] { return states("B") == "ISP ISP ISP"; }, 10s));
        run(1s);
        take_trace();
    }
};

// Spec: CLU-195, CLU-197, CLU-200
TEST(Switchback, AReturningNodeTakesWhatSaysAutomaticBack) {
    TakenOver c;
    c.boot("A");
    ASSERT_TRUE(c.wait([&] { return c.states("A") == "ISP ISP ISP"; }, 20s));
    c.run(2s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    EXPECT_EQ(c.take_trace(),
              "B: remove pg.0, B: remove ip.0, B: remove Vol.E, A: restore ip.0, A: restore Vol.E, A: "
              "restore pg.0");
    EXPECT_THAT(c.events("A"), Contains(110));
    EXPECT_THAT(c.events("A"), Contains(111));
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-197
TEST(Switchback, ANodeWhosePeerIsSeenOnlyAfterItsStartTakesItBackThen) {
    TakenOver c;
    c.host("A").node->power_off();
    c.sim().partition("A", "B");
    c.boot("A");
    ASSERT_TRUE(ready(c, "A"));  // alone: it starts its own, as without quorum it must
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    for (const auto* tag : {"Vol.E", "ip.0"})
        ASSERT_EQ(c.perform("A", fmt::format("-t {} -a remove", tag)).exit_code, 0);
    c.take_trace();
    c.sim().heal_all();
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "OSU OSU OSU"; }, 20s)) << c.take_trace();
    ASSERT_TRUE(c.wait([&] { return c.states("A") == "ISP ISP ISP"; }, 20s));
}

// Spec: CLU-195, CLU-201
TEST(Switchback, WithoutAutomaticTheReturningNodeStaysStandby) {
    One c;
    c.automatic("B", "pg.0");  // the setting of the node that returns counts
    c.boot_all();
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 10s));
    c.boot("A");
    ASSERT_TRUE(ready(c, "A"));
    c.run(10s);
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
}

// Spec: CLU-198
TEST(Switchback, NothingMovesToANodeThatComesLater) {
    TakenOver c;
    c.boot("A");
    ASSERT_TRUE(c.wait([&] { return c.states("A") == "ISP ISP ISP"; }, 20s));
    c.power_off("B");
    c.run(3s);
    c.take_trace();
    c.boot("B");
    ASSERT_TRUE(ready(c, "B"));
    c.run(10s);
    EXPECT_EQ(c.take_trace(), "");
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
}

// Spec: CLU-197
TEST(Switchback, AChangeOfTheSettingAloneMovesNothing) {
    One c;
    c.boot_all();
    ASSERT_EQ(c.switchover("A", "pg.0", "B").exit_code, 0);
    c.take_trace();
    auto& database = *c.host("A").daemon->database;
    auto changed = *database.own().find(Tag("pg.0"));
    changed.switchback = config::Switchback::automatic;
    database.commit({config::PutInstance{changed}});
    c.run(30s);
    EXPECT_EQ(c.take_trace(), "");
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
}

// Spec: CLU-200
TEST(Switchback, WhatCannotBeStartedHereIsBroughtBackOnItsFormerHolder) {
    TakenOver c;
    c.host("A").failing = {"restore Vol.E"};
    c.boot("A");
    ASSERT_TRUE(ready(c, "A"));
    ASSERT_TRUE(c.wait([&] { return c.state("A", "Vol.E") == "OSF"; }, 20s));
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 20s)) << c.states("B");
    EXPECT_THAT(c.events("A"), Contains(112));
    EXPECT_EQ(c.host("A").running, std::set<std::string>{});
    EXPECT_FALSE(c.was_ever_twice());
    c.take_trace();
    c.run(20s);
    EXPECT_EQ(c.take_trace(), "") << "and then nothing is tried again";
}

// Spec: CLU-142, CLU-200
TEST(Switchback, AFailedRemoveOnTheHolderStartsNothingHere) {
    TakenOver c;
    c.host("B").failing = {"remove pg.0"};
    c.boot("A");
    ASSERT_TRUE(ready(c, "A"));
    ASSERT_TRUE(c.wait(
        [&] { return c.states("B") == "ISP ISP ISP" && c.reason("B", "pg.0") == kRestoreSucceeded; }, 20s));
    c.run(5s);
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("A: restore")));
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-197, CLU-198
TEST(Switchback, OfThreeNodesOnlyTheOneThatReturnsTakesItBack) {
    TakenOver c({"A", "B", "C"});
    c.boot("A");
    ASSERT_TRUE(c.wait([&] { return c.states("A") == "ISP ISP ISP"; }, 20s));
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("C:")));
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-140, CLU-200
TEST(Switchback, RunsTheGlobalScriptsOfARestoreAndOfTheRemoveOnTheHolder) {
    TakenOver c;
    for (const auto* script : {"prerestore", "postrestore", "preremove", "postremove"})
        for (const auto* name : {"A", "B"})
            c.host(name).node->install_executable(fmt::format("{}/subsys/gen/actions/{}", kRoot, script));
    c.boot("A");
    ASSERT_TRUE(c.wait([&] { return c.states("A") == "ISP ISP ISP"; }, 20s));
    c.run(2s);
    EXPECT_EQ(
        c.take_trace(),
        "A: prerestore, B: preremove, B: remove pg.0, B: remove ip.0, B: remove Vol.E, A: restore ip.0, A: "
        "restore Vol.E, A: restore pg.0, A: postrestore, B: postremove");
}

}  // namespace
}  // namespace understudy::recovery::testing
