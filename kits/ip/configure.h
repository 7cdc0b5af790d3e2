#pragma once
// Creating an IP resource, extending it to another node, changing its settings. Spec: KIT-093 to KIT-101,
// KIT-111 to KIT-113, CMD-145.

#include "base/result.h"
#include "kits/ip/settings.h"
#include "kits/sdk/kit.h"

namespace understudy::kits {

/// create -t TAG [address=A] [prefix=N|mask=M] [device=IF] [local_recovery=yes|no] [backup=IF]
/// [restore_mode=enable|disable], as arguments or as the information of the instance. What is not given is
/// taken from the interface that fits the address best.
Result<> create_ip(const Instance& instance);
/// Whether this node can have the address.
Result<> can_extend_ip(const Instance& instance);
Result<> extend_ip(const Instance& instance);

Result<> set_info(const Instance& instance, const IpSettings& settings);

}  // namespace understudy::kits
