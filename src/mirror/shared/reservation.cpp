#include "mirror/shared/reservation.h"

#include <vector>

namespace understudy::mirror::shared {

using Outcome = ReservableDisk::Outcome;
using Holder = ReservableDisk::Holder;

namespace {

constexpr unsigned kSlotShift = 26, kAreaShift = 32;
constexpr std::uint64_t kGenerations = 1ULL << kSlotShift;
/// The holder may change while it is looked for: it was preempted, or has gone.
constexpr int kMostAttempts = 4;
/// Of a disk that cannot be asked who holds it: so many generations back it is tried with each host.
constexpr std::uint64_t kGenerationsTried = 64;

bool of_area(std::uint64_t key, std::uint64_t area) {
    return key >> kAreaShift == (area & 0xffffffffU);
}

enum class Age : std::uint8_t { older, ours, newer, strange };
Age age_of(std::uint64_t key, const ReservationPlace& place) {
    for (std::uint32_t slot = 0; slot < place.hosts; ++slot)
        if (key == old_reservation_key(place.area, slot)) return Age::older;
    if (!of_area(key, place.area)) return Age::strange;
    if (key == reservation_key(place)) return Age::ours;
    // Round once in many years.
    const std::uint64_t behind = (place.generation - key) % kGenerations;
    return behind != 0 && behind < kGenerations / 2 ? Age::older : Age::newer;
}

/// Whose the reservation of a disk that does not tell may be: owners of before.
std::vector<std::uint64_t> guesses(const ReservationPlace& place) {
    std::vector<std::uint64_t> out;
    ReservationPlace other = place;
    for (std::uint64_t back = 1; back <= kGenerationsTried && back < place.generation; ++back) {
        other.generation = place.generation - back;
        for (other.slot = 0; other.slot < place.hosts; ++other.slot)
            if (other.slot != place.slot) out.push_back(reservation_key(other));
    }
    for (std::uint32_t slot = 0; slot < place.hosts; ++slot)
        if (slot != place.slot) out.push_back(old_reservation_key(place.area, slot));
    return out;
}

tl::unexpected<Error> newer_owner() {
    return fail(Code::failure, "a newer owner of the volume has reserved the disk");
}

/// From whoever has it, as long as that is an owner of before.
Result<Outcome> take_from_holder(ReservableDisk& disk, const ReservationPlace& place) {
    const std::uint64_t key = reservation_key(place);
    UNDERSTUDY_TRY(Outcome reserved, disk.reserve(key));
    for (int attempt = 0; attempt < kMostAttempts && reserved == Outcome::conflict; ++attempt) {
        UNDERSTUDY_TRY(const Holder holder, disk.holder());
        std::vector<std::uint64_t> victims;
        if (!holder.known) {
            victims = guesses(place);
        } else if (holder.key) {
            switch (age_of(*holder.key, place)) {
                case Age::newer:
                    return newer_owner();
                case Age::strange:
                    return fail(Code::failure,
                                "the disk is reserved by a host that does not share the volume");
                case Age::older:
                case Age::ours:  // by another of this host's ways to the disk
                    victims.push_back(*holder.key);
            }
        }
        for (const std::uint64_t victim : victims) {
            UNDERSTUDY_TRY(const Outcome preempted, disk.preempt(key, victim));
            if (preempted == Outcome::done) break;
        }
        UNDERSTUDY_TRY(reserved, disk.reserve(key));
        if (!holder.known) break;
    }
    return reserved;
}

}  // namespace

std::uint64_t reservation_key(const ReservationPlace& place) {
    return place.area << kAreaShift | std::uint64_t{place.slot + 1} << kSlotShift |
           place.generation % kGenerations;
}

std::uint64_t old_reservation_key(std::uint64_t area, std::uint32_t slot) {
    return area << 8U | (slot + 1);
}

Result<bool> take_reservation(ReservableDisk& disk, const ReservationPlace& place) {
    const std::uint64_t key = reservation_key(place);
    // Of a host's own earlier key the new one takes the place: a process that comes back late must not put it
    // back.
    UNDERSTUDY_TRY(const Holder before, disk.holder());
    if (before.known && before.key && age_of(*before.key, place) == Age::newer) return newer_owner();
    UNDERSTUDY_TRY(Outcome registered, disk.register_key(key));
    // A disk that was reset or preempted says so once, in the place of an answer.
    if (registered == Outcome::unsupported) {
        UNDERSTUDY_TRY(registered, disk.register_key(key));
    }
    if (registered == Outcome::unsupported) return false;
    if (registered == Outcome::conflict)
        return fail(Code::failure, "the disk does not let this host register for its reservation");
    auto reserved = take_from_holder(disk, place);
    if (reserved && *reserved == Outcome::done) return true;
    if (const auto gone = disk.unregister(key); !gone && reserved) return fail(gone.error());
    if (!reserved) return fail(reserved.error());
    return fail(Code::failure, "the disk is reserved by a host that does not share the volume");
}

Result<> give_up_reservation(ReservableDisk& disk, const ReservationPlace& place) {
    const std::uint64_t key = reservation_key(place);
    UNDERSTUDY_TRY(const Outcome released, disk.release(key));
    if (released == Outcome::unsupported) return {};
    UNDERSTUDY_CHECK(disk.unregister(key));
    return {};
}

}  // namespace understudy::mirror::shared
