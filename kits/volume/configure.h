#pragma once
// Creating a volume resource, extending it to another node, deleting it. Spec: KIT-059 to KIT-072, KIT-085.

#include "base/result.h"
#include "kits/sdk/kit.h"

namespace understudy::kits {

/// The volume must be mirrored from or to this node already; its file system is left alone.
Result<> create_volume(const Instance& instance);
/// Whether this node has a mirror of the volume, or is told how it gets one, and room for its mount.
Result<> can_extend_volume(const Instance& instance);
/// Makes this node a target of the volume, unless it is one. Spec: KIT-068, KIT-070.
Result<> extend_volume(const Instance& instance);
/// With delete_mirror=yes this node is a target no more; the only one stays. Spec: KIT-072.
Result<> unextend_volume(const Instance& instance);
/// Ends the mirror when the information has delete_mirror=yes and this node is its source. Spec: KIT-072.
Result<> delete_volume(const Instance& instance);

}  // namespace understudy::kits
