// The shutdown of a host, with and without a switchover.

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

const FlagName kSwitches{kShutdownSwitchoverFlag};

// Spec: CLU-202, CLU-205
TEST(Shutdown, WithoutTheFlagNothingIsStartedElsewhereAndNobodyTakesOver) {
    One c;
    c.boot_all();
    c.stop("A", StopMode::shutdown);
    c.power_off("A");
    c.run(60s);
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    EXPECT_TRUE(c.host("B").store.own.flags.contains(no_failover_flag(NodeName("A"))));
    c.boot("A");
    ASSERT_TRUE(c.wait([&] { return c.states("A") == "ISP ISP ISP"; }, 20s));
    EXPECT_FALSE(c.host("B").store.own.flags.contains(no_failover_flag(NodeName("A"))));
}

// Spec: CLU-202, CLU-203, CLU-206, CMD-054
TEST(Shutdown, WithTheFlagTheBackupRunsItBeforeTheDaemonEnds) {
    Web c;
    c.boot_all();
    c.flag("A", kSwitches);
    const auto lines = c.stop("A", StopMode::shutdown);
    EXPECT_EQ(c.states("B"), "ISP ISP ISP ISP");
    EXPECT_EQ(c.states("A"), "OSU OSU OSU OSU");
    EXPECT_THAT(lines, Contains("switching web.0 over to B"));
    EXPECT_EQ(lines.back(), "LIFEKEEPER NOW STOPPED");
    c.power_off("A");
    c.run(10s);
    EXPECT_EQ(c.states("B"), "ISP ISP ISP ISP");
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-202, CMD-050
TEST(Shutdown, APersonsStopMovesNothingAlthoughTheFlagIsSet) {
    One c;
    c.boot_all();
    c.flag("A", kSwitches);
    c.stop("A", StopMode::take_down);
    c.run(10s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
}

// Spec: CLU-204
TEST(Shutdown, AMirroredVolumesHierarchyGoesDownAndIsNotStartedElsewhere) {
    One c;
    for (const auto* name : {"A", "B"}) {
        auto& own = c.host(name).store.own;
        auto volume = own.instances.at(Tag("Vol.E"));
        volume.app = AppName("filesys");
        volume.type = TypeName("volume");
        config::apply(own, config::PutInstance{volume});
        for (const auto* action : {"restore", "remove"})
            c.host(name).node->install_executable(
                fmt::format("{}/subsys/filesys/resources/volume/actions/{}", kRoot, action));
    }
    c.boot_all();
    c.flag("A", kSwitches);
    c.stop("A", StopMode::shutdown);
    c.power_off("A");
    c.run(60s);
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
}

// Spec: CLU-206
TEST(Shutdown, WhatTheFirstBackupCannotStartTheNextOneTries) {
    One c({"A", "B", "C"});
    c.boot_all();
    c.flag("A", kSwitches);
    c.host("B").failing = {"restore pg.0"};
    const auto lines = c.stop("A", StopMode::shutdown);
    EXPECT_EQ(c.states("C"), "ISP ISP ISP");
    EXPECT_EQ(c.state("B", "pg.0"), "OSF");
    EXPECT_THAT(c.host("B").running, ::testing::IsEmpty());
    EXPECT_THAT(lines, Contains("switching pg.0 over to C"));
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-206, CLU-210
TEST(Shutdown, ABackupThatMayNotTakeOverIsLeftOut) {
    One c({"A", "B", "C"});
    c.boot_all();
    c.flag("A", kSwitches);
    c.flag("B", no_system_failover_flag(NodeName("A"), NodeName("B")));
    c.stop("A", StopMode::shutdown);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    EXPECT_EQ(c.states("C"), "ISP ISP ISP");
}

// Spec: CLU-206
TEST(Shutdown, ABackupThatTakesTooLongDoesNotKeepTheShutdownWaiting) {
    One c;
    for (const auto* name : {"A", "B"})
        c.host(name).settings = {{"SHUTDOWN_SWITCHOVER_TIMEOUT", "20"}, {"RESRVTIMEOUT", "5"}};
    c.boot_all();
    c.flag("A", kSwitches);
    c.host("B").slow = {{"restore ip.0", 300s}};
    const auto before = c.sim().now();
    const auto lines = c.stop("A", StopMode::shutdown);
    EXPECT_LT(c.sim().now() - before, 60s);
    EXPECT_THAT(lines, Contains("pg.0 is not switched over within 20 s"));
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    c.power_off("A");
    c.run(600s);
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-203
TEST(Shutdown, WhatWasStoppedBeforeIsNotStartedElsewhere) {
    One c;
    c.boot_all();
    c.flag("A", kSwitches);
    ASSERT_EQ(c.perform("A", "-t pg.0 -a remove").exit_code, 0);
    c.take_trace();
    c.stop("A", StopMode::shutdown);
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("restore pg.0")));
    EXPECT_EQ(c.states("B"), "OSU ISP ISP") << "what was in service has moved";
}

// Spec: CLU-112, CLU-206
TEST(Shutdown, IndependentHierarchiesMoveAtTheSameTime) {
    TestCluster c(kSeed, {"A", "B"});
    for (const auto* tag : {"a", "b", "c", "d"})
        c.resource(tag, {});
    c.boot_all();
    c.flag("A", kSwitches);
    for (const auto* tag : {"a", "b", "c", "d"})
        c.host("B").slow["restore " + std::string(tag)] = 10s;
    const auto before = c.sim().now();
    c.stop("A", StopMode::shutdown);
    EXPECT_EQ(c.states("B"), "ISP ISP ISP ISP");
    EXPECT_LT(c.sim().now() - before, 20s) << "one after the other takes 40 s";
}

// Spec: CLU-191
TEST(Parallel, NoMoreHierarchiesAtATimeThanTheSettingSays) {
    TestCluster c(kSeed, {"A", "B"});
    for (const auto* tag : {"a", "b", "c", "d"})
        c.resource(tag, {});
    c.host("B").settings = {{"PARALLEL_HIERARCHIES", "2"}};
    c.boot_all();
    for (const auto* tag : {"a", "b", "c", "d"})
        c.host("B").slow["restore " + std::string(tag)] = 10s;
    c.take_trace();
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.scripts_begun() > 0; }, 10s));
    c.run(9s);
    EXPECT_EQ(c.scripts_begun(), 2U);
    c.run(10s);
    EXPECT_EQ(c.scripts_begun(), 4U);
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP ISP"; }, 20s));
}

}  // namespace
}  // namespace understudy::recovery::testing
