#pragma once
// Devices of shared, mirrored volumes on a real host.

#include "mirror/shared/shared_volumes.h"

#include <map>
#include <memory>

namespace understudy::mirror::shared {

class LinuxDeviceAccess final : public DeviceAccess {
  public:
    LinuxDeviceAccess();
    LinuxDeviceAccess(const LinuxDeviceAccess&) = delete;
    LinuxDeviceAccess& operator=(const LinuxDeviceAccess&) = delete;
    ~LinuxDeviceAccess() override;
    /// The write itself has a thread of its own, which is left to a disk that does not answer.
    Result<> write_now(const std::string& device, std::uint64_t offset, std::string_view bytes,
                       runtime::Duration limit) override;
    Result<> wait_until_free(const std::string& device) override;

  private:
    struct Lane;
    std::map<std::string, std::shared_ptr<Lane>> lanes_;  // by device
};

}  // namespace understudy::mirror::shared
