#pragma once
// Disks that lose their content when the machine is stopped (the instance store of Amazon EC2): intent logs
// on them are lost as well, unless something makes the file system anew at each boot. Pure. Spec: MOP-183,
// MOP-185.

#include <span>
#include <string>
#include <string_view>

namespace understudy::mirror::emcmd {

/// Whether a disk of this model on a machine of this vendor is one.
bool is_ephemeral(std::string_view machine_vendor, std::string_view disk_model);

/// `disks`: their names, as in "nvme1n1". Empty: there are none, or /etc/fstab has one made and mounted at
/// each boot (x-systemd.makefs), or the configuration of cloud-init does ("ephemeral0").
std::string ephemeral_problem(std::span<const std::string> disks, std::string_view fstab,
                              std::string_view cloud_config);

}  // namespace understudy::mirror::emcmd
