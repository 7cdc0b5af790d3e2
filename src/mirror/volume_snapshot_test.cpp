// Snapshots of the target's volume.

#include "mirror/volume_fixture.h"

#include <gtest/gtest.h>

namespace understudy::mirror::testing_volume {
namespace {

// Spec: REP-321, REP-324, REP-327, REP-328, REP-333
TEST_F(VolumeTest, ASnapshotOfTheTargetStandsStillWhileTheMirrorGoesOnAndIsGoneWhenDropped) {
    start(ResyncKind::full);
    storm(*left, 100, 21);
    const std::string file = path("data.cow");
    std::ofstream(file).close();
    std::filesystem::resize_file(file, (kSize + kBlock) / kBlock * kBlock);
    ASSERT_TRUE(right->prepare_snapshot({5, file, 65536}));
    EXPECT_EQ(right->prepare_snapshot({6, file, 65536}).error().code, Code::exists);
    EXPECT_EQ(right->snapshot_view(), nullptr);
    EXPECT_EQ(right->status().snapshot, SnapshotState::prepared);
    const std::string moment = content(path("left"));
    bool marked = false;
    left->mark_snapshot(5, [&](Result<> result) { marked = result.has_value(); });
    storm(*left, 200, 22);
    ASSERT_TRUE(run_until([&] { return marked && right->snapshot_view() != nullptr; }));
    EXPECT_TRUE(equal());
    EXPECT_NE(content(path("right")), moment);
    EXPECT_EQ(right->status().snapshot, SnapshotState::active);
    EXPECT_GT(right->status().snapshot_bytes, 0U);

    Request read(kSize);
    read.block.length = kSize;
    read.block.data = read.buffer.get();
    read.block.owner = &read;
    read.block.done = [](BlockRequest& block) { static_cast<Request*>(block.owner)->done = true; };
    right->snapshot_view()->submit(read.block);
    ASSERT_TRUE(run_until([&] { return read.done; }));
    EXPECT_EQ(std::memcmp(read.buffer.get(), moment.data(), kSize), 0);

    auto local = std::make_unique<Request>(4096);
    local->block = read.block;
    local->block.op = BlockOp::write;
    local->block.length = 4096;
    local->block.data = local->buffer.get();
    local->block.owner = local.get();
    std::memset(local->buffer.get(), 0x66, 4096);
    right->snapshot_view()->submit(local->block);
    ASSERT_TRUE(run_until([&] { return local->done; }));
    EXPECT_EQ(local->block.result, 0);
    EXPECT_TRUE(equal());

    bool dropped = false;
    right->drop_snapshot([&] { dropped = true; });
    storm(*left, 50, 23);
    ASSERT_TRUE(run_until([&] { return dropped; }));
    EXPECT_EQ(right->status().snapshot, SnapshotState::none);
    EXPECT_TRUE(equal());
    // The file is free again.
    ASSERT_TRUE(right->prepare_snapshot({6, file, 65536}));
}

// Spec: REP-316
TEST_F(VolumeTest, ASnapshotOutlivesTheLinkAndTheResyncThatFollows) {
    start(ResyncKind::full);
    storm(*left, 100, 31);
    const std::string file = path("data.cow");
    std::ofstream(file).close();
    std::filesystem::resize_file(file, kSize + kBlock);
    ASSERT_TRUE(right->prepare_snapshot({5, file, 4096}));
    const std::string moment = content(path("left"));
    bool marked = false;
    left->mark_snapshot(5, [&](const Result<>& result) { marked = result.has_value(); });
    ASSERT_TRUE(run_until([&] { return marked && right->snapshot_view() != nullptr; }));
    cut();
    ASSERT_TRUE(run_until([&] { return left_events.lost > 0 && right_events.lost > 0; }));
    storm(*left, 100, 32);
    join(*left, *right, ResyncKind::partial);
    ASSERT_TRUE(run_until([&] { return left->status().state == MirrorState::mirroring; }));
    EXPECT_TRUE(equal());
    Request read(kSize);
    read.block.length = kSize;
    read.block.data = read.buffer.get();
    read.block.owner = &read;
    read.block.done = [](BlockRequest& block) { static_cast<Request*>(block.owner)->done = true; };
    right->snapshot_view()->submit(read.block);
    ASSERT_TRUE(run_until([&] { return read.done; }));
    EXPECT_EQ(std::memcmp(read.buffer.get(), moment.data(), kSize), 0);
    // A new role ends it.
    right->become_target();
    EXPECT_NE(right->snapshot_view(), nullptr);
    right->become_source(MirrorState::paused, PauseCause::none, false);
    EXPECT_EQ(right->snapshot_view(), nullptr);
}

}  // namespace
}  // namespace understudy::mirror::testing_volume
