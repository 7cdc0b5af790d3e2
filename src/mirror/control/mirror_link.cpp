// How the ends of a mirror meet: the source calls, the target answers, both decide from the same facts.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

PeerAddress Mirror::peer_address() const {
    return {record_.remote_node, record_.remote_address, record_.remote_port, record_.local_address};
}

PeerRequest Mirror::request(RequestKind kind) const {
    PeerRequest out;
    out.kind = kind;
    out.volume = record_.volume;
    out.uuid = record_.uuid;
    out.type = record_.type;
    out.offer = around_.offer;
    return out;
}

/// Both ends compute the same. What the peer lacks is worth a line: it explains what does not work.
Result<wire::Agreement> Mirror::agree_with(const wire::Offer& peer) {
    UNDERSTUDY_TRY(const wire::Agreement agreed, wire::agree(around_.offer, peer));
    if (agreed.features != around_.offer.features)
        messages::info(
            "volume {}: {} runs another release; of the data links' features {:#x} only {:#x} are used",
            record_.volume.str(), record_.remote_node, around_.offer.features, agreed.features);
    return agreed;
}

// --- source

bool Mirror::wants_link() const {
    return open_ && source() && role_checked_ && !closing_ && !linked_ && !record_.user_requested &&
           !record_.split_brain;
}

void Mirror::schedule_connect(runtime::Duration delay) {
    if (connect_timer_) world_.tasks.cancel(*connect_timer_);
    connect_timer_ = world_.tasks.after(delay, [this] {
        connect_timer_.reset();
        // Paused by itself with the link kept: this is the end of its rest.
        if (linked_ && source() && state_ == MirrorState::paused && !record_.user_requested && !closing_) {
            host_->detach();
            unlink();
        }
        if (!connecting_ && wants_link()) tasks_.spawn(connect_task());
    });
}

/// After a failed attempt: ever more slowly.
void Mirror::retry_connect() {
    schedule_connect(backoff_);
    if (interrupted_) return;  // what waits for this is limited by the volume
    backoff_ = std::min<runtime::Duration>(backoff_ * 2, kConnectBackoffMost);
}

Task<> Mirror::connect_task() {
    connecting_ = true;
    auto held = co_await lock_.acquire(kOperationWait);
    bool joined = false;
    if (held && wants_link())
        joined = co_await connect_once(hold_for_session_ ? kBootCheckLimit : kConnectLimit);
    held.reset();
    connecting_ = false;
    if (!joined && wants_link()) retry_connect();
}

/// One attempt to start a session; true when the links are attached. Needs the lock.
Task<bool> Mirror::connect_once(runtime::Duration connect_limit) {
    if (interrupted_) co_return co_await resume_session();
    // While nobody has written since both ends were equal, writes wait for the session: the target then stays
    // consistent all the time. Otherwise they go on, as soon as the cluster knows.
    const bool equal_so_far = !role_checked_ || record_.demoted || record_.generations.peer_may_hold_current;
    if (gate_ != GateMode::open && equal_so_far) hold_for_session();
    EndSummary self = co_await summary();
    PeerRequest hello = request(RequestKind::hello);
    hello.summary = self;
    Result<PeerReply> reply =
        co_await call_peer(world_, peer_address(), hello, {.connect = connect_limit, .answer = kHelloLimit});
    bool joined = false;
    if (!reply) {
        if (reply.error().text != problem_)
            messages::info("volume {}: no session with {}: {}", record_.volume.str(), record_.remote_node,
                           reply.error().text);
        problem_ = reply.error().text;
    } else if (source() && record_.generations == self.generations && !closing_) {
        const Decision decision = decide(self, reply->summary);
        switch (decision.verdict) {
            case Verdict::attach:
                joined = co_await join_target(self, *reply);
                break;
            case Verdict::become_target:
                co_await step_down(decision.why);
                break;
            case Verdict::wait:
                problem_ = decision.why;
                break;
            case Verdict::split_brain:
                enter_split_brain(decision.why);
                break;
            case Verdict::refuse:
                refuse_peer(decision.why);
                break;
        }
    }
    if (!joined || session_kind_ != ResyncKind::none) hold_for_session_ = false;
    update_gate();
    co_return joined;
}

/// The session goes on over new links, or is over: then link_lost() follows. Spec: REP-096.
Task<bool> Mirror::resume_session() {
    const auto started = world_.clock.now();
    PeerRequest hello = request(RequestKind::hello);
    hello.summary = co_await summary();
    hello.resumes = links_session_;
    const CallLimits limits{.connect = kResumeLimit, .answer = kResumeLimit};
    Result<PeerReply> reply = co_await call_peer(world_, peer_address(), hello, limits);
    if (!interrupted_ || closing_) co_return false;
    // Silence may pass. A refusal does not: the peer's mirrord has ended, and with it what it held in memory.
    const bool silent =
        !reply && reply.error().code == Code::unreachable && world_.clock.now() - started >= kResumeLimit;
    if (silent) co_return false;
    const auto agreed = wire::agree(around_.offer, reply ? reply->offer : wire::Offer{});
    if (!reply || !reply->resumed || !agreed ||
        decide(hello.summary, reply->summary).verdict != Verdict::attach) {
        host_->give_up_links(reply ? fmt::format("{} cannot go on where it was", record_.remote_node)
                                   : reply.error().text);
        co_return false;
    }
    const runtime::Endpoint remote{record_.remote_address, reply->port};
    LinkResult links =
        co_await around_.links.connect(remote, record_.local_address, reply->session, reply->key);
    if (!interrupted_ || closing_ || !links) co_return false;
    const auto [data, resync] = (*links)->take();
    const LinkTerms terms{ResyncKind::partial, agreed->features, true};
    host_->attach(data, resync, terms);
    ++session_;
    interrupted_ = false;
    linked_ = true;
    links_session_ = reply->session;
    messages::info("volume {}: connected to {} again, the session goes on", record_.volume.str(),
                   record_.remote_node);
    co_return true;
}

Task<bool> Mirror::join_target(EndSummary self, PeerReply reply) {
    const Decision decision = decide(self, reply.summary);
    if (reply.port == 0 || reply.resync != decision.resync) {
        problem_ = fmt::format("{} did not start a session", record_.remote_node);
        co_return false;
    }
    const auto agreed = agree_with(reply.offer);
    if (!agreed) {
        alarm(agreed.error().text);
        co_return false;
    }
    const LinkTerms terms{decision.resync, agreed->features};
    const runtime::Endpoint remote{record_.remote_address, reply.port};
    LinkResult links =
        co_await around_.links.connect(remote, record_.local_address, reply.session, reply.key);
    if (!links) {
        problem_ = links.error().text;
        messages::warning("volume {}: {}", record_.volume.str(), problem_);
        co_return false;
    }
    // From here on the target may come to hold this generation.
    MirrorRecord next = record_;
    next.generations.begin_session(reply.summary.generations.current);
    next.problem.clear();
    if (auto saved = commit(std::move(next)); !saved) {
        alarm(saved.error().text);
        co_return false;
    }
    alone_wanted_ = false;
    problem_.clear();
    messages::info("volume {}: session with {}, {}: {}", record_.volume.str(), record_.remote_node,
                   decision.resync == ResyncKind::full      ? "full resync"
                   : decision.resync == ResyncKind::partial ? "partial resync"
                                                            : "no resync",
                   decision.why);
    if (state_ == MirrorState::paused || state_ == MirrorState::broken) host_->resume();
    const auto [data, resync] = (*links)->take();
    host_->attach(data, resync, terms);
    ++session_;
    linked_ = true;
    links_session_ = reply.session;
    session_kind_ = decision.resync;
    backoff_ = kConnectBackoffStart;
    co_return true;
}

/// Writes wait for the session under way, but not for ever.
void Mirror::hold_for_session() {
    hold_for_session_ = true;
    update_gate();
    if (hold_timer_) world_.tasks.cancel(*hold_timer_);
    hold_timer_ = world_.tasks.after(kHoldForSession, [this] {
        hold_timer_.reset();
        if (!hold_for_session_) return;
        hold_for_session_ = false;
        if (linked_) {
            // A session with equal ends that does not come into sync: without it then.
            host_->detach();
            unlink();
            go_alone_until_recorded({});
            return schedule_connect(kConnectBackoffStart);
        }
        update_gate();
    });
}

Task<> Mirror::notify_task(PeerRequest request) {
    auto told = co_await call_peer(world_, peer_address(), std::move(request),
                                   {.connect = kNotifyLimit, .answer = kNotifyLimit});
    (void)told;  // the peer finds out at the next handshake
}

// --- target

Task<PeerReply> Mirror::on_hello(PeerRequest request) {
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
    EndSummary self = co_await summary();
    Decision decision = decide(self, request.summary);
    if (decision.verdict == Verdict::become_target) {
        co_await step_down(decision.why);
        self = co_await summary();
        decision = decide(self, request.summary);
    }
    switch (decision.verdict) {
        case Verdict::attach:
            if (self.role == Role::target) {
                if (request.type != record_.type && request.type != MirrorType::none) {
                    MirrorRecord next = record_;
                    next.type = request.type;
                    if (auto saved = commit(std::move(next)); saved) host_->set_type(request.type);
                }
                const auto agreed = agree_with(request.offer);
                if (!agreed) {
                    refuse(Code::failure, agreed.error().text);
                    break;
                }
                LinkTerms terms{decision.resync, agreed->features};
                if (request.resumes != SessionId{}) {
                    // The source still has everything that this end may lack: that session or none.
                    terms.resume = co_await can_resume(request.resumes);
                    if (!terms.resume) break;
                }
                auto session = begin_session(request.summary, terms);
                if (session)
                    reply = *session;
                else
                    refuse(session.error().code, session.error().text);
            }
            break;
        case Verdict::split_brain:
            enter_split_brain(decision.why);
            break;
        case Verdict::wait:
            // The other end gives way now: call it soon.
            backoff_ = kConnectBackoffStart;
            if (wants_link()) schedule_connect(kConnectBackoffStart);
            break;
        case Verdict::become_target:  // could not be recorded
        case Verdict::refuse:
            break;  // the caller comes to the same result and says it
    }
    if (reply.code == Code::ok) reply.summary = co_await summary();
    co_return reply;
}

Task<bool> Mirror::can_resume(SessionId session) {
    if (session != links_session_) co_return false;
    host_->detach();  // this end may not have noticed yet
    unlink();
    const VolumeStatus now = co_await host_->status();
    co_return now.resumable;
}

Result<PeerReply> Mirror::begin_session(const EndSummary& source, const LinkTerms& terms) {
    PeerReply reply;
    world_.random.fill(reply.session);
    world_.random.fill(reply.key);
    host_->detach();
    unlink();
    const std::uint64_t session = ++session_;
    const Generations generations = source.generations;
    const std::uint64_t epoch = source.role_epoch;
    auto port = around_.links.expect(
        record_.volume, record_.local_address, reply.session, reply.key,
        [this, session, terms, generations, epoch, id = reply.session](LinkResult links) {
            if (session != session_) return;
            source_generations_ = generations;
            source_epoch_ = epoch;
            links_ready(session, std::move(links), terms, id);
        });
    if (!port) return fail(port.error());
    reply.port = *port;
    reply.resync = terms.kind;
    reply.offer = around_.offer;
    reply.resumed = terms.resume;
    return reply;
}

void Mirror::links_ready(std::uint64_t session, LinkResult links, const LinkTerms& terms,
                         const SessionId& id) {
    if (session != session_ || source() || closing_) return;
    if (!links) {
        messages::warning("volume {}: {} did not connect: {}", record_.volume.str(), record_.remote_node,
                          links.error().text);
        return;
    }
    MirrorRecord next = record_;
    // Durable before the first block of the resync. Spec: REP-118.
    if (terms.kind != ResyncKind::none && !terms.resume) next.consistent = false;
    if (auto saved = commit(std::move(next)); !saved) return alarm(saved.error().text);
    const auto [data, resync] = (*links)->take();
    host_->attach(data, resync, terms);
    linked_ = true;
    links_session_ = id;
    session_kind_ = terms.kind;
    problem_.clear();
}

// --- verdicts

/// The peer was promoted while this end was down. Spec: REP-237, REP-211.
Task<> Mirror::step_down(std::string why) {
    if (record_.demoted)
        messages::info("volume {}: {} has taken over; this node becomes target", record_.volume.str(),
                       record_.remote_node);
    else
        messages::warning(
            "volume {}: {}: this node becomes target; what only this node has written is overwritten",
            record_.volume.str(), why);
    MirrorRecord next = record_;
    next.role = Role::target;
    next.demoted = false;
    next.consistent = true;
    next.outdated = true;  // the peer has gone on: only a resync makes this copy current
    next.user_requested = false;
    next.problem.clear();
    if (auto saved = commit(std::move(next)); !saved) {
        alarm(saved.error().text);
        co_return;
    }
    ++session_;
    hold_for_session_ = false;
    unlink();
    host_->detach();
    host_->become_target();
    update_gate();
    if (exporting_) {
        auto stopped = co_await take_down_export(true);
        if (!stopped) alarm(stopped.error().text);
    }
}

/// Spec: REP-146, REP-224, REP-225.
void Mirror::enter_split_brain(const std::string& why) {
    if (record_.split_brain) return;
    // A restart of this end must not make it look like one that was down.
    if (auto alone = go_alone(); !alone) alarm(alone.error().text);
    MirrorRecord next = record_;
    next.split_brain = true;
    next.user_requested = true;
    next.state = MirrorState::paused;
    next.cause = PauseCause::user;
    next.problem = fmt::format(
        "SPLIT BRAIN: {}; nothing was overwritten. \"understudy mirror split-brain {}\" shows what each "
        "changed. Choose the node whose data is to go and run there "
        "\"understudy mirror yield {}\", then on the other \"understudy mirror continue {}\"",
        why, record_.volume.str(), record_.volume.str(), record_.volume.str());
    const std::string text = next.problem;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
    alarm(text);
    host_->detach();
    unlink();
    hold_for_session_ = false;
    update_gate();
}

/// Spec: REP-144, REP-145.
void Mirror::refuse_peer(const std::string& why) {
    MirrorRecord next = record_;
    next.user_requested = true;
    next.cause = PauseCause::user;
    next.problem = fmt::format("{}; then run \"understudy mirror continue {}\"", why, record_.volume.str());
    const std::string text = next.problem;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
    alarm(text);
}

}  // namespace understudy::mirror::control
