#pragma once
// ublk devices as the kernel has them: made, found again, taken over, deleted. They belong to the kernel, not
// to a namespace or a process: each of ours carries a label (ublk::label) by which a later process finds it.
//
// Every function here blocks. Those that say so wait for the device's server: only for run_in_child() and
// tools. The others take milliseconds.

#include "base/result.h"
#include "mirror/export/descriptor.h"
#include "mirror/export/ublk_request.h"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace understudy::mirror::ublk {

struct Place {
    std::string volume;
    std::string device_directory;  // where the node is; without links
};

/// Path of the node: "<device directory>/<volume>".
std::string node(const Place& place);

struct Geometry {
    std::uint16_t queues = 1;
    std::uint16_t depth = 0;        // requests in flight per queue
    std::uint32_t max_request = 0;  // bytes
};

/// What the kernel says of a device.
struct Device {
    int number = 0;
    Geometry geometry;
    pid_t server = 0;
    bool started = false;  // has been usable once; else its maker died while it made it
};

/// Why this kernel cannot do it: no driver, no io_uring, no user recovery (Linux 6.5), no right.
Result<> available();

/// The device with this place's label.
Result<std::optional<Device>> find(const Place& place);
/// Volumes whose node in `device_directory` is a device with their label.
Result<std::vector<std::string>> kept(const std::string& device_directory);

/// A new device, labelled, not started. Its number.
Result<int> add(const Place& place, const Geometry& geometry, const Shape& shape);
Result<Device> inspect(int number);
/// The side that a server talks to. One process at a time has it.
Result<Descriptor> open_server_side(const Place& place, int number);
/// Where the kernel describes the requests of `queue`, read-only; null with errno.
const ublksrv_io_desc* map_descriptions(int server_side, unsigned queue, unsigned depth);
void unmap_descriptions(const ublksrv_io_desc* at, unsigned depth);

/// Starts a device whose server, process `server`, fetches requests; makes the node. Waits for the server.
Result<> start(const Place& place, int number, pid_t server);
/// Waits until the earlier server is gone, at most for `limit`.
Result<> begin_recovery(int number, std::chrono::milliseconds limit);
/// Waits until the new server, process `server`, fetches requests; they come from here on. Makes the node.
Result<> finish_recovery(const Place& place, int number, pid_t server);

/// Deletes device and node. Unforced: what users wrote is brought to the server first, and has_dependents
/// says who has it open after `limit`; then nothing has changed. Forced: users get errors. Waits for the
/// server.
Result<> remove(const Place& place, int number, bool forced, std::chrono::milliseconds limit);

/// The device has `size` bytes from here on, while it is in use. Error: the kernel cannot do that (before
/// Linux 6.16).
Result<> resize(int number, std::uint64_t size);

/// Size in bytes, sector size, whether it is read-only, of a device that was started.
Result<Shape> shape(int number);

}  // namespace understudy::mirror::ublk
