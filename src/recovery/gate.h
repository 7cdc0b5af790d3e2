#pragma once
// Checks between the loss of a peer and the takeover of its resources: quorum, witness, safety check, in this
// order (Spec: CLU-183 to CLU-185). The engine asks them one after the other; the first that refuses ends the
// episode. None is registered by default.

#include "base/types.h"
#include "runtime/task.h"

#include <string>

namespace understudy::recovery {

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
