#pragma once
// The shared volumes of a host: which of them this host owns, and the devices that it offers.
//
//   open:   take the device -> lock (VolumeLock) -> offer /dev/understudy/VOLUME
//   close:  take /dev/understudy/VOLUME away -> let the device go -> give the lock up
//   lost:   refuse writes, give users I/O errors, take the device away; then as close
//
// The device of one that is mirrored besides is offered by its mirror (mirror/control), which exists on the
// owner alone. Its record and its intent log lie behind the lock area (mirror_state.h): whoever gets the lock
// goes on with the mirror as the former owner would have after a crash.
//
// Whoever wants to read or write goes through /dev/understudy/VOLUME; this process is the gate. A process
// that ends while it owns a volume leaves a mark in /run, by which the next one goes on where the device was.
// Spec: CLU-227, CLU-229, KIT-060, MOP-018, MOP-065, MOP-066, MOP-067. Threading: the control loop's thread.

#include "config/layout.h"
#include "mirror/control/manager.h"
#include "mirror/control/operation_lock.h"
#include "mirror/control/volume_host.h"
#include "mirror/shared/mirror_state.h"
#include "mirror/shared/volume_lock.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::mirror::shared {

struct SharedOptions {
    config::Layout layout;
    NodeName node;
    Duration lease = std::chrono::seconds(6);
    Duration margin = std::chrono::seconds(3);
};

/// Where a shared volume lies on this host.
struct SharedPlace {
    VolumeId volume;
    std::string device;
    std::string area;  // the device of its lock area
};

/// What a mirrored volume needs of this host's devices besides.
class DeviceAccess {
  public:
    virtual ~DeviceAccess() = default;
    /// Durable when it returns success; blocks meanwhile, for `limit` at most. Offset and size are multiples
    /// of kAreaBlock. Error: it may be there all the same, or come later, but never after what is written
    /// next: until a write has ended, the next ones to this device fail at once.
    virtual Result<> write_now(const std::string& device, std::uint64_t offset, std::string_view bytes,
                               runtime::Duration limit) = 0;
    /// Whether nobody on this host holds the device, not even a process that has ended and whose last writes
    /// are still under way; waits a while for that. Called on another thread.
    virtual Result<> wait_until_free(const std::string& device) = 0;
};

class SharedVolumes : private control::SharedRecords {
  public:
    using MakeHost =
        std::function<std::unique_ptr<control::VolumeHost>(const VolumeId&, control::HostEvents& events)>;
    using MakeFence = std::function<Result<std::unique_ptr<Fence>>()>;
    /// Called on another thread.
    using OpenDisk = std::function<Result<std::unique_ptr<ReservableDisk>>(const std::string& device)>;
    /// `disks` outlives this.
    SharedVolumes(runtime::World world, SharedOptions options, runtime::SharedDisks& disks,
                  MakeHost make_host, MakeFence make_fence, OpenDisk open_disk);
    SharedVolumes(const SharedVolumes&) = delete;
    SharedVolumes& operator=(const SharedVolumes&) = delete;
    ~SharedVolumes() override;
    /// Without it a volume that is mirrored cannot be opened. Both outlive this.
    void set_mirrors(control::Manager& manager, DeviceAccess& devices);

    /// Who keeps others on this host from the device of a volume that is not open. Called while no other
    /// operation on the volume runs.
    struct Keeper {
        std::function<void(const VolumeId&)> let_go;  // its device is going to be opened
        std::function<void(const VolumeId&)> keep;    // it is not open any more, or nothing came of that
    };
    void set_keeper(Keeper keeper) { keeper_ = std::move(keeper); }

    /// Makes this host the owner and offers the device; gives its path. Errors: exists (another host owns it
    /// and is alive), those of VolumeLock::claim() and VolumeHost. Empty: it is mirrored, and this host is
    /// the target.
    runtime::Task<Result<std::string>> open(SharedPlace place);
    /// Gives it up. Error: in use, by whom; nothing has changed then.
    runtime::Task<Result<>> close(VolumeId volume);
    [[nodiscard]] bool is_open(const VolumeId& volume) const;
    /// Whether it is open, or an operation on it runs.
    [[nodiscard]] bool is_busy(const VolumeId& volume) const;
    /// Whether an earlier process of this boot owned the volume, and nothing has become of that yet.
    [[nodiscard]] bool was_open(const VolumeId& volume) const;
    /// Goes on with a volume for which that is so: owns it again, or gives the users of its device I/O
    /// errors.
    void go_on(SharedPlace place);

    /// Mirrors a volume that is open here; see Manager::create(). Of `options` the volume, its one target,
    /// and whether that is equal. Errors besides: the lock area has no room for the mirror's log, the device
    /// is in use. The volume is as it was then.
    runtime::Task<Result<std::string>> mirror(control::CreateOptions options);
    /// What the mirror of a volume makes of this end's hosts, whoever of them has it; none: it is not
    /// mirrored.
    runtime::Task<Result<Role>> role(SharedPlace place);
    /// Whether it is open here and has a mirror.
    [[nodiscard]] bool is_mirrored(const VolumeId& volume) const;
    /// Of a volume that is open here: the hosts that share it.
    [[nodiscard]] std::vector<NodeName> hosts(const VolumeId& volume) const;
    /// One host more, or less, that shares a volume which is open here; its mirrors are the caller's
    /// business. Nothing to do when that is so. Errors: the lock area has no room for another host's intent
    /// logs, the host is this one. Spec: MOP-161, MOP-162, MOP-164.
    runtime::Task<Result<>> add_host(VolumeId volume, NodeName host);
    runtime::Task<Result<>> remove_host(VolumeId volume, NodeName host);

    /// Names the hosts of a volume in its lock area. See make_area().
    runtime::Task<Result<>> share(std::string area, VolumeId volume, std::vector<NodeName> hosts);
    runtime::Task<Result<AreaView>> view(std::string area);

    /// The end of this process: devices stay for the next one, and so does the ownership, as long as its
    /// lease.
    runtime::Task<> shut_down();

  private:
    struct Volume;
    using VolumePtr = std::shared_ptr<Volume>;

    // control::SharedRecords
    Result<> save(const VolumeId& volume, std::string_view text) override;
    Result<> remove(const VolumeId& volume) override;

    runtime::Task<Result<std::string>> open_held(SharedPlace place, VolumePtr volume);
    runtime::Task<Result<>> open_device(VolumePtr volume);
    runtime::Task<Result<>> wait_until_quiet(VolumePtr volume);
    runtime::Task<Result<std::string>> offer(VolumePtr volume);
    // shared_mirrors.cpp
    using Bytes = Result<std::string>;
    runtime::Task<Result<>> read_state(VolumePtr volume);
    runtime::Task<Bytes> read_area(VolumePtr volume, std::uint64_t offset, std::size_t bytes);
    runtime::Task<Result<>> write_area(VolumePtr volume, std::uint64_t offset, std::string bytes);
    runtime::Task<Result<>> copy_log(VolumePtr volume, std::uint64_t from, std::uint64_t to,
                                     std::uint64_t bytes);
    runtime::Task<Result<std::string>> take_up(VolumePtr volume);
    runtime::Task<Result<control::MirrorRecord>> adopt(VolumePtr volume, control::MirrorRecord record);
    runtime::Task<Result<>> wait_until_free(VolumePtr volume);
    /// So long the control loop waits for a write of a mirror's record at most: the volumes that it controls
    /// besides must renew their leases in time.
    [[nodiscard]] Duration record_limit() const {
        return std::min<Duration>(options_.lease / 3, std::chrono::seconds(2));
    }
    Result<> write_state(Volume& volume, std::string text);
    runtime::Task<> write_state_again(VolumePtr volume);
    void mirror_ended(const VolumeId& volume);
    runtime::Task<> offer_again(VolumePtr volume);
    runtime::Task<Result<std::string>> lend(VolumeId volume);
    runtime::Task<Result<std::string>> new_log(control::MirrorRecord record);
    runtime::Task<Result<>> check_room(VolumePtr volume, std::size_t hosts, std::uint32_t target,
                                       std::uint64_t room);
    /// `slots`: see make_area(); of a host that is added.
    runtime::Task<Result<>> change_header(VolumePtr volume, NodeName host, bool added, std::size_t slots);
    runtime::Task<Result<std::string>> let_go(VolumePtr volume);
    runtime::Task<> lose(VolumePtr volume, std::string why);
    runtime::Task<> go_on_task(SharedPlace place);
    /// Runs `work` with the volume's disk on another thread.
    using DiskWork = std::function<Result<bool>(ReservableDisk& disk, const ReservationPlace& place)>;
    runtime::Task<Result<bool>> with_disk(VolumePtr volume, DiskWork work);
    runtime::Task<> give_up_lock(VolumePtr volume);
    runtime::Task<> end_kept(SharedPlace place, VolumePtr volume);
    [[nodiscard]] VolumePtr volume_of(const SharedPlace& place);
    [[nodiscard]] std::string mark(const VolumeId& volume) const;
    [[nodiscard]] Result<std::uint64_t> host_number();

    runtime::World world_;
    SharedOptions options_;
    runtime::SharedDisks& disks_;
    MakeHost make_host_;
    MakeFence make_fence_;
    OpenDisk open_disk_;
    control::Manager* mirrors_ = nullptr;
    DeviceAccess* devices_ = nullptr;
    Keeper keeper_;
    std::map<VolumeId, VolumePtr> volumes_;
    runtime::TaskScope tasks_;  // last: what runs in it uses the rest
};

}  // namespace understudy::mirror::shared
