#include "mirror/emcmd/ephemeral.h"

#include "base/text.h"

#include <algorithm>
#include <functional>
#include <vector>

namespace understudy::mirror::emcmd {

namespace {

/// Of lines that are no comments.
bool any_line(std::string_view text, const std::function<bool(std::string_view line)>& matches) {
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = text::trim(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (!line.starts_with('#') && matches(line)) return true;
    }
    return false;
}

bool has(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

}  // namespace

bool is_ephemeral(std::string_view machine_vendor, std::string_view disk_model) {
    return has(machine_vendor, "Amazon EC2") && has(disk_model, "Instance Storage");
}

std::string ephemeral_problem(std::span<const std::string> disks, std::string_view fstab,
                              std::string_view cloud_config) {
    if (disks.empty()) return {};
    const bool in_table = any_line(fstab, [&](std::string_view line) {
        const auto fields = text::words(line);
        if (fields.size() < 4 || !has("," + fields[3] + ",", ",x-systemd.makefs,")) return false;
        return has(fields[0], "Instance_Storage") ||
               std::any_of(disks.begin(), disks.end(),
                           [&](const std::string& disk) { return fields[0] == "/dev/" + disk; });
    });
    const bool in_cloud =
        any_line(cloud_config, [](std::string_view line) { return has(line, "ephemeral0"); });
    if (in_table || in_cloud) return {};
    return fmt::format(
        "the instance store {} loses its content when this machine is stopped, and nothing makes its file "
        "system anew at boot: give its line in /etc/fstab the option x-systemd.makefs",
        text::join(std::vector<std::string>(disks.begin(), disks.end()), ", "));
}

}  // namespace understudy::mirror::emcmd
