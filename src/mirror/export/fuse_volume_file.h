#pragma once
// What our file system of one file looks like to the kernel: attributes, names, and what INIT agrees on.
// Pure.

#include "mirror/export/fuse_protocol.h"
#include "mirror/export/fuse_session.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace understudy::mirror::fuse {

struct InitAnswer {
    fuse_init_out out{};
    FuseNegotiated negotiated;
};
/// Answers INIT's argument as the kernel sent it; nothing when it is of another protocol.
std::optional<InitAnswer> negotiate(std::span<const std::byte> argument, std::uint32_t max_request);

fuse_attr attributes(const FuseVolume& volume, std::uint64_t node);
/// `name` as it came, with its terminating zero. Nothing when there is no such name.
std::optional<fuse_entry_out> look_up(const FuseVolume& volume, std::uint64_t parent, std::string_view name);
fuse_statfs_out file_system_size(const FuseVolume& volume);
/// Directory entries from number `first` on, as many as fit; returns their bytes.
std::size_t list_directory(std::uint64_t first, std::span<std::byte> output);

}  // namespace understudy::mirror::fuse
