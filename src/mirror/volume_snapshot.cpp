// The volume's snapshots: their file, their beginning in the stream of writes, their end.

#include "mirror/volume_impl.h"

#include <new>
#include <utility>

namespace understudy::mirror {

void VolumeDriver::mark_snapshot(std::uint64_t number, std::function<void(Result<>)> done) {
    if (!source_)
        return done(fail(Code::failure, "volume {} is not the source of a mirror", options_.id.str()));
    source_->mark_snapshot(number, std::move(done));
}

Result<> VolumeDriver::prepare_snapshot(const SnapshotPlan& plan) {
    if (!target_) return fail(Code::failure, "volume {} is not the target of a mirror", options_.id.str());
    if (snapshot_) return fail(Code::exists, "volume {} has a snapshot already", options_.id.str());
    if (auto problem = snapshot_block_problem(slice_->size(), device_->sector_size(), plan.block_bytes);
        !problem.empty())
        return fail(Code::bad_argument, "{}", problem);
    RawBackendOptions options;
    options.path = plan.file;
    UNDERSTUDY_TRY(auto store, RawBackend::open(reactor_, options));
    if (store->sector_size() > device_->sector_size()) {
        // The volume's requests may be smaller than what the file's disk takes directly.
        store.reset();
        options.direct = false;
        UNDERSTUDY_TRY(store, RawBackend::open(reactor_, options));
    }
    if (store->size() < slice_->size())
        return fail(Code::failure, "{} has {} bytes, the volume {}", plan.file, store->size(),
                    slice_->size());
    snapshot_ = KeptSnapshot{plan.number, std::move(store), nullptr, plan.block_bytes, {}};
    return {};
}

/// On the target's stack, when nothing of it is under way: what it starts from here on goes through the
/// snapshot.
bool VolumeDriver::snapshot_begins(std::uint64_t number) {
    if (!snapshot_ || snapshot_->snapshot || snapshot_->number != number) return false;
    const auto failed = [this](std::string why) {
        snapshot_->problem = why;
        events_.snapshot_failed(std::move(why));
    };
    try {
        snapshot_->snapshot =
            std::make_unique<Snapshot>(*slice_, *snapshot_->store, snapshot_->block_bytes, failed);
    } catch (const std::bad_alloc&) {
        failed("no memory for the map of its blocks (event 235)");
        return false;
    }
    target_->set_device(*snapshot_->snapshot);
    return true;
}

BlockBackend& VolumeDriver::target_device() {
    if (snapshot_ && snapshot_->snapshot) return *snapshot_->snapshot;
    return *slice_;
}

BlockBackend* VolumeDriver::snapshot_view() {
    return snapshot_ && snapshot_->snapshot ? &snapshot_->snapshot->view() : nullptr;
}

void VolumeDriver::drop_snapshot(std::function<void()> done) {
    retire_snapshot();
    snapshots_closed_.push_back(std::move(done));
    reactor_.post([] {});  // a batch follows, and with it the look whether all has ended
}

/// What is under way in it ends by itself; nothing new comes.
void VolumeDriver::retire_snapshot() {
    if (!snapshot_) return;
    KeptSnapshot& kept = dropped_snapshots_.emplace_back(*std::exchange(snapshot_, std::nullopt));
    for (auto& target : former_targets_)
        target->set_device(*slice_);
    if (target_) target_->set_device(*slice_);
    if (kept.snapshot) kept.snapshot->drop();
}

void VolumeDriver::forget_dropped_snapshots() {
    std::erase_if(dropped_snapshots_, [](const KeptSnapshot& kept) { return kept.idle(); });
    if (!dropped_snapshots_.empty()) return;
    for (auto& done : std::exchange(snapshots_closed_, {}))
        done();
}

void VolumeDriver::add_snapshot_status(VolumeStatus& status) const {
    if (!snapshot_) return;
    status.snapshot = SnapshotState::prepared;
    if (!snapshot_->snapshot) return;
    status.snapshot = snapshot_->snapshot->valid() ? SnapshotState::active : SnapshotState::invalid;
    status.snapshot_bytes = snapshot_->snapshot->present_blocks() * snapshot_->block_bytes;
    status.snapshot_problem = snapshot_->problem;
}

}  // namespace understudy::mirror
