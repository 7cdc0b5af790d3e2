// Rate and time left of a resync, as they are shown.

#include "cli/mirror_progress.h"

#include <gtest/gtest.h>

namespace understudy::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1 << 20;

// Spec: EMC-200
TEST(Progress, RateAndTimeLeftComeFromTheLastSeconds) {
    ProgressMeter meter;
    meter.add(0ms, 1000 * kMiB);
    EXPECT_EQ(meter.rate(), 0);
    EXPECT_EQ(meter.time_left(), std::nullopt);
    for (int second = 1; second <= 20; ++second)  // slow at first, then 50 MiB a second
        meter.add(std::chrono::seconds(second),
                  (second <= 10 ? 1000 - 5 * second : 950 - 50 * (second - 10)) * kMiB);
    EXPECT_DOUBLE_EQ(meter.rate(), 50.0 * kMiB);
    EXPECT_EQ(meter.time_left(), 9s);
    EXPECT_NEAR(meter.part_done(), 0.55, 0.001);
}

TEST(Progress, WhatIsWrittenMeanwhileIsMoreToDoAndUndoesNothing) {
    ProgressMeter meter;
    meter.add(0ms, 100 * kMiB);
    meter.add(1000ms, 50 * kMiB);
    EXPECT_DOUBLE_EQ(meter.part_done(), 0.5);
    meter.add(2000ms, 150 * kMiB);
    EXPECT_DOUBLE_EQ(meter.part_done(), 0.25);
    EXPECT_EQ(meter.rate(), 0) << "more is left than before";
    EXPECT_EQ(meter.time_left(), std::nullopt);
    meter.add(3000ms, 0);
    EXPECT_DOUBLE_EQ(meter.part_done(), 1);
    EXPECT_EQ(meter.time_left(), 0s);
}

TEST(Progress, ALineHasTheBarWhatIsLeftItsRateAndItsTime) {
    ProgressMeter meter;
    meter.add(0ms, 400 * kMiB);
    EXPECT_EQ(progress_line("right", meter), "right        [--------------------]   0 %  400.0 MiB left");
    meter.add(1000ms, 200 * kMiB);
    EXPECT_EQ(progress_line("right", meter),
              "right        [##########----------]  50 %  200.0 MiB left, 200.0 MiB/s, 1 s");
    EXPECT_EQ(duration_text(59s), "59 s");
    EXPECT_EQ(duration_text(200s), "3 min 20 s");
    EXPECT_EQ(duration_text(3725s), "1 h 02 min");
}

}  // namespace
}  // namespace understudy::cli
