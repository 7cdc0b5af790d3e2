// Shared disks at both ends of a mirror: left and right have the one by turns, third and fourth the other. Of
// each end the owner of the disk is source or target.

#include "base/test_seeds.h"
#include "mirror/emcmd/shared_lab.h"

#include <random>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

struct BothShared : SharedMirror {
    explicit BothShared(std::uint64_t seed = 1) : SharedMirror(seed, 4) {}

    void make_job_of_four() { make_job({{&left, &right}, {&third, &fourth}}); }
    void mirror_both() {
        share();
        share(third, fourth);
        make_job_of_four();
        ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
        ASSERT_TRUE(in_sync(left, third));
        sent();
    }
    /// The other host of the end has the disk now; that one is the target.
    void move_target(Host& from, Host& to) {
        ok(from, {".", "LOCKVOLUME", "R"});
        EXPECT_EQ(status(to, {".", "UNLOCKVOLUME", "R"}), 1);
        EXPECT_THAT(error, HasSubstr("has become the target of volume R"));
    }
    Host* owner(Host& one, Host& other) {
        for (Host* host : {&one, &other})
            if (opened(*host) && host->daemon->manager.find(VolumeId("R"))) return host;
        return nullptr;
    }
};

// Spec: MOP-019, MOP-070, EMC-039
TEST_F(BothShared, TheTargetIsTheOwnerOfItsDiskAndNobodyElse) {
    share();
    share(third, fourth);
    make_job_of_four();
    EXPECT_NE(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.4", "S"}), 0);
    EXPECT_THAT(error, HasSubstr("fourth does not own it"));
    EXPECT_TRUE(opened(left));
    ok(third, {".", "LOCKVOLUME", "R"});
    EXPECT_NE(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 0);
    EXPECT_THAT(error, HasSubstr("third does not own it"));
    ok(third, {".", "UNLOCKVOLUME", "R"});
    third.disk.used_by = "postgres (pid 812)";
    EXPECT_NE(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 0);
    EXPECT_THAT(error, HasSubstr("in use by postgres"));
    third.disk.used_by.clear();
    ASSERT_TRUE(pair.until([&] { return opened(left) && opened(third); }, 10s));
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(in_sync(left, third));
    EXPECT_EQ(record(left).main().pairs.size(), 4U);
    EXPECT_EQ(record(third).main().pairs.size(), 4U);
    EXPECT_TRUE(record(third).shared);
    EXPECT_EQ(status(fourth, {".", "UNLOCKVOLUME", "R"}), 33);
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_EQ(third.disk.blocks[3], 33);
}

// Spec: MOP-019, MOP-075, MOP-076, EMC-240
TEST_F(BothShared, APeerOfTheTargetNeverBecomesSourceAndGoesOnAsTheTarget) {
    mirror_both();
    EXPECT_TRUE(pair.write(left, 3, 33));
    // It fails and changes nothing.
    EXPECT_EQ(status(fourth, {".", "SWITCHOVERVOLUME", "R"}), 87);
    EXPECT_THAT(error, HasSubstr("cannot become the source"));
    EXPECT_TRUE(opened(third));
    EXPECT_FALSE(opened(fourth));
    ASSERT_TRUE(in_sync(left, third));
    move_target(third, fourth);
    ASSERT_TRUE(in_sync(left, fourth));
    EXPECT_LE(sent(), 1U) << "partial";
    EXPECT_TRUE(pair.write(left, 4, 44));
    EXPECT_EQ(third.disk.blocks[4], 44);
    // The one that has the disk now is the one that can become source.
    ok(fourth, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(fourth, left));
    EXPECT_TRUE(pair.write(fourth, 5, 55));
    EXPECT_EQ(left.disk.blocks[5], 55);
    EXPECT_EQ(status(right, {".", "SWITCHOVERVOLUME", "R"}), 87) << "now right shares the target's disk";
    ok(third, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(third, left));
    ok(left, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(left, third));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: MOP-019, MOP-067, REP-058, EMC-243
TEST_F(BothShared, OneHostOfEachEndIsEnough) {
    mirror_both();
    power_off(third);
    EXPECT_TRUE(pair.write(left, 2, 22, 60s));
    power_off(left);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    EXPECT_TRUE(pair.write(right, 7, 77, 60s));
    EXPECT_EQ(status(fourth, {".", "UNLOCKVOLUME", "R"}), 1);
    ASSERT_TRUE(in_sync(right, fourth));
    EXPECT_LE(sent(), 3U) << "partial";
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
    power_off(right);
    ok(fourth, {".", "SWITCHOVERVOLUME", "R", "-f"});
    EXPECT_TRUE(pair.write(fourth, 9, 99, 60s));
    start(left);
    EXPECT_EQ(status(left, {".", "UNLOCKVOLUME", "R"}), 1);
    ASSERT_TRUE(in_sync(fourth, left));
    EXPECT_LT(sent(), kBlocks) << "partial";
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: MOP-019, MOP-067, REP-058
TEST_F(BothShared, WhenTheTargetDiesTheOtherHostOfItsDiskTakesItsPlaceByItself) {
    mirror_both();
    EXPECT_TRUE(pair.write(left, 1, 11));
    power_off(third);
    EXPECT_TRUE(pair.write(left, 2, 22, 60s));
    ASSERT_TRUE(follows(left, fourth, 120s));
    EXPECT_LE(sent(), 2U) << "partial";
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
    // The one that was dead is a standby like another when it is back.
    start(third);
    pair.sim.run_for(60s);
    EXPECT_TRUE(opened(fourth));
    EXPECT_FALSE(opened(third));
    power_off(fourth);
    ASSERT_TRUE(follows(left, third, 120s));
    start(fourth);
    // One that gave it up did so on purpose, and a source is nobody by itself.
    ok(third, {".", "LOCKVOLUME", "R"});
    power_off(left);
    pair.sim.run_for(120s);
    EXPECT_FALSE(opened(third));
    EXPECT_FALSE(opened(fourth));
    EXPECT_FALSE(opened(right));
}

// Spec: MOP-118, EMC-081
TEST_F(BothShared, BothEndsAreSharedAsBeforeWithoutTheirMirror) {
    mirror_both();
    ok(left, {".", "DELETEMIRROR", "R", "10.0.0.3"});
    for (Host* host : {&left, &third})
        ASSERT_TRUE(pair.until(
            [&] { return opened(*host) && !programs.at(host->name)->volumes.is_mirrored(VolumeId("R")); },
            10s))
            << host->name;
    ok(third, {".", "LOCKVOLUME", "R"});
    ok(fourth, {".", "UNLOCKVOLUME", "R"});
    EXPECT_EQ(fourth.daemon->manager.find(VolumeId("R")), nullptr);
}

// Spec: MOP-019, MOP-067, REP-058
TEST(BothSharedLives, NoAcknowledgedWriteIsMissingOnTheTarget) {
    struct Life : BothShared {
        explicit Life(std::uint64_t seed) : BothShared(seed) {}
        void TestBody() override {}
    };
    const auto live = [](std::uint64_t seed) {
        SCOPED_TRACE("UNDERSTUDY_SEED=" + std::to_string(seed));
        Life world(seed);
        world.mirror_both();
        ASSERT_FALSE(::testing::Test::HasFatalFailure());
        std::mt19937_64 random(seed);
        std::vector<int> acknowledged(kBlocks, 0);
        int value = 0;
        const auto up = [&](Host& host) {
            if (!host.daemon) world.start(host);
        };
        const auto take = [&](Host& host, bool target) {
            up(host);
            EXPECT_EQ(world.status(host, {".", "UNLOCKVOLUME", "R"}), target ? 1 : 0) << world.error;
        };
        for (int step = 0; step < 40; ++step) {
            Host* const near = world.owner(world.left, world.right);
            Host* const far = world.owner(world.third, world.fourth);
            Host& near_peer = near == &world.left ? world.right : world.left;
            Host& far_peer = far == &world.third ? world.fourth : world.third;
            switch (random() % 8) {
                case 0:
                case 1:
                    for (int i = 0; near && i < 3; ++i) {
                        const std::size_t block = random() % kBlocks;
                        if (!world.opened(*near) || !near->daemon->host) break;
                        acknowledged[block] = -1;
                        if (world.pair.write(*near, block, ++value, 3s)) acknowledged[block] = value;
                    }
                    break;
                case 2:
                    up(near_peer);
                    (void)world.status(near_peer, {".", "SWITCHOVERVOLUME", "R"});
                    break;
                case 3:
                    if (near) world.power_off(*near);
                    take(near_peer, false);
                    break;
                case 4:
                    if (far && world.status(*far, {".", "LOCKVOLUME", "R"}) == 0) take(far_peer, true);
                    break;
                case 5:
                    if (far) world.power_off(*far);
                    take(far_peer, true);
                    break;
                case 6:
                    if (random() % 2 == 0) {
                        world.pair.cut_off(world.third);
                        world.pair.cut_off(world.fourth);
                        world.pair.sim.heal("third", "fourth");
                    } else {
                        world.pair.heal();
                    }
                    break;
                case 7:
                    world.pair.sim.run_for(std::chrono::milliseconds(random() % 4000));
                    break;
            }
            if (::testing::Test::HasFailure()) return;
        }
        world.pair.heal();
        for (Host* host : world.pair.hosts)
            up(*host);
        world.pair.sim.run_for(20s);
        if (!world.owner(world.left, world.right)) take(world.left, false);
        if (!world.owner(world.third, world.fourth)) take(world.third, true);
        ASSERT_TRUE(world.in_sync(*world.owner(world.left, world.right),
                                  *world.owner(world.third, world.fourth), 120s));
        EXPECT_EQ(world.third.disk.blocks, world.left.disk.blocks);
        for (std::size_t block = 0; block < kBlocks; ++block) {
            if (acknowledged[block] >= 0) {
                EXPECT_EQ(world.left.disk.blocks[block], acknowledged[block]) << "block " << block;
            }
        }
    };
    const auto [first, end] = test_seeds(30);
    for (std::uint64_t seed = first; seed < end && !::testing::Test::HasFailure(); ++seed)
        live(seed);
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
