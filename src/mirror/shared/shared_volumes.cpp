#include "messages/messages.h"
#include "mirror/shared/shared_volumes_impl.h"

#include <charconv>

namespace understudy::mirror::shared {

using control::VolumeHost;
using runtime::Task;

SharedVolumes::SharedVolumes(runtime::World world, SharedOptions options, runtime::SharedDisks& disks,
                             MakeHost make_host, MakeFence make_fence, OpenDisk open_disk)
    : world_(world),
      options_(std::move(options)),
      disks_(disks),
      make_host_(std::move(make_host)),
      make_fence_(std::move(make_fence)),
      open_disk_(std::move(open_disk)) {}

SharedVolumes::~SharedVolumes() {
    if (mirrors_ != nullptr) {
        mirrors_->set_shared_records(nullptr);
        mirrors_->set_ended({});
        mirrors_->set_lend({});
        mirrors_->set_new_log({});
    }
    tasks_.clear();
}

std::string SharedVolumes::mark(const VolumeId& volume) const {
    return fmt::format("{}/shared/{}", options_.layout.run(), volume.str());
}

SharedVolumes::VolumePtr SharedVolumes::volume_of(const SharedPlace& place) {
    auto& volume = volumes_[place.volume];
    if (!volume) volume = std::make_shared<Volume>(world_.tasks);
    return volume;
}

bool SharedVolumes::is_open(const VolumeId& volume) const {
    const auto at = volumes_.find(volume);
    return at != volumes_.end() && (!at->second->path.empty() || at->second->mirrored);
}

bool SharedVolumes::is_busy(const VolumeId& volume) const {
    const auto at = volumes_.find(volume);
    return is_open(volume) || (at != volumes_.end() && at->second->operations.busy());
}

bool SharedVolumes::was_open(const VolumeId& volume) const {
    return !is_open(volume) && world_.files.exists(mark(volume));
}

/// Made once and kept with this host's state: two hosts with the same name have two numbers.
Result<std::uint64_t> SharedVolumes::host_number() {
    const std::string path = options_.layout.state() + "/host-number";
    if (world_.files.exists(path)) {
        UNDERSTUDY_TRY(const std::string text, world_.files.read(path));
        std::uint64_t number = 0;
        const auto end = text.find_last_not_of('\n') + 1;
        const auto [at, error] = std::from_chars(text.data(), text.data() + end, number, 16);
        if (error != std::errc() || at != text.data() + end)
            return fail(Code::internal, "{} is damaged: no number", path);
        return number;
    }
    const std::uint64_t number = world_.random.next();
    UNDERSTUDY_CHECK(world_.files.make_directories(options_.layout.state()));
    UNDERSTUDY_CHECK(world_.files.write_atomic(path, fmt::format("{:016x}\n", number), 0600));
    return number;
}

// --- open

Task<Result<std::string>> SharedVolumes::open(SharedPlace place) {
    const VolumePtr volume = volume_of(place);
    auto held = co_await volume->operations.acquire(kOperationWait);
    if (!held) co_return fail(Code::failure, "another operation on volume {} still runs", place.volume.str());
    if (is_open(place.volume) && volume->lock->owns()) co_return volume->path;
    if (volume->host || volume->mirrored)
        co_return fail(Code::failure, "volume {} is being taken away", place.volume.str());
    // Not before: who waited for an operation that failed finds the device kept again.
    if (keeper_.let_go) keeper_.let_go(place.volume);
    Result<std::string> opened = co_await open_held(place, volume);
    if (!opened && keeper_.keep) keeper_.keep(place.volume);
    co_return opened;
}

/// The device first: while an earlier process still has a write on its way, it cannot be had.
Task<Result<>> SharedVolumes::open_device(VolumePtr volume) {
    const SharedPlace place = volume->place;
    volume->host = make_host_(place.volume, volume->events);
    auto opened = co_await volume->host->open(place.volume, place.device, 0);
    if (opened) co_return Result<>{};
    volume->host.reset();
    co_return fail(opened.error());
}

/// Of a volume that this host owns, whose device is open, and that has no mirror.
Task<Result<std::string>> SharedVolumes::offer(VolumePtr volume) {
    // It may have been lost since it was got, when whoever stops what is open found nothing open.
    if (!volume->lock || !volume->lock->owns())
        co_return fail(Code::failure, "volume {} was lost again before it was open",
                       volume->place.volume.str());
    volume->host->serve_alone();
    volume->host->set_gate(control::GateMode::open);
    auto path = co_await volume->host->start_export(control::ExportKind::automatic);
    if (path) volume->path = *path;
    co_return path;
}

/// Nothing that this process has written into the area before comes to lie over what is written next.
Task<Result<>> SharedVolumes::wait_until_quiet(VolumePtr volume) {
    const auto deadline = world_.clock.now() + options_.lease + options_.margin;
    while (volume->former) {
        const TimePoint now = world_.clock.now();
        if (now >= volume->former->quiet_from()) {
            volume->former.reset();
            break;
        }
        if (now >= deadline)
            co_return fail(Code::failure, "the lock area {} has not answered a write of before",
                           volume->place.area);
        co_await runtime::sleep_for(world_.tasks, kQuietLook);
    }
    co_return Result<>{};
}

Task<Result<std::string>> SharedVolumes::open_held(SharedPlace place, VolumePtr volume) {
    auto number = host_number();
    if (!number) co_return fail(number.error());
    auto fence = make_fence_();
    if (!fence) co_return fail(fence.error());
    volume->place = place;
    auto quiet = co_await wait_until_quiet(volume);
    if (!quiet) co_return fail(quiet.error());
    auto known = co_await read_state(volume);
    if (!known) co_return fail(known.error());
    const bool mirrored = !volume->record().empty();
    Result<> free;
    if (mirrored)
        free = co_await wait_until_free(volume);
    else
        free = co_await open_device(volume);
    if (!free) co_return fail(free.error());
    LockOptions options{place.volume, options_.node, *number, options_.lease, options_.margin};
    std::weak_ptr<Volume> weak = volume;
    volume->lock =
        std::make_unique<VolumeLock>(world_, disks_.open(place.area, runtime::SharedDisks::Use::heartbeats),
                                     std::move(*fence), options, [this, weak](std::string why) {
                                         if (auto lost = weak.lock())
                                             tasks_.spawn(lose(std::move(lost), std::move(why)));
                                     });
    const Duration patience = 2 * (options_.lease + options_.margin) + std::chrono::seconds(20);
    auto claimed = co_await volume->lock->claim(patience);
    Result<> ready = claimed;
    if (ready) {
        const auto reserved = co_await with_disk(volume, take_reservation);
        if (reserved)
            volume->reserved = *reserved;
        else
            ready = fail(reserved.error());
    }
    if (ready) ready = world_.files.make_directories(options_.layout.run() + "/shared", 0700);
    if (ready) ready = world_.files.write_atomic(mark(place.volume), "", 0600);
    // As the owner before has left it.
    if (ready) ready = co_await read_state(volume);
    if (ready && mirrored == volume->record().empty())
        ready = fail(Code::failure, "the mirror of volume {} was made or deleted meanwhile: try again",
                     place.volume.str());
    Result<std::string> path;
    if (ready) {
        if (mirrored)
            path = co_await take_up(volume);
        else
            path = co_await offer(volume);
        if (!path) ready = fail(path.error());
    }
    if (!ready) {
        if (volume->host) {
            volume->host->set_gate(control::GateMode::refuse_writes);
            if (!claimed) co_await end_kept(place, volume);
            co_await volume->host->idle();
            volume->host.reset();
        } else if (mirrored && !claimed) {
            auto opened = co_await open_device(volume);
            if (opened) {
                co_await end_kept(place, volume);
                co_await volume->host->idle();
                volume->host.reset();
            }
        }
        co_await give_up_lock(volume);
        co_return fail(ready.error());
    }
    messages::info("volume {}: owned by this host, generation {}, {}{}{}", place.volume.str(),
                   volume->lock->generation(), volume->reserved ? "reserved on its disk, " : "",
                   path->empty() ? "target of its mirror" : "offered as ", *path);
    co_return path;
}

Task<Result<bool>> SharedVolumes::with_disk(VolumePtr volume, DiskWork work) {
    auto result = std::make_shared<Result<bool>>(false);
    runtime::OneShot<bool> done(world_.tasks);
    const bool begun = world_.tasks.run_blocking(
        [result, work = std::move(work), open = open_disk_, device = volume->place.device,
         place = volume->lock->place()] {
            auto disk = open(device);
            *result = disk ? work(**disk, place) : Result<bool>(tl::unexpected<Error>(disk.error()));
        },
        [done] { done.set(true); });
    if (!begun) co_return fail(Code::failure, "this host is too busy to ask the disk for its reservation");
    co_await done;
    co_return *result;
}

/// Nothing of this host writes to the volume any more.
Task<> SharedVolumes::give_up_lock(VolumePtr volume) {
    const VolumeId id = volume->place.volume;
    if (std::exchange(volume->reserved, false)) {
        const DiskWork work = [](ReservableDisk& disk, const ReservationPlace& place) -> Result<bool> {
            UNDERSTUDY_CHECK(give_up_reservation(disk, place));
            return true;
        };
        const auto given_up = co_await with_disk(volume, work);
        // The next owner takes it all the same.
        if (!given_up) messages::warning("volume {}: {}", id.str(), given_up.error().text);
    }
    const auto released = co_await volume->lock->release();
    if (!released)
        messages::warning("volume {}: {}; the next owner waits for the end of the lease", id.str(),
                          released.error().text);
    volume->former.reset();
    if (volume->lock->quiet_from() > world_.clock.now()) volume->former = std::move(volume->lock);
    volume->lock.reset();
    if (const auto gone = world_.files.remove(mark(id)); !gone) messages::warning("{}", gone.error().text);
}

/// A device that an earlier process left has users that wait: they get I/O errors.
Task<> SharedVolumes::end_kept(SharedPlace place, VolumePtr volume) {
    if (!volume->host->export_kept()) co_return;
    auto taken = co_await volume->host->start_export(control::ExportKind::automatic);
    Result<> ended = taken ? Result<>{} : Result<>(tl::unexpected<Error>(taken.error()));
    if (ended) ended = co_await volume->host->stop_export(true);
    if (!ended)
        messages::warning("volume {}: its device stays: {}", place.volume.str(), ended.error().text);
    else
        messages::warning("volume {}: is another host's now; who still used its device here gets I/O errors",
                          place.volume.str());
}

void SharedVolumes::go_on(SharedPlace place) {
    if (is_open(place.volume)) return;
    tasks_.spawn(go_on_task(std::move(place)));
}

Task<> SharedVolumes::go_on_task(SharedPlace place) {
    auto opened = co_await open(place);
    if (!opened)
        messages::error("volume {}: cannot be gone on with: {}", place.volume.str(), opened.error().text);
}

// --- close

Task<Result<>> SharedVolumes::close(VolumeId id) {
    const auto at = volumes_.find(id);
    if (at == volumes_.end()) co_return Result<>{};
    const VolumePtr volume = at->second;
    auto held = co_await volume->operations.acquire(kOperationWait);
    if (!held) co_return fail(Code::failure, "another operation on volume {} still runs", id.str());
    if (volume->mirrored) {
        auto down = co_await mirrors_->put_down(id, false);
        if (!down) co_return down;
        volume->mirrored = false;
        volume->path.clear();
        co_await give_up_lock(volume);
        messages::info("volume {}: given up, and its mirror with it", id.str());
        co_return Result<>{};
    }
    if (!volume->host) co_return Result<>{};
    auto stopped = co_await volume->host->stop_export(false);
    if (!stopped) co_return stopped;
    volume->path.clear();
    volume->host->set_gate(control::GateMode::refuse_writes);
    co_await volume->host->idle();
    volume->host.reset();
    co_await give_up_lock(volume);
    messages::info("volume {}: given up", id.str());
    co_return Result<>{};
}

/// In the time that is left of the lease; when it is not enough the fence ends this process. Spec: REP-369.
Task<> SharedVolumes::lose(VolumePtr volume, std::string why) {
    const VolumeId id = volume->place.volume;
    messages::log(messages::Severity::critical,
                  "volume {}: this host does not own it any more ({}): access is blocked", id.str(), why);
    if (volume->host) volume->host->set_gate(control::GateMode::refuse_writes);
    if (const auto mirror = mirrors_ != nullptr ? mirrors_->find(id) : nullptr; mirror && volume->mirrored)
        mirror->refuse_writes();
    auto held = co_await volume->operations.acquire(kOperationWait);
    if (!held || !volume->lock || volume->lock->owns()) co_return;
    if (volume->mirrored) {
        auto down = co_await mirrors_->put_down(id, true);
        // Another operation of the mirror is stuck: the fence ends this process.
        if (!down) messages::error("volume {}: {}", id.str(), down.error().text);
        if (!down) co_return;
        volume->mirrored = false;
        volume->path.clear();
        co_await give_up_lock(volume);
        if (keeper_.keep) keeper_.keep(id);
        co_return;
    }
    if (!volume->host) co_return;
    auto stopped = co_await volume->host->stop_export(true);
    if (!stopped) messages::warning("volume {}: its device stays: {}", id.str(), stopped.error().text);
    volume->path.clear();
    co_await volume->host->idle();
    volume->host.reset();
    co_await give_up_lock(volume);
    if (keeper_.keep) keeper_.keep(id);
}

Task<> SharedVolumes::shut_down() {
    for (const auto& [id, volume] : std::map<VolumeId, VolumePtr>(volumes_))
        if (volume->host) co_await volume->host->shutdown();
}

// --- areas

Task<Result<>> SharedVolumes::share(std::string area, VolumeId volume, std::vector<NodeName> hosts) {
    // Before anybody relies on it: the device may be used for nothing else on this host.
    const auto disk = disks_.open(area, runtime::SharedDisks::Use::setup);
    auto made = co_await make_area(world_, *disk, volume, std::move(hosts));
    if (!made) co_return with_context(made.error(), area);
    co_return Result<>{};
}

Task<Result<AreaView>> SharedVolumes::view(std::string area) {
    const auto disk = disks_.open(area, runtime::SharedDisks::Use::heartbeats);
    auto found = co_await view_area(world_, *disk);
    if (!found) co_return with_context(found.error(), area);
    co_return found;
}

}  // namespace understudy::mirror::shared
