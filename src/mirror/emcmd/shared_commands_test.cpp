// Commands for the mirrors of shared disks: which of the hosts takes them, and what the others make of it.

#include "mirror/emcmd/shared_lab.h"

namespace understudy::mirror::emcmd::testing_lab {
namespace {

struct SharedCommands : SharedMirror {
    std::string jobs(Host& host) { return own(host, "emcmd", {".", "GETJOBINFO"}).out; }
};

// Spec: EMC-088, EMC-094
TEST_F(SharedCommands, TheOwnerBreaksTheMirrorAndTheNextOwnerSendsEverything) {
    mirror();
    EXPECT_EQ(status(right, {".", "BREAKMIRROR", "R"}), 2) << "it does not have the volume";
    EXPECT_EQ(record(left).main().state, MirrorState::mirroring);
    ok(left, {".", "BREAKMIRROR", "R"});
    EXPECT_EQ(record(left).main().state, MirrorState::broken);
    EXPECT_TRUE(pair.write(left, 5, 55));
    EXPECT_NE(third.disk.blocks[5], 55);
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(pair.until([&] { return opened(right) && right.daemon->manager.find(VolumeId("R")); }, 30s));
    EXPECT_EQ(record(right).main().state, MirrorState::broken);
    EXPECT_EQ(sent(), 0U) << "until somebody continues";
    ok(right, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(right));
    EXPECT_EQ(sent(), kBlocks) << "every bit was set";
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: EMC-225, EMC-228
TEST_F(SharedCommands, TheOwnerOfTheLosingSideGivesItUp) {
    mirror();
    const std::string before = jobs(left);
    pair.cluster.apart = true;
    pair.cut();
    third.daemon->host->lose_link();
    pair.sim.partition("left", "third");
    pair.sim.partition("right", "third");
    ok(third, {".", "SWITCHOVERVOLUME", "R", "-f"});
    EXPECT_TRUE(pair.write(third, 2, 22, 60s));
    EXPECT_TRUE(pair.write(left, 3, 33, 60s));
    pair.heal();
    pair.cluster.apart = false;
    ASSERT_TRUE(
        pair.until([&] { return record(left).main().split_brain && record(third).main().split_brain; }, 60s));
    EXPECT_EQ(status(right, {".", "PREPARETOBECOMETARGET", "R"}), 2);
    EXPECT_TRUE(opened(left));
    EXPECT_EQ(record(left).role, Role::source);
    ok(left, {".", "PREPARETOBECOMETARGET", "R"});
    EXPECT_EQ(record(left).role, Role::target);
    sent();
    ok(third, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(pair.until(
        [&] { return record(third).main().state == MirrorState::mirroring && record(left).consistent; },
        60s));
    EXPECT_EQ(left.disk.blocks, third.disk.blocks);
    EXPECT_EQ(left.disk.blocks[2], 22);
    EXPECT_LT(sent(), kBlocks) << "partial";
    EXPECT_EQ(jobs(left), before);
    EXPECT_EQ(jobs(third), before);
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
