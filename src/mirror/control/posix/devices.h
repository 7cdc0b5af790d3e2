#pragma once
// What Linux knows about a device that is to become an end of a mirror: whether it may, its size, who holds
// it.

#include "mirror/control/volume_host.h"

#include <sys/stat.h>

#include <string>
#include <vector>

namespace understudy::mirror::control {

class LinuxDevices : public Devices {
  public:
    /// `logs`: the directory of the intent logs; empty: not known.
    explicit LinuxDevices(std::string logs = {}) : logs_(std::move(logs)) {}
    /// Refuses, with the reason: what is no file or block device, read-only, smaller than one block of the
    /// intent log, mounted, swap, removable, part of a device-mapper or MD device, or open elsewhere; and
    /// what holds the intent logs. Spec: REP-018, REP-020.
    [[nodiscard]] Result<DeviceFacts> examine(const std::string& device) const override;
    /// A file's inode and birth, a device's world-wide name, serial number or mapping's name.
    [[nodiscard]] std::string media(const std::string& device) const override;

  private:
    std::string logs_;
};

/// "postgres (pid 12), ...": processes that have the file or device open. Empty when nobody visible does.
std::string open_by(const std::string& path);
/// Whether this file or device is in use as swap.
bool is_swap(const struct stat& wanted);
/// Who uses a volume's device: where it is mounted, and other processes that have it open.
std::string used_by(const std::string& device);

}  // namespace understudy::mirror::control
