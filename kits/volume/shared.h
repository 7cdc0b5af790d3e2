#pragma once
// Volume resources on shared storage: one host owns the volume, the others cannot open it. It may be mirrored
// to a host elsewhere besides; the owner then has its end of the mirror. Spec: KIT-058, KIT-060, KIT-061,
// KIT-067 to KIT-069, CLU-227.
//
// info: volume_type=shared (mixed on a host with the mirror and a disk of its own) mount=DIR [fs=TYPE]
// [options=LIST]; create and extend also take device=PATH and area=PATH for a host that does not know yet
// where the volume lies.

#include "base/result.h"
#include "kits/sdk/cluster.h"
#include "kits/sdk/kit.h"

namespace understudy::kits {

[[nodiscard]] bool is_shared(const Words& words);
[[nodiscard]] bool is_shared(const Instance& instance);
/// Whether this host has the mirror of a volume that others share.
[[nodiscard]] bool is_mixed(const Words& words);
[[nodiscard]] bool is_mixed(const Instance& instance);

/// The volume is shared on this host already, or device and area say where it lies; then it becomes so. Its
/// state as one that the cluster protects is set.
Result<> create_shared(const Instance& instance, const Words& words, const std::string& volume);
/// Whether this host sees the same lock area as `known`, or has the mirror of that disk on one that is
/// shared, too; and is named in it. Only looks.
Result<> can_extend_shared(const Instance& instance, const Words& words, const NodeName& known,
                           const std::string& volume);
/// A host that has the mirror of the shared volume while nobody uses it lets another one have it.
Result<> leave_shared(const Instance& instance);
/// The volume stays shared, and locked here, until somebody says otherwise. Spec: MOP-164.
Result<> release_shared(const Instance& instance);

/// Makes this host the owner, and the mirror's source if there is one; the device is there then. Spec:
/// KIT-060, KIT-074.
Result<> take_shared(const Instance& instance);
/// Gives it up. Of a mirrored one only the device: who owns it goes on mirroring until another host is told
/// to take it. Spec: KIT-075.
Result<> give_up_shared(const Instance& instance);

/// For the source of a volume whose disk at the other end of the mirror is shared: one of the hosts there
/// becomes the owner of it, so that it follows. What goes wrong is told; the volume is in service all the
/// same.
void let_sharing_hosts_follow(const Instance& instance);

}  // namespace understudy::kits
