#include "mirror/control/export_choice.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

constexpr ExportAbilities kBoth{true, true, false, false};
constexpr ExportAbilities kFuseOnly{false, true, false, false};
constexpr auto kAuto = ExportKind::automatic;

TEST(ExportChoice, TheBestThatTheKernelHas) {
    EXPECT_EQ(choose_export(kAuto, kAuto, kBoth), ExportKind::ublk);
    EXPECT_EQ(choose_export(kAuto, kAuto, kFuseOnly), ExportKind::fuse);
    EXPECT_EQ(choose_export(kAuto, kAuto, {}), ExportKind::nbd);
}

TEST(ExportChoice, AWishComesFirstTheMirrorsBeforeTheHosts) {
    EXPECT_EQ(choose_export(ExportKind::fuse, kAuto, kBoth), ExportKind::fuse);
    EXPECT_EQ(choose_export(kAuto, ExportKind::fuse, kBoth), ExportKind::fuse);
    EXPECT_EQ(choose_export(ExportKind::ublk, ExportKind::fuse, kBoth), ExportKind::ublk);
    EXPECT_EQ(choose_export(ExportKind::nbd, ExportKind::fuse, kBoth), ExportKind::nbd);
}

TEST(ExportChoice, AWishThatTheKernelCannotFulfilDoesNotKeepAHostFromTakingOver) {
    EXPECT_EQ(choose_export(ExportKind::ublk, kAuto, kFuseOnly), ExportKind::fuse);
    EXPECT_EQ(choose_export(ExportKind::fuse, kAuto, {true, false, false, false}), ExportKind::ublk);
}

TEST(ExportChoice, ADeviceThatAnEarlierProcessLeftGoesOn) {
    EXPECT_EQ(choose_export(kAuto, kAuto, {true, true, false, true}), ExportKind::fuse);
    EXPECT_EQ(choose_export(ExportKind::fuse, ExportKind::fuse, {true, true, true, false}), ExportKind::ublk);
}

TEST(ExportChoice, WordsAreReadAsTheyAreWritten) {
    for (const auto kind : {ExportKind::automatic, ExportKind::nbd, ExportKind::fuse, ExportKind::ublk})
        EXPECT_EQ(parse_export(to_string(kind)), kind);
    EXPECT_FALSE(parse_export("loop"));
}

}  // namespace
}  // namespace understudy::mirror::control
