#pragma once
// Keeps a daemon responsive when the host runs out of memory or processor time.

#include "base/result.h"

#include <chrono>

namespace understudy::runtime {

/// Locks the process's memory as it gets used, protects it from the out-of-memory killer and raises the
/// calling thread's priority (call it on the loop's thread, before it starts others). Child processes get
/// none of this: priority and memory locks are not inherited, and Processes resets the OOM protection.
/// Every measure is tried; the error names those that failed and why, and the process may go on without.
/// Spec: CLU-029, DEP-033.
Result<> lock_memory_and_raise_priority();

/// Puts the calling thread, and no other, before everything that is not real-time (SCHED_RR, the lowest
/// priority of that class), for the thread that sends heartbeats. A thread that computes for longer than
/// kRealTimeLimit without a pause has a defect: it loses the class then and says so on standard error, so
/// that it cannot starve what it protects. Error: not permitted (containers, limits); the thread goes on as
/// it was. Spec: CLU-029.
Result<> raise_to_real_time();
inline constexpr std::chrono::milliseconds kRealTimeLimit{500};

}  // namespace understudy::runtime
