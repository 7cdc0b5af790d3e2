#pragma once
// Snapshots' files on Linux, and quiet moments by the helper understudy-quiesce (quiesce_main.cpp).

#include "config/layout.h"
#include "mirror/control/snapshot_tools.h"
#include "runtime/world.h"

#include <string>

namespace understudy::mirror::control {

class LinuxSnapshotTools : public SnapshotTools {
  public:
    /// `helper`: path of understudy-quiesce.
    LinuxSnapshotTools(runtime::World world, config::Layout layout, std::string helper);

    [[nodiscard]] Result<> check_location(const std::string& directory,
                                          const std::vector<std::string>& devices) const override;
    runtime::Task<Result<>> create(std::string file, std::uint64_t bytes) override;
    runtime::Task<> remove(std::string file) override;
    runtime::Task<Result<std::shared_ptr<Quiet>>> quiesce(std::vector<QuietVolume> volumes) override;

  private:
    runtime::World world_;
    config::Layout layout_;
    std::string helper_;
};

}  // namespace understudy::mirror::control
