#pragma once
// What mirrord asks the file system on a volume. The real one is in posix/; tests bring their own.
// Threading: called, and answered, on the control loop's thread.

#include "base/result.h"
#include "mirror/mirror_types.h"
#include "runtime/task.h"

#include <cstdint>
#include <string>
#include <vector>

namespace understudy::mirror::control {

/// Files that lie in some blocks.
struct FileNames {
    std::string type;                // of the file system: "ext4"
    std::vector<std::string> names;  // from its root on; kMostFileNames at most
    std::uint64_t found = 0;         // also those that are not in `names`
    bool complete = true;            // all of the file system was looked at
};

class FileSystems {
  public:
    virtual ~FileSystems() = default;
    struct Place {
        std::string device;    // the volume's own
        std::string exported;  // the device of its export; empty: not offered, nobody can use the volume
    };
    /// Blocks of which the file system uses nothing, at one moment during the call; see
    /// filesystem/free_space.h. Error: the reason why it is not known.
    virtual runtime::Task<Result<BlockRanges>> free_blocks(Place place) = 0;
    virtual runtime::Task<Result<FileNames>> files(Place place, BlockRanges blocks) = 0;
};

inline constexpr std::size_t kMostFileNames = 100;

}  // namespace understudy::mirror::control
