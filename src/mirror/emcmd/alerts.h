#pragma once
// What the cluster's events are told of this host's mirrors: a source's changes of state (150) and split
// brains (160). Spec: EMC-072, CMD-152, CMD-153, REP-225, REP-360.

#include "config/layout.h"
#include "mirror/control/record.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <deque>
#include <map>
#include <string>
#include <vector>

namespace understudy::mirror::emcmd {

/// An event of class "volume".
struct Alert {
    std::string event;   // "mirror_state", "split_brain"
    std::string object;  // "VOLUME,STATE,ADDRESS" of the target, "VOLUME,ADDRESS"; at most kMostObject bytes
    int severity = 1;    // 0: what began with a higher one is over
    std::string mirror;  // what it is about: begins and ends belong together
    friend bool operator==(const Alert&, const Alert&) = default;
};
inline constexpr std::size_t kMostObject = 64;

/// From one record to the next. A target says nothing: the source does.
std::vector<Alert> alerts_of(const control::MirrorRecord& before, const control::MirrorRecord& now);

/// What a volume's net alert bits ask for besides, for scripts that are registered for these events:
/// net_broken, net_resync_done, net_failover, net_failure (the target was lost). The log has all of it
/// without a bit, and so have the traps of the above. Spec: EMC-050.
std::vector<Alert> net_alerts_of(const control::MirrorRecord& before, const control::MirrorRecord& now,
                                 unsigned attributes);

/// Raises them through this host's understudyd, one after the other. Without a cluster, or when it does not
/// answer, they are lost: the journal has them. Threading: the control loop's thread.
class AlertSender {
  public:
    AlertSender(runtime::World world, config::Layout layout) : world_(world), layout_(std::move(layout)) {}
    void send(std::vector<Alert> alerts);

  private:
    runtime::Task<> work();
    runtime::World world_;
    config::Layout layout_;
    std::deque<Alert> waiting_;
    std::map<std::string, std::string> ids_;  // of alarms that are not over, by mirror
    bool working_ = false;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::mirror::emcmd
