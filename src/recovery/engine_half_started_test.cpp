// A start that is stopped in the middle, by a moment without quorum or by a stand-still: what it has begun
// becomes whole when it may go on. Spec: CLU-107, CLU-129, CLU-188, QUO-044.

#include "recovery/test_steps.h"

#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;

/// What happens while the node may start nothing.
enum class Meanwhile { nothing, daemon_is_killed, host_loses_power };

std::string name_of(Meanwhile what) {
    return what == Meanwhile::nothing            ? "nothing else"
           : what == Meanwhile::daemon_is_killed ? "kill"
                                                 : "power off";
}

constexpr Meanwhile kAll[] = {Meanwhile::nothing, Meanwhile::daemon_is_killed, Meanwhile::host_loses_power};

void disturb(TestCluster& c, const std::string& node, Meanwhile what) {
    if (what == Meanwhile::nothing) return;
    what == Meanwhile::daemon_is_killed ? c.kill_daemon(node) : c.power_off(node);
    c.run(100ms);
    c.boot(node, what == Meanwhile::host_loses_power);
    c.run(5s);
}

// Spec: CLU-188, QUO-044
TEST(StoppedByAMomentWithoutQuorumAtEveryStep, OfATakeoverItIsWholeInTheEnd) {
    for (const auto what : kAll)
        for (const bool inside : {false, true}) {
            int step = 0;
            for (; step < kMostSteps; ++step) {
                Refusing guard;
                Web c;
                c.host("B").guard = &guard;
                c.boot_all();
                if (!reach(c, step, inside, [&] { c.power_off("A"); })) break;
                guard.why = "no quorum";
                c.run(2s);
                disturb(c, "B", what);
                guard.why.clear();
                c.host("B").daemon->engine->quorum_returned();
                // After a boot nobody knows of the takeover, and A comes first. Spec: QUO-072
                if (what == Meanwhile::host_loses_power) c.boot("A");
                c.run(30s);
                EXPECT_TRUE(whole_somewhere(c))
                    << "at script " << step << ", " << name_of(what) << ": " << describe(c);
            }
            EXPECT_EQ(step, 4) << "a takeover of four resources has four scripts";
        }
}

// Spec: CLU-126, CLU-129, QUO-044
TEST(StoppedByAMomentWithoutQuorumAtEveryStep, OfItsOwnStartItIsWholeInTheEnd) {
    for (const auto what : kAll)
        for (const bool inside : {false, true}) {
            int step = 0;
            for (; step < kMostSteps; ++step) {
                Refusing guard;
                Web c;
                c.host("A").guard = &guard;
                if (!reach(c, step, inside, [&] { c.boot("A"); })) break;
                guard.why = "no quorum";
                c.run(2s);
                disturb(c, "A", what);
                guard.why.clear();
                c.host("A").daemon->engine->quorum_returned();
                c.run(30s);
                EXPECT_TRUE(whole_somewhere(c))
                    << "at script " << step << ", " << name_of(what) << ": " << describe(c);
            }
            EXPECT_EQ(step, 4);
        }
}

// What kept running is affirmed, and the rest started. Spec: CLU-132, QUO-044
TEST(StoppedByAMomentWithoutQuorumAtEveryStep, OfTheStartOfARestartedDaemonItIsWholeAndAffirmedInTheEnd) {
    for (int step = 0; step < 4; ++step)
        for (const bool inside : {false, true}) {
            Refusing guard;
            Web c;
            c.host("A").guard = &guard;
            ASSERT_TRUE(reach(c, step, inside, [&] { c.boot("A"); }));
            c.kill_daemon("A");
            c.run(100ms);
            guard.why = "no quorum";
            c.boot("A", false);
            c.run(60s);
            guard.why.clear();
            c.host("A").daemon->engine->quorum_returned();
            c.run(30s);
            EXPECT_TRUE(whole_somewhere(c)) << "at script " << step << ": " << describe(c);
            for (const auto* tag : {"web.0", "ip.0", "Vol.E", "db.0"})
                EXPECT_EQ(c.reason("A", tag), kRestoreSucceeded) << tag << ", killed at script " << step;
        }
}

// It is not left to whoever comes first, for it was begun here. Spec: CLU-188, QUO-070
TEST(StoppedByAMomentWithoutQuorum, ATakeoverGoesOnAlsoWhenTheNodeThatComesFirstIsBack) {
    for (int step = 0; step < 4; ++step) {
        Refusing guard;
        Web c;
        c.host("B").guard = &guard;
        c.boot_all();
        ASSERT_TRUE(reach(c, step, true, [&] { c.power_off("A"); }));
        guard.why = "no quorum";
        c.run(2s);
        c.boot("A");
        c.run(10s);
        guard.why.clear();
        c.run(60s);
        EXPECT_TRUE(whole_somewhere(c)) << "at script " << step << ": " << describe(c);
        EXPECT_FALSE(c.was_ever_twice());
    }
}

// The node from which it was taken would bring it back, and forgets that with its power; with a part of it in
// service on a node that comes first, nobody else began the rest. Spec: CLU-107, CLU-129, QUO-044
TEST(StoppedByAMomentWithoutQuorumAtEveryStep, OfASwitchoverItIsWholeAlsoWhenTheNodeThatHadItLosesPower) {
    for (const bool inside : {false, true}) {
        int step = 0;
        for (; step < kMostSteps; ++step) {
            Refusing guard;
            Web c;
            c.host("A").guard = &guard;
            c.boot_all();
            begin_switchover(c);
            ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP ISP"; }, 30s));
            c.run(1s);
            if (!reach(c, step, inside, [&] { begin_switchover(c, "A"); })) break;
            guard.why = "no quorum";
            c.run(inside ? 12ms : 2ms);  // the script has ended, and B begins
            c.power_off("B");
            c.run(100ms);
            guard.why.clear();
            c.host("A").daemon->engine->quorum_returned();
            c.boot("B");
            c.run(60s);
            EXPECT_TRUE(whole_somewhere(c)) << "at script " << step << ": " << describe(c);
            EXPECT_FALSE(c.was_ever_twice());
        }
        EXPECT_EQ(step, 8);
    }
}

// Spec: CLU-188
TEST(StoppedByAMomentWithoutQuorum, WhatANextNodeHasTakenMeanwhileStaysThere) {
    Refusing guard;
    Web c({"A", "B", "C"});
    c.host("B").guard = &guard;
    c.boot_all();
    ASSERT_TRUE(reach(c, 1, true, [&] { c.power_off("A"); }));
    guard.why = "no quorum";
    c.run(20s);
    guard.why.clear();
    c.run(60s);
    EXPECT_EQ(c.states("C"), "ISP ISP ISP ISP");
    EXPECT_EQ(c.states("B"), "OSU OSU OSU OSU") << "it was handed over";
    EXPECT_TRUE(c.host("B").running.empty());
    EXPECT_FALSE(c.was_ever_twice());
    for (const auto* tag : {"web.0", "ip.0", "Vol.E", "db.0"})
        EXPECT_FALSE(is_half_started(c.host("B").store.own.instances.at(Tag(tag)))) << tag;
}

// A script that fails in the middle is a person's business, as it always is; the rest does not go on without
// it. Spec: CLU-129
TEST(StoppedByAMomentWithoutQuorum, WhatFailsWhenItGoesOnIsShown) {
    Refusing guard;
    Web c;
    c.host("A").guard = &guard;
    ASSERT_TRUE(reach(c, 1, true, [&] { c.boot("A"); }));
    c.host("A").failing.insert("restore web.0");
    guard.why = "no quorum";
    c.run(2s);
    guard.why.clear();
    c.run(60s);
    EXPECT_EQ(c.state("A", "web.0"), "OSF") << describe(c);
}

// A script that hangs keeps nothing from going on when it has ended. Spec: CLU-129, QUO-044
TEST(StoppedByAMomentWithoutQuorum, AScriptThatHangsMeanwhileIsWaitedFor) {
    Refusing guard;
    Web c;
    c.host("A").guard = &guard;
    c.host("A").slow["restore ip.0"] = 100s;
    ASSERT_TRUE(reach(c, 1, true, [&] { c.boot("A"); }));
    c.run(10s);
    guard.why = "no quorum";
    c.run(120s);
    EXPECT_FALSE(whole_somewhere(c));
    guard.why.clear();
    c.run(30s);
    EXPECT_TRUE(whole_somewhere(c)) << describe(c);
}

// Spec: CMD-120
TEST(StoppedByAMomentWithoutQuorum, WhatAPersonTakesOutOfServiceMeanwhileStaysOut) {
    Refusing guard;
    Web c;
    c.host("B").guard = &guard;
    c.boot_all();
    ASSERT_TRUE(reach(c, 0, true, [&] { c.power_off("A"); }));
    guard.why = "no quorum";
    c.run(2s);
    EXPECT_EQ(c.perform("B", "-t Vol.E -a remove").exit_code, 0);
    EXPECT_EQ(c.perform("B", "-t ip.0 -a remove").exit_code, 0);
    guard.why.clear();
    c.run(60s);
    EXPECT_TRUE(c.host("B").running.empty()) << describe(c);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU OSU");
}

/// Without quorum a node that stands still is taken for dead, and both sides run everything until a person
/// decides.
bool whole_on_both(TestCluster& c) {
    return c.states("A") == "ISP ISP ISP ISP" && c.states("B") == "ISP ISP ISP ISP" &&
           c.host("A").running == c.host("B").running && c.host("A").running.size() == 4;
}

// Without quorum: the node that takes over stands still in the middle of it, and its dead peer is back
// meanwhile. Spec: CLU-107, CLU-188
TEST(StoppedByAStandStillAtEveryStep, OfATakeoverItIsWholeInTheEnd) {
    for (const std::string victim : {"A", "B"})
        for (const bool back : {false, true}) {
            const std::string survivor = victim == "A" ? "B" : "A";
            int step = 0;
            for (; step < kMostSteps; ++step) {
                Web c;
                c.boot_all();
                if (victim == "B") {
                    ASSERT_EQ(c.switchover("B", "web.0", "B").exit_code, 0);
                }
                if (!reach(c, step, true, [&] { c.power_off(victim); })) break;
                c.host(survivor).node->pause(runtime::Pause::host);
                if (back) c.boot(victim);
                c.run(7s);
                c.host(survivor).node->resume();
                c.run(90s);
                EXPECT_TRUE(whole_somewhere(c) || (back && whole_on_both(c)))
                    << victim << " is lost, stand-still at script " << step
                    << (back ? ", it is back: " : ": ") << describe(c);
            }
            EXPECT_EQ(step, 4);
        }
}

}  // namespace
}  // namespace understudy::recovery::testing
