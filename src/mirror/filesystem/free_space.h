#pragma once
// Which blocks of a volume its file system does not use.
//
// What a file system says of its free space is the truth about the device only while it stands still: what
// was deleted a moment ago is free in memory and still in use by the journal on the device, and a crash would
// bring it back. So a mounted file system is frozen while it is asked (its own memory and the device are the
// same then), and one that is not mounted is asked only when it was unmounted cleanly and nobody can write.
//
// A block that is free at that moment is written by the file system before anything reads it: data, or a
// journal's or metadata block in full. Space that is reserved without being written (fallocate) reads as
// zeroes by a mark in the metadata, whatever the device has there. Spec: REP-029, REP-110.

#include "base/result.h"
#include "mirror/filesystem/blocks.h"

#include <chrono>
#include <string>

namespace understudy::mirror::filesystem {

/// Longer than this a file system does not stay frozen. Freezing itself waits for what is being written.
inline constexpr auto kFrozenLimit = std::chrono::seconds(5);

struct FreeSpace {
    BlockRanges free;
    std::string type;
};

/// `device`: the volume's own. `exported`: the device of its export; empty: it is not offered, so nothing can
/// be mounted. `directory`: see mount_privately(). Errors: no file system that is known, offered and not
/// mounted here, not cleanly unmounted, found faulty by the kernel, limit.
Result<FreeSpace> free_space(const std::string& device, const std::string& exported,
                             const std::string& directory);

}  // namespace understudy::mirror::filesystem
