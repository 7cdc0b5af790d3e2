#pragma once
// Reservations of a real disk, by the kernel's calls for them (linux/pr.h).

#include "mirror/shared/reservation.h"

namespace understudy::mirror::shared {

/// Errors: it cannot be opened. What is no whole disk (a partition, a logical volume, a file), and a disk of
/// a kind without reservations, answers "unsupported".
Result<std::unique_ptr<ReservableDisk>> open_reservable_disk(const std::string& device);

}  // namespace understudy::mirror::shared
