#include "mirror/core/throttle.h"

#include <gtest/gtest.h>

namespace understudy::mirror {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

/// Sends all it may for `time`, waiting as told; bytes sent.
std::size_t send_for(Throttle& throttle, Throttle::Instant& now, nanoseconds time) {
    std::size_t sent = 0;
    const auto end = now + time;
    while (now < end) {
        const std::size_t most = throttle.allowed(now);
        sent += most;
        throttle.spend(most);
        if (most == 0) now += throttle.wait(now);
    }
    return sent;
}

// Spec: REP-244, REP-274
TEST(Throttle, SendsItsRateAndNoMoreThanATenthOfASecondAtOnce) {
    for (const std::uint32_t kilobits : {1U, 64U, 8000U, 10'000'000U}) {
        Throttle throttle;
        Throttle::Instant now{seconds(1000)};
        throttle.set_rate(kilobits, now);
        now += seconds(60);  // an idle minute saves up a burst only
        const std::size_t rate = std::size_t{kilobits} * 125;
        EXPECT_LE(throttle.allowed(now), rate / 10) << kilobits;
        const std::size_t sent = send_for(throttle, now, seconds(10));
        EXPECT_LE(sent, rate * 10 + rate / 10) << kilobits;
        EXPECT_GE(sent, rate * 10 - rate / 10) << kilobits;
    }
}

// Spec: REP-246
TEST(Throttle, AChangedRateHoldsAtOnceAndZeroIsNoLimit) {
    Throttle throttle;
    Throttle::Instant now{seconds(1000)};
    EXPECT_EQ(throttle.allowed(now), Throttle::kUnlimited);
    throttle.set_rate(8'000'000, now);
    now += seconds(1);
    throttle.set_rate(8000, now);
    EXPECT_LE(throttle.allowed(now), 100'000U);
    throttle.spend(5'000'000);
    EXPECT_EQ(throttle.allowed(now), 0U);
    EXPECT_GE(throttle.wait(now), seconds(4));
    throttle.set_rate(0, now);
    EXPECT_EQ(throttle.allowed(now), Throttle::kUnlimited);
}

TEST(Throttle, WhatCouldNotBeSentIsGivenBackUpToABurst) {
    Throttle throttle;
    Throttle::Instant now{seconds(1000)};
    throttle.set_rate(8000, now);
    now += seconds(1);
    ASSERT_EQ(throttle.allowed(now), 100'000U);
    throttle.spend(60'000);
    throttle.give_back(50'000);
    EXPECT_EQ(throttle.allowed(now), 90'000U);
    throttle.give_back(50'000'000);
    EXPECT_EQ(throttle.allowed(now), 100'000U);
}

}  // namespace
}  // namespace understudy::mirror
