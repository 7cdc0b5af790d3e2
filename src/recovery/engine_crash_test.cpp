// The daemon is killed at every step of an operation: the next one picks it up. Spec: CLU-132, CLU-214.

#include "recovery/test_steps.h"

#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;

struct Case {
    std::string victim;
    bool inside = false;  // while the script runs; otherwise as it begins
};

/// Kills the victim's daemon at that script and restarts it before its peer notices.
bool kill_at(TestCluster& c, int step, const Case& how, const std::function<void()>& operation) {
    if (!reach(c, step, how.inside, operation)) return false;
    c.kill_daemon(how.victim);
    c.run(100ms);
    c.boot(how.victim, false);
    EXPECT_TRUE(c.wait([&] { return c.host(how.victim).daemon->engine->ready(); }));
    return true;
}

/// A person may have to finish what he began; the switchover of both roots then does it, from any state left
/// behind.
void finish(TestCluster& c, const std::string& where) {
    c.run(10s);
    EXPECT_FALSE(c.was_ever_twice()) << where << ": " << c.take_trace();
    for (const auto* root : {"web.0", "db.0"})
        if (!whole_somewhere(c)) {
            const auto reply = c.switchover("B", root, "B");
            EXPECT_EQ(reply.exit_code, 0) << where << ": " << reply.err << describe(c);
        }
    EXPECT_FALSE(c.was_ever_twice()) << where;
    EXPECT_TRUE(whole_somewhere(c)) << where << ": " << describe(c);
}

// Spec: CLU-132, CLU-188
TEST(DaemonKilledAtEveryStep, OfATakeoverTheRestartedDaemonHasItAllInTheEnd) {
    for (const bool inside : {false, true}) {
        int step = 0;
        for (; step < kMostSteps; ++step) {
            Web c;
            c.boot_all();
            const Case how{"B", inside};
            if (!kill_at(c, step, how, [&] { c.power_off("A"); })) break;
            EXPECT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP ISP"; }, 30s))
                << "killed at script " << step << (inside ? ", inside it: " : ": ") << describe(c);
            EXPECT_FALSE(c.was_ever_twice());
        }
        EXPECT_EQ(step, 4) << "a takeover of four resources has four scripts";
    }
}

// Spec: CLU-107, CLU-132, CLU-142
TEST(DaemonKilledAtEveryStep, OfASwitchoverNothingRunsTwiceAndItCanBeFinished) {
    for (const auto* victim : {"A", "B"})
        for (const bool inside : {false, true}) {
            int step = 0;
            for (; step < kMostSteps; ++step) {
                Web c;
                c.boot_all();
                const Case how{victim, inside};
                if (!kill_at(c, step, how, [&] { begin_switchover(c); })) break;
                finish(c, fmt::format("{} killed at script {}{}", victim, step, inside ? ", inside it" : ""));
            }
            EXPECT_EQ(step, 8) << "four removes and four restores";
        }
}

// Spec: CLU-107, CLU-187
TEST(PowerCutAtEveryStep, OfASwitchoverTheOtherNodeHasItAllInTheEnd) {
    for (const std::string victim : {"A", "B"})
        for (const bool inside : {false, true}) {
            int step = 0;
            for (; step < kMostSteps; ++step) {
                Web c;
                c.boot_all();
                if (!reach(c, step, inside, [&] { begin_switchover(c); })) break;
                c.power_off(victim);
                EXPECT_TRUE(c.wait([&] { return whole_somewhere(c); }, 60s))
                    << victim << " off at script " << step << ": " << describe(c);
                EXPECT_FALSE(c.was_ever_twice());
            }
            EXPECT_EQ(step, 8);
        }
}

// It is back before its peer notices: no takeover decides, and its next life knows nothing of the operation.
// Spec: CLU-107, CLU-132
TEST(TargetRestartedAtEveryStep, OfASwitchoverTheNodeThatHadItBringsBackWhatIsInServiceNowhere) {
    for (const bool reboots : {false, true})
        for (const bool inside : {false, true}) {
            int step = 0;
            for (; step < kMostSteps; ++step) {
                Web c;
                c.boot_all();
                if (!reach(c, step, inside, [&] { begin_switchover(c); })) break;
                reboots ? c.power_off("B") : c.kill_daemon("B");
                c.run(100ms);
                c.boot("B", reboots);
                c.run(20s);
                EXPECT_TRUE(whole_somewhere(c)) << (reboots ? "host" : "daemon") << " ended at script "
                                                << step << (inside ? ", inside it: " : ": ") << describe(c);
                EXPECT_FALSE(c.was_ever_twice());
            }
            EXPECT_EQ(step, 8);
        }
}

// Spec: CLU-107
TEST(TargetRestartedAtEveryStep, OfASwitchoverWhatWasOutOfServiceBeforeStaysOut) {
    for (const int step : {1, 2}) {
        Web c;
        c.boot_all();
        ASSERT_EQ(c.perform("A", "-t db.0 -a remove").exit_code, 0);
        ASSERT_TRUE(reach(c, step, true, [&] { begin_switchover(c); }));
        c.kill_daemon("B");
        c.run(100ms);
        c.boot("B", false);
        c.run(20s);
        EXPECT_EQ(c.states("A"), "ISP ISP ISP OSU") << describe(c);
        EXPECT_EQ(c.host("A").running, (std::set<std::string>{"web.0", "ip.0", "Vol.E"}));
        EXPECT_TRUE(c.host("B").running.empty());
    }
}

// The loss is noticed, and a setting keeps the node from taking over: that it runs nothing is only known when
// it is back. Spec: CLU-107, CLU-210
TEST(TargetRestartedAtEveryStep, OfASwitchoverWhatNoTakeoverMayDecideIsDecidedWhenItIsBack) {
    Web c;
    c.boot_all();
    const auto disabled = no_system_failover_flag(NodeName("B"), NodeName("A"));
    c.flag("A", disabled);
    ASSERT_TRUE(reach(c, 2, true, [&] { begin_switchover(c); }));
    c.power_off("B");
    c.run(60s);
    EXPECT_FALSE(whole_somewhere(c)) << describe(c);
    EXPECT_EQ(c.reason("A", "web.0"), std::string(kInterrupted) + "B");
    c.boot("B");
    c.run(30s);
    EXPECT_TRUE(whole_somewhere(c)) << describe(c);
}

// The next daemon goes on with what its predecessor could not decide, and takes a person's word.
// Spec: CLU-107, CMD-120
TEST(TargetRestartedAtEveryStep, OfASwitchoverWhatAPersonTookDownSinceIsNotStarted) {
    Web c;
    for (const auto* tag : {"web.0", "ip.0", "Vol.E", "db.0"})
        c.init(tag, config::Init::init_osu);  // so that B's own start does not begin with it
    c.boot_all();
    for (const auto* root : {"web.0", "db.0"})
        ASSERT_EQ(c.perform("A", fmt::format("-t {} -a restore", root)).exit_code, 0);
    c.flag("A", no_system_failover_flag(NodeName("B"), NodeName("A")));
    ASSERT_TRUE(reach(c, 2, true, [&] { begin_switchover(c); }));
    c.kill_daemon("B");
    c.run(60s);
    c.kill_daemon("A");
    c.boot("A", false);
    ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }));
    ASSERT_EQ(c.perform("A", "-t Vol.E -a remove").exit_code, 0);
    c.boot("B", false);
    c.run(60s);
    EXPECT_EQ(c.host("A").running, (std::set<std::string>{"ip.0"})) << "it needs nothing; " << describe(c);
    EXPECT_TRUE(c.host("B").running.empty());
    EXPECT_EQ(c.reason("A", "web.0"), "taken out of service on request");
}

// The node that gives it away, or its daemon, ends while the target lives, and is back before it is missed.
// Spec: CLU-107, CLU-132
TEST(OwnerRestartedAtEveryStep, OfASwitchoverNothingStaysHalfway) {
    for (const bool reboots : {true, false})
        for (const bool inside : {false, true}) {
            int step = 0;
            for (; step < kMostSteps; ++step) {
                Web c;
                c.boot_all();
                if (!reach(c, step, inside, [&] { begin_switchover(c); })) break;
                reboots ? c.power_off("A") : c.kill_daemon("A");
                c.run(100ms);
                c.boot("A", reboots);
                c.run(20s);
                EXPECT_TRUE(whole_somewhere(c)) << (reboots ? "host" : "daemon") << " ended at script "
                                                << step << (inside ? ", inside it: " : ": ") << describe(c);
                EXPECT_FALSE(c.was_ever_twice());
            }
            EXPECT_EQ(step, 8);
        }
}

// Both at once: nobody notices a loss that a takeover would follow. With quorum the target is proven to be
// dead; without it nobody knows, and only its return decides. Spec: CLU-107, CLU-132, CLU-210
TEST(OwnerRestartedAtEveryStep, OfASwitchoverWhoseTargetIsGoneItBringsBackWhatNobodyCanHave) {
    for (const bool quorum : {true, false})
        for (const bool may : {true, false})
            for (const int step : {1, 3}) {
                Refusing guard;
                Web c;
                if (quorum) c.host("A").guard = &guard;
                c.boot_all();
                if (!may) c.flag("A", no_system_failover_flag(NodeName("B"), NodeName("A")));
                ASSERT_TRUE(reach(c, step, true, [&] { begin_switchover(c); }));
                c.run(15ms);  // that script has ended
                c.power_off("B");
                c.kill_daemon("A");
                c.run(100ms);
                c.boot("A", false);
                c.run(60s);
                EXPECT_EQ(whole_somewhere(c), quorum && may) << "at script " << step << ": " << describe(c);
                c.boot("B");
                c.run(60s);
                EXPECT_TRUE(whole_somewhere(c)) << "at script " << step << ": " << describe(c);
            }
}

// Quorum that goes for a moment stops the operation before its next step, and nothing goes on with it when
// quorum is back. Spec: CLU-107, QUO-044
TEST(TargetThatMayStartNothingAtEveryStep, OfASwitchoverTheNodeThatHadItBringsItBack) {
    for (const bool reserved : {true, false}) {
        int step = 0;
        for (; step < kMostSteps; ++step) {
            Refusing guard;
            Web c;
            c.host("B").guard = &guard;
            c.boot_all();
            const bool reached = reach(c, step, true, [&] {
                if (reserved)
                    begin_switchover(c);
                else
                    (void)c.begin("B", "-t Vol.E -a restore -n");
            });
            if (!reached) break;
            guard.why = "no quorum";
            c.run(1s);
            guard.why.clear();
            c.run(20s);
            EXPECT_TRUE(whole_somewhere(c))
                << "at script " << step << (reserved ? ": " : ", without a reservation: ") << describe(c);
            EXPECT_FALSE(c.was_ever_twice());
        }
        EXPECT_EQ(step, 8) << "four removes and four restores";
    }
}

// The node that had it is of a release that does not know such an end, and takes what was taken for wanted.
// Spec: CLU-107, QUO-044
TEST(TargetThatMayStartNothingAtEveryStep, OfASwitchoverANodeOfAnEarlierReleaseHasItAgain) {
    int step = 0;
    for (; step < kMostSteps; ++step) {
        Refusing guard;
        Web c;
        c.host("B").guard = &guard;
        c.boot_all();
        c.host("A").daemon->cluster->serve(
            "recovery.abandon", [](const NodeName&, std::string_view, const comm::Cluster::Answer& answer) {
                answer(fail(Code::not_found, "A (software 1.0) does not support \"recovery.abandon\""));
            });
        if (!reach(c, step, true, [&] { begin_switchover(c); })) break;
        guard.why = "no quorum";
        c.run(1s);
        guard.why.clear();
        c.run(60s);
        EXPECT_TRUE(whole_somewhere(c)) << "at script " << step << ": " << describe(c);
        EXPECT_FALSE(c.was_ever_twice());
    }
    EXPECT_EQ(step, 8) << "four removes and four restores";
}

// Spec: CLU-107, CMD-113
TEST(ReservationBrokenInTheMiddle, OfASwitchoverWhatItTookComesBack) {
    Web c;
    c.boot_all();
    c.host("A").slow["remove Vol.E"] = 400s;
    begin_switchover(c);
    ASSERT_TRUE(c.wait([&] { return c.count("A", "remove Vol.E") == 1; }));
    EXPECT_EQ(c.reason("A", "db.0"), std::string(kTakenFor) + "B");
    // A person does not wait for ever, and breaks it; what the hung script does in the end is looked after
    // too.
    EXPECT_EQ(c.perform("A", "-t web.0 -a restore").exit_code, 0);
    c.run(600s);
    EXPECT_TRUE(whole_somewhere(c)) << describe(c);
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-107, CLU-142
TEST(EndOfASwitchover, LeavesNothingThatSaysForWhomItWasTaken) {
    Web c;
    c.boot_all();
    EXPECT_EQ(c.switchover("B", "web.0", "B").exit_code, 0);
    c.run(1s);
    for (const auto* tag : {"web.0", "ip.0", "Vol.E", "db.0"}) {
        EXPECT_EQ(c.reason("A", tag), kRemoveSucceeded);
        EXPECT_EQ(c.host("A").store.own.instances.at(Tag(tag)).reservation, config::Reservation::none);
    }
}

// It ran there before: that it does not any more is the failure of a resource. Spec: CLU-176, CLU-107
TEST(TargetRestartedInASwitchover, WhatTheNodeThatHadItCannotStartIsOfferedToAnother) {
    Web c({"A", "B", "C"});
    c.boot_all();
    ASSERT_TRUE(reach(c, 2, true, [&] { begin_switchover(c); }));
    c.host("A").failing.insert("restore web.0");
    c.host("B").failing.insert("restore web.0");
    c.kill_daemon("B");
    c.run(100ms);
    c.boot("B", false);
    c.run(60s);
    EXPECT_EQ(c.states("C"), "ISP ISP ISP ISP") << describe(c);
    EXPECT_TRUE(c.host("A").running.empty()) << describe(c);
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CMD-120, CLU-107
TEST(TargetRestartedInASwitchover, WhatIsTakenOutOfServiceOnRequestMeanwhileStaysOut) {
    Web c;
    c.boot_all();
    c.flag("A", no_system_failover_flag(NodeName("B"), NodeName("A")));
    ASSERT_TRUE(reach(c, 2, true, [&] { begin_switchover(c); }));
    c.power_off("B");
    c.run(60s);
    ASSERT_EQ(c.reason("A", "web.0"), std::string(kInterrupted) + "B");
    EXPECT_EQ(c.perform("A", "-t web.0 -a remove").exit_code, 0);
    EXPECT_EQ(c.reason("A", "web.0"), "taken out of service on request");
    for (const auto* tag : {"web.0", "ip.0", "Vol.E", "db.0"})
        c.change("A", tag, [](config::Instance& instance) { instance.init = config::Init::init_osu; });
    c.host("B").store.own.instances.at(Tag("web.0")).init = config::Init::init_osu;
    c.boot("B", false);
    c.run(60s);
    EXPECT_FALSE(c.host("A").running.contains("web.0")) << describe(c);
}

// Spec: CLU-136
TEST(DaemonKilledAtEveryStep, OfARemoveTheRestHasItsRecordedState) {
    for (const bool inside : {false, true}) {
        int step = 0;
        for (; step < kMostSteps; ++step) {
            Web c;
            c.boot_all();
            const Case how{"A", inside};
            if (!kill_at(c, step, how, [&] { (void)c.begin("A", "-t Vol.E -a remove"); })) break;
            c.run(10s);
            // What is recorded is what runs; ip.0 was not asked for.
            for (const auto* tag : {"web.0", "ip.0", "Vol.E", "db.0"})
                EXPECT_EQ(c.host("A").running.contains(tag), c.state("A", tag) == "ISP")
                    << tag << ", killed at script " << step << ": " << describe(c);
            EXPECT_EQ(c.perform("A", "-t Vol.E -a remove").exit_code, 0);
            EXPECT_EQ(c.host("A").running, (std::set<std::string>{"ip.0"}));
        }
        EXPECT_EQ(step, 3);
    }
}

// Spec: CLU-124, CLU-129
TEST(DaemonKilledAtEveryStep, OfItsOwnStartTheNextStartCompletesIt) {
    for (const bool inside : {false, true}) {
        int step = 0;
        for (; step < kMostSteps; ++step) {
            Web c;
            c.boot("B");
            EXPECT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP ISP"; }));
            c.power_off("B");
            c.take_trace();
            const Case how{"A", inside};
            if (!kill_at(c, step, how, [&] { c.boot("A"); })) break;
            EXPECT_TRUE(c.wait([&] { return c.states("A") == "ISP ISP ISP ISP"; }, 30s)) << describe(c);
        }
        EXPECT_EQ(step, 4);
    }
}

}  // namespace
}  // namespace understudy::recovery::testing
