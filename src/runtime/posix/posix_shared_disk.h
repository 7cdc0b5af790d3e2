#pragma once
// Shared disks of a real host: O_DIRECT accesses on a thread of its own for each, so that a disk that hangs
// (a lost SAN, a stuck multipath) stops neither the loop nor other disks.

#include "runtime/shared_disk.h"
#include "runtime/tasks.h"

namespace understudy::runtime {

class PosixSharedDisks final : public SharedDisks {
  public:
    /// `any_file`: regular files too, for tests of what is on the disk.
    explicit PosixSharedDisks(Tasks& tasks, bool any_file = false) : tasks_(tasks), any_file_(any_file) {}
    [[nodiscard]] std::unique_ptr<SharedDisk> open(const std::string& device, Use use) override;

  private:
    Tasks& tasks_;
    bool any_file_;
};

}  // namespace understudy::runtime
