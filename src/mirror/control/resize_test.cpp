#include "mirror/control/resize.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

constexpr std::uint64_t kGiB = 1ULL << 30;

// Spec: REP-305, REP-021
TEST(Resize, OnlyWhatConcernsTheReplicatedPartCounts) {
    EXPECT_EQ(size_change({kGiB, kGiB, kGiB}), SizeChange::none);
    EXPECT_EQ(size_change({kGiB, kGiB, kGiB + 4096}), SizeChange::grown);
    EXPECT_EQ(size_change({kGiB, kGiB, kGiB - 4096}), SizeChange::shrunk);
    // A target that was promoted may be larger than what it replicates.
    EXPECT_EQ(size_change({kGiB, 2 * kGiB, 2 * kGiB}), SizeChange::none);
    EXPECT_EQ(size_change({kGiB, 2 * kGiB, kGiB + 4096}), SizeChange::none);
    EXPECT_EQ(size_change({kGiB, 2 * kGiB, 3 * kGiB}), SizeChange::grown);
    EXPECT_EQ(size_change({kGiB, 2 * kGiB, kGiB / 2}), SizeChange::shrunk);
    // It was smaller for a time.
    EXPECT_EQ(size_change({kGiB, kGiB / 2, kGiB}), SizeChange::grown);
    // Written before sizes of devices were recorded: what is there is taken as what was there.
    EXPECT_EQ(size_change({kGiB, 0, 2 * kGiB}), SizeChange::none);
    EXPECT_EQ(size_change({kGiB, 0, kGiB / 2}), SizeChange::shrunk);
}

// Spec: REP-307
TEST(Resize, ContinueTakesTheWholeDeviceOrLeavesTheSizeAsItIs) {
    EXPECT_EQ(size_to_take({kGiB, kGiB, 2 * kGiB}), 2 * kGiB);
    EXPECT_EQ(size_to_take({kGiB, kGiB, kGiB / 2}), kGiB / 2);
    EXPECT_EQ(size_to_take({kGiB, 2 * kGiB, 2 * kGiB}), kGiB);
}

struct Row {
    MirrorState state;
    bool pauses;
    int grown, shrunk;  // events; 0: nothing happens
};
constexpr Row kRows[] = {
    {MirrorState::none, false, 0, 0},       {MirrorState::mirroring, true, 289, 291},
    {MirrorState::resync, true, 290, 291},  {MirrorState::broken, false, 0, 0},
    {MirrorState::paused, false, 289, 291}, {MirrorState::pending, true, 289, 291},
};

// Spec: REP-144, REP-178, REP-179, EMC-078
TEST(Resize, EveryStateDoesWhatTheTableSays) {
    for (const Row& row : kRows) {
        for (const auto& [change, event] :
             {std::pair{SizeChange::grown, row.grown}, std::pair{SizeChange::shrunk, row.shrunk}}) {
            const auto notice = size_notice(change, row.state, false);
            ASSERT_EQ(notice.has_value(), event != 0) << to_string(row.state);
            if (!notice) continue;
            EXPECT_EQ(notice->pause, row.pauses) << to_string(row.state);
            EXPECT_EQ(notice->event, event) << to_string(row.state);
            // A person who has paused it knows what comes.
            EXPECT_FALSE(size_notice(change, row.state, true));
        }
        EXPECT_FALSE(size_notice(SizeChange::none, row.state, false));
    }
}

}  // namespace
}  // namespace understudy::mirror::control
