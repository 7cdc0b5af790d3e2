#pragma once
// Resets this host when the cluster daemon does not move its deadline on: a supervising process beside the
// daemon, which may also keep a watchdog device awake, so that the hardware resets the host when that process
// dies too.
//
//   understudyd --"arm <moment>", "disarm", "end"--> understudy-watchdog --reboot(2), or no more
//   keep-alives-->
//
// A daemon that crashed finds the same process again, and its deadline is still the one that its former life
// set.

#include "base/result.h"
#include "runtime/tasks.h"

#include <string>

namespace understudy::runtime {

class WatchdogClient {
  public:
    /// `socket`: where the process listens. Starts `program` when nobody does.
    WatchdogClient(std::string socket, std::string program, std::string device);
    /// Errors: the program is missing, or does not come up within a second or two.
    Result<> start();
    /// The host is reset in `time` from now unless another deadline comes first.
    void arm(Duration time) const;
    void disarm() const;
    /// The process ends; a device is closed so that it does not fire.
    void end() const;
    /// Whether the process listens.
    [[nodiscard]] bool present() const;

  private:
    void send(const std::string& text) const;
    std::string socket_;
    std::string program_;
    std::string device_;
};

/// What the process runs: returns when it is told to end. Errors: the socket is another's, the device cannot
/// be opened.
Result<> serve_watchdog(const std::string& socket, const std::string& device);

/// Resets the host at once, without any clean-up: what may run must not run on. In a pid namespace of its own
/// (containers, tests) the kernel ends that namespace's init instead. Returns only when it is not permitted.
void reset_host();

}  // namespace understudy::runtime
