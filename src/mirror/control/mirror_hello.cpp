// A target answers its source: sessions begin here.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"

namespace understudy::mirror::control {

using runtime::Task;

Task<PeerReply> Mirror::on_hello(std::string caller, PeerRequest request) {
    PeerReply reply;
    const auto refuse = [&reply](Code code, std::string text) {
        reply.code = code;
        reply.error = std::move(text);
    };
    // Not waiting: the caller holds its own lock, and this end's operation may be waiting for the caller.
    auto held = lock_.try_acquire();
    if (!held || closing_) {
        refuse(Code::failure, fmt::format("volume {} is busy on {}", record_.volume.str(), around_.node));
        co_return reply;
    }
    if (!open_) {
        refuse(Code::failure,
               fmt::format("volume {} is not open on {}: {}", record_.volume.str(), around_.node, problem_));
        co_return reply;
    }
    if (request.uuid == record_.uuid && request.summary.role_epoch >= record_.role_epoch)
        meet(caller, request.host);
    EndSummary self = co_await summary(caller);
    Decision decision = decide(self, request.summary);
    if (decision.verdict == Verdict::become_target) {
        co_await step_down(caller, decision.why);
        self = co_await summary(caller);
        decision = decide(self, request.summary);
    }
    switch (decision.verdict) {
        case Verdict::attach: {
            if (self.role != Role::target) break;
            // Spec: REP-145, REP-183.
            const Generations& theirs = request.summary.generations;
            const bool newer =
                theirs.current != self.generations.current && theirs.knows(self.generations.current);
            std::string other;
            for (const auto& [peer, leg] : legs_)
                if (peer != caller && leg.linked) other = peer;
            if (!other.empty() && !newer) {
                refuse(Code::failure, fmt::format("{} is target of {} for volume {}", around_.node, other,
                                                  record_.volume.str()));
                break;
            }
            const auto agreed = agree_with(caller, request.offer);
            if (!agreed) {
                refuse(Code::failure, agreed.error().text);
                break;
            }
            if (record_.replaced && !wants_full_resync(request.summary)) {
                refuse(kMediaReplaced, record_.peer(caller)->problem);
                break;
            }
            LinkTerms terms{decision.resync, agreed->features};
            if (request.resumes != SessionId{}) {
                // The source still has everything that this end may lack: that session or none.
                terms.resume = co_await can_resume(caller, request.resumes);
                if (!terms.resume) break;
            }
            auto peers = co_await adopt_peers(caller, request.peers, request.pairs);
            if (!peers) messages::error("volume {}: {}", record_.volume.str(), peers.error().text);
            auto followed = co_await follow(caller);
            if (!followed) {
                refuse(followed.error().code, followed.error().text);
                break;
            }
            if (!terms.resume) {
                auto fitted = co_await fit_source(request.summary.size);
                if (!fitted) {
                    refuse(fitted.error().code, fitted.error().text);
                    break;
                }
            }
            if (request.type != MirrorType::none && request.type != record_.peer(caller)->type) {
                MirrorRecord next = record_;
                next.peer(caller)->type = request.type;
                if (auto saved = commit(std::move(next)); saved) host_->set_type(caller, request.type);
            }
            auto session = begin_session(caller, request.summary, terms);
            if (session)
                reply = *session;
            else
                refuse(session.error().code, session.error().text);
            // As it was when both decided: what follow() did to the logs must not change the caller's mind.
            reply.summary = self;
            co_return reply;
        }
        case Verdict::split_brain:
            enter_split_brain(caller, decision.why);
            break;
        case Verdict::wait:
            // The other end gives way now: call it soon.
            if (Leg* leg = find(caller)) leg->backoff = kConnectBackoffStart;
            if (wants_link(caller)) schedule_connect(caller, kConnectBackoffStart);
            break;
        case Verdict::become_target:  // could not be recorded
        case Verdict::refuse:
            break;  // the caller comes to the same result and says it
    }
    if (reply.code == Code::ok) reply.summary = co_await summary(caller);
    co_return reply;
}

Task<bool> Mirror::can_resume(std::string peer, SessionId session) {
    Leg& leg = legs_.at(peer);  // stays: removal needs the lock
    if (session != leg.links_session) co_return false;
    host_->detach(peer);  // this end may not have noticed yet
    leg.unlink();
    const VolumeStatus now = co_await host_->status(peer);
    co_return now.resumable;
}

/// Another peer is source now: the log of it holds what it may lack, durably, before it counts as the one
/// whose content this end has. Spec: REP-236, REP-238.
Task<Result<>> Mirror::follow(std::string peer) {
    const std::string before = record_.origin;
    if (before == peer) co_return Result<>{};
    bool log_tells = true;
    if (has_snapshot()) {
        // It is of the writes of one source; what another sends would go past it.
        messages::warning("volume {}: its snapshot ends, for {} is source now", record_.volume.str(), peer);
        auto dropped = co_await drop_snapshot(true);
        if (!dropped) co_return fail(dropped.error());
    }
    if (!before.empty() && record_.peer(before)) {
        drop_link(legs_.at(before), before);
        ++legs_.at(before).session;
        // Its last writes must not land on newer data.
        Result<> drained = co_await host_->drain(before);
        if (!drained) co_return fail(drained.error());
        std::optional<BlockRanges> recent = co_await host_->recent_writes(before);
        log_tells = recent.has_value();
        auto given = co_await host_->replace_dirty(peer, recent.value_or(BlockRanges()));
        if (!given) co_return fail(given.error());
    }
    MirrorRecord next = record_;
    next.origin = peer;
    // This session may end before its first block: the next one must not take the empty log for an answer.
    if (!log_tells)
        next.peer(peer)->distrust_log(
            fmt::format("{} does not know what {} sent last and {} may lack", around_.node, before, peer));
    if (auto saved = commit(std::move(next)); !saved) co_return fail(saved.error());
    host_->become_target(peer);
    co_return Result<>{};
}

Result<PeerReply> Mirror::begin_session(const std::string& peer, const EndSummary& source,
                                        const LinkTerms& terms) {
    PeerReply reply;
    world_.random.fill(reply.session);
    world_.random.fill(reply.key);
    Leg& leg = legs_.at(peer);
    const bool synced = leg.synced && terms.resume;
    drop_link(leg, peer);
    leg.synced = synced;
    const std::uint64_t session = ++leg.session;
    const Generations generations = source.generations;
    const std::uint64_t epoch = source.role_epoch;
    if (const std::string& cause = record_.peer(peer)->full_cause;
        terms.kind == ResyncKind::full && !cause.empty())
        tell(Event::full_resync, peer,
             fmt::format("session with {}, full resync (FULL RESYNC): {}", peer, cause));
    leg.source_left_out = source.free_left_out;
    auto port = around_.links.expect(
        record_.volume, record_.peer(peer)->local_address, reply.session, reply.key,
        [this, peer, session, terms, generations, epoch, id = reply.session](LinkResult links) {
            Leg* mine = find(peer);
            if (!mine || session != mine->session) return;
            mine->source_current = generations.current;
            mine->source_history = generations.history;
            mine->source_epoch = epoch;
            links_ready(peer, session, std::move(links), terms, id);
        });
    if (!port) return fail(port.error());
    reply.port = *port;
    reply.resync = terms.kind;
    reply.offer = around_.offer;
    reply.resumed = terms.resume;
    return reply;
}

void Mirror::links_ready(const std::string& peer, std::uint64_t session, LinkResult links,
                         const LinkTerms& terms, const SessionId& id) {
    Leg& leg = legs_.at(peer);
    if (session != leg.session || source() || closing_) return;
    if (!links) {
        messages::warning("volume {}: {} did not connect: {}", record_.volume.str(), peer,
                          links.error().text);
        return;
    }
    MirrorRecord next = record_;
    // Durable before the first block of the resync. Spec: REP-118.
    if (terms.kind != ResyncKind::none && !terms.resume) next.consistent = false;
    // An older source must not find a target here while the newer one is away.
    next.role_epoch = std::max(next.role_epoch, next.yielded ? 0 : leg.source_epoch);
    next.free_left_out = next.free_left_out || leg.source_left_out;
    if (auto saved = commit(std::move(next)); !saved) return alarm(saved.error().text);
    const auto [data, resync] = (*links)->take();
    host_->attach(peer, data, resync, terms);
    leg.linked = true;
    leg.links_session = id;
    leg.synced = leg.synced && terms.resume;
    leg.session_kind = terms.kind;
    leg.problem.clear();
    problem_.clear();
}

}  // namespace understudy::mirror::control
