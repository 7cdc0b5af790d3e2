#pragma once
// The attributes of a volume on this node, of which some say that it is the cluster's. Spec: EMC-048,
// EMC-052, EMC-299.

#include "base/result.h"
#include "kits/sdk/kit.h"

#include <string>

namespace understudy::kits {

/// Sets all of them, as SETCONFIGURATION does.
Result<> set_attributes(const Instance& instance, const std::string& volume, unsigned mask);

/// Marks a mirrored volume as the cluster's, or not; its other attributes stay. Consoles offer no switchover
/// and no deletion then. A failure is told and changes nothing else. Spec: EMC-052, KIT-085, MOP-078.
void mark_protected(const Instance& instance, const std::string& volume, bool is_protected);

}  // namespace understudy::kits
