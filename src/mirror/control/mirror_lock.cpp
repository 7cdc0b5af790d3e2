// A target opened to local use and closed again; broken mirrors and full resyncs.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

namespace {

tl::unexpected<Error> busy(const MirrorRecord& record) {
    return fail(Code::failure, "another operation on volume {} is still running; try again",
                record.volume.str());
}

}  // namespace

/// Unlocked, a target is served like a source that is paused: its intent log has every block that is written,
/// and the next resync sends those blocks too. It stays target by its record. Spec: REP-202, EMC-259.
Task<Result<>> Mirror::serve_unlocked() {
    host_->become_source(MirrorState::paused, PauseCause::user, !record_.log_valid);
    state_ = MirrorState::paused;
    update_gate();
    co_return co_await start_export();
}

/// Spec: EMC-083, EMC-257, EMC-258, EMC-259, MOP-103, MOP-104.
Task<Result<std::string>> Mirror::unlock() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!open_ || closing_)
        co_return fail(Code::failure, "volume {} is not open on {}: {}", record_.volume.str(), around_.node,
                       problem_);
    if (source() || record_.unlocked) co_return device_path_;
    if (has_snapshot())
        co_return fail(Code::has_dependents, "volume {} has a snapshot on {}: drop it first",
                       record_.volume.str(), around_.node);
    const EndSummary self = co_await summary();
    const bool copying = linked_ && (state_ == MirrorState::resync || state_ == MirrorState::pending);
    if (!self.consistent || copying)
        co_return fail(Code::has_dependents,
                       "volume {} on {} is being resynchronised, or its resync was interrupted: what it "
                       "holds is a mixture of old and new blocks",
                       record_.volume.str(), around_.node);
    ++session_;  // a session that is being made ends here
    around_.links.forget(record_.volume);
    Result<> ready = co_await host_->drain();
    // The source finds the link gone, and at its next call that this end is unlocked: it pauses for good.
    host_->detach();
    unlink();
    MirrorRecord next = record_;
    next.unlocked = true;
    next.outdated = true;  // it will hold what its source never had
    next.state = MirrorState::paused;
    if (ready) ready = commit(std::move(next));
    if (!ready) co_return fail(ready.error());
    auto served = co_await serve_unlocked();
    if (served) {
        messages::warning(
            "volume {}: unlocked on {}; what is written here is overwritten by the next continue",
            record_.volume.str(), around_.node);
        co_return device_path_;
    }
    host_->become_target();
    next = record_;
    next.unlocked = false;
    if (auto undone = commit(std::move(next)); !undone) alarm(undone.error().text);
    co_return fail(served.error());
}

/// Spec: EMC-218, EMC-220, MOP-107.
Task<Result<>> Mirror::lock_target() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (source())
        co_return fail(Code::bad_argument, "{} is source of volume {}: its volume is in use, not locked",
                       around_.node, record_.volume.str());
    if (!record_.unlocked) co_return Result<>{};
    if (exporting_) {
        auto stopped = co_await take_down_export(false);
        if (!stopped) co_return fail(stopped.error());
    }
    MirrorRecord next = record_;
    next.unlocked = false;
    auto saved = commit(std::move(next));
    if (!saved) {
        auto served = co_await start_export();
        if (!served) alarm(served.error().text);
        co_return fail(saved.error());
    }
    host_->become_target();
    update_gate();
    messages::info("volume {}: locked on {}", record_.volume.str(), around_.node);
    co_return Result<>{};
}

/// Every bit of the log is set, so that whatever follows is a full resync. Spec: EMC-088, REP-161.
Task<Result<>> Mirror::break_locked() {
    MirrorRecord next = record_;
    next.user_requested = true;
    next.cause = PauseCause::user;
    // The generation is on disk before the first write that the target will not get.
    if (next.generations.peer_may_hold_current) begin_alone(next);
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    if (open_ && linked_) {
        // The target ends with everything that was sent: a broken copy is at least one of a moment.
        auto paused = co_await host_->pause();
        if (!paused) messages::warning("volume {}: {}", record_.volume.str(), paused.error().text);
    }
    if (open_) {
        host_->detach();
        host_->break_mirror();
        co_await host_->status();  // what was asked of the volume has happened
    }
    unlink();
    hold_for_session_ = false;
    state_ = MirrorState::broken;
    next = record_;
    next.state = MirrorState::broken;
    saved = commit(std::move(next));
    update_gate();
    co_return saved;
}

Task<Result<>> Mirror::break_mirror() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source())
        co_return fail(Code::bad_argument, "{} is target of volume {}: break it on its source {}",
                       around_.node, record_.volume.str(), record_.remote_node);
    if (record_.state == MirrorState::broken && record_.user_requested) co_return Result<>{};
    auto broken = co_await break_locked();
    if (broken) notify_pause();
    co_return broken;
}

/// Spec: EMC-235, REP-162.
Task<Result<>> Mirror::resync() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source())
        co_return fail(Code::bad_argument, "{} is target of volume {}: resync it on its source {}",
                       around_.node, record_.volume.str(), record_.remote_node);
    if (record_.split_brain) co_return fail(Code::failure, "{}", record_.problem);
    auto broken = co_await break_locked();
    if (!broken) co_return fail(broken.error());
    MirrorRecord next = record_;
    next.user_requested = false;
    next.problem.clear();
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    problem_.clear();
    backoff_ = kConnectBackoffStart;
    schedule_connect(0s);
    co_return Result<>{};
}

}  // namespace understudy::mirror::control
