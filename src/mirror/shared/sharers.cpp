// Hosts that share a volume, added and removed while one of them has it open.

#include "messages/messages.h"
#include "mirror/log/log_region.h"
#include "mirror/shared/shared_volumes_impl.h"

#include <algorithm>

namespace understudy::mirror::shared {

using runtime::Task;

/// Under the volume's operation lock, by its owner: nobody else writes a header.
Task<Result<>> SharedVolumes::change_header(VolumePtr volume, NodeName host, bool added, std::size_t slots) {
    const VolumeId id = volume->place.volume;
    const auto disk = disks_.open(volume->place.area, runtime::SharedDisks::Use::heartbeats);
    Result<> changed;
    if (added) {
        std::vector<NodeName> hosts = volume->header.members();
        hosts.push_back(host);
        changed = co_await make_area(world_, *disk, id, std::move(hosts), slots);
    } else {
        changed = co_await shared::remove_host(world_, *disk, host);
    }
    if (!changed) co_return with_context(changed.error(), volume->place.area);
    const Bytes first = co_await read_area(volume, 0, 2 * kAreaBlock);
    if (!first) co_return with_context(first.error(), volume->place.area);
    auto header = decode_header(*first);
    if (!header) co_return with_context(header.error(), volume->place.area);
    volume->header = std::move(*header);
    // The records stay as they are known: this host alone writes any while it owns the volume.
    volume->states.slots.resize(std::max(volume->states.slots.size(), volume->header.hosts.size()));
    co_return Result<>{};
}

Task<Result<>> SharedVolumes::add_host(VolumeId id, NodeName host) {
    const auto at = volumes_.find(id);
    if (at == volumes_.end() || !is_open(id))
        co_return fail(Code::failure, "volume {} is not open here: run this on its owner", id.str());
    const VolumePtr volume = at->second;
    auto held = co_await volume->operations.acquire(kOperationWait);
    if (!held) co_return fail(Code::failure, "another operation on volume {} still runs", id.str());
    if (!is_open(id) || !volume->lock->owns())
        co_return fail(Code::failure, "this host does not own volume {} any more", id.str());
    if (volume->header.slot_of(host)) co_return Result<>{};
    const std::size_t hosts = volume->header.hosts.size() + 1;
    // In the place of a host that was removed there is room for its intent logs.
    const bool replaces = volume->header.members().size() + 1 < hosts;
    std::size_t slots = kMostHosts;
    if (volume->mirrored) {
        slots = std::min(hosts, kMostMirrorHosts);
        if (hosts > kMostMirrorHosts && !replaces)
            co_return fail(Code::failure, "volume {} has {} hosts, and one that is mirrored has at most {}",
                           id.str(), hosts - 1, kMostMirrorHosts);
        const auto mirror = mirrors_->find(id);
        if (!mirror) co_return fail(Code::failure, "the mirror of volume {} is being changed", id.str());
        const control::MirrorRecord record = mirror->record();
        for (const control::PeerRecord& peer : record.peers) {
            const auto region = parse_region(peer.log_path);
            if (!region) continue;
            auto fits = co_await check_room(volume, slots, target_of_log(region->offset, region->bytes),
                                            region->bytes);
            if (!fits && !replaces) co_return fits;
            if (!fits) slots = hosts - 1;
        }
    }
    auto changed = co_await change_header(volume, host, true, slots);
    if (changed) messages::info("volume {}: {} shares it, too", id.str(), host.str());
    co_return changed;
}

Task<Result<>> SharedVolumes::remove_host(VolumeId id, NodeName host) {
    const auto at = volumes_.find(id);
    if (at == volumes_.end() || !is_open(id))
        co_return fail(Code::failure, "volume {} is not open here: run this on its owner", id.str());
    if (host == options_.node)
        co_return fail(Code::bad_argument,
                       "{} owns volume {}: switch it over, and remove {} on the next owner", host.str(),
                       id.str(), host.str());
    const VolumePtr volume = at->second;
    auto held = co_await volume->operations.acquire(kOperationWait);
    if (!held) co_return fail(Code::failure, "another operation on volume {} still runs", id.str());
    if (!is_open(id) || !volume->lock->owns())
        co_return fail(Code::failure, "this host does not own volume {} any more", id.str());
    auto changed = co_await change_header(volume, host, false, 0);
    if (changed) messages::warning("volume {}: {} does not share it any more", id.str(), host.str());
    co_return changed;
}

}  // namespace understudy::mirror::shared
