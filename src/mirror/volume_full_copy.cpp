// What a full copy of the volume leaves out. See log/left_out.h.

#include "mirror/volume_impl.h"

#include <utility>

namespace understudy::mirror {

void VolumeDriver::watch_writes(std::uint64_t number) {
    if (!log_) return;
    watch_number_ = number;
    unused_.reset();
    log_->left_out().watch();
}

void VolumeDriver::leave_out(std::uint64_t number, BlockRanges unused, bool copied) {
    if (!log_ || number != watch_number_ || !log_->left_out().watching()) return;
    if (copied)
        log_->left_out().leave_out(unused, LeftOut::Written::was_sent_in_part);
    else
        unused_ = std::move(unused);
}

/// The log says what must be sent; the source then sends that, and does not ask the target for what it wrote:
/// where that matters the block is among those that are sent.
void VolumeDriver::limit_full_copy(LinkTerms& terms) {
    if (terms.resume) return;
    const auto unused = std::exchange(unused_, std::nullopt);
    if (unused && terms.kind != ResyncKind::none) {
        // Without memory for it the source finds the same and says so.
        terms.kind = log_->set_dirty_but(*unused) ? ResyncKind::none : ResyncKind::full;
    } else if (terms.kind == ResyncKind::full) {
        log_->left_out().forget();
    }
}

}  // namespace understudy::mirror
