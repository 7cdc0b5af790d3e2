// The medium under a volume's device changes, or the device's name does.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct DeviceName : HostsTest {
    DeviceName() {
        const auto made = pair.create();
        EXPECT_EQ(made.exit_code, 0) << made.err;
        EXPECT_TRUE(pair.wait_in_sync());
    }
    std::string shown(Host& host) { return pair.run(host, {"status", "R"}).out; }
};

// Spec: REP-177, REP-033
TEST_F(DeviceName, APartitionThatBeginsElsewhereAtTheStartBreaksTheMirrorInEveryState) {
    left.disk.media = "wwid:naa.5000+2048";
    pair.power_off(left);
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    const std::vector<std::pair<MirrorState, std::function<void()>>> states = {
        {MirrorState::mirroring, [] {}},
        {MirrorState::paused,
         [&] {
             ok(left, {"pause", "R"});
         }},
        {MirrorState::broken,
         [&] {
             ok(left, {"break", "R"});
         }},
        {MirrorState::resync,
         [&] {
             ok(left, {"break", "R"});
             pair.wire.resync_takes = 60s;
             ok(left, {"continue", "R"});
         }},
        {MirrorState::pending,
         [&] {
             ok(left, {"pause", "R"});
             pair.cut();
             ok(left, {"continue", "R"});
         }},
    };
    int begin = 2048;
    for (const auto& [state, bring] : states) {
        bring();
        if (state == MirrorState::pending) {
            // Nobody answers: it is to go on and cannot yet.
            ASSERT_FALSE(pair.peer(left).user_requested);
        } else if (state == MirrorState::resync) {
            ASSERT_TRUE(pair.until([&] { return !pair.record(right).consistent; }));
        } else {
            ASSERT_TRUE(pair.until([&] { return pair.peer(left).state == state; })) << to_string(state);
        }
        pair.power_off(left);
        left.disk.media = fmt::format("wwid:naa.5000+{}", begin += 2048);
        left.events.clear();
        pair.wire.blocks_sent = 0;
        pair.wire.resync_takes = 20ms;
        pair.heal();
        pair.start(left);
        ASSERT_TRUE(pair.until([&] {
            return left.daemon->manager.find(VolumeId("R")) && times(left, Event::medium_changed) == 1;
        })) << to_string(state);
        pair.sim.run_for(10s);
        EXPECT_EQ(pair.peer(left).state, MirrorState::broken) << to_string(state);
        EXPECT_TRUE(pair.peer(left).user_requested) << to_string(state);
        EXPECT_EQ(pair.wire.blocks_sent, 0U) << "nothing is copied by itself: " << to_string(state);
        ok(left, {"resync", "R"});
        ASSERT_TRUE(pair.wait_in_sync());
        EXPECT_EQ(pair.wire.blocks_sent, kBlocks) << "all of it is another one: " << to_string(state);
    }
}

// Spec: REP-033
TEST_F(DeviceName, ANameThatMeansSomethingElseIsToldWhileTheVolumeGoesOn) {
    for (Host* host : {&left, &right}) {
        host->events.clear();
        host->disk.media = "serial:9";
        ASSERT_TRUE(pair.until([&] { return times(*host, Event::name_lost) == 1; }));
        EXPECT_NE(shown(*host).find("give the device its name back"), std::string::npos) << shown(*host);
        host->disk.media.clear();
        ASSERT_TRUE(pair.until([&] { return times(*host, Event::name_gone) == 1; }));
        pair.sim.run_for(30s);
        EXPECT_EQ(times(*host, Event::name_lost), 1U) << "told once";
        EXPECT_EQ(times(*host, Event::name_gone), 1U);
        EXPECT_TRUE(pair.in_sync());
        EXPECT_TRUE(pair.write(left, 3, host == &left ? 33 : 34));
        host->disk.media = "serial:1";
        ASSERT_TRUE(pair.until([&] { return shown(*host).find("name back") == std::string::npos; }));
        // A kernel that tells it in another way says nothing about the device.
        host->disk.media = "wwid:naa.5000";
        pair.sim.run_for(30s);
        EXPECT_EQ(times(*host, Event::name_lost), 1U);
        host->disk.media = "serial:1";
    }
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
