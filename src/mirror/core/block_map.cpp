#include "mirror/core/block_map.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace understudy::mirror {

namespace {

/// Emptied pages that keep their memory, because they are likely to be needed again soon.
constexpr std::uint64_t kKeptPages = 64;

}  // namespace

BlockMap::BlockMap(std::uint64_t blocks)
    : blocks_(blocks), pages_(std::max<std::uint64_t>(1, (blocks + kBlocksPerPage - 1) / kBlocksPerPage)) {}

BlockMap::BlockMap(const BlockMap& other)
    : blocks_(other.blocks_), count_(other.count_), pages_(other.pages_.size()) {
    for (std::uint64_t index = 0; index < pages(); ++index)
        if (other.page_count(index) > 0) pages_[index] = std::make_unique<Page>(*other.pages_[index]);
}

BlockMap& BlockMap::operator=(const BlockMap& other) {
    if (this != &other) *this = BlockMap(other);
    return *this;
}

BlockMap::Page& BlockMap::page_for(std::uint64_t page) {
    if (!pages_[page]) pages_[page] = std::make_unique<Page>();
    return *pages_[page];
}

bool BlockMap::set(std::uint64_t block) {
    assert(block < blocks_);
    Page& page = page_for(block / kBlocksPerPage);
    std::uint64_t& word = page.words[block % kBlocksPerPage / 64];
    const std::uint64_t bit = std::uint64_t{1} << (block % 64);
    if ((word & bit) != 0) return false;
    word |= bit;
    ++count_;
    ++page.count;
    return true;
}

bool BlockMap::clear(std::uint64_t block) {
    assert(block < blocks_);
    Page* page = pages_[block / kBlocksPerPage].get();
    if (page == nullptr) return false;
    std::uint64_t& word = page->words[block % kBlocksPerPage / 64];
    const std::uint64_t bit = std::uint64_t{1} << (block % 64);
    if ((word & bit) == 0) return false;
    word &= ~bit;
    --count_;
    --page->count;
    return true;
}

void BlockMap::set_all() {
    const std::vector<std::uint64_t> ones(kWordsPerPage, ~std::uint64_t{0});
    for (std::uint64_t index = 0; index < pages(); ++index)
        assign_page(index, ones);
}

void BlockMap::clear_all() {
    std::uint64_t kept = 0;
    for (auto& page : pages_) {
        if (!page) continue;
        if (++kept > kKeptPages)
            page.reset();
        else if (page->count > 0)
            *page = {};
    }
    count_ = 0;
}

void BlockMap::merge(const BlockMap& other) {
    assert(other.blocks_ == blocks_);
    for (std::uint64_t index = 0; index < pages(); ++index) {
        if (other.page_count(index) == 0) continue;
        Page& page = page_for(index);
        std::uint32_t bits = 0;
        for (std::uint64_t i = 0; i < kWordsPerPage; ++i) {
            page.words[i] |= other.pages_[index]->words[i];
            bits += static_cast<std::uint32_t>(std::popcount(page.words[i]));
        }
        count_ = count_ - page.count + bits;
        page.count = bits;
    }
}

std::uint64_t BlockMap::next(std::uint64_t from) const {
    while (from < blocks_) {
        const std::uint64_t index = from / kBlocksPerPage;
        if (page_count(index) == 0) {
            from = (index + 1) * kBlocksPerPage;
            continue;
        }
        const std::uint64_t rest = pages_[index]->words[from % kBlocksPerPage / 64] >> (from % 64);
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
    if (!pages_[page] &&
        std::all_of(words.begin(), words.end(), [](std::uint64_t word) { return word == 0; }))
        return;
    Page& target = page_for(page);
    std::uint32_t bits = 0;
    for (std::uint64_t i = 0; i < kWordsPerPage; ++i) {
        const std::uint64_t first_block = page * kBlocksPerPage + i * 64;
        std::uint64_t value = words[i];
        if (first_block >= blocks_) {
            value = 0;
        } else if (blocks_ - first_block < 64) {
            value &= (std::uint64_t{1} << (blocks_ - first_block)) - 1;
        }
        target.words[i] = value;
        bits += static_cast<std::uint32_t>(std::popcount(value));
    }
    count_ = count_ - target.count + bits;
    target.count = bits;
}

std::uint64_t BlockMap::pages_in_memory() const {
    return static_cast<std::uint64_t>(
        std::count_if(pages_.begin(), pages_.end(), [](const auto& page) { return page != nullptr; }));
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
