#pragma once
// Starting one child process. Private to runtime/posix.

#include "base/result.h"
#include "runtime/posix/descriptor.h"
#include "runtime/processes.h"

namespace understudy::runtime {

struct SpawnedProcess {
    int pid = 0;
    Descriptor exit;    // pidfd: readable when the process has ended
    Descriptor output;  // non-blocking read end of its stdout and, unless they are separate, its stderr
    Descriptor errors;  // of its stderr, with ProcessSpec::separate_errors
};

/// Starts `spec` as the leader of its own session and process group, with default signal handling, /dev/null
/// as stdin and no other descriptor of ours. Errors say what is missing.
Result<SpawnedProcess> spawn(const ProcessSpec& spec);

}  // namespace understudy::runtime
