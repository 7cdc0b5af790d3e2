#pragma once
// SCSI-3 persistent reservations (and NVMe's, which the kernel offers in the same way): the disk itself
// refuses writes of every host but the owner, and drops those that an earlier owner still has on their way.
// The lock area decides who the owner is; this makes the disk know it. Spec: CLU-229, MOP-064.
//
// Each host has a key, from the area's id and its slot, so the next owner knows what to preempt. The type is
// "write exclusive": others can read, which partition scans at a boot do.
//
// Threading: calls block as long as the disk takes; any thread, one at a time.

#include "base/result.h"

#include <cstdint>
#include <memory>
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
    virtual ~ReservableDisk() = default;
    /// In the place of whatever this host has registered; key 0 ends it.
    virtual Result<Outcome> register_key(std::uint64_t key) = 0;
    virtual Result<Outcome> reserve(std::uint64_t key) = 0;
    /// Takes the reservation of `victim`, whose registration and running commands end.
    virtual Result<Outcome> preempt(std::uint64_t key, std::uint64_t victim) = 0;
    virtual Result<Outcome> release(std::uint64_t key) = 0;
};

struct ReservationPlace {
    std::uint64_t area = 0;   // its id
    std::uint32_t slot = 0;   // of this host
    std::uint32_t hosts = 0;  // in the area
};
[[nodiscard]] std::uint64_t reservation_key(std::uint64_t area, std::uint32_t slot);

/// For the host that owns the volume. False: the disk has no reservations. Error: it has, and this host does
/// not hold the one that there is (a host that is not in the area does).
Result<bool> take_reservation(ReservableDisk& disk, const ReservationPlace& place);
/// Before the volume is given up.
Result<> give_up_reservation(ReservableDisk& disk, const ReservationPlace& place);

}  // namespace understudy::mirror::shared
