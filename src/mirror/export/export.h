#pragma once
// How a volume is offered to the host: as a block device (ublk, or a FUSE file with a loop device on it) or
// as an NBD server.
//
//   file system -> /dev/ublkbN -> Export -> BlockBackend (a mirrored volume, a raw file)
//   file system -> /dev/loopN -> FUSE file -> Export -> BlockBackend
//   virtual machine, nbdcopy -> NBD socket -> Export -> BlockBackend
//
// An export can outlive the backend and even the process: while it is suspended, or between the death of one
// mirrord and the start of the next, requests wait and no error reaches the file system.
// Threading: everything on the reactor's thread, callbacks too.

#include "base/result.h"
#include "base/types.h"
#include "mirror/block.h"
#include "mirror/io/reactor.h"
#include "runtime/posix/tls_server.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::mirror {

struct ExportStatistics {
    std::uint64_t reads = 0, read_bytes = 0;
    std::uint64_t writes = 0, write_bytes = 0;
    std::uint64_t flushes = 0, discards = 0;  // discards: write_zeroes included
    std::uint64_t errors = 0;                 // requests answered with an error
    std::uint64_t resent = 0;                 // requests that an earlier process had taken and not answered
    std::uint32_t waiting = 0;                // held while suspended
    std::uint32_t in_backend = 0;

    /// Counts an answered request.
    void count(const BlockRequest& request) {
        if (request.result < 0) {
            ++errors;
            return;
        }
        switch (request.op) {
            case BlockOp::read:
                ++reads;
                read_bytes += request.length;
                return;
            case BlockOp::write:
                ++writes;
                write_bytes += request.length;
                return;
            case BlockOp::flush:
                ++flushes;
                return;
            case BlockOp::discard:
            case BlockOp::write_zeroes:
                ++discards;
                return;
        }
    }
};

enum class StopMode : std::uint8_t {
    orderly,  // refused with an error that names the user while the device is in use
    forced,   // users get I/O errors
};

class Export {
  public:
    /// Only after the callback of stop() or release(), or when the reactor will not run again.
    virtual ~Export() = default;

    /// "<device directory>/<volume>", or the path of the NBD socket.
    [[nodiscard]] virtual std::string device_path() const = 0;
    /// True when this export was taken over from an earlier process.
    [[nodiscard]] virtual bool resumed() const = 0;
    [[nodiscard]] virtual ExportStatistics statistics() const = 0;

    /// Requests go to `backend` from now on; what waited goes first. The backend outlives the export or the
    /// next serve(). A device whose backend has another size than it is resized as by resize(). Error:
    /// bad_argument when the sector size is not the one the device has.
    virtual Result<> serve(BlockBackend& backend) = 0;
    /// Requests wait until serve() or resume(), at most for `limit`: then they and all that follow are
    /// answered with -EIO until then. What the backend already has goes on. Needed around a role change.
    virtual void suspend(std::chrono::milliseconds limit) = 0;
    virtual void resume() = 0;
    /// Requests, waiting ones included, are answered with `error` (negative) until serve() or resume().
    virtual void refuse(int error) = 0;
    /// The backend has `size` bytes from here on, and the device gets them while it is in use. The backend
    /// should have no request meanwhile. Error: the device's users go on with the former size, and what
    /// they can do; nothing else is wrong. Spec: REP-305.
    virtual void resize(std::uint64_t size, std::function<void(Result<>)> done) = 0;
    /// Calls `done` once the backend holds no request of this export; use after suspend() or refuse().
    virtual void when_quiet(std::function<void()> done) = 0;

    /// Takes the device away and lets the keeper forget it. When it fails nothing has changed.
    virtual void stop(StopMode mode, std::function<void(Result<>)> done) = 0;
    /// Stops serving and leaves device and keeper as they are, for the process that follows (an upgrade).
    /// Requests in the backend are answered first.
    virtual void release(std::function<void()> done) = 0;
};

using ExportReady = std::function<void(Result<std::unique_ptr<Export>>)>;

struct FuseLoopOptions {
    VolumeId volume;
    std::string mount_directory;   // "/run/understudy/volumes/data": made when missing, used for nothing else
    std::string device_directory;  // "/dev/understudy": gets a device node named like the volume
    std::string keeper_socket;     // empty: no keeper, the device dies with the process
    bool read_only = false;
    std::uint32_t slots = 64;             // requests in flight
    std::uint32_t max_request = 1 << 17;  // bytes; slots * max_request of memory are locked
    /// A taken-over export, or one made without a backend, starts suspended for this long.
    std::chrono::milliseconds wait_for_backend{60'000};
    /// Called when the device has ended without stop(): somebody unmounted or aborted the FUSE connection.
    std::function<void()> lost;
};

/// Why this host has no FUSE or no loop devices. Quick.
Result<> fuse_loop_available();

/// Makes the device, or takes it over when the keeper holds it: same device, same number, what was in flight
/// is done again. `backend` may be null only for a device that the keeper holds; requests then wait for
/// serve(). `ready` is called within about half a minute. Needs root. Errors: no /dev/fuse, no loop device,
/// not allowed, nothing kept and no backend (not_found).
void make_fuse_loop_export(Reactor& reactor, BlockBackend* backend, FuseLoopOptions options,
                           ExportReady ready);

/// What a running keeper holds. Blocking, for milliseconds, at most two seconds.
Result<std::vector<VolumeId>> kept_exports(const std::string& keeper_socket);

/// Detaches loop devices and mounts that a dead host's export left behind under these directories. Blocking,
/// at most ten seconds; not needed before make_fuse_loop_export(), which does the same. Returns how many
/// went.
Result<unsigned> clean_up_exports(const std::string& device_directory);

struct UblkOptions {
    VolumeId volume;
    std::string device_directory;  // "/dev/understudy": gets a device node named like the volume
    bool read_only = false;
    std::uint32_t queues = 1;             // of the kernel's; this thread serves all of them
    std::uint32_t slots = 64;             // requests in flight per queue
    std::uint32_t max_request = 1 << 17;  // bytes; queues * slots * max_request of memory are locked
    /// A taken-over export, or one made without a backend, starts suspended for this long.
    std::chrono::milliseconds wait_for_backend{60'000};
    /// Called when the device has ended without stop(): somebody deleted it.
    std::function<void()> lost;
};

/// Why this kernel has no usable ublk driver (Linux 6.5, module ublk_drv). Blocking, for milliseconds.
Result<> ublk_available();

/// Makes the device, or takes it over from an earlier process: same device, same number, what was in flight
/// is done again. The kernel keeps it; no keeper is needed. `backend` may be null only for a device that is
/// there; requests then wait for serve(). `ready` is called within about half a minute. Needs root. Errors:
/// those of ublk_available(), exists (another process serves it), nothing kept and no backend (not_found).
void make_ublk_export(Reactor& reactor, BlockBackend* backend, UblkOptions options, ExportReady ready);

/// Volumes whose node in `device_directory` is a ublk device that a process left or serves. Blocking, for
/// milliseconds.
Result<std::vector<VolumeId>> kept_ublk_exports(const std::string& device_directory);

/// The server's side of a TLS connection, made for one client. Error: there are no credentials.
using NbdTls = std::function<Result<std::unique_ptr<runtime::TlsPipe>>()>;

/// Where an NBD server is reached besides, from other hosts.
struct NbdTcpOptions {
    std::string address;  // numeric, IPv4 or IPv6; need not be this host's yet
    std::uint16_t port = 10809;
    bool plain = false;  // clients without TLS are served as well: whoever reaches the port has the volume
    NbdTls begin_tls;    // called on the reactor's thread
    std::uint32_t max_connections = 16;
    /// Clients that were refused, and whether nobody can connect; on the reactor's thread.
    std::function<void(std::string)> report;
};

struct NbdOptions {
    VolumeId volume;          // the export's name; the empty name means it too
    std::string socket_path;  // unix socket, made with mode 0600; a stale one is replaced
    bool read_only = false;
    std::uint32_t max_connections = 16;
    std::uint32_t slots_per_connection = 32;
    std::uint32_t max_request = 1 << 20;  // bytes, payload of one command; memory is taken per connection
    std::optional<NbdTcpOptions> tcp;  // what goes wrong with it is reported; the socket serves all the same
};

void make_nbd_export(Reactor& reactor, BlockBackend& backend, NbdOptions options, ExportReady ready);

/// Locks the process's memory and marks it as one that file systems wait for, so that memory pressure cannot
/// make the host wait for itself (loop -> FUSE -> mirrord -> reclaim -> loop). Call once, early in main(). An
/// error is worth a warning, not a refusal: it needs CAP_SYS_RESOURCE and CAP_IPC_LOCK.
Result<> protect_from_memory_pressure();

}  // namespace understudy::mirror
