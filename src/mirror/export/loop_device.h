#pragma once
// Loop devices on the FUSE file, and the mount of that file. Loop devices belong to the kernel, not to a
// namespace or a process: each of ours carries a label (volume and directory of its node), by which a later
// process, or the same host after a crash, finds it again.
//
// Every function here blocks and may wait for the FUSE server: only for run_in_child(), tests and tools.

#include "base/result.h"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace understudy::mirror {

inline constexpr char kLoopControl[] = "/dev/loop-control";

struct LoopPlace {
    std::string volume;
    std::string mount_directory;   // where `volume` is mounted
    std::string device_directory;  // where the node is
};

/// Path of the node: "<device directory>/<volume>".
std::string loop_node(const LoopPlace& place);

/// Attaches a loop device with direct I/O to the mounted file, or finds the one that is attached to it
/// already, and makes the node. Returns the device's number. Loop devices of the same label on another (dead)
/// mount are detached. One that was there keeps its size; see resize_loop().
Result<int> attach_loop(const LoopPlace& place, std::uint32_t sector_size, bool read_only);

/// The mounted file has `size` bytes now: its loop device gets them. Error: within about two seconds the
/// kernel did not take it.
Result<> resize_loop(const LoopPlace& place, std::uint64_t size);

/// Detaches and removes the node. Unforced: has_dependents while something has the device open, with the
/// mount point when it is mounted; then nothing has changed. Forced: the device goes when its last user has
/// closed it.
Result<> detach_loop(const LoopPlace& place, bool forced, std::chrono::milliseconds limit);

/// Numbers of attached loop devices that carry a label of this device directory (and of this volume, when
/// given).
Result<std::vector<int>> labelled_loops(const std::string& device_directory, const std::string& volume = {});

/// Detaches all of labelled_loops(), at once or when their last user closes them. Returns how many.
Result<unsigned> detach_labelled_loops(const std::string& device_directory);

/// The file system mounted exactly at `directory`: its device number, nothing when there is none.
struct MountedAt {
    dev_t device = 0;
    std::string type;
};
std::optional<MountedAt> mounted_at(const std::string& directory);

/// Mounts a fresh connection of `fuse_fd` at `directory`, which is made when missing; a dead FUSE mount there
/// is taken away first.
Result<> mount_fuse(int fuse_fd, const std::string& directory);
/// Takes the mount away, lazily when `forced`.
Result<> unmount_fuse(const std::string& directory, bool forced);

}  // namespace understudy::mirror
