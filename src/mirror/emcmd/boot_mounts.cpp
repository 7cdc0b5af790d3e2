#include "mirror/emcmd/boot_mounts.h"

#include "base/text.h"

#include <algorithm>

namespace understudy::mirror::emcmd {

std::string boot_mount_problem(std::string_view fstab, const std::vector<std::string>& devices) {
    while (!fstab.empty()) {
        const auto end = fstab.find('\n');
        // Device, directory, type, options, dump, number of the pass in which it is checked.
        const auto fields = text::words(fstab.substr(0, end));
        fstab.remove_prefix(end == std::string_view::npos ? fstab.size() : end + 1);
        if (fields.size() < 2 || fields[0].starts_with("#") ||
            std::find(devices.begin(), devices.end(), fields[0]) == devices.end())
            continue;
        const std::string options = "," + (fields.size() > 3 ? fields[3] : std::string()) + ",";
        if (options.find(",noauto,") == std::string::npos)
            return fmt::format("/etc/fstab mounts {} at {} when the host boots: give it the option noauto",
                               fields[0], fields[1]);
        if (fields.size() > 5 && fields[5] != "0")
            return fmt::format("/etc/fstab has {} checked when the host boots: its last field must be 0",
                               fields[0]);
    }
    return {};
}

}  // namespace understudy::mirror::emcmd
