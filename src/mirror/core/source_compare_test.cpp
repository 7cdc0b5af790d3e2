// How the source compares both ends, in the model's world.

#include "mirror/core/source_test_support.h"

#include <gtest/gtest.h>

namespace understudy::mirror::model {
namespace {

// Spec: REP-355
TEST_F(SourceTest, AComparisonNamesWhatDiffersAndChangesNothing) {
    start(MirrorType::sync);
    auto& there = world.target().disk.content_for_setup();
    there[5 * 128 * kCell + 77] ^= std::byte{1};
    there[19 * 128 * kCell] ^= std::byte{0x80};
    Compared& result = comparisons.emplace_back();
    source().compare({1 << 30, false}, result.callback());
    Compared& second = comparisons.emplace_back();
    source().compare({1 << 30, false}, second.callback());
    EXPECT_EQ(second.error, "the mirror is being compared already");
    pass(milliseconds(1000));
    ASSERT_TRUE(result.done);
    EXPECT_EQ(result.report.different_blocks, 2U);
    EXPECT_EQ(result.report.offsets, (std::vector<std::uint64_t>{5 * kBlockBytes, 19 * kBlockBytes}));
    EXPECT_EQ(result.report.compared_bytes, kVolume);
    EXPECT_EQ(result.report.stopped, "");
    EXPECT_EQ(source().dirty_blocks(), 0U);
    EXPECT_NE(world.check_equal(), "");
}

// Spec: REP-355, REP-089
TEST_F(SourceTest, AComparisonWithRepairSendsWhatDiffersAgain) {
    start(MirrorType::async);
    world.target().disk.content_for_setup()[5 * 128 * kCell + 77] ^= std::byte{1};
    Compared& result = comparisons.emplace_back();
    source().compare({1 << 30, true}, result.callback());
    pass(milliseconds(1000));
    ASSERT_TRUE(result.done);
    EXPECT_EQ(result.report.different_blocks, 1U);
    EXPECT_EQ(world.check_equal(), "");
    EXPECT_EQ(state(), MirrorState::mirroring);
}

TEST_F(SourceTest, AWriteWaitsForTheComparisonOfItsBlockAndTheComparisonForTheWritesBeforeIt) {
    start(MirrorType::sync);
    write(0);
    run_here();
    world.settle();
    AppRequest& before = write(0);
    EXPECT_TRUE(world.source().disk.busy());
    Compared& result = comparisons.emplace_back();
    source().compare({1, false}, result.callback());  // the first block only, at this rate
    AppRequest& behind = write(4);
    AppRequest& beside = write(128 * 3);
    run_here();
    EXPECT_EQ(before.completed, 0U);  // not there yet
    EXPECT_EQ(behind.completed, 0U);
    EXPECT_EQ(beside.completed, 0U);
    EXPECT_EQ(world.source().data.queued.size(), 2U);  // not the one that waits
    world.settle();
    EXPECT_NE(behind.completed, 0U);
    EXPECT_EQ(result.report.different_blocks, 0U);
    EXPECT_EQ(source().comparison().compared_bytes, kBlockBytes);
    EXPECT_EQ(world.check_equal(), "");
}

TEST_F(SourceTest, AComparisonGoesNoFasterThanItsRate) {
    start(MirrorType::sync);
    Compared& result = comparisons.emplace_back();
    source().compare({4 * kBlockBytes, false}, result.callback());
    pass(milliseconds(2000));
    EXPECT_FALSE(result.done);
    EXPECT_GE(source().comparison().compared_bytes, 7 * kBlockBytes);
    EXPECT_LE(source().comparison().compared_bytes, 10 * kBlockBytes);
    pass(milliseconds(5000));
    EXPECT_TRUE(result.done);
}

TEST_F(SourceTest, AComparisonEndsWithTheLinkAndWithAPause) {
    start(MirrorType::sync);
    Compared& lost = comparisons.emplace_back();
    source().compare({1, false}, lost.callback());
    world.cut();
    EXPECT_EQ(lost.report.stopped, "the link was lost");
    Compared& refused = comparisons.emplace_back();
    source().compare({1, false}, refused.callback());
    EXPECT_EQ(refused.error, "both ends can be compared only while they mirror");
    world.settle();
    world.connect(ResyncKind::partial);
    ASSERT_TRUE(world.run_until([&] { return state() == MirrorState::mirroring; }));
    Compared& paused = comparisons.emplace_back();
    source().compare({1, false}, paused.callback());
    source().pause([](const Result<>&) {});
    pass(milliseconds(1000));
    EXPECT_TRUE(paused.done);
    EXPECT_NE(paused.report.stopped, "");
}

}  // namespace
}  // namespace understudy::mirror::model
