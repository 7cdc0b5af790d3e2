#pragma once
// SCSI-3 persistent reservations (and NVMe's, which the kernel offers in the same way): the disk itself
// refuses writes of every host but the owner, and drops those that an earlier owner still has on their way.
// The lock area decides who the owner is; this makes the disk know it. Spec: CLU-229, MOP-064.
//
// The owner's key names its generation of ownership:
//
//   32 bits of the area's id | 6 bits slot + 1 | 26 bits generation
//
// so nobody takes the disk from a newer owner: a host that stood still between getting the volume and
// reserving its disk finds a key that is newer than its own, and could not guess it to preempt it. The type
// is "write exclusive": being registered alone does not let anybody write, and others can read, which
// partition scans at a boot do. Builds from before have keys without a generation, which count as older than
// any.
//
// Threading: calls block as long as the disk takes; any thread, one at a time.

#include "base/result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace understudy::mirror::shared {

/// What a disk can do.
class ReservableDisk {
  public:
    enum class Outcome : std::uint8_t {
        done,
        conflict,     // somebody else holds it, or the key that was named is not registered
        unsupported,  // this disk knows no reservations
    };
    /// Who has reserved the disk.
    struct Holder {
        bool known = false;                // false: the disk cannot be asked
        std::optional<std::uint64_t> key;  // nullopt: nobody
    };
    virtual ~ReservableDisk() = default;
    virtual Result<Holder> holder() = 0;
    /// In the place of whatever this host has registered.
    virtual Result<Outcome> register_key(std::uint64_t key) = 0;
    /// Ends this host's registration if it is of this key, and the reservation with it.
    virtual Result<Outcome> unregister(std::uint64_t key) = 0;
    virtual Result<Outcome> reserve(std::uint64_t key) = 0;
    /// Takes the reservation of `victim`, whose registration and running commands end.
    virtual Result<Outcome> preempt(std::uint64_t key, std::uint64_t victim) = 0;
    virtual Result<Outcome> release(std::uint64_t key) = 0;
};

struct ReservationPlace {
    std::uint64_t area = 0;        // its id
    std::uint32_t slot = 0;        // of this host
    std::uint32_t hosts = 0;       // in the area
    std::uint64_t generation = 0;  // of the ownership for which the disk is reserved
};
[[nodiscard]] std::uint64_t reservation_key(const ReservationPlace& place);
/// As builds without generations made it.
[[nodiscard]] std::uint64_t old_reservation_key(std::uint64_t area, std::uint32_t slot);

/// For the host that owns the volume. False: the disk has no reservations. Errors: it has, and a newer owner
/// of the volume holds it, or a host that is not in the area does; this host is not registered then.
Result<bool> take_reservation(ReservableDisk& disk, const ReservationPlace& place);
/// Before the volume is given up. What another generation of this host has registered stays.
Result<> give_up_reservation(ReservableDisk& disk, const ReservationPlace& place);

}  // namespace understudy::mirror::shared
