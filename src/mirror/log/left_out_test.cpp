#include "mirror/log/left_out.h"

#include "mirror/log/intent_log.h"

#include <gtest/gtest.h>

namespace understudy::mirror {
namespace {

constexpr std::uint64_t kBlocks = 3 * kBlocksPerPage;

// Spec: REP-029, REP-110
TEST(LeftOut, WhatIsUnusedAndWasNotWrittenMeanwhileIsNotSent) {
    IntentLog log(kBlocks * kBlockBytes, 65536);
    ASSERT_TRUE(log.set_all_dirty());
    log.left_out().watch();
    log.mark(12 * kBlockBytes, 4096, IntentLog::As::dirty);     // while the file system is being asked
    ASSERT_TRUE(log.set_dirty_but({{10, 5}, {100, kBlocks}}));  // the last reaches beyond the end
    EXPECT_EQ(log.dirty().count(), 100U - 4);
    EXPECT_TRUE(log.dirty().all(0, 9));
    EXPECT_TRUE(log.dirty().test(12));
    EXPECT_FALSE(log.dirty().any(10, 11) || log.dirty().any(13, 14) || log.dirty().any(100, kBlocks - 1));
    EXPECT_TRUE(log.left_out().unused(10));
    EXPECT_FALSE(log.left_out().unused(12));
    EXPECT_EQ(log.left_out().count(), 4 + kBlocks - 100);
}

TEST(LeftOut, ABlockThatIsWrittenLaterIsEqualInPartUntilItIsCopiedAsAWhole) {
    IntentLog log(kBlocks * kBlockBytes, 65536);
    log.left_out().watch();
    ASSERT_TRUE(log.set_dirty_but({{10, 5}}));
    log.mark(11 * kBlockBytes, 4096, IntentLog::As::recent);
    EXPECT_FALSE(log.left_out().unused(11));
    EXPECT_TRUE(log.left_out().in_part(11));
    log.take(11);
    EXPECT_FALSE(log.left_out().unused(11) || log.left_out().in_part(11));
    EXPECT_TRUE(log.left_out().unused(10));
}

TEST(LeftOut, ForAComparisonABlockThatIsWrittenMeanwhileWasSentInPart) {
    LeftOut left(kBlocks);
    left.watch();
    left.wrote(7);
    left.leave_out({{6, 3}}, LeftOut::Written::was_sent_in_part);
    EXPECT_TRUE(left.unused(6) && left.in_part(7) && left.unused(8));
    EXPECT_FALSE(left.unused(7) || left.unused(9));
}

TEST(LeftOut, WithoutAnythingLeftOutEveryBlockIsAsEqualAsTheLogSays) {
    IntentLog log(kBlocks * kBlockBytes, 65536);
    log.mark(0, 4096, IntentLog::As::recent);
    EXPECT_FALSE(log.left_out().known() || log.left_out().unused(0) || log.left_out().in_part(0));
    log.left_out().watch();
    ASSERT_TRUE(log.set_dirty_but({{1, 1}}));
    log.left_out().forget();
    EXPECT_FALSE(log.left_out().known() || log.left_out().unused(1) || log.left_out().watching());
}

}  // namespace
}  // namespace understudy::mirror
