#pragma once
// The local device under a volume: opened exclusively, its holders named when it is in use.

#include "base/result.h"
#include "mirror/io/raw_backend.h"

#include <chrono>
#include <memory>
#include <string>

namespace understudy::mirror {

struct LocalDevice {
    std::unique_ptr<RawBackend> backend;
    bool punches = false;  // discards give space back and read as zeroes
};

/// Spec: REP-026, REP-092.
Result<LocalDevice> open_device(Reactor& reactor, const std::string& path,
                                std::chrono::milliseconds busy_wait);

/// The first `size` bytes of a device. Spec: REP-021: a target may be larger than its source.
class DeviceSlice final : public BlockBackend {
  public:
    DeviceSlice(BlockBackend& device, std::uint64_t size) : device_(device), size_(size) {}
    [[nodiscard]] std::uint64_t size() const override { return size_; }
    [[nodiscard]] std::uint32_t sector_size() const override { return device_.sector_size(); }
    void submit(BlockRequest& request) override { device_.submit(request); }

  private:
    BlockBackend& device_;
    std::uint64_t size_;
};

/// Who holds a file or block device: "postgres (pid 812), mounted on /data". Empty when nobody is found.
std::string holders_of(const std::string& path);

}  // namespace understudy::mirror
