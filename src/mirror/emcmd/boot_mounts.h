#pragma once
// What /etc/fstab does to a mirrored volume at boot: nothing, or it is wrong. A volume is mounted by the
// cluster on the node where it is in service; a target cannot be mounted, and the lower device must not be
// checked or mounted behind the mirror's back. Pure. Spec: REP-339.

#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::emcmd {

/// `devices`: the names of one volume's devices. Empty: nothing is wrong.
std::string boot_mount_problem(std::string_view fstab, const std::vector<std::string>& devices);

}  // namespace understudy::mirror::emcmd
