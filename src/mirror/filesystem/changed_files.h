#pragma once
// Which files of a file system lie in some blocks of its volume.

#include "base/result.h"
#include "mirror/filesystem/blocks.h"
#include "mirror/filesystem/open_file_system.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace understudy::mirror::filesystem {

struct ChangedFiles {
    std::string type;                // of the file system
    std::vector<std::string> names;  // from its root on, in the order they were met; directories end in '/'
    std::uint64_t found = 0;         // also those beyond the number that was asked for
    std::uint64_t looked_at = 0;
    bool complete = true;  // false: the time was over before all was looked at
};

/// Walks the file system and asks where each file is. Files that are gone, and the file system's own
/// structures, have no name. Never follows links or other mounts. Bounded by `limit` and, in what it keeps,
/// by `most`.
ChangedFiles changed_files(const OpenFileSystem& fs, const BlockRanges& blocks,
                           std::chrono::milliseconds limit, std::size_t most);

}  // namespace understudy::mirror::filesystem
