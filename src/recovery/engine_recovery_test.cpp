// Checks, local recovery and resource failover on simulated clusters.

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using ::testing::Not;

constexpr auto kTimeoutLog = "/var/log/understudy/ResMonTimeout.log";

/// pg.0 needs ip.0 and Vol.E; pg.0 is checked every 10 s on every node; its kit has a recover script.
struct Checked : One {
    explicit Checked(const std::vector<std::string>& names = {"A", "B"}) : One(names), nodes(names) {
        for (const auto& name : names)
            check_every(name, "pg.0", 10s);
        install("recover");
        install("deepchk");
    }
    /// Boots all; checks have begun and are healthy.
    void settle() {
        boot_all();
        ASSERT_TRUE(wait([&] { return count("A", "quickchk pg.0") > 0; }));
        run(100ms);
        take_trace();
    }
    void turn_off_local_recovery() {
        for (const auto& name : nodes)
            change(name, "pg.0", [](config::Instance& instance) { instance.local_recovery = false; });
    }
    /// Events of resource recoveries on a node: 130, 131, 132.
    std::vector<int> recovery_events(const std::string& node) {
        std::vector<int> found;
        for (const auto event : events(node))
            if (event >= 130 && event <= 132) found.push_back(event);
        return found;
    }
    std::string file(const std::string& node, const std::string& path) {
        auto text = host(node).node->files().read(path);
        return text ? *text : "";
    }
    void install_core(const std::string& name) {
        for (const auto& node : nodes)
            host(node).node->install_executable(fmt::format("{}/admin/core/actions/{}", kRoot, name));
    }
    [[nodiscard]] bool started(const std::string& node, const std::string& script) {
        const auto& all = host(node).started;
        return std::any_of(all.begin(), all.end(),
                           [&](const auto& spec) { return spec.path.ends_with(script); });
    }
    std::vector<std::string> nodes;
};

// Spec: CLU-164, CLU-148, CLU-163
TEST(Checking, OnlyWhatIsInServiceIsCheckedAtItsInterval) {
    Checked c;
    c.settle();
    const auto before = c.count("A", "quickchk pg.0");
    c.run(100s);
    EXPECT_EQ(c.count("A", "quickchk pg.0"), before + 10);
    EXPECT_EQ(c.count("A", "quickchk ip.0"), 0U) << "its interval is 0";
    EXPECT_EQ(c.count("B", "quickchk pg.0"), 0U) << "out of service there";
    for (const auto& spec : c.host("A").started)
        if (spec.path.ends_with("/quickchk")) {
            EXPECT_THAT(spec.arguments, ElementsAre("-t", "pg.0", "-i", "id-pg.0"));
        }
}

// Spec: CLU-163, CMD-072
TEST(Checking, AnotherIntervalTakesEffectAtOnceAndZeroEndsIt) {
    Checked c;
    c.settle();
    c.check_every("A", "pg.0", 2s);
    auto before = c.count("A", "quickchk pg.0");
    c.run(20s);
    EXPECT_GE(c.count("A", "quickchk pg.0"), before + 9);
    c.check_every("A", "pg.0", 0s);
    c.run(1s);
    before = c.count("A", "quickchk pg.0");
    c.run(100s);
    EXPECT_EQ(c.count("A", "quickchk pg.0"), before);
}

// Spec: CLU-162, CMD-073
TEST(Checking, TheDeepCheckStandsForTheQuickOneUnlessTheKitSaysOtherwise) {
    Checked c;
    c.check_every("A", "pg.0", 10s, 10s);
    c.boot_all();
    ASSERT_TRUE(c.wait([&] { return c.count("A", "deepchk pg.0") > 2; }));
    EXPECT_EQ(c.count("A", "quickchk pg.0"), 0U);
    ASSERT_TRUE(c.host("A").node->files().write_atomic(
        fmt::format("{}/subsys/gen/resources/app/deepchk-needs-quickchk", kRoot), ""));
    c.run(1s);
    c.take_trace();
    c.run(10s);
    EXPECT_EQ(c.take_trace(), "A: quickchk pg.0, A: deepchk pg.0");
}

// Spec: CLU-162, CLU-163
TEST(Checking, AKitWithoutADeepCheckIsCheckedQuicklyInItsSlots) {
    One c;
    c.check_every("A", "pg.0", 10s, 10s);
    c.boot_all();
    ASSERT_TRUE(c.wait([&] { return c.count("A", "quickchk pg.0") > 2; }));
}

// Spec: CLU-166, CLU-167, CLU-119, CMD-130
TEST(LocalRecovery, RepairsWhereItFailedAndNothingElseHappens) {
    Checked c;
    c.settle();
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.reason("A", "pg.0") == "recover action has succeeded"; }));
    EXPECT_EQ(c.take_trace(), "A: quickchk pg.0, A: recover pg.0");
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    EXPECT_THAT(c.recovery_events("A"), ElementsAre(130, 132));
    c.run(60s);
    EXPECT_EQ(c.count("A", "recover pg.0"), 1U);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    EXPECT_FALSE(c.has_flag("A", "!recover!pg.0"));
    EXPECT_GE(c.count("A", "quickchk pg.0"), 6U) << "it is monitored again";
}

// Spec: CLU-141, CLU-167
TEST(LocalRecovery, ReservesTheResourceMeanwhileAndAnOperationWaitsForItsEnd) {
    Checked c;
    c.settle();
    c.host("A").slow["recover pg.0"] = 20s;
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.count("A", "recover pg.0") > 0; }));
    EXPECT_EQ(c.host("A").store.own.instances.at(Tag("pg.0")).reservation, config::Reservation::recover);
    const auto removing = c.begin("A", "-t pg.0 -a remove");
    c.run(10s);
    EXPECT_FALSE(removing->has_value());
    ASSERT_TRUE(c.wait([&] { return removing->has_value(); }));
    EXPECT_EQ((*removing)->exit_code, 0);
    EXPECT_EQ(c.state("A", "pg.0"), "OSU");
    EXPECT_EQ(c.host("A").store.own.instances.at(Tag("pg.0")).reservation, config::Reservation::none);
}

// Spec: CLU-176, CLU-177, CLU-119, CMD-130
TEST(ResourceFailover, FollowsWhenTheResourceCannotBeRepairedHere) {
    Checked c;
    c.settle();
    c.host("A").failing = {"recover pg.0"};
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }));
    EXPECT_EQ(c.take_trace(),
              "A: quickchk pg.0, A: recover pg.0, A: remove pg.0, A: remove ip.0, A: remove Vol.E, "
              "B: restore ip.0, B: restore Vol.E, B: restore pg.0");
    c.run(2s);
    EXPECT_EQ(c.states("A"), "OSF OSU OSU");
    EXPECT_THAT(c.reason("A", "pg.0"), HasSubstr("taken over by B"));
    EXPECT_THAT(c.recovery_events("A"), ElementsAre(130, 131));
    EXPECT_THAT(c.recovery_events("B"), ElementsAre(130, 132));
    EXPECT_FALSE(c.was_ever_twice());
    EXPECT_FALSE(c.has_flag("A", "!recover!pg.0"));
    ASSERT_TRUE(c.wait([&] { return c.count("B", "quickchk pg.0") > 0; })) << "B monitors it now";
}

// Spec: CLU-166
TEST(ResourceFailover, FollowsAtOnceWithoutLocalRecovery) {
    Checked c;
    c.turn_off_local_recovery();
    c.settle();
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }));
    EXPECT_EQ(c.count("A", "recover pg.0"), 0U);
}

// Spec: CLU-176, CLU-179
TEST(ResourceFailover, CascadesToTheNextNodeAndEndsWhenAllHaveTried) {
    Checked c({"A", "B", "C"});
    c.turn_off_local_recovery();
    c.settle();
    c.host("B").failing = {"restore pg.0"};
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.states("C") == "ISP ISP ISP"; }));
    c.run(2s);
    EXPECT_EQ(c.states("B"), "OSF OSU OSU");
    EXPECT_THAT(c.recovery_events("A"), ElementsAre(130, 131));
    EXPECT_THAT(c.recovery_events("B"), ElementsAre(130, 131));
    EXPECT_THAT(c.recovery_events("C"), ElementsAre(130, 132));
    EXPECT_FALSE(c.was_ever_twice());

    for (const auto* node : {"A", "B"})
        c.host(node).failing = {"restore pg.0"};
    c.host("C").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.reason("C", "pg.0").find("no node could") != std::string::npos; }));
    for (const auto* node : {"A", "B", "C"})
        EXPECT_EQ(c.state(node, "pg.0"), "OSF") << node;
    EXPECT_EQ(c.count("A", "restore pg.0"), 2U) << "once at start, once in this episode";
}

// Spec: CLU-178, CLU-119
TEST(ResourceFailover, DisabledToAllLeavesEverythingAndEndsTheChecks) {
    Checked c;
    c.turn_off_local_recovery();
    c.resource("web.0", {"pg.0"});
    c.settle();
    c.flag("A", no_resource_failover_flag(NodeName("A"), NodeName("B")));
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.state("A", "pg.0") == "OSF"; }));
    c.run(1s);
    const auto checks = c.count("A", "quickchk pg.0");
    c.run(60s);
    EXPECT_EQ(c.count("A", "quickchk pg.0"), checks);
    EXPECT_EQ(c.states("A"), "OSF ISP ISP ISP") << "web.0 above it too";
    EXPECT_THAT(c.reason("A", "pg.0"), HasSubstr("resource failover from A is disabled to every other node"));
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("remove")));
    EXPECT_EQ(c.states("B"), "OSU OSU OSU OSU");
}

// Spec: CLU-118
TEST(ResourceFailover, WhatIsIsuIsCheckedAndOnlyMarkedFailed) {
    Checked c;
    c.settle();
    c.change("A", "pg.0", [](config::Instance& instance) { instance.state = config::State::isu; });
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.state("A", "pg.0") == "OSF"; }));
    EXPECT_EQ(c.take_trace(), "A: quickchk pg.0");
    EXPECT_THAT(c.recovery_events("A"), ElementsAre(131));
    c.run(10s);
    EXPECT_EQ(c.states("A"), "OSF ISP ISP");
}

// Spec: CLU-180
TEST(ResourceFailover, CanBeLeftAtANotificationOrAReboot) {
    for (const auto* wish : {"notify", "reboot"}) {
        Checked c;
        c.turn_off_local_recovery();
        c.install_core("reboot-host");
        c.host("A").settings["ON_RECOVERY_FAILURE"] = wish;
        c.settle();
        c.host("A").broken = {"quickchk pg.0"};
        ASSERT_TRUE(c.wait([&] { return c.state("A", "pg.0") == "OSF"; }));
        c.run(5s);
        EXPECT_THAT(c.take_trace(), Not(HasSubstr("remove"))) << wish;
        EXPECT_EQ(c.started("A", "/reboot-host"), std::string(wish) == "reboot");
    }
}

// Spec: CLU-142, CLU-176
TEST(ResourceFailover, StartsNothingElsewhereWhenARemoveFailsHere) {
    Checked c;
    c.turn_off_local_recovery();
    c.settle();
    c.host("A").failing = {"remove Vol.E"};
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.state("A", "Vol.E") == "OSF"; }));
    c.run(20s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    EXPECT_THAT(c.reason("A", "pg.0"), HasSubstr("could not be taken out of service"));
}

// Spec: CLU-165
TEST(Checking, AFailureDuringARemoveIsNoFailure) {
    Checked c;
    c.check_every("A", "pg.0", 5s);
    c.settle();
    c.host("A").slow["remove pg.0"] = 30s;
    const auto removing = c.begin("A", "-t pg.0 -a remove");
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return removing->has_value(); }));
    EXPECT_EQ((*removing)->exit_code, 0);
    c.run(20s);
    EXPECT_EQ(c.take_trace(), "A: remove pg.0");
    EXPECT_EQ(c.state("A", "pg.0"), "OSU");
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
}

// Spec: CLU-165
TEST(Checking, AFailureDuringARemoveThatReservesNothingIsNoFailureEither) {
    Checked c;
    c.check_every("A", "pg.0", 5s);
    c.settle();
    c.host("A").slow["remove pg.0"] = 30s;
    const auto removing = c.begin("A", "-n -t pg.0 -a remove");
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return removing->has_value(); }));
    c.run(20s);
    EXPECT_EQ(c.take_trace(), "A: remove pg.0");
}

// Spec: CLU-165
TEST(Checking, ACheckThatRunsWhenASwitchoverBeginsConcludesNothing) {
    Checked c;
    c.settle();
    c.host("A").slow["quickchk pg.0"] = 5s;
    c.host("A").broken = {"quickchk pg.0"};
    const auto checks = c.count("A", "quickchk pg.0");
    ASSERT_TRUE(c.wait([&] { return c.count("A", "quickchk pg.0") > checks; }));
    const auto reply = c.switchover("A", "pg.0", "B");
    EXPECT_EQ(reply.exit_code, 0) << reply.err;
    c.run(20s);
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    EXPECT_TRUE(c.recovery_events("A").empty());
}

// Spec: CLU-141, CLU-165
TEST(LocalRecovery, AFailureThatASwitchoverOvertakesIsForgotten) {
    Checked c;
    c.settle();
    // Both at one moment: whichever is first reserves, the other sees what came of it.
    c.host("A").broken = {"quickchk pg.0"};
    c.host("A").slow["recover pg.0"] = 3s;
    ASSERT_TRUE(c.wait([&] { return c.count("A", "recover pg.0") > 0; }));
    const auto reply = c.switchover("B", "pg.0", "B");
    EXPECT_EQ(reply.exit_code, 0) << reply.err;
    c.run(20s);
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
    EXPECT_EQ(c.states("A"), "OSU OSU OSU");
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-171, CLU-170
TEST(Checking, TheMaintenanceFlagSuspendsItUntilItIsRemoved) {
    Checked c;
    c.settle();
    c.flag("A", FlagName("Maintenance_pg.0"));
    c.host("A").broken = {"quickchk pg.0"};
    c.run(35s);
    EXPECT_EQ(c.take_trace(), "");
    c.unflag("A", "Maintenance_pg.0");
    ASSERT_TRUE(c.wait([&] { return c.count("A", "recover pg.0") == 1; }, 11s));
}

// Spec: CLU-172, CLU-173, CLU-174
TEST(CheckTimeout, IsRecordedAndNothingElseByDefault) {
    Checked c;
    c.install_core("memory-report");
    c.settle();
    c.host("A").slow["quickchk pg.0"] = 1h;
    ASSERT_TRUE(
        c.wait([&] { return c.file("A", kTimeoutLog).find("took too long") != std::string::npos; }, 90s));
    const auto log = c.file("A", kTimeoutLog);
    EXPECT_THAT(log, HasSubstr("quickchk of pg.0 took too long"));
    EXPECT_TRUE(c.started("A", "/memory-report"));
    c.run(5s);
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    EXPECT_TRUE(c.recovery_events("A").empty());
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("recover")));
}

// Spec: CLU-172
TEST(CheckTimeout, TheLimitCanBeSetAndTheRecordTurnedOff) {
    Checked c;
    c.host("A").settings = {{"RESMON_CHECK_TIMEOUT", "3"}, {"ResMon_RecordTimeout", "0"}};
    c.settle();
    c.host("A").slow["quickchk pg.0"] = 1h;
    const auto before = c.count("A", "quickchk pg.0");
    c.run(35s);
    EXPECT_GE(c.count("A", "quickchk pg.0"), before + 3) << "each is ended in time for the next";
    EXPECT_EQ(c.file("A", kTimeoutLog), "");
}

// Spec: CLU-173
TEST(CheckTimeout, FailsOverWhenThatIsWanted) {
    Checked c;
    c.host("A").settings = {{"RESMON_CHECK_TIMEOUT", "3"}, {"ResMon_ResFail", "1"}};
    c.settle();
    c.host("A").slow["quickchk pg.0"] = 1h;
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }));
    EXPECT_EQ(c.count("A", "recover pg.0"), 0U) << "what hangs moves";
    EXPECT_EQ(c.state("A", "pg.0"), "OSF");
}

// Spec: CLU-173
TEST(CheckTimeout, RebootsWhenThatIsWanted) {
    Checked c;
    c.install_core("reboot-host");
    c.host("A").settings = {{"RESMON_CHECK_TIMEOUT", "3"}, {"ResMon_RebootWaitInSec", "15"}};
    c.settle();
    c.host("A").slow["quickchk pg.0"] = 1h;
    ASSERT_TRUE(c.wait([&] { return c.started("A", "/reboot-host"); }));
    const auto& spec = c.host("A").started.back();
    ASSERT_EQ(spec.arguments.size(), 4U);
    EXPECT_EQ(spec.arguments[1], "15");
    EXPECT_THAT(spec.arguments[3], HasSubstr("pg.0"));
}

// Spec: CLU-173
TEST(ResourceFailover, ThatTakesTooLongRebootsTheNode) {
    Checked c;
    c.turn_off_local_recovery();
    c.install_core("reboot-host");
    c.host("A").settings["ResMon_ResFailMaxWaitInMin"] = "2";
    c.settle();
    c.host("A").slow["remove Vol.E"] = 1h;
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.count("A", "remove Vol.E") > 0; }));
    c.run(100s);
    EXPECT_FALSE(c.started("A", "/reboot-host"));
    ASSERT_TRUE(c.wait([&] { return c.started("A", "/reboot-host"); }, 30s));
}

// Spec: CLU-167
TEST(LocalRecovery, OfADaemonThatDiesIsTakenUpByTheNext) {
    Checked c;
    c.settle();
    c.host("A").slow["recover pg.0"] = 10s;
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.count("A", "recover pg.0") > 0; }));
    c.kill_daemon("A");
    c.boot("A", false);
    ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }));
    c.run(5s);
    EXPECT_EQ(c.states("A"), "ISP ISP ISP") << "its restore script has affirmed it";
    EXPECT_FALSE(c.has_flag("A", "!recover!pg.0"));
    EXPECT_FALSE(c.was_ever_twice());
    // Where that does not help, it goes on to the next node.
    c.host("A").failing = {"restore pg.0"};
    c.host("A").broken = {"quickchk pg.0"};
    const auto before = c.count("A", "recover pg.0");
    ASSERT_TRUE(c.wait([&] { return c.count("A", "recover pg.0") > before; }));
    c.kill_daemon("A");
    c.boot("A", false);
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }));
    c.run(2s);
    EXPECT_FALSE(c.has_flag("A", "!recover!pg.0"));
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-176
TEST(ResourceFailover, OfADaemonThatDiesAtAnyMomentEndsInServiceOnOneNode) {
    for (int step = 0; step < 40; ++step) {
        Checked c;
        c.turn_off_local_recovery();
        c.settle();
        for (const auto* script : {"remove pg.0", "remove ip.0", "restore pg.0", "restore ip.0"})
            for (const auto* node : {"A", "B"})
                c.host(node).slow[script] = 200ms;
        c.host("A").failing = {"restore pg.0"};  // or it would simply be started here again
        c.host("A").broken = {"quickchk pg.0"};
        const auto checks = c.count("A", "quickchk pg.0");
        ASSERT_TRUE(c.wait([&] { return c.count("A", "quickchk pg.0") > checks; }));
        c.run(step * 25ms);
        c.kill_daemon("A");
        c.boot("A", false);
        EXPECT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 300s))
            << step << ": A " << c.states("A") << ", B " << c.states("B");
        c.run(5s);
        EXPECT_NE(c.state("A", "pg.0"), "ISP") << step;
        EXPECT_FALSE(c.has_flag("A", "!recover!pg.0")) << step;
        EXPECT_FALSE(c.was_ever_twice()) << step;
        if (::testing::Test::HasFailure()) return;
    }
}

// Spec: CLU-176
TEST(ResourceFailover, TheNextNodesDeathPassesItOn) {
    Checked c({"A", "B", "C"});
    c.turn_off_local_recovery();
    c.settle();
    c.host("B").slow["restore pg.0"] = 10s;
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.count("B", "restore pg.0") > 0; }));
    c.power_off("B");
    const auto whole = [&](const std::string& node) { return c.states(node) == "ISP ISP ISP"; };
    ASSERT_TRUE(c.wait([&] { return whole("C") || whole("A"); })) << c.states("A") << c.states("C");
    c.run(5s);
    EXPECT_NE(whole("A"), whole("C"));
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-222
TEST(ResourceFailover, NothingIsDoneAboutWhatIsInServiceTwice) {
    Checked c;
    c.settle();
    c.change("B", "pg.0", [](config::Instance& instance) { instance.state = config::State::isp; });
    c.run(1s);
    c.take_trace();
    c.host("A").broken = {"quickchk pg.0"};
    c.check_every("B", "pg.0", 0s);
    c.run(30s);
    EXPECT_THAT(c.take_trace(), Not(::testing::AnyOf(HasSubstr("recover"), HasSubstr("remove"))));
}

// Spec: CLU-165, CLU-184
TEST(Checking, AfterAStandStillNothingIsConcludedBeforeTheClusterIsKnownAgain) {
    Checked c;
    c.check_every("A", "pg.0", 1s);
    c.settle();
    c.host("A").node->pause(runtime::Pause::host);
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }));
    c.host("A").broken = {"quickchk pg.0"};
    c.take_trace();
    c.host("A").node->resume();
    c.run(10s);
    EXPECT_THAT(c.take_trace(), Not(HasSubstr("A: recover")));
    EXPECT_EQ(c.states("B"), "ISP ISP ISP");
}

// Spec: CMD-109, CMD-038
TEST(PerformAction, DeleteRunsBetweenItsGlobalScriptsUnlessTheyAreNotWanted) {
    One c;
    c.install("delete");
    for (const auto* script : {"predelete", "postdelete"})
        c.host("A").node->install_executable(fmt::format("{}/admin/core/actions/{}", kRoot, script));
    c.boot_all();
    EXPECT_EQ(c.perform("A", "-t pg.0 -a delete").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "A: predelete, A: delete pg.0, A: postdelete");
    EXPECT_EQ(c.perform("A", "-G -t pg.0 -a delete").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "A: delete pg.0");
}

// Spec: CMD-111, CMD-124
TEST(PerformAction, ActionsOfTheKitReserveNothingAndChangeNoState) {
    Checked c;
    c.boot_all();
    c.take_trace();
    c.host("A").failing = {"recover pg.0"};
    EXPECT_EQ(c.perform("A", "-t pg.0 -a recover -- -x").exit_code, 1);
    for (const auto& spec : c.host("A").started)
        if (spec.path.ends_with("/recover")) {
            EXPECT_THAT(spec.arguments, ElementsAre("-t", "pg.0", "-i", "id-pg.0", "-x"));
        }
    EXPECT_EQ(c.count("A", "recover pg.0"), 1U);
    EXPECT_EQ(c.state("A", "pg.0"), "ISP");
}

}  // namespace
}  // namespace understudy::recovery::testing
