#pragma once
// A block device that several hosts reach: the medium of DISK communication paths. Spec: CLU-053.
//
// Accesses go past every cache of this host and are on the disk when they are answered. A disk that does not
// answer keeps its own access waiting and nothing else: whoever uses it counts the silence. Loop thread only.

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace understudy::runtime {

/// Offsets and sizes of accesses are multiples of this.
inline constexpr std::size_t kSharedDiskBlock = 4096;

class SharedDisk {
  public:
    using ReadHandler = std::function<void(Result<std::string>)>;
    using WriteHandler = std::function<void(Result<>)>;
    /// Handlers of accesses that have not ended do not run any more. A write that is on its way may still
    /// reach the disk.
    virtual ~SharedDisk() = default;
    /// One access at a time: the next one after the handler was called, which happens once and never on the
    /// caller's stack. After an error the device is opened anew by the next access.
    virtual void read(std::uint64_t offset, std::size_t bytes, ReadHandler done) = 0;
    virtual void write(std::uint64_t offset, std::string bytes, WriteHandler done) = 0;
};

class SharedDisks {
  public:
    enum class Use {
        heartbeats,  // beside whatever else uses the device
        setup,  // refuses a device that this host uses for something else (mounted, swap, a volume group)
    };
    virtual ~SharedDisks() = default;
    /// Does not touch the device yet: what is wrong with it comes with the first access.
    [[nodiscard]] virtual std::unique_ptr<SharedDisk> open(const std::string& device, Use use) = 0;
};

}  // namespace understudy::runtime
