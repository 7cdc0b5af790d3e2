#pragma once

#include "base/mount_table.h"

#include <algorithm>
#include <fstream>

namespace understudy::kits {

/// Whether something is mounted on the directory.
inline bool is_mount_point(const std::string& directory) {
    std::ifstream table("/proc/self/mountinfo");
    return std::ranges::any_of(read_mounts(table),
                               [&](const Mount& mount) { return mount.directory == directory; });
}

}  // namespace understudy::kits
