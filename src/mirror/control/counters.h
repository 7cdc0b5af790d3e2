#pragma once
// A source's counters with their public names: what monitoring reads. Spec: REP-248 to REP-268.

#include "mirror/volume.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace understudy::mirror::control {

struct Counter {
    std::string_view name;     // of a metric
    std::string_view meaning;  // one sentence, with the unit
    double value = 0;
};

/// In the order of the manual; of a source only, empty for any other role. Pure.
std::vector<Counter> counters_of(const VolumeStatus& volume, const MirrorParameters& parameters);

}  // namespace understudy::mirror::control
