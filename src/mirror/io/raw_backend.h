#pragma once
// A BlockBackend straight on a file or a block device: no replication, no log. The reference of benchmarks
// and the backend of the exports' tests. Threading: the reactor's thread.

#include "base/result.h"
#include "mirror/block.h"
#include "mirror/io/reactor.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace understudy::mirror {

struct RawBackendOptions {
    std::string path;  // an existing file or block device
    bool read_only = false;
    bool direct = true;  // O_DIRECT where the file system has it
    /// How long open() waits for an earlier holder to let go. A process that was killed keeps the file locked
    /// until its last write has left the kernel, so whoever gets the lock sees no late writes of its
    /// predecessor.
    std::chrono::milliseconds busy_wait{0};
};

class RawBackend : public BlockBackend {
  public:
    /// Opens exclusively (O_EXCL for devices, flock for files). Errors: not_found, failure (in use, no
    /// access, neither file nor block device, empty).
    static Result<std::unique_ptr<RawBackend>> open(Reactor& reactor, RawBackendOptions options);
    /// The size that file or device has now; size() gives it from here on. A device that has grown or shrunk
    /// is used as it is. Error: it cannot be asked any more.
    virtual Result<std::uint64_t> measure() = 0;
    /// True while no request is in the kernel or queued. Destroying a backend that is not idle is a defect.
    [[nodiscard]] virtual bool idle() const = 0;
};

}  // namespace understudy::mirror
