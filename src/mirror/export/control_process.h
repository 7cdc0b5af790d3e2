#pragma once
// Runs a system call that may wait for our own FUSE server in a child process.
//
// Opening the FUSE file, configuring or detaching the loop device on it and unmounting make the kernel ask
// the very process that called. On the reactor's thread that is a deadlock; on another thread of this process
// a kill in that moment leaves the thread waiting for ever with the process's descriptors open. A child holds
// none of them, and when the process dies the child is killed or gets its answer from the next server.

#include "base/result.h"
#include "mirror/io/reactor.h"

#include <chrono>
#include <cstdint>
#include <functional>

namespace understudy::mirror {

/// Forks and runs `work` in the child, which has no descriptors but 0, 1 and 2 and must not touch the
/// reactor. `done` is called on the reactor's thread with its result, or with an error when it took longer
/// than `limit` or died. `work` closes what it opened before it returns.
void run_in_child(Reactor& reactor, std::chrono::milliseconds limit,
                  std::function<Result<std::int64_t>()> work, std::function<void(Result<std::int64_t>)> done);

}  // namespace understudy::mirror
