#pragma once
// File systems on Linux, asked by the helper understudy-fsmap (mirror/filesystem).

#include "mirror/control/file_systems.h"
#include "runtime/world.h"

#include <string>

namespace understudy::mirror::control {

class LinuxFileSystems : public FileSystems {
  public:
    /// `helper`: path of understudy-fsmap. `directory`: where a device node may be made for a moment.
    LinuxFileSystems(runtime::World world, std::string helper, std::string directory);

    runtime::Task<Result<BlockRanges>> free_blocks(Place place) override;
    runtime::Task<Result<FileNames>> files(Place place, BlockRanges blocks) override;

  private:
    runtime::World world_;
    std::string helper_, directory_;
};

}  // namespace understudy::mirror::control
