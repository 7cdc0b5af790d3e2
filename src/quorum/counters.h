#pragma once
// What happened to quorum since this process began, for monitoring. Kept outside of the guard, whose life
// ends with each quarantine. Spec: QUO-132.

#include <array>
#include <cstdint>

namespace understudy::quorum {

struct Counters {
    std::uint64_t losses = 0;                    // how often the loss action began
    std::array<std::uint64_t, 4> verdicts = {};  // of the witness: quorum::Witness is the index
};

}  // namespace understudy::quorum
