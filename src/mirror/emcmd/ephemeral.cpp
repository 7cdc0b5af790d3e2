#include "mirror/emcmd/ephemeral.h"

#include "base/text.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace understudy::mirror::emcmd {

namespace {

/// The words of the first line that is no comment and for which `matches`.
std::optional<std::vector<std::string>> find_line(
    std::string_view text, const std::function<bool(const std::vector<std::string>& words)>& matches) {
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = text::trim(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (line.starts_with('#')) continue;
        auto words = text::words(line);
        if (!words.empty() && matches(words)) return words;
    }
    return std::nullopt;
}

bool has(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

bool names_one(const InstanceStore& store, const std::string& device) {
    return has(device, "Instance_Storage") ||
           std::any_of(store.disks.begin(), store.disks.end(),
                       [&](const std::string& disk) { return device == "/dev/" + disk; });
}

bool lies_in(std::string_view path, std::string_view directory) {
    while (directory.size() > 1 && directory.ends_with('/'))
        directory.remove_suffix(1);
    return path == directory || (path.starts_with(directory) && path.substr(directory.size(), 1) == "/");
}

/// Field 5 of a line of mountinfo is where something is mounted.
bool mounted_at(const InstanceStore& store, std::string_view directory) {
    constexpr std::size_t kWhere = 4;
    return find_line(store.mounts,
                     [&](const auto& words) { return words.size() > kWhere && words[kWhere] == directory; })
        .has_value();
}

/// Whether a file system other than the root holds `path`.
bool on_a_disk_of_its_own(const InstanceStore& store, std::string_view path) {
    constexpr std::size_t kWhere = 4;
    return find_line(store.mounts,
                     [&](const auto& words) {
                         return words.size() > kWhere && words[kWhere] != "/" && lies_in(path, words[kWhere]);
                     })
        .has_value();
}

/// Where its file system is mounted once it is made; "": cloud-init does, which keeps that to itself.
struct AtBoot {
    std::string directory;
    std::string problem;
};
std::optional<AtBoot> made_at_boot(const InstanceStore& store) {
    const auto in_table = find_line(store.fstab, [&](const auto& words) {
        return words.size() >= 4 && has("," + words[3] + ",", ",x-systemd.makefs,") &&
               names_one(store, words[0]);
    });
    if (in_table) return AtBoot{(*in_table)[1], {}};
    const auto by_service = find_line(
        store.settings, [&](const auto& words) { return words.size() == 2 && names_one(store, words[0]); });
    if (by_service)
        return AtBoot{
            (*by_service)[1],
            store.service_enabled
                ? ""
                : "/etc/understudy/instance-store names the instance store, and nothing makes its file "
                  "system at boot: systemctl enable understudy-instance-store"};
    const auto in_cloud = find_line(store.cloud_config, [](const auto& words) {
        return std::any_of(words.begin(), words.end(),
                           [](const std::string& word) { return has(word, "ephemeral0"); });
    });
    if (in_cloud) return AtBoot{};
    return std::nullopt;
}

}  // namespace

bool is_ephemeral(std::string_view machine_vendor, std::string_view disk_model) {
    return has(machine_vendor, "Amazon EC2") && has(disk_model, "Instance Storage");
}

std::string ephemeral_problem(const InstanceStore& store, std::string_view logs) {
    if (store.disks.empty()) return {};
    const auto boot = made_at_boot(store);
    if (!boot)
        return fmt::format(
            "the instance store {} loses its content when this machine is stopped, and nothing makes its "
            "file "
            "system anew at boot: give its line in /etc/fstab the option x-systemd.makefs, or name it in "
            "/etc/understudy/instance-store and enable understudy-instance-store.service",
            text::join(store.disks, ", "));
    if (!boot->problem.empty()) return boot->problem;
    if (logs.empty() || boot->directory.empty()) return {};
    if (lies_in(logs, boot->directory))
        return mounted_at(store, boot->directory)
                   ? std::string()
                   : fmt::format(
                         "the instance store is not mounted on {}, where BitmapBaseDir={} has the intent "
                         "logs",
                         boot->directory, logs);
    if (on_a_disk_of_its_own(store, logs)) return {};
    return fmt::format("BitmapBaseDir={} is not on the instance store, which is mounted on {}", logs,
                       boot->directory);
}

}  // namespace understudy::mirror::emcmd
