#include "mirror/control/log_place.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

using namespace std::chrono_literals;

config::Settings settings(std::string_view text) {
    auto read = config::Settings::parse(text);
    EXPECT_TRUE(read) << read.error().text;
    return *read;
}

// Spec: REP-048, REP-056, REP-057, REP-059, REP-275
TEST(LogPlace, IsTheSettingsDirectoryOrTheDefaultAndAnEmptyOneMeansNotTrusted) {
    EXPECT_EQ(log_place(settings(""), "/var/lib/x").directory, "/var/lib/x");
    EXPECT_TRUE(log_place(settings(""), "/var/lib/x").outlives_crash);
    EXPECT_EQ(log_place(settings("BitmapBaseDir=/mnt/fast\n"), "/var/lib/x").directory, "/mnt/fast");
    EXPECT_TRUE(log_place(settings("BitmapBaseDir=/mnt/fast\n"), "/var/lib/x").outlives_crash);
    EXPECT_EQ(log_place(settings("BitmapBaseDir=\n"), "/var/lib/x").directory, "/var/lib/x");
    EXPECT_FALSE(log_place(settings("BitmapBaseDir=\n"), "/var/lib/x").outlives_crash);
    EXPECT_EQ(log_file("/mnt/fast", VolumeId("R"), "right"), "/mnt/fast/R@right.bitmap");
}

// Spec: REP-062, REP-295
TEST(LogPlace, AMissingDirectoryIsWaitedForAMinuteAtLeast) {
    EXPECT_EQ(log_directory_wait(settings("")), 180s);
    EXPECT_EQ(log_directory_wait(settings("WaitForBitmapBaseDirMs=1000\n")), 60s);
    EXPECT_EQ(log_directory_wait(settings("WaitForBitmapBaseDirMs=61000\n")), 61s);
}

}  // namespace
}  // namespace understudy::mirror::control
