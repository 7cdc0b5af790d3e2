// Before all of a volume is copied, its file system is asked which blocks it does not use: these are left
// out. Spec: REP-029, REP-110, MOP-046.

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/control/mirror.h"
#include "mirror/core/block_map.h"

namespace understudy::mirror::control {

using namespace std::chrono_literals;
using runtime::Task;

/// True: the session waits for the answer, and is begun anew when that is there.
bool Mirror::learns_free_space_first(const std::string& peer, const Decision& decision,
                                     const EndSummary& self) {
    Leg& leg = legs_.at(peer);
    // After a break every bit is set, and the resync is a partial one by name only.
    const bool whole = decision.resync == ResyncKind::full || (decision.resync == ResyncKind::partial &&
                                                               self.dirty_blocks >= blocks_of(record_.size));
    if (!whole || file_systems() == nullptr || own_parameters(peer).copy_free_space) {
        // What an answer of before left out must be sent as well.
        if (leg.free_space == Leg::FreeSpace::told) host_->watch_writes(peer, ++watches_);
        leg.free_space = Leg::FreeSpace::unknown;
        return false;
    }
    switch (leg.free_space) {
        case Leg::FreeSpace::told:
            return false;
        case Leg::FreeSpace::unknown:
            leg.free_space = Leg::FreeSpace::asked;
            tasks_.spawn(learn_free_space(peer));
            break;
        case Leg::FreeSpace::asked:
            break;
    }
    return true;
}

Task<> Mirror::learn_free_space(std::string peer) {
    const std::uint64_t number = ++watches_;
    host_->watch_writes(peer, number);
    Result<BlockRanges> unused = co_await unused_blocks(peer);
    Leg* leg = find(peer);
    if (!leg || closing_) co_return;
    if (source()) leave_out(peer, number, std::move(unused));
    leg->free_space = Leg::FreeSpace::told;
    schedule_connect(peer, 0s);
}

/// Before a new mirror is offered: nobody can have begun to use it.
Task<> Mirror::learn_free_space_of_new() {
    if (file_systems() == nullptr) co_return;
    const std::uint64_t number = ++watches_;
    bool wanted = false;
    for (const std::string& peer : names()) {
        if (own_parameters(peer).copy_free_space) continue;
        wanted = true;
        host_->watch_writes(peer, number);
    }
    if (!wanted) co_return;
    Result<BlockRanges> unused = co_await unused_blocks(names().front());
    for (const std::string& peer : names()) {
        if (own_parameters(peer).copy_free_space) continue;
        leave_out(peer, number, unused);
        legs_.at(peer).free_space = Leg::FreeSpace::told;
    }
}

void Mirror::leave_out(const std::string& peer, std::uint64_t number, Result<BlockRanges> unused) {
    std::uint64_t blocks = 0;
    if (unused)
        for (const BlockRange& range : *unused)
            blocks += range.count;
    if (!unused) {
        messages::info("volume {}: all of it is copied to {}: {}", record_.volume.str(), peer,
                       unused.error().text);
        return;
    }
    // On record first: a comparison must not take what was left out for a difference.
    MirrorRecord next = record_;
    next.free_left_out = true;
    if (!record_.free_left_out)
        if (auto saved = commit(std::move(next)); !saved) return alarm(saved.error().text);
    messages::info("volume {}: {} that its file system does not use are not copied to {}",
                   record_.volume.str(), text::human_bytes(blocks * kBlockBytes), peer);
    host_->leave_out(peer, number, std::move(*unused), false);
}

/// What was written before this is called must have come to its end when the file system answers: frozen, it
/// has; a volume that is not offered has no writers.
Task<Result<BlockRanges>> Mirror::unused_blocks(std::string peer) {
    const bool offered = exporting_;
    if (offered && gate_ != GateMode::open && gate_ != GateMode::first_write)
        co_return fail(Code::failure, "its file system cannot be asked while writes wait");
    const VolumeStatus before = co_await host_->status(peer);  // what was asked of the volume has happened
    FileSystems::Place place;
    place.device = record_.device;
    if (offered) place.exported = device_path_;
    Result<BlockRanges> unused = co_await file_systems()->free_blocks(std::move(place));
    if (!unused) co_return fail(unused.error());
    if (offered) co_return unused;
    const VolumeStatus after = co_await host_->status(peer);
    if (exporting_ || after.writes != before.writes)
        co_return fail(Code::failure, "it was put to use while its file system was asked");
    co_return unused;
}

/// The volume does not know any more, or never knew, what a full copy left out: what is free now cannot be
/// compared. Without an answer everything is.
Task<> Mirror::leave_out_of_comparison(std::string peer) {
    if (!record_.free_left_out || file_systems() == nullptr) co_return;
    const VolumeStatus now = co_await host_->status(peer);
    if (now.left_out_known) co_return;
    const std::uint64_t number = ++watches_;
    host_->watch_writes(peer, number);
    Result<BlockRanges> unused = co_await unused_blocks(peer);
    if (unused)
        host_->leave_out(peer, number, std::move(*unused), true);
    else
        messages::warning("volume {}: its free space is compared as well, and was never copied: {}",
                          record_.volume.str(), unused.error().text);
}

}  // namespace understudy::mirror::control
