// Disks that are replaced under a mirror.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct MediaTest : HostsTest {
    MediaTest() {
        const auto made = pair.create();
        EXPECT_EQ(made.exit_code, 0) << made.err;
        EXPECT_TRUE(pair.wait_in_sync());
        for (std::size_t block = 0; block < kBlocks; ++block)
            EXPECT_TRUE(pair.write(left, block, static_cast<int>(block) + 100));
    }
    /// The host is powered off, gets a blank disk under the same name, and starts.
    void replace(Host& host) {
        pair.power_off(host);
        std::fill(host.disk.blocks.begin(), host.disk.blocks.end(), 0);
        host.disk.media = "serial:2";
        pair.wire.blocks_sent = 0;
        pair.start(host);
        ASSERT_TRUE(pair.until([&] { return host.daemon->manager.find(VolumeId("R")) != nullptr; }));
    }
    bool waits_for_a_person() {
        return pair.until([&] {
            const PeerRecord& peer = pair.peer(left);
            return peer.user_requested && peer.state == MirrorState::broken &&
                   peer.problem.find("another medium") != std::string::npos;
        });
    }
};

// Spec: MOP-115
TEST_F(MediaTest, AReplacedTargetIsNoCopyUntilItHasHadAFullResync) {
    replace(right);
    ASSERT_TRUE(waits_for_a_person()) << pair.run(left, {"status", "R"}).out;
    EXPECT_EQ(pair.wire.blocks_sent, 0U) << "a few blocks would have made it look like a copy";
    EXPECT_NE(pair.peer(left).problem.find("mirror resync R"), std::string::npos) << pair.peer(left).problem;
    EXPECT_TRUE(pair.write(left, 3, 33)) << "applications go on";
    // It cannot take over either.
    EXPECT_NE(pair.run(right, {"promote", "R"}).exit_code, 0);
    EXPECT_NE(pair.run(right, {"promote", "R"}, {{"force", ""}}).exit_code, 0);
    ok(left, {"resync", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    EXPECT_FALSE(pair.record(right).replaced);
    EXPECT_EQ(pair.peer(left).problem, "");
    EXPECT_EQ(pair.peer(right).problem, "");
    // From here on it is a target like any other.
    ok(left, {"pause", "R"});
    EXPECT_TRUE(pair.write(left, 4, 44));
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks + 1);
}

// Spec: MOP-115
TEST_F(MediaTest, APausedMirrorsContinueIsRefusedWhenTheTargetWasReplacedMeanwhile) {
    ok(left, {"pause", "R"});
    replace(right);
    pair.sim.run_for(10s);
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    ok(left, {"continue", "R"});
    ASSERT_TRUE(waits_for_a_person());
    EXPECT_EQ(pair.wire.blocks_sent, 0U);
    ok(left, {"continue", "R"});  // of a broken mirror: everything
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

// Spec: MOP-115
TEST_F(MediaTest, AReplacedSourceIsNotCopiedOverItsTargetByItself) {
    const std::vector<int> kept = right.disk.blocks;
    replace(left);
    ASSERT_TRUE(waits_for_a_person());
    pair.sim.run_for(60s);
    EXPECT_EQ(right.disk.blocks, kept);
    EXPECT_EQ(pair.wire.blocks_sent, 0U);
    // The data are restored from a backup, and a person says so.
    ASSERT_TRUE(pair.write(left, 1, 11));
    ok(left, {"resync", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

// Spec: MOP-115
TEST_F(MediaTest, ATargetThatHasTheDataOfAReplacedSourceTakesOverAndFillsIt) {
    const std::vector<int> kept = right.disk.blocks;
    replace(left);
    ASSERT_TRUE(waits_for_a_person());
    pair.power_off(left);
    pair.cluster.dead.insert("left");
    const auto promoted = pair.run(right, {"promote", "R"}, {{"force", ""}});
    ASSERT_EQ(promoted.exit_code, 0) << promoted.err;
    pair.cluster.dead.clear();
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(right, {&left}); }, 60s))
        << pair.run(right, {"status", "R"}).out << pair.run(left, {"status", "R"}).out;
    EXPECT_EQ(left.disk.blocks, kept);
    EXPECT_EQ(right.disk.blocks, kept);
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks);
}

// Spec: MOP-134
TEST_F(MediaTest, APartitionThatBeginsElsewhereNowBreaksTheMirror) {
    pair.power_off(left);
    left.disk.media = "wwid:naa.1+2048";  // the first that is known by its disk
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    pair.power_off(left);
    left.disk.media = "wwid:naa.1+4096";
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return left.daemon->manager.find(VolumeId("R")) != nullptr; }));
    EXPECT_TRUE(waits_for_a_person());
}

TEST_F(MediaTest, ANewWayToTellItSaysNothingAboutTheMedium) {
    pair.power_off(right);
    right.disk.media = "wwid:naa.1";
    pair.start(right);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.record(right).media, "wwid:naa.1");
    EXPECT_FALSE(pair.record(right).replaced);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
