#include "mirror/shared/reservation.h"

namespace understudy::mirror::shared {

using Outcome = ReservableDisk::Outcome;

std::uint64_t reservation_key(std::uint64_t area, std::uint32_t slot) {
    return (area << 8U) | (slot + 1);
}

Result<bool> take_reservation(ReservableDisk& disk, const ReservationPlace& place) {
    const std::uint64_t key = reservation_key(place.area, place.slot);
    UNDERSTUDY_TRY(Outcome registered, disk.register_key(key));
    // A disk that was reset or preempted says so once, in the place of an answer.
    if (registered == Outcome::unsupported) {
        UNDERSTUDY_TRY(registered, disk.register_key(key));
    }
    if (registered == Outcome::unsupported) return false;
    if (registered == Outcome::conflict)
        return fail(Code::failure, "the disk does not let this host register for its reservation");
    UNDERSTUDY_TRY(Outcome reserved, disk.reserve(key));
    // Whoever of the others has it is not the owner any more: the lock area says so.
    for (std::uint32_t slot = 0; slot < place.hosts && reserved == Outcome::conflict; ++slot) {
        if (slot == place.slot) continue;
        UNDERSTUDY_TRY(const Outcome preempted, disk.preempt(key, reservation_key(place.area, slot)));
        if (preempted == Outcome::done) {
            UNDERSTUDY_TRY(reserved, disk.reserve(key));
        }
    }
    if (reserved != Outcome::done)
        return fail(Code::failure, "the disk is reserved by a host that does not share the volume");
    return true;
}

Result<> give_up_reservation(ReservableDisk& disk, const ReservationPlace& place) {
    UNDERSTUDY_TRY(const Outcome released, disk.release(reservation_key(place.area, place.slot)));
    if (released == Outcome::unsupported) return {};
    UNDERSTUDY_CHECK(disk.register_key(0));
    return {};
}

}  // namespace understudy::mirror::shared
