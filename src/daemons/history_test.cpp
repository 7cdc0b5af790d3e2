// The times that `understudy history` takes.

#include "daemons/history.h"

#include <gtest/gtest.h>

#include <ctime>

namespace understudy::daemons {
namespace {

constexpr std::int64_t kNow = 1'700'000'000'000'000;

TEST(MomentTest, AgesCountBackFromNow) {
    EXPECT_EQ(parse_moment("0s", kNow), kNow);
    EXPECT_EQ(parse_moment("90s", kNow), kNow - 90'000'000);
    EXPECT_EQ(parse_moment("15m", kNow), kNow - 900'000'000);
    EXPECT_EQ(parse_moment("2h", kNow), kNow - 7'200'000'000);
    EXPECT_EQ(parse_moment("3d", kNow), kNow - 3 * 86'400'000'000);
}

TEST(MomentTest, DatesAreLocalTime) {
    std::tm parts{};
    parts.tm_year = 126;
    parts.tm_mon = 10;
    parts.tm_mday = 22;
    parts.tm_isdst = -1;
    const auto midnight = std::mktime(&parts) * std::int64_t{1'000'000};
    EXPECT_EQ(parse_moment("2026-11-22", kNow), midnight);
    EXPECT_EQ(parse_moment("2026-11-22 01:02", kNow), midnight + 3'720'000'000);
    EXPECT_EQ(parse_moment("2026-11-22 01:02:03", kNow), midnight + 3'723'000'000);
    EXPECT_EQ(parse_moment("2026-11-22T01:02:03", kNow), midnight + 3'723'000'000);
}

TEST(MomentTest, WhatIsNoTimeIsRefusedWithExamples) {
    for (const auto* text :
         {"", "yesterday", "5", "-3d", "m", "2026-13-40", "2026-11-22 25:00", "999999999999999d"}) {
        const auto moment = parse_moment(text, kNow);
        ASSERT_FALSE(moment) << text;
        EXPECT_EQ(moment.error().code, Code::bad_argument);
        EXPECT_NE(moment.error().text.find("15m"), std::string::npos);
    }
}

}  // namespace
}  // namespace understudy::daemons
