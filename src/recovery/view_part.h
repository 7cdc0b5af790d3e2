#pragma once
// What of a cluster's view a plan for one hierarchy needs: that hierarchy here, those of its equivalents on
// their nodes, and what they lead to in turn. With thousands of hierarchies, to plan each over everything
// would keep heartbeats waiting for minutes. Pure.

#include "recovery/plan.h"

#include <functional>

namespace understudy::recovery {

/// Fills in the configurations of the view's nodes as far as they have to do with `tag` of `view.self`.
/// `whole` gives a node's full configuration, nullptr when it is not known (then that node's stays empty).
void fill_part(ClusterView& view, const Tag& tag,
               const std::function<const config::NodeConfig*(const NodeName&)>& whole);

}  // namespace understudy::recovery
