#pragma once
// Everything outside the program, as one bundle of interfaces: the daemons get the posix world, the
// simulator's nodes get simulated ones with virtual time, a lossy network and disks that crash.

#include "runtime/files.h"
#include "runtime/network.h"
#include "runtime/processes.h"
#include "runtime/tasks.h"

#include <cstdint>
#include <span>

namespace understudy::runtime {

class Random {
  public:
    virtual ~Random() = default;
    virtual std::uint64_t next() = 0;
    /// Cryptographically strong in the posix world (tokens, keys), reproducible in the simulated one.
    virtual void fill(std::span<std::byte> out) = 0;
};

/// Borrowed interfaces; the owner of the real objects outlives every user.
struct World {
    Clock& clock;
    Tasks& tasks;
    Network& network;
    Processes& processes;
    Files& files;
    Random& random;
};

}  // namespace understudy::runtime
