#pragma once
// The real fence: a kernel timer that ends this process with SIGKILL. It needs nothing of the process, so it
// also ends one that is stopped, and it counts the time that the host was suspended. What the process has
// given to the kernel before goes to the device; nothing follows it.
//
// The kernel itself standing still (a paused virtual machine) is not noticed from inside: see docs.

#include "mirror/shared/fence.h"

namespace understudy::mirror::shared {

/// `clock` is the one whose time arm() is given. Error: no timers to be had.
Result<std::unique_ptr<Fence>> make_kernel_fence(const runtime::Clock& clock);

}  // namespace understudy::mirror::shared
