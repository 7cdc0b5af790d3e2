#pragma once
// A host's lock of one shared volume: drives Ownership (ownership.h) with the lock area on the shared
// storage, and keeps the fence armed as long as this host owns the volume.
//
//   VolumeLock -- reads, writes --> SharedDisk (its own thread)
//       |---- lease end ----------> Fence
//       '---- lost ----------------> whoever uses the volume: stop, then release()
//
// Threading: the control loop's thread.

#include "mirror/shared/fence.h"
#include "mirror/shared/ownership.h"
#include "mirror/shared/reservation.h"
#include "runtime/shared_disk.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::mirror::shared {

struct LockOptions {
    VolumeId volume;
    NodeName node;
    std::uint64_t host = 0;  // see OwnershipOptions
    Duration lease = std::chrono::seconds(6);
    Duration margin = std::chrono::seconds(3);
};

class VolumeLock {
  public:
    /// `lost` is called once for each ownership that ends without release(), with the reason; from then on
    /// until release() the fence ends this process when the lease does. Everything outlives the lock.
    VolumeLock(runtime::World world, std::unique_ptr<runtime::SharedDisk> area, std::unique_ptr<Fence> fence,
               LockOptions options, std::function<void(std::string)> lost);
    VolumeLock(const VolumeLock&) = delete;
    VolumeLock& operator=(const VolumeLock&) = delete;
    ~VolumeLock();

    /// Makes this host the owner: at once when nobody is, after its lease and the margin when the owner is
    /// dead. Errors: exists (another host owns it and is alive; named), not_found (no area, or this host is
    /// not in it), failure (within `patience` nothing came of it).
    runtime::Task<Result<>> claim(Duration patience);
    /// The volume is not used any more. Error: the area could not be written; the next owner waits for the
    /// lease.
    runtime::Task<Result<>> release();

    [[nodiscard]] bool owns() const;
    /// False: an access to the area has been under way for longer than that.
    [[nodiscard]] bool area_answers(Duration within) const;
    /// From when on no write of this lock can reach the area any more; max() while one is under way. Another
    /// lock of this host must not begin before: a write that comes late would lie over its votes.
    [[nodiscard]] TimePoint quiet_from() const { return writing_ ? TimePoint::max() : quiet_from_; }
    /// For the disk's reservation; after a claim.
    [[nodiscard]] ReservationPlace place() const;
    [[nodiscard]] std::uint64_t generation() const { return ownership_ ? ownership_->generation() : 0; }

  private:
    void pump();
    void look_at_state();
    void read();
    void write(const Ownership::Step& step);
    void settle(Result<> result);
    void pump_deadline();

    runtime::World world_;
    std::unique_ptr<runtime::SharedDisk> area_;
    std::unique_ptr<Fence> fence_;
    LockOptions options_;
    std::function<void(std::string)> lost_;
    std::optional<AreaHeader> header_;
    std::uint32_t slot_ = 0;  // this host's, after a claim
    std::optional<Ownership> ownership_;
    std::string trouble_;                     // of the last access
    std::optional<TimePoint> waiting_since_;  // for the access under way
    bool writing_ = false;                    // which is a write
    TimePoint quiet_from_{};
    TimePoint armed_until_{};
    bool told_ = false;                                 // that it is lost
    std::optional<runtime::OneShot<Result<>>> waiter_;  // claim or release
    std::optional<runtime::TimerId> timer_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

/// Writes a header, or a longer list of hosts into one that is there. The area may hold nothing else. `most`:
/// slots, before those of hosts that were removed are used again; see free_slot(). Errors: bad_argument
/// (hosts, something else stands there), failure.
runtime::Task<Result<>> make_area(runtime::World world, runtime::SharedDisk& area, VolumeId volume,
                                  std::vector<NodeName> hosts, std::size_t most = kMostHosts);

/// Takes a host out of the header: it can neither claim the volume nor keep it. Nothing to do when it is not
/// there. Error: bad_argument, it is the only one.
runtime::Task<Result<>> remove_host(runtime::World world, runtime::SharedDisk& area, NodeName host);

/// What an area says: for people.
struct AreaView {
    AreaHeader header;
    std::uint64_t generation = 0;
    std::optional<NodeName> owner;  // nullopt: nobody, it was given up
    std::vector<Slot> slots;
};
runtime::Task<Result<AreaView>> view_area(runtime::World world, runtime::SharedDisk& area);

}  // namespace understudy::mirror::shared
