#include "mirror/log/intent_log.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdlib>
#include <memory>
#include <new>

namespace understudy::mirror {

void IntentLog::Freed::operator()(void* memory) const {
    std::free(memory);
}

IntentLog::IntentLog(std::uint64_t volume_bytes, std::uint32_t bytes_per_mark)
    : dirty_(blocks_of(volume_bytes)),
      recent_(blocks_of(volume_bytes)),
      closing_(blocks_of(volume_bytes)),
      disk_(blocks_of(volume_bytes)),
      written_(blocks_of(volume_bytes)),
      written_before_(blocks_of(volume_bytes)),
      left_out_(blocks_of(volume_bytes)) {
    set_bytes_per_mark(bytes_per_mark);
    image_words_ = dirty_.pages() * kWordsPerPage;
    std::size_t room = image_words_ * 8 + kMapPageBytes;
    image_memory_.reset(std::calloc(room, 1));
    void* start = image_memory_.get();
    if (start == nullptr) throw std::bad_alloc();
    image_ = static_cast<std::uint64_t*>(std::align(kMapPageBytes, image_words_ * 8, start, room));
    flags_.resize(dirty_.pages());
    wanted_.reserve(dirty_.pages());
    runs_.reserve(dirty_.pages());
    scratch_.resize(kWordsPerPage);
}

void IntentLog::load(std::uint64_t page, std::span<const std::uint64_t> words) {
    disk_.assign_page(page, words);
    dirty_.assign_page(page, words);
    if (disk_.page_count(page) == 0) return;  // as the image is
    std::copy(disk_.page(page).begin(), disk_.page(page).end(), image_ + page * kWordsPerPage);
}

void IntentLog::set_bytes_per_mark(std::uint32_t bytes) {
    bytes_per_mark_ = std::max(kBlockBytes, bytes / kBlockBytes * kBlockBytes);
}

IntentLog::Ticket IntentLog::mark(std::uint64_t offset, std::uint64_t length, As as) {
    assert(length > 0);
    BlockMap& set = as == As::dirty ? dirty_ : recent_;
    const std::uint64_t last = (offset + length - 1) / kBlockBytes;
    bool durable = true;
    for (std::uint64_t block = offset / kBlockBytes; block <= last; ++block) {
        set.set(block);
        written_.set(block);
        left_out_.wrote(block);
        durable = durable && disk_.test(block);
    }
    if (durable || failed_) return kDurable;

    // Only a write that costs a log update widens its mark: the wider bits buy the next writes theirs.
    const std::uint64_t from = offset / bytes_per_mark_ * bytes_per_mark_;
    const std::uint64_t to = std::min((last + 1) * kBlockBytes + bytes_per_mark_ - 1,
                                      dirty_.size() * kBlockBytes + bytes_per_mark_ - 1) /
                             bytes_per_mark_ * bytes_per_mark_;
    const std::uint64_t end = std::min(blocks_of(to), dirty_.size());
    for (std::uint64_t block = from / kBlockBytes; block < end; ++block) {
        set.set(block);
        if (!disk_.test(block)) want(block / kBlocksPerPage, 0);
    }
    return started_ + 1;
}

void IntentLog::set_dirty(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t last = (offset + length - 1) / kBlockBytes;
    for (std::uint64_t block = offset / kBlockBytes; block <= last; ++block)
        dirty_.set(block);
}

bool IntentLog::set_all_dirty() {
    try {
        dirty_.set_all();
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

bool IntentLog::set_dirty_but(const BlockRanges& unused) {
    if (!set_all_dirty()) return false;
    left_out_.leave_out(unused, LeftOut::Written::is_sent);
    for (const BlockRange& range : unused) {
        const std::uint64_t end =
            range.first + std::min(range.count, dirty_.size() - std::min(dirty_.size(), range.first));
        for (std::uint64_t block = range.first; block < end; ++block)
            if (left_out_.unused(block)) dirty_.clear(block);
    }
    return true;
}

bool IntentLog::merge_dirty(std::uint64_t page, std::span<const std::uint64_t> words) {
    std::copy(words.begin(), words.end(), scratch_.begin());
    for (std::uint64_t i = 0; i < kWordsPerPage; ++i)
        scratch_[i] |= dirty_.page(page)[i];
    try {
        dirty_.assign_page(page, scratch_);
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

void IntentLog::take(std::uint64_t block) {
    dirty_.clear(block);
    recent_.set(block);
    left_out_.copied(block);
}

IntentLog::Ticket IntentLog::persist() {
    if (failed_) return kDurable;
    bool durable = true;
    for (std::uint64_t page = 0; page < dirty_.pages(); ++page) {
        if (dirty_.page_count(page) == 0) continue;
        const auto dirty = dirty_.page(page);
        const auto disk = disk_.page(page);
        for (std::uint64_t i = 0; i < kWordsPerPage; ++i) {
            if ((dirty[i] & ~disk[i]) == 0) continue;
            want(page, 0);
            durable = false;
            break;
        }
    }
    return durable ? kDurable : started_ + 1;
}

void IntentLog::close_epoch() {
    assert(!closing_open_);
    std::swap(recent_, closing_);
    closing_open_ = true;
}

void IntentLog::epoch_durable() {
    assert(closing_open_);
    closing_.clear_all();
    closing_open_ = false;
}

void IntentLog::forget_epochs() {
    dirty_.merge(recent_);
    dirty_.merge(closing_);
    recent_.clear_all();
    closing_.clear_all();
    closing_open_ = false;
}

void IntentLog::clear_dirty() {
    dirty_.clear_all();
}

std::uint64_t IntentLog::needed(std::uint64_t word) const {
    const std::uint64_t page = word / kWordsPerPage, at = word % kWordsPerPage;
    return dirty_.page(page)[at] | recent_.page(page)[at] | closing_.page(page)[at];
}

void IntentLog::want(std::uint64_t page, std::uint32_t drop) {
    Wanted& flag = flags_[page];
    if (!flag.write) {
        flag.write = true;
        wanted_.push_back(page);
    }
    flag.drop = std::max(flag.drop, drop);
}

/// Bits of word `at` of a page that are on disk, that nothing needs and whose blocks nobody has written
/// lately.
std::uint64_t IntentLog::cold(std::uint64_t page, std::uint64_t at) const {
    return disk_.page(page)[at] & ~needed(page * kWordsPerPage + at) & ~written_.page(page)[at] &
           ~written_before_.page(page)[at];
}

/// The aligned groups of kAheadBlocks blocks around `bits` of word number `word`.
std::uint64_t IntentLog::with_neighbours(std::uint64_t bits, std::uint64_t word) const {
    static_assert(64 % kAheadBlocks == 0);
    constexpr std::uint64_t kGroup = (std::uint64_t{1} << kAheadBlocks) - 1;
    std::uint64_t result = 0;
    for (unsigned at = 0; at < 64; at += kAheadBlocks)
        if ((bits >> at & kGroup) != 0) result |= kGroup << at;
    const std::uint64_t left = dirty_.size() - std::min(dirty_.size(), word * 64);
    return left >= 64 ? result : result & ((std::uint64_t{1} << left) - 1);
}

std::span<const IntentLog::PageRun> IntentLog::start_commit() {
    assert(wants_commit());
    committing_ = true;
    ++started_;
    runs_.clear();
    std::sort(wanted_.begin(), wanted_.end());
    for (const std::uint64_t page : wanted_) {
        Wanted& flag = flags_[page];
        bool loses_bits = false;
        // Each time from another word on, so that dropping a few does not always hit the same blocks.
        const std::uint64_t from = word_hand_;
        for (std::uint64_t step = 0; step < kWordsPerPage; ++step) {
            const std::uint64_t i = (from + step) % kWordsPerPage;
            const std::uint64_t word = page * kWordsPerPage + i;
            const std::uint64_t old = disk_.page(page)[i];
            const std::uint64_t need = needed(word);
            std::uint64_t fresh = need | old;
            if (flag.cold) fresh &= ~cold(page, i);
            if (const std::uint64_t spare = fresh & ~need; spare != 0 && flag.drop > 0) {
                fresh = need;
                flag.drop -= std::min(flag.drop, static_cast<std::uint32_t>(std::popcount(spare)));
                if (flag.drop == 0) word_hand_ = (i + 1) % kWordsPerPage;
            }
            if ((need & ~old) != 0 && disk_.count() < ahead_limit_)
                fresh |= with_neighbours(need & ~old, word);
            image_[word] = fresh;
            scratch_[i] = old & fresh;
            loses_bits = loses_bits || scratch_[i] != old;
        }
        if (loses_bits) disk_.assign_page(page, scratch_);
        flag = {};
        if (!runs_.empty() && runs_.back().first + runs_.back().count == page) {
            ++runs_.back().count;
        } else {
            runs_.push_back({page, 1});
        }
    }
    wanted_.clear();
    return runs_;
}

void IntentLog::finish_commit(bool written) {
    assert(committing_);
    committing_ = false;
    if (!written) {
        fail();
        return;
    }
    finished_ = started_;
    for (const PageRun& run : runs_)
        for (std::uint64_t page = run.first; page < run.first + run.count; ++page)
            disk_.assign_page(page, {image_ + page * kWordsPerPage, kWordsPerPage});
}

void IntentLog::collect(std::uint64_t keep) {
    if (failed_ || disk_.count() <= keep) return;
    // A little below the limit, so that this is not due again at once; from page to page, each has its turn.
    std::uint64_t surplus = disk_.count() - keep / 8 * 7;
    for (std::uint64_t step = 0; step < disk_.pages() && surplus > 0; ++step) {
        const std::uint64_t page = hand_;
        hand_ = (hand_ + 1) % disk_.pages();
        if (disk_.page_count(page) == 0) continue;
        std::uint64_t spare = 0;
        for (std::uint64_t i = 0; i < kWordsPerPage; ++i)
            spare += static_cast<std::uint64_t>(
                std::popcount(disk_.page(page)[i] & ~needed(page * kWordsPerPage + i)));
        if (spare == 0) continue;
        const std::uint64_t drop = std::min(spare, surplus);
        want(page, static_cast<std::uint32_t>(drop));
        surplus -= drop;
    }
}

void IntentLog::age() {
    std::swap(written_, written_before_);
    written_.clear_all();
    if (failed_) return;
    for (std::uint64_t page = 0; page < disk_.pages(); ++page) {
        if (disk_.page_count(page) == 0) continue;
        for (std::uint64_t i = 0; i < kWordsPerPage; ++i) {
            if (cold(page, i) == 0) continue;
            want(page, 0);
            flags_[page].cold = true;
            break;
        }
    }
}

std::uint64_t IntentLog::stale() const {
    std::uint64_t bits = 0;
    for (std::uint64_t page = 0; page < disk_.pages(); ++page) {
        if (disk_.page_count(page) == 0) continue;
        for (std::uint64_t i = 0; i < kWordsPerPage; ++i)
            bits += static_cast<std::uint64_t>(
                std::popcount(disk_.page(page)[i] & ~needed(page * kWordsPerPage + i)));
    }
    return bits;
}

void IntentLog::fail() {
    failed_ = true;
    wanted_.clear();
    for (Wanted& flag : flags_)
        flag = {};
}

}  // namespace understudy::mirror
