// The source's resync: dirty blocks, pass by pass, until both ends are equal. Spec: REP-109 to REP-121.

#include "base/checksum.h"
#include "mirror/core/source.h"
#include "mirror/core/source_parts.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace understudy::mirror {

/// Spec: REP-157, REP-121.
void Source::begin_resync(bool fetch_bits) {
    set_state(MirrorState::pending, PauseCause::none);
    if (!fetch_bits) return commit_bits();
    phase_ = Phase::fetch_bits;
    wire::Header request;
    request.type = wire::Type::bitmap_request;
    send_control(request);
}

/// The next session is of the same kind as this one, for nothing of it is on record.
void Source::no_memory_for_bits() {
    lose_links("there is no memory for the bitmap of the blocks that differ (event 208)",
               PauseCause::resource, true);
}

void Source::take_bits(const wire::Header& header, const std::byte* payload) {
    if (phase_ != Phase::fetch_bits) return protocol_error("bitmap pages that nobody asked for");
    if ((header.flags & wire::kUnavailable) != 0 && !log_.set_all_dirty()) return no_memory_for_bits();
    if ((header.flags & (wire::kLast | wire::kUnavailable)) != 0) return commit_bits();
    if (header.offset >= log_.dirty().pages()) return protocol_error("a bitmap page beyond the volume");
    std::array<std::uint64_t, kWordsPerPage> words;
    std::memcpy(words.data(), payload, sizeof words);
    if (!log_.merge_dirty(header.offset, words)) no_memory_for_bits();
}

/// What must be sent is durable here before the target is told that it is behind: a crash in between must
/// not turn a full resync into a partial one.
void Source::commit_bits() {
    phase_ = Phase::commit_bits;
    if (log_.persist() == IntentLog::kDurable) return announce();
    driver_.commit_log();
}

void Source::announce() {
    // On a link that was used, the target may have stopped after an error, and goes on when it is told of a
    // resync. Spec: REP-143
    const bool fresh = window_.end() == 1;
    if (log_.dirty().count() == 0 && fresh) {
        run_resync();  // nothing to send; the target need not count as behind
        return;
    }
    phase_ = Phase::announce;
    wire::Header begin;
    begin.type = wire::Type::resync_begin;
    begin.argument = log_.dirty().count();
    send_control(begin);
}

void Source::run_resync() {
    phase_ = Phase::run;
    pass_ = 0;
    pointer_ = 0;
    resync_bytes_sent_ = 0;
    counts_.resync_new_writes = 0;
    endgame_ = false;
    resync_progress_at_ = now_;
    set_state(MirrorState::resync, PauseCause::none);
    pump();
}

bool Source::may_resync() const {
    if (!linked()) return false;
    if (phase_ == Phase::run) return true;
    // Repair of single blocks while mirroring. Spec: REP-089
    return state_ == MirrorState::mirroring && log_.dirty().count() > 0 &&
           (!repair_at_ || now_ >= *repair_at_);
}

void Source::pump() {
    if (!may_resync()) return;
    repair_at_.reset();
    const std::uint32_t limit = std::max(1U, parameters_.resync_reads);  // Spec: REP-113
    while (may_resync() && resyncing_.size() < limit && log_.dirty().count() > 0)
        if (!pick()) break;
    check_resync_end();
}

/// Takes the next run of dirty blocks. False when there is none for now.
bool Source::pick() {
    std::uint64_t first = log_.dirty().next(pointer_);
    if (first == BlockMap::kNone) {
        if (!resyncing_.empty()) return false;  // the pass ends when all of it has arrived
        if (phase_ == Phase::run) {
            ++pass_;
            if (pass_ >= parameters_.max_resync_passes) {  // Spec: REP-115
                interrupt_resync(PauseCause::resync_passes, kRetryDelay);
                return false;
            }
            if (!endgame_ && parameters_.resync_low_water != 0 &&
                pass_ >= parameters_.max_resync_passes / 10 &&
                log_.dirty().count() <= parameters_.resync_low_water) {  // Spec: REP-116
                endgame_ = true;
                endgame_since_ = now_;
            }
        }
        pointer_ = 0;
        first = log_.dirty().next(0);
    }
    std::uint64_t count = 1;
    while (count < kMaxResyncBytes / kBlockBytes && first + count < log_.blocks() &&
           log_.dirty().test(first + count))
        ++count;
    const std::uint64_t offset = first * kBlockBytes;
    const auto length = static_cast<std::uint32_t>(std::min(count * kBlockBytes, size_ - offset));
    std::byte* data = block_buffers_.take(length);
    if (data == nullptr) return false;

    Block& block = blocks_.take();
    block = {};
    block.source = this;
    block.data = data;
    block.offset = offset;
    block.length = length;
    block.generation = link_generation_;
    block.arrival = ++arrivals_;
    block.epoch = epoch_;
    ++epoch_blocks_[epoch_];
    // Not dirty from here on, but kept in the epoch until the target has it durably. Spec: REP-112
    for (std::uint64_t i = 0; i < count; ++i)
        log_.take(first + i);
    resync_blocks_ += count;
    pointer_ = first + count;
    resyncing_.add(offset, offset + length, block);
    read_block(block);
    return true;
}

/// Reads what is to be copied or compared. A comparison, and a copy to a target that may be promoted, wait
/// for the writes that came to their blocks before: read now, a copy could take the target back behind a
/// write that is complete by then. Meanwhile new writes there wait for the block. In a resync they do not,
/// and what the writes leave behind, which may be newer than what is read, is copied again. Spec: REP-077,
/// REP-089
void Source::read_block(Block& block) {
    const std::uint64_t end = block.offset + block.length;
    if (block.comparison != 0 || state_ == MirrorState::mirroring) {
        if (waits_for_write(block)) return waiting_reads_.push_back(&block);
    } else {
        local_.for_each_overlap(block.offset, end, [this](Write& write) {
            if (!write.remark) ++remarked_;
            write.remark = true;
        });
    }
    block.depends = window_.end() - 1;  // what is under way there must be applied first
    block.begun = block.reading = true;
    block.local.op = BlockOp::read;
    block.local.offset = block.offset;
    block.local.length = block.length;
    block.local.data = block.data;
    block.local.owner = &block;
    block.local.done = [](BlockRequest& local) {
        Block& done = *static_cast<Block*>(local.owner);
        done.comparison != 0 ? done.source->compared_here(done, local.result)
                             : done.source->block_read(done, local.result);
    };
    device_.submit(block.local);
}

/// Blocks and writes wait for what came earlier only. With several targets each write is in the hands of
/// several Sources: if one of them let a block overtake a write that waits for its log, and another one let
/// another write of that block go first, each could hold what the other waits for.
bool Source::waits_for_write(const Block& block) const {
    const std::uint64_t begin = block.offset, end = block.offset + block.length;
    if (local_.overlaps(begin, end)) return true;
    for (const IntrusiveQueue<Write>* queue : {&held_, &overlapped_, &log_waiters_})
        for (const Write* write = queue->front(); write != nullptr; write = write->next)
            if (write->arrival < block.arrival && write->local.offset < end &&
                begin < write->local.offset + write->local.length)
                return true;
    return false;
}

bool Source::waits_for_block(const Write& write) const {
    const std::uint64_t begin = write.local.offset / kBlockBytes * kBlockBytes;
    const std::uint64_t end =
        (write.local.offset + write.local.length + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    bool waits = false;
    resyncing_.for_each_overlap(begin, end, [&](const Block& block) {
        waits = waits || block.begun || block.arrival < write.arrival;
    });
    return waits;
}

/// After a write has ended here.
void Source::start_waiting_reads() {
    if (waiting_reads_.empty()) return;
    for (Block* block : std::exchange(waiting_reads_, {}))
        read_block(*block);
}

void Source::block_read(Block& block, int result) {
    const Scope scope(*this);
    block.reading = false;
    if (block.gone) return drop_block(block);
    const bool wanted = phase_ == Phase::run || state_ == MirrorState::mirroring;
    if (result < 0 || !wanted) {
        log_.set_dirty(block.offset, block.length);
        drop_block(block);
        if (result < 0 && phase_ == Phase::run) {
            interrupt_resync(PauseCause::source_read_error, kRetryDelay);  // Spec: REP-120
        } else if (result < 0) {
            repair_at_ = now_ + kRetryDelay;
        }
        retry_overlapped();
        epoch_progress();
        return;
    }
    wire::Header header;
    header.offset = block.offset;
    header.extent = block.length;
    header.depends = block.depends;
    header.type = wire::Type::resync_zeroes;
    if (!all_zero(block.data, block.length)) {
        Load load{block.data, block.length, 0};
        if (compresses()) block.packed = block_buffers_.take(block.length);
        if (block.packed != nullptr && !compress(block.data, block.length, block.packed, load))
            block_buffers_.give_back(std::exchange(block.packed, nullptr), block.length);
        header.type = wire::Type::resync_block;
        header.flags = load.flags;
        header.length = load.length;
        header.payload_crc = crc32c({load.data, load.length});
        block.out.payload = load.data;
    }
    count_sent(block.length, header);
    if (block_window_.empty()) resync_progress_at_ = now_;
    block.sequence = header.sequence = block_window_.push(&block);
    wire::encode(header, block.out.header);
    block.out.length = header.length;
    block.out.owner = &block;
    block.out.released = [](Outgoing& item) {
        Block& sent = *static_cast<Block*>(item.owner);
        sent.sending = false;
        if (sent.gone) sent.source->drop_block(sent);
    };
    block.sending = true;
    resync_bytes_sent_ += block.length;
    driver_.send_resync(block.out);
}

void Source::block_acknowledged(Block& block) {
    drop_block(block);
    retry_overlapped();
    epoch_progress();
    pump();
    check_ending();
}

/// Takes the block out of every book; its memory goes when neither device nor link uses it.
void Source::drop_block(Block& block) {
    if (!block.gone) {
        block.gone = true;
        resyncing_.remove(block);
        --epoch_blocks_[block.epoch];
        std::erase(waiting_reads_, &block);
        if (block.comparison != 0) {
            --comparing_;
        } else {
            resync_blocks_ -= (block.length + kBlockBytes - 1) / kBlockBytes;
        }
    }
    if (block.reading || block.sending) return;
    block_buffers_.give_back(block.data, block.length);
    if (block.packed != nullptr) block_buffers_.give_back(block.packed, block.length);
    blocks_.give_back(block);
}

/// Everything has arrived and nothing under way here can make a block dirty again: from here on every write
/// is sent and, on a synchronous mirror, waits for the target. The target confirms and then both are equal.
void Source::check_resync_end() {
    if (phase_ != Phase::run || log_.dirty().count() > 0 || !resyncing_.empty() || remarked_ > 0) return;
    phase_ = Phase::end;
    flush_there(new_flush(FlushKind::resync_end, nullptr), wire::Type::resync_end);
}

void Source::resync_end_acknowledged() {
    if (phase_ != Phase::end) return;
    phase_ = Phase::none;
    endgame_ = false;
    block_buffers_.trim();
    set_state(MirrorState::mirroring, PauseCause::none);  // Spec: REP-158
    driver_.in_sync();
    // A crash soon after must not send all of it again: its bits do not wait for an idle moment.
    epochs_to_collect_ = closing_ == Closing::none ? 1 : 2;
    maybe_close_epoch();
    release_held();
    // The target has it durably; now this end's flush lets the bits of the whole resync go.
    epoch_closed_at_ = now_ - kEpochInterval;
    maybe_close_epoch();
    pump();
}

bool Source::resync_touches(std::uint64_t offset, std::uint64_t length) const {
    const std::uint64_t begin = offset / kBlockBytes * kBlockBytes;
    const std::uint64_t end = (offset + length + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    return resyncing_.overlaps(begin, end);
}

}  // namespace understudy::mirror
