// Everything that makes a resync a full one, each with the cause that the log gives; what is on no line of
// this list is partial.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

#include <functional>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct World {
    Pair pair{1, 3};
    Host& left = pair.left;
    Host& right = pair.right;
    Host& third = pair.third;

    void ok(Host& host, std::vector<std::string> words, std::map<std::string, std::string> options = {}) {
        const auto reply = pair.run(host, std::move(words), std::move(options));
        EXPECT_EQ(reply.exit_code, 0) << reply.err;
    }
    void make() {
        EXPECT_EQ(pair.create().exit_code, 0);
        EXPECT_TRUE(pair.wait_in_sync());
        forget();
    }
    /// What was told until now is of no interest.
    void forget() {
        for (Host* host : pair.hosts)
            host->events.clear();
    }
    void make_with_three() {
        EXPECT_EQ(pair.create({{"target", "right,third"}, {"target-address", "10.0.0.2,10.0.0.3"}}).exit_code,
                  0);
        EXPECT_TRUE(pair.until([&] { return pair.in_sync(left, {&right, &third}); }));
    }
    void restart(Host& host) {
        pair.kill(host);
        forget();
        pair.start(host);
    }
    void restart_cleanly(Host& host) {
        pair.stop(host);
        restart(host);
    }
    void add_right() {
        ok(left, {"add", "R"},
           {{"target", "right"},
            {"target-device", "/disks/r"},
            {"source-address", left.address},
            {"target-address", right.address}});
    }
};

struct Cause {
    const char* name;
    bool full;
    const char* said;  // of the event that the source tells when the session begins
    std::function<void(World&)> happens;
};

std::vector<Cause> causes() {
    return {
        {"creation", true, "the target holds no content yet",
         [](World& w) { EXPECT_EQ(w.pair.create().exit_code, 0); }},
        {"the first target of a volume that had none", true, "the target holds no content yet",
         [](World& w) {
             w.ok(w.left, {"create", "R"}, {{"device", "/disks/r"}});
             EXPECT_TRUE(w.pair.write(w.left, 3, 33));
             w.add_right();
         }},
        {"break", true, "the mirror was broken by command",
         [](World& w) {
             w.make();
             w.ok(w.left, {"break", "R"});
             w.ok(w.left, {"continue", "R"});
         }},
        {"resync by command", true, "a full resync was asked for by command",
         [](World& w) {
             w.make();
             w.ok(w.left, {"resync", "R"});
         }},
        {"target restarted while unlocked", true, "the target's intent log is not valid",
         [](World& w) {
             w.make();
             w.ok(w.left, {"pause", "R"});
             w.ok(w.right, {"unlock", "R"});
             w.restart(w.right);
             EXPECT_TRUE(w.pair.until([&] { return w.pair.run(w.right, {"lock", "R"}).exit_code == 0; }));
             w.ok(w.left, {"continue", "R"});
         }},
        {"log missing or unreadable", true, "R@right.bitmap was missing or damaged",
         [](World& w) {
             w.make();
             w.left.disk.log_lost = true;
             w.restart(w.left);
         }},
        {"log that could not be written", true, "the intent log could not be written",
         [](World& w) {
             w.make();
             w.left.daemon->host->fail_log();
             EXPECT_TRUE(w.pair.until([&] { return !w.pair.peer(w.left).log_valid; }));
             w.restart(w.left);
         }},
        {"no log that outlives a crash, and an end that was not clean", true, "with BitmapBaseDir= no log",
         [](World& w) {
             w.left.settings = "BitmapBaseDir=\n";
             w.restart(w.left);
             w.make();
             w.restart(w.left);
         }},
        {"AutoResyncOnBoot=2", true, "AutoResyncOnBoot=2",
         [](World& w) {
             w.make();
             w.ok(w.left, {"set", "R", "AutoResyncOnBoot=2"});
             w.restart_cleanly(w.left);
         }},
        {"AutoResyncOnContinue=2", true, "AutoResyncOnContinue=2",
         [](World& w) {
             w.make();
             w.ok(w.left, {"set", "R", "AutoResyncOnContinue=2"});
             w.ok(w.left, {"pause", "R"});
             w.ok(w.left, {"continue", "R"});
         }},
        {"no memory or room for bitmaps of a new size", true, "cannot make bitmaps",
         [](World& w) {
             w.make();
             w.right.disk.size = w.left.disk.size = 24 * 65536;
             w.right.disk.most_log_blocks = 16;
             EXPECT_TRUE(w.pair.until([&] { return w.pair.peer(w.left).user_requested; }));
             w.ok(w.left, {"continue", "R"});
             EXPECT_TRUE(w.pair.until([&] { return w.pair.peer(w.left).state == MirrorState::broken; }));
             w.right.disk.most_log_blocks = 1000;
             w.ok(w.left, {"continue", "R"});
         }},
        {"another medium under the source", true, "a full resync was asked for by command",
         [](World& w) {
             w.make();
             w.left.disk.media = "serial:2";
             w.restart(w.left);
             EXPECT_TRUE(w.pair.until([&] { return w.pair.peer(w.left).state == MirrorState::broken; }));
             w.ok(w.left, {"resync", "R"});
         }},
        {"nobody knows what a target lacks after a loss", true,
         "what right lacks was not handed over by left",
         [](World& w) {
             w.make_with_three();
             // Its daemon has ended since: the numbers of the last writes are gone with it.
             w.restart(w.third);
             EXPECT_TRUE(w.pair.until([&] { return w.pair.in_sync(w.left, {&w.right, &w.third}); }));
             w.pair.power_off(w.left);
             w.pair.cluster.dead.insert("left");
             w.restart(w.third);
             w.ok(w.third, {"promote", "R"}, {{"peer-dead", ""}});
         }},
        // --- partial
        {"pause and continue", false, "the intent logs hold every difference",
         [](World& w) {
             w.make();
             w.ok(w.left, {"pause", "R"});
             EXPECT_TRUE(w.pair.write(w.left, 3, 33));
             w.ok(w.left, {"continue", "R"});
         }},
        {"crash of the source", false, "the intent logs hold every difference",
         [](World& w) {
             w.make();
             w.pair.cut();
             EXPECT_TRUE(w.pair.write(w.left, 3, 33, 60s));
             w.pair.heal();
             w.restart(w.left);
         }},
        {"power loss of the target", false, "the intent logs hold every difference",
         [](World& w) {
             w.make();
             w.pair.power_off(w.right);
             EXPECT_TRUE(w.pair.write(w.left, 3, 33, 60s));
             w.pair.start(w.right);
         }},
        {"network", false, "the intent logs hold every difference",
         [](World& w) {
             w.make();
             w.pair.cut();
             EXPECT_TRUE(w.pair.write(w.left, 3, 33, 60s));
             w.pair.heal();
         }},
        {"addresses changed and the source restarted before it goes on", false,
         "the intent logs hold every difference",
         [](World& w) {
             w.make();
             w.ok(w.left, {"pause", "R"});
             w.ok(w.left, {"endpoints", "R"},
                  {{"target", "right"}, {"source-address", "10.0.0.1"}, {"target-address", "10.0.0.2"}});
             EXPECT_TRUE(w.pair.write(w.left, 3, 33));
             w.restart(w.left);
             EXPECT_TRUE(w.pair.until([&] { return w.pair.run(w.left, {"continue", "R"}).exit_code == 0; }));
         }},
        {"unlocked and locked again", false, "the intent logs hold every difference",
         [](World& w) {
             w.make();
             w.ok(w.left, {"pause", "R"});
             w.ok(w.right, {"unlock", "R"});
             EXPECT_TRUE(w.pair.write(w.right, 3, 33));
             w.ok(w.right, {"lock", "R"});
             w.ok(w.left, {"continue", "R"});
         }},
    };
}

/// The source, whichever host that is by now.
Host* source_of(World& w) {
    for (Host* host : w.pair.hosts)
        if (host->daemon && host->daemon->manager.find(VolumeId("R")) &&
            w.pair.record(*host).role == Role::source)
            return host;
    return nullptr;
}

std::string told(const Host& host, Event event) {
    std::string last;
    for (const MirrorEvent& one : host.events)
        if (one.event == event) last = one.text;
    return last;
}

// Spec: MOP-131, REP-125, EMC-079
TEST(FullResync, HasOneOfTheseCausesAndSaysWhich) {
    for (const Cause& cause : causes()) {
        SCOPED_TRACE(cause.name);
        World w;
        cause.happens(w);
        Host* source = nullptr;
        Event kind{};
        std::string said;  // of the last session's beginning
        ASSERT_TRUE(w.pair.until(
            [&] {
                source = source_of(w);
                if (!source) return false;
                for (const MirrorEvent& one : source->events) {
                    if (one.peer != "right") continue;
                    if (one.event != Event::full_resync && one.event != Event::partial_resync) continue;
                    kind = one.event;
                    said = one.text;
                }
                const PeerRecord* const peer = w.pair.record(*source).peer("right");
                return !said.empty() && peer && peer->state == MirrorState::mirroring &&
                       !told(*source, Event::in_sync).empty() && w.right.disk.blocks == source->disk.blocks;
            },
            90s));
        EXPECT_EQ(kind, cause.full ? Event::full_resync : Event::partial_resync) << said;
        EXPECT_NE(said.find(cause.said), std::string::npos) << said;
        EXPECT_EQ(w.pair.record(*source).peer("right")->full_cause, "") << "both are equal again";
    }
}

// The end that knows more says it: the source hears that the target's log is of no use, the target why.
// Spec: MOP-131, MOP-105
TEST(FullResync, OfATargetThatEndedUnlockedTheTargetSaysWhy) {
    World w;
    w.make();
    w.ok(w.left, {"pause", "R"});
    w.ok(w.right, {"unlock", "R"});
    w.restart(w.right);
    ASSERT_TRUE(w.pair.until([&] { return w.pair.run(w.right, {"lock", "R"}).exit_code == 0; }));
    w.right.events.clear();
    w.ok(w.left, {"continue", "R"});
    ASSERT_TRUE(w.pair.wait_in_sync());
    EXPECT_NE(told(w.right, Event::full_resync).find("mirrord ended on right while the volume was unlocked"),
              std::string::npos);
    EXPECT_EQ(w.pair.peer(w.right).full_cause, "");
}

// Spec: MOP-130
TEST(FullResync, ANetworkFaultPausesAndOnlyWhatCannotBeTrackedBreaks) {
    World w;
    w.make();
    // A transient one changes no state.
    w.left.events.clear();
    w.pair.reset();
    ASSERT_TRUE(w.pair.until([&] { return told(w.left, Event::reconnected) != ""; }));
    EXPECT_EQ(told(w.left, Event::source_state), "");
    EXPECT_EQ(w.pair.peer(w.left).state, MirrorState::mirroring);
    w.pair.cut();
    ASSERT_TRUE(w.pair.write(w.left, 3, 33, 60s));
    ASSERT_TRUE(w.pair.until([&] { return w.pair.peer(w.left).state == MirrorState::paused; }, 60s));
    EXPECT_EQ(w.pair.peer(w.left).cause, PauseCause::link_lost);
    w.pair.heal();
    ASSERT_TRUE(w.pair.wait_in_sync());
    // Neither end has room for bitmaps of the new size: nothing could be tracked.
    w.left.disk.size = w.right.disk.size = 24 * 65536;
    ASSERT_TRUE(w.pair.until([&] { return w.pair.peer(w.left).cause == PauseCause::resized; }));
    EXPECT_EQ(w.pair.peer(w.left).state, MirrorState::paused);
    w.left.disk.most_log_blocks = 16;
    EXPECT_NE(w.pair.run(w.left, {"continue", "R"}).exit_code, 0);
    EXPECT_EQ(w.pair.peer(w.left).state, MirrorState::broken);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
