// A target opened to local use and closed again; broken mirrors and full resyncs.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"

#include <algorithm>

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

/// Unlocked, a target is served like a source that is paused: its intent log has every block that is written,
/// and the next resync sends those blocks too. It stays target by its record. Of several peers only the log
/// of its source counts; from another one it then gets everything. Spec: REP-202, EMC-259.
Task<Result<>> Mirror::serve_unlocked() {
    become_unlocked();
    update_gate();
    co_return co_await start_export();
}

void Mirror::become_unlocked() {
    for (const std::string& peer : names()) {
        if (!record_.origin.empty() && peer != record_.origin) continue;
        host_->become_source(peer, MirrorState::paused, PauseCause::user, !record_.peer(peer)->log_valid);
        legs_.at(peer).state = MirrorState::paused;
    }
}

/// What a target is that is not unlocked.
void Mirror::become_target() {
    for (const std::string& peer : names())
        if (record_.origin.empty() || record_.origin == peer) host_->become_target(peer);
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
    const std::string from = record_.origin.empty() ? record_.peers.front().node : record_.origin;
    const EndSummary self = co_await summary(from);
    const bool copying = std::any_of(legs_.begin(), legs_.end(), [](const auto& leg) {
        return leg.second.linked && leg.second.state != MirrorState::mirroring;
    });
    if (!self.consistent || copying)
        co_return fail(Code::has_dependents,
                       "volume {} on {} is being resynchronised, or its resync was interrupted: what it "
                       "holds is a mixture of old and new blocks",
                       record_.volume.str(), around_.node);
    const VolumeStatus volume = co_await host_->status(from);
    if (!volume.log_valid) {
        note(Event::no_unlock_without_log, from, "its log cannot be written");
        co_return fail(
            Code::failure,
            "volume {} on {}: its intent log cannot be written, and what is written here could not be "
            "tracked; it can be unlocked after the next start of mirrord (event 169)",
            record_.volume.str(), around_.node);
    }
    around_.links.forget(record_.volume);
    Result<> ready;
    MirrorRecord next = record_;
    for (const std::string& peer : names()) {
        Leg& leg = legs_.at(peer);
        ++leg.session;  // a session that is being made ends here
        if (record_.origin.empty() || record_.origin == peer) {
            auto drained = co_await host_->drain(peer);
            if (!drained && ready) ready = std::move(drained);
        }
        // The source finds the link gone, and at its next call that this end is unlocked: it pauses for good.
        drop_link(leg, peer);
        next.peer(peer)->state = MirrorState::paused;
    }
    next.unlocked = true;
    next.outdated = true;  // it will hold what its source never had
    if (ready) ready = commit(std::move(next));
    if (!ready) co_return fail(ready.error());
    auto served = co_await serve_unlocked();
    if (served) {
        messages::warning(
            "volume {}: unlocked on {}; what is written here is overwritten by the next continue",
            record_.volume.str(), around_.node);
        co_return device_path_;
    }
    become_target();
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
    become_target();
    update_gate();
    messages::info("volume {}: locked on {}", record_.volume.str(), around_.node);
    co_return Result<>{};
}

/// Every bit of the log is set, so that whatever follows is a full resync. Spec: EMC-088, REP-161.
Task<Result<>> Mirror::break_locked(std::string peer, std::string cause) {
    MirrorRecord next = record_;
    next.peer(peer)->full_cause = std::move(cause);
    next.peer(peer)->user_requested = true;
    next.peer(peer)->cause = PauseCause::user;
    // The generation is on disk before the first write that the target will not get.
    if (next.generations(peer).peer_may_hold_current) begin_alone(next);
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    Leg& leg = legs_.at(peer);  // stays: removal needs the lock
    if (open_ && leg.linked) {
        // The target ends with everything that was sent: a broken copy is at least one of a moment.
        auto paused = co_await host_->pause(peer);
        if (!paused) messages::warning("volume {}: {}", record_.volume.str(), paused.error().text);
    }
    tell(Event::broken, peer,
         fmt::format("the mirror with {} is broken: all of it has to be sent again", peer));
    if (open_) {
        drop_link(leg, peer);
        host_->break_mirror(peer);
        co_await host_->status(peer);  // what was asked of the volume has happened
    }
    leg.unlink();
    leg.state = MirrorState::broken;
    next = record_;
    next.peer(peer)->state = MirrorState::broken;
    saved = commit(std::move(next));
    update_gate();
    // The other targets are told of the new generation.
    if (!targets_know()) go_alone_until_recorded({});
    co_return saved;
}

Task<Result<>> Mirror::break_mirror(std::string peer) {
    const auto begun = co_await begin_on_source(std::move(peer), "break");
    if (!begun) co_return fail(begun.error());
    for (const std::string& one : begun->peers) {
        if (record_.peer(one)->state == MirrorState::broken && record_.peer(one)->user_requested) continue;
        auto broken = co_await break_locked(one, "the mirror was broken by command");
        if (!broken) co_return fail(broken.error());
        tasks_.spawn(notify_task(one, request(RequestKind::pause_notice, one)));
    }
    co_return Result<>{};
}

/// Spec: EMC-235, REP-162.
Task<Result<>> Mirror::resync(std::string peer) {
    const auto begun = co_await begin_on_source(std::move(peer), "resync");
    if (!begun) co_return fail(begun.error());
    for (const std::string& one : begun->peers)
        if (record_.peer(one)->split_brain) co_return fail(Code::failure, "{}", record_.peer(one)->problem);
    for (const std::string& one : begun->peers) {
        auto broken = co_await break_locked(one, "a full resync was asked for by command");
        if (!broken) co_return fail(broken.error());
        MirrorRecord next = record_;
        next.peer(one)->user_requested = false;
        next.peer(one)->problem.clear();
        auto saved = commit(std::move(next));
        if (!saved) co_return fail(saved.error());
        legs_.at(one).problem.clear();
        legs_.at(one).backoff = kConnectBackoffStart;
        schedule_connect(one, 0s);
    }
    problem_.clear();
    co_return Result<>{};
}

}  // namespace understudy::mirror::control
