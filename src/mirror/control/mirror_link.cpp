// How the ends of a mirror meet: the source calls, the target answers (mirror_hello.cpp), both decide from
// the same facts.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

PeerAddress Mirror::address_of(const std::string& peer) const {
    const PeerRecord& one = *record_.peer(peer);
    return {one.host_name(), one.address, one.port, one.local_address};
}

PeerRequest Mirror::request(RequestKind kind, const std::string& peer) const {
    PeerRequest out;
    out.kind = kind;
    out.volume = record_.volume;
    out.uuid = record_.uuid;
    if (const PeerRecord* one = record_.peer(peer)) out.type = one->type;
    out.offer = around_.offer;
    if (kind == RequestKind::pause_notice) out.summary.generations = record_.generations(peer);
    return out;
}

/// Both ends compute the same. What the peer lacks is worth a line: it explains what does not work.
Result<wire::Agreement> Mirror::agree_with(const std::string& peer, const wire::Offer& offer) {
    UNDERSTUDY_TRY(const wire::Agreement agreed, wire::agree(around_.offer, offer));
    if (agreed.features != around_.offer.features)
        messages::info(
            "volume {}: {} runs another release; of the data links' features {:#x} only {:#x} are used",
            record_.volume.str(), peer, around_.offer.features, agreed.features);
    return agreed;
}

// --- source

namespace {

bool receives_by_state(MirrorState state) {
    return state != MirrorState::paused && state != MirrorState::broken;
}

/// Silence may pass. A refusal does not: the peer's mirrord has ended, and with it what it held in memory.
bool is_silence(const Error& error, runtime::Duration after) {
    return error.code == Code::unreachable && after >= kResumeLimit;
}

}  // namespace

/// The target gets what is written.
bool Mirror::receives(const Leg& leg) {
    return leg.in_session() && receives_by_state(leg.state);
}

bool Mirror::wants_link(const std::string& peer) {
    const Leg* leg = find(peer);
    const PeerRecord* one = record_.peer(peer);
    return leg && one && open_ && source() && role_checked_ && !closing_ && !leg->linked &&
           !one->user_requested && !one->split_brain;
}

void Mirror::schedule_connect(const std::string& peer, runtime::Duration delay) {
    Leg* leg = find(peer);
    if (!leg) return;
    if (leg->connect_timer) world_.tasks.cancel(*leg->connect_timer);
    leg->connect_timer = world_.tasks.after(delay, [this, peer] {
        Leg& mine = legs_.at(peer);  // cancelled with the leg
        mine.connect_timer.reset();
        // Paused by itself with the link kept: this is the end of its rest.
        if (mine.linked && source() && mine.state == MirrorState::paused &&
            !record_.peer(peer)->user_requested && !closing_)
            drop_link(mine, peer);
        if (!mine.connecting && wants_link(peer)) tasks_.spawn(connect_task(peer));
    });
}

void Mirror::schedule_connects(runtime::Duration delay) {
    for (const std::string& peer : names())
        schedule_connect(peer, delay);
}

/// After a failed attempt: ever more slowly.
void Mirror::retry_connect(const std::string& peer) {
    Leg* leg = find(peer);
    if (!leg) return;
    schedule_connect(peer, leg->backoff);
    if (leg->interrupted) return;  // what waits for this is limited by the volume
    leg->backoff = std::min<runtime::Duration>(leg->backoff * 2, kConnectBackoffMost);
}

void Mirror::drop_link(Leg& leg, const std::string& peer) {
    host_->detach(peer);
    leg.unlink();
    leg.synced = false;
    leg.hold = false;
    // The volume says so too, but later.
    if (source() && leg.state != MirrorState::broken) leg.state = MirrorState::paused;
}

Task<> Mirror::connect_task(std::string peer) {
    legs_.at(peer).connecting = true;
    const bool in_a_hurry = legs_.at(peer).hold;
    bool there = true;
    if (!in_a_hurry && record_.peers.size() > 1) {
        // Whether anybody is there at all is asked without the lock, which the mirrors with the others need.
        const bool resumes = legs_.at(peer).interrupted;
        const auto started = world_.clock.now();
        const CallLimits limits{.connect = resumes ? kResumeLimit : kConnectLimit, .answer = kQueryLimit};
        auto asked = co_await call(peer, request(RequestKind::query, peer), limits);
        there = asked || asked.error().code != Code::unreachable ||
                (resumes && !is_silence(asked.error(), world_.clock.now() - started));
        Leg* leg = find(peer);
        if (!there && leg) leg->problem = asked.error().text;
    }
    std::optional<Held> held;
    if (there) held = co_await lock_.acquire(kOperationWait);
    bool joined = false;
    if (held && wants_link(peer))
        joined = co_await connect_once(peer, in_a_hurry ? kBootCheckLimit : kConnectLimit);
    held.reset();
    Leg* leg = find(peer);
    if (!leg) co_return;
    leg->connecting = false;
    if (!joined && wants_link(peer)) retry_connect(peer);
}

/// One attempt to start a session; true when the links are attached. Needs the lock.
Task<bool> Mirror::connect_once(std::string peer, runtime::Duration connect_limit) {
    if (legs_.at(peer).interrupted) {
        const bool resumed = co_await resume_session(peer);
        co_return resumed;
    }
    // While nobody has written since both ends were equal, writes wait for the session: the target then stays
    // consistent all the time. Otherwise they go on, as soon as the cluster knows.
    const bool equal_so_far =
        !role_checked_ || record_.demoted || record_.generations(peer).peer_may_hold_current;
    if (gate_ != GateMode::open && equal_so_far) hold_for_session(peer);
    EndSummary self = co_await summary(peer);
    PeerRequest hello = pairs_request(RequestKind::hello, peer, record_.peer(peer)->pairs);
    hello.summary = self;
    hello.peers = others(peer);
    Result<PeerReply> reply = co_await call(peer, hello, {.connect = connect_limit, .answer = kHelloLimit});
    Leg* leg = find(peer);
    if (!leg) co_return false;
    bool joined = false;
    if (!reply) {
        if (reply.error().text != leg->problem)
            tell(Event::unreachable, peer, fmt::format("no session with {}: {}", peer, reply.error().text));
        leg->problem = reply.error().text;
        leg->answered = reply.error().code != Code::unreachable;
        if (reply.error().code == kNoBitmaps) co_await no_bitmaps(peer, reply.error().text);
        if (reply.error().code == kMediaReplaced) co_await break_for_a_person(peer, reply.error().text);
    } else if (source() && record_.generations(peer) == self.generations && !closing_) {
        const Decision decision = decide(self, reply->summary);
        leg->device_size = reply->summary.size;
        switch (decision.verdict) {
            case Verdict::attach:
                if (learns_free_space_first(peer, decision, self)) break;
                joined = co_await join_target(peer, self, *reply);
                break;
            case Verdict::become_target:
                co_await step_down(peer, decision.why);
                break;
            case Verdict::wait:
                leg->problem = decision.why;
                break;
            case Verdict::split_brain:
                enter_split_brain(peer, decision.why);
                break;
            case Verdict::refuse:
                refuse_peer(peer, decision.why);
                break;
        }
    }
    leg = find(peer);
    if (leg && (!joined || leg->session_kind != ResyncKind::none)) leg->hold = false;
    update_gate();
    co_return joined;
}

/// The session goes on over new links, or is over: then link_lost() follows. Spec: REP-096.
Task<bool> Mirror::resume_session(std::string peer) {
    const auto started = world_.clock.now();
    PeerRequest hello = pairs_request(RequestKind::hello, peer, record_.peer(peer)->pairs);
    hello.summary = co_await summary(peer);
    hello.peers = others(peer);
    hello.resumes = legs_.at(peer).links_session;
    const CallLimits limits{.connect = kResumeLimit, .answer = kResumeLimit};
    Result<PeerReply> reply = co_await call(peer, hello, limits);
    Leg* leg = find(peer);
    if (!leg || !leg->interrupted || closing_) co_return false;
    if (!reply && is_silence(reply.error(), world_.clock.now() - started)) co_return false;
    const auto agreed = wire::agree(around_.offer, reply ? reply->offer : wire::Offer{});
    if (!reply || !reply->resumed || !agreed ||
        decide(hello.summary, reply->summary).verdict != Verdict::attach) {
        const std::string why =
            reply ? fmt::format("{} cannot go on where it was", peer) : reply.error().text;
        tell(Event::reconnection_failed, peer, why);
        host_->give_up_links(peer, why);
        co_return false;
    }
    const PeerRecord one = *record_.peer(peer);
    const runtime::Endpoint remote{one.address, reply->port};
    LinkResult links = co_await around_.links.connect(remote, one.local_address, reply->session, reply->key);
    leg = find(peer);
    if (!leg || !leg->interrupted || closing_ || !links) co_return false;
    const auto [data, resync] = (*links)->take();
    const LinkTerms terms{ResyncKind::partial, agreed->features, true};
    host_->attach(peer, data, resync, terms);
    ++leg->session;
    leg->interrupted = false;
    leg->linked = true;
    leg->links_session = reply->session;
    tell(Event::reconnected, peer, fmt::format("connected to {} again, the session goes on", peer));
    co_return true;
}

Task<bool> Mirror::join_target(std::string peer, EndSummary self, PeerReply reply) {
    const Decision decision = decide(self, reply.summary);
    if (reply.port == 0 || reply.resync != decision.resync) {
        legs_.at(peer).problem = fmt::format("{} did not start a session", peer);
        co_return false;
    }
    const auto agreed = agree_with(peer, reply.offer);
    if (!agreed) {
        alarm(peer, agreed.error().text);
        co_return false;
    }
    const LinkTerms terms{decision.resync, agreed->features};
    const PeerRecord one = *record_.peer(peer);
    const runtime::Endpoint remote{one.address, reply.port};
    LinkResult links = co_await around_.links.connect(remote, one.local_address, reply.session, reply.key);
    Leg* leg = find(peer);
    if (!leg) co_return false;
    if (!links) {
        leg->problem = links.error().text;
        messages::warning("volume {}: {}", record_.volume.str(), leg->problem);
        co_return false;
    }
    // The mirror with another peer may have made this end go on alone meanwhile: the target must hear of that
    // generation, not of the one before.
    if (record_.lineage.current != self.generations.current) {
        leg->problem = "this end has gone on meanwhile";
        co_return false;
    }
    // From here on the target may come to hold this generation.
    MirrorRecord next = record_;
    next.lineage.begin_session(peer, reply.summary.generations.current);
    next.peer(peer)->problem.clear();
    if (auto saved = commit(std::move(next)); !saved) {
        alarm(saved.error().text);
        co_return false;
    }
    leg->problem.clear();
    tell_session(peer, decision, self.dirty_blocks);
    if (!receives_by_state(leg->state)) {
        host_->resume(peer);
        leg->state = MirrorState::pending;  // the volume says so too, but later
    }
    const auto [data, resync] = (*links)->take();
    host_->attach(peer, data, resync, terms);
    ++leg->session;
    leg->linked = true;
    leg->links_session = reply.session;
    leg->synced = false;
    leg->told = self.generations.current;
    leg->session_kind = decision.resync;
    leg->free_space = Leg::FreeSpace::unknown;
    leg->backoff = kConnectBackoffStart;
    if (!must_go_alone()) alone_wanted_ = false;
    co_return true;
}

/// What a session begins with; an operator plans bandwidth by it. One that sends everything says why. Spec:
/// MSG-GEN-17, MOP-131.
void Mirror::tell_session(const std::string& peer, const Decision& decision, std::uint64_t dirty_blocks) {
    constexpr std::uint64_t kBlockBytes = 65536;
    const PeerRecord* const one = record_.peer(peer);
    const std::string cause = one == nullptr ? std::string() : one->full_cause;
    const std::string why = cause.empty() ? decision.why : fmt::format("{}: {}", decision.why, cause);
    // After a break every block is marked in a log that is as good as before.
    const bool everything = !cause.empty() && dirty_blocks * kBlockBytes >= record_.size;
    if (decision.resync == ResyncKind::none) {
        messages::info("volume {}: session with {}, no resync: {}", record_.volume.str(), peer, decision.why);
        return;
    }
    if (decision.resync == ResyncKind::full || everything)
        tell(Event::full_resync, peer,
             fmt::format("session with {}, full resync (FULL RESYNC): {}", peer, why));
    else
        tell(Event::partial_resync, peer,
             fmt::format("session with {}, partial resync (PARTIAL RESYNC, {} bytes and its own): {}", peer,
                         dirty_blocks * kBlockBytes, decision.why));
    note(Event::resync_started, peer, decision.why);
}

/// Writes wait for the session under way, but not for ever.
void Mirror::hold_for_session(const std::string& peer) {
    Leg* leg = find(peer);
    if (!leg) return;
    leg->hold = true;
    update_gate();
    if (leg->hold_timer) world_.tasks.cancel(*leg->hold_timer);
    leg->hold_timer = world_.tasks.after(kHoldForSession, [this, peer] {
        Leg& mine = legs_.at(peer);  // cancelled with the leg
        mine.hold_timer.reset();
        if (!mine.hold) return;
        mine.hold = false;
        if (mine.linked) {
            // A session with equal ends that does not come into sync: without it then.
            drop_link(mine, peer);
            go_alone_until_recorded({});
            return schedule_connect(peer, kConnectBackoffStart);
        }
        update_gate();
    });
}

Task<> Mirror::notify_task(std::string peer, PeerRequest request) {
    if (!record_.peer(peer)) co_return;
    auto told = co_await call(peer, std::move(request), {.connect = kNotifyLimit, .answer = kNotifyLimit});
    (void)told;  // the peer finds out at the next handshake
}

Task<Result<>> Mirror::restart_links() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    for (auto& [peer, leg] : legs_) {
        leg.backoff = kConnectBackoffStart;
        if (source() && leg.linked)
            host_->restart_links(peer, "restarted on demand");
        else if (wants_link(peer))
            schedule_connect(peer, 0s);
    }
    co_return Result<>{};
}

// --- verdicts

/// A peer was promoted while this end was down. Spec: REP-237, REP-211.
Task<> Mirror::step_down(std::string peer, std::string why) {
    tell(Event::became_target, peer,
         record_.demoted
             ? fmt::format("{} has taken over; this node becomes target", peer)
             : fmt::format("{}: this node becomes target; what only this node has written is overwritten",
                           why));
    MirrorRecord next = record_;
    next.role = Role::target;
    next.origin.clear();  // the logs of this former source say what it has written
    next.demoted = false;
    next.consistent = true;
    next.outdated = true;  // the peer has gone on: only a resync makes this copy current
    following_ = true;
    for (PeerRecord& one : next.peers) {
        one.user_requested = false;
        one.log_complete = false;
        one.problem.clear();
    }
    if (auto saved = commit(std::move(next)); !saved) {
        alarm(saved.error().text);
        co_return;
    }
    for (auto& [name, leg] : legs_) {
        ++leg.session;
        leg.unlink();
        leg.hold = leg.synced = false;
        host_->detach(name);
        host_->become_target(name);
    }
    update_gate();
    if (exporting_) {
        auto stopped = co_await take_down_export(true);
        if (!stopped) alarm(stopped.error().text);
    }
}

/// Spec: REP-146, REP-224, REP-225.
void Mirror::enter_split_brain(const std::string& peer, const std::string& why) {
    if (record_.peer(peer)->split_brain) return;
    // A restart of this end must not make it look like one that was down.
    if (auto alone = go_alone(); !alone) alarm(alone.error().text);
    MirrorRecord next = record_;
    PeerRecord& one = *next.peer(peer);
    one.split_brain = true;
    one.user_requested = true;
    one.state = MirrorState::paused;
    one.cause = PauseCause::user;
    one.problem = fmt::format(
        "SPLIT BRAIN: {}; nothing was overwritten. \"understudy mirror split-brain {}\" shows what each "
        "changed. Choose the node whose data is to go and run there "
        "\"understudy mirror yield {}\", then on the other \"understudy mirror continue {}\"",
        why, record_.volume.str(), record_.volume.str(), record_.volume.str());
    const std::string text = one.problem;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
    alarm(peer, text);
    note(Event::both_source, peer, text);
    drop_link(legs_.at(peer), peer);
    update_gate();
}

/// Spec: REP-144, REP-145.
void Mirror::refuse_peer(const std::string& peer, const std::string& why) {
    MirrorRecord next = record_;
    PeerRecord& one = *next.peer(peer);
    one.user_requested = true;
    one.cause = PauseCause::user;
    one.problem = fmt::format("{}; then run \"understudy mirror continue {}\"", why, record_.volume.str());
    const std::string text = one.problem;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
    alarm(peer, text);
    const Leg* leg = find(peer);
    const bool too_small = leg && leg->device_size != 0 && leg->device_size < record_.size;
    note(too_small ? Event::target_too_small : Event::other_source, peer, text);
}

}  // namespace understudy::mirror::control
