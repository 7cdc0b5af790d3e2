#pragma once
// The keeper of the exports' descriptors outlives mirrord, so it is a process and a session of its own.

#include "base/result.h"

#include <string>

namespace understudy::mirror::control {

/// Starts `program` unless a keeper answers at `socket`. Blocking, at most some seconds. Call before the
/// first thread starts. Spec: design of crash and upgrade.
Result<> ensure_keeper(const std::string& socket, const std::string& program);

/// "<directory of this program>/name".
std::string beside_this_program(const std::string& name);

}  // namespace understudy::mirror::control
