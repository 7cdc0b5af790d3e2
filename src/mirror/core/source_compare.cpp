// Comparing both ends while they mirror: what no resync looks for, because nobody knows of it. A disk that
// lost a write, a target that was written behind the product's back.

#include "base/checksum.h"
#include "mirror/core/source.h"
#include "mirror/core/source_parts.h"

#include <algorithm>
#include <utility>

namespace understudy::mirror {

void Source::compare(const CompareOptions& options, std::function<void(Result<CompareReport>)> done) {
    const Scope scope(*this);
    if (compared_) return done(fail(Code::failure, "the mirror is being compared already"));
    if (!linked() || state_ != MirrorState::mirroring || ending_)
        return done(fail(Code::failure, "both ends can be compared only while they mirror"));
    if ((features_ & wire::kFeatureCompare) == 0)
        return done(fail(Code::failure,
                         "the target's release is older and cannot compare: install the same release on both "
                         "nodes"));
    compare_options_ = options;
    compared_ = std::move(done);
    comparison_ = {};
    comparison_.running = true;
    comparison_.total_bytes = size_;
    ++comparison_serial_;
    compare_at_ = 0;
    compare_budget_ = kCompareBytes;
    compare_refilled_ = now_;
    pump_comparison();
}

/// Called at each tick, and when an extent is done.
void Source::pump_comparison() {
    if (!compared_) return;
    if (!linked_ || state_ != MirrorState::mirroring || ending_)
        return end_comparison("the mirror does not mirror any more");
    using std::chrono::duration_cast;
    using std::chrono::milliseconds;
    const auto passed = duration_cast<milliseconds>(now_ - compare_refilled_);
    compare_refilled_ += passed;
    const auto rate = static_cast<std::int64_t>(compare_options_.bytes_per_second);
    const std::int64_t most = std::max<std::int64_t>(rate / 5, kCompareBytes);
    compare_budget_ =
        std::min(compare_budget_ + rate / 1000 * passed.count() + rate % 1000 * passed.count() / 1000, most);
    while (compared_ && compare_at_ < size_ && comparing_ < kMostComparisons && compare_budget_ > 0)
        if (!compare_next()) break;
    if (compared_ && compare_at_ >= size_ && comparing_ == 0) end_comparison({});
}

/// Takes the next extent. False when there is no memory for it now.
bool Source::compare_next() {
    const std::uint64_t offset = compare_at_;
    const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(kCompareBytes, size_ - offset));
    // Known to differ: it is on its way already.
    if (log_.dirty().test(offset / kBlockBytes) || resync_touches(offset, length)) {
        compare_at_ += length;
        comparison_.skipped_bytes += length;
        return true;
    }
    static_assert(kCompareBytes == kBlockBytes);
    if (log_.left_out().unused(offset / kBlockBytes)) {
        compare_at_ += length;
        comparison_.unused_bytes += length;
        return true;
    }
    if (log_.left_out().in_part(offset / kBlockBytes)) {
        // The parts that were never sent differ, and that says nothing about the others.
        compare_at_ += length;
        compare_budget_ -= length;
        ++comparison_.completed_blocks;
        log_.mark(offset, length, IntentLog::As::dirty);
        if (log_.wants_commit()) driver_.commit_log();
        pump();
        return true;
    }
    std::byte* data = block_buffers_.take(length);
    if (data == nullptr) return false;
    compare_at_ += length;
    compare_budget_ -= length;
    ++comparing_;
    Block& block = blocks_.take();
    block = {};
    block.source = this;
    block.data = data;
    block.offset = offset;
    block.length = length;
    block.generation = link_generation_;
    block.comparison = comparison_serial_;
    block.arrival = ++arrivals_;
    block.epoch = epoch_;
    ++epoch_blocks_[epoch_];
    resyncing_.add(offset, offset + length, block);
    read_block(block);
    return true;
}

void Source::compared_here(Block& block, int result) {
    const Scope scope(*this);
    block.reading = false;
    if (block.gone) return drop_block(block);
    if (result < 0) {
        const bool current = block.comparison == comparison_serial_;
        const std::uint64_t offset = block.offset;
        drop_block(block);
        retry_overlapped();
        epoch_progress();
        if (current) end_comparison(fmt::format("the source's device cannot be read at {}", offset));
        return check_ending();
    }
    wire::Header header;
    header.type = wire::Type::compare_block;
    header.offset = block.offset;
    header.extent = block.length;
    header.depends = block.depends;
    header.argument = xxh3({block.data, block.length});
    if (block_window_.empty()) resync_progress_at_ = now_;
    block.sequence = header.sequence = block_window_.push(&block);
    wire::encode(header, block.out.header);
    block.out.owner = &block;
    block.out.released = [](Outgoing& item) {
        Block& sent = *static_cast<Block*>(item.owner);
        sent.sending = false;
        if (sent.gone) sent.source->drop_block(sent);
    };
    block.sending = true;
    driver_.send_resync(block.out);
}

void Source::compared_there(Block& block, std::uint16_t flags) {
    const bool current = compared_ && block.comparison == comparison_serial_;
    const std::uint64_t offset = block.offset;
    const std::uint32_t length = block.length;
    drop_block(block);
    if (current) {
        if ((flags & wire::kFailed) != 0) {
            end_comparison(fmt::format("the target's device cannot be read at {}", offset));
        } else {
            comparison_.compared_bytes += length;
            if ((flags & wire::kDiffers) != 0) {
                ++comparison_.different_blocks;
                if (comparison_.offsets.size() < CompareReport::kMostOffsets)
                    comparison_.offsets.push_back(offset);
                if (compare_options_.repair) {
                    // Mirroring repairs what is dirty; a crash before that must not forget it.
                    log_.set_dirty(offset, length);
                    log_.persist();
                    if (log_.wants_commit()) driver_.commit_log();
                }
            }
        }
    }
    retry_overlapped();
    epoch_progress();
    pump();
    pump_comparison();
    check_ending();
}

/// `why` is empty at the end of the volume. Answers that come later count for nothing.
void Source::end_comparison(std::string why) {
    if (!compared_) return;
    comparison_.running = false;
    comparison_.stopped = std::move(why);
    std::exchange(compared_, nullptr)(comparison_);
}

}  // namespace understudy::mirror
