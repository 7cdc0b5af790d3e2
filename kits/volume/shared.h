#pragma once
// Volume resources on shared storage without replication: one host owns the volume, the others cannot open
// it. Spec: KIT-058, KIT-060, KIT-061, KIT-067 to KIT-069, CLU-227.
//
// info: volume_type=shared mount=DIR [fs=TYPE] [options=LIST]; create and extend also take device=PATH and
// area=PATH for a host that does not know yet where the volume lies.

#include "base/result.h"
#include "kits/sdk/cluster.h"
#include "kits/sdk/kit.h"

namespace understudy::kits {

[[nodiscard]] bool is_shared(const Words& words);
[[nodiscard]] bool is_shared(const Instance& instance);

/// The volume is shared on this host already, or device and area say where it lies; then it becomes so. Its
/// state as one that the cluster protects is set.
Result<> create_shared(const Instance& instance, const Words& words, const std::string& volume);
/// Whether this host sees the same lock area as `known`, and is named in it. Only looks.
Result<> can_extend_shared(const Instance& instance, const Words& words, const NodeName& known,
                           const std::string& volume);
/// The volume stays shared, and locked here, until somebody says otherwise. Spec: MOP-164.
Result<> release_shared(const Instance& instance);

/// Makes this host the owner; the device is there then. Spec: KIT-060, KIT-074.
Result<> take_shared(const Instance& instance);
/// Gives it up. Spec: KIT-075.
Result<> give_up_shared(const Instance& instance);

}  // namespace understudy::kits
