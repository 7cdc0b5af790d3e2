// Shared volumes that are mirrored: what a new owner reads, takes over and goes on with.

#include "messages/messages.h"
#include "mirror/log/log_region.h"
#include "mirror/shared/shared_volumes_impl.h"

#include <set>

namespace understudy::mirror::shared {

using control::EndpointPair;
using control::MirrorRecord;
using control::PeerRecord;
using runtime::Task;

namespace {

/// Logs are copied in pieces of this size.
constexpr std::uint64_t kPiece = 65536;
/// So long an access to the area may take.
constexpr auto kAreaLimit = std::chrono::seconds(30);
/// Between two attempts to write a record again.
constexpr auto kWriteAgain = std::chrono::seconds(1);

}  // namespace

void SharedVolumes::set_mirrors(control::Manager& manager, DeviceAccess& devices) {
    mirrors_ = &manager;
    devices_ = &devices;
    manager.set_shared_records(this);
    manager.set_ended([this](const VolumeId& volume) { mirror_ended(volume); });
    manager.set_lend([this](VolumeId volume) { return lend(std::move(volume)); });
    manager.set_new_log([this](MirrorRecord record) { return new_log(std::move(record)); });
}

bool SharedVolumes::is_mirrored(const VolumeId& volume) const {
    const auto at = volumes_.find(volume);
    return at != volumes_.end() && at->second->mirrored;
}

std::vector<NodeName> SharedVolumes::hosts(const VolumeId& volume) const {
    const auto at = volumes_.find(volume);
    return at == volumes_.end() ? std::vector<NodeName>() : at->second->header.members();
}

// --- the area

Task<SharedVolumes::Bytes> SharedVolumes::read_area(VolumePtr volume, std::uint64_t offset,
                                                    std::size_t bytes) {
    const auto disk = disks_.open(volume->place.area, runtime::SharedDisks::Use::heartbeats);
    runtime::OneShot<Bytes> done(world_.tasks);
    const auto timer =
        world_.tasks.after(kAreaLimit, [done] { done.set(fail(Code::failure, "it does not answer")); });
    disk->read(offset, bytes, [done](Bytes read) { done.set(std::move(read)); });
    Bytes read = co_await done;
    world_.tasks.cancel(timer);
    co_return read;
}

Task<Result<>> SharedVolumes::write_area(VolumePtr volume, std::uint64_t offset, std::string bytes) {
    const auto disk = disks_.open(volume->place.area, runtime::SharedDisks::Use::heartbeats);
    runtime::OneShot<Result<>> done(world_.tasks);
    const auto timer =
        world_.tasks.after(kAreaLimit, [done] { done.set(fail(Code::failure, "it does not answer")); });
    disk->write(offset, std::move(bytes), [done](Result<> written) { done.set(std::move(written)); });
    Result<> written = co_await done;
    world_.tasks.cancel(timer);
    co_return written;
}

/// Who shares the volume, and what its mirror has left there.
Task<Result<>> SharedVolumes::read_state(VolumePtr volume) {
    const Bytes first = co_await read_area(volume, 0, 2 * kAreaBlock);
    if (!first) co_return with_context(first.error(), volume->place.area);
    auto header = decode_header(*first);
    if (!header) co_return with_context(header.error(), volume->place.area);
    const auto slot = header->slot_of(options_.node);
    if (!slot)
        co_return fail(Code::not_found, "{} is not among the hosts of volume {} in its lock area {}",
                       options_.node.str(), volume->place.volume.str(), volume->place.area);
    volume->header = std::move(*header);
    volume->slot = *slot;
    volume->states = States();
    const Bytes states = co_await read_area(volume, kRecordsAt, states_bytes(volume->header.hosts.size()));
    // An area that ends before is of a volume that was never mirrored.
    if (!states && states.error().code == Code::bad_argument) co_return Result<>{};
    if (!states) co_return with_context(states.error(), volume->place.area);
    volume->states = decode_states(*states, volume->header.hosts.size(), volume->header.id);
    co_return Result<>{};
}

Task<Result<>> SharedVolumes::copy_log(VolumePtr volume, std::uint64_t from, std::uint64_t to,
                                       std::uint64_t bytes) {
    for (std::uint64_t at = 0; at < bytes; at += kPiece) {
        const auto piece = static_cast<std::size_t>(std::min(kPiece, bytes - at));
        Bytes read = co_await read_area(volume, from + at, piece);
        if (!read) co_return with_context(read.error(), "the intent log");
        Result<> written = co_await write_area(volume, to + at, std::move(*read));
        if (!written) co_return with_context(written.error(), "the intent log");
    }
    co_return Result<>{};
}

/// Over this host's older copy; what is written under a newer generation of ownership counts.
Result<> SharedVolumes::write_state(Volume& volume, std::string text) {
    if (text.size() > kMostRecordText)
        return fail(Code::failure, "the mirror's record has {} bytes, more than the {} that fit into {}",
                    text.size(), kMostRecordText, volume.place.area);
    if (!volume.lock || !volume.lock->owns() || devices_ == nullptr)
        return fail(Code::failure, "this host does not own volume {} any more", volume.place.volume.str());
    if (volume.states.slots.size() <= volume.slot)
        return fail(Code::failure, "the lock area {} is too small for a mirror's record", volume.place.area);
    // A lock that waits for the area knows it already: nobody waits once more.
    if (!volume.lock->area_answers(record_limit()))
        return fail(Code::failure, "the lock area {} does not answer", volume.place.area);
    States::OfSlot& mine = volume.states.slots[volume.slot];
    StateRecord next{volume.lock->generation(), mine.record ? mine.record->serial + 1 : 1, std::move(text)};
    const unsigned copy = 1 - mine.copy;
    const std::string block = encode(next, volume.header.id);
    const auto written =
        devices_->write_now(volume.place.area, offset_of_record(volume.slot, copy), block, record_limit());
    if (!written) {
        volume.unsure = true;
        if (const auto at = volumes_.find(volume.place.volume);
            at != volumes_.end() && at->second.get() == &volume && !std::exchange(volume.settling, true))
            tasks_.spawn(write_state_again(at->second));
        return written;
    }
    volume.unsure = false;
    // The storage may have taken longer than the lease: then it is the next owner's word that counts.
    if (!volume.lock->owns())
        return fail(Code::failure, "this host does not own volume {} any more", volume.place.volume.str());
    mine = {std::move(next), copy};
    volume.states.newest = volume.slot;
    return {};
}

/// What was refused must not be what the next owner finds: the record that counts here is written over it,
/// when the area answers again.
Task<> SharedVolumes::write_state_again(VolumePtr volume) {
    while (volume->unsure && volume->lock && volume->lock->owns()) {
        co_await runtime::sleep_for(world_.tasks, kWriteAgain);
        if (!volume->unsure || !volume->lock || volume->states.slots.size() <= volume->slot) break;
        const auto& mine = volume->states.slots[volume->slot].record;
        if (!mine) break;
        std::string text = mine->text;
        const auto written = write_state(*volume, std::move(text));
        if (written) messages::info("volume {}: its record is written again", volume->place.volume.str());
    }
    volume->settling = false;
}

Result<> SharedVolumes::save(const VolumeId& id, std::string_view text) {
    const auto at = volumes_.find(id);
    if (at == volumes_.end()) return fail(Code::failure, "volume {} is not open here", id.str());
    return write_state(*at->second, std::string(text));
}

Result<> SharedVolumes::remove(const VolumeId& id) {
    return save(id, "");
}

// --- a new owner

Task<Result<>> SharedVolumes::wait_until_free(VolumePtr volume) {
    if (devices_ == nullptr) co_return fail(Code::failure, "this program has no mirrors");
    runtime::OneShot<Result<>> done(world_.tasks);
    auto result = std::make_shared<Result<>>();
    const bool begun = world_.tasks.run_blocking(
        [result, devices = devices_, device = volume->place.device] {
            *result = devices->wait_until_free(device);
        },
        [done, result] { done.set(*result); });
    if (!begun) co_return fail(Code::failure, "this host is too busy to open {}", volume->place.device);
    Result<> free = co_await done;
    co_return free;
}

/// The record as it is for this host. When another host had it, its log is copied to this one's place first:
/// a crash before the record is written finds everything as it was.
Task<Result<MirrorRecord>> SharedVolumes::adopt(VolumePtr volume, MirrorRecord record) {
    const std::uint32_t from = *volume->states.newest;
    record.device = volume->place.device;
    record.demoted = false;  // who opens it wants to use it
    for (PeerRecord& peer : record.peers) {
        const std::string there = peer.host_name();
        if (!peer.use(options_.node.str(), there))
            co_return fail(Code::failure,
                           "the mirror of volume {} with {} knows no addresses between {} and {}: delete it "
                           "on another host and create it anew, with a job that has them (event 218)",
                           record.volume.str(), peer.node, options_.node.str(), there);
        const auto region = parse_region(peer.log_path);
        if (!region)
            co_return fail(Code::internal, "the record of volume {}'s mirror is damaged: its log is {}",
                           record.volume.str(), peer.log_path);
        const std::uint32_t target = target_of_log(region->offset, region->bytes);
        LogRegion mine{volume->place.area, offset_of_log(volume->slot, region->bytes, target), region->bytes};
        if (from != volume->slot) {
            const std::uint64_t source = region->offset;
            Result<> copied = co_await copy_log(volume, source, mine.offset, region->bytes);
            if (!copied) co_return fail(copied.error());
        }
        peer.log_path = mine.path();
    }
    // What tells a disk from another may look different on another host; the area says that it is this
    // volume.
    if (from != volume->slot) record.media.clear();
    // The target must not take the former owner for its source again. A target has its source's epoch.
    if (from != volume->slot && record.role == Role::source) ++record.role_epoch;
    co_return record;
}

Task<Result<std::string>> SharedVolumes::take_up(VolumePtr volume) {
    const VolumeId id = volume->place.volume;
    auto record = control::decode_record(volume->record());
    if (!record) co_return fail(record.error());
    if (record->volume != id || !record->shared)
        co_return fail(Code::internal, "{} holds the record of another mirror, of volume {}",
                       volume->place.area, record->volume.str());
    auto adopted = co_await adopt(volume, std::move(*record));
    if (!adopted) co_return fail(adopted.error());
    const std::string text = control::encode(*adopted);
    auto written = write_state(*volume, text);
    if (!written) co_return fail(written.error());
    if (adopted->creating && adopted->role == Role::source) {
        co_await mirrors_->undo_shared(std::move(*adopted));
        auto opened = co_await open_device(volume);
        if (!opened) co_return fail(opened.error());
        co_return co_await offer(volume);
    }
    volume->mirrored = true;
    auto path = co_await mirrors_->take_up(std::move(*adopted));
    if (path)
        volume->path = *path;
    else
        volume->mirrored = false;
    co_return path;
}

// --- creation and deletion

/// Whether so many hosts' logs for that target, the last one, lie in the area.
Task<Result<>> SharedVolumes::check_room(VolumePtr volume, std::size_t hosts, std::uint32_t target,
                                         std::uint64_t room) {
    const std::uint64_t end = offset_of_log(static_cast<std::uint32_t>(hosts), room, target);
    auto fits = co_await read_area(volume, end - kAreaBlock, kAreaBlock);
    if (!fits)
        co_return fail(fits.error().code,
                       "the lock area of volume {} has no room for its mirror's intent logs, which need {} "
                       "bytes of it for {} hosts and {} targets: {}",
                       volume->place.volume.str(), end, hosts, target + 1, fits.error().text);
    co_return Result<>{};
}

/// Beside those of the mirror's other targets.
Task<Result<std::string>> SharedVolumes::new_log(MirrorRecord record) {
    const auto at = volumes_.find(record.volume);
    if (at == volumes_.end())
        co_return fail(Code::failure, "volume {} is not open here", record.volume.str());
    const VolumePtr volume = at->second;
    std::set<std::uint32_t> used;
    std::uint64_t room = 0;
    for (const PeerRecord& peer : record.peers) {
        const auto region = parse_region(peer.log_path);
        if (!region) continue;
        room = region->bytes;
        used.insert(target_of_log(region->offset, room));
    }
    std::uint32_t target = 0;
    while (used.contains(target))
        ++target;
    if (room == 0 || target >= kMostSharedTargets)
        co_return fail(Code::failure, "volume {} is shared: it is mirrored with {} others at most",
                       record.volume.str(), kMostSharedTargets);
    auto fits = co_await check_room(volume, volume->header.hosts.size(), target, room);
    if (!fits) co_return fail(fits.error());
    co_return LogRegion{volume->place.area, offset_of_log(volume->slot, room, target), room}.path();
}

/// The device of a volume that is open and not mirrored is a mirror's from here on, the lock stays. Gives
/// where the mirror's log is to be.
Task<Result<std::string>> SharedVolumes::let_go(VolumePtr volume) {
    const VolumeId id = volume->place.volume;
    if (!volume->host || volume->path.empty() || !volume->lock->owns())
        co_return fail(Code::failure, "volume {} is shared and not open here: unlock it first", id.str());
    if (volume->header.hosts.size() > kMostMirrorHosts)
        co_return fail(Code::failure, "volume {} is shared by {} hosts: one that is mirrored has at most {}",
                       id.str(), volume->header.hosts.size(), kMostMirrorHosts);
    auto size = co_await volume->host->device_size();
    if (!size) co_return fail(size.error());
    const std::uint64_t room = log_room(*size);
    auto fits = co_await check_room(volume, volume->header.hosts.size(), 0, room);
    if (!fits) co_return fail(fits.error());
    auto known = co_await read_state(volume);  // an area that was too small has grown
    if (!known) co_return fail(known.error());
    auto stopped = co_await volume->host->stop_export(false);
    if (!stopped) co_return fail(stopped.error());
    volume->path.clear();
    volume->host->set_gate(control::GateMode::refuse_writes);
    co_await volume->host->idle();
    volume->host.reset();
    volume->mirrored = true;
    co_return LogRegion{volume->place.area, offset_of_log(volume->slot, room), room}.path();
}

Task<Result<std::string>> SharedVolumes::mirror(control::CreateOptions options) {
    const VolumeId id = options.volume;
    const auto at = volumes_.find(id);
    if (at == volumes_.end() || mirrors_ == nullptr)
        co_return fail(Code::failure, "volume {} is shared and not open here: unlock it first", id.str());
    const VolumePtr volume = at->second;
    auto held = co_await volume->operations.acquire(kOperationWait);
    if (!held) co_return fail(Code::failure, "another operation on volume {} still runs", id.str());
    if (volume->mirrored) co_return fail(Code::exists, "volume {} is mirrored already", id.str());
    auto log = co_await let_go(volume);
    if (!log) co_return log;
    options.device = volume->place.device;
    options.shared_log = *log;
    auto path = co_await mirrors_->create(std::move(options));
    if (path) {
        volume->path = *path;
        co_return path;
    }
    volume->mirrored = false;
    auto opened = co_await open_device(volume);
    Result<std::string> again;
    if (opened) again = co_await offer(volume);
    if (!opened || !again)
        messages::error("volume {}: {}", id.str(), (opened ? again.error() : opened.error()).text);
    co_return path;
}

/// To a mirror that another host makes, whose target this one is to be.
Task<Result<std::string>> SharedVolumes::lend(VolumeId id) {
    const auto at = volumes_.find(id);
    if (at == volumes_.end() || !is_open(id)) co_return std::string();
    const VolumePtr volume = at->second;
    auto held = co_await volume->operations.acquire(kOperationWait);
    if (!held) co_return fail(Code::failure, "another operation on volume {} still runs", id.str());
    if (volume->mirrored) co_return fail(Code::exists, "volume {} is mirrored already", id.str());
    co_return co_await let_go(volume);
}

Task<Result<Role>> SharedVolumes::role(SharedPlace place) {
    const auto volume = std::make_shared<Volume>(world_.tasks);
    volume->place = std::move(place);
    auto read = co_await read_state(volume);
    if (!read) co_return fail(read.error());
    if (volume->record().empty()) co_return Role::none;
    auto record = control::decode_record(volume->record());
    if (!record) co_return fail(record.error());
    co_return record->role;
}

void SharedVolumes::mirror_ended(const VolumeId& id) {
    if (const auto at = volumes_.find(id); at != volumes_.end()) tasks_.spawn(offer_again(at->second));
}

/// The volume is this host's as before, without its mirror.
Task<> SharedVolumes::offer_again(VolumePtr volume) {
    auto held = co_await volume->operations.acquire(kOperationWait);
    if (!held || !volume->mirrored || mirrors_->find(volume->place.volume)) co_return;
    volume->mirrored = false;
    volume->path.clear();
    auto opened = co_await open_device(volume);
    Result<std::string> again;
    if (opened) again = co_await offer(volume);
    if (!opened || !again)
        messages::error("volume {}: {}; lock and unlock it", volume->place.volume.str(),
                        (opened ? again.error() : opened.error()).text);
}

}  // namespace understudy::mirror::shared
