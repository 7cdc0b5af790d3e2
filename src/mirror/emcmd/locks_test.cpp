// Volumes that a host keeps closed, around the end and the start of mirrord: a command must not find the
// program itself in its way.

#include "mirror/emcmd/shared_lab.h"

namespace understudy::mirror::emcmd::testing_lab {
namespace {

// Spec: EMC-262, EMC-263, CLU-231
TEST_F(SharedMirror, AnUnlockRightAfterTheStartSaysWhoOwnsTheVolumeAndNotThatMirrordHasIt) {
    share();
    left.node->pause();
    ok(right, {".", "UNLOCKVOLUME", "R"});
    ASSERT_FALSE(left.daemon) << "its kernel has ended it while it owned the volume";
    pair.start(left);
    // The start itself tries to go on with the volume, and will find that it is right's; the command waits
    // for that.
    EXPECT_EQ(status(left, {".", "UNLOCKVOLUME", "R"}), 33);
    EXPECT_THAT(error, HasSubstr("owned by right"));
    EXPECT_TRUE(programs.at("left")->facts.holds(VolumeId("R"))) << "closed again";
    ok(right, {".", "LOCKVOLUME", "R"});
    ok(left, {".", "UNLOCKVOLUME", "R"});
    EXPECT_FALSE(programs.at("left")->facts.holds(VolumeId("R")));
    EXPECT_TRUE(opened(left));
}

// Spec: EMC-220, EMC-300
TEST_F(SharedMirror, AVolumeThatADyingProcessStillHasAtTheStartIsLockedAMomentLater) {
    share();
    ok(left, {".", "LOCKVOLUME", "R"});
    ASSERT_TRUE(programs.at("left")->facts.holds(VolumeId("R")));
    kill(left);
    left.disk.used_by = "mirrord (pid 17)";
    pair.start(left);
    pair.sim.run_for(2s);
    EXPECT_FALSE(programs.at("left")->facts.holds(VolumeId("R")));
    left.disk.used_by.clear();
    pair.sim.run_for(2s);
    EXPECT_TRUE(programs.at("left")->facts.holds(VolumeId("R")));
    // One that was opened meanwhile is not taken away from its owner.
    kill(left);
    left.disk.used_by = "mirrord (pid 18)";
    pair.start(left);
    ok(left, {".", "UNLOCKVOLUME", "R"});
    left.disk.used_by.clear();
    pair.sim.run_for(60s);
    EXPECT_FALSE(programs.at("left")->facts.holds(VolumeId("R")));
    EXPECT_TRUE(opened(left));
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
