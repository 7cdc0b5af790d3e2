#pragma once
// Devices of shared, mirrored volumes on a real host.

#include "mirror/shared/shared_volumes.h"

namespace understudy::mirror::shared {

class LinuxDeviceAccess final : public DeviceAccess {
  public:
    Result<> write_now(const std::string& device, std::uint64_t offset, std::string_view bytes) override;
    Result<> wait_until_free(const std::string& device) override;
};

}  // namespace understudy::mirror::shared
