#pragma once
// The file system on a volume, opened for questions. Two ways:
//
//   mounted     where the volume's device is mounted in this mount namespace
//   privately   from the volume's own device by a read-only loop device and a mount that has no place in any
//               tree; nothing is written, nobody else is kept from using the volume, and it ends with the
//               process
//
// The kernel's own drivers read the file system, so what they say is what they go by when they use it. They
// refuse a private mount when a journal would have to be replayed, unless told to ignore it. Only ext2 to
// ext4 and XFS are looked at. Every function here blocks; for helpers, not for mirrord.

#include "base/result.h"
#include "mirror/export/descriptor.h"

#include <cstdint>
#include <string>

namespace understudy::mirror::filesystem {

enum class Kind { none, ext, xfs };

/// What a device's first bytes say.
struct Label {
    Kind kind = Kind::none;
    /// Of ext: the kernel has found errors; a journal waits to be replayed; without a journal, it was not
    /// unmounted.
    bool errors = false, needs_recovery = false, unclean = false;
};
Result<Label> read_label(const std::string& device);

struct OpenFileSystem {
    Descriptor root;   // a directory of it; of a private mount its root
    std::string type;  // "ext4", "xfs"
    bool mounted = false;
    bool recovered = true;     // false: mounted without replaying its journal
    std::uint32_t device = 0;  // as the kernel encodes it in GETFSMAP
};

/// Code::not_found: not mounted here. Errors: mounted, and not a file system that is known; no block device,
/// as the NBD socket of a virtual machine's disk.
Result<OpenFileSystem> open_mounted(const std::string& device);

/// `directory`: where a device node may be made for a moment, on a file system that allows them (/run does
/// not); made when missing. `even_unclean`: the journal is ignored, and what is seen may be older than what
/// the file system is. Errors: no known file system, it must be recovered first, no loop device.
Result<OpenFileSystem> mount_privately(const std::string& device, const std::string& directory,
                                       bool even_unclean);

}  // namespace understudy::mirror::filesystem
