#include "mirror/control/posix/devices.h"

#include "base/mount_table.h"
#include "base/text.h"
#include "mirror/control/posix/socket_io.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>

namespace understudy::mirror::control {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLeastBytes = 65536;  // one bit of the intent log. Spec: REP-022
constexpr std::size_t kMostNamed = 8;

std::string first_line(const fs::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::string number_of(dev_t device) {
    return fmt::format("{}:{}", major(device), minor(device));
}

/// Where a block device, or one of its partitions, is mounted.
std::vector<std::string> mounts_of(const std::vector<std::string>& numbers) {
    std::vector<std::string> out;
    std::ifstream table("/proc/self/mountinfo");
    for (const Mount& mount : read_mounts(table))
        if (std::find(numbers.begin(), numbers.end(), mount.device) != numbers.end())
            out.push_back(mount.directory);
    return out;
}

/// The device's number and those of its partitions.
std::vector<std::string> with_partitions(dev_t device) {
    std::vector<std::string> out{number_of(device)};
    std::error_code error;
    const fs::path home = "/sys/dev/block/" + number_of(device);
    for (fs::directory_iterator at(home, error), end; !error && at != end; at.increment(error)) {
        const std::string number = first_line(at->path() / "dev");
        if (!number.empty() && fs::exists(at->path() / "partition", error)) out.push_back(number);
    }
    return out;
}

std::string names_in(const fs::path& directory) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
        names.push_back(at->path().filename().string());
    return text::join(names, ", ");
}

Result<> check_block_device(const std::string& device, const struct stat& status) {
    const auto numbers = with_partitions(status.st_rdev);
    if (const auto mounts = mounts_of(numbers); !mounts.empty())
        return fail(Code::failure, "{} is mounted on {}: unmount it first", device, text::join(mounts, ", "));
    const fs::path home = "/sys/dev/block/" + numbers.front();
    if (const auto holders = names_in(home / "holders"); !holders.empty())
        return fail(Code::failure, "{} is part of {}: mirror that instead", device, holders);
    if (first_line(home / "removable") == "1")
        return fail(Code::bad_argument, "{} is a removable medium", device);
    return {};
}

std::uint32_t file_sector(int fd) {
    constexpr std::uint32_t kSmall = 512, kLarge = 4096;
    if ((fcntl(fd, F_GETFL) & O_DIRECT) == 0) return kSmall;
    alignas(kLarge) std::array<std::byte, kSmall> sector;
    return pread(fd, sector.data(), kSmall, kSmall) < 0 && errno == EINVAL ? kLarge : kSmall;
}

Socket open_device(const std::string& device, bool block) {
    const int flags = O_RDWR | O_CLOEXEC | (block ? O_EXCL : 0);
    Socket made(open(device.c_str(), flags | O_DIRECT));
    if (!made.valid() && errno == EINVAL)
        made = Socket(open(device.c_str(), flags));  // tmpfs before Linux 6.6
    return made;
}

std::string open_by(const std::string& path, pid_t except) {
    struct stat wanted {};
    if (stat(path.c_str(), &wanted) != 0) return {};
    std::vector<std::string> out;
    std::error_code error;
    for (fs::directory_iterator process("/proc", error), end; !error && process != end;
         process.increment(error)) {
        const std::string pid = process->path().filename().string();
        if (const auto number = text::to_int(pid); !number || *number == except) continue;
        std::error_code gone;
        for (fs::directory_iterator fd(process->path() / "fd", gone), last; !gone && fd != last;
             fd.increment(gone)) {
            struct stat status {};
            if (stat(fd->path().c_str(), &status) != 0) continue;
            const bool same = S_ISBLK(wanted.st_mode)
                                  ? S_ISBLK(status.st_mode) && status.st_rdev == wanted.st_rdev
                                  : status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino;
            if (!same) continue;
            out.push_back(fmt::format("{} (pid {})", first_line(process->path() / "comm"), pid));
            break;
        }
        if (out.size() == kMostNamed) break;
    }
    return text::join(out, ", ");
}

/// Of the disk that `home` in sysfs is, or is a partition of, with the partition's beginning.
std::string media_of_block_device(const fs::path& home) {
    std::error_code error;
    const bool partition = fs::exists(home / "partition", error);
    const fs::path disk = partition ? fs::canonical(home, error).parent_path() : home;
    const std::string part = partition ? "+" + first_line(home / "start") : "";
    for (const auto& [kind, file] :
         std::initializer_list<std::pair<const char*, const char*>>{{"mapping", "dm/uuid"},
                                                                    {"array", "md/uuid"},
                                                                    {"wwid", "wwid"},
                                                                    {"wwid", "device/wwid"},
                                                                    {"serial", "serial"},
                                                                    {"serial", "device/serial"}})
        if (const std::string value(text::trim(first_line(disk / file))); !value.empty())
            return fmt::format("{}:{}{}", kind, value, part);
    return {};
}

}  // namespace

std::string LinuxDevices::media(const std::string& device) const {
    struct statx status {};
    if (statx(AT_FDCWD, device.c_str(), 0, STATX_TYPE | STATX_INO | STATX_BTIME, &status) != 0) return {};
    if (S_ISBLK(status.stx_mode))
        return media_of_block_device(
            fmt::format("/sys/dev/block/{}:{}", status.stx_rdev_major, status.stx_rdev_minor));
    if (!S_ISREG(status.stx_mode)) return {};
    const bool born = (status.stx_mask & STATX_BTIME) != 0;
    return fmt::format("file:{}.{}", status.stx_ino,
                       born ? fmt::format("{}.{}", status.stx_btime.tv_sec, status.stx_btime.tv_nsec) : "");
}

std::string open_by(const std::string& path) {
    return open_by(path, 0);
}

bool is_swap(const struct stat& wanted) {
    std::ifstream table("/proc/swaps");
    std::string line;
    std::getline(table, line);
    while (std::getline(table, line)) {
        const auto fields = text::words(line);
        struct stat status {};
        if (fields.empty() || stat(fields[0].c_str(), &status) != 0) continue;
        if (S_ISBLK(wanted.st_mode) ? S_ISBLK(status.st_mode) && status.st_rdev == wanted.st_rdev
                                    : status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino)
            return true;
    }
    return false;
}

std::string used_by(const std::string& device) {
    struct stat status {};
    if (stat(device.c_str(), &status) != 0 || !S_ISBLK(status.st_mode)) return {};
    std::vector<std::string> out;
    for (const auto& directory : mounts_of({number_of(status.st_rdev)}))
        out.push_back(fmt::format("the mount {}", directory));
    if (auto processes = open_by(device, getpid()); !processes.empty()) out.push_back(std::move(processes));
    return text::join(out, ", ");
}

Result<DeviceFacts> LinuxDevices::examine(const std::string& device) const {
    if (!device.starts_with('/')) return fail(Code::bad_argument, "\"{}\" is no absolute path", device);
    struct stat status {};
    if (stat(device.c_str(), &status) != 0)
        return fail(errno == ENOENT ? Code::not_found : Code::failure, "cannot use {}: {}", device,
                    system_text(errno));
    const bool block = S_ISBLK(status.st_mode);
    if (!block && !S_ISREG(status.st_mode))
        return fail(Code::bad_argument, "{} is neither a block device nor a file", device);
    if (is_swap(status)) return fail(Code::failure, "{} is used as swap", device);  // Spec: REP-018, REP-030
    struct stat logs {};
    if (block && !logs_.empty() && stat(logs_.c_str(), &logs) == 0 && logs.st_dev == status.st_rdev)
        return fail(Code::failure,
                    "{} holds the intent logs in {}: set BitmapBaseDir to a directory elsewhere (event 40)",
                    device, logs_);
    if (block) UNDERSTUDY_CHECK(check_block_device(device, status));

    const Socket opened = open_device(device, block);
    if (!opened.valid()) {
        if (errno == EBUSY) {
            const auto holders = open_by(device);
            return fail(Code::failure, "{} is in use{}{}", device, holders.empty() ? "" : " by ", holders);
        }
        return fail(Code::failure, "{} cannot be written to: {}", device, system_text(errno));
    }
    DeviceFacts facts;
    if (block) {
        int read_only = 0;
        int logical = 0;
        if (ioctl(opened.fd(), BLKROGET, &read_only) == 0 && read_only != 0)
            return fail(Code::failure, "{} is read-only", device);
        if (ioctl(opened.fd(), BLKGETSIZE64, &facts.size) != 0 ||
            ioctl(opened.fd(), BLKSSZGET, &logical) != 0)
            return fail(Code::failure, "cannot get the size of {}: {}", device, system_text(errno));
        facts.sector_size = static_cast<std::uint32_t>(logical);
    } else {
        if (flock(opened.fd(), LOCK_EX | LOCK_NB) != 0) {
            const auto holders = open_by(device);
            return fail(Code::failure, "{} is in use{}{}", device, holders.empty() ? "" : " by ", holders);
        }
        facts.size = static_cast<std::uint64_t>(status.st_size);
        facts.sector_size = file_sector(opened.fd());
    }
    facts.size -= facts.size % facts.sector_size;
    if (facts.size < kLeastBytes)
        return fail(Code::bad_argument, "{} has {} bytes; a mirrored volume has at least {}", device,
                    facts.size, kLeastBytes);
    return facts;
}

}  // namespace understudy::mirror::control
