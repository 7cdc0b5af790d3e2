#pragma once
// The replicated part of a device.

#include "mirror/block.h"

namespace understudy::mirror {

/// The first `size` bytes of a device. Spec: REP-021: a target may be larger than its source.
class DeviceSlice final : public BlockBackend {
  public:
    DeviceSlice(BlockBackend& device, std::uint64_t size) : device_(device), size_(size) {}
    [[nodiscard]] std::uint64_t size() const override { return size_; }
    [[nodiscard]] std::uint32_t sector_size() const override { return device_.sector_size(); }
    [[nodiscard]] bool punches() const override { return device_.punches(); }
    [[nodiscard]] std::uint64_t failed_flushes() const override { return device_.failed_flushes(); }
    [[nodiscard]] BlockExtent extent_at(std::uint64_t offset, std::uint64_t length) const override {
        return device_.extent_at(offset, length);
    }
    void submit(BlockRequest& request) override { device_.submit(request); }

  private:
    BlockBackend& device_;
    std::uint64_t size_;
};

}  // namespace understudy::mirror
