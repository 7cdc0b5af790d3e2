// How a source goes on without its target: its own record first, then the cluster's notes, then the writes.
// Spec: REP-079.
//
//   link lost (gate closed, completions held) -> new generation in the record
//     -> note on every node that is alive -> completions and gate released
//                                         \-> not within NDLGTimeoutMs: writes fail, or go on by setting

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"

#include <fmt/chrono.h>

#include <ctime>
#include <span>

namespace understudy::mirror::control {

using runtime::Task;

std::string Mirror::mirror_hex() const {
    return text::hex(std::as_bytes(std::span(record_.uuid)));
}

void Mirror::begin_alone(MirrorRecord& record) {
    record.generations.begin_alone(fresh_id());
    record.alone_noted = false;
    record.alone_since_s =
        std::chrono::duration_cast<std::chrono::seconds>(world_.clock.wall().time_since_epoch()).count();
    peer_noted_ = false;
}

/// Before this end accepts a write that the peer will not get.
Result<> Mirror::go_alone() {
    if (!record_.generations.peer_may_hold_current) return {};
    MirrorRecord next = record_;
    begin_alone(next);
    return commit(std::move(next));
}

/// An asynchronous mirror tells the cluster as well, but does not wait for it.
bool Mirror::may_write_alone() const {
    return !record_.generations.peer_may_hold_current &&
           (record_.alone_noted || record_.type == MirrorType::async);
}

void Mirror::go_alone_until_recorded(DegradeAnswer answer) {
    if (answer) alone_waiters_.push_back(std::move(answer));
    alone_wanted_ = true;
    if (!recording_alone_) tasks_.spawn(record_alone());
}

void Mirror::answer_alone_waiters(bool recorded) {
    for (const DegradeAnswer& answer : std::exchange(alone_waiters_, {}))
        answer(recorded);
}

Task<> Mirror::record_alone() {
    recording_alone_ = true;
    const auto deadline = world_.clock.now() + around_.degrade.limit;
    while (source() && !closing_) {
        if (alone_wanted_) {
            // A full disk must not become a write that nobody knows of: it waits until the record can be
            // written.
            if (auto recorded = go_alone(); !recorded) {
                tell_alone_problem(
                    fmt::format("{}; writes wait until it is recorded", recorded.error().text));
                co_await runtime::sleep_for(world_.tasks, kRecordRetry);
                continue;
            }
            alone_wanted_ = false;
        }
        if (record_.alone_noted) break;
        // A resync that ended meanwhile: the target has everything.
        if (linked_ && state_ == MirrorState::mirroring && record_.generations.peer_may_hold_current) break;
        if (may_write_alone()) {
            answer_alone_waiters(true);
            update_gate();
        }
        Result<> posted = co_await post_note();
        if (posted) continue;
        if (!may_write_alone() && !writes_refused_) {
            tell_alone_problem(
                fmt::format("writes wait until the cluster knows that the copy of {} is out of date: {}",
                            record_.remote_node, posted.error().text));
            if (world_.clock.now() >= deadline) give_up_on_note(posted.error().text);
        }
        co_await runtime::sleep_for(world_.tasks, kNoteRetry);
    }
    recording_alone_ = false;
    alone_problem_.clear();
    if (closing_) {
        // Their makers ask the next process.
        alone_waiters_.clear();
        co_return;
    }
    if (std::exchange(writes_refused_, false))
        messages::info("volume {}: writes are accepted again", record_.volume.str());
    // What was not recorded before the role went must not be acknowledged.
    answer_alone_waiters(source());
    update_gate();
    // A note that a session overtook is of no use.
    if (linked_) schedule_notes();
}

/// Attempts to reach the peer go on meanwhile and have a text of their own.
void Mirror::tell_alone_problem(std::string text) {
    if (text == alone_problem_) return;
    messages::error("volume {}: {}", record_.volume.str(), text);
    alone_problem_ = std::move(text);
}

/// The cluster cannot be told. Spec: REP-079, REP-217.
void Mirror::give_up_on_note(const std::string& why) {
    if (!around_.degrade.refuse_writes) {
        MirrorRecord next = record_;
        next.alone_noted = true;
        if (auto saved = commit(std::move(next)); !saved) return alarm(saved.error().text);
        messages::warning(
            "volume {}: {} goes on without {} although the cluster could not be told ({}): a takeover there "
            "would lose writes (BlockWritesOnNDLGTimeoutReached=0)",
            record_.volume.str(), around_.node, record_.remote_node, why);
        return schedule_notes();
    }
    writes_refused_ = true;
    tell_alone_problem(fmt::format(
        "writes fail: {} is not reachable, and the cluster could not be told within {} ms that "
        "its copy is out of date: {}. Start understudyd on this node (lkstart), or bring the "
        "mirror back",
        record_.remote_node,
        std::chrono::duration_cast<std::chrono::milliseconds>(around_.degrade.limit).count(), why));
    answer_alone_waiters(false);
    update_gate();
}

/// Success: the record says that the cluster knows this generation.
Task<Result<>> Mirror::post_note() {
    auto held = co_await notes_lock_.acquire(kOperationWait);
    if (!held) co_return fail(Code::failure, "an earlier note is still being written");
    if (closing_) co_return fail(Code::failure, "the mirror is being removed");
    BehindNote note;
    note.volume = record_.volume;
    note.source = around_.node;
    note.mirror = mirror_hex();
    note.role_epoch = record_.role_epoch;
    note.generation = record_.generations.current;
    note.since_s = record_.alone_since_s;
    notes_left_ = true;
    Result<bool> posted = true;
    if (around_.notes) posted = co_await around_.notes->post(note, record_.remote_node);
    if (!posted) co_return fail(posted.error());
    if (note.generation != record_.generations.current || !source()) co_return Result<>{};
    peer_noted_ = *posted;
    if (!peer_noted_) schedule_notes();
    MirrorRecord next = record_;
    next.alone_noted = true;
    auto saved = commit(std::move(next));
    co_return saved;
}

void Mirror::schedule_notes() {
    if (note_timer_) world_.tasks.cancel(*note_timer_);
    note_timer_ = world_.tasks.after(kNoteRefresh, [this] {
        note_timer_.reset();
        tasks_.spawn(keep_notes());
    });
}

/// Brings the notes to where they could not be brought before, or takes them away when they are of no use.
Task<> Mirror::keep_notes() {
    if (!around_.notes || !source() || closing_ || recording_alone_) co_return;
    const bool alone = !record_.generations.peer_may_hold_current;
    if (alone && !peer_noted_) {
        Result<> posted = co_await post_note();
        if (!posted) schedule_notes();
        co_return;
    }
    if (alone || !notes_left_ || !linked_ || state_ != MirrorState::mirroring) co_return;
    auto held = co_await notes_lock_.acquire(kOperationWait);
    // The link may have gone while this waited: the notes are of use again.
    if (!held || !linked_ || state_ != MirrorState::mirroring) co_return;
    Result<bool> gone = co_await around_.notes->withdraw(record_.volume, record_.remote_node);
    notes_left_ = !gone || !*gone;
    if (notes_left_) schedule_notes();
}

// --- a target that says nothing

/// Heartbeats find a node DEAD many times sooner than missing pings of the mirror lose its link (REP-095),
/// and synchronous writes wait all that time. The question is asked only while an answer is owed, so an idle
/// cluster daemon is left alone, and one that is absent leaves the pings to decide.
void Mirror::target_silent() {
    if (!around_.notes || !source() || !(linked_ || interrupted_) || closing_ || asking_after_target_) return;
    tasks_.spawn(ask_whether_target_died(session_));
}

Task<> Mirror::ask_whether_target_died(std::uint64_t session) {
    asking_after_target_ = true;
    const bool dead = co_await around_.notes->is_dead(record_.remote_node);
    asking_after_target_ = false;
    // The session that the question was about may have ended meanwhile.
    if (!dead || session != session_ || !(linked_ || interrupted_) || !source() || closing_) co_return;
    host_->detach();
    link_lost("the cluster has found its node DEAD");
}

/// Whether the cluster knows that this end lacks writes which its peer, now silent, has accepted.
Task<Result<>> Mirror::check_not_behind() {
    std::string since;
    bool behind = record_.role == Role::target && record_.outdated;
    if (around_.notes) {
        auto notes = co_await around_.notes->read(record_.volume);
        if (!notes && !behind && record_.role == Role::target)
            co_return fail(
                Code::failure,
                "{} does not answer and it cannot be told whether volume {} of {} is up to date: {}; "
                "--force accepts that it may not be",
                record_.remote_node, record_.volume.str(), around_.node, notes.error().text);
        for (const BehindNote& note : notes ? *notes : std::vector<BehindNote>()) {
            if (!is_behind(note, around_.node, mirror_hex(), record_.role_epoch, record_.generations))
                continue;
            behind = true;
            const auto at = static_cast<std::time_t>(note.since_s);
            since = fmt::format(" at {:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(at));
        }
    }
    if (!behind) co_return Result<>{};
    co_return fail(
        Code::failure,
        "the copy of volume {0} on {1} is out of date: {2} went on without it{3}, and what {2} wrote "
        "since then is missing here. Bring {2} back and let the mirror come into sync; to accept the "
        "loss, run \"understudy mirror promote --force {0}\" on {1}",
        record_.volume.str(), around_.node, record_.remote_node, since);
}

}  // namespace understudy::mirror::control
