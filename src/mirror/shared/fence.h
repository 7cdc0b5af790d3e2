#pragma once
// What stops this host when it cannot stop itself: a process that stands still (SIGSTOP, a frozen cgroup,
// swapping) between "the volume is mine" and the write must not write when it comes back.

#include "base/result.h"
#include "runtime/tasks.h"

#include <memory>

namespace understudy::mirror::shared {

/// Threading: the control loop's thread.
class Fence {
  public:
    virtual ~Fence() = default;
    /// This process does not live beyond `until` unless the fence is armed anew or disarmed before. Error:
    /// then it is not armed.
    virtual Result<> arm(runtime::TimePoint until) = 0;
    virtual void disarm() = 0;
};

}  // namespace understudy::mirror::shared
