#include "mirror/control/split_view.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

SideChanges side(BlockRanges ranges) {
    SideChanges out = side_of("left", std::move(ranges));
    out.source = true;
    out.since_s = 1700000000;
    return out;
}

// Spec: MOP-096
TEST(SplitView, BothSidesAreCountedAndWhatBothChanged) {
    const SideChanges one = side({{0, 4}, {10, 2}, {20, 10}});
    SideChanges other = side({{3, 8}, {25, 1}, {29, 5}});
    other.node = "right";
    EXPECT_EQ(one.blocks, 16U);
    EXPECT_EQ(common_blocks(one, other), 1U + 1U + 1U + 1U);
    EXPECT_EQ(common_blocks(other, one), common_blocks(one, other));
    EXPECT_EQ(common_blocks(one, side({})), 0U);
    const std::string text = describe_split("data", one, other);
    EXPECT_NE(text.find("left: 16 blocks of 64 KiB"), std::string::npos) << text;
    EXPECT_NE(text.find("alone since 2023-11-14 22:13:20 UTC"), std::string::npos) << text;
    EXPECT_NE(text.find("4 of these blocks on both"), std::string::npos) << text;
}

TEST(SplitView, WhatIsNotKnownIsSaid) {
    SideChanges lost = side({});
    lost.known = false;
    EXPECT_EQ(common_blocks(lost, side({{1, 1}})), std::nullopt);
    EXPECT_NE(describe_split("data", lost, side({{1, 1}})).find("any block may have changed"),
              std::string::npos);
    BlockRanges many;
    for (std::uint64_t i = 0; i <= kMostSideRanges; ++i)
        many.push_back({i * 2, 1});
    const SideChanges scattered = side(many);
    EXPECT_FALSE(scattered.complete);
    EXPECT_TRUE(scattered.ranges.empty());
    EXPECT_EQ(scattered.blocks, kMostSideRanges + 1);
    EXPECT_EQ(common_blocks(scattered, side({{1, 1}})), std::nullopt);
}

// Spec: MOP-096
TEST(SplitView, FilesAreShownUpToANumberAndTravelUpToAnother) {
    SideChanges one = side({{0, 4}});
    for (std::size_t i = 0; i < kMostSideFiles; ++i)
        one.files.push_back(fmt::format("/file {}", i));
    one.files_found = 1234;
    one.files_note = "there may be more";
    const std::string text = describe_split("data", one, side({}));
    EXPECT_NE(text.find("1234 files and directories lie there"), std::string::npos) << text;
    EXPECT_NE(text.find("/file 19\n            ...\n"), std::string::npos) << text;
    EXPECT_EQ(text.find("/file 20\n"), std::string::npos) << text;
    EXPECT_NE(text.find("files: there may be more"), std::string::npos) << text;
    const auto read = decode_side(encode(one));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, one);
    one.files.emplace_back("one too many");
    EXPECT_FALSE(decode_side(encode(one)));
    one.files = {std::string(kMostNameBytes + 1, 'x')};
    EXPECT_FALSE(decode_side(encode(one)));
    one.files = {"more names", "than files"};
    one.files_found = 1;
    EXPECT_FALSE(decode_side(encode(one)));
    // A peer of an older build knows nothing of files.
    std::string old = encode(side({{0, 4}}));
    const auto at = old.find("\"files\"");
    old.replace(at, 7, "\"other\"");
    EXPECT_TRUE(decode_side(old));
}

TEST(SplitView, ASideSurvivesTheWireAndNonsenseDoesNot) {
    const SideChanges one = side({{0, 4}, {10, 2}});
    const auto read = decode_side(encode(one));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, one);
    const std::string text = encode(one);
    for (std::size_t cut = 0; cut < text.size(); ++cut)
        EXPECT_FALSE(decode_side(text.substr(0, cut)));
    for (const char* bad :
         {"[[0,0]]", "[[5,1],[5,1]]", "[[0,18446744073709551615],[1,1]]", "[[1]]", "[1]", "{}"}) {
        std::string changed = text;
        changed.replace(changed.find("[["), std::string("[[0,4],[10,2]]").size(), bad);
        EXPECT_FALSE(decode_side(changed)) << bad;
    }
}

}  // namespace
}  // namespace understudy::mirror::control
