// Who is source: promotion, giving up the device and the end of a mirror.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"
#include "runtime/certificate_refusal.h"

#include <algorithm>
#include <set>

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

// --- promotion

/// Spec: REP-370.
Task<Result<std::string>> Mirror::promote(PromoteOptions options) {
    const bool takes_over = !source();
    if (takes_over)
        tell(Event::switchover_started, {}, fmt::format("{} is to become its source", around_.node));
    Result<std::string> done = co_await promote_to_end(options);
    if (!takes_over) co_return done;
    if (!done)
        tell(Event::switchover_failed, {},
             fmt::format("{} does not become its source: {}", around_.node, done.error().text));
    else if (record_.peers.size() > 1)
        tell(Event::switched_over_all, {},
             fmt::format("{} is its source, with mirrors to {}", around_.node, record_.peer_names()));
    co_return done;
}

Task<Result<std::string>> Mirror::promote_to_end(PromoteOptions options) {
    Promotion first = co_await promote_once(options);
    if (!first) co_return fail(first.error());
    if (*first) co_return **first;
    // A peer was promoted while this end was down: follow it, then take the role over as planned.
    auto followed = co_await wait_in_sync({}, kReturnLimit);
    if (!followed) co_return fail(followed.error());
    Promotion second = co_await promote_once(options);
    if (!second) co_return fail(second.error());
    if (*second) co_return **second;
    co_return fail(Code::failure, "another node is source of volume {} and keeps it", record_.volume.str());
}

Task<Mirror::Promotion> Mirror::promote_once(PromoteOptions options) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!open_)
        co_return fail(Code::failure, "volume {} cannot be used on {}: {}", record_.volume.str(),
                       around_.node, problem_.empty() ? "its device is not open" : problem_);
    if (closing_) co_return fail(Code::failure, "mirrord is stopping");
    if (!source()) {
        note(Event::told_to_take_over, {}, options.force ? "by force" : "");
        // It has just found out that a peer is source, which will be here in a moment.
        if (following_ && !options.force && !options.peer_dead) co_return std::optional<std::string>();
        co_return co_await take_over(options);
    }
    if (!record_.demoted && exporting_) {
        const bool in_session =
            std::any_of(legs_.begin(), legs_.end(), [](const auto& leg) { return leg.second.linked; });
        if (in_session || options.force) co_return std::optional<std::string>(device_path_);
        // A peer may have taken over while this end was down, and be dead again; only the cluster knows.
        auto current = co_await check_not_behind();
        if (current) co_return std::optional<std::string>(device_path_);
    }
    co_return co_await serve_again(options);
}

/// A peer that the cluster has found dead is asked only briefly.
Task<runtime::Duration> Mirror::probe_limit(std::string peer, bool all_dead) {
    if (all_dead) co_return kTakeoverProbeDead;
    if (around_.notes && record_.peers.size() > 1) {
        const std::string node = record_.peer(peer)->host_name();
        const bool dead = co_await around_.notes->is_dead(node);
        if (dead) co_return kTakeoverProbeDead;
    }
    co_return kTakeoverProbe;
}

/// A source that gave up its device, or could not offer it at its start.
Task<Mirror::Promotion> Mirror::serve_again(PromoteOptions options) {
    std::vector<std::string> there;
    for (const std::string& peer : names()) {
        const runtime::Duration limit = co_await probe_limit(peer, options.peer_dead);
        Result<PeerReply> reply =
            co_await call(peer, request(RequestKind::query, peer), {.connect = limit, .answer = kQueryLimit});
        if (!reply) continue;
        const EndSummary self = co_await summary(peer);
        const Decision decision = decide(self, reply->summary);
        if (decision.verdict == Verdict::become_target) {
            co_await step_down(peer, decision.why);
            co_return std::optional<std::string>();
        }
        if (decision.verdict == Verdict::split_brain) {
            enter_split_brain(peer, decision.why);
            co_return fail(Code::failure, "{}", record_.peer(peer)->problem);
        }
        there.push_back(peer);
    }
    if (there.size() < record_.peers.size() && !options.force) {
        auto current = co_await check_not_behind();
        if (!current) co_return fail(current.error());
    }
    if (record_.demoted) {
        MirrorRecord next = record_;
        next.demoted = false;
        auto saved = commit(std::move(next));
        if (!saved) co_return fail(saved.error());
        accept_requests_again();
        for (const std::string& peer : there)
            if (record_.generations(peer).peer_may_hold_current) hold_for_session(peer);
    }
    auto started = co_await start_export();
    if (!started) co_return fail(started.error());
    co_return std::optional<std::string>(device_path_);
}

/// Undoes a quiesce; the sessions start anew.
void Mirror::accept_requests_again() {
    for (const std::string& peer : names()) {
        drop_link(legs_.at(peer), peer);
        const PeerRecord& one = *record_.peer(peer);
        host_->become_source(peer, MirrorState::paused,
                             one.user_requested ? PauseCause::user : PauseCause::link_lost, !one.log_valid);
        legs_.at(peer).backoff = kConnectBackoffStart;
    }
    serve_without_targets();
    role_checked_ = true;
    update_gate();
    schedule_connects(0s);
}

/// Whether this target may become source now; asks a living source to give up its device. Spec: REP-189,
/// REP-233, REP-234.
Task<Result<>> Mirror::check_promotable(PromoteOptions options, Handover* out) {
    // Spec: REP-317, REP-241, MOP-087
    if (has_snapshot())
        co_return fail(
            Code::has_dependents,
            "volume {} has a snapshot on {}: end it first with \"understudy mirror snapshot drop {}\"",
            record_.volume.str(), around_.node, record_.volume.str());
    EndSummary self = co_await summary(record_.origin.empty() ? record_.peers.front().node : record_.origin);
    if (const std::string problem = promotion_problem(self); !problem.empty())
        co_return fail(Code::failure, "{}", problem);
    bool last_source_silent = false;
    for (const std::string& peer : names()) {
        const bool last_source = record_.origin == peer || record_.peers.size() == 1;
        self = co_await summary(peer);
        PeerRequest demand = request(RequestKind::demote, peer);
        demand.summary = self;
        const runtime::Duration limit = co_await probe_limit(peer, options.peer_dead);
        Result<PeerReply> reply = co_await call(peer, demand, {.connect = limit, .answer = kDemoteLimit});
        if (!reply && reply.error().code != Code::unreachable) {
            if (last_source)
                co_return fail(reply.error().code, "{} does not hand over volume {}: {}", peer,
                               record_.volume.str(), reply.error().text);
            messages::warning("volume {}: {} was not asked: {}", record_.volume.str(), peer,
                              reply.error().text);
            continue;
        }
        if (!reply) {
            // Whoever answers lives, and may be source. Spec: EMC-249
            if ((last_source || record_.origin.empty()) && runtime::is_certificate_refusal(reply.error()) &&
                !options.force && !options.peer_dead)
                co_return fail(Code::failure,
                               "{} lives, but it and {} do not accept each other, and it may still be source "
                               "of volume {}: {}. When it is certain that it is not, use --peer-dead",
                               peer, around_.node, record_.volume.str(), reply.error().text);
            messages::warning("volume {}: taking over without {}: {}", record_.volume.str(), peer,
                              reply.error().text);
            last_source_silent = last_source_silent || last_source || record_.origin.empty();
            continue;
        }
        const EndSummary& found = reply->summary;
        if (found.uuid != self.uuid)
            co_return fail(Code::failure, "volume {} of {} belongs to another mirror", self.volume.str(),
                           found.node);
        if (found.role == Role::source) {
            out->giver = peer;
            out->gave_up = reply->was_serving;
            out->facts = by_names_here(reply->peers);
            if (found.generations.current != self.generations.current)
                co_return fail(Code::failure,
                               "volume {} on {} is not what {} holds: wait until the mirror is in sync",
                               self.volume.str(), self.node, found.node);
        } else if (found.generations.current != self.generations.current &&
                   found.generations.knows(self.generations.current) && !options.force) {
            co_return fail(Code::failure, "{} holds newer data of volume {}: promote it there", found.node,
                           self.volume.str());
        }
    }
    if (out->giver.empty() && last_source_silent && !options.force) co_return co_await check_not_behind();
    co_return Result<>{};
}

/// The record of this end as source, with the logs of the peers other than the old source: from that one
/// where it gave them, else what this end and they may differ in after its loss, else unknown. Spec: REP-235,
/// REP-236, REP-238, REP-239.
Task<MirrorRecord> Mirror::take_logs_over(Handover handover) {
    MirrorRecord next = record_;
    const std::string before =
        next.origin.empty() && next.peers.size() == 1 ? next.peers.front().node : next.origin;
    std::optional<BlockRanges> recent;
    if (!before.empty() && handover.giver.empty()) recent = co_await host_->recent_writes(before);
    for (PeerRecord& peer : next.peers) {
        PeerBase& base = next.lineage.peers[peer.node];
        peer.state = MirrorState::paused;
        peer.cause = PauseCause::link_lost;
        peer.problem.clear();
        peer.log_complete = false;
        if (before.empty()) continue;  // a former source: each of its logs stands for itself
        peer.alone_since_s = 0;        // of a time when it was source itself, if at all
        if (peer.node == before) {
            peer.user_requested = false;
            base.sync_base = base.offered = next.lineage.current;
            continue;
        }
        const auto fact = std::find_if(handover.facts.begin(), handover.facts.end(),
                                       [&](const PeerFacts& one) { return one.node == peer.node; });
        const PeerFacts* given =
            fact != handover.facts.end() && fact->dirty && fact->log_valid ? &*fact : nullptr;
        // Spec: EMC-242. A pause that a person asked for is carried over.
        peer.user_requested = fact != handover.facts.end() && fact->user_requested;
        if (peer.user_requested) peer.cause = PauseCause::user;
        peer.distrust_log(fmt::format("what {} lacks was not handed over by {}, and {} does not know it",
                                      peer.node, before, around_.node));
        base.sync_base = base.offered = 0;
        if (given == nullptr && !recent) continue;
        const std::string name = peer.node;
        auto taken = co_await host_->replace_dirty(name, given != nullptr ? *given->dirty : *recent);
        if (!taken) {
            messages::warning("volume {}: {}; {} will need a full resync", record_.volume.str(),
                              taken.error().text, name);
            continue;
        }
        peer.log_valid = true;
        peer.full_cause.clear();
        peer.log_complete = given != nullptr;
        base.sync_base = given != nullptr ? given->sync_base : next.lineage.current;
        base.offered = given != nullptr ? given->offered : next.lineage.current;
    }
    co_return next;
}

Task<Mirror::Promotion> Mirror::take_over(PromoteOptions options) {
    auto whole = co_await measure();
    if (!whole) co_return fail(whole.error());
    const std::uint64_t bytes = *whole;
    if (volume_size_ < record_.size || bytes < record_.size)
        co_return fail(
            Code::failure,
            "{} on {} has {} bytes, or had less for a time, and volume {} has {}: not all of it is there",
            record_.device, around_.node, bytes, record_.volume.str(), record_.size);
    device_size_ = bytes;  // a device that has grown since the last look is no news for a source
    Handover handover;
    auto allowed = co_await check_promotable(options, &handover);
    const auto give_back = [this, &handover] {
        if (handover.gave_up)
            tasks_.spawn(notify_task(handover.giver, request(RequestKind::serve_again, handover.giver)));
    };
    // Whom the old source has removed or added may not have been heard of here yet: its list counts.
    if (allowed && !handover.giver.empty())
        allowed = co_await adopt_peers(handover.giver, handover.facts, std::vector<EndpointPair>());
    if (!allowed) {
        give_back();
        co_return fail(allowed.error());
    }

    around_.links.forget(record_.volume);
    std::string before = record_.origin;
    for (auto& [peer, leg] : legs_) {
        ++leg.session;  // a session that is being made ends here
        if (before.empty() && leg.linked) before = peer;
        leg.unlink();
        leg.synced = false;
    }
    Result<> ready;
    if (!before.empty() && record_.peer(before)) {
        ready = co_await host_->drain(before);
        host_->detach(before);
    }
    if (ready) {
        // The last block of a resync may have come just now, or have been missing all the time.
        const EndSummary self = co_await summary(before.empty() ? record_.peers.front().node : before);
        const std::string problem = promotion_problem(self);
        if (!problem.empty()) ready = fail(Code::failure, "{}", problem);
    }
    if (ready) {
        MirrorRecord next = co_await take_logs_over(handover);
        next.role = Role::source;
        ++next.role_epoch;
        next.origin.clear();
        next.device_size = device_size_;
        begin_alone(next);
        next.demoted = false;
        next.outdated = false;
        ready = commit(std::move(next));
    }
    if (!ready) {
        // Nothing has changed here; the old source goes on.
        give_back();
        co_return fail(ready.error());
    }
    tell(Event::became_source, {},
         fmt::format("{} is source now (epoch {})", around_.node, record_.role_epoch));
    for (const std::string& peer : names()) {
        become_source(peer);
        legs_.at(peer).state = MirrorState::paused;
        legs_.at(peer).backoff = kConnectBackoffStart;
    }
    role_checked_ = true;
    // The old source that is there gets a session with equal ends before the first write; an absent one is
    // not waited for.
    if (!handover.giver.empty())
        hold_for_session(handover.giver);
    else
        go_alone_until_recorded({});  // the cluster is told while the export starts
    schedule_connects(0s);
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

/// A target takes over as planned. Spec: REP-233.
Task<PeerReply> Mirror::on_demote(std::string caller, PeerRequest) {
    auto held = co_await lock_.acquire(kDemoteWait);
    if (!held) co_return error_reply(busy(record_).value());
    PeerReply reply;
    if (source()) {
        // The caller sees by itself whether it holds this end's newest generation.
        const auto mirrors = [this, caller] {
            const Leg* leg = find(caller);
            return leg && leg->linked && leg->state == MirrorState::mirroring &&
                   record_.generations(caller).peer_may_hold_current;
        };
        const auto unfit = [this, caller] {
            const Leg* leg = find(caller);
            return Error{Code::failure,
                         fmt::format("volume {} is not mirroring ({}): only a target in sync can take over",
                                     record_.volume.str(), to_string(leg ? leg->state : MirrorState::none)),
                         0};
        };
        if (!open_ || record_.peer(caller)->split_brain || !mirrors()) co_return error_reply(unfit());
        const bool was_serving = !record_.demoted;
        if (was_serving) {
            auto given = co_await give_up_device();
            if (!given) co_return error_reply(given.error());
        }
        if (!mirrors()) {
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
        reply.peers = others(caller);
        // What the other targets may lack, so that the new source need not send them everything. Spec:
        // REP-235.
        for (PeerFacts& one : reply.peers) {
            BlockRanges dirty = co_await host_->dirty_ranges(one.node);
            one.dirty = std::move(dirty);
        }
    }
    reply.summary = co_await summary(caller);
    if (const Leg* leg = find(caller)) reply.state = leg->state;
    co_return reply;
}

Task<PeerReply> Mirror::on_serve_again(std::string caller) {
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
    reply.summary = co_await summary(caller);
    co_return reply;
}

// --- the end

Task<Result<>> Mirror::remove(bool peers_too, bool even_if_peer_fails) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    std::set<std::string> mixtures;
    for (const auto& [peer, leg] : legs_) {
        const bool copying = leg.linked && !leg.synced && leg.session_kind != ResyncKind::none;
        if (source() ? copying : !record_.consistent) mixtures.insert(peer);
    }
    const bool was_exporting = exporting_;
    if (exporting_) {
        auto stopped = co_await take_down_export(false);
        if (!stopped) co_return fail(stopped.error());
    }
    if (has_snapshot()) {
        auto dropped = co_await drop_snapshot(even_if_peer_fails);
        if (!dropped) co_return fail(dropped.error());
    }
    if (peers_too) {
        for (const std::string& peer : names()) {
            auto reply = co_await call(peer, request(RequestKind::remove, peer),
                                       {.connect = kConnectLimit, .answer = kHelloLimit});
            if (reply || reply.error().code == Code::not_found || even_if_peer_fails) continue;
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
        auto gone = co_await around_.notes->withdraw(record_.volume, hosts_of(names()));
        if (!gone)
            messages::info("{}", gone.error().text);  // a note of a mirror that is no more says nothing
    }
    closing_ = true;
    const bool was_open = std::exchange(open_, false);
    for (auto& [peer, leg] : legs_)
        stop_timers(leg);
    around_.links.forget(record_.volume);
    for (const PeerRecord& peer : record_.peers) {
        if (mixtures.contains(peer.node))
            tell(Event::deleted_in_resync, peer.node,
                 fmt::format(
                     "the mirror with {} is deleted before its resync has ended; the copy is not usable",
                     peer.node));
        else
            tell(Event::deleted, peer.node, fmt::format("the mirror with {} is deleted", peer.node));
    }
    // What others asked of the host is answered before this is.
    if (was_open) co_await host_->status(record_.main().node);
    host_.reset();
    // The record goes last: an interrupted removal can be repeated.
    for (const PeerRecord& peer : record_.peers) {
        auto log_gone = world_.files.remove(peer.log_path);
        if (!log_gone) tell(Event::log_not_deleted, peer.node, log_gone.error().text);
    }
    co_return around_.records.remove(record_);
}

Task<PeerReply> Mirror::serve(std::string caller, PeerRequest request) {
    PeerReply reply;
    if (request.uuid != record_.uuid && request.kind != RequestKind::hello &&
        request.kind != RequestKind::query) {
        reply.code = Code::not_found;
        reply.error =
            fmt::format("volume {} of {} belongs to another mirror", record_.volume.str(), around_.node);
        co_return reply;
    }
    if (auto serves = check_host(caller, request); !serves) co_return error_reply(serves.error());
    switch (request.kind) {
        case RequestKind::query:
            reply.summary = co_await summary(caller);
            co_return reply;
        case RequestKind::hello:
            co_return co_await on_hello(std::move(caller), std::move(request));
        case RequestKind::pause_notice:
            co_return co_await on_pause_notice(std::move(caller), std::move(request));
        case RequestKind::demote:
            co_return co_await on_demote(std::move(caller), std::move(request));
        case RequestKind::serve_again:
            co_return co_await on_serve_again(std::move(caller));
        case RequestKind::set_type:
            co_return co_await on_set_type(std::move(caller), std::move(request));
        case RequestKind::advance:
            co_return co_await on_advance(std::move(caller), std::move(request));
        case RequestKind::set_peers:
            co_return co_await on_set_peers(std::move(caller), std::move(request));
        case RequestKind::set_pairs:
            co_return co_await on_set_pairs(std::move(caller), std::move(request));
        case RequestKind::change_address:
            co_return co_await on_change_address(std::move(caller), std::move(request));
        case RequestKind::changes: {
            SideChanges side = co_await changes(caller);
            reply.text = encode(side);
            reply.summary = co_await summary(caller);
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
