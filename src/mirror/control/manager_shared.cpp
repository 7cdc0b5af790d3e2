// Mirrors of volumes that several hosts of this end share: each exists on the owner alone.

#include "mirror/control/manager.h"
#include "mirror/control/mirror_limits.h"

namespace understudy::mirror::control {

using runtime::Task;

namespace {

// A volume that was got opens its device, which may be held for a moment, and asks its peers.
constexpr runtime::Duration kTakeUpLimit = std::chrono::seconds(30);

}  // namespace

Task<Result<std::string>> Manager::take_up(MirrorRecord record) {
    const VolumeId volume = record.volume;
    if (mirrors_.contains(volume) || being_made_.contains(volume))
        co_return fail(Code::exists, "volume {} exists already on {}", volume.str(), options_.node);
    auto mirror = add(std::move(record));
    mirror->boot();
    // It has asked its peers then who is source.
    const auto deadline = world_.clock.now() + kTakeUpLimit;
    for (;;) {
        MirrorView now = co_await mirror->view();
        if (now.exporting) co_return now.device_path;
        if (now.open && now.record.role == Role::target) co_return std::string();
        if (now.open && now.record.demoted) {
            // The former owner had given the device up to a target that has not taken over.
            auto served = co_await mirror->promote(PromoteOptions());
            if (served) co_return served;
            if (mirror->record().role == Role::target) co_return std::string();
            auto down = co_await put_down(volume, true);
            (void)down;  // nothing refuses it
            co_return served;
        }
        if (world_.clock.now() >= deadline) {
            auto down = co_await put_down(volume, true);
            (void)down;  // nothing refuses it
            co_return fail(Code::failure, "volume {} cannot be used on {}: {}", volume.str(), options_.node,
                           now.problem.empty() ? "its mirror did not start in time" : now.problem);
        }
        co_await runtime::sleep_for(world_.tasks, kStatePoll);
    }
}

Task<Result<>> Manager::put_down(VolumeId volume, bool lost) {
    auto mirror = find(volume);
    if (!mirror) co_return Result<>{};
    auto down = co_await mirror->lay_down(lost);
    if (!down) co_return fail(down.error());
    forget(volume);
    co_return Result<>{};
}

Task<> Manager::undo_shared(MirrorRecord record) {
    co_await undo_creation(std::move(record));
}

}  // namespace understudy::mirror::control
