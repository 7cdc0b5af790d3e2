#pragma once
// What a target of several remembers of the writes that the other targets may lack: number and blocks of
// each, from the last number on of which the source said that all have it (core/fan_out.h). Kept in memory: a
// daemon that ends knows nothing any more, and the other targets then get a full resync from it. Pure. Spec:
// REP-238.

#include "mirror/core/block_map.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <new>

namespace understudy::mirror {

class RecentWrites {
  public:
    /// More than a source has under way between two counts, unless a target lags far behind.
    static constexpr std::size_t kMost = 65536;

    /// A new session: nothing is known until the source has told twice, or once while nothing was under way.
    void restart() { *this = {}; }

    /// A write or a copy of a resync was received. `number`: of the newest live write up to now.
    void add(std::uint64_t number, std::uint64_t offset, std::uint64_t length) {
        if (number > newest_) newest_ = number;
        if (!listening_) return;  // the only target: nobody ever asks
        if (writes_.size() >= kMost) return forget();
        try {
            writes_.push_back({number, offset / kBlockBytes, (offset + length - 1) / kBlockBytes});
        } catch (const std::bad_alloc&) {
            forget();  // Spec: REP-368
        }
    }

    /// Every target has what this one's numbers up to `through` stand for.
    void everywhere(std::uint64_t through) {
        if (!listening_) {
            listening_ = true;
            lost_through_ = newest_;
        }
        while (!writes_.empty() && writes_.front().number <= through)
            writes_.pop_front();
        if (through >= lost_through_) known_ = true;
    }

    /// Whether the blocks of for_each() are all that another target, told the same, may lack.
    [[nodiscard]] bool known() const { return known_; }
    template <class Function>
    void for_each(Function&& function) const {
        for (const Entry& entry : writes_)
            function(entry.first, entry.last);
    }

  private:
    /// What was received is not all remembered: another target may lack anything.
    void forget() {
        writes_.clear();
        known_ = false;
        lost_through_ = newest_;
    }
    struct Entry {
        std::uint64_t number, first, last;
    };
    std::deque<Entry> writes_;
    std::uint64_t newest_ = 0;
    std::uint64_t lost_through_ = 0;  // writes up to it were not remembered
    bool listening_ = false, known_ = false;
};

}  // namespace understudy::mirror
