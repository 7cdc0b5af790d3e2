#pragma once
// What net_create does with the device of a DISK path before the path is defined. Spec: CLU-053.

#include "base/result.h"
#include "base/types.h"
#include "runtime/shared_disk.h"
#include "runtime/task.h"

#include <string>

namespace understudy::comm {

inline constexpr auto kDiskSetupLimit = std::chrono::seconds(20);

/// Makes sure that `device` may carry a path between the two nodes: it carries one already, or it is blank
/// and gets its header. Code::bad_argument, and nothing written, when it holds anything else, is too small,
/// no block device, or used by this host; Code::failure when it cannot be read or does not answer.
runtime::Task<Result<>> prepare_disk(runtime::SharedDisks& disks, runtime::Clock& clock,
                                     runtime::Tasks& tasks, std::string device, NodeName self, NodeName peer);

}  // namespace understudy::comm
