// When mirrors are resynced, and how much: several targets, and a mirror whose addresses changed.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

// Spec: REP-126
TEST(Resyncs, OneTargetIsResyncedWhileTheOtherMirrors) {
    Pair pair(1, 3);
    const auto made = pair.create({{"target", "right,third"}, {"target-address", "10.0.0.2,10.0.0.3"}});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(pair.left, {&pair.right, &pair.third}); }));
    pair.wire.resync_takes = 20s;
    ASSERT_EQ(pair.run(pair.left, {"resync", "R"}, {{"target", "third"}}).exit_code, 0);
    const auto states = [&pair] {
        const std::string shown = pair.run(pair.left, {"status", "R"}, {{"json", ""}}).out;
        const auto targets = shown.substr(shown.find("\"targets\""));
        return std::pair{targets.find("\"state\": \"resync\"") != std::string::npos,
                         targets.find("\"state\": \"mirroring\"") != std::string::npos};
    };
    const std::pair one_of_each{true, true};
    ASSERT_TRUE(pair.until([&] { return states() == one_of_each; }));
    ASSERT_TRUE(pair.write(pair.left, 3, 33)) << "the target that mirrors is all that a write waits for";
    EXPECT_EQ(pair.right.disk.blocks[3], 33);
    EXPECT_EQ(states(), one_of_each);
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(pair.left, {&pair.right, &pair.third}); }, 60s));
    EXPECT_EQ(pair.third.disk.blocks, pair.left.disk.blocks);
}

// The log has the volume's and the peer's name, not an address: it is as good as before.
// Spec: REP-354
TEST(Resyncs, ASourceThatRestartsBetweenAChangeOfAddressesAndContinueNeedsAPartialOne) {
    Pair pair;
    ASSERT_EQ(pair.create().exit_code, 0);
    ASSERT_TRUE(pair.wait_in_sync());
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}).exit_code, 0);
    const auto changed =
        pair.run(pair.left, {"endpoints", "R"},
                 {{"target", "right"}, {"source-address", "10.0.0.1"}, {"target-address", "10.0.0.2"}});
    ASSERT_EQ(changed.exit_code, 0) << changed.err;
    ASSERT_TRUE(pair.write(pair.left, 5, 55));
    pair.kill(pair.left);
    pair.start(pair.left);
    const std::uint64_t before = pair.wire.blocks_sent;
    ASSERT_TRUE(pair.until([&] { return pair.run(pair.left, {"continue", "R"}).exit_code == 0; }));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(pair.wire.blocks_sent - before, 1U);
    EXPECT_EQ(pair.right.disk.blocks, pair.left.disk.blocks);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
