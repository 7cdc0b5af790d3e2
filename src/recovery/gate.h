#pragma once
// Checks between the loss of a peer and the takeover of its resources: quorum, witness, safety check, in this
// order (Spec: CLU-183 to CLU-185). The engine asks them one after the other; the first that refuses ends the
// episode. None is registered by default.

#include "base/types.h"
#include "runtime/task.h"

#include <set>
#include <string>

namespace understudy::recovery {

/// What quorum says about starting anything on this node, besides takeovers. Without one everything may be
/// started and every silent peer is dead.
class StartGuard {
  public:
    virtual ~StartGuard() = default;
    /// LCM_AVAIL, COMM_UP and before a takeover: judges anew whether this node may start things and which of
    /// the `silent` peers are down. Takes its time, within a limit of its own. Spec: QUO-064, QUO-069.
    virtual runtime::Task<> judge(std::string event, std::set<NodeName> silent) = 0;
    /// Why nothing may be started at this moment; empty: it may. Asked before every step. Spec: QUO-044.
    virtual std::string refusal() = 0;
    [[nodiscard]] virtual bool proven_dead(const NodeName& peer) const = 0;
    /// Whether the return of a peer starts what is in service nowhere. Spec: QUO-069, QUO-133.
    virtual bool starts_at_comm_up() = 0;
    /// A person has started something although refusal() was not empty. Spec: QUO-044.
    virtual void forced(const std::string& who) = 0;
};

class TakeoverGate {
  public:
    struct Verdict {
        bool proceed = true;
        std::string why;  // for a person
    };
    virtual ~TakeoverGate() = default;
    [[nodiscard]] virtual std::string name() const = 0;
    /// Whether the loss of `peer` may lead to a takeover. May take its time, within a limit of its own; the
    /// engine drops the episode when the peer comes back meanwhile.
    virtual runtime::Task<Verdict> check(NodeName peer) = 0;
};

}  // namespace understudy::recovery
