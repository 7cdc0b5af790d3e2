#include "mirror/log/left_out.h"

#include <algorithm>

namespace understudy::mirror {

void LeftOut::watch() {
    forget();
    watching_ = true;
}

void LeftOut::forget() {
    written_.clear_all();
    left_.clear_all();
    watching_ = known_ = false;
}

void LeftOut::leave_out(const BlockRanges& unused, Written written) {
    left_.clear_all();
    for (const BlockRange& range : unused) {
        if (range.first >= left_.size()) continue;
        const std::uint64_t end = range.first + std::min(range.count, left_.size() - range.first);
        for (std::uint64_t block = range.first; block < end; ++block)
            if (written == Written::was_sent_in_part || !written_.test(block)) left_.set(block);
    }
    known_ = true;
}

}  // namespace understudy::mirror
