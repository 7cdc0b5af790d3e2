#pragma once
// What of the kernel's FUSE protocol (linux/fuse.h) newer kernels have and the headers of Debian 12 lack, and
// the constants of our one-file file system.

#include <linux/fuse.h>

#include <cstdint>

namespace understudy::mirror::fuse {

// Protocol 7.40 (Linux 6.9): requests that a dead server had taken are delivered again.
inline constexpr std::uint64_t kHasResend = std::uint64_t{1} << 39;     // FUSE_HAS_RESEND, in INIT
inline constexpr std::uint64_t kUniqueResend = std::uint64_t{1} << 63;  // FUSE_UNIQUE_RESEND, in `unique`
inline constexpr std::int32_t kNotifyResend = 7;                        // FUSE_NOTIFY_RESEND

inline constexpr std::uint32_t kParallelDirectWrites = 1U << 6;  // FOPEN_PARALLEL_DIRECT_WRITES (7.38)
inline constexpr std::uint32_t kNoFlush = 1U << 5;               // FOPEN_NOFLUSH (7.35)
inline constexpr std::uint32_t kInitExt = 1U << 30;              // FUSE_INIT_EXT (7.36)

inline constexpr std::uint64_t kRootNode = FUSE_ROOT_ID;
inline constexpr std::uint64_t kVolumeNode = 2;
inline constexpr char kVolumeName[] = "volume";

// Node ids and file handles are constants and nothing about a file can change but its content. So the kernel
// may keep attributes for ever, and a server that takes over needs to know nothing about lookups and open
// files.
inline constexpr std::uint64_t kAttributesValidSeconds = 10ULL * 365 * 24 * 3600;

/// Bytes in front of a write's data: the data then begins at an aligned address of the buffer.
inline constexpr std::uint32_t kWriteHeader = sizeof(fuse_in_header) + sizeof(fuse_write_in);
static_assert(kWriteHeader == 80);

}  // namespace understudy::mirror::fuse
