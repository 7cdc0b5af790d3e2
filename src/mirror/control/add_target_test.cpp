// A target is added while writes are under way in the device.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct AddTarget : HostsTest {
    AddTarget() : HostsTest(3) {
        expect_ok(pair.create());
        EXPECT_TRUE(pair.wait_in_sync());
    }
    config::Reply add_third() {
        return pair.run(left, {"add", "R"},
                        {{"target", "third"},
                         {"target-device", "/disks/r"},
                         {"source-address", left.address},
                         {"target-address", third.address}});
    }
    /// A write that stays in left's device.
    void write_slowly(std::size_t block, int value) {
        left.disk.slow = true;
        left.daemon->host->write(block, value, &acknowledged);
    }
    static runtime::Task<> finish_later(Daemon* daemon, runtime::Duration later) {
        co_await runtime::sleep_for(daemon->world.tasks, later);
        daemon->host->finish_slow();
    }
    bool acknowledged = false;
};

// Spec: REP-002, REP-109
TEST_F(AddTarget, WhatWasUnderWayIsInTheNewTargetsCopyToo) {
    write_slowly(5, 55);
    left.daemon->tasks.spawn(finish_later(left.daemon, 3s));
    expect_ok(add_third());
    ASSERT_TRUE(pair.until([&] { return acknowledged && pair.in_sync(left, {&right, &third}); }));
    EXPECT_EQ(left.disk.blocks[5], 55);
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

TEST_F(AddTarget, WritesThatDoNotEndKeepATargetFromBeingAddedAndNothingElse) {
    write_slowly(5, 55);
    const auto reply = add_third();
    expect_error(reply, "have not ended");
    EXPECT_EQ(pair.record(left).peer_names(), "right");
    EXPECT_EQ(third.daemon->manager.find(VolumeId("R")), nullptr);
    left.daemon->host->finish_slow();
    EXPECT_TRUE(pair.write(left, 6, 66));
    EXPECT_TRUE(acknowledged);
    expect_ok(add_third());
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(left, {&right, &third}); }));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
