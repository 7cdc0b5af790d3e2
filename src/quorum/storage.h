#pragma once
// The shared storage of storage quorum, as an interface: a directory or S3 in the daemon (a child process
// does the I/O), a model in the simulator. Loop thread only.

#include "quorum/storage_monitor.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace understudy::quorum {

class Storage {
  public:
    struct Request {
        StorageConfiguration configuration;
        std::string own;  // bytes to write as the own object; empty: only read
    };
    using Done = std::function<void(CycleOutcome)>;
    virtual ~Storage() = default;
    /// One cycle: writes the own object, then reads all. Calls `done` once, however late; the caller has a
    /// limit of its own and starts no further cycle before that, so that writes never overtake each other.
    virtual void cycle(const Request& request, Done done) = 0;
};

/// Resets this host when the cluster daemon does not move its deadline on in time. Spec: README ruling 11.
class Watchdog {
  public:
    virtual ~Watchdog() = default;
    /// The host is reset in `time` from now unless this is called again, or disarm().
    virtual void arm(runtime::Duration time) = 0;
    virtual void disarm() = 0;
    /// Resets it now. Returns when there is nothing that could.
    virtual void reset(const std::string& why) = 0;
    /// Whether it can reset this host: with none, nothing enforces the grace.
    [[nodiscard]] virtual bool present() const = 0;
};

}  // namespace understudy::quorum
