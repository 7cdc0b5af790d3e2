// Volumes without a target: served before their first mirror is made, and after their last has gone.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct NoTarget : HostsTest {
    NoTarget() : HostsTest(3) {}

    config::Reply add(Host& target, std::map<std::string, std::string> more = {}) {
        more.merge(std::map<std::string, std::string>{{"target", target.name},
                                                      {"target-device", "/disks/r"},
                                                      {"source-address", left.address},
                                                      {"target-address", target.address}});
        return pair.run(left, {"add", "R"}, more);
    }
    void serve() {
        const auto made = pair.run(left, {"create", "R"}, {{"device", "/disks/r"}});
        ASSERT_EQ(made.exit_code, 0) << made.err;
        EXPECT_NE(made.out.find("/"), std::string::npos) << made.out;
    }
    bool wait(Host& source, std::vector<Host*> targets) {
        return pair.until([&] { return pair.in_sync(source, targets); });
    }
};

// Spec: KIT-068
TEST_F(NoTarget, AVolumeIsServedAloneAndItsFirstTargetGetsAllOfIt) {
    serve();
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_EQ(pair.record(left).role, Role::source);
    EXPECT_TRUE(pair.record(left).peers.empty());
    const std::string line = pair.run(left, {"status"}).out;
    EXPECT_EQ(line.find("R                source  no target"), 0U) << line;
    // A crash, a clean end and a power cut: it is there again, as it was.
    pair.kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.writable() == std::vector{&left}; }));
    pair.stop(left);
    pair.kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.writable() == std::vector{&left}; }));
    pair.power_off(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.writable() == std::vector{&left}; }));
    EXPECT_TRUE(pair.write(left, 4, 44));
    // Nothing to pause, to wait for, to verify.
    expect_error(pair.run(left, {"wait", "R"}, {{"timeout", "0"}}), "has no target");
    expect_error(pair.run(left, {"create", "R"}, {{"device", "/disks/r"}}), "exists already");

    expect_ok(add(right));
    ASSERT_TRUE(wait(left, {&right}));
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    EXPECT_TRUE(pair.write(left, 5, 55));
    EXPECT_EQ(right.disk.blocks[5], 55);
    expect_ok(add(third));
    ASSERT_TRUE(wait(left, {&right, &third}));
    expect_ok(pair.run(right, {"promote", "R"}));
    ASSERT_TRUE(wait(right, {&left, &third}));
    EXPECT_EQ(pair.writable(), std::vector{&right});
    EXPECT_TRUE(pair.write(right, 6, 66));
    EXPECT_EQ(left.disk.blocks[6], 66);
}

// Spec: KIT-068
TEST_F(NoTarget, AFirstTargetThatCannotBeMadeLeavesTheVolumeAsItWas) {
    serve();
    right.disk.size = 65536;
    expect_error(add(right), "less than the source's");
    EXPECT_TRUE(pair.record(left).peers.empty());
    EXPECT_TRUE(pair.write(left, 3, 33));
    right.disk.size = kBlocks * 65536;
    expect_ok(add(right));
    ASSERT_TRUE(wait(left, {&right}));
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

// Spec: KIT-068, REP-154
TEST_F(NoTarget, AFirstTargetThatIsKnownToBeEqualGetsWhatIsWrittenFromThenOn) {
    serve();
    EXPECT_TRUE(pair.write(left, 3, 33));
    right.disk.blocks = left.disk.blocks;
    expect_ok(add(right, {{"no-resync", ""}}));
    ASSERT_TRUE(wait(left, {&right}));
    EXPECT_EQ(pair.wire.blocks_sent, 0U);
    EXPECT_TRUE(pair.write(left, 4, 44));
    EXPECT_EQ(right.disk.blocks[4], 44);
}

// Spec: KIT-072
TEST_F(NoTarget, WithoutItsLastTargetAVolumeGoesOnAsBefore) {
    expect_ok(pair.create());
    ASSERT_TRUE(pair.wait_in_sync());
    expect_ok(pair.run(left, {"delete", "R"}, {{"target", "right"}}));
    EXPECT_TRUE(pair.record(left).peers.empty());
    EXPECT_EQ(right.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_NE(right.disk.blocks[3], 33);
    pair.kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.writable() == std::vector{&left}; }));
    EXPECT_TRUE(pair.write(left, 4, 44));
    expect_ok(add(right));
    ASSERT_TRUE(wait(left, {&right}));
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

// A half that could not be told stays a target without a source, and never comes into service beside it.
TEST_F(NoTarget, ALastTargetThatIsAwayIsRemovedByForceAndItsHalfDoesNotTakeOver) {
    expect_ok(pair.create());
    ASSERT_TRUE(pair.wait_in_sync());
    pair.power_off(right);
    expect_error(pair.run(left, {"delete", "R"}, {{"target", "right"}}), "--force");
    EXPECT_EQ(pair.record(left).peer_names(), "right");
    expect_ok(pair.run(left, {"delete", "R"}, {{"target", "right"}, {"force", ""}}));
    ASSERT_TRUE(pair.write(left, 3, 33));
    pair.start(right);
    pair.sim.run_for(10s);
    EXPECT_NE(pair.run(right, {"promote", "R"}).exit_code, 0);
    EXPECT_EQ(pair.writable(), std::vector{&left});
}

// Spec: KIT-074, KIT-075
TEST_F(NoTarget, ItsDeviceIsGivenUpAndTakenAgain) {
    serve();
    expect_ok(pair.run(left, {"demote", "R"}));
    EXPECT_TRUE(pair.writable().empty());
    pair.kill(left);
    pair.start(left);
    pair.sim.run_for(5s);
    EXPECT_TRUE(pair.writable().empty());
    expect_ok(pair.run(left, {"promote", "R"}, {{"peer-dead", ""}}));
    EXPECT_TRUE(pair.write(left, 3, 33));
    expect_ok(pair.run(left, {"delete", "R"}));
    EXPECT_EQ(left.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_EQ(left.disk.blocks[3], 33);
}

// Spec: REP-306
TEST_F(NoTarget, ItGrowsWithItsDevice) {
    serve();
    left.disk.size = 24 * 65536;
    pair.sim.run_for(5s);
    expect_ok(pair.run(left, {"resize", "R"}));
    EXPECT_EQ(pair.record(left).size, 24U * 65536);
    EXPECT_EQ(left.daemon->host->exported_bytes(), 24U * 65536);
    EXPECT_TRUE(pair.write(left, 3, 7));  // the model has the blocks of logs only
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
