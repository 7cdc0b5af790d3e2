#include "mirror/log/intent_log.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace understudy::mirror {
namespace {

constexpr std::uint64_t kVolume = 3 * kBlocksPerPage * kBlockBytes;  // three pages of bits
using As = IntentLog::As;

void commit(IntentLog& log) {
    ASSERT_TRUE(log.wants_commit());
    log.start_commit();
    log.finish_commit(true);
}

bool on_disk(const IntentLog& log, std::uint64_t block) {
    return (log.image()[block / 8] >> (block % 8) & std::byte{1}) != std::byte{0};
}

// Spec: REP-052
TEST(IntentLog, AWriteWaitsForItsBitsAndADurableBitCostsNothing) {
    IntentLog log(kVolume, 65536);
    const auto ticket = log.mark(5 * kBlockBytes, 4096, As::recent);
    ASSERT_NE(ticket, IntentLog::kDurable);
    EXPECT_FALSE(log.done(ticket));
    log.start_commit();
    EXPECT_FALSE(log.done(ticket));
    EXPECT_TRUE(on_disk(log, 5));
    log.finish_commit(true);
    EXPECT_TRUE(log.done(ticket));
    EXPECT_EQ(log.mark(5 * kBlockBytes + 4096, 4096, As::recent), IntentLog::kDurable);
    EXPECT_FALSE(log.wants_commit());
}

// Spec: REP-052 (group commit)
TEST(IntentLog, WritesThatComeDuringACommitShareTheNextOne) {
    IntentLog log(kVolume, 65536);
    const auto first = log.mark(0, 4096, As::recent);
    const auto runs = log.start_commit();
    ASSERT_EQ(runs.size(), 1U);
    const auto second = log.mark(kBlockBytes, 4096, As::recent);
    const auto third = log.mark(2 * kBlockBytes, 4096, As::recent);
    EXPECT_EQ(second, third);
    EXPECT_FALSE(log.wants_commit());
    log.finish_commit(true);
    EXPECT_TRUE(log.done(first));
    EXPECT_FALSE(log.done(second));
    commit(log);
    EXPECT_TRUE(log.done(third));
    EXPECT_EQ(log.commits(), 2U);
}

TEST(IntentLog, NeighbouringPagesAreWrittenTogether) {
    IntentLog log(kVolume, 65536);
    log.mark(0, 4096, As::recent);
    log.mark(kBlocksPerPage * kBlockBytes, 4096, As::recent);
    const auto runs = log.start_commit();
    ASSERT_EQ(runs.size(), 1U);
    EXPECT_EQ(runs[0].first, 0U);
    EXPECT_EQ(runs[0].count, 2U);
    log.finish_commit(true);
}

// Spec: REP-053, REP-078
TEST(IntentLog, BitsGoOnlyWhenTheirEpochIsDurableOnBothEnds) {
    IntentLog log(kVolume, 65536);
    log.mark(0, 4096, As::recent);
    log.mark(kBlockBytes, 4096, As::recent);
    commit(log);
    log.collect(0);
    EXPECT_FALSE(log.wants_commit());  // both are needed
    log.close_epoch();
    log.mark(kBlockBytes, 4096, As::recent);  // written again meanwhile
    log.collect(0);
    EXPECT_FALSE(log.wants_commit());
    log.epoch_durable();
    log.collect(0);
    commit(log);
    EXPECT_FALSE(on_disk(log, 0));
    EXPECT_TRUE(on_disk(log, 1));
}

TEST(IntentLog, AWriteThatHitsABitOnItsWayToZeroWaitsForTheNextCommit) {
    IntentLog log(kVolume, 65536);
    log.mark(0, 4096, As::recent);
    commit(log);
    log.close_epoch();
    log.epoch_durable();
    log.collect(0);
    log.start_commit();  // clears the bit; old and new sectors may both be in the file now
    const auto ticket = log.mark(0, 4096, As::recent);
    EXPECT_NE(ticket, IntentLog::kDurable);
    log.finish_commit(true);
    EXPECT_FALSE(log.done(ticket));
    commit(log);
    EXPECT_TRUE(log.done(ticket));
    EXPECT_TRUE(on_disk(log, 0));
}

// Spec: REP-053
TEST(IntentLog, UnderLoadWarmBitsStayUntilThereAreTooMany) {
    IntentLog log(kVolume, 65536);
    log.mark(0, 100 * kBlockBytes, As::recent);
    commit(log);
    log.close_epoch();
    log.epoch_durable();
    log.collect(100);
    EXPECT_FALSE(log.wants_commit());
    EXPECT_EQ(log.mark(50 * kBlockBytes, 4096, As::recent), IntentLog::kDurable);
    log.collect(64);
    commit(log);
    EXPECT_LE(log.disk().count(), 64U);  // some go, by words of 64
    EXPECT_GT(log.disk().count(), 1U);
    EXPECT_TRUE(on_disk(log, 50));
    log.collect(0);
    commit(log);
    EXPECT_EQ(log.disk().count(), 1U);
    EXPECT_EQ(log.stale(), 0U);
}

// Spec: REP-053
TEST(IntentLog, BitsOfBlocksThatNobodyWritesAnyMoreAgeAndGo) {
    IntentLog log(kVolume, 65536);
    log.mark(0, 8 * kBlockBytes, As::recent);
    commit(log);
    log.close_epoch();
    log.epoch_durable();
    log.age();
    EXPECT_FALSE(log.wants_commit());  // all were written since the last call
    log.mark(3 * kBlockBytes, 4096, As::recent);
    log.close_epoch();
    log.epoch_durable();
    log.mark(5 * kBlockBytes, 4096, As::dirty);
    log.age();
    commit(log);
    EXPECT_EQ(log.disk().count(), 2U);
    EXPECT_TRUE(on_disk(log, 3));
    EXPECT_TRUE(on_disk(log, 5));
    log.age();
    commit(log);
    EXPECT_EQ(log.disk().count(), 1U);
    EXPECT_TRUE(on_disk(log, 5));  // needed, however old
    log.age();
    EXPECT_FALSE(log.wants_commit());
}

// Random writes over as much as may stay marked cost no log updates once all of it is; twice as much costs
// some, and never leaves more marked than that and what is needed. Spec: REP-052, REP-053
TEST(IntentLog, ARandomLoadSettlesWithinTheBound) {
    constexpr std::uint64_t kWarm = 4096;
    for (const std::uint64_t working_set : {kWarm, 2 * kWarm}) {
        IntentLog log(kVolume, 65536);
        log.mark_ahead(kWarm);
        std::mt19937 random(1);
        std::uint64_t writes = 0, before = 0;
        for (int interval = 0; interval < 40; ++interval) {
            if (interval == 20) {
                before = log.commits();
                writes = 0;
            }
            for (int i = 0; i < 2000; ++i, ++writes) {
                log.mark(random() % working_set * kBlockBytes, 4096, As::recent);
                if (log.wants_commit()) commit(log);
            }
            log.close_epoch();
            log.epoch_durable();
            log.collect(kWarm);
            if (log.wants_commit()) commit(log);
            EXPECT_LE(log.disk().count(), kWarm);
        }
        const double share = static_cast<double>(log.commits() - before) / static_cast<double>(writes);
        if (working_set == kWarm) {
            EXPECT_EQ(share, 0);
        } else {
            EXPECT_GT(share, 0.05);
        }
    }
}

// Spec: REP-052, REP-053
TEST(IntentLog, MarkingAheadMakesNeighboursDurableButNotDirty) {
    IntentLog log(kVolume, 65536);
    log.mark_ahead(20);
    log.mark(17 * kBlockBytes, 4096, As::recent);
    commit(log);
    EXPECT_EQ(log.disk().count(), 16U);
    EXPECT_EQ(log.mark(31 * kBlockBytes, 4096, As::recent), IntentLog::kDurable);
    EXPECT_EQ(log.dirty().count(), 0U);
    log.mark(40 * kBlockBytes, 4096, As::recent);
    commit(log);
    log.mark(100 * kBlockBytes, 4096, As::recent);  // the limit is reached: only what is needed
    commit(log);
    EXPECT_EQ(log.disk().count(), 33U);
    log.collect(0);
    commit(log);
    EXPECT_EQ(log.disk().count(), 4U);
}

// Spec: REP-050
TEST(IntentLog, LargerMarksCoverTheRegionAroundAWrite) {
    IntentLog log(kVolume, 4 * 65536 + 100);  // rounded down
    log.mark(5 * kBlockBytes, 4096, As::recent);
    commit(log);
    for (std::uint64_t block = 4; block < 8; ++block)
        EXPECT_TRUE(on_disk(log, block)) << block;
    EXPECT_FALSE(on_disk(log, 3));
    EXPECT_FALSE(on_disk(log, 8));
    EXPECT_EQ(log.mark(7 * kBlockBytes, 4096, As::recent), IntentLog::kDurable);
    log.set_bytes_per_mark(100);  // lower values act as 65536
    log.mark(20 * kBlockBytes, 4096, As::recent);
    commit(log);
    EXPECT_TRUE(on_disk(log, 20));
    EXPECT_FALSE(on_disk(log, 21));
}

// Spec: REP-138
TEST(IntentLog, WhatWasUnderWayWhenTheLinkWentIsDirtyAgain) {
    IntentLog log(kVolume, 65536);
    log.mark(0, 4096, As::recent);
    log.close_epoch();
    log.mark(kBlockBytes, 4096, As::recent);
    EXPECT_EQ(log.dirty().count(), 0U);
    log.forget_epochs();
    EXPECT_EQ(log.dirty().count(), 2U);
    EXPECT_FALSE(log.epoch_closing());
    EXPECT_TRUE(log.epoch_empty());
}

// Spec: REP-064
TEST(IntentLog, AfterAFailureItGoesOnInMemory) {
    IntentLog log(kVolume, 65536);
    const auto ticket = log.mark(0, 4096, As::recent);
    log.start_commit();
    log.finish_commit(false);
    EXPECT_TRUE(log.failed());
    EXPECT_TRUE(log.done(ticket));
    EXPECT_EQ(log.mark(99 * kBlockBytes, 4096, As::dirty), IntentLog::kDurable);
    EXPECT_TRUE(log.dirty().test(99));
    EXPECT_FALSE(log.wants_commit());
}

// Spec: REP-186
TEST(IntentLog, BitsFoundInTheFileAreDirty) {
    IntentLog log(kVolume, 65536);
    std::array<std::uint64_t, kWordsPerPage> words{};
    words[0] = 0b1010;
    log.load(1, words);
    EXPECT_EQ(log.dirty().count(), 2U);
    EXPECT_EQ(log.dirty().next(0), kBlocksPerPage + 1);
    EXPECT_EQ(log.mark((kBlocksPerPage + 3) * kBlockBytes, 4096, As::dirty), IntentLog::kDurable);
}

TEST(IntentLog, PersistAsksForWhatIsDirtyInMemoryOnly) {
    IntentLog log(kVolume, 65536);
    ASSERT_TRUE(log.set_all_dirty());
    EXPECT_NE(log.persist(), IntentLog::kDurable);
    commit(log);
    EXPECT_EQ(log.persist(), IntentLog::kDurable);
    EXPECT_EQ(log.disk().count(), log.blocks());
}

}  // namespace
}  // namespace understudy::mirror
