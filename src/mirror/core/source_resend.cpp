// The source's short reconnect: broken links are replaced, and what the target did not acknowledge is sent
// again by number, instead of a pause and a resync. Spec: REP-096.
//
//   links break   -> the window stays; writes go on into it and are not sent; the driver is told
//   new links     -> resume(first number without an acknowledgement)
//                 <- resume_ack(next number expected, first number not yet applied)
//                    everything before the second is acknowledged, everything from the first on is sent again
//   neither in time -> as a lost link
//
// Why this is exact: the target takes live messages in the order of their numbers and without gaps, so "next
// number expected" says all about what arrived. What it has received and not yet applied it goes on applying
// meanwhile, under the same rules of order. Copies of the resync link have no such order: both ends forget
// those that had not begun, and the source takes the blocks anew.

#include "mirror/core/source.h"
#include "mirror/core/source_parts.h"

#include <utility>

namespace understudy::mirror {

/// Only a mirror in sync has a target that can go on where it was. Whether a snapshot began is said once
/// only.
bool Source::may_resend() const {
    return linked_ && (features_ & wire::kFeatureResend) != 0 && state_ == MirrorState::mirroring &&
           phase_ == Phase::none && !snapshot_marked_ && now_ - last_heard_ <= detection_interval();
}

void Source::interrupt_links(std::string why) {
    suspended_ = true;
    driver_.close_links("");
    end_comparison("the link was lost");
    while (Block* block = resyncing_.front()) {
        if (block->comparison == 0) log_.set_dirty(block->offset, block->length);
        drop_block(*block);
    }
    block_window_.reset();
    retry_overlapped();
    epoch_progress();
    driver_.link_interrupted(std::move(why));
    check_ending();
}

void Source::give_up_links(std::string why) {
    const Scope scope(*this);
    lose_links(std::move(why), PauseCause::link_lost, true);
}

/// Fresh links for an interrupted session.
void Source::reattach(Instant now) {
    now_ = last_ping_ = last_tick_ = now;
    told_everywhere_.reset();  // the ping may have been lost
    wire::Header resume;
    resume.type = wire::Type::resume;
    resume.sequence = window_.first();
    send_control(resume, Always::yes);
}

void Source::resume_acknowledged(const wire::Header& header) {
    const std::uint64_t expected = header.sequence, applied = header.argument;
    if (!suspended_ || applied < window_.first() || expected < applied || expected > window_.end())
        return protocol_error("an impossible answer to resume");
    // Acknowledgements may have been lost with the links, or come twice now.
    acknowledged_twice_below_ = expected;
    for (std::uint64_t number = window_.first(); number < applied; ++number) {
        const Entry entry = std::exchange(window_.at(number), Entry{});
        if (entry.write != nullptr) remote_done(*entry.write);
        if (entry.flush != nullptr) {
            entry.flush->there = false;
            entry.flush->remote_ok = true;
            flush_part_done(*entry.flush);
        }
    }
    window_.advance();
    // What the acknowledgements set off joins the end of the window and is sent in its turn.
    for (std::uint64_t number = expected; number < window_.end(); ++number) {
        const Entry entry = window_.at(number);
        if (entry.write != nullptr) {
            entry.write->sending = true;
            driver_.send_data(entry.write->out);
        } else if (entry.flush != nullptr) {
            entry.flush->sending = true;
            driver_.send_data(entry.flush->out);
        } else {
            return protocol_error("what the target has acknowledged it wants again");
        }
    }
    suspended_ = false;
    ++resumptions_;
    release_held();
    pump();
    check_ending();
}

}  // namespace understudy::mirror
