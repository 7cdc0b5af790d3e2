// How a source goes on without a target: its own record first, then the targets it still has, then the
// cluster's notes, then the writes. Spec: REP-079.
//
//   link lost (gate closed, completions held) -> new generation in the record
//     -> recorded by every target in session -> note on every node that is alive -> completions and gate
//     released
//                 \-> does not answer: lost too              \-> not within NDLGTimeoutMs: writes fail, or go
//                                                                on by setting; while this node's own
//                                                                understudyd is away, ten times as long
//                                                             \-> a peer was promoted: writes fail

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <ctime>
#include <span>

namespace understudy::mirror::control {

using runtime::Task;

std::string Mirror::mirror_hex() const {
    return text::hex(std::as_bytes(std::span(record_.uuid)));
}

void Mirror::begin_alone(MirrorRecord& record) {
    std::set<std::string> in_session;
    for (const auto& [peer, leg] : legs_)
        if (receives(leg) && !record.peer(peer)->user_requested) in_session.insert(peer);
    record.lineage.begin_alone(fresh_id(), in_session);
    record.alone_noted = false;
    record.alone_since_s =
        std::chrono::duration_cast<std::chrono::seconds>(world_.clock.wall().time_since_epoch()).count();
    // A peer that was lost once more before it had everything lacks writes since the first time.
    for (PeerRecord& peer : record.peers)
        if (!in_session.contains(peer.node) && peer.alone_since_s == 0)
            peer.alone_since_s = record.alone_since_s;
    peers_noted_ = false;
}

/// A peer without a session may hold this end's generation, or come to hold it.
bool Mirror::must_go_alone() const {
    return std::any_of(record_.peers.begin(), record_.peers.end(), [this](const PeerRecord& peer) {
        return !receives(legs_.at(peer.node)) && record_.generations(peer.node).peer_may_hold_current;
    });
}

/// Every target in session has this end's generation on record, or will have it with the end of its resync.
bool Mirror::targets_know() const {
    return std::all_of(legs_.begin(), legs_.end(), [this](const auto& leg) {
        return !receives(leg.second) || leg.second.told == record_.lineage.current;
    });
}

/// Those that get no writes.
std::vector<std::string> Mirror::behind() const {
    std::vector<std::string> out;
    for (const PeerRecord& peer : record_.peers)
        if (!record_.generations(peer.node).peer_may_hold_current) out.push_back(peer.node);
    return out;
}

bool Mirror::all_mirror() const {
    return std::all_of(legs_.begin(), legs_.end(), [](const auto& leg) {
        return leg.second.in_session() && leg.second.state == MirrorState::mirroring;
    });
}

/// Before this end accepts a write that a peer will not get.
Result<> Mirror::go_alone() {
    if (!must_go_alone()) return {};
    MirrorRecord next = record_;
    begin_alone(next);
    return commit(std::move(next));
}

/// An asynchronous mirror tells the cluster as well, but does not wait for it.
bool Mirror::may_write() const {
    if (must_go_alone() || !targets_know()) return false;
    if (record_.alone_noted) return true;
    const auto without = behind();
    return std::all_of(without.begin(), without.end(), [this](const std::string& peer) {
        return record_.peer(peer)->type == MirrorType::async;
    });
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
    // Counted from the moment when this node's understudyd last was absent, within bounds. Spec: REP-219
    const auto began = world_.clock.now();
    auto absent_until = began;
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
        if (!targets_know()) {
            co_await tell_targets();
            continue;
        }
        if (record_.alone_noted) break;
        // A resync that ended meanwhile: the targets have everything.
        if (behind().empty() && all_mirror()) break;
        if (may_write()) {
            answer_alone_waiters(true);
            update_gate();
        }
        Result<> posted = co_await post_note();
        if (posted) continue;
        if (!may_write() && !writes_refused_) {
            tell_alone_problem(
                fmt::format("writes wait until the cluster knows that the copy of {} is out of date: {}",
                            fmt::join(behind(), ", "), posted.error().text));
            bool answers = true;
            if (around_.notes) answers = co_await around_.notes->answers();
            const auto now = world_.clock.now();
            if (!answers) absent_until = std::min(now, began + (kWaitsForEngine - 1) * around_.degrade.limit);
            if (!taken_over_by_.empty())
                give_way();
            else if (!may_write() && now >= absent_until + around_.degrade.limit)
                give_up_on_note(posted.error().text);
        }
        co_await runtime::sleep_for(world_.tasks, taken_over_by_.empty() ? kNoteRetry : kRecordRetry);
    }
    recording_alone_ = false;
    alone_problem_.clear();
    taken_over_by_.clear();
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
    if (behind().empty()) schedule_notes();
}

/// The targets in session record this end's new generation, or are in session no longer: without it they
/// would seem to be as old as the one that was lost.
Task<> Mirror::tell_targets() {
    for (const std::string& peer : names()) {
        Leg* leg = find(peer);
        const GenerationId current = record_.lineage.current;
        if (!leg || !receives(*leg) || leg->told == current) continue;
        const std::uint64_t session = leg->session;
        PeerRequest told = request(RequestKind::advance, peer);
        told.summary = co_await summary(peer);
        auto reply = co_await call(peer, told, {.connect = kConnectLimit, .answer = kAdvanceLimit});
        leg = find(peer);
        if (!leg || !receives(*leg) || leg->session != session) continue;
        if (reply) {
            leg->told = told.summary.generations.current;
            if (leg->state != MirrorState::mirroring || leg->told != record_.lineage.current) continue;
            MirrorRecord next = record_;
            next.lineage.confirmed(peer);
            if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
            continue;
        }
        messages::warning("volume {}: {} was not told of the loss of another target: {}; its link is closed",
                          record_.volume.str(), peer, reply.error().text);
        drop_link(*leg, peer);
        alone_wanted_ = true;
        schedule_connect(peer, kConnectBackoffStart);
    }
}

/// Not under the operation lock: the source's writes wait for it.
Task<PeerReply> Mirror::on_advance(std::string caller, PeerRequest request) {
    PeerReply reply;
    Leg* leg = find(caller);
    const Generations& newer = request.summary.generations;
    if (source() || !leg || !leg->linked || closing_) {
        reply.code = Code::failure;
        reply.error = fmt::format("{} has no session with {}", around_.node, caller);
        co_return reply;
    }
    leg->source_current = newer.current;
    leg->source_history = newer.history;
    leg->source_epoch = request.summary.role_epoch;
    if (leg->synced) {
        MirrorRecord next = record_;
        next.lineage.adopt(caller, newer.current, newer.history);
        if (auto saved = commit(std::move(next)); !saved) {
            reply.code = saved.error().code;
            reply.error = saved.error().text;
            co_return reply;
        }
    }
    reply.summary = co_await summary(caller);
    co_return reply;
}

/// Attempts to reach the peer go on meanwhile and have a text of their own.
void Mirror::tell_alone_problem(std::string text) {
    if (text == alone_problem_) return;
    messages::error("volume {}: {}", record_.volume.str(), text);
    alone_problem_ = std::move(text);
}

/// A peer has become source while nobody here heard of it, because understudyd was down: what is written here
/// from now on would be lost, so nothing is. Whether the other one is wanted is for the cluster and people to
/// say. Spec: REP-146, REP-213
void Mirror::give_way() {
    writes_refused_ = true;
    const std::string why = fmt::format("writes fail: {} has taken volume {} over while {} could not be told",
                                        taken_over_by_, record_.volume.str(), around_.node);
    tell_alone_problem(why);
    note(Event::both_source, {}, why);
    answer_alone_waiters(false);
    update_gate();
}

/// The cluster cannot be told. Spec: REP-079, REP-217.
void Mirror::give_up_on_note(const std::string& why) {
    const std::string lost = fmt::format("{}", fmt::join(behind(), ", "));
    if (!around_.degrade.refuse_writes) {
        MirrorRecord next = record_;
        next.alone_noted = true;
        if (auto saved = commit(std::move(next)); !saved) return alarm(saved.error().text);
        tell(Event::goes_on_untold, {},
             fmt::format(
                 "{} goes on without {} although the cluster could not be told ({}): a takeover there would "
                 "lose writes (BlockWritesOnNDLGTimeoutReached=0)",
                 around_.node, lost, why));
        return schedule_notes();
    }
    writes_refused_ = true;
    tell_alone_problem(fmt::format(
        "writes fail: {} is not reachable, and the cluster could not be told within {} ms that "
        "its copy is out of date: {}. Start understudyd on this node (lkstart), or bring the "
        "mirror back",
        lost, std::chrono::duration_cast<std::chrono::milliseconds>(around_.degrade.limit).count(), why));
    note(Event::cluster_not_told, {}, why);
    answer_alone_waiters(false);
    update_gate();
}

/// The node that is source by a promotion over this one; empty: none as far as the living nodes know.
Task<Result<std::string>> Mirror::promoted_meanwhile() {
    std::string found;
    if (!around_.notes) co_return found;
    auto notes = co_await around_.notes->read(record_.volume);
    if (!notes) co_return fail(notes.error());
    for (const BehindNote& one : *notes)
        if (is_takeover(one, around_.node, mirror_hex(), record_.role_epoch, record_.generations({}),
                        record_.alone_since_s))
            found = one.source;
    co_return found;
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
    note.generation = record_.lineage.current;
    note.since_s = record_.alone_since_s;
    notes_left_ = true;
    Result<bool> posted = true;
    if (around_.notes) posted = co_await around_.notes->post(note, hosts_of(behind()));
    if (!posted) co_return fail(posted.error());
    if (note.generation != record_.lineage.current || !source()) co_return Result<>{};
    if (!record_.alone_noted) {
        auto other = co_await promoted_meanwhile();
        if (!other) co_return fail(other.error());
        if (note.generation != record_.lineage.current || !source()) co_return Result<>{};
        taken_over_by_ = *other;
        if (!taken_over_by_.empty()) co_return fail(Code::exists, "{} is its source now", taken_over_by_);
    }
    peers_noted_ = *posted;
    if (!peers_noted_) schedule_notes();
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
    const bool alone = !behind().empty();
    if (alone && !peers_noted_) {
        Result<> posted = co_await post_note();
        if (!posted) schedule_notes();
        co_return;
    }
    if (alone || !notes_left_ || !all_mirror()) co_return;
    auto held = co_await notes_lock_.acquire(kOperationWait);
    // A link may have gone while this waited: the notes are of use again.
    if (!held || !all_mirror()) co_return;
    Result<bool> gone = co_await around_.notes->withdraw(record_.volume, hosts_of(names()));
    notes_left_ = !gone || !*gone;
    if (notes_left_) schedule_notes();
}

// --- a target that says nothing

/// Heartbeats find a node DEAD many times sooner than missing pings of the mirror lose its link (REP-095),
/// and synchronous writes wait all that time. The question is asked only while an answer is owed, so an idle
/// cluster daemon is left alone, and one that is absent leaves the pings to decide.
void Mirror::target_silent(const std::string& peer) {
    Leg* leg = find(peer);
    if (!leg || !around_.notes || !source() || !leg->in_session() || closing_ || leg->asking) return;
    tasks_.spawn(ask_whether_target_died(peer, leg->session));
}

Task<> Mirror::ask_whether_target_died(std::string peer, std::uint64_t session) {
    if (Leg* leg = find(peer)) leg->asking = true;
    const PeerRecord* one = record_.peer(peer);
    const std::string node = one ? one->host_name() : peer;
    const bool dead = co_await around_.notes->is_dead(node);
    Leg* leg = find(peer);
    if (!leg) co_return;
    leg->asking = false;
    // The session that the question was about may have ended meanwhile.
    if (!dead || session != leg->session || !leg->in_session() || !source() || closing_) co_return;
    host_->detach(peer);
    link_lost(peer, "the cluster has found its node DEAD");
}

/// Whether the cluster knows that this end lacks writes which a peer, now silent, has accepted.
Task<Result<>> Mirror::check_not_behind() {
    std::string since;
    bool behind = record_.role == Role::target && record_.outdated;
    std::string newer = record_.origin.empty() ? record_.peer_names() : record_.origin;
    if (around_.notes) {
        auto notes = co_await around_.notes->read(record_.volume);
        if (!notes && !behind && record_.role == Role::target)
            co_return fail(
                Code::failure,
                "{} does not answer and it cannot be told whether volume {} of {} is up to date: {}; "
                "--force accepts that it may not be",
                newer, record_.volume.str(), around_.node, notes.error().text);
        for (const BehindNote& note : notes ? *notes : std::vector<BehindNote>()) {
            if (!is_behind(note, around_.node, mirror_hex(), record_.role_epoch, record_.generations({})))
                continue;
            behind = true;
            newer = note.source;
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
        record_.volume.str(), around_.node, newer, since);
}

}  // namespace understudy::mirror::control
