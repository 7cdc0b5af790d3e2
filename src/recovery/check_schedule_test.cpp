#include "recovery/check_schedule.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery {
namespace {

using namespace std::chrono_literals;
using runtime::Duration;
using runtime::TimePoint;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr TimePoint kStart{100s};
using Check = CheckSchedule::Check;

/// What starts from `from` to `to`, each check ending `takes` after its start: "0 deepchk, 10 quickchk".
std::string run(CheckSchedule& schedule, TimePoint from, TimePoint to, Duration takes = 1s) {
    std::string trace;
    std::multimap<TimePoint, Tag> ends;
    for (auto now = from; now <= to; now += 1s) {
        while (!ends.empty() && ends.begin()->first <= now) {
            schedule.ended(ends.begin()->second, now);
            ends.erase(ends.begin());
        }
        for (const auto& check : schedule.due(now, std::nullopt)) {
            trace += fmt::format("{}{} {}", trace.empty() ? "" : ", ",
                                 std::chrono::duration_cast<std::chrono::seconds>(now - kStart).count(),
                                 to_string(check.kind));
            ends.emplace(now + takes, check.tag);
        }
    }
    for (const auto& [when, tag] : ends)
        schedule.ended(tag, to);
    return trace;
}

// Spec: CLU-162, CMD-073
TEST(CheckSchedule, WhereBothFallTogetherOnlyTheDeepCheckRuns) {
    CheckSchedule schedule;
    schedule.watch(Tag("a"), {10s, 30s}, kStart);
    EXPECT_EQ(run(schedule, kStart, kStart + 65s),
              "0 deepchk, 10 quickchk, 20 quickchk, 30 deepchk, 40 quickchk, 50 quickchk, 60 deepchk");
}

// Spec: CLU-163
TEST(CheckSchedule, AnIntervalOfZeroTurnsACheckOff) {
    CheckSchedule schedule;
    schedule.watch(Tag("deep only"), {0s, 20s}, kStart);
    EXPECT_EQ(run(schedule, kStart, kStart + 45s), "0 deepchk, 20 deepchk, 40 deepchk");
    schedule.watch(Tag("deep only"), {0s, 0s}, kStart + 46s);
    EXPECT_EQ(schedule.watched(), 0U);
    EXPECT_EQ(schedule.next(), std::nullopt);
}

// Spec: CLU-163, CMD-072
TEST(CheckSchedule, AnotherIntervalTakesEffectAtOnce) {
    CheckSchedule schedule;
    schedule.watch(Tag("a"), {3600s, 0s}, kStart);
    EXPECT_THAT(schedule.due(kStart, std::nullopt), ElementsAre(Check{Tag("a"), CheckKind::quick}));
    schedule.ended(Tag("a"), kStart + 1s);
    EXPECT_EQ(schedule.next(), kStart + 3600s);
    schedule.watch(Tag("a"), {10s, 0s}, kStart + 5s);
    EXPECT_EQ(run(schedule, kStart + 5s, kStart + 30s), "5 quickchk, 15 quickchk, 25 quickchk");
    schedule.watch(Tag("a"), {10s, 0s}, kStart + 31s);
    EXPECT_EQ(schedule.next(), kStart + 35s) << "the same intervals change nothing";
}

// Spec: CLU-153, CMD-073
TEST(CheckSchedule, AResourceIsNeverCheckedTwiceAtATime) {
    CheckSchedule schedule;
    schedule.watch(Tag("slow"), {10s, 0s}, kStart);
    EXPECT_EQ(run(schedule, kStart, kStart + 60s, 25s), "0 quickchk, 30 quickchk, 60 quickchk")
        << "slots within a running check are left out";
    CheckSchedule both;
    both.watch(Tag("slow"), {20s, 30s}, kStart);
    EXPECT_EQ(run(both, kStart, kStart + 65s, 15s), "0 deepchk, 20 quickchk, 35 deepchk, 60 deepchk")
        << "a deep slot within a quick check runs after it";
}

// Spec: CLU-162
TEST(CheckSchedule, WhatIsForgottenWhileItRunsAndWatchedAgainDoesNotOverlap) {
    CheckSchedule schedule;
    schedule.watch(Tag("a"), {10s, 0s}, kStart);
    ASSERT_EQ(schedule.due(kStart, std::nullopt).size(), 1U);
    schedule.forget(Tag("a"));
    EXPECT_EQ(schedule.watched(), 0U);
    schedule.watch(Tag("a"), {5s, 0s}, kStart + 1s);
    EXPECT_THAT(schedule.due(kStart + 20s, std::nullopt), IsEmpty());
    schedule.ended(Tag("a"), kStart + 20s);
    EXPECT_EQ(schedule.due(kStart + 26s, std::nullopt).size(), 1U);
}

// Spec: CLU-131, CLU-162
TEST(CheckSchedule, AThousandResourcesLoadTheNodeEvenlyFromTheFirstSecondOn) {
    CheckSchedule schedule;
    for (int i = 0; i < 1000; ++i)
        schedule.watch(Tag(fmt::format("app.{}", i)), {10s, 60s}, kStart);
    for (int tenth = 1; tenth <= 600; ++tenth) {
        const auto now = kStart + tenth * 100ms;
        const auto started = schedule.due(now, std::nullopt);
        EXPECT_GE(started.size(), 8U) << tenth;
        EXPECT_LE(started.size(), 13U) << tenth;
        for (const auto& check : started)
            schedule.ended(check.tag, now);
    }
}

// Spec: CLU-172
TEST(CheckSchedule, TheLimitIsTheIntervalAtLeastAMinuteOrTheSetting) {
    CheckSchedule schedule;
    schedule.watch(Tag("a"), {10s, 300s}, kStart);
    ASSERT_EQ(schedule.due(kStart, std::nullopt).size(), 1U);  // deep
    EXPECT_THAT(schedule.overdue(kStart + 299s), IsEmpty());
    EXPECT_EQ(schedule.next(), kStart + 300s);
    EXPECT_THAT(schedule.overdue(kStart + 300s), ElementsAre(Check{Tag("a"), CheckKind::deep}));
    EXPECT_THAT(schedule.overdue(kStart + 301s), IsEmpty()) << "told once";
    schedule.ended(Tag("a"), kStart + 301s);
    EXPECT_EQ(schedule.due(kStart + 310s, std::nullopt).size(), 1U);  // quick: 10 s, so a minute
    EXPECT_THAT(schedule.overdue(kStart + 369s), IsEmpty());
    EXPECT_EQ(schedule.overdue(kStart + 370s).size(), 1U);
    schedule.ended(Tag("a"), kStart + 371s);
    EXPECT_EQ(schedule.due(kStart + 380s, 5s).size(), 1U);
    EXPECT_EQ(schedule.overdue(kStart + 385s).size(), 1U);
}

TEST(CheckSchedule, HungChecksLeaveRoomForOthersUpToTheBound) {
    CheckSchedule schedule;
    for (int i = 0; i < 500; ++i)
        schedule.watch(Tag(fmt::format("app.{}", i)), {10s, 0s}, kStart);
    const auto first = schedule.due(kStart + 10s, std::nullopt);
    EXPECT_EQ(first.size(), kMaxRunningChecks);
    EXPECT_THAT(schedule.due(kStart + 11s, std::nullopt), IsEmpty());
    EXPECT_EQ(schedule.next(), kStart + 70s) << "nothing can start before one of them is overdue";
    schedule.ended(first.front().tag, kStart + 12s);
    EXPECT_EQ(schedule.due(kStart + 12s, std::nullopt).size(), 1U);
}

TEST(CheckSchedule, SlotsOfAStandStillAreLeftOut) {
    CheckSchedule schedule;
    for (int i = 0; i < 100; ++i)
        schedule.watch(Tag(fmt::format("app.{}", i)), {10s, 0s}, kStart);
    const auto resumed = kStart + 600s;
    schedule.skip_missed(resumed);
    EXPECT_THAT(schedule.due(resumed, std::nullopt), IsEmpty());
    EXPECT_LE(schedule.due(resumed + 1s, std::nullopt).size(), 11U);
}

TEST(CheckSchedule, ACheckCanBeWantedBetweenItsSlots) {
    CheckSchedule schedule;
    schedule.watch(Tag("a"), {100s, 0s}, kStart);
    ASSERT_EQ(schedule.due(kStart, std::nullopt).size(), 1U);
    schedule.soon(Tag("a"), kStart + 1s);
    EXPECT_THAT(schedule.due(kStart + 1s, std::nullopt), IsEmpty()) << "it runs";
    schedule.ended(Tag("a"), kStart + 2s);
    schedule.soon(Tag("a"), kStart + 3s);
    EXPECT_EQ(schedule.due(kStart + 3s, std::nullopt).size(), 1U);
    schedule.ended(Tag("a"), kStart + 4s);
    EXPECT_EQ(schedule.next(), kStart + 100s);
}

}  // namespace
}  // namespace understudy::recovery
