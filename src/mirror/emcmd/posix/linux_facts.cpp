#include "mirror/emcmd/posix/linux_facts.h"

#include "base/checksum.h"
#include "base/text.h"
#include "mirror/control/posix/devices.h"
#include "mirror/emcmd/ephemeral.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/fs.h>
#include <netdb.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

namespace understudy::mirror::emcmd {

namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return std::string(text::trim(line));
}

std::string content(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Where it lies in sysfs; empty for a file.
fs::path sysfs_of(const struct stat& status) {
    if (!S_ISBLK(status.st_mode)) return {};
    return fmt::format("/sys/dev/block/{}:{}", major(status.st_rdev), minor(status.st_rdev));
}

/// Whether the file system that holds `path` lies on this device.
bool holds_path(const struct stat& device, const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return false;
    return S_ISBLK(device.st_mode) ? status.st_dev == device.st_rdev : false;
}

std::string guid(std::string_view hex) {
    std::string out(hex);
    for (const std::size_t at : {8UL, 13UL, 18UL, 23UL})
        out.insert(at, "-");
    return out;
}

/// A GUID's bytes as they lie on a disk: its first three groups are little-endian.
std::string guid_on_disk(std::span<const std::byte> bytes) {
    constexpr std::array<std::size_t, 16> kOrder{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    std::array<std::byte, 16> ordered{};
    for (std::size_t i = 0; i < kOrder.size(); ++i)
        ordered[i] = bytes[kOrder[i]];
    return guid(text::hex(ordered));
}

/// By the partition table of the whole disk, which two hosts that share it read alike. Spec: EMC-184.
DiskIdentity identify(const std::string& device, const struct stat& status) {
    DiskIdentity out;
    std::string disk = device;
    const fs::path home = sysfs_of(status);
    std::error_code error;
    if (!home.empty() && fs::exists(home / "partition", error)) {
        const auto sectors = text::to_int(first_line(home / "start"));
        out.offset = sectors ? static_cast<std::uint64_t>(*sectors) * 512 : 0;
        const fs::path parent = fs::canonical(home, error).parent_path();
        if (!error) disk = "/dev/" + parent.filename().string();
    }
    std::array<std::byte, 4096> head{};
    const int fd = open(disk.c_str(), O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? -1 : pread(fd, head.data(), head.size(), 0);
    if (fd >= 0) close(fd);
    const auto bytes = std::span<const std::byte>(head);
    if (got == static_cast<ssize_t>(head.size())) {
        const bool gpt = std::memcmp(head.data() + 512, "EFI PART", 8) == 0;
        if (gpt) {
            out.signature = guid_on_disk(bytes.subspan(512 + 56, 16));
        } else {
            std::array<std::byte, 16> mbr{};
            for (std::size_t i = 0; i < 4; ++i)
                mbr[i] = head[440 + 3 - i];
            out.signature = guid(text::hex(mbr));
        }
    } else {
        out.signature = guid(std::string(32, '0'));
    }
    const std::string wwn =
        home.empty() ? device : first_line(home / "device/wwid") + first_line(home / "wwid");
    const std::string known = wwn.empty() ? disk : wwn;
    out.id = static_cast<std::uint16_t>(crc32c(std::as_bytes(std::span(known))) & 0xFFFF);
    return out;
}

struct Interfaces {
    ifaddrs* list = nullptr;
    Interfaces() {
        if (getifaddrs(&list) != 0) list = nullptr;
    }
    Interfaces(const Interfaces&) = delete;
    Interfaces& operator=(const Interfaces&) = delete;
    ~Interfaces() {
        if (list != nullptr) freeifaddrs(list);
    }
};

std::span<const std::uint8_t> address_bytes(const sockaddr* address) {
    if (address == nullptr) return {};
    if (address->sa_family == AF_INET)
        return {
            reinterpret_cast<const std::uint8_t*>(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr),
            4};
    if (address->sa_family == AF_INET6)
        return {
            reinterpret_cast<const std::uint8_t*>(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr),
            16};
    return {};
}

std::vector<std::uint8_t> parse_address(const std::string& text) {
    std::array<std::uint8_t, 16> out{};
    if (inet_pton(AF_INET, text.c_str(), out.data()) == 1) return {out.begin(), out.begin() + 4};
    if (inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return {out.begin(), out.end()};
    return {};
}

std::string address_text(const sockaddr* address) {
    std::array<char, INET6_ADDRSTRLEN> out{};
    const auto bytes = address_bytes(address);
    return inet_ntop(address->sa_family, bytes.data(), out.data(), out.size()) == nullptr ? std::string()
                                                                                          : out.data();
}

}  // namespace

LinuxFacts::~LinuxFacts() {
    for (const auto& [volume, fd] : held_)
        close(fd);
}

DeviceLook LinuxFacts::look(const std::string& device, const std::string& bitmaps) const {
    DeviceLook out;
    struct stat status {};
    const bool there =
        stat(device.c_str(), &status) == 0 && (S_ISBLK(status.st_mode) || S_ISREG(status.st_mode));
    out.eligibility.opened = there;
    if (!there) return out;
    const int fd = open(device.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        out.eligibility.readable = false;
        return out;
    }
    std::vector<std::byte> start(kProbeBytes);
    const ssize_t got = pread(fd, start.data(), start.size(), 0);
    std::uint64_t size = static_cast<std::uint64_t>(status.st_size);
    if (S_ISBLK(status.st_mode) && ioctl(fd, BLKGETSIZE64, &size) != 0) size = 0;
    close(fd);
    if (got < 0) {
        out.eligibility.readable = false;
        return out;
    }
    start.resize(static_cast<std::size_t>(got));
    out.size = size;
    out.file_system = probe_file_system(start);
    out.disk = identify(device, status);
    Eligibility& found = out.eligibility;
    const std::string& type = out.file_system.type;
    found.raw = type.empty();
    found.fat = type == "vfat" || type == "exfat" || type == "ntfs";
    found.swap = type == "swap" || control::is_swap(status);
    for (const char* path : {"/", "/boot", "/boot/efi", "/usr", "/var"})
        if (holds_path(status, path)) found.system_drive = true;
    found.bitmaps = holds_path(status, bitmaps);
    const fs::path home = sysfs_of(status);
    if (!home.empty()) {
        found.not_fixed = first_line(home / "removable") == "1" || first_line(home / "../removable") == "1";
        found.active = holds_path(status, "/boot/efi");
    }
    return out;
}

Result<std::vector<std::string>> LinuxFacts::resolve(const std::string& name) const {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int error = getaddrinfo(name.c_str(), nullptr, &hints, &found); error != 0)
        return fail(Code::unreachable, "{}", gai_strerror(error));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
    std::vector<std::string> out;
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next)
        if (auto text = address_text(one->ai_addr); !text.empty()) out.push_back(std::move(text));
    if (out.empty()) return fail(Code::unreachable, "it has no address");
    return out;
}

bool LinuxFacts::is_local(const std::string& address) const {
    const auto wanted = parse_address(address);
    if (wanted.empty()) return false;
    const Interfaces interfaces;
    for (const ifaddrs* one = interfaces.list; one != nullptr; one = one->ifa_next)
        if (std::ranges::equal(address_bytes(one->ifa_addr), wanted)) return true;
    return false;
}

std::vector<std::string> LinuxFacts::addresses_beside(const std::string& remote) const {
    const auto wanted = parse_address(remote);
    std::vector<std::string> out;
    const Interfaces interfaces;
    for (const ifaddrs* one = interfaces.list; one != nullptr && !wanted.empty(); one = one->ifa_next) {
        const auto mine = address_bytes(one->ifa_addr);
        const auto mask = address_bytes(one->ifa_netmask);
        if (mine.size() != wanted.size() || mask.size() != wanted.size()) continue;
        bool same = true;
        for (std::size_t i = 0; i < wanted.size(); ++i)
            same = same && (mine[i] & mask[i]) == (wanted[i] & mask[i]);
        if (same) out.push_back(address_text(one->ifa_addr));
    }
    return out;
}

Status LinuxFacts::snapshot_directory(const std::string& directory,
                                      const std::vector<std::string>& devices) const {
    struct stat status {};
    if (stat(directory.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return Status::path_not_found;
    if (access(directory.c_str(), W_OK) != 0) return Status::access_denied;
    for (const std::string& device : devices) {
        struct stat mirrored {};
        if (stat(device.c_str(), &mirrored) == 0 && S_ISBLK(mirrored.st_mode) &&
            mirrored.st_rdev == status.st_dev)
            return Status::invalid_parameter;
    }
    return Status::success;
}

Result<> LinuxFacts::hold(const VolumeId& volume, const std::string& device) {
    if (held_.contains(volume)) return {};
    struct stat status {};
    if (stat(device.c_str(), &status) != 0)
        return fail(Code::not_found, "cannot use {}: {}", device, std::strerror(errno));
    const bool block = S_ISBLK(status.st_mode);
    const auto users = control::open_by(device);
    if (!users.empty()) return fail(Code::failure, "{} is in use by {}", device, users);
    // Exclusive: the kernel refuses mounts and other exclusive users; of a file, mirrord's own and loop
    // devices'.
    const int fd = open(device.c_str(), O_RDWR | O_CLOEXEC | (block ? O_EXCL : 0));
    if (fd < 0) return fail(Code::failure, "{} is in use: {}", device, std::strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return fail(Code::failure, "{} is in use", device);
    }
    held_[volume] = fd;
    return {};
}

void LinuxFacts::release(const VolumeId& volume) {
    const auto at = held_.find(volume);
    if (at == held_.end()) return;
    close(at->second);
    held_.erase(at);
}

std::string LinuxFacts::fstab() const {
    return content(root_ + "/etc/fstab");
}

InstanceStore LinuxFacts::instance_store() const {
    InstanceStore out;
    const std::string vendor = first_line(root_ + "/sys/class/dmi/id/sys_vendor");
    std::error_code error;
    for (fs::directory_iterator at(root_ + "/sys/block", error), end; !error && at != end;
         at.increment(error))
        if (is_ephemeral(vendor, first_line(at->path() / "device/model")))
            out.disks.push_back(at->path().filename().string());
    if (out.disks.empty()) return out;
    std::sort(out.disks.begin(), out.disks.end());
    out.fstab = fstab();
    out.settings = content(root_ + "/etc/understudy/instance-store");
    for (const char* wanted_by : {"understudy-mirror.service.wants", "multi-user.target.wants"})
        for (const char* units : {"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"})
            if (fs::exists(fs::symlink_status(
                    fmt::format("{}{}/{}/understudy-instance-store.service", root_, units, wanted_by),
                    error)))
                out.service_enabled = true;
    out.mounts = content(root_ + "/proc/self/mountinfo");
    out.cloud_config = content(root_ + "/etc/cloud/cloud.cfg");
    for (fs::directory_iterator at(root_ + "/etc/cloud/cloud.cfg.d", error), end; !error && at != end;
         at.increment(error))
        out.cloud_config += content(at->path()) + "\n";
    return out;
}

std::optional<std::uint64_t> LinuxFacts::bytes_left(const std::string& directory) const {
    struct statvfs status {};
    if (statvfs(directory.c_str(), &status) != 0) return std::nullopt;
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

std::int64_t LinuxFacts::now_s() const {
    return std::time(nullptr);
}

}  // namespace understudy::mirror::emcmd
