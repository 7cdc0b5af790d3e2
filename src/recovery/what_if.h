#pragma once
// The cluster as it would be: what `understudy plan` and the console plan for. Pure.

#include "recovery/plan.h"

namespace understudy::recovery {

/// Planned on `node` instead: it is alive then, whatever it is now.
ClusterView seen_from(ClusterView view, const NodeName& node);

/// `node` has died, and everybody knows.
ClusterView if_lost(ClusterView view, const NodeName& node);

/// `self` has booted: nothing runs on it, its states are open, and the mark of its stop is gone. Spec:
/// CLU-119, CLU-219.
ClusterView if_starting(ClusterView view);

/// Every step of `plan` has succeeded.
ClusterView after(ClusterView view, const Plan& plan);

}  // namespace understudy::recovery
