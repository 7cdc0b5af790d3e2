// Two hosts share a disk that is mirrored to a third: what becomes of the mirror when the disk's owner
// changes.

#include "base/test_seeds.h"
#include "mirror/emcmd/shared_lab.h"

#include <random>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

// Spec: MOP-018, MOP-061, MOP-070, EMC-039
TEST_F(SharedMirror, ItIsMadeOnTheOwnerAndEveryHostOfItNeedsItsEndpoints) {
    share();
    EXPECT_EQ(status(right, {"10.0.0.2", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 1);
    EXPECT_THAT(error, HasSubstr("does not own it"));
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 87);
    EXPECT_THAT(error, HasSubstr("no job of left has the endpoints between right and third"));
    EXPECT_TRUE(opened(left));
    make_job();
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(record(left).main().pairs.size(), 2U);
    EXPECT_EQ(record(third).main().hosts(), (std::vector<std::string>{"left", "right"}));
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_EQ(third.disk.blocks[3], 33);
    // Its own disk as one target more is said to be impossible, and nothing changes.
    EXPECT_EQ(status(right, {".", "UNLOCKVOLUME", "R"}), 33);
    EXPECT_EQ(right.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S"}), 87);
    EXPECT_TRUE(in_sync(left));
}

// Spec: MOP-067, MOP-075, REP-058, EMC-039, EMC-240
TEST_F(SharedMirror, ThePeerOnTheSameDiskGoesOnAndSendsNothingAgain) {
    mirror();
    EXPECT_TRUE(pair.write(left, 3, 33));
    left.disk.used_by = "postgres (pid 812)";
    EXPECT_EQ(status(right, {".", "SWITCHOVERVOLUME", "R"}), 33) << "a device in use is not given up";
    EXPECT_TRUE(in_sync(left));
    left.disk.used_by.clear();
    const std::uint64_t epoch = record(left).role_epoch;
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
    EXPECT_EQ(sent(), 0U);
    // What the former owner may still say is older.
    EXPECT_EQ(record(right).role_epoch, epoch + 1);
    EXPECT_EQ(record(third).role_epoch, epoch + 1);
    EXPECT_FALSE(opened(left));
    EXPECT_EQ(left.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_EQ(record(third).main().address, "10.0.0.2");
    EXPECT_TRUE(pair.write(right, 4, 44));
    EXPECT_EQ(third.disk.blocks[4], 44);
    // While third is paused, too; it lacks what was written since.
    ok(right, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    EXPECT_TRUE(pair.write(right, 5, 55));
    ok(left, {".", "SWITCHOVERVOLUME", "R"});
    EXPECT_TRUE(pair.write(left, 6, 66));
    EXPECT_EQ(third.disk.blocks[5], 0);
    ok(left, {".", "CONTINUEMIRROR", "R", "10.0.0.3"});
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(sent(), 2U);
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: MOP-067, REP-058, REP-186
TEST_F(SharedMirror, WhatADeadOwnerHadWrittenAndItsTargetLacksTheNextOwnerSends) {
    mirror();
    EXPECT_TRUE(pair.write(left, 1, 11));
    pair.cut_off(third);
    for (int block : {2, 7, 9})
        EXPECT_TRUE(pair.write(left, static_cast<std::size_t>(block), block * 11, 60s));
    power_off(left);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    EXPECT_TRUE(pair.write(right, 10, 110, 60s));
    EXPECT_EQ(third.disk.blocks[2], 0);
    pair.heal();
    ASSERT_TRUE(in_sync(right));
    EXPECT_EQ(sent(), 4U) << "partial";
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
    // The one that was dead is a host like another when it is back.
    start(left);
    EXPECT_EQ(status(left, {".", "UNLOCKVOLUME", "R"}), 33);
    ok(left, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(sent(), 0U);
}

// Spec: MOP-066, REP-369, CLU-229
TEST_F(SharedMirror, AnOwnerThatStoodStillIsNoSecondSource) {
    mirror();
    left.node->pause();
    ok(right, {".", "UNLOCKVOLUME", "R"});
    EXPECT_FALSE(left.daemon) << "its kernel has ended it";
    ASSERT_TRUE(in_sync(right));
    EXPECT_TRUE(pair.write(right, 5, 55));
    pair.start(left);
    EXPECT_FALSE(pair.until([&] { return opened(left); }, 30s));
    EXPECT_TRUE(in_sync(right));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: MOP-066, REP-369, EMC-262
TEST_F(SharedMirror, AFormerOwnerWhoseHypervisorStoppedItsClockRecordsNothingAndIsNotTheSource) {
    mirror();
    fenced = false;
    left.node->pause();
    ok(right, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
    const control::MirrorUuid uuid = record(third).uuid;
    left.node->resume();
    ASSERT_TRUE(left.daemon);
    // As long as it has not noticed, it asks for a session, and for what only a source may ask.
    for (const auto kind : {control::RequestKind::advance, control::RequestKind::pause_notice}) {
        control::PeerRequest late;
        late.kind = kind;
        late.volume = VolumeId("R");
        late.uuid = uuid;
        late.host = "left";
        late.summary = {};
        auto answer = std::make_shared<std::optional<control::PeerReply>>();
        third.daemon->tasks.spawn(ask(third.daemon->manager.find(VolumeId("R")), std::move(late), answer));
        ASSERT_TRUE(pair.until([&] { return answer->has_value(); }));
        EXPECT_THAT((*answer)->error, HasSubstr("right serves volume R there, not left"));
    }
    ASSERT_TRUE(pair.until([&] { return !opened(left); }, 10s));
    EXPECT_EQ(left.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_TRUE(in_sync(right));
    EXPECT_TRUE(pair.write(right, 5, 55));
    EXPECT_EQ(third.disk.blocks[5], 55);
}

// Spec: EMC-262, REP-369, MOP-066
TEST_F(SharedMirror, AnOwnerThatLosesTheAreaLetsTheMirrorGo) {
    mirror();
    area.set_link("left", runtime::SimulatedDisk::Link::fails);
    ASSERT_TRUE(pair.until([&] { return !opened(left); }, 30s));
    EXPECT_TRUE(!left.daemon || left.daemon->manager.find(VolumeId("R")) == nullptr);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
}

// Spec: REP-184, REP-237
TEST_F(SharedMirror, TheNextProcessOfTheOwnerGoesOn) {
    mirror();
    const std::uint64_t epoch = record(left).role_epoch;
    kill(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return opened(left); }, 30s));
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(record(left).role_epoch, epoch);
    EXPECT_TRUE(pair.write(left, 5, 55));
    EXPECT_EQ(sent(), 0U);
}

// Spec: MOP-018, EMC-243, REP-237
TEST_F(SharedMirror, TheTargetTakesOverForTheWholeSiteWhoseNextOwnerFollowsIt) {
    mirror();
    EXPECT_TRUE(pair.write(left, 1, 11));
    power_off(left);
    power_off(right);
    ok(third, {".", "SWITCHOVERVOLUME", "R", "-f"});
    EXPECT_TRUE(pair.write(third, 2, 22, 60s));
    start(right);
    // It finds out that it is the target, and is not opened.
    EXPECT_EQ(status(right, {".", "UNLOCKVOLUME", "R"}), 1);
    EXPECT_THAT(error, HasSubstr("has become the target of volume R"));
    ASSERT_TRUE(pair.until([&] { return left.disk.blocks[2] == 22 && record(right).consistent; }, 60s));
    EXPECT_EQ(record(third).main().host_name(), "right");
    EXPECT_LT(sent(), kBlocks) << "partial";
    // Its peer goes on as the target, too.
    start(left);
    power_off(right);
    EXPECT_TRUE(pair.write(third, 3, 33, 60s));
    EXPECT_EQ(status(left, {".", "UNLOCKVOLUME", "R"}), 1) << error;
    ASSERT_TRUE(pair.until([&] { return left.disk.blocks[3] == 33; }, 60s));
    EXPECT_LT(sent(), kBlocks) << "partial";
    EXPECT_EQ(record(third).main().host_name(), "left");
    // And home again.
    ASSERT_TRUE(pair.until([&] { return record(left).main().state == MirrorState::mirroring; }, 60s));
    ok(left, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: MOP-018, MOP-084, EMC-243
TEST_F(SharedMirror, ThePlannedSwitchoverToTheTargetAsksWhicheverHostServes) {
    mirror();
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
    ok(third, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(pair.until(
        [&] {
            return record(third).role == Role::source && record(right).role == Role::target &&
                   record(third).main().state == MirrorState::mirroring;
        },
        60s));
    EXPECT_TRUE(pair.write(third, 2, 22));
    EXPECT_EQ(left.disk.blocks[2], 22);
    // The owner of the target's disk gives it up and its peer goes on: the source finds it.
    ok(right, {".", "LOCKVOLUME", "R"});
    EXPECT_TRUE(pair.write(third, 3, 33, 60s));
    EXPECT_EQ(status(left, {".", "UNLOCKVOLUME", "R"}), 1);
    ASSERT_TRUE(pair.until([&] { return left.disk.blocks[3] == 33 && record(left).consistent; }, 60s));
    EXPECT_EQ(record(third).main().host_name(), "left");
}

// Spec: MOP-018, EMC-243
TEST_F(SharedMirror, WhatWasGivenUpToATargetThatDiedIsServedAgain) {
    mirror();
    begin(third, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(pair.until([&] { return record(left).demoted; }, 10s));
    power_off(third);
    power_off(left);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    EXPECT_FALSE(record(right).demoted);
    EXPECT_TRUE(pair.write(right, 2, 22, 60s));
    start(third);
    ASSERT_TRUE(in_sync(right));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: EMC-161, MOP-064
TEST_F(SharedMirror, WithoutItsMirrorTheVolumeIsSharedAsBefore) {
    mirror();
    ok(left, {".", "DELETEMIRROR", "R", "10.0.0.3"});
    ASSERT_TRUE(pair.until(
        [&] { return opened(left) && !programs.at("left")->volumes.is_mirrored(VolumeId("R")); }, 10s));
    EXPECT_EQ(third.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_EQ(status(right, {".", "UNLOCKVOLUME", "R"}), 33);
    ok(left, {".", "LOCKVOLUME", "R"});
    ok(right, {".", "UNLOCKVOLUME", "R"});
    EXPECT_EQ(right.daemon->manager.find(VolumeId("R")), nullptr);
    // A new one begins with everything.
    ok(right, {".", "LOCKVOLUME", "R"});
    ok(left, {".", "UNLOCKVOLUME", "R"});
    sent();
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(sent(), kBlocks);
}

/// Lives of the three hosts by seed: whatever becomes of them, what was acknowledged is on the disk, the
/// target is equal to it in the end, and never was everything sent again.
void live(std::uint64_t seed) {
    SCOPED_TRACE("UNDERSTUDY_SEED=" + std::to_string(seed));
    struct Life : SharedMirror {
        explicit Life(std::uint64_t seed) : SharedMirror(seed) {}
        void TestBody() override {}
    };
    Life world(seed);
    world.mirror();
    ASSERT_FALSE(::testing::Test::HasFatalFailure());
    std::mt19937_64 random(seed);
    std::vector<int> acknowledged(kBlocks, 0);
    int value = 0;
    const auto owner = [&]() -> Host* {
        for (Host* host : {&world.left, &world.right})
            if (world.opened(*host) && host->daemon->manager.find(VolumeId("R"))) return host;
        return nullptr;
    };
    const auto up = [&](Host& host) {
        if (!host.daemon) world.start(host);
    };
    for (int step = 0; step < 40; ++step) {
        Host* const other = owner() == &world.left ? &world.right : &world.left;
        switch (random() % 8) {
            case 0:
            case 1:
            case 2:
                for (int i = 0; i < 3; ++i) {
                    Host* const from = owner();
                    if (!from) break;
                    const std::size_t block = random() % kBlocks;
                    // One that was not acknowledged may be there or not; the next one to the block decides.
                    acknowledged[block] = -1;
                    if (world.pair.write(*from, block, ++value, 3s)) acknowledged[block] = value;
                }
                break;
            case 3:
                up(*other);
                (void)world.status(*other, {".", "SWITCHOVERVOLUME", "R"});
                break;
            case 4:
                if (Host* const from = owner()) {
                    world.power_off(*from);
                    up(*other);
                    EXPECT_EQ(world.status(*other, {".", "UNLOCKVOLUME", "R"}), 0) << world.error;
                }
                break;
            case 5:
                if (Host* const from = owner()) {
                    world.kill(*from);
                    world.start(*from);
                }
                break;
            case 6:
                if (random() % 2 == 0)
                    world.pair.cut_off(world.third);
                else
                    world.pair.heal();
                break;
            case 7:
                world.pair.sim.run_for(std::chrono::milliseconds(random() % 4000));
                break;
        }
        const auto at_third = world.third.daemon->manager.find(VolumeId("R"));
        ASSERT_TRUE(at_third && at_third->record().role == Role::target) << "step " << step;
        for (Host* host : {&world.left, &world.right})
            if (host->daemon && host->daemon->manager.find(VolumeId("R"))) {
                EXPECT_TRUE(world.record(*host).main().log_valid) << "step " << step;
            }
    }
    world.pair.heal();
    for (Host* host : {&world.left, &world.right})
        up(*host);
    world.pair.sim.run_for(20s);
    if (!owner()) {
        ASSERT_EQ(world.status(world.left, {".", "UNLOCKVOLUME", "R"}), 0) << world.error;
    }
    ASSERT_TRUE(world.in_sync(*owner(), 120s));
    EXPECT_EQ(world.third.disk.blocks, world.left.disk.blocks);
    for (std::size_t block = 0; block < kBlocks; ++block) {
        if (acknowledged[block] >= 0) {
            EXPECT_EQ(world.left.disk.blocks[block], acknowledged[block]) << "block " << block;
        }
    }
}

// Spec: MOP-018, MOP-067, REP-058, REP-237
TEST(SharedLives, NoAcknowledgedWriteIsMissingOnTheTarget) {
    const auto [first, end] = test_seeds(30);
    for (std::uint64_t seed = first; seed < end && !::testing::Test::HasFailure(); ++seed)
        live(seed);
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
