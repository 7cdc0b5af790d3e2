// Who is source: promotion, giving up the device, pause and the end of a mirror.

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

PeerReply error_reply(const Error& error) {
    PeerReply reply;
    reply.code = error.code == Code::ok ? Code::failure : error.code;
    reply.error = error.text;
    return reply;
}

}  // namespace

// --- promotion

Task<Result<std::string>> Mirror::promote(PromoteOptions options) {
    Promotion first = co_await promote_once(options);
    if (!first) co_return fail(first.error());
    if (*first) co_return **first;
    // The peer was promoted while this end was down: follow it, then take the role over as planned.
    auto followed = co_await wait_in_sync(kReturnLimit);
    if (!followed) co_return fail(followed.error());
    Promotion second = co_await promote_once(options);
    if (!second) co_return fail(second.error());
    if (*second) co_return **second;
    co_return fail(Code::failure, "{} is source of volume {} and keeps it", record_.remote_node,
                   record_.volume.str());
}

Task<Mirror::Promotion> Mirror::promote_once(PromoteOptions options) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!open_)
        co_return fail(Code::failure, "volume {} cannot be used on {}: {}", record_.volume.str(),
                       around_.node, problem_.empty() ? "its device is not open" : problem_);
    if (closing_) co_return fail(Code::failure, "mirrord is stopping");
    if (!source()) co_return co_await take_over(options);
    if (!record_.demoted && exporting_) {
        if (linked_ || options.force) co_return std::optional<std::string>(device_path_);
        // Its peer may have taken over while it was down, and be dead again; only the cluster knows.
        auto current = co_await check_not_behind();
        if (current) co_return std::optional<std::string>(device_path_);
    }
    co_return co_await serve_again(options);
}

/// A source that gave up its device, or could not offer it at its start.
Task<Mirror::Promotion> Mirror::serve_again(PromoteOptions options) {
    Result<PeerReply> reply = co_await call_peer(
        world_, peer_address(), request(RequestKind::query),
        {.connect = options.peer_dead ? kTakeoverProbeDead : kTakeoverProbe, .answer = kQueryLimit});
    if (reply) {
        const EndSummary self = co_await summary();
        const Decision decision = decide(self, reply->summary);
        if (decision.verdict == Verdict::become_target) {
            co_await step_down(decision.why);
            co_return std::optional<std::string>();
        }
        if (decision.verdict == Verdict::split_brain) {
            enter_split_brain(decision.why);
            co_return fail(Code::failure, "{}", record_.problem);
        }
    }
    if (!reply && !options.force) {
        auto current = co_await check_not_behind();
        if (!current) co_return fail(current.error());
    }
    if (record_.demoted) {
        MirrorRecord next = record_;
        next.demoted = false;
        auto saved = commit(std::move(next));
        if (!saved) co_return fail(saved.error());
        accept_requests_again();
        if (reply) hold_for_session();
    }
    auto started = co_await start_export();
    if (!started) co_return fail(started.error());
    co_return std::optional<std::string>(device_path_);
}

/// Undoes a quiesce; the session starts anew.
void Mirror::accept_requests_again() {
    host_->detach();
    unlink();
    host_->become_source(MirrorState::paused,
                         record_.user_requested ? PauseCause::user : PauseCause::link_lost,
                         !record_.log_valid);
    role_checked_ = true;
    update_gate();
    backoff_ = kConnectBackoffStart;
    schedule_connect(0s);
}

/// Whether this target may become source now; asks a living source to give up its device. Spec: REP-189,
/// REP-233, REP-234.
Task<Result<>> Mirror::check_promotable(PromoteOptions options, bool* peer_gave_up, bool* peer_answers) {
    // Spec: REP-317
    if (has_snapshot())
        co_return fail(
            Code::has_dependents,
            "volume {} has a snapshot on {}: end it first with \"understudy mirror snapshot drop {}\"",
            record_.volume.str(), around_.node, record_.volume.str());
    const EndSummary self = co_await summary();
    if (const std::string problem = promotion_problem(self); !problem.empty())
        co_return fail(Code::failure, "{}", problem);
    PeerRequest demand = request(RequestKind::demote);
    demand.summary = self;
    Result<PeerReply> reply = co_await call_peer(
        world_, peer_address(), demand,
        {.connect = options.peer_dead ? kTakeoverProbeDead : kTakeoverProbe, .answer = kDemoteLimit});
    *peer_answers = reply.has_value();
    if (!reply && reply.error().code != Code::unreachable)
        co_return fail(reply.error().code, "{} does not hand over volume {}: {}", record_.remote_node,
                       record_.volume.str(), reply.error().text);
    if (!reply) {
        messages::warning("volume {}: taking over without {}: {}", record_.volume.str(), record_.remote_node,
                          reply.error().text);
        if (options.force) co_return Result<>{};
        co_return co_await check_not_behind();
    }
    const EndSummary& peer = reply->summary;
    if (peer.uuid != self.uuid)
        co_return fail(Code::failure, "volume {} of {} belongs to another mirror", self.volume.str(),
                       peer.node);
    if (peer.role == Role::source) {
        *peer_gave_up = reply->was_serving;
        if (peer.generations.current != self.generations.current)
            co_return fail(Code::failure,
                           "volume {} on {} is not what {} holds: wait until the mirror is in sync",
                           self.volume.str(), self.node, peer.node);
        co_return Result<>{};
    }
    if (peer.generations.current != self.generations.current &&
        peer.generations.knows(self.generations.current))
        co_return fail(Code::failure, "{} holds newer data of volume {}: promote it there", peer.node,
                       self.volume.str());
    co_return Result<>{};
}

Task<Mirror::Promotion> Mirror::take_over(PromoteOptions options) {
    bool peer_gave_up = false;
    bool peer_answers = false;
    auto allowed = co_await check_promotable(options, &peer_gave_up, &peer_answers);
    if (!allowed) {
        if (peer_gave_up) tasks_.spawn(notify_task(request(RequestKind::serve_again)));
        co_return fail(allowed.error());
    }

    ++session_;  // a session that is being made ends here
    around_.links.forget(record_.volume);
    Result<> ready = co_await host_->drain();
    host_->detach();
    unlink();
    if (ready) {
        // The last block of a resync may have come just now, or have been missing all the time.
        const EndSummary self = co_await summary();
        const std::string problem = promotion_problem(self);
        if (!problem.empty()) ready = fail(Code::failure, "{}", problem);
    }
    if (ready) {
        MirrorRecord next = record_;
        next.role = Role::source;
        ++next.role_epoch;
        next.generations.sync_base = next.generations.current;
        begin_alone(next);
        next.state = MirrorState::paused;
        next.cause = PauseCause::link_lost;
        next.user_requested = false;
        next.demoted = false;
        next.outdated = false;
        next.problem.clear();
        ready = commit(std::move(next));
    }
    if (!ready) {
        // Nothing has changed here; the old source goes on.
        if (peer_gave_up) tasks_.spawn(notify_task(request(RequestKind::serve_again)));
        co_return fail(ready.error());
    }
    messages::info("volume {}: {} is source now (epoch {})", record_.volume.str(), around_.node,
                   record_.role_epoch);
    host_->become_source(MirrorState::paused, PauseCause::link_lost, !record_.log_valid);
    state_ = MirrorState::paused;
    role_checked_ = true;
    // A peer that is there gets a session with equal ends before the first write; an absent one is not waited
    // for.
    if (peer_answers)
        hold_for_session();
    else
        go_alone_until_recorded({});  // the cluster is told while the export starts
    backoff_ = kConnectBackoffStart;
    schedule_connect(0s);
    auto started = co_await start_export();
    if (!started) co_return fail(started.error());
    co_return std::optional<std::string>(device_path_);
}

// --- giving up

Task<Result<>> Mirror::take_down_export(bool forced) {
    auto stopped = co_await host_->stop_export(forced);
    if (!stopped) co_return fail(stopped.error());
    exporting_ = false;
    device_path_.clear();
    co_return Result<>{};
}

Task<Result<>> Mirror::give_up_device() {
    const bool was_exporting = exporting_;
    if (exporting_) {
        auto stopped = co_await take_down_export(false);
        if (!stopped) co_return fail(stopped.error());
    }
    Result<> quiet = co_await host_->quiesce();
    if (quiet) {
        MirrorRecord next = record_;
        next.demoted = true;
        quiet = commit(std::move(next));
    }
    if (quiet) {
        update_gate();
        co_return Result<>{};
    }
    accept_requests_again();
    if (was_exporting) {
        auto started = co_await start_export();
        if (!started) alarm(started.error().text);
    }
    co_return fail(quiet.error());
}

Task<Result<>> Mirror::demote() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source() && record_.unlocked)
        co_return fail(Code::failure, "volume {} is unlocked on {}: lock it first", record_.volume.str(),
                       around_.node);
    if (!source() || record_.demoted) {
        if (exporting_) co_return co_await take_down_export(false);
        co_return Result<>{};
    }
    if (!open_) co_return fail(Code::failure, "volume {} is not open: {}", record_.volume.str(), problem_);
    co_return co_await give_up_device();
}

/// The target takes over as planned. Spec: REP-233.
Task<PeerReply> Mirror::on_demote(PeerRequest) {
    auto held = co_await lock_.acquire(kDemoteWait);
    if (!held) co_return error_reply(busy(record_).value());
    PeerReply reply;
    if (source()) {
        const auto unfit = [this] {
            return Error{Code::failure,
                         fmt::format("volume {} is not mirroring ({}): only a target in sync can take over",
                                     record_.volume.str(), to_string(state_)),
                         0};
        };
        if (!open_ || record_.split_brain || !linked_ || state_ != MirrorState::mirroring)
            co_return error_reply(unfit());
        const bool was_serving = !record_.demoted;
        if (was_serving) {
            auto given = co_await give_up_device();
            if (!given) co_return error_reply(given.error());
        }
        if (!linked_ || state_ != MirrorState::mirroring || !record_.generations.peer_may_hold_current) {
            // The link went meanwhile: the target may lack the last writes.
            if (was_serving) {
                MirrorRecord next = record_;
                next.demoted = false;
                if (auto saved = commit(std::move(next)); saved) {
                    accept_requests_again();
                    auto started = co_await start_export();
                    if (!started) alarm(started.error().text);
                }
            }
            co_return error_reply(unfit());
        }
        reply.was_serving = was_serving;
    }
    reply.summary = co_await summary();
    reply.state = state_;
    co_return reply;
}

Task<PeerReply> Mirror::on_serve_again(PeerRequest) {
    auto held = co_await lock_.acquire(kDemoteWait);
    if (!held) co_return error_reply(busy(record_).value());
    PeerReply reply;
    if (source() && record_.demoted) {
        MirrorRecord next = record_;
        next.demoted = false;
        auto saved = commit(std::move(next));
        if (!saved) co_return error_reply(saved.error());
        accept_requests_again();
        auto started = co_await start_export();
        if (!started) co_return error_reply(started.error());
    }
    reply.summary = co_await summary();
    co_return reply;
}

// --- pause and continue

/// Spec: REP-137, REP-159.
Task<Result<>> Mirror::pause() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source())
        co_return fail(Code::bad_argument, "{} is target of volume {}: pause it on its source {}",
                       around_.node, record_.volume.str(), record_.remote_node);
    if (state_ == MirrorState::broken)
        co_return fail(Code::failure, "volume {} is broken, there is nothing to pause", record_.volume.str());
    MirrorRecord next = record_;
    next.user_requested = true;
    next.cause = PauseCause::user;
    // The generation is on disk before the first write that the target will not get.
    if (next.generations.peer_may_hold_current) begin_alone(next);
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    Result<> paused;
    if (open_) paused = co_await host_->pause();
    if (open_) host_->detach();
    unlink();
    hold_for_session_ = false;
    if (!paused) {
        // The target is recognised by its generation at the next session.
        next = record_;
        next.user_requested = false;
        if (auto undone = commit(std::move(next)); !undone) alarm(undone.error().text);
        update_gate();
        schedule_connect(kConnectBackoffStart);
        co_return fail(paused.error());
    }
    next = record_;
    next.state = MirrorState::paused;
    saved = commit(std::move(next));
    update_gate();
    notify_pause();
    co_return saved;
}

/// With the generation that it goes on with: a notice that comes after the next session has begun is old.
void Mirror::notify_pause() {
    PeerRequest notice = request(RequestKind::pause_notice);
    notice.summary.generations = record_.generations;
    tasks_.spawn(notify_task(std::move(notice)));
}

Task<PeerReply> Mirror::on_pause_notice(PeerRequest request) {
    PeerReply reply;
    const GenerationId told = request.summary.generations.current;
    const bool synced_since = told != 0 && (told == record_.generations.current ||
                                            (linked_ && told == source_generations_.current));
    if (!source() && !synced_since) {
        MirrorRecord next = record_;
        next.outdated = true;
        next.state = MirrorState::paused;
        if (auto saved = commit(std::move(next)); !saved) co_return error_reply(saved.error());
    }
    reply.summary = co_await summary();
    co_return reply;
}

/// Spec: REP-160.
Task<Result<>> Mirror::resume() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source())
        co_return fail(Code::bad_argument, "{} is target of volume {}: continue it on its source {}",
                       around_.node, record_.volume.str(), record_.remote_node);
    MirrorRecord next = record_;
    next.user_requested = false;
    next.split_brain = false;
    next.problem.clear();
    if (own_parameters().full_resync_on_continue && !linked_) next.log_valid = false;  // Spec: REP-125
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    problem_.clear();
    backoff_ = kConnectBackoffStart;
    schedule_connect(0s);
    co_return Result<>{};
}

/// Spec: REP-180, REP-229.
Task<Result<>> Mirror::set_type(MirrorType type) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (record_.split_brain)
        co_return fail(Code::failure, "the type of volume {} cannot be changed in a split brain",
                       record_.volume.str());
    MirrorRecord next = record_;
    next.type = type;
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    if (open_) host_->set_type(type);
    update_gate();
    tasks_.spawn(notify_task(request(RequestKind::set_type)));
    co_return Result<>{};
}

Task<PeerReply> Mirror::on_set_type(PeerRequest request) {
    PeerReply reply;
    if (request.type != MirrorType::none && request.type != record_.type) {
        MirrorRecord next = record_;
        next.type = request.type;
        if (auto saved = commit(std::move(next)); !saved) co_return error_reply(saved.error());
        if (open_) host_->set_type(request.type);
    }
    reply.summary = co_await summary();
    co_return reply;
}

Task<Result<>> Mirror::yield_to_peer() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source() || !record_.split_brain)
        co_return fail(Code::failure, "volume {} is in no split brain on {}", record_.volume.str(),
                       around_.node);
    if (exporting_) {
        auto stopped = co_await take_down_export(false);
        if (!stopped) co_return fail(stopped.error());
    }
    MirrorRecord next = record_;
    next.role = Role::target;
    next.split_brain = false;
    next.yielded = true;
    next.outdated = true;
    next.user_requested = false;
    next.demoted = false;
    next.problem.clear();
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    problem_.clear();
    host_->detach();
    unlink();
    host_->become_target();
    update_gate();
    messages::warning("volume {}: {} yields to {}; its changes since the split will be overwritten",
                      record_.volume.str(), around_.node, record_.remote_node);
    co_return Result<>{};
}

// --- the end

Task<Result<>> Mirror::remove(bool peer_too, bool even_if_peer_fails) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    const bool was_exporting = exporting_;
    if (exporting_) {
        auto stopped = co_await take_down_export(false);
        if (!stopped) co_return fail(stopped.error());
    }
    if (has_snapshot()) {
        auto dropped = co_await drop_snapshot(even_if_peer_fails);
        if (!dropped) co_return fail(dropped.error());
    }
    if (peer_too) {
        auto reply = co_await call_peer(world_, peer_address(), request(RequestKind::remove),
                                        {.connect = kConnectLimit, .answer = kHelloLimit});
        if (!reply && reply.error().code != Code::not_found && !even_if_peer_fails) {
            if (was_exporting) {
                auto started = co_await start_export();
                if (!started) alarm(started.error().text);
            }
            co_return fail(reply.error().code, "{}; --force removes this node's half alone",
                           reply.error().text);
        }
    }
    if (around_.notes && source()) {
        // The loss of the link may just be noted, and that note would outlive the mirror.
        auto no_note = co_await notes_lock_.acquire(kOperationWait);
        closing_ = true;
        auto gone = co_await around_.notes->withdraw(record_.volume, record_.remote_node);
        if (!gone)
            messages::info("{}", gone.error().text);  // a note of a mirror that is no more says nothing
    }
    closing_ = true;
    const bool was_open = std::exchange(open_, false);
    if (connect_timer_) world_.tasks.cancel(*connect_timer_);
    connect_timer_.reset();
    around_.links.forget(record_.volume);
    // What others asked of the host is answered before this is.
    if (was_open) co_await host_->status();
    host_.reset();
    // The record goes last: an interrupted removal can be repeated.
    auto log_gone = world_.files.remove(record_.log_path);
    if (!log_gone) messages::warning("{}", log_gone.error().text);
    co_return around_.records.remove(record_.volume);
}

Task<PeerReply> Mirror::serve(PeerRequest request) {
    PeerReply reply;
    if (request.uuid != record_.uuid && request.kind != RequestKind::hello &&
        request.kind != RequestKind::query) {
        reply.code = Code::not_found;
        reply.error =
            fmt::format("volume {} of {} belongs to another mirror", record_.volume.str(), around_.node);
        co_return reply;
    }
    switch (request.kind) {
        case RequestKind::query:
            reply.summary = co_await summary();
            co_return reply;
        case RequestKind::hello:
            co_return co_await on_hello(std::move(request));
        case RequestKind::pause_notice:
            co_return co_await on_pause_notice(std::move(request));
        case RequestKind::demote:
            co_return co_await on_demote(std::move(request));
        case RequestKind::serve_again:
            co_return co_await on_serve_again(std::move(request));
        case RequestKind::set_type:
            co_return co_await on_set_type(std::move(request));
        case RequestKind::changes: {
            SideChanges side = co_await changes();
            reply.text = encode(side);
            reply.summary = co_await summary();
            co_return reply;
        }
        case RequestKind::create_target:
        case RequestKind::remove:
        case RequestKind::service:
        case RequestKind::snapshot_take:
        case RequestKind::snapshot_mark:
            break;  // the manager's
    }
    reply.code = Code::internal;
    reply.error = "not a request to a mirror";
    co_return reply;
}

}  // namespace understudy::mirror::control
