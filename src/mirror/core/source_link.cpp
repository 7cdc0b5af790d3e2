// The source's states, links, acknowledgements and time.

#include "mirror/core/source.h"
#include "mirror/core/source_parts.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

namespace understudy::mirror {

using std::chrono::milliseconds;

void Source::set_state(MirrorState state, PauseCause cause) {
    if (state == state_ && cause == cause_) return;
    const MirrorState from = std::exchange(state_, state);
    cause_ = cause;
    count_state(from);
    driver_.state_changed(from, state, cause);
}

milliseconds Source::detection_interval() const {
    return milliseconds(parameters_.ping_interval_ms) * parameters_.max_ping_misses;  // Spec: REP-095
}

// --- links

void Source::attach(const LinkTerms& terms, Instant now) {
    const Scope scope(*this);
    if (terms.resume) return reattach(now);
    if (linked_) lose_links("replaced by a new link", PauseCause::link_lost, false);
    now_ = last_heard_ = last_ping_ = last_tick_ = resync_progress_at_ = now;
    linked_ = true;
    acknowledged_twice_below_ = 0;
    features_ = terms.features;
    ++link_generation_;
    window_.reset();
    block_window_.reset();
    completed_through_ = 0;
    told_everywhere_.reset();
    resume_delay_ = {};
    resume_at_.reset();
    repair_at_.reset();
    if (terms.kind == ResyncKind::full && !log_.set_all_dirty())
        return no_memory_for_bits();  // Spec: REP-109
    begin_resync(terms.kind == ResyncKind::partial);
}

void Source::detach(PauseCause cause) {
    const Scope scope(*this);
    lose_links("", cause, false);
}

void Source::link_broken(std::string why) {
    const Scope scope(*this);
    if (may_resend()) return interrupt_links(std::move(why));
    lose_links(std::move(why), PauseCause::link_lost, true);
}

void Source::protocol_error(const char* what) {
    lose_links(fmt::format("the target broke the protocol: {}", what), PauseCause::link_lost, true);
}

/// Spec: REP-138, REP-164, REP-165. Bits of what was not acknowledged as durable become dirty.
void Source::lose_links(std::string why, PauseCause cause, bool tell) {
    if (!linked_) return;
    const bool promotable = sends_all();  // the target may believe itself equal
    linked_ = suspended_ = false;
    ++link_generation_;
    phase_ = Phase::none;
    endgame_ = false;
    resume_delay_ = {};
    resume_at_.reset();
    forget_epochs();
    switch (state_) {
        case MirrorState::mirroring:
        case MirrorState::resync:
        case MirrorState::pending:
            set_state(MirrorState::paused, cause);
            break;
        case MirrorState::paused:
            // What paused it by itself is over; from here on it waits for the link.
            if (cause_ != PauseCause::user) set_state(MirrorState::paused, cause);
            break;
        case MirrorState::broken:
        case MirrorState::none:
        case MirrorState::invalid:
            break;
    }
    if (promotable && owes_answers()) raise_barrier();  // before anything that waited is completed
    driver_.close_links(why);
    abandon_window();
    end_comparison("the link was lost");
    while (Block* block = resyncing_.front())
        drop_block(*block);
    block_window_.reset();
    release_held();
    retry_overlapped();
    if (tell) driver_.link_lost(std::move(why));
    check_ending();
}

/// Nobody will acknowledge these any more.
void Source::abandon_window() {
    for (std::uint64_t number = window_.first(); number < window_.end(); ++number) {
        const Entry entry = std::exchange(window_.at(number), Entry{});
        if (entry.write != nullptr) remote_done(*entry.write);
        if (entry.flush != nullptr) {
            entry.flush->there = false;
            flush_part_done(*entry.flush);
        }
    }
    window_.reset();
}

void Source::forget_epochs() {
    log_.forget_epochs();
    closing_ = Closing::none;
    ++epoch_serial_;
}

/// What the device may have lost is sent again from what it has then: the target must not keep what this end
/// has not. The one who asked for the flush is not the only one who has to know: an epoch that is being
/// closed counts on everything written before. Spec: REP-089
void Source::lost_by_device() {
    forget_epochs();
    repair_at_ = now_ + kRetryDelay;
}

void Source::notice_failed_flushes() {
    const std::uint64_t failed = device_.failed_flushes();
    if (std::exchange(failed_flushes_, failed) != failed) lost_by_device();
}

// --- several targets

std::optional<FanOutLeg::Progress> Source::progress() const {
    if (!sends_all()) return std::nullopt;
    const bool repairs = log_.dirty().count() > 0 || resync_blocks_ > 0;
    return FanOutLeg::Progress{link_generation_, window_.end() - 1, window_.first() - 1, repairs};
}

/// With a ping, so that a target that knows nothing of it takes no notice. Spec: REP-238.
void Source::everywhere(std::uint64_t through) {
    if (!linked() || told_everywhere_ == through) return;
    told_everywhere_ = through;
    wire::Header ping;
    ping.type = wire::Type::ping;
    ping.depends = through + 1;
    send_control(ping);
}

// --- degrade barrier

/// The target could be promoted without what completes from here on: the controller must prevent that first.
/// Spec: REP-079. An asynchronous mirror tells it too but waits for nothing.
void Source::raise_barrier() {
    barrier_ = type_ == MirrorType::sync;
    const std::uint64_t generation = ++barrier_generation_;
    driver_.degraded([weak = std::weak_ptr(self_), generation](bool recorded) {
        if (const auto self = weak.lock(); self && (*self)->barrier_generation_ == generation)
            (*self)->lower_barrier(recorded);
    });
}

/// A source that has stepped down has answered everything, and nothing comes any more: its target is equal.
bool Source::owes_answers() const {
    return !quiesced_ || writes_.out() > 0 || flushes_.out() > 0;
}

/// What could not be recorded must not be acknowledged: it stays dirty and its caller gets an error.
void Source::lower_barrier(bool recorded) {
    const Scope scope(*this);
    barrier_ = false;
    while (!barred_.empty()) {
        BlockRequest& request = barred_.pop();
        if (!recorded && request.result == 0) request.result = -EIO;
        completions_.push(request);
    }
}

/// Leaves mirroring or resync with the links kept.
void Source::leave(MirrorState state, PauseCause cause) {
    const bool promotable = sends_all();
    phase_ = Phase::none;
    endgame_ = false;
    set_state(state, cause);
    if (promotable && owes_answers()) raise_barrier();
    release_held();
    retry_overlapped();
}

/// Goes to paused by itself; what is queued is still sent, then after `retry_after` a partial resync follows.
/// Spec: REP-106, REP-139 to REP-143.
void Source::interrupt_resync(PauseCause cause, milliseconds retry_after) {
    if (state_ == MirrorState::paused) return;
    // Nothing can be drained without links.
    if (suspended_) return lose_links("the link was interrupted and the write queue is full", cause, true);
    resume_delay_ = std::max(retry_after, milliseconds(1));
    resume_at_.reset();
    leave(MirrorState::paused, cause);
}

// --- messages

void Source::on_data(const wire::Header& header, const std::byte* payload, Instant now) {
    const Scope scope(*this);
    if (!linked_) return;
    now_ = last_heard_ = now;
    const bool numbered = header.type == wire::Type::write_ack || header.type == wire::Type::flush_ack ||
                          header.type == wire::Type::in_sync;
    if (suspended_ && numbered) return protocol_error("an acknowledgement before the answer to resume");
    switch (header.type) {
        case wire::Type::write_ack:
            return acknowledge(header);
        case wire::Type::flush_ack:
        case wire::Type::in_sync:
            return flush_acknowledged(header);
        case wire::Type::pong:
            return;
        case wire::Type::ping: {
            wire::Header answer;
            answer.type = wire::Type::pong;
            answer.argument = header.argument;
            return send_control(answer);
        }
        case wire::Type::bitmap_data:
            return take_bits(header, payload);
        case wire::Type::resync_ready:
            if (phase_ == Phase::announce) run_resync();
            return;
        case wire::Type::resume_ack:
            return resume_acknowledged(header);
        case wire::Type::error:
        case wire::Type::bye:
            return lose_links(
                fmt::format("the target closed the link: {}",
                            std::string_view(reinterpret_cast<const char*>(payload), header.length)),
                PauseCause::link_lost, true);
        case wire::Type::write:
        case wire::Type::write_zeroes:
        case wire::Type::discard:
        case wire::Type::flush:
        case wire::Type::bitmap_request:
        case wire::Type::resync_begin:
        case wire::Type::resync_block:
        case wire::Type::resync_zeroes:
        case wire::Type::resync_ack:
        case wire::Type::resync_end:
        case wire::Type::compare_block:
        case wire::Type::resume:
            return protocol_error("a source's message on the data link");
    }
}

void Source::on_resync(const wire::Header& header, Instant now) {
    const Scope scope(*this);
    if (!linked_) return;
    now_ = last_heard_ = resync_progress_at_ = now;
    if (header.type != wire::Type::resync_ack) return protocol_error("unexpected message on the resync link");
    if (!block_window_.contains(header.sequence) || block_window_.at(header.sequence) == nullptr)
        return protocol_error("a resync block was acknowledged that is not under way");
    Block& block = *std::exchange(block_window_.at(header.sequence), nullptr);
    block_window_.advance();
    if (block.comparison != 0) return compared_there(block, header.flags);
    if ((header.flags & wire::kFailed) != 0) {
        log_.set_dirty(block.offset, block.length);
        drop_block(block);
        return target_failed();
    }
    block_acknowledged(block);
}

void Source::acknowledge(const wire::Header& header) {
    if ((header.flags & wire::kFailed) != 0) target_failed();
    for (std::uint64_t i = 0; i < header.argument; ++i) {
        const std::uint64_t number = header.sequence + i;
        if (!window_.contains(number) || window_.at(number).write == nullptr) {
            if (number < acknowledged_twice_below_) continue;
            return protocol_error("a write was acknowledged that is not under way");
        }
        Write& write = *std::exchange(window_.at(number), Entry{}).write;
        remote_done(write);
    }
    window_.advance();
    release_held();
    check_ending();
}

void Source::flush_acknowledged(const wire::Header& header) {
    if (!window_.contains(header.sequence) || window_.at(header.sequence).flush == nullptr)
        return protocol_error("a flush was acknowledged that is not under way");
    Flush& flush = *window_.at(header.sequence).flush;
    if ((flush.kind == FlushKind::resync_end) != (header.type == wire::Type::in_sync))
        return protocol_error("wrong answer to a flush");
    const bool failed = (header.flags & wire::kFailed) != 0;
    // A target that cannot keep a snapshot is a good target all the same.
    if (failed && flush.kind != FlushKind::snapshot) target_failed();
    window_.at(header.sequence) = {};
    window_.advance();
    flush.there = false;
    flush.remote_ok = !failed;
    flush_part_done(flush);
    check_ending();
}

/// Spec: REP-076, REP-167. The target stopped writing; what it has of the recent writes is not known.
void Source::target_failed() {
    forget_epochs();
    interrupt_resync(PauseCause::target_error, kRetryDelay);
}

// --- epochs of the intent log

void Source::maybe_close_epoch() {
    if (!linked_ || closing_ != Closing::none || log_.epoch_empty()) return;
    const bool calm = !wrote_since_tick_ && window_.empty() && resyncing_.empty();
    if (!calm && !ending_ && epochs_to_collect_ == 0 && now_ - epoch_closed_at_ < kEpochInterval) return;
    epoch_closed_at_ = now_;
    log_.close_epoch();
    epoch_ ^= 1U;
    ++epoch_serial_;
    closing_ = Closing::waiting;
    closing_local_started_ = closing_local_ok_ = closing_remote_sent_ = closing_remote_ok_ = false;
    epoch_progress();
}

/// The closing epoch's bits go when everything written in it is durable on both ends: here after its last
/// local write and a flush; there after its last resync block and a flush behind its last write. Spec:
/// REP-078.
void Source::epoch_progress() {
    if (closing_ == Closing::none) return;
    const unsigned closing = epoch_ ^ 1U;
    if (!closing_local_started_ && epoch_local_[closing] == 0) {
        closing_local_started_ = true;
        flush_here(new_flush(FlushKind::epoch_local, nullptr));
    }
    if (!closing_remote_sent_ && epoch_blocks_[closing] == 0) {
        closing_remote_sent_ = true;
        flush_there(new_flush(FlushKind::epoch_remote, nullptr), wire::Type::flush);
    }
    if (!closing_local_ok_ || !closing_remote_ok_) return;
    closing_ = Closing::none;
    ++epoch_serial_;
    log_.epoch_durable();
    if (epochs_to_collect_ == 0) return;
    --epochs_to_collect_;
    log_.collect(0);
    if (log_.wants_commit()) driver_.commit_log();
}

// --- time

void Source::tick(Instant now) {
    const Scope scope(*this);
    // A process that did not run itself must not blame the other end for the silence.
    if (now - last_tick_ >
        std::max<Instant::duration>(std::chrono::seconds(1), milliseconds(parameters_.ping_interval_ms)))
        last_heard_ = resync_progress_at_ = now;
    now_ = last_tick_ = now;
    if (wrote_since_tick_) last_write_at_ = now;
    notice_failed_flushes();  // those of others, when there are several targets

    if (linked_ && now - last_heard_ > detection_interval())
        lose_links(fmt::format("no answer from the target for {} ms", detection_interval().count()),
                   PauseCause::link_lost, true);
    notice_silence();
    if (linked_ && !block_window_.empty() && now - resync_progress_at_ > detection_interval())
        lose_links("the target does not acknowledge resync blocks", PauseCause::link_lost, true);
    if (linked_ && now - last_ping_ >= milliseconds(parameters_.ping_interval_ms)) {
        last_ping_ = now;
        wire::Header ping;
        ping.type = wire::Type::ping;
        send_control(ping);
    }
    if (endgame_ && now - endgame_since_ > milliseconds(parameters_.resync_block_writes_timeout_ms))
        interrupt_resync(PauseCause::write_block_timeout, kRetryDelay);  // Spec: REP-117

    if (linked_ && state_ == MirrorState::paused && resume_delay_ > milliseconds(0) && !ending_ &&
        window_.empty() && resyncing_.empty()) {
        if (!resume_at_) resume_at_ = now + resume_delay_;
        if (now >= *resume_at_) {
            resume_at_.reset();
            resume_delay_ = {};
            begin_resync(false);
        }
    }
    check_lag();
    maybe_close_epoch();
    if (log_.commits() - commits_at_tick_ > kBusyCommits) log_.mark_ahead(kWarmBits);
    commits_at_tick_ = log_.commits();
    if (now - collected_at_ >= kCollectInterval) {
        collected_at_ = now;
        const bool idle_now = now - last_write_at_ >= kCollectInterval;
        log_.collect(idle_now ? 0 : kWarmBits);  // Spec: REP-053
        if (idle_now) log_.mark_ahead(0);
        if (now - aged_at_ >= kAgeInterval) {
            aged_at_ = now;
            log_.age();
        }
        if (log_.wants_commit()) driver_.commit_log();
    }
    wrote_since_tick_ = false;
    pump();
    pump_comparison();
    check_ending();
}

/// An idle mirror owes the answers to pings only.
void Source::notice_silence() {
    if (!linked_ || window_.empty()) {
        owed_since_.reset();
    } else if (!owed_since_) {
        owed_since_ = now_;
    }
    const auto silence = now_ - last_heard_;
    const bool answer_due = owed_since_ && now_ - *owed_since_ >= kSilence && silence >= kSilence;
    const bool pong_due = silence >= 2 * milliseconds(parameters_.ping_interval_ms);
    if (!linked_ || !(answer_due || pong_due) || now_ - silence_told_ < kSilence) return;
    silence_told_ = now_;
    driver_.target_silent();
}

// --- administration

void Source::pause(std::function<void(Result<>)> done) {
    const Scope scope(*this);
    if (ending_) return done(fail(Code::failure, "a pause or a change of roles is under way already"));
    switch (state_) {
        case MirrorState::none:
        case MirrorState::invalid:
            return done(fail(Code::failure, "there is no mirror to pause"));
        case MirrorState::broken:
            return done(fail(Code::failure, "the mirror is broken; resync it instead"));
        case MirrorState::mirroring:
        case MirrorState::resync:
        case MirrorState::paused:
        case MirrorState::pending:
            break;
    }
    resume_delay_ = {};
    resume_at_.reset();
    ending_ = Ending{false, state_ == MirrorState::mirroring, now_ + detection_interval(), std::move(done)};
    leave(MirrorState::paused, PauseCause::user);  // Spec: REP-150, REP-159
    check_ending();
}

void Source::resume() {
    const Scope scope(*this);
    if (state_ != MirrorState::paused && state_ != MirrorState::broken) return;  // Spec: REP-160
    if (ending_) return;
    if (linked_) {
        begin_resync(false);
    } else {
        set_state(MirrorState::pending, PauseCause::none);
    }
}

void Source::break_mirror() {
    const Scope scope(*this);
    // Without memory for it the state alone asks for a full resync. Spec: REP-161
    (void)log_.set_all_dirty();
    log_.persist();
    if (log_.wants_commit()) driver_.commit_log();
    leave(MirrorState::broken, PauseCause::user);
    lose_links("the mirror was broken", PauseCause::user, false);
}

void Source::quiesce(std::function<void(Result<>)> done) {
    const Scope scope(*this);
    if (ending_) return done(fail(Code::failure, "a pause or a change of roles is under way already"));
    quiesced_ = true;
    ending_ = Ending{true, state_ == MirrorState::mirroring, now_ + detection_interval(), std::move(done)};
    check_ending();
}

/// Pause and quiesce end when both ends have everything, or the target is too slow or gone.
void Source::check_ending() {
    if (!ending_) return;
    const bool quiesce = ending_->quiesce;
    if (quiesce && (!local_.empty() || !held_.empty() || !overlapped_.empty() || !log_waiters_.empty()))
        return;
    if (!linked_ || (suspended_ && !quiesce))
        return finish_ending(
            quiesce && ending_->was_mirroring
                ? Result<>(fail(Code::unreachable, "the target was lost before it had everything"))
                : Result<>());
    const bool late = now_ >= ending_->deadline;
    if (quiesce && !ending_->was_mirroring) return finish_ending({});
    if (window_.empty() && resyncing_.empty() && closing_ == Closing::none && log_.epoch_empty())
        return finish_ending({});
    if (late)
        return finish_ending(quiesce ? Result<>(fail(Code::unreachable, "the target did not confirm in time"))
                                     : Result<>());
    if (window_.empty() && resyncing_.empty()) maybe_close_epoch();
}

void Source::finish_ending(Result<> result) {
    Ending ending = std::move(*ending_);
    ending_.reset();
    if (!ending.quiesce) lose_links("paused by the user", PauseCause::user, false);
    ending.done(std::move(result));
}

}  // namespace understudy::mirror
