#pragma once
// The data path's parameters as the settings file gives them, with the manual's names. Spec: REP-269 to
// REP-297.

#include "base/types.h"
#include "config/settings.h"
#include "mirror/mirror_types.h"

#include <string>
#include <vector>

namespace understudy::mirror::control {

/// Of one volume. Values that do not fit together are made to; `problems` gets a text for each. Spec:
/// REP-103.
MirrorParameters parameters_of(const config::Settings& settings, const VolumeId& volume,
                               std::vector<std::string>& problems);

}  // namespace understudy::mirror::control
