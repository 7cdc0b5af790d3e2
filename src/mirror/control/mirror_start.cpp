// Start and clean end of a volume.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/parameters.h"

#include <algorithm>
#include <set>

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

Task<Result<>> Mirror::open_volume() {
    auto opened = co_await host_->open(record_.volume, record_.device, record_.size);
    if (!opened) co_return fail(opened.error());
    device_size_ = *opened;
    if (device_size_ < kLeastDeviceBytes)
        co_return fail(Code::failure, "{} has only {} bytes", record_.device, device_size_);
    auto same = look_at_media();
    if (!same) co_return fail(same.error());
    auto sized = size_at_start();
    if (!sized) co_return fail(sized.error());
    for (const std::string& peer : names()) {
        auto log = co_await open_log(peer, !record_.creating);
        if (log) continue;
        // The next attempt begins anew: a process that was killed may hold a log for a moment longer.
        for (const std::string& other : names())
            co_await host_->remove(other);
        co_return fail(log.error());
    }
    open_ = true;
    serve_without_targets();
    co_return Result<>{};
}

/// With each start of a volume that has no target, and when it has lost its last. Spec: KIT-068
void Mirror::serve_without_targets() {
    if (open_ && source() && record_.peers.empty()) host_->serve_alone();
}

void Mirror::boot() {
    tasks_.spawn(boot_task());
}

void Mirror::become_source(const std::string& peer) {
    const PeerRecord& one = *record_.peer(peer);
    const bool broken = one.state == MirrorState::broken;
    host_->become_source(peer, broken ? MirrorState::broken : MirrorState::paused,
                         one.user_requested ? PauseCause::user : PauseCause::link_lost, !one.log_valid);
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
            if (opened.error().text != problem_) note(Event::device_missing, {}, opened.error().text);
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
    tasks_.spawn(watch_size());
    co_await forget_old_snapshot();
    if (!source() && record_.unlocked) {
        // Writes of the moment of the end may be missing in the log. Spec: EMC-261, MOP-105
        MirrorRecord next = record_;
        for (PeerRecord& peer : next.peers)
            peer.distrust_log(
                fmt::format("mirrord ended on {} while the volume was unlocked there", around_.node));
        if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
        auto served = co_await serve_unlocked();
        if (!served) alarm(served.error().text);
        co_return;
    }
    if (!source()) {
        become_target();
        co_return;
    }
    for (PeerRecord& peer : record_.peers)
        if (own_parameters(peer.node).full_resync_on_boot) {  // Spec: REP-125
            peer.log_complete = false;
            peer.distrust_log("AutoResyncOnBoot=2");
        }
    // Spec: REP-185, REP-186, REP-187, REP-188.
    if (record_.peers.empty())
        tell(Event::no_targets, {}, "it has no targets; a mirror that is made gets all of it");
    for (const std::string& peer : names()) {
        become_source(peer);
        const PeerRecord& one = *record_.peer(peer);
        if (one.user_requested) continue;
        if (one.log_valid)
            tell(Event::continued_at_start, peer, fmt::format("mirroring to {} goes on", peer));
        else
            tell(Event::unclean_end, peer,
                 fmt::format("what {} may lack is not known any more; a full resync follows", peer));
    }
    // Requests of users who lived through the daemon's death wait in the gate from here on.
    if (!record_.demoted && host_->export_kept()) {
        auto kept = co_await start_export();
        if (!kept) alarm(kept.error().text);
    }
    for (const std::string& peer : names()) {
        if (!source()) break;
        const PeerRecord one = *record_.peer(peer);
        if (!one.user_requested) co_await connect_once(peer, kBootCheckLimit);
        if (!source()) break;
        const Leg& leg = legs_.at(peer);
        if (one.user_requested ? !one.split_brain : leg.answered && !leg.linked) {
            // A paused mirror makes no session, and a peer may be busy, but the question whether the peer was
            // promoted is asked all the same.
            auto reply = co_await call(peer, request(RequestKind::query, peer),
                                       {.connect = kBootCheckLimit, .answer = kQueryLimit});
            if (!reply) continue;
            const EndSummary self = co_await summary(peer);
            const Decision decision = decide(self, reply->summary);
            if (decision.verdict == Verdict::become_target) co_await step_down(peer, decision.why);
            if (decision.verdict == Verdict::split_brain) enter_split_brain(peer, decision.why);
        }
    }
    role_checked_ = true;
    if (!source()) co_return;
    update_gate();
    if (!record_.demoted && !exporting_) {
        auto started = co_await start_export();
        if (!started) alarm(started.error().text);
    }
    for (const std::string& peer : names())
        if (!legs_.at(peer).linked) retry_connect(peer);
    if (must_go_alone() || !behind().empty()) schedule_notes();  // whom the last life told is not known
}

Task<Result<>> Mirror::start_new(bool mark_all_dirty) {
    auto held = lock_.try_acquire();
    if (auto saved = commit(record_); !saved) co_return fail(saved.error());
    auto opened = co_await open_volume();
    if (!opened) co_return fail(opened.error());
    tasks_.spawn(watch_size());
    if (!source()) {
        host_->become_target(record_.origin);
        co_return Result<>{};
    }
    if (record_.peers.empty())
        messages::info("volume {}: it is served without a target", record_.volume.str());
    else
        tell(Event::created, {}, fmt::format("its mirror to {} is made", record_.peer_names()));
    for (const std::string& peer : names())
        host_->become_source(peer, MirrorState::pending, PauseCause::none, mark_all_dirty);
    if (mark_all_dirty) co_await learn_free_space_of_new();
    role_checked_ = true;
    update_gate();
    auto started = co_await start_export();
    if (!started) co_return fail(started.error());
    MirrorRecord next = record_;
    next.creating = false;
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    schedule_connects(0s);
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

// --- end

Task<> Mirror::shut_down() {
    std::set<std::string> in_sync;
    for (const auto& [peer, leg] : legs_)
        if (leg.linked && leg.state == MirrorState::mirroring) in_sync.insert(peer);
    closing_ = true;
    if (!open_) co_return;
    // What a target's snapshot holds is of no use to the next process. Spec: REP-330
    Result<> dropped = co_await drop_snapshot(true);
    if (!dropped) messages::warning("{}", dropped.error().text);
    co_await host_->shutdown();
    MirrorRecord next = record_;
    for (PeerRecord& peer : next.peers) {
        VolumeStatus volume = co_await host_->status(peer.node);
        peer.clean = volume.log_valid && volume.dirty_blocks == 0 && in_sync.contains(peer.node);
    }
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
}

}  // namespace understudy::mirror::control
