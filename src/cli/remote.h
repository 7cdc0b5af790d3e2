#pragma once
// lcdremexec and lcdrcp, the caller's side. Spec: CMD-031 to CMD-033, CMD-041 to CMD-043.

#include "base/result.h"
#include "config/command.h"
#include "config/layout.h"

namespace understudy::cli {

/// A file with more than this is not copied: what goes over the paths must not delay what else does.
inline constexpr std::size_t kMaxCopiedBytes = 8UL << 20;

/// Whether lcdremexec's target is this host and the caller is root: then no message is sent, and no daemon is
/// needed.
bool runs_here(const config::Layout& layout, const config::Command& command);
/// Runs the command in $LKROOT with this process's own standard output and error; its exit code.
Result<int> run_here(const config::Layout& layout, const config::Command& command);

/// Reads the files and hands one after the other to the daemon; the first failure ends it.
Result<config::Reply> copy_files(const config::Layout& layout, const config::Command& command);

}  // namespace understudy::cli
