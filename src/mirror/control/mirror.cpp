// Record, state and views of a volume; see mirror_start.cpp for its start and end, mirror_link.cpp for the
// peers, mirror_roles.cpp for role changes.

#include "mirror/control/mirror.h"

#include "messages/messages.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"
#include "mirror/control/parameters.h"

#include <algorithm>
#include <cstring>

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

Mirror::Mirror(Surroundings& surroundings, MirrorRecord record)
    : around_(surroundings),
      world_(surroundings.world),
      record_(std::move(record)),
      lock_(surroundings.world.tasks),
      notes_lock_(surroundings.world.tasks) {
    for (const PeerRecord& peer : record_.peers) {
        Leg& leg = legs_[peer.node];
        leg.state = peer.state;
        leg.backoff = kConnectBackoffStart;
    }
}

Mirror::~Mirror() {
    for (auto& [peer, leg] : legs_)
        stop_timers(leg);
    if (note_timer_) world_.tasks.cancel(*note_timer_);
    around_.links.forget(record_.volume);
    tasks_.clear();
}

void Mirror::stop_timers(Leg& leg) {
    if (leg.connect_timer) world_.tasks.cancel(*leg.connect_timer);
    if (leg.hold_timer) world_.tasks.cancel(*leg.hold_timer);
    leg.connect_timer.reset();
    leg.hold_timer.reset();
}

// --- record

Result<> Mirror::commit(MirrorRecord next) {
    UNDERSTUDY_CHECK(around_.records.save(next));
    std::swap(record_, next);
    if (around_.changed) around_.changed(next, record_);
    return {};
}

GenerationId Mirror::fresh_id() {
    GenerationId id = 0;
    while (id == 0 || record_.lineage.knows(id))
        world_.random.fill(std::as_writable_bytes(std::span(&id, 1)));
    return id;
}

void Mirror::alarm(std::string text) {
    if (text == problem_) return;
    messages::error("volume {}: {}", record_.volume.str(), text);
    problem_ = std::move(text);
}

void Mirror::alarm(const std::string& peer, std::string text) {
    Leg* leg = find(peer);
    if (!leg) return alarm(std::move(text));
    if (text == leg->problem) return;
    messages::error("volume {}: {}", record_.volume.str(), text);
    leg->problem = std::move(text);
}

void Mirror::tell(Event event, const std::string& peer, const std::string& text) {
    messages::log_text(severity_of(event),
                       fmt::format("volume {}: {}", record_.volume.str(), numbered(event, text)));
    note(event, peer, text);
}

void Mirror::note(Event event, const std::string& peer, const std::string& text) {
    if (around_.on_event) around_.on_event({event, record_.volume, peer, text});
}

Mirror::Leg* Mirror::find(const std::string& peer) {
    const auto at = legs_.find(peer);
    return at == legs_.end() ? nullptr : &at->second;
}

std::vector<std::string> Mirror::names() const {
    std::vector<std::string> out;
    for (const PeerRecord& peer : record_.peers)
        out.push_back(peer.node);
    return out;
}

Result<std::vector<std::string>> Mirror::named(const std::string& peer) const {
    if (peer.empty()) return names();
    if (!record_.peer(peer))
        return fail(Code::not_found, "volume {} has no mirror with {}; it has: {}", record_.volume.str(),
                    peer, record_.peer_names());
    return std::vector<std::string>{peer};
}

Task<Result<Mirror::Operation>> Mirror::begin_on_source(std::string peer, std::string verb) {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!source())
        co_return fail(Code::bad_argument, "{} is target of volume {}: {} it on its source {}", around_.node,
                       record_.volume.str(), verb, record_.origin);
    auto which = named(peer);
    if (!which) co_return fail(which.error());
    Result<Operation> begun(Operation{std::move(*held), std::move(*which)});
    co_return std::move(begun);
}

// --- gate

bool Mirror::serving() const {
    return source() && exporting_ && gate_ == GateMode::open;
}

bool Mirror::holds_for_session() const {
    return std::any_of(legs_.begin(), legs_.end(), [](const auto& leg) { return leg.second.hold; });
}

void Mirror::set_gate(GateMode mode) {
    if (lost_) mode = GateMode::refuse_writes;
    gate_ = mode;
    host_->set_gate(mode == GateMode::open && write_holds_ > 0 ? GateMode::hold_writes : mode);
}

void Mirror::update_gate() {
    if (!open_ || closing_) return;
    if (resizing_ || adding_) return set_gate(GateMode::hold_all);
    // Whoever still has the device of an end that became target gets the volume's refusal.
    if (!source()) return set_gate(GateMode::open);
    if (record_.demoted || !role_checked_) return set_gate(GateMode::hold_all);
    if (holds_for_session()) return set_gate(GateMode::hold_writes);
    if (may_write()) return set_gate(GateMode::open);
    set_gate(writes_refused_ ? GateMode::refuse_writes : GateMode::first_write);
}

void Mirror::first_write() {
    // The gate may have been set otherwise since the write came.
    if (gate_ != GateMode::first_write) return update_gate();
    go_alone_until_recorded({});
}

// --- what the volume tells

void Mirror::state_changed(const std::string& peer, MirrorState from, MirrorState to, PauseCause cause) {
    Leg* leg = find(peer);
    if (!leg) return;  // removed meanwhile
    leg->state = to;
    if (closing_) return;  // the clean end writes what the next start needs
    // Spec: REP-374
    tell(source() ? Event::source_state : Event::target_state, peer,
         fmt::format("{} {}: {} -> {}{}", source() ? "target" : "source", peer, to_string(from),
                     to_string(to), cause == PauseCause::none ? "" : fmt::format(" ({})", to_string(cause))));
    MirrorRecord next = record_;
    PeerRecord& changed = *next.peer(peer);
    changed.state = to;
    changed.cause = cause;
    const bool by_user = changed.user_requested;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
    if (!source() || to != MirrorState::paused || by_user) return;
    // link_lost() and pause() see to their own.
    if (cause == PauseCause::none || cause == PauseCause::user || cause == PauseCause::link_lost) return;
    // The link stays while the queue drains (REP-106); then a new session tells the target the new
    // generation.
    alarm(peer, fmt::format("paused by itself ({}); it will be continued", to_string(cause)));
    leg->hold = false;
    go_alone_until_recorded({});
    schedule_connect(peer, retry_delay(cause) * 4 / 5);
}

void Mirror::link_lost(const std::string& peer, std::string why) {
    Leg* leg = find(peer);
    if (!leg || closing_) return;
    messages::warning("volume {}: the link to {} is lost: {}", record_.volume.str(), peer, why);
    if (source() && leg->in_session() && !leg->synced && leg->session_kind != ResyncKind::none)
        tell(Event::resync_failed, peer, fmt::format("the resync to {} did not end: {}", peer, why));
    leg->unlink();
    if (!source()) return;
    leg->hold = false;
    if (record_.demoted) return schedule_connect(peer, leg->backoff);
    // Held by the gate since the moment the link went.
    go_alone_until_recorded({});
    leg->backoff = kConnectBackoffStart;
    schedule_connect(peer, leg->backoff);
}

/// Nothing is lost and nothing is recorded: both ends are where they were, and writes go on. Spec: REP-096.
void Mirror::link_interrupted(const std::string& peer, std::string why) {
    Leg* leg = find(peer);
    if (!leg || closing_ || !source() || !leg->linked) return;
    tell(Event::reconnecting, peer,
         fmt::format("the connection to {} broke ({}); connecting again", peer, why));
    leg->unlink();
    leg->interrupted = true;
    leg->backoff = kConnectBackoffStart;
    schedule_connect(peer, 0s);
}

void Mirror::degraded(const std::string& peer, DegradeAnswer release) {
    // A demoted source has nothing that waits, and must still be recognised as the equal of its target.
    if (record_.demoted || !find(peer)) return release(true);
    go_alone_until_recorded(std::move(release));
    // Best effort: a target that learns it is behind is not promoted by mistake. Nothing waits for it.
    tasks_.spawn(notify_task(peer, request(RequestKind::pause_notice, peer)));
}

void Mirror::in_sync(const std::string& peer) {
    Leg* leg = find(peer);
    if (!leg) return;
    MirrorRecord next = record_;
    PeerRecord& one = *next.peer(peer);
    one.problem.clear();
    one.split_brain = false;
    one.alone_since_s = 0;
    one.log_valid = !leg->log_lost;
    one.log_complete = false;
    if (one.log_valid) one.full_cause.clear();
    next.creating = false;
    leg->synced = true;
    if (source()) {
        if (!leg->linked) return;  // of a session that has ended since
        next.lineage.in_sync(peer, leg->told);
    } else {
        following_ = false;
        next.lineage.adopt(peer, leg->source_current, leg->source_history);
        next.role_epoch = leg->source_epoch;
        next.consistent = true;
        next.replaced = false;
        next.outdated = false;
        next.yielded = false;
        // After a notice of a pause the record may say otherwise than the volume, whose state has not
        // changed.
        next.peer(peer)->state = MirrorState::mirroring;
        next.peer(peer)->cause = PauseCause::none;
    }
    if (auto saved = commit(std::move(next)); !saved) return alarm(saved.error().text);
    problem_.clear();
    leg->problem.clear();
    tell(Event::in_sync, peer, fmt::format("in sync with {}", peer));
    if (source()) tasks_.spawn(keep_notes());
    leg->hold = false;
    update_gate();
}

void Mirror::log_failed(const std::string& peer, std::string why) {
    Leg* leg = find(peer);
    if (!leg) return;
    leg->log_lost = true;
    tell(Event::log_failed, peer,
         fmt::format("the intent log is not used any more: {}; a crash now needs a full resync", why));
    MirrorRecord next = record_;
    next.peer(peer)->distrust_log(fmt::format("the intent log could not be written: {}", why));
    const auto saved = commit(std::move(next));
    if (saved) return;
    alarm(saved.error().text);
    // Spec: REP-064. The next owner would trust what the log has.
    if (record_.shared) refuse_writes();
}

Task<Result<CompareReport>> Mirror::compare(std::string peer, CompareOptions options) {
    if (!source() || !open_)
        co_return fail(Code::failure, "{} is not source of volume {}: verify it on its source", around_.node,
                       record_.volume.str());
    if (peer.empty() && record_.peers.size() > 1)
        co_return fail(Code::failure, "volume {} has several targets ({}): say which one with --target",
                       record_.volume.str(), record_.peer_names());
    auto which = named(peer);
    if (!which) co_return fail(which.error());
    peer = which->front();
    // Comparisons with two targets at a time could each hold a write that the other waits for (fan_out.h).
    for (const std::string& one : names()) {
        VolumeStatus now = co_await host_->status(one);
        if (now.comparison.running)
            co_return fail(Code::failure, "volume {} is being compared with {} already", record_.volume.str(),
                           one);
    }
    co_await leave_out_of_comparison(peer);
    Result<CompareReport> report = co_await host_->compare(peer, options);
    if (!report) co_return fail(report.error());
    if (report->different_blocks > 0)
        messages::error("volume {}: {} blocks of the copy on {} differ", record_.volume.str(),
                        report->different_blocks, peer);
    if (!options.repair || report->different_blocks == 0) co_return report;
    // Sent by the mirror's own repair; how long that takes is the link's business, so silence has a limit
    // only.
    const auto deadline = world_.clock.now() + kRepairLimit;
    while (!closing_ && record_.peer(peer) && world_.clock.now() < deadline) {
        VolumeStatus now = co_await host_->status(peer);
        if (now.dirty_blocks == 0 && now.state == MirrorState::mirroring) co_return report;
        co_await runtime::sleep_for(world_.tasks, kStatePoll);
    }
    report->stopped = "what differed is marked, but has not all been sent again yet";
    co_return report;
}

Result<> Mirror::set_parameters(const std::string& peer, std::span<const std::string> changes) {
    UNDERSTUDY_TRY(const auto which, named(peer));
    MirrorRecord next = record_;
    for (const std::string& one : which) {
        UNDERSTUDY_TRY(OwnParameters own,
                       with_changes(around_.settings, next.peer(one)->parameters, changes, record_.volume));
        next.peer(one)->parameters = std::move(own);
    }
    UNDERSTUDY_CHECK(commit(std::move(next)));
    for (const std::string& one : which)
        if (open_) host_->set_parameters(one, own_parameters(one));
    return {};
}

MirrorParameters Mirror::own_parameters(const std::string& peer) const {
    std::vector<std::string> told_at_start;
    const PeerRecord* one = record_.peer(peer);
    return parameters_of(around_.settings, one ? one->parameters : OwnParameters(), record_.volume,
                         told_at_start);
}

Result<std::string> Mirror::parameters(const std::string& peer) const {
    UNDERSTUDY_TRY(const auto which, named(peer));
    if (which.size() == 1)
        return describe_parameters(around_.settings, record_.peer(which.front())->parameters);
    std::string out;
    for (const std::string& one : which)
        out += fmt::format("mirror with {}:\n{}", one,
                           describe_parameters(around_.settings, record_.peer(one)->parameters));
    return out;
}

// --- views

Task<EndSummary> Mirror::summary(std::string peer) {
    VolumeStatus volume;
    if (open_) volume = co_await host_->status(peer);
    EndSummary out;
    const PeerRecord* one = record_.peer(peer);
    out.node = around_.node;
    out.volume = record_.volume;
    out.uuid = record_.uuid;
    out.role = record_.role;
    out.role_epoch = record_.role_epoch;
    out.generations = record_.generations(peer);
    out.consistent = record_.consistent && (!open_ || source() || volume.consistent);
    out.log_valid = one && one->log_valid && open_;
    out.log_complete = source() && one && one->log_complete;
    out.unlocked = record_.unlocked;
    out.serving = serving();
    out.demoted = record_.demoted;
    out.yielded = record_.yielded;
    out.split_brain = one && one->split_brain;
    out.dirty_blocks = volume.dirty_blocks;
    out.free_left_out = record_.free_left_out;
    out.size = record_.size;
    if (!source() && open_) {
        auto whole = co_await host_->device_size();
        out.size = whole ? *whole : device_size_;
    }
    out.sector_size = record_.sector_size;
    if (!source() && !record_.origin.empty() && record_.origin != peer) {
        // The log of this peer tells nothing: what it may lack is what the source sent here last. Spec:
        // REP-238.
        const std::string origin = record_.origin;
        std::optional<BlockRanges> recent;
        if (open_ && record_.peer(origin)) {
            volume = co_await host_->status(origin);
            out.consistent = record_.consistent && volume.consistent;
            recent = co_await host_->recent_writes(origin);
        }
        out.log_valid = recent.has_value();
        out.dirty_blocks = 0;
        for (const BlockRange& range : recent.value_or(BlockRanges()))
            out.dirty_blocks += range.count;
    }
    co_return out;
}

Task<MirrorView> Mirror::view() {
    MirrorView out;
    for (const std::string& peer : names()) {
        PeerView one;
        if (open_) one.volume = co_await host_->status(peer);
        const Leg* leg = find(peer);
        if (!leg || !record_.peer(peer)) continue;  // removed meanwhile
        one.record = *record_.peer(peer);
        one.counters = counters_of(one.volume, own_parameters(peer));
        one.linked = leg->linked;
        one.device_size = leg->device_size;
        one.problem = !one.record.problem.empty() ? one.record.problem : leg->problem;
        out.peers.push_back(std::move(one));
    }
    out.record = record_;
    out.open = open_;
    out.device_size = device_size_;
    out.exporting = exporting_;
    out.writes_held = source() && exporting_ && gate_ != GateMode::open && gate_ != GateMode::first_write;
    out.device_path = exporting_ ? device_path_ : "";
    for (std::size_t i = out.peers.size(); i-- > 0;) {
        const MirrorState state = open_ ? out.peers[i].volume.state : out.peers[i].record.state;
        if (source() ? state != MirrorState::mirroring : out.peers[i].record.node == record_.origin)
            out.main = i;
    }
    out.problem = alone_problem_;
    for (const PeerView& one : out.peers)
        if (out.problem.empty()) out.problem = one.record.problem;
    if (out.problem.empty()) out.problem = !log_problem_.empty() ? log_problem_ : problem_;
    if (out.problem.empty()) out.problem = name_problem_;
    for (const PeerView& one : out.peers)
        if (out.problem.empty()) out.problem = one.problem;
    out.snapshot_device = snapshot_device_;
    out.snapshot_problem = snapshot_problem_;
    out.snapshot_taken_s = snapshot_taken_s_;
    co_return out;
}

Task<Result<>> Mirror::wait_in_sync(std::string peer, runtime::Duration limit) {
    const auto deadline = world_.clock.now() + limit;
    for (;;) {
        if (closing_) co_return fail(Code::failure, "volume {} is being closed", record_.volume.str());
        if (record_.peers.empty())
            co_return fail(Code::failure, "volume {} has no target", record_.volume.str());
        MirrorView now = co_await view();
        // A target that has not met its source yet follows nobody.
        bool all = now.open && !now.peers.empty() && (source() || !record_.origin.empty());
        std::string waits_for, problem;
        for (const PeerView& one : now.peers) {
            // A target has one source.
            if (source() ? !peer.empty() && one.record.node != peer : one.record.node != record_.origin)
                continue;
            if (!one.record.problem.empty()) co_return fail(Code::failure, "{}", one.record.problem);
            if (one.volume.state == MirrorState::mirroring && one.linked) continue;
            all = false;
            waits_for = fmt::format("{} with {}", to_string(one.volume.state), one.record.node);
            problem = one.problem;
        }
        if (all) co_return Result<>{};
        if (problem.empty()) problem = now.problem;
        if (world_.clock.now() >= deadline)
            co_return fail(Code::failure, "volume {} is not in sync yet: {}{}{}", record_.volume.str(),
                           waits_for, problem.empty() ? "" : ": ", problem);
        co_await runtime::sleep_for(world_.tasks, kStatePoll);
    }
}

}  // namespace understudy::mirror::control
