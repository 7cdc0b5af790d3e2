#pragma once
// lkstart: brings the daemons of this host up. Spec: CMD-046, CMD-047.

#include "base/result.h"
#include "config/command.h"
#include "config/layout.h"

#include <string>

namespace understudy::cli {

/// Starts what does not run and waits until the engine is ready, at most -w seconds. The text tells what was
/// done.
Result<std::string> start_engine(const config::Layout& layout, const config::Command& command);

}  // namespace understudy::cli
