#pragma once
// Which file system a volume carries, from its first bytes. Pure; for what people see and whether a volume
// can be mirrored, never for a decision about data. Spec: EMC-209, EMC-215.

#include <cstddef>
#include <span>
#include <string>

namespace understudy::mirror::emcmd {

/// As much of a volume as has to be looked at.
inline constexpr std::size_t kProbeBytes = 70 * 1024;

struct FileSystem {
    std::string type;  // "ext4", "xfs", ...; empty: none that is known; "swap": no file system
    std::string label;
    friend bool operator==(const FileSystem&, const FileSystem&) = default;
};

FileSystem probe_file_system(std::span<const std::byte> start);

}  // namespace understudy::mirror::emcmd
