#include "mirror/core/source.h"

#include "base/checksum.h"
#include "mirror/core/source_parts.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

namespace understudy::mirror {

Source::Source(BlockBackend& device, IntentLog& log, SourceDriver& driver, MirrorType type,
               const MirrorParameters& parameters, Instant now, std::size_t copy_bytes)
    : device_(device),
      log_(log),
      driver_(driver),
      type_(type),
      parameters_(parameters),
      now_(now),
      size_(device.size()),
      copies_(copy_bytes),
      self_(std::make_shared<Source*>(this)),
      failed_flushes_(device.failed_flushes()),
      epoch_closed_at_(now),
      collected_at_(now),
      aged_at_(now),
      last_write_at_(now),
      block_buffers_(kMaxResyncBufferBytes),
      last_heard_(now),
      last_ping_(now),
      last_tick_(now),
      silence_told_(now) {
    behind_since_ = now;
}

Source::~Source() = default;

void Source::begin(MirrorState state, PauseCause cause) {
    set_state(state, cause);
}

void Source::set_parameters(const MirrorParameters& parameters) {
    const Scope scope(*this);
    parameters_ = parameters;
    log_.set_bytes_per_mark(parameters.bitmap_bytes_per_block);
    release_held();
    pump();
}

bool Source::idle() const {
    return writes_.out() == 0 && flushes_.out() == 0 && blocks_.out() == 0 && controls_.out() == 0 &&
           barred_.empty();
}

bool Source::sends_all() const {
    return linked_ && (state_ == MirrorState::mirroring || phase_ == Phase::end);
}

bool Source::queue_full(std::uint64_t more) const {
    if (parameters_.write_queue_high_water != 0 && window_requests_ >= parameters_.write_queue_high_water)
        return true;
    const std::uint64_t limit = std::uint64_t{parameters_.write_queue_byte_limit_mb} << 20;
    // A single write larger than the limit passes alone, or it would wait for ever.
    return limit != 0 && window_bytes_ + more > limit && window_bytes_ != 0;
}

bool Source::holds_writes() const {
    if (endgame_) return true;
    if (!held_.empty() && parameters_.block_writes_on_lag_limit && lags(held_.front()->local.length))
        return true;
    return parameters_.block_writes_on_limit_reached && linked_ && (sends_all() || phase_ == Phase::run) &&
           !held_.empty() && queue_full(held_.front()->local.length);
}

void Source::submit(BlockRequest& request) {
    const Scope scope(*this);
    if (quiesced_) {
        request.result = -EROFS;
        completions_.push(request);
        return;
    }
    if (request.op == BlockOp::flush) return start_caller_flush(request);
    assert(request.op != BlockOp::read && request.length > 0 && request.offset + request.length <= size_);
    Write& write = writes_.take();
    write = {};
    write.source = this;
    write.request = &request;
    // What is forgotten here must read the same there: zeroes on both ends.
    write.local.op = request.op == BlockOp::discard ? BlockOp::write_zeroes : request.op;
    write.local.punch = request.punch || request.op == BlockOp::discard;
    write.local.fua = request.fua;
    write.local.offset = request.offset;
    write.local.length = request.length;
    write.local.data = request.data;
    write.local.part = request.part;
    write.local.owner = &write;
    write.local.done = [](BlockRequest& local) {
        Write& done = *static_cast<Write*>(local.owner);
        done.source->local_done(done, local.result);
    };
    write.arrival = ++arrivals_;
    ++not_written_;
    admit(write);
}

void Source::admit(Write& write) {
    if (endgame_ || !held_.empty()) return held_.push(write);
    start(write);
}

void Source::release_held() {
    while (!held_.empty() && !holds_writes())
        start(held_.pop());
}

void Source::retry_overlapped() {
    if (overlapped_.empty()) return;
    IntrusiveQueue<Write> waiting = overlapped_.take_all();
    while (!waiting.empty())
        start(waiting.pop());
}

/// Decides how the write goes, and whether it may go now. Called again for writes that had to wait.
void Source::start(Write& write) {
    const std::uint64_t offset = write.local.offset, length = write.local.length;
    // The device may reorder what it has at the same time; the target's device might decide differently.
    if (local_.overlaps(offset, offset + length)) return overlapped_.push(write);

    bool live = false;
    if (sends_all()) {
        if (waits_for_block(write)) return overlapped_.push(write);
        live = true;
    } else if (linked_ && phase_ == Phase::run) {
        const std::uint64_t first = offset / kBlockBytes, last = (offset + length - 1) / kBlockBytes;
        live = !log_.dirty().any(first, last) && !resync_touches(offset, length);
    }
    if (live && queue_full(length)) {
        if (parameters_.block_writes_on_limit_reached) return held_.push(write);  // Spec: REP-101
        // Spec: REP-168. In a resync the block simply becomes dirty again.
        if (sends_all())
            interrupt_resync(PauseCause::queue_limit,
                             std::chrono::milliseconds(parameters_.auto_resume_delay_ms));
        live = false;
    }
    if (live && lags(length)) {
        if (parameters_.block_writes_on_lag_limit) return held_.push(write);
        interrupt_resync(PauseCause::lag_limit, std::chrono::milliseconds(parameters_.auto_resume_delay_ms));
        live = false;
    }
    const auto ticket =
        log_.mark(offset, length, live ? IntentLog::As::recent : IntentLog::As::dirty);  // Spec: REP-052
    if (ticket != IntentLog::kDurable) {
        write.ticket = ticket;
        log_waiters_.push(write);
        driver_.commit_log();
        return;
    }
    go(write, live);
}

void Source::log_committed() {
    const Scope scope(*this);
    while (!log_waiters_.empty() && log_.done(log_waiters_.front()->ticket))
        start(log_waiters_.pop());
    if (phase_ == Phase::commit_bits) commit_bits();
    check_ending();
}

void Source::go(Write& write, bool live) {
    wrote_since_tick_ = true;
    if (phase_ == Phase::run) ++counts_.resync_new_writes;
    write.epoch = epoch_;
    ++epoch_local_[epoch_];
    write.here = true;
    local_.add(write.local.offset, write.local.offset + write.local.length, write);
    if (live && !send_live(write)) {
        log_.set_dirty(write.local.offset, write.local.length);
        interrupt_resync(PauseCause::resource, kRetryDelay);  // Spec: REP-087
    }
    device_.submit(write.local);
}

bool Source::send_live(Write& write) {
    const bool sync = type_ == MirrorType::sync && sends_all();
    wire::Header header;
    header.offset = write.local.offset;
    header.extent = write.local.length;
    header.depends = completed_through_;
    switch (write.local.op) {
        case BlockOp::write: {
            const std::byte* data = write.local.data;
            if (write.local.length >= kLeastZeroBytes && all_zero(data, write.local.length)) {
                header.type = wire::Type::write_zeroes;
                break;
            }
            Load load{data, write.local.length, 0};
            const bool packs = compresses();
            if (!sync || packs) write.copy = copies_.take(write.local.length);
            if (!sync && write.copy == nullptr) return false;
            const bool packed =
                packs && write.copy != nullptr && compress(data, write.local.length, write.copy, load);
            if (!packed && !sync) {
                // The caller's buffer goes back as soon as the local write ends.
                std::memcpy(write.copy, data, write.local.length);
                load.data = write.copy;
            } else if (!packed && write.copy != nullptr) {
                copies_.give_back(std::exchange(write.copy, nullptr), write.local.length);
            }
            header.type = wire::Type::write;
            header.flags = load.flags;
            header.length = load.length;
            header.payload_crc = crc32c({load.data, load.length});
            write.out.payload = load.data;
            break;
        }
        case BlockOp::write_zeroes:
            header.type = write.local.punch ? wire::Type::discard : wire::Type::write_zeroes;
            break;
        case BlockOp::discard:
        case BlockOp::read:
        case BlockOp::flush:
            assert(false);
            return false;
    }
    if (sync && write.local.fua) header.flags |= wire::kFua;
    write.live = true;
    write.there = true;
    write.waits_remote = sync;
    write.generation = link_generation_;
    write.sent_at = now_;
    count_sent(write.local.length, header);
    write.sequence = header.sequence = window_.push({&write, nullptr});
    ++window_requests_;
    window_bytes_ += write.local.length;
    wire::encode(header, write.out.header);
    write.out.length = header.length;
    write.out.may_wait = !sync;
    write.out.owner = &write;
    write.out.released = [](Outgoing& item) {
        Write& sent = *static_cast<Write*>(item.owner);
        const Scope scope(*sent.source);
        sent.sending = false;
        sent.source->release_copy(sent);
        sent.source->maybe_complete(sent);
    };
    transmit(write.out, write.sending);
    return true;
}

void Source::local_done(Write& write, int result) {
    const Scope scope(*this);
    write.here = false;
    --not_written_;
    write.result = result;
    local_.remove(write);
    --epoch_local_[write.epoch];
    if (result < 0 || write.remark) {
        // After an error the target may hold data that this end lacks. Spec: REP-089
        log_.set_dirty(write.local.offset, write.local.length);
        if (write.remark) --remarked_;
        write.remark = false;
    }
    maybe_complete(write);
    start_waiting_reads();
    retry_overlapped();
    epoch_progress();
    if (log_.dirty().count() > 0 || phase_ == Phase::run) pump();
    check_ending();
}

/// Until the link has sent it; where it may have to be sent again, until the target has acknowledged it.
void Source::release_copy(Write& write) {
    const bool wanted = write.sending || (write.there && (features_ & wire::kFeatureResend) != 0);
    if (write.copy == nullptr || wanted) return;
    copies_.give_back(write.copy, write.local.length);
    write.copy = nullptr;
}

void Source::remote_done(Write& write) {
    write.there = false;
    count_acknowledged(write.sent_at);
    release_copy(write);
    --window_requests_;
    window_bytes_ -= write.local.length;
    maybe_complete(write);
}

void Source::maybe_complete(Write& write) {
    if (write.request != nullptr) {
        if (write.here || (write.there && write.waits_remote)) return;
        if (write.sending && write.out.length > 0 && write.copy == nullptr)
            return;  // the link reads its buffer
        BlockRequest& request = *std::exchange(write.request, nullptr);
        if (write.live && write.generation == link_generation_)
            completed_through_ = std::max(completed_through_, write.sequence);
        const bool fua_by_flush = write.local.fua && write.live && !write.waits_remote && write.result == 0 &&
                                  sends_all() && !parameters_.dont_flush_async_queue;
        if (fua_by_flush) {
            start_caller_flush(request);  // Spec: REP-083, REP-084: waits for the queue like a flush
        } else {
            complete(request, write.result);
        }
    }
    if (write.request == nullptr && !write.here && !write.there && !write.sending) writes_.give_back(write);
}

void Source::complete(BlockRequest& request, int result) {
    request.result = result;
    (barrier_ ? barred_ : completions_).push(request);
}

// --- flushes

Source::Flush& Source::new_flush(FlushKind kind, BlockRequest* request) {
    Flush& flush = flushes_.take();
    flush = {};
    flush.source = this;
    flush.kind = kind;
    flush.request = request;
    flush.generation = link_generation_;
    flush.epoch_serial = epoch_serial_;
    return flush;
}

void Source::start_caller_flush(BlockRequest& request) {
    Flush& flush = new_flush(FlushKind::caller, &request);
    if (sends_all()) {
        // The target gets it in any case, so that nothing written after it overtakes it there.
        flush.waits_remote =
            type_ == MirrorType::sync || !parameters_.dont_flush_async_queue;  // Spec: REP-084
        flush_there(flush, wire::Type::flush);
    }
    flush_here(flush);
}

void Source::flush_here(Flush& flush) {
    flush.here = true;
    flush.local.op = BlockOp::flush;
    flush.local.part = flush.request != nullptr ? flush.request->part : nullptr;
    flush.local.owner = &flush;
    flush.local.done = [](BlockRequest& local) {
        Flush& done = *static_cast<Flush*>(local.owner);
        const Scope scope(*done.source);
        done.here = false;
        done.result = local.result;
        done.source->flush_part_done(done);
    };
    device_.submit(flush.local);
}

void Source::flush_there(Flush& flush, wire::Type type) {
    wire::Header header;
    header.type = type;
    header.depends = completed_through_;
    if (flush.kind == FlushKind::snapshot) {
        header.flags = wire::kSnapshot;
        header.argument = flush.snapshot;
    }
    flush.there = true;
    flush.sequence = header.sequence = window_.push({nullptr, &flush});
    wire::encode(header, flush.out.header);
    flush.out.owner = &flush;
    flush.out.released = [](Outgoing& item) {
        Flush& sent = *static_cast<Flush*>(item.owner);
        const Scope scope(*sent.source);
        sent.sending = false;
        sent.source->flush_part_done(sent);
    };
    transmit(flush.out, flush.sending);
}

/// One of: done here, acknowledged or lost there, released by the link.
void Source::flush_part_done(Flush& flush) {
    notice_failed_flushes();
    switch (flush.kind) {
        case FlushKind::caller:
            if (flush.request != nullptr && !flush.here && !(flush.there && flush.waits_remote)) {
                BlockRequest& request = *std::exchange(flush.request, nullptr);
                if (flush.generation == link_generation_)
                    completed_through_ = std::max(completed_through_, flush.sequence);
                complete(request, flush.result);
            }
            if (flush.request != nullptr) return;
            break;
        case FlushKind::epoch_local:
            if (!flush.here && flush.epoch_serial == epoch_serial_) {
                flush.epoch_serial = 0;
                closing_local_ok_ = flush.result == 0;
                if (closing_local_ok_)
                    epoch_progress();
                else
                    lost_by_device();
            }
            break;
        case FlushKind::epoch_remote:
            if (flush.remote_ok && flush.epoch_serial == epoch_serial_) {
                closing_remote_ok_ = true;
                flush.epoch_serial = 0;
                epoch_progress();
            }
            break;
        case FlushKind::resync_end:
            if (flush.remote_ok) {
                flush.remote_ok = false;
                if (flush.generation == link_generation_) resync_end_acknowledged();
            }
            break;
        case FlushKind::snapshot:
            if (!flush.there && std::exchange(flush.snapshot, 0) != 0)
                std::exchange(snapshot_marked_, nullptr)(
                    flush.remote_ok ? Result<>()
                                    : Result<>(fail(Code::failure, "the target did not begin its snapshot")));
            break;
    }
    if (!flush.here && !flush.there && !flush.sending) flushes_.give_back(flush);
}

void Source::mark_snapshot(std::uint64_t number, std::function<void(Result<>)> done) {
    const Scope scope(*this);
    assert(number != 0);
    if (!linked() || state_ != MirrorState::mirroring || quiesced_)
        return done(fail(Code::failure, "a snapshot can be taken only while both ends mirror"));  // REP-315
    if ((features_ & wire::kFeatureSnapshot) == 0)
        return done(fail(Code::failure, "the target's build knows no snapshots"));
    if (snapshot_marked_) return done(fail(Code::failure, "a snapshot is being taken already"));
    snapshot_marked_ = std::move(done);
    Flush& flush = new_flush(FlushKind::snapshot, nullptr);
    flush.snapshot = number;
    flush_there(flush, wire::Type::flush);
}

/// What has a number and cannot be sent now is sent when the links are back.
void Source::transmit(Outgoing& out, bool& sending) {
    if (suspended_) return;
    sending = true;
    driver_.send_data(out);
}

void Source::send_control(wire::Header header, Always always) {
    if (suspended_ && always == Always::no) return;
    Control& control = controls_.take();
    control.source = this;
    control.out = {};
    wire::encode(header, control.out.header);
    control.out.owner = &control;
    control.out.released = [](Outgoing& item) {
        Control& sent = *static_cast<Control*>(item.owner);
        sent.source->controls_.give_back(sent);
    };
    driver_.send_data(control.out);
}

}  // namespace understudy::mirror
