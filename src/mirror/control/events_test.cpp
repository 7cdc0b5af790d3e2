// What happens to a mirror is told under the manual's numbers.

#include "mirror/control/events.h"

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct Events : PairTest {
    static bool told(const Host& host, Event event, const char* says = "") {
        return times(host, event, says) > 0;
    }
    void forget() {
        for (Host* host : pair.hosts)
            host->events.clear();
    }
};

TEST_F(Events, AreNumberedInTheLog) {
    EXPECT_EQ(numbered(Event::in_sync, "in sync with right"), "in sync with right (event 97)");
    EXPECT_EQ(severity_of(Event::in_sync), messages::Severity::info);
    EXPECT_EQ(severity_of(Event::deleted), messages::Severity::warning);
    EXPECT_EQ(severity_of(Event::both_source), messages::Severity::error);
}

// Spec: REP-065, REP-153, REP-157, REP-158, REP-374
TEST_F(Events, OfACreation) {
    create();
    EXPECT_EQ(times(left, Event::created), 1U);
    EXPECT_EQ(times(left, Event::log_created), 1U);
    EXPECT_EQ(times(right, Event::log_created), 1U);
    EXPECT_TRUE(told(left, Event::full_resync, "session with right, full resync (FULL RESYNC)"));
    EXPECT_EQ(times(left, Event::resync_started), 1U);
    EXPECT_EQ(times(left, Event::in_sync), 1U);
    EXPECT_TRUE(told(left, Event::source_state, "-> mirroring"));
    EXPECT_TRUE(told(right, Event::target_state, "-> mirroring"));
    EXPECT_EQ(left.events.front().volume, VolumeId("R"));
}

// Spec: REP-366
TEST_F(Events, OfACreationThatTheTargetRefuses) {
    right.disk.used_by = "postgres (pid 812)";
    EXPECT_NE(pair.create().exit_code, 0);
    EXPECT_TRUE(told(left, Event::target_half_failed, "postgres (pid 812)"));
    EXPECT_EQ(times(left, Event::created), 0U);
}

// Spec: REP-363
TEST_F(Events, OfTheEndOfAMirrorBeforeAndAfterItsResync) {
    create();
    ok(left, {"delete", "R"});
    EXPECT_TRUE(told(left, Event::deleted, "right"));
    EXPECT_TRUE(told(right, Event::deleted, "left"));
    EXPECT_EQ(times(left, Event::deleted_in_resync), 0U);
    forget();
    pair.wire.resync_takes = 60s;
    EXPECT_EQ(pair.create().exit_code, 0);
    ASSERT_TRUE(pair.until([&] { return !pair.record(right).consistent; }));
    ok(left, {"delete", "R"});
    EXPECT_TRUE(told(left, Event::deleted_in_resync, "not usable"));
    EXPECT_EQ(times(left, Event::deleted), 0U);
}

// Spec: REP-149, REP-363
TEST_F(Events, OfRolesThatChange) {
    create();
    forget();
    ok(right, {"promote", "R"});
    ASSERT_TRUE(pair.until([&] { return pair.record(left).role == Role::target && pair.wait_in_sync(); }));
    EXPECT_EQ(times(right, Event::told_to_take_over), 1U);
    EXPECT_TRUE(told(right, Event::became_source, "right is source now"));
    EXPECT_TRUE(told(left, Event::became_target, "right"));
}

// Spec: EMC-071
TEST_F(Events, OfAResyncThatDoesNotEnd) {
    create();
    ok(left, {"break", "R"});
    pair.wire.resync_takes = 60s;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.until([&] { return left.daemon->host->linked(); }));
    forget();
    pair.cut();
    ASSERT_TRUE(pair.until([&] { return told(left, Event::resync_failed, "right"); }));
    EXPECT_EQ(times(left, Event::in_sync), 0U);
    pair.wire.resync_takes = 20ms;
    pair.heal();
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(times(left, Event::resync_failed), 1U);
    EXPECT_EQ(times(left, Event::in_sync), 1U);
    forget();
    pair.cut();  // a mirror that mirrors has no resync to fail
    ASSERT_TRUE(pair.until([&] { return told(left, Event::unreachable); }));
    EXPECT_EQ(times(left, Event::resync_failed), 0U);
}

// Spec: REP-362, REP-160, REP-161
TEST_F(Events, OfATargetThatIsNotReached) {
    create();
    forget();
    pair.cut();
    ASSERT_TRUE(pair.until([&] { return told(left, Event::unreachable, "right"); }));
    EXPECT_TRUE(told(left, Event::source_state, "mirroring -> paused (connection lost)"));
    pair.heal();
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_TRUE(
        told(left, Event::partial_resync, "session with right, partial resync (PARTIAL RESYNC, 0 bytes"));
    ok(left, {"break", "R"});
    EXPECT_TRUE(told(left, Event::broken, "right"));
    ok(left, {"continue", "R"});
    EXPECT_TRUE(told(left, Event::continued, "by command"));
}

// Spec: REP-096
TEST_F(Events, OfAReconnection) {
    create();
    forget();
    pair.reset();
    ASSERT_TRUE(pair.until([&] { return told(left, Event::reconnected); }));
    EXPECT_EQ(times(left, Event::reconnecting), 1U);
    EXPECT_EQ(times(left, Event::resync_started), 0U);
    pair.reset();
    pair.kill(right);
    ASSERT_TRUE(pair.until([&] { return told(left, Event::reconnection_failed); }));
}

// Spec: REP-365
TEST_F(Events, OfAStartAfterACleanEndAndAfterACrashWithoutALog) {
    create();
    pair.stop(left);
    pair.kill(left);
    forget();
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(times(left, Event::continued_at_start), 1U);
    EXPECT_EQ(times(left, Event::unclean_end), 0U);
    pair.power_off(left);
    left.disk.log_lost = true;
    forget();
    pair.start(left);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(times(left, Event::unclean_end), 1U);
    EXPECT_EQ(times(left, Event::log_created), 1U);
    EXPECT_TRUE(told(left, Event::full_resync));
}

// Spec: REP-175, REP-064
TEST_F(Events, OfALogThatFails) {
    create();
    left.daemon->host->fail_log();
    EXPECT_TRUE(told(left, Event::log_failed, "I/O error"));
}

// Spec: REP-367
TEST_F(Events, OfANewAddress) {
    create();
    ok(left, {"pause", "R"});
    forget();
    const auto reply =
        pair.run(left, {"endpoints", "R"},
                 {{"target", "right"}, {"source-address", "10.0.0.9"}, {"target-address", "10.0.0.2"}});
    EXPECT_EQ(reply.exit_code, 0) << reply.err;
    EXPECT_TRUE(told(right, Event::address_changed, "10.0.0.9 now, it was 10.0.0.1"));
}

// Spec: REP-373, REP-061, REP-062
TEST_F(Events, OfADirectoryOfLogsThatIsMissing) {
    create();
    pair.stop(left);
    pair.kill(left);
    forget();
    left.settings = "BitmapBaseDir=/fast\nWaitForBitmapBaseDirMs=60000\n";
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return told(left, Event::log_directory_missing, "BitmapBaseDir=/fast"); }));
    EXPECT_FALSE(told(left, Event::continued_at_start)) << "the mirror waits";
    ASSERT_TRUE(pair.until([&] { return told(left, Event::log_directory_given_up); }, 120s));
    ASSERT_TRUE(pair.wait_in_sync());
    pair.stop(left);
    pair.kill(left);
    forget();
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return told(left, Event::log_directory_missing); }));
    ASSERT_TRUE(left.daemon->world.files.make_directories("/fast", 0700));
    ASSERT_TRUE(pair.until([&] { return told(left, Event::log_directory_there, "/fast"); }));
    ASSERT_TRUE(pair.wait_in_sync());
}

// Spec: REP-372
TEST_F(Events, OfADeviceThatIsRemovedBeforeTheStartAndLater) {
    create();
    left.disk.size = 0;
    ASSERT_TRUE(pair.until([&] { return told(left, Event::device_gone, "0 bytes"); }));
    pair.sim.run_for(10s);
    EXPECT_EQ(times(left, Event::device_gone), 1U);
    EXPECT_EQ(pair.record(left).size, kBlocks * 65536);
    EXPECT_NE(pair.run(left, {"continue", "R"}).exit_code, 0) << "nothing is no size";
    left.disk.size = kBlocks * 65536;
    left.disk.missing = true;
    pair.power_off(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return told(left, Event::device_missing); }));
    left.disk.missing = false;
    ASSERT_TRUE(pair.wait_in_sync());
}

// Spec: REP-178, REP-179, REP-308
TEST_F(Events, OfDevicesThatChangeTheirSize) {
    create();
    left.disk.size += 65536;
    ASSERT_TRUE(pair.until([&] { return told(left, Event::source_grown); }));
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.until([&] { return told(left, Event::target_too_small); }));
    left.disk.size -= 2 * 65536;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    left.disk.size -= 65536;
    ASSERT_TRUE(pair.until([&] { return told(left, Event::source_resized); }));
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
