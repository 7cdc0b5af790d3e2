#include "mirror/filesystem/blocks.h"

#include "mirror/core/block_map.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace understudy::mirror::filesystem {
namespace {

constexpr std::uint64_t kKiB = 1024;

// Spec: REP-110
TEST(WholeBlocks, OnlyBlocksThatAreFreeToTheLastByteCount) {
    EXPECT_EQ(whole_blocks({{64 * kKiB, 192 * kKiB}}), (BlockRanges{{1, 2}}));
    EXPECT_EQ(whole_blocks({{64 * kKiB + 1, 192 * kKiB}}), (BlockRanges{{2, 1}}));
    EXPECT_EQ(whole_blocks({{64 * kKiB, 192 * kKiB - 1}}), (BlockRanges{{1, 1}}));
    EXPECT_EQ(whole_blocks({{64 * kKiB + 1, 128 * kKiB - 1}}), BlockRanges{});
    EXPECT_EQ(whole_blocks({}), BlockRanges{});
}

TEST(WholeBlocks, TheFirstBlockIsInUseWhateverTheFileSystemSays) {
    EXPECT_EQ(whole_blocks({{0, 192 * kKiB}}), (BlockRanges{{1, 2}}));
}

TEST(WholeBlocks, PiecesInAnyOrderThatTouchOrOverlapAreOne) {
    EXPECT_EQ(whole_blocks({{100 * kKiB, 128 * kKiB}, {64 * kKiB, 100 * kKiB}}), (BlockRanges{{1, 1}}));
    EXPECT_EQ(whole_blocks({{64 * kKiB, 130 * kKiB}, {90 * kKiB, 256 * kKiB}, {300 * kKiB, 300 * kKiB}}),
              (BlockRanges{{1, 3}}));
}

TEST(WholeBlocks, TheSmallestRangesAreForgottenWhenThereAreTooMany) {
    std::vector<Piece> pieces;
    for (std::uint64_t i = 1; i <= 10; ++i)
        pieces.push_back({i * 64 * kBlockBytes, (i * 64 + i) * kBlockBytes});
    EXPECT_EQ(whole_blocks(pieces, 2), (BlockRanges{{9 * 64, 9}, {10 * 64, 10}}));
    for (Piece& piece : pieces)
        piece.end = piece.begin + kBlockBytes;
    EXPECT_EQ(whole_blocks(pieces, 3).size(), 3U);
    EXPECT_TRUE(whole_blocks(pieces, 0).empty());
}

TEST(WholeBlocks, AgreesWithCountingBytes) {
    std::mt19937 random(1);
    constexpr std::uint64_t kUnit = kBlockBytes / 4, kUnits = 400;
    for (int run = 0; run < 300; ++run) {
        std::vector<Piece> pieces;
        std::vector<bool> free(kUnits);
        for (unsigned i = random() % 12; i-- > 0;) {
            const std::uint64_t from = random() % kUnits;
            const std::uint64_t to = std::min<std::uint64_t>(kUnits, from + random() % 60);
            pieces.push_back({from * kUnit, to * kUnit});
            for (std::uint64_t at = from; at < to; ++at)
                free[at] = true;
        }
        std::set<std::uint64_t> told;
        for (const BlockRange& range : whole_blocks(pieces))
            for (std::uint64_t block = range.first; block < range.first + range.count; ++block)
                ASSERT_TRUE(told.insert(block).second);
        for (std::uint64_t block = 0; block < kUnits / 4; ++block) {
            const bool whole = block > 0 && free[block * 4] && free[block * 4 + 1] && free[block * 4 + 2] &&
                               free[block * 4 + 3];
            ASSERT_EQ(told.contains(block), whole) << block;
        }
    }
}

TEST(Touches, AskedByBytes) {
    const BlockRanges ranges{{2, 2}, {10, 1}};
    EXPECT_TRUE(touches(ranges, {2 * kBlockBytes, 2 * kBlockBytes + 1}));
    EXPECT_TRUE(touches(ranges, {0, 2 * kBlockBytes + 1}));
    EXPECT_TRUE(touches(ranges, {4 * kBlockBytes - 1, 9 * kBlockBytes}));
    EXPECT_TRUE(touches(ranges, {5 * kBlockBytes, 20 * kBlockBytes}));
    EXPECT_FALSE(touches(ranges, {0, 2 * kBlockBytes}));
    EXPECT_FALSE(touches(ranges, {4 * kBlockBytes, 10 * kBlockBytes}));
    EXPECT_FALSE(touches(ranges, {11 * kBlockBytes, 12 * kBlockBytes}));
    EXPECT_FALSE(touches(ranges, {2 * kBlockBytes, 2 * kBlockBytes}));
    EXPECT_FALSE(touches({}, {0, 1}));
}

}  // namespace
}  // namespace understudy::mirror::filesystem
