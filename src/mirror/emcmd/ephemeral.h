#pragma once
// Disks that lose their content when the machine is stopped (the instance store of Amazon EC2): intent logs
// on them are lost as well, unless something makes the file system anew at each boot. Pure. Spec: REP-072,
// MOP-183, MOP-185.

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::emcmd {

/// Whether a disk of this model on a machine of this vendor is one.
bool is_ephemeral(std::string_view machine_vendor, std::string_view disk_model);

/// What a machine says about its instance store.
struct InstanceStore {
    std::vector<std::string> disks{};  // names, as in "nvme1n1"
    std::string fstab{};
    std::string cloud_config{};  // of cloud-init, all files one after the other
    std::string settings{};      // of understudy-instance-store.service: lines "DEVICE DIRECTORY"
    bool service_enabled = false;
    std::string mounts{};  // /proc/self/mountinfo
};

/// What is wrong with it; empty: nothing, or there is none. Something must make and mount its file system at
/// each boot: a line of /etc/fstab (x-systemd.makefs), understudy-instance-store.service, or cloud-init
/// ("ephemeral0"); and where the intent logs are kept on it (`logs`: BitmapBaseDir, may be empty), that must
/// be where it is mounted, and it must be there.
std::string ephemeral_problem(const InstanceStore& store, std::string_view logs);

}  // namespace understudy::mirror::emcmd
