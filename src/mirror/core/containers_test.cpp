#include "mirror/core/containers.h"

#include "mirror/core/block_map.h"
#include "mirror/core/buffers.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace understudy::mirror {
namespace {

// Spec: REP-047, REP-049
TEST(BlockMap, CountsAndFindsLikeASet) {
    std::mt19937 random(3);
    const std::uint64_t blocks = 3 * kBlocksPerPage + 77;
    BlockMap map(blocks);
    std::set<std::uint64_t> model;
    for (int i = 0; i < 20000; ++i) {
        const std::uint64_t block = random() % blocks;
        if (random() % 3 != 0) {
            EXPECT_EQ(map.set(block), model.insert(block).second);
        } else {
            EXPECT_EQ(map.clear(block), model.erase(block) == 1);
        }
    }
    EXPECT_EQ(map.count(), model.size());
    std::uint64_t at = 0;
    for (const std::uint64_t block : model) {
        EXPECT_EQ(map.next(at), block);
        at = block + 1;
    }
    EXPECT_EQ(map.next(at), BlockMap::kNone);
    map.set_all();
    EXPECT_EQ(map.count(), blocks);
    EXPECT_EQ(map.next(blocks - 1), blocks - 1);
    map.clear_all();
    EXPECT_EQ(map.next(0), BlockMap::kNone);
}

TEST(BlockMap, OnlyWhatIsSetTakesMemory) {
    BlockMap map(blocks_of(1ULL << 40));
    EXPECT_EQ(map.pages_in_memory(), 0U);
    EXPECT_FALSE(map.test(1'000'000));
    EXPECT_FALSE(map.clear(1'000'000));
    map.assign_page(7, map.page(8));
    EXPECT_EQ(map.pages_in_memory(), 0U);
    map.set(1'000'000);
    map.set(1'000'001);
    EXPECT_EQ(map.pages_in_memory(), 1U);
    EXPECT_EQ(map.page(1'000'000 / kBlocksPerPage)[1'000'000 % kBlocksPerPage / 64], 3U << (1'000'000 % 64));
    map.set_all();
    EXPECT_EQ(map.pages_in_memory(), map.pages());
    map.clear_all();
    EXPECT_LE(map.pages_in_memory(), 64U);
    EXPECT_EQ(map.next(0), BlockMap::kNone);
}

// Spec: REP-047
TEST(BlockMap, BlocksAreRoundedUp) {
    EXPECT_EQ(blocks_of(640ULL << 30) / 8, 1310720U);
    EXPECT_EQ(blocks_of(765ULL << 30) / 8, 1566720U);
    EXPECT_EQ(blocks_of(1), 1U);
    EXPECT_EQ(blocks_of(65537), 2U);
}

TEST(BlockMap, MergeIsUnion) {
    BlockMap a(1000), b(1000);
    a.set(1);
    a.set(500);
    b.set(500);
    b.set(999);
    a.merge(b);
    EXPECT_EQ(a.count(), 3U);
    EXPECT_TRUE(a.any(999, 999));
    EXPECT_FALSE(a.any(501, 998));
    EXPECT_TRUE(a.all(1, 1));
    EXPECT_FALSE(a.all(1, 2));
}

TEST(BufferPool, KeepsToItsBudgetAndUsesBuffersAgain) {
    BufferPool pool(64 << 10);
    std::byte* large = pool.take(1 << 20);  // one is given even when it alone is larger
    ASSERT_NE(large, nullptr);
    EXPECT_EQ(pool.take(4096), nullptr);
    pool.give_back(large, 1 << 20);
    std::byte* first = pool.take(5000);
    std::byte* second = pool.take(4096);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % BufferPool::kAlignment, 0U);
    EXPECT_EQ(pool.out(), 8192U + 4096U);
    pool.give_back(first, 5000);
    EXPECT_EQ(pool.take(8192), first);
    pool.give_back(first, 8192);
    pool.give_back(second, 4096);
    pool.trim();
    EXPECT_EQ(pool.cached(), 0U);
}

TEST(SequenceWindow, GrowsAndAdvancesOverWhatIsDone) {
    SequenceWindow<int*> window;
    int values[300];
    for (int& value : values)
        window.push(&value);
    EXPECT_EQ(window.end(), 301U);
    window.at(1) = nullptr;
    window.at(3) = nullptr;
    window.advance();
    EXPECT_EQ(window.first(), 2U);
    window.at(2) = nullptr;
    window.advance();
    EXPECT_EQ(window.first(), 4U);
    EXPECT_EQ(window.at(300), &values[299]);
    EXPECT_FALSE(window.contains(301));
    EXPECT_FALSE(window.contains(3));
}

TEST(RangeSet, OverlapIsHalfOpen) {
    struct Item {
        std::size_t range_index = 0;
    } a, b;
    RangeSet<Item> set;
    set.add(100, 200, a);
    set.add(300, 400, b);
    EXPECT_FALSE(set.overlaps(200, 300));
    EXPECT_TRUE(set.overlaps(199, 200));
    set.remove(a);
    EXPECT_FALSE(set.overlaps(100, 200));
    EXPECT_TRUE(set.overlaps(0, 1000));
    set.remove(b);
    EXPECT_TRUE(set.empty());
}

}  // namespace
}  // namespace understudy::mirror
