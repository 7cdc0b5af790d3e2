#pragma once
// lkstart and lkstop: the daemons of this host, from outside. Spec: CMD-046, CMD-047, CMD-051.

#include "base/result.h"
#include "config/command.h"
#include "config/layout.h"

#include <string>

namespace understudy::cli {

/// Starts what does not run and waits until the engine is ready, at most -w seconds. The text tells what was
/// done.
Result<std::string> start_engine(const config::Layout& layout, const config::Command& command);

/// Waits until the daemon with this pid has ended; lkstop returns only then. Spec: CLU-019.
Result<> wait_for_end(int pid);

}  // namespace understudy::cli
