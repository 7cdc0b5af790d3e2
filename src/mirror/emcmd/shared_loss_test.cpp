// A shared volume's owner at the worst moments: it loses the volume while it opens it, and its lock area
// refuses what it writes all the same.

#include "mirror/emcmd/shared_lab.h"

namespace understudy::mirror::emcmd::testing_lab {
namespace {

struct SharedLoss : SharedMirror {
    /// Looked at after every event.
    void watch_for_two_writers() {
        pair.watch = [this] {
            if (pair.writable().size() > 1) two_writers = true;
        };
    }
    bool two_writers = false;
};

// Spec: CLU-229, KIT-060, REP-369
TEST_F(SharedLoss, WhatIsLostBeforeItIsOpenIsNotOpened) {
    fenced = false;  // no kernel helps
    share();
    ok(left, {".", "LOCKVOLUME", "R"});
    watch_for_two_writers();
    begin(left, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(pair.until([&] { return fences["left"].has_value(); }, 10s)) << "left owns it";
    // It stands still over the next look at the area, and right takes over from it.
    area.set_link("left", runtime::SimulatedDisk::Link::hangs);
    EXPECT_FALSE(opened(left));
    ok(right, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(opened(right));
    area.set_link("left", runtime::SimulatedDisk::Link::works);
    pair.until([&] { return two_writers; }, 40s);
    EXPECT_FALSE(two_writers);
    EXPECT_TRUE(opened(right));
    EXPECT_FALSE(opened(left));
    EXPECT_TRUE(programs.at("left")->facts.holds(VolumeId("R"))) << "it is kept from others again";
}

// Spec: MOP-067, REP-058
TEST_F(SharedLoss, ARecordThatIsRefusedAndLandsAllTheSameIsWrittenOver) {
    mirror();
    programs.at("left")->access.lands_late = true;
    EXPECT_NE(status(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"}), 0);
    programs.at("left")->access.lands_late = false;
    ASSERT_TRUE(in_sync(left));
    pair.sim.run_for(3s);
    // The next owner finds what counted, and not a mirror that somebody has paused.
    power_off(left);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
    EXPECT_FALSE(record(right).main().user_requested);
}

// Spec: MOP-067, REP-058
TEST_F(SharedLoss, AnAreaThatDoesNotAnswerIsNotWrittenTo) {
    mirror();
    area.set_link("left", runtime::SimulatedDisk::Link::hangs);
    // The lock notices within a renewal; from then on nobody waits for a record.
    pair.sim.run_for(3200ms);
    ASSERT_TRUE(opened(left));
    EXPECT_NE(status(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"}), 0);
    EXPECT_THAT(error, HasSubstr("does not answer"));
    area.set_link("left", runtime::SimulatedDisk::Link::works);
    pair.sim.run_for(1s);
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    ok(left, {".", "CONTINUEMIRROR", "R", "10.0.0.3"});
    ASSERT_TRUE(in_sync(left));
}

// Spec: EMC-220, KIT-060
TEST_F(SharedLoss, ALockThatIsTakenAgainWaitsForTheWritesOfTheOneBefore) {
    share();
    area.set_link("left", runtime::SimulatedDisk::Link::fails);
    // The last write of the lock that is given up fails, and may still come.
    (void)status(left, {".", "LOCKVOLUME", "R"});
    ASSERT_FALSE(opened(left));
    area.set_link("left", runtime::SimulatedDisk::Link::works);
    const auto before = programs.at("left")->world.clock.now();
    ok(left, {".", "UNLOCKVOLUME", "R"});
    EXPECT_GE(programs.at("left")->world.clock.now() - before, 2s) << "most of the margin is left";
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
