// A volume whose device has grown or shrunk. What is decided is in resize.h; here is how it is carried out.
//
//   source's device changes -> noticed -> every running mirror pauses, until a person continues
//   continue -> requests wait -> logs laid out for the new size -> the export takes it -> session -> partial
//   resync
//                                                         the target lays its own out when it hears of the
//                                                         size

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"

#include <algorithm>

namespace understudy::mirror::control {

using runtime::Task;

namespace {

/// Bitmaps of two volumes are never laid out at once: each may need the memory and the room of both. Spec:
/// MOP-243
tl::unexpected<Error> another_resize() {
    return fail(Code::failure, "another volume of this host is being resized: try again when that is done");
}

}  // namespace

Task<> Mirror::watch_size() {
    while (!closing_) {
        co_await runtime::sleep_for(world_.tasks, kSizeLook);
        co_await look_at_size();
        if (open_ && !closing_) look_at_name();
    }
}

/// The device's size. One that has gone has none, which must not be taken for a volume's. Spec: REP-372.
Task<Result<std::uint64_t>> Mirror::measure() {
    Result<std::uint64_t> found = co_await host_->device_size();
    if (found && *found < kLeastDeviceBytes)
        found = fail(Code::failure, "it has {} bytes; has it been removed?", *found);
    if (!found) {
        const std::string text = fmt::format("{} cannot be used: {}", record_.device, found.error().text);
        if (!std::exchange(device_gone_, true)) tell(Event::device_gone, {}, text);
        co_return fail(found.error().code, "{}", text);
    }
    device_gone_ = false;
    co_return found;
}

Task<> Mirror::look_at_size() {
    if (closing_ || !open_) co_return;
    Result<std::uint64_t> found = co_await measure();
    if (!found || closing_ || !open_ || *found == device_size_) co_return;
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held || closing_ || !open_) co_return;  // the next look sees it as well
    co_await size_noticed(*found);
}

/// Needs the lock. Spec: REP-144, REP-178, REP-179, REP-305.
Task<> Mirror::size_noticed(std::uint64_t found) {
    const std::uint64_t before = std::exchange(device_size_, found);
    messages::info("volume {}: {} has {} bytes now, it had {}", record_.volume.str(), record_.device, found,
                   before);
    if (!source()) {
        if (found >= volume_size_) co_return;
        // The source finds out with the next handshake and waits for a person then. What comes back later
        // counts as different.
        alarm(fmt::format("{} has shrunk to {} bytes, less than the {} of the volume (event 291)",
                          record_.device, found, record_.size));
        auto laid = co_await lay_out(found, found);
        if (!laid) alarm(laid.error().text);
        co_return;
    }
    if (found < record_.size && found < record_.device_size) {
        auto saved = record_size_as(record_.size, found);  // see settle_size()
        if (!saved) alarm(saved.error().text);
    }
    for (const std::string& peer : names()) {
        const Leg* leg = find(peer);
        const PeerRecord* one = record_.peer(peer);
        if (!leg || !one) continue;
        const auto notice = size_notice(size_change(sizes()), leg->state, one->user_requested);
        if (!notice) continue;
        if (notice->pause) {
            auto paused = co_await pause_one(peer);
            if (!paused) alarm(peer, paused.error().text);
        }
        hold_for_size(peer, notice->event);
    }
}

Sizes Mirror::sizes() const {
    return {record_.size, record_.device_size, device_size_};
}

/// From here on the mirror with `peer` waits for a person.
void Mirror::hold_for_size(const std::string& peer, int event) {
    MirrorRecord next = record_;
    PeerRecord& one = *next.peer(peer);
    one.user_requested = true;
    if (one.state != MirrorState::broken) one.state = MirrorState::paused;
    one.cause = PauseCause::resized;
    one.problem = size_problem(sizes(), record_.volume.str(), event);
    const std::string text = one.problem;
    if (auto saved = commit(std::move(next)); !saved) alarm(saved.error().text);
    alarm(peer, text);
    note(static_cast<Event>(event), peer, text);
}

/// At a start: nothing runs yet. A source that finds less than it had has no other choice than to take it.
Result<> Mirror::size_at_start() {
    volume_size_ = std::min(record_.size, device_size_);
    if (record_.creating || record_.device_size == 0) {
        MirrorRecord next = record_;
        next.device_size = device_size_;
        UNDERSTUDY_CHECK(commit(std::move(next)));
    }
    if (!source()) {
        if (device_size_ < record_.size)
            messages::error("volume {}: {} has {} bytes, less than the {} of the volume (event 291)",
                            record_.volume.str(), record_.device, device_size_, record_.size);
        return {};
    }
    const SizeChange change = size_change(sizes());
    for (const std::string& peer : names()) {
        const PeerRecord& one = *record_.peer(peer);
        if (const auto notice = size_notice(change, one.state, one.user_requested))
            hold_for_size(peer, notice->event);
    }
    if (change != SizeChange::shrunk) return {};
    MirrorRecord next = record_;
    next.size = next.device_size = device_size_;
    return commit(std::move(next));
}

/// Before a mirror goes on: the volume takes the device's size. `whole`: all of the device, even when only
/// its beginning was replicated. Needs the lock. Spec: REP-306, REP-307, MOP-145.
Task<Result<>> Mirror::settle_size(bool whole) {
    if (!open_ || !source()) co_return Result<>{};
    auto found = co_await measure();
    if (!found) co_return fail(found.error());
    if (*found != device_size_) co_await size_noticed(*found);
    const std::uint64_t before = record_.size;
    const std::uint64_t size = whole ? device_size_ : size_to_take(sizes());
    // What is behind was away for a time, and is not what it was.
    const std::uint64_t stayed = std::min(before, record_.device_size);
    if (size == before && stayed == before && has_all_logs()) {
        if (record_.device_size == device_size_) co_return Result<>{};
        MirrorRecord next = record_;
        next.device_size = device_size_;
        co_return commit(std::move(next));
    }
    auto turn = co_await around_.resizes->acquire(kOperationWait);
    if (!turn) co_return another_resize();
    for (const std::string& peer : names()) {
        Leg& leg = legs_.at(peer);  // stays: removal needs the lock
        if (!leg.in_session() && leg.state != MirrorState::pending) continue;
        auto paused = co_await pause_one(peer);
        if (!paused) co_return fail(paused.error());
    }
    auto laid = co_await lay_out(size, stayed);
    if (!laid) {
        for (const std::string& peer : names())
            co_await no_bitmaps(peer, laid.error().text);
        co_return fail(laid.error());
    }
    messages::info("volume {}: {} bytes are replicated from here on, they were {}", record_.volume.str(),
                   size, before);
    co_return Result<>{};
}

/// Closes every mirror of the volume and opens it with logs for `size` bytes; requests wait meanwhile. Blocks
/// behind the first `stayed` bytes count as different. On an error, as it is when there is no room for the
/// bitmaps, everything is as it was, as far as the device still has the former size and there is still room
/// for bitmaps of it. Needs the lock.
Task<Result<>> Mirror::lay_out(std::uint64_t size, std::uint64_t stayed) {
    const std::uint64_t before = volume_size_;
    const std::uint64_t record_size = record_.size, record_device = record_.device_size;
    resizing_ = true;
    update_gate();
    around_.links.forget(record_.volume);
    for (auto& [peer, leg] : legs_) {
        drop_link(leg, peer);
        ++leg.session;  // a session that is being made ends here
        leg.free_space = Leg::FreeSpace::unknown;
    }
    // On record first: a start in between lays the logs out itself.
    Result<> laid = record_size_as(source() ? size : record_.size, device_size_);
    if (laid && std::min(stayed, size) < std::min(before, size))
        laid = co_await open_logs(std::min(stayed, size));
    if (laid) laid = co_await open_logs(size);
    if (!laid) {
        messages::error("volume {}: {}", record_.volume.str(), laid.error().text);
        const std::uint64_t former = std::min(before, device_size_);
        auto tell_at = world_.clock.now();
        for (;;) {
            auto back = record_size_as(source() ? former : record_size, record_device);
            if (back) back = co_await open_what_there_is_room_for(former);
            if (closing_) co_return laid;
            if (back) break;
            // Without that record the next start would trust bits that miss what is written from here on.
            problem_ = fmt::format(
                "requests wait: the volume has no intent log, and that cannot be recorded ({}); make room in "
                "the directory of the mirrors' records, it goes on by itself then",
                back.error().text);
            if (world_.clock.now() >= tell_at) {
                tell_at = world_.clock.now() + kLogDirectoryTold;
                messages::error("volume {}: {}", record_.volume.str(), problem_);
            }
            co_await runtime::sleep_for(world_.tasks, kOpenRetryMost);
        }
        problem_.clear();
    }
    if (source()) {
        for (const std::string& peer : names())
            become_source(peer);
    } else if (record_.unlocked) {
        become_unlocked();
    } else {
        become_target();
    }
    // While nothing is under way: the kernel does not believe a size that a write has overtaken.
    Result<> exported = co_await host_->resize(volume_size_);
    if (!exported) messages::warning("volume {}: {}", record_.volume.str(), exported.error().text);
    resizing_ = false;
    update_gate();
    co_return laid;
}

Result<> Mirror::record_size_as(std::uint64_t size, std::uint64_t device_size) {
    MirrorRecord next = record_;
    next.size = size;
    next.device_size = device_size;
    return commit(std::move(next));
}

/// Every log with this size; what was open before is closed.
Task<Result<>> Mirror::open_logs(std::uint64_t size) {
    for (const std::string& peer : names())
        co_await host_->remove(peer);
    volume_size_ = size;
    for (const std::string& peer : names()) {
        auto opened = co_await open_log(peer, true);
        if (!opened) co_return fail(opened.error());
        host_->set_parameters(peer, own_parameters(peer));  // may have been changed since
    }
    co_return Result<>{};
}

/// The same after that has failed: every mirror has a log, if need be one without a file. Error: that could
/// not be recorded.
Task<Result<>> Mirror::open_what_there_is_room_for(std::uint64_t size) {
    for (const std::string& peer : names())
        co_await host_->remove(peer);
    volume_size_ = size;
    for (const std::string& peer : names()) {
        auto opened = co_await open_log(peer, true);
        if (!opened) opened = co_await go_on_without_log(peer);
        if (!opened) co_return fail(opened.error());
        host_->set_parameters(peer, own_parameters(peer));
    }
    co_return Result<>{};
}

bool Mirror::has_all_logs() const {
    return std::none_of(legs_.begin(), legs_.end(), [](const auto& leg) { return leg.second.log_in_memory; });
}

/// Target: lays its logs out for the size that its source has. Error kNoBitmaps: there is no room for them.
/// Spec: REP-307.
Task<Result<>> Mirror::fit_source(std::uint64_t size) {
    if (size == volume_size_ && size == record_.size && has_all_logs()) co_return Result<>{};
    if (has_snapshot())
        co_return fail(Code::has_dependents,
                       "volume {} has another size now, and a snapshot on {}: drop the snapshot first",
                       record_.volume.str(), around_.node);
    auto found = co_await measure();
    if (!found) co_return fail(found.error());
    device_size_ = *found;
    const std::uint64_t before = record_.size;
    if (size != volume_size_ || !has_all_logs()) {
        auto turn = co_await around_.resizes->acquire(kOperationWait);
        if (!turn) co_return another_resize();
        auto laid = co_await lay_out(size, volume_size_);
        if (!laid)
            co_return fail(kNoBitmaps, "{} cannot make bitmaps for {} bytes: {}", around_.node, size,
                           laid.error().text);
    }
    MirrorRecord next = record_;
    next.size = size;
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    messages::info("volume {}: {} bytes are replicated from here on, they were {}", record_.volume.str(),
                   size, before);
    co_return Result<>{};
}

/// Here or on the target there are no bitmaps of the new size: what differs cannot be tracked, so all of it
/// does. Needs the lock. Spec: REP-176, MOP-145, MOP-146.
Task<> Mirror::no_bitmaps(std::string peer, std::string why) {
    std::string text = fmt::format(
        "{}; the mirror is broken: make room, then run \"understudy mirror continue {}\", a full resync "
        "follows",
        why, record_.volume.str());
    co_await break_for_a_person(std::move(peer), std::move(text));
}

/// By hand: what looking every two seconds would find, and besides the rest of a device of which only the
/// beginning is replicated. Spec: REP-306, MOP-139.
Task<Result<std::string>> Mirror::resize() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (!held) co_return busy(record_);
    if (!open_ || closing_)
        co_return fail(Code::failure, "volume {} is not open on {}: {}", record_.volume.str(), around_.node,
                       problem_);
    if (!source()) {
        auto found = co_await measure();
        if (!found) co_return fail(found.error());
        if (*found != device_size_) co_await size_noticed(*found);
        co_return fmt::format("{} has {} bytes, the volume {}", record_.device, device_size_, record_.size);
    }
    const std::uint64_t before = record_.size;
    auto settled = co_await settle_size(true);
    if (!settled) co_return fail(settled.error());
    if (record_.size == before)
        co_return fmt::format("{} has {} bytes, as the volume has", record_.device, device_size_);
    // Whoever is not connected just now must not go on by itself either: its device may be too small.
    MirrorRecord next = record_;
    for (PeerRecord& peer : next.peers) {
        peer.user_requested = true;
        peer.cause = PauseCause::resized;
    }
    auto saved = commit(std::move(next));
    if (!saved) co_return fail(saved.error());
    co_return fmt::format(
        "volume {} has {} bytes now, it had {}; \"understudy mirror continue {}\" brings the targets up to "
        "it",
        record_.volume.str(), record_.size, before, record_.volume.str());
}

}  // namespace understudy::mirror::control
