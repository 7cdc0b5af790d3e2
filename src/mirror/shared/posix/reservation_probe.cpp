// Takes and gives up reservations of real disks, for the tests in virtual machines.

#include "base/text.h"
#include "mirror/shared/posix/scsi_reservation.h"

#include <cstdio>
#include <string>

int main(int argc, char** argv) {
    using namespace understudy::mirror::shared;
    const std::string verb = argc > 1 ? argv[1] : "";
    const auto slot = argc == 5 ? understudy::text::to_int(argv[3]) : std::nullopt;
    const auto generation = argc == 5 ? understudy::text::to_int(argv[4]) : std::nullopt;
    if ((verb != "take" && verb != "give") || !slot || !generation) {
        std::fprintf(stderr, "usage: reservation_probe take|give DEVICE SLOT GENERATION\n");
        return 2;
    }
    const ReservationPlace place{77, static_cast<std::uint32_t>(*slot), 3,
                                 static_cast<std::uint64_t>(*generation)};
    const auto disk = open_reservable_disk(argv[2]);
    if (!disk) {
        std::fprintf(stderr, "%s\n", disk.error().text.c_str());
        return 1;
    }
    if (verb == "give") {
        const auto given = give_up_reservation(**disk, place);
        std::puts(given ? "given up" : given.error().text.c_str());
        return given ? 0 : 1;
    }
    const auto taken = take_reservation(**disk, place);
    if (!taken) {
        std::fprintf(stderr, "%s\n", taken.error().text.c_str());
        return 1;
    }
    std::puts(*taken ? "taken" : "unsupported");
    return 0;
}
