#pragma once
// What the service needs to know of the host it runs on, as an interface; the real one is in posix/.

#include "mirror/emcmd/ephemeral.h"
#include "mirror/emcmd/file_system.h"
#include "mirror/emcmd/report.h"
#include "mirror/emcmd/status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace understudy::mirror::emcmd {

struct DeviceLook {
    Eligibility eligibility;
    FileSystem file_system;
    DiskIdentity disk;
    std::optional<std::uint64_t> size;  // bytes
};

/// Threading: functions marked so may be called on any thread, and block; the others on the control loop.
class HostFacts {
  public:
    virtual ~HostFacts() = default;
    /// Looks at a device or file; `bitmaps` is the directory of the intent logs. Any thread.
    [[nodiscard]] virtual DeviceLook look(const std::string& device, const std::string& bitmaps) const = 0;
    /// Numeric addresses of a name. Any thread.
    [[nodiscard]] virtual Result<std::vector<std::string>> resolve(const std::string& name) const = 0;
    [[nodiscard]] virtual bool is_local(const std::string& address) const = 0;
    /// This host's addresses in the same network as `remote`. Spec: EMC-147.
    [[nodiscard]] virtual std::vector<std::string> addresses_beside(const std::string& remote) const = 0;
    /// Whether snapshots may be put in a directory; `devices` are those of mirrored volumes. Spec: EMC-123,
    /// EMC-124.
    [[nodiscard]] virtual Status snapshot_directory(const std::string& directory,
                                                    const std::vector<std::string>& devices) const = 0;
    /// Holds a device so that nobody else can open or mount it, until release(). Error: in use, by whom.
    virtual Result<> hold(const VolumeId& volume, const std::string& device) = 0;
    virtual void release(const VolumeId& volume) = 0;
    [[nodiscard]] virtual bool holds(const VolumeId& volume) const = 0;
    /// The table of what is mounted at boot.
    [[nodiscard]] virtual std::string fstab() const = 0;
    /// Disks that lose their content when the machine is stopped, and what makes them usable at boot.
    [[nodiscard]] virtual InstanceStore instance_store() const = 0;
    /// Room on the file system of a directory, bytes; nullopt: it is not there.
    [[nodiscard]] virtual std::optional<std::uint64_t> bytes_left(const std::string& directory) const = 0;
    [[nodiscard]] virtual std::int64_t now_s() const = 0;  // seconds since 1970
};

}  // namespace understudy::mirror::emcmd
