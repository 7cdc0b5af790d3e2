#pragma once
// One bit per 64 KiB block of a volume, with the number of set bits. Pure; no threads.
//
// Bits are kept in pages of 4096 bytes (32768 blocks, 2 GiB of volume), the unit in which the intent log is
// written, with a count per page so that walks skip empty pages. A page has memory from its first set bit on:
// an idle mirror of a large volume costs next to nothing.

#include "mirror/mirror_types.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace understudy::mirror {

inline constexpr std::uint64_t kBlockBytes = 65536;  // Spec: REP-047
inline constexpr std::uint64_t kMapPageBytes = 4096;
inline constexpr std::uint64_t kBlocksPerPage = kMapPageBytes * 8;
inline constexpr std::uint64_t kWordsPerPage = kMapPageBytes / 8;

/// Number of blocks that cover `bytes`, rounded up.
[[nodiscard]] constexpr std::uint64_t blocks_of(std::uint64_t bytes) {
    return bytes / kBlockBytes + (bytes % kBlockBytes != 0 ? 1 : 0);
}

class BlockMap;
/// The set bits, in order.
BlockRanges ranges_of(const BlockMap& map);

class BlockMap {
  public:
    static constexpr std::uint64_t kNone = ~std::uint64_t{0};

    explicit BlockMap(std::uint64_t blocks);
    BlockMap(BlockMap&&) = default;
    BlockMap& operator=(BlockMap&&) = default;
    BlockMap(const BlockMap& other);
    BlockMap& operator=(const BlockMap& other);
    ~BlockMap() = default;

    [[nodiscard]] std::uint64_t size() const { return blocks_; }
    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] std::uint64_t pages() const { return pages_.size(); }
    [[nodiscard]] std::uint32_t page_count(std::uint64_t page) const {
        return pages_[page] ? pages_[page]->count : 0;
    }
    [[nodiscard]] bool test(std::uint64_t block) const {
        const Page* page = pages_[block / kBlocksPerPage].get();
        return page != nullptr && (page->words[block % kBlocksPerPage / 64] >> (block % 64) & 1U) != 0;
    }

    /// True when the bit was clear before.
    bool set(std::uint64_t block);
    /// True when the bit was set before.
    bool clear(std::uint64_t block);
    void set_all();
    void clear_all();
    /// Sets every bit that is set in `other`, a map of the same size.
    void merge(const BlockMap& other);
    /// First set bit at or after `from`, or kNone.
    [[nodiscard]] std::uint64_t next(std::uint64_t from) const;
    /// True when any bit of [first, last] is set / all are.
    [[nodiscard]] bool any(std::uint64_t first, std::uint64_t last) const;
    [[nodiscard]] bool all(std::uint64_t first, std::uint64_t last) const;

    [[nodiscard]] std::span<const std::uint64_t> page(std::uint64_t page) const {
        return pages_[page] ? std::span<const std::uint64_t>(pages_[page]->words) : kClearPage;
    }
    /// Replaces a page; bits beyond the last block are dropped.
    void assign_page(std::uint64_t page, std::span<const std::uint64_t> words);
    /// Pages that have memory.
    [[nodiscard]] std::uint64_t pages_in_memory() const;

  private:
    struct Page {
        std::array<std::uint64_t, kWordsPerPage> words{};
        std::uint32_t count = 0;
    };
    static constexpr std::array<std::uint64_t, kWordsPerPage> kClearPage{};
    Page& page_for(std::uint64_t page);

    std::uint64_t blocks_;
    std::uint64_t count_ = 0;
    std::vector<std::unique_ptr<Page>> pages_;  // null: all clear
};

}  // namespace understudy::mirror
