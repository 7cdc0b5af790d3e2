// Record, state, start and end of a mirror; see mirror_link.cpp for the peer, mirror_roles.cpp for role
// changes.

#include "mirror/control/mirror.h"

#include "messages/messages.h"
#include "mirror/control/log_place.h"
#include "mirror/control/mirror_limits.h"
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
      state_(record_.state),
      backoff_(kConnectBackoffStart),
      notes_lock_(surroundings.world.tasks) {}

Mirror::~Mirror() {
    if (connect_timer_) world_.tasks.cancel(*connect_timer_);
    if (hold_timer_) world_.tasks.cancel(*hold_timer_);
    if (note_timer_) world_.tasks.cancel(*note_timer_);
    around_.links.forget(record_.volume);
    tasks_.clear();
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
    while (id == 0 || record_.generations.knows(id))
        world_.random.fill(std::as_writable_bytes(std::span(&id, 1)));
    return id;
}

void Mirror::alarm(std::string text) {
    if (text == problem_) return;
    messages::error("volume {}: {}", record_.volume.str(), text);
    problem_ = std::move(text);
}

// --- gate

bool Mirror::serving() const {
    return source() && exporting_ && gate_ == GateMode::open;
}

void Mirror::set_gate(GateMode mode) {
    gate_ = mode;
    host_->set_gate(mode == GateMode::open && hold_for_snapshot_ ? GateMode::hold_writes : mode);
}

void Mirror::update_gate() {
    if (!open_ || closing_) return;
    // Whoever still has the device of an end that became target gets the volume's refusal.
    if (!source()) return set_gate(GateMode::open);
    if (record_.demoted || !role_checked_) return set_gate(GateMode::hold_all);
    if (hold_for_session_) return set_gate(GateMode::hold_writes);
    if ((linked_ || interrupted_) && record_.generations.peer_may_hold_current)
        return set_gate(GateMode::open);
    if (may_write_alone()) return set_gate(GateMode::open);
    set_gate(writes_refused_ ? GateMode::refuse_writes : GateMode::first_write);
}

void Mirror::first_write() {
    // The gate may have been set otherwise since the write came.
    if (gate_ != GateMode::first_write) return update_gate();
    go_alone_until_recorded({});
}

// --- what the volume tells

void Mirror::state_changed(MirrorState from, MirrorState to, PauseCause cause) {
    state_ = to;
    if (closing_) return;  // the clean end writes what the next start needs
    // Spec: REP-374
    messages::info("volume {}, {} {}: {} -> {}{}", record_.volume.str(), source() ? "target" : "source",
                   record_.remote_node, to_string(from), to_string(to),
                   cause == PauseCause::none ? "" : fmt::format(" ({})", to_string(cause)));
    MirrorRecord next = record_;
    next.state = to;
    next.cause = cause;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
    if (!source() || to != MirrorState::paused || record_.user_requested) return;
    // link_lost() and pause() see to their own.
    if (cause == PauseCause::none || cause == PauseCause::user || cause == PauseCause::link_lost) return;
    // The link stays while the queue drains (REP-106); then a new session tells the target the new
    // generation.
    alarm(fmt::format("paused by itself ({}); it will be continued", to_string(cause)));
    hold_for_session_ = false;
    go_alone_until_recorded({});
    schedule_connect(retry_delay(cause) * 4 / 5);
}

void Mirror::link_lost(std::string why) {
    if (closing_) return;
    messages::warning("volume {}: the link to {} is lost: {}", record_.volume.str(), record_.remote_node,
                      why);
    unlink();
    if (!source()) return;
    hold_for_session_ = false;
    if (record_.demoted) return schedule_connect(backoff_);
    // Held by the gate since the moment the link went.
    go_alone_until_recorded({});
    backoff_ = kConnectBackoffStart;
    schedule_connect(backoff_);
}

/// Nothing is lost and nothing is recorded: both ends are where they were, and writes go on. Spec: REP-096.
void Mirror::link_interrupted(std::string why) {
    if (closing_ || !source() || !linked_) return;
    messages::warning("volume {}: the connection to {} broke ({}); connecting again", record_.volume.str(),
                      record_.remote_node, why);
    unlink();
    interrupted_ = true;
    backoff_ = kConnectBackoffStart;
    schedule_connect(0s);
}

void Mirror::degraded(DegradeAnswer release) {
    // A demoted source has nothing that waits, and must still be recognised as the equal of its target.
    if (record_.demoted) return release(true);
    go_alone_until_recorded(std::move(release));
    // Best effort: a target that learns it is behind is not promoted by mistake. Nothing waits for it.
    tasks_.spawn(notify_task(request(RequestKind::pause_notice)));
}

void Mirror::in_sync() {
    MirrorRecord next = record_;
    next.problem.clear();
    next.split_brain = false;
    next.creating = false;
    next.log_valid = true;
    if (source()) {
        if (!linked_) return;  // of a session that has ended since
        next.generations.in_sync();
    } else {
        next.generations.adopt(source_generations_.current, source_generations_.history);
        next.role_epoch = source_epoch_;
        next.consistent = true;
        next.outdated = false;
        next.yielded = false;
        // After a notice of a pause the record may say otherwise than the volume, whose state has not
        // changed.
        next.state = MirrorState::mirroring;
        next.cause = PauseCause::none;
    }
    if (auto saved = commit(std::move(next)); !saved) return alarm(saved.error().text);
    problem_.clear();
    messages::info("volume {}: in sync with {}", record_.volume.str(), record_.remote_node);
    if (source()) tasks_.spawn(keep_notes());
    if (hold_for_session_) {
        hold_for_session_ = false;
        update_gate();
    }
}

void Mirror::log_failed(std::string why) {
    messages::error("volume {}: the intent log is not used any more: {}; a crash now needs a full resync",
                    record_.volume.str(), why);
    MirrorRecord next = record_;
    next.log_valid = false;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
}

// --- start

Task<Result<>> Mirror::open_volume() {
    VolumeOptions options;
    options.id = record_.volume;
    options.device = record_.device;
    options.log_path = record_.log_path;
    options.uuid = record_.uuid;
    options.type = record_.type;
    std::vector<std::string> problems;
    options.parameters = parameters_of(around_.settings, record_.parameters, record_.volume, problems);
    for (const std::string& problem : problems)
        messages::warning("volume {}: {}", record_.volume.str(), problem);
    const bool expected_log = !record_.creating;
    auto opened = co_await host_->open(std::move(options), source() ? record_.size : 0);
    if (!opened) co_return fail(opened.error());
    MirrorRecord next = record_;
    // A log that had to be made anew knows nothing, unless the last life ended with nothing in it. Spec:
    // REP-073.
    if (opened->log_created && expected_log && !record_.clean) next.log_valid = false;
    if (!opened->log_valid) next.log_valid = false;
    if (!log_place(around_.settings, around_.bitmaps).outlives_crash && expected_log && !record_.clean)
        next.log_valid = false;  // Spec: REP-059
    next.clean = false;
    if (auto saved = commit(std::move(next)); !saved) co_return fail(saved.error());
    open_ = true;
    co_return Result<>{};
}

Task<Result<CompareReport>> Mirror::compare(CompareOptions options) {
    if (!source() || !open_)
        co_return fail(Code::failure, "{} is not source of volume {}: verify it on its source", around_.node,
                       record_.volume.str());
    Result<CompareReport> report = co_await host_->compare(options);
    if (!report) co_return fail(report.error());
    if (report->different_blocks > 0)
        messages::error("volume {}: {} blocks of the copy on {} differ", record_.volume.str(),
                        report->different_blocks, record_.remote_node);
    if (!options.repair || report->different_blocks == 0) co_return report;
    // Sent by the mirror's own repair; how long that takes is the link's business, so silence has a limit
    // only.
    const auto deadline = world_.clock.now() + kRepairLimit;
    while (!closing_ && world_.clock.now() < deadline) {
        VolumeStatus now = co_await host_->status();
        if (now.dirty_blocks == 0 && now.state == MirrorState::mirroring) co_return report;
        co_await runtime::sleep_for(world_.tasks, kStatePoll);
    }
    report->stopped = "what differed is marked, but has not all been sent again yet";
    co_return report;
}

Result<> Mirror::set_parameters(std::span<const std::string> changes) {
    UNDERSTUDY_TRY(OwnParameters own,
                   with_changes(around_.settings, record_.parameters, changes, record_.volume));
    MirrorRecord next = record_;
    next.parameters = std::move(own);
    UNDERSTUDY_CHECK(commit(std::move(next)));
    if (open_) host_->set_parameters(own_parameters());
    return {};
}

MirrorParameters Mirror::own_parameters() const {
    std::vector<std::string> told_at_start;
    return parameters_of(around_.settings, record_.parameters, record_.volume, told_at_start);
}

std::string Mirror::parameters() const {
    return describe_parameters(around_.settings, record_.parameters);
}

void Mirror::boot() {
    tasks_.spawn(boot_task());
}

/// An unmounted disk appears late, or not at all: then the logs begin anew elsewhere, because writes must not
/// wait for ever. Spec: REP-057, REP-061, REP-062, REP-068.
Task<> Mirror::find_log_directory() {
    const LogPlace wanted = log_place(around_.settings, around_.bitmaps);
    std::string directory = wanted.directory;
    const auto deadline = world_.clock.now() + log_directory_wait(around_.settings);
    auto tell_at = world_.clock.now();
    while (!world_.files.exists(directory) && !closing_) {
        if (world_.clock.now() >= tell_at) {
            tell_at += kLogDirectoryTold;
            log_problem_ = fmt::format(
                "the directory of the intent logs, BitmapBaseDir={}, is not there; the mirror does not "
                "function until "
                "it is",
                directory);
            messages::error("volume {}: {}", record_.volume.str(), log_problem_);
        }
        if (world_.clock.now() >= deadline) {
            log_problem_ = fmt::format(
                "BitmapBaseDir={} has not appeared; the intent log is in {} until mirrord starts with it "
                "there",
                directory, around_.bitmaps);
            messages::error("volume {}: {}", record_.volume.str(), log_problem_);
            directory = around_.bitmaps;
            break;
        }
        co_await runtime::sleep_for(world_.tasks, kOpenRetryStart);
    }
    if (closing_) co_return;
    if (directory == wanted.directory && !log_problem_.empty()) {
        messages::info("volume {}: {} is there now", record_.volume.str(), directory);
        log_problem_.clear();
    }
    if (auto placed = place_log(directory); !placed) alarm(placed.error().text);
}

/// Moves the log there, or lets a new one begin: what the old place has is not reachable.
Result<> Mirror::place_log(const std::string& directory) {
    const std::string path =
        directory + record_.log_path.substr(std::min(record_.log_path.rfind('/'), record_.log_path.size()));
    if (path == record_.log_path || record_.log_path.empty()) return {};
    if (world_.files.exists(record_.log_path)) {
        UNDERSTUDY_TRY(const std::string content, world_.files.read(record_.log_path));
        UNDERSTUDY_CHECK(world_.files.write_atomic(path, content, 0600));
    } else {
        UNDERSTUDY_CHECK(world_.files.remove(path));  // of an earlier time; its bits say nothing about now
    }
    const std::string before = record_.log_path;
    MirrorRecord next = record_;
    next.log_path = path;
    UNDERSTUDY_CHECK(commit(std::move(next)));
    messages::info("volume {}: the intent log is {} now", record_.volume.str(), path);
    return world_.files.remove(before);
}

Task<> Mirror::boot_task() {
    co_await find_log_directory();
    if (closing_) co_return;
    auto held = lock_.try_acquire();
    runtime::Duration delay = kOpenRetryStart;
    for (;;) {
        if (held) {
            auto opened = co_await open_volume();
            if (opened) break;
            alarm(opened.error().text);
        }
        // Other operations (a removal above all) have their turn meanwhile.
        held.reset();
        co_await runtime::sleep_for(world_.tasks, delay);
        delay = std::min(delay * 2, kOpenRetryMost);
        if (closing_) co_return;
        held = lock_.try_acquire();
    }
    problem_.clear();
    co_await forget_old_snapshot();
    if (!source() && record_.unlocked) {
        // Writes of the moment of the end may be missing in the log. Spec: EMC-261, MOP-105
        MirrorRecord next = record_;
        next.log_valid = false;
        if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
        auto served = co_await serve_unlocked();
        if (!served) alarm(served.error().text);
        co_return;
    }
    if (!source()) {
        host_->become_target();
        co_return;
    }
    if (own_parameters().full_resync_on_boot) record_.log_valid = false;  // Spec: REP-125
    // Spec: REP-185, REP-186, REP-187.
    const bool broken = record_.state == MirrorState::broken;
    host_->become_source(broken ? MirrorState::broken : MirrorState::paused,
                         record_.user_requested ? PauseCause::user : PauseCause::link_lost,
                         !record_.log_valid);
    // Requests of users who lived through the daemon's death wait in the gate from here on.
    if (!record_.demoted && host_->export_kept()) {
        auto kept = co_await start_export();
        if (!kept) alarm(kept.error().text);
    }
    if (!record_.user_requested) co_await connect_once(kBootCheckLimit);
    if (record_.user_requested && !record_.split_brain) {
        // A paused mirror makes no session, but the question whether the peer was promoted is asked all the
        // same.
        auto reply = co_await call_peer(world_, peer_address(), request(RequestKind::query),
                                        {.connect = kBootCheckLimit, .answer = kQueryLimit});
        if (reply) {
            const EndSummary self = co_await summary();
            const Decision decision = decide(self, reply->summary);
            if (decision.verdict == Verdict::become_target) co_await step_down(decision.why);
            if (decision.verdict == Verdict::split_brain) enter_split_brain(decision.why);
        }
    }
    role_checked_ = true;
    if (!source()) co_return;
    update_gate();
    if (!record_.demoted && !exporting_) {
        auto started = co_await start_export();
        if (!started) alarm(started.error().text);
    }
    if (!linked_) retry_connect();
    if (!record_.generations.peer_may_hold_current) schedule_notes();  // whom the last life told is not known
}

Task<Result<>> Mirror::start_new(bool mark_all_dirty) {
    auto held = lock_.try_acquire();
    if (auto saved = commit(record_); !saved) co_return fail(saved.error());
    auto opened = co_await open_volume();
    if (!opened) co_return fail(opened.error());
    if (!source()) {
        host_->become_target();
        co_return Result<>{};
    }
    host_->become_source(MirrorState::pending, PauseCause::none, mark_all_dirty);
    role_checked_ = true;
    update_gate();
    auto started = co_await start_export();
    if (!started) co_return fail(started.error());
    MirrorRecord next = record_;
    next.creating = false;
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    schedule_connect(0s);
    co_return Result<>{};
}

Task<Result<>> Mirror::start_export() {
    if (exporting_) co_return Result<>{};
    auto path = co_await host_->start_export(record_.export_kind);
    if (!path) co_return fail(path.error());
    exporting_ = true;
    device_path_ = *path;
    co_return Result<>{};
}

// --- views

Task<EndSummary> Mirror::summary() {
    VolumeStatus volume;
    if (open_) volume = co_await host_->status();
    EndSummary out;
    out.node = around_.node;
    out.volume = record_.volume;
    out.uuid = record_.uuid;
    out.role = record_.role;
    out.role_epoch = record_.role_epoch;
    out.generations = record_.generations;
    out.consistent = record_.consistent && (!open_ || source() || volume.consistent);
    out.log_valid = record_.log_valid && open_;
    out.unlocked = record_.unlocked;
    out.serving = serving();
    out.demoted = record_.demoted;
    out.yielded = record_.yielded;
    out.split_brain = record_.split_brain;
    out.dirty_blocks = volume.dirty_blocks;
    out.size = source() || !open_ ? record_.size : volume.size;
    out.sector_size = record_.sector_size;
    co_return out;
}

Task<MirrorView> Mirror::view() {
    MirrorView out;
    if (open_) out.volume = co_await host_->status();
    out.counters = counters_of(out.volume, own_parameters());
    out.record = record_;
    out.open = open_;
    out.exporting = exporting_;
    out.linked = linked_;
    out.writes_held = source() && exporting_ && gate_ != GateMode::open && gate_ != GateMode::first_write;
    out.device_path = exporting_ ? device_path_ : "";
    out.problem = !alone_problem_.empty()    ? alone_problem_
                  : !record_.problem.empty() ? record_.problem
                  : !log_problem_.empty()    ? log_problem_
                                             : problem_;
    out.snapshot_device = snapshot_device_;
    out.snapshot_problem = snapshot_problem_;
    out.snapshot_taken_s = snapshot_taken_s_;
    co_return out;
}

Task<Result<>> Mirror::wait_in_sync(runtime::Duration limit) {
    const auto deadline = world_.clock.now() + limit;
    for (;;) {
        if (closing_) co_return fail(Code::failure, "volume {} is being closed", record_.volume.str());
        MirrorView now = co_await view();
        if (now.open && now.volume.state == MirrorState::mirroring && now.linked) co_return Result<>{};
        if (!now.record.problem.empty()) co_return fail(Code::failure, "{}", now.record.problem);
        if (world_.clock.now() >= deadline)
            co_return fail(Code::failure, "volume {} is not in sync yet: {}{}{}", record_.volume.str(),
                           to_string(now.volume.state), now.problem.empty() ? "" : ": ", now.problem);
        co_await runtime::sleep_for(world_.tasks, kStatePoll);
    }
}

// --- end

Task<> Mirror::shut_down() {
    const bool in_sync = linked_ && state_ == MirrorState::mirroring;
    closing_ = true;
    if (!open_) co_return;
    // What a target's snapshot holds is of no use to the next process. Spec: REP-330
    Result<> dropped = co_await drop_snapshot(true);
    if (!dropped) messages::warning("{}", dropped.error().text);
    co_await host_->shutdown();
    VolumeStatus volume = co_await host_->status();
    MirrorRecord next = record_;
    next.clean = volume.log_valid && volume.dirty_blocks == 0 && in_sync;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
}

}  // namespace understudy::mirror::control
