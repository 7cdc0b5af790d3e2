// Snapshots of a target's volume: this end's part in them.

#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/parameters.h"

namespace understudy::mirror::control {

using runtime::Task;

namespace {

tl::unexpected<Error> no_tools() {
    return fail(Code::failure, "this host takes no snapshots");
}

}  // namespace

// --- target

/// Spec: REP-321.
std::string Mirror::snapshot_file() const {
    return fmt::format("{}/datakeeper_snapshot_vol{}.cow", record_.snapshot_location, record_.volume.str());
}

Result<> Mirror::set_snapshot_location(std::string directory, const std::vector<std::string>& devices) {
    if (around_.snapshots == nullptr) return no_tools();
    while (directory.size() > 1 && directory.ends_with('/'))
        directory.pop_back();
    if (directory == record_.snapshot_location) return {};
    if (has_snapshot())
        return fail(Code::has_dependents,
                    "volume {} has a snapshot in {}: drop it before its location changes",
                    record_.volume.str(), record_.snapshot_location);
    if (!directory.empty()) UNDERSTUDY_CHECK(around_.snapshots->check_location(directory, devices));
    MirrorRecord next = record_;
    next.snapshot_location = std::move(directory);
    return commit(std::move(next));
}

Task<Result<>> Mirror::check_snapshot(bool refresh) {
    const std::string& volume = record_.volume.str();
    if (around_.snapshots == nullptr) co_return no_tools();
    if (record_.role != Role::target)
        co_return fail(Code::failure, "{} is not target of volume {}", around_.node, volume);
    if (!record_.main().pairs.empty())  // Spec: MOP-190, REP-314, EMC-252
        co_return fail(Code::failure,
                       "hosts share the disk of volume {} at one end: no snapshots are taken of its mirror",
                       volume);
    if (record_.snapshot_location.empty())
        co_return fail(Code::not_found,
                       "volume {} has no snapshot location on {}: set one with \"understudy mirror snapshot "
                       "location {} DIRECTORY\"",
                       volume, around_.node, volume);
    if (has_snapshot() && !refresh)
        co_return fail(Code::exists, "volume {} has a snapshot already: drop it first, or use --refresh",
                       volume);
    if (!open_ || closing_) co_return fail(Code::failure, "volume {} is not open: {}", volume, problem_);
    const Leg* leg = find(record_.origin);
    VolumeStatus now = co_await host_->status(record_.origin);
    if (now.state != MirrorState::mirroring || !leg || !leg->linked || !record_.consistent)
        co_return fail(Code::failure, "volume {} is not mirroring ({}): a snapshot is of a mirror in sync",
                       volume, to_string(now.state));
    co_return Result<>{};
}

Task<Result<>> Mirror::prepare_snapshot(std::uint64_t number) {
    std::vector<std::string> problems;
    const MirrorParameters parameters =
        parameters_of(around_.settings, record_.main().parameters, record_.volume, problems);
    snapshot_peer_ = record_.origin;
    VolumeStatus now = co_await host_->status(snapshot_peer_);
    SnapshotPlan plan;
    plan.number = number;
    plan.file = snapshot_file();
    plan.block_bytes = parameters.snapshot_block_bytes;
    snapshot_ = SnapshotState::prepared;
    snapshot_problem_.clear();
    auto made = co_await around_.snapshots->create(plan.file, now.size);
    if (made) made = co_await host_->prepare_snapshot(snapshot_peer_, plan);
    if (made) co_return made;
    snapshot_ = SnapshotState::none;
    co_await around_.snapshots->remove(snapshot_file());
    co_return fail(made.error());
}

Task<Result<std::string>> Mirror::open_snapshot() {
    VolumeStatus now = co_await host_->status(snapshot_peer_);
    if (now.snapshot != SnapshotState::active)
        co_return fail(Code::failure, "the snapshot of volume {} has not begun: {}", record_.volume.str(),
                       now.snapshot_problem.empty() ? "no marker came" : now.snapshot_problem);
    if (snapshot_ == SnapshotState::prepared) snapshot_ = SnapshotState::active;
    auto device = co_await host_->export_snapshot(snapshot_peer_);
    if (!device) co_return fail(device.error());
    snapshot_device_ = *device;
    snapshot_taken_s_ =
        std::chrono::duration_cast<std::chrono::seconds>(world_.clock.wall().time_since_epoch()).count();
    messages::info("volume {}: its snapshot is {}", record_.volume.str(), snapshot_device_);  // 228
    co_return device;
}

Task<Result<>> Mirror::drop_snapshot(bool forced) {
    if (!has_snapshot()) co_return Result<>{};
    auto dropped = co_await host_->drop_snapshot(snapshot_peer_, forced);
    if (!dropped)
        co_return fail(dropped.error().code, "the snapshot of volume {} cannot be dropped: {}",
                       record_.volume.str(), dropped.error().text);
    co_await around_.snapshots->remove(snapshot_file());
    snapshot_ = SnapshotState::none;
    snapshot_device_.clear();
    snapshot_taken_s_ = 0;
    messages::info("volume {}: its snapshot is dropped", record_.volume.str());  // 229
    co_return Result<>{};
}

/// Spec: REP-332. The mirror does not suffer.
void Mirror::snapshot_failed(std::string why) {
    snapshot_ = SnapshotState::invalid;
    snapshot_problem_ = fmt::format("the snapshot has ended: {}", why);
    messages::error("volume {}: {}", record_.volume.str(), snapshot_problem_);  // 227
    tasks_.spawn(drop_failed_snapshot());
}

Task<> Mirror::drop_failed_snapshot() {
    auto held = co_await lock_.acquire(kOperationWait);
    if (snapshot_ != SnapshotState::invalid) co_return;
    auto dropped = co_await drop_snapshot(true);
    if (!dropped) messages::error("{}", dropped.error().text);
}

/// A snapshot does not outlive its process; its file may. Spec: REP-330
Task<> Mirror::forget_old_snapshot() {
    if (around_.snapshots != nullptr && !record_.snapshot_location.empty())
        co_await around_.snapshots->remove(snapshot_file());
}

// --- source

Result<QuietVolume> Mirror::check_markable(const std::string& peer) const {
    const auto leg = legs_.find(peer);
    const std::string& volume = record_.volume.str();
    if (!source()) return fail(Code::failure, "{} is not source of volume {}", around_.node, volume);
    if (record_.demoted || !open_ || closing_ || !role_checked_)
        return fail(Code::failure, "volume {} is not in service on its source {}", volume, around_.node);
    if (leg == legs_.end() || !leg->second.linked || leg->second.state != MirrorState::mirroring)
        return fail(Code::failure, "volume {} is not mirroring ({})", volume,
                    to_string(leg == legs_.end() ? MirrorState::none : leg->second.state));
    if (write_holds_ > 0)
        return fail(Code::failure, "the writes of volume {} are being held already", volume);
    return QuietVolume{record_.volume, exporting_ ? device_path_ : std::string()};
}

Task<> Mirror::hold_writes(bool hold) {
    write_holds_ += hold ? 1 : -1;
    if (!open_ || closing_) co_return;
    set_gate(gate_);
    // What was asked before is in effect when this is answered. Letting go needs no confirmation.
    if (hold) co_await host_->status(record_.main().node);
}

Task<Result<>> Mirror::mark_snapshot(std::string peer, std::uint64_t number) {
    if (!open_ || closing_) co_return fail(Code::failure, "volume {} is being closed", record_.volume.str());
    co_return co_await host_->mark_snapshot(peer, number);
}

}  // namespace understudy::mirror::control
