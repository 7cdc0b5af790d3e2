#pragma once
// Creating a volume resource, extending it to another node, deleting it. Spec: KIT-059 to KIT-072, KIT-085.

#include "base/result.h"
#include "kits/sdk/kit.h"

namespace understudy::kits {

/// The volume is mirrored from or to this node already, or the words say what its first mirror is made of; a
/// shared one: see shared.h. Its file system is left alone. Spec: KIT-067
Result<> create_volume(const Instance& instance);
/// Whether this node has a mirror of the volume, or is told how it gets one, and room for its mount.
Result<> can_extend_volume(const Instance& instance);
/// Makes this node a target of the volume, unless it is one. Spec: KIT-068, KIT-070.
Result<> extend_volume(const Instance& instance);
/// What create or extend did here is undone: a mirror that was there before stays. Spec: KIT-021.
Result<> take_back_volume(const Instance& instance);

/// Whether delete_mirror=yes can be obeyed: the source stays, as the volume is used through it.
Result<> can_unextend_volume(const Instance& instance);
/// With delete_mirror=yes this node is a target no more. Spec: KIT-072, KIT-085.
Result<> unextend_volume(const Instance& instance);
/// Whether delete_mirror=yes can be obeyed: not while the volume is in use.
Result<> can_delete_volume(const Instance& instance);
/// Ends this node's mirrors when the information here has delete_mirror=yes. Spec: KIT-072, KIT-085.
Result<> delete_volume(const Instance& instance);

}  // namespace understudy::kits
