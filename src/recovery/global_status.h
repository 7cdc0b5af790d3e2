#pragma once
// How a resource does in the whole cluster, in one word. Pure. Spec: CLU-123.

#include "recovery/plan.h"

namespace understudy::recovery {

enum class GlobalStatus {
    normal,   // in service on one node, every backup ready
    warning,  // in service, but a backup has failed, is not known, or it runs unprotected (ISU)
    failed,   // in service nowhere
    unknown,  // in service on several nodes, or nobody can tell
};
std::string_view to_string(GlobalStatus status);  // "Normal" ...

/// Of `tag` on `owner`, with its equivalents. Errors do not exist: what is not known counts as unknown.
GlobalStatus global_status(const ClusterView& view, const NodeName& owner, const Tag& tag);

}  // namespace understudy::recovery
