#include "mirror/core/block_map.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace understudy::mirror {

BlockMap::BlockMap(std::uint64_t blocks) : blocks_(blocks) {
    const std::uint64_t pages = std::max<std::uint64_t>(1, (blocks + kBlocksPerPage - 1) / kBlocksPerPage);
    words_.assign(pages * kWordsPerPage, 0);
    page_counts_.assign(pages, 0);
}

bool BlockMap::set(std::uint64_t block) {
    assert(block < blocks_);
    std::uint64_t& word = words_[block / 64];
    const std::uint64_t bit = std::uint64_t{1} << (block % 64);
    if ((word & bit) != 0) return false;
    word |= bit;
    ++count_;
    ++page_counts_[block / kBlocksPerPage];
    return true;
}

bool BlockMap::clear(std::uint64_t block) {
    assert(block < blocks_);
    std::uint64_t& word = words_[block / 64];
    const std::uint64_t bit = std::uint64_t{1} << (block % 64);
    if ((word & bit) == 0) return false;
    word &= ~bit;
    --count_;
    --page_counts_[block / kBlocksPerPage];
    return true;
}

void BlockMap::set_all() {
    const std::vector<std::uint64_t> ones(kWordsPerPage, ~std::uint64_t{0});
    for (std::uint64_t index = 0; index < pages(); ++index)
        assign_page(index, ones);
}

void BlockMap::clear_all() {
    for (std::uint64_t index = 0; index < pages(); ++index) {
        if (page_counts_[index] == 0) continue;
        std::fill_n(words_.begin() + static_cast<std::ptrdiff_t>(index * kWordsPerPage), kWordsPerPage, 0);
        page_counts_[index] = 0;
    }
    count_ = 0;
}

void BlockMap::merge(const BlockMap& other) {
    assert(other.blocks_ == blocks_);
    for (std::uint64_t index = 0; index < pages(); ++index) {
        if (other.page_counts_[index] == 0) continue;
        std::uint32_t bits = 0;
        for (std::uint64_t word = index * kWordsPerPage; word < (index + 1) * kWordsPerPage; ++word) {
            words_[word] |= other.words_[word];
            bits += static_cast<std::uint32_t>(std::popcount(words_[word]));
        }
        count_ = count_ - page_counts_[index] + bits;
        page_counts_[index] = bits;
    }
}

std::uint64_t BlockMap::next(std::uint64_t from) const {
    while (from < blocks_) {
        const std::uint64_t index = from / kBlocksPerPage;
        if (page_counts_[index] == 0) {
            from = (index + 1) * kBlocksPerPage;
            continue;
        }
        const std::uint64_t rest = words_[from / 64] >> (from % 64);
        if (rest != 0) return from + static_cast<std::uint64_t>(std::countr_zero(rest));
        from = (from / 64 + 1) * 64;
    }
    return kNone;
}

bool BlockMap::any(std::uint64_t first, std::uint64_t last) const {
    const std::uint64_t found = next(first);
    return found != kNone && found <= last;
}

bool BlockMap::all(std::uint64_t first, std::uint64_t last) const {
    for (std::uint64_t block = first; block <= last; ++block)
        if (!test(block)) return false;
    return true;
}

void BlockMap::assign_page(std::uint64_t page, std::span<const std::uint64_t> words) {
    assert(words.size() == kWordsPerPage);
    std::uint32_t bits = 0;
    for (std::uint64_t i = 0; i < kWordsPerPage; ++i) {
        const std::uint64_t first_block = page * kBlocksPerPage + i * 64;
        std::uint64_t value = words[i];
        if (first_block >= blocks_) {
            value = 0;
        } else if (blocks_ - first_block < 64) {
            value &= (std::uint64_t{1} << (blocks_ - first_block)) - 1;
        }
        words_[page * kWordsPerPage + i] = value;
        bits += static_cast<std::uint32_t>(std::popcount(value));
    }
    count_ = count_ - page_counts_[page] + bits;
    page_counts_[page] = bits;
}

BlockRanges ranges_of(const BlockMap& map) {
    BlockRanges out;
    for (std::uint64_t block = map.next(0); block != BlockMap::kNone; block = map.next(block + 1)) {
        if (!out.empty() && out.back().first + out.back().count == block)
            ++out.back().count;
        else
            out.push_back({block, 1});
    }
    return out;
}

}  // namespace understudy::mirror
