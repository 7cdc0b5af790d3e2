#pragma once
// Keeps a daemon responsive when the host runs out of memory or processor time.

#include "base/result.h"

namespace understudy::runtime {

/// Locks the process's memory as it gets used, protects it from the out-of-memory killer and raises the
/// calling thread's priority (call it on the loop's thread, before it starts others). Child processes get
/// none of this: priority and memory locks are not inherited, and Processes resets the OOM protection.
/// Every measure is tried; the error names those that failed and why, and the process may go on without.
/// Spec: CLU-029, DEP-033.
Result<> lock_memory_and_raise_priority();

}  // namespace understudy::runtime
