// What administrators do to one mirror while its roles stay: pause, continue, its type; and yielding in a
// split brain.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"

#include <algorithm>

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

/// Spec: REP-137, REP-159.
Task<Result<>> Mirror::pause(std::string peer) {
    const auto begun = co_await begin_on_source(std::move(peer), "pause");
    if (!begun) co_return fail(begun.error());
    Result<> result;
    for (const std::string& one : begun->peers) {
        auto paused = co_await pause_one(one);
        if (!paused && result) result = std::move(paused);
    }
    co_return result;
}

Task<Result<>> Mirror::pause_one(std::string peer) {
    Leg& leg = legs_.at(peer);  // stays: removal needs the lock
    if (leg.state == MirrorState::broken)
        co_return fail(Code::failure, "volume {} is broken, there is nothing to pause", record_.volume.str());
    MirrorRecord next = record_;
    next.peer(peer)->user_requested = true;
    next.peer(peer)->cause = PauseCause::user;
    // The generation is on disk before the first write that the target will not get.
    if (next.generations(peer).peer_may_hold_current) begin_alone(next);
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    Result<> paused;
    if (open_) paused = co_await host_->pause(peer);
    if (open_) drop_link(leg, peer);
    leg.unlink();
    leg.hold = false;
    if (!paused) {
        // The target is recognised by its generation at the next session.
        next = record_;
        next.peer(peer)->user_requested = false;
        if (auto undone = commit(std::move(next)); !undone) alarm(undone.error().text);
        update_gate();
        schedule_connect(peer, kConnectBackoffStart);
        co_return fail(paused.error());
    }
    next = record_;
    next.peer(peer)->state = MirrorState::paused;
    saved = commit(std::move(next));
    update_gate();
    // The other targets are told of the new generation.
    if (!targets_know()) go_alone_until_recorded({});
    tasks_.spawn(notify_task(peer, request(RequestKind::pause_notice, peer)));
    co_return saved;
}

Task<PeerReply> Mirror::on_pause_notice(std::string caller, PeerRequest request) {
    PeerReply reply;
    // Of a source that this end follows no longer it says nothing, nor when it comes so late that this end
    // has followed that generation meanwhile.
    const GenerationId alone = request.summary.generations.current;
    const Leg* leg = find(caller);
    const bool late =
        alone != 0 && (record_.lineage.knows(alone) || (leg && leg->linked && leg->source_current == alone));
    if (!source() && !late && (record_.origin.empty() || record_.origin == caller)) {
        MirrorRecord next = record_;
        next.outdated = true;
        next.peer(caller)->state = MirrorState::paused;
        if (auto saved = commit(std::move(next)); !saved) co_return error_reply(saved.error());
    }
    reply.summary = co_await summary(caller);
    co_return reply;
}

/// Spec: REP-160.
Task<Result<>> Mirror::resume(std::string peer) {
    const auto begun = co_await begin_on_source(std::move(peer), "continue");
    if (!begun) co_return fail(begun.error());
    auto sized = co_await settle_size(false);
    if (!sized) co_return fail(sized.error());
    MirrorRecord next = record_;
    for (const std::string& one : begun->peers) {
        next.peer(one)->user_requested = false;
        next.peer(one)->split_brain = false;
        next.peer(one)->problem.clear();
        if (own_parameters(one).full_resync_on_continue && !legs_.at(one).in_session()) {  // Spec: REP-125
            next.peer(one)->log_complete = false;
            next.peer(one)->distrust_log("AutoResyncOnContinue=2");
        }
    }
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    problem_.clear();
    for (const std::string& one : begun->peers) {
        legs_.at(one).problem.clear();
        legs_.at(one).backoff = kConnectBackoffStart;
        schedule_connect(one, 0s);
        tell(Event::continued, one, fmt::format("mirroring to {} goes on by command", one));
    }
    co_return Result<>{};
}

/// Spec: REP-180, REP-229.
Task<Result<>> Mirror::set_type(std::string peer, MirrorType type) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    auto which = named(peer);
    if (!which) co_return fail(which.error());
    MirrorRecord next = record_;
    for (const std::string& one : *which) {
        if (next.peer(one)->split_brain)
            co_return fail(Code::failure, "the type of volume {} cannot be changed in a split brain",
                           record_.volume.str());
        next.peer(one)->type = type;
    }
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    for (const std::string& one : *which) {
        if (open_) host_->set_type(one, type);
        tasks_.spawn(notify_task(one, request(RequestKind::set_type, one)));
    }
    update_gate();
    co_return Result<>{};
}

Task<PeerReply> Mirror::on_set_type(std::string caller, PeerRequest request) {
    PeerReply reply;
    if (request.type != MirrorType::none && request.type != record_.peer(caller)->type) {
        MirrorRecord next = record_;
        next.peer(caller)->type = request.type;
        if (auto saved = commit(std::move(next)); !saved) co_return error_reply(saved.error());
        if (open_) host_->set_type(caller, request.type);
    }
    reply.summary = co_await summary(caller);
    co_return reply;
}

/// The loser, and any target that followed it.
Task<Result<>> Mirror::yield_to_peer() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    const bool split = std::any_of(record_.peers.begin(), record_.peers.end(),
                                   [](const PeerRecord& peer) { return peer.split_brain; });
    const bool follower =
        !source() && record_.peers.size() > 1 &&
        std::none_of(legs_.begin(), legs_.end(), [](const auto& leg) { return leg.second.linked; });
    if (!follower && (!source() || !split))
        co_return fail(Code::failure, "volume {} is in no split brain on {}", record_.volume.str(),
                       around_.node);
    if (exporting_) {
        auto stopped = co_await take_down_export(false);
        if (!stopped) co_return fail(stopped.error());
    }
    MirrorRecord next = record_;
    next.role = Role::target;
    next.yielded = true;
    next.outdated = true;
    next.demoted = false;
    if (source()) next.origin.clear();
    for (PeerRecord& one : next.peers) {
        one.split_brain = false;
        one.user_requested = false;
        one.problem.clear();
    }
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    problem_.clear();
    for (auto& [peer, leg] : legs_) {
        leg.problem.clear();
        drop_link(leg, peer);
        host_->become_target(peer);
    }
    update_gate();
    messages::warning("volume {}: {} yields; its changes since the split will be overwritten",
                      record_.volume.str(), around_.node);
    co_return Result<>{};
}

}  // namespace understudy::mirror::control
