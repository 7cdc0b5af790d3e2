#include "mirror/export/loop_device.h"

#include "base/mount_table.h"
#include "base/text.h"
#include "mirror/export/descriptor.h"
#include "mirror/export/fuse_protocol.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

namespace understudy::mirror {
namespace {

constexpr unsigned kLoopMajor = 7;
constexpr int kConfigureAttempts = 64;  // another process may take the free device first
constexpr auto kDetachPoll = std::chrono::milliseconds(5);
constexpr auto kResizeLimit = std::chrono::seconds(2);

std::string system_error_text() {
    return std::strerror(errno);
}

/// A label is "us:<directory>:<volume>", 64 bytes at most; the directory is named by its inode, so that hosts
/// which see different directories under one name, in mount namespaces, do not take each other's devices.
Result<std::string> label_prefix(const std::string& device_directory) {
    struct stat status {};
    if (stat(device_directory.c_str(), &status) != 0)
        return fail(Code::not_found, "no directory for device nodes at {}: {}", device_directory,
                    system_error_text());
    return fmt::format("us:{:x}.{:x}:", status.st_dev, status.st_ino);
}

Result<std::string> label_of(const std::string& device_directory, const std::string& volume) {
    UNDERSTUDY_TRY(std::string prefix, label_prefix(device_directory));
    std::string label = prefix + volume;
    if (label.size() >= LO_NAME_SIZE)
        return fail(Code::bad_argument, "the volume's name {} is too long for a loop device", volume);
    return label;
}

/// Opens loop device `number` without relying on /dev, through a node that is gone before this returns.
Descriptor open_loop(const std::string& device_directory, int number, int flags) {
    const std::string node = fmt::format("{}/.loop{}.{}", device_directory, number, getpid());
    unlink(node.c_str());
    if (mknod(node.c_str(), S_IFBLK | 0600, makedev(kLoopMajor, static_cast<unsigned>(number))) != 0)
        return Descriptor();
    Descriptor device(open(node.c_str(), flags | O_CLOEXEC));
    const int error = errno;
    unlink(node.c_str());
    errno = error;
    return device;
}

std::optional<loop_info64> loop_status(int fd) {
    loop_info64 info{};
    if (ioctl(fd, LOOP_GET_STATUS64, &info) != 0) return std::nullopt;
    info.lo_file_name[LO_NAME_SIZE - 1] = 0;
    return info;
}

std::string_view label_in(const loop_info64& info) {
    return reinterpret_cast<const char*>(info.lo_file_name);
}

/// Attached loop devices whose backing file is named like ours; others are not even opened, an open device
/// would keep its owner from detaching it.
std::vector<int> candidates() {
    std::vector<int> numbers;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/block", error)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with("loop")) continue;
        const auto number = text::to_int(std::string_view(name).substr(4));
        std::ifstream file(entry.path() / "loop/backing_file");
        std::string backing;
        if (!number || !file || !std::getline(file, backing)) continue;
        if (backing.find(std::string("/") + fuse::kVolumeName) != std::string::npos)
            numbers.push_back(static_cast<int>(*number));
    }
    return numbers;
}

Result<> make_node(const std::string& path, int number) {
    const std::string fresh = fmt::format("{}.{}", path, getpid());
    unlink(fresh.c_str());
    if (mknod(fresh.c_str(), S_IFBLK | 0660, makedev(kLoopMajor, static_cast<unsigned>(number))) != 0)
        return fail(Code::failure, "cannot make the device node {}: {}", path, system_error_text());
    if (rename(fresh.c_str(), path.c_str()) != 0) {
        const std::string why = system_error_text();
        unlink(fresh.c_str());
        return fail(Code::failure, "cannot make the device node {}: {}", path, why);
    }
    return {};
}

/// The mount point of loop device `number`, for the error that says who uses it.
std::string mount_point_of(int number) {
    std::ifstream mounts("/proc/self/mountinfo");
    const std::string wanted = fmt::format("{}:{}", kLoopMajor, number);
    for (const Mount& mount : read_mounts(mounts))
        if (mount.device == wanted) return mount.directory;
    return {};
}

Result<> in_use(const LoopPlace& place, int number) {
    const std::string mount_point = mount_point_of(number);
    return fail(Code::has_dependents, "{} is in use{}: {} first", loop_node(place),
                mount_point.empty() ? "" : fmt::format(", mounted at {}", mount_point),
                mount_point.empty() ? "stop the processes that have it open" : "unmount it");
}

/// A loop device keeps its last user's queue limits, and a limit of no discards cannot be lifted any more. A
/// free one is made anew; when somebody else takes it meanwhile, configuring it fails and the next is tried.
void forget_limits(int control, int number) {
    if (ioctl(control, LOOP_CTL_REMOVE, number) == 0) ioctl(control, LOOP_CTL_ADD, number);
}

void clear(const std::string& device_directory, int number) {
    const Descriptor device = open_loop(device_directory, number, O_RDONLY);
    if (device.valid()) ioctl(device.get(), LOOP_CLR_FD, 0);
}

}  // namespace

std::string loop_node(const LoopPlace& place) {
    return place.device_directory + "/" + place.volume;
}

Result<std::vector<int>> labelled_loops(const std::string& device_directory, const std::string& volume) {
    UNDERSTUDY_TRY(const std::string prefix, label_prefix(device_directory));
    std::vector<int> found;
    for (int number : candidates()) {
        const Descriptor device = open_loop(device_directory, number, O_RDONLY);
        if (!device.valid()) continue;
        const auto info = loop_status(device.get());
        if (!info) continue;
        const bool ours =
            volume.empty() ? label_in(*info).starts_with(prefix) : label_in(*info) == prefix + volume;
        if (ours) found.push_back(number);
    }
    return found;
}

Result<unsigned> detach_labelled_loops(const std::string& device_directory) {
    UNDERSTUDY_TRY(const std::vector<int> numbers, labelled_loops(device_directory));
    for (int number : numbers)
        clear(device_directory, number);
    return static_cast<unsigned>(numbers.size());
}

Result<int> attach_loop(const LoopPlace& place, std::uint32_t sector_size, bool read_only) {
    UNDERSTUDY_TRY(const std::string label, label_of(place.device_directory, place.volume));
    const auto mounted = mounted_at(place.mount_directory);
    if (!mounted) return fail(Code::internal, "nothing is mounted at {}", place.mount_directory);

    UNDERSTUDY_TRY(const std::vector<int> earlier, labelled_loops(place.device_directory, place.volume));
    std::optional<int> existing;
    for (int number : earlier) {
        bool same_file = false;
        {
            const Descriptor device = open_loop(place.device_directory, number, O_RDONLY);
            const auto info = device.valid() ? loop_status(device.get()) : std::nullopt;
            same_file = info && info->lo_inode == fuse::kVolumeNode && info->lo_device == mounted->device;
        }
        if (same_file && !existing)
            existing = number;
        else
            clear(place.device_directory, number);
    }
    if (existing) {
        UNDERSTUDY_CHECK(make_node(loop_node(place), *existing));
        return *existing;
    }

    const std::string path = place.mount_directory + "/" + fuse::kVolumeName;
    const Descriptor file(open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC));
    if (!file.valid()) return fail(Code::failure, "cannot open {}: {}", path, system_error_text());
    const Descriptor control(open(kLoopControl, O_RDWR | O_CLOEXEC));
    if (!control.valid())
        return fail(Code::failure, "cannot open {}: {}; the loop driver is needed", kLoopControl,
                    system_error_text());

    loop_config config{};
    config.fd = static_cast<__u32>(file.get());
    config.block_size = sector_size;
    config.info.lo_flags = LO_FLAGS_DIRECT_IO | (read_only ? LO_FLAGS_READ_ONLY : 0);
    label.copy(reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE - 1);
    for (int attempt = 0; attempt < kConfigureAttempts; ++attempt) {
        const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) return fail(Code::failure, "no free loop device: {}", system_error_text());
        forget_limits(control.get(), number);
        const Descriptor device = open_loop(place.device_directory, number, read_only ? O_RDONLY : O_RDWR);
        if (!device.valid())
            return fail(Code::failure, "cannot open loop device {} through a node in {}: {}", number,
                        place.device_directory, system_error_text());
        if (ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) {
            if (auto made = make_node(loop_node(place), number); !made) {
                ioctl(device.get(), LOOP_CLR_FD, 0);
                return fail(made.error());
            }
            return number;
        }
        if (errno != EBUSY)
            return fail(Code::failure, "cannot attach loop device {} to {}: {}", number, path,
                        system_error_text());
    }
    return fail(Code::failure, "no free loop device: other processes took {} of them first",
                kConfigureAttempts);
}

Result<> resize_loop(const LoopPlace& place, std::uint64_t size) {
    const std::string path = place.mount_directory + "/" + fuse::kVolumeName;
    const auto deadline = std::chrono::steady_clock::now() + kResizeLimit;
    // The kernel asks the server, but does not believe an answer that a write has overtaken.
    while (true) {
        struct statx found {};
        if (statx(AT_FDCWD, path.c_str(), AT_STATX_FORCE_SYNC, STATX_SIZE, &found) != 0)
            return fail(Code::failure, "cannot get the size of {}: {}", path, system_error_text());
        if (found.stx_size == size) break;
        if (std::chrono::steady_clock::now() >= deadline)
            return fail(Code::failure, "{} has {} bytes for the kernel, not {}", path, found.stx_size, size);
        std::this_thread::sleep_for(kDetachPoll);
    }
    UNDERSTUDY_TRY(const std::vector<int> numbers, labelled_loops(place.device_directory, place.volume));
    for (int number : numbers) {
        const Descriptor device = open_loop(place.device_directory, number, O_RDONLY);
        if (!device.valid() || ioctl(device.get(), LOOP_SET_CAPACITY, 0) != 0)
            return fail(Code::failure, "cannot give loop device {} its new size: {}", number,
                        system_error_text());
    }
    return {};
}

Result<> detach_loop(const LoopPlace& place, bool forced, std::chrono::milliseconds limit) {
    UNDERSTUDY_TRY(const std::vector<int> numbers, labelled_loops(place.device_directory, place.volume));
    const auto deadline = std::chrono::steady_clock::now() + limit;
    for (int number : numbers) {
        // Exclusively: a file system cannot be mounted on it between the check and the detaching.
        Descriptor device = open_loop(place.device_directory, number, O_RDONLY | (forced ? 0 : O_EXCL));
        if (!device.valid()) {
            if (errno == EBUSY) return in_use(place, number);
            return fail(Code::failure, "cannot open loop device {}: {}", number, system_error_text());
        }
        if (ioctl(device.get(), LOOP_CLR_FD, 0) != 0 && errno != ENXIO)
            return fail(Code::failure, "cannot detach loop device {}: {}", number, system_error_text());
        device.reset();
        // The device goes with its last user. A user that is not a mount shows only by keeping it.
        while (!forced) {
            device = open_loop(place.device_directory, number, O_RDONLY);
            auto info = device.valid() ? loop_status(device.get()) : std::nullopt;
            if (!info) break;
            if (std::chrono::steady_clock::now() >= deadline) {
                info->lo_flags &= ~static_cast<__u32>(LO_FLAGS_AUTOCLEAR);
                ioctl(device.get(), LOOP_SET_STATUS64, &*info);
                return in_use(place, number);
            }
            device.reset();
            std::this_thread::sleep_for(kDetachPoll);
        }
    }
    unlink(loop_node(place).c_str());
    return {};
}

std::optional<MountedAt> mounted_at(const std::string& directory) {
    std::ifstream mounts("/proc/self/mountinfo");
    std::optional<MountedAt> found;
    for (const Mount& mount : read_mounts(mounts)) {
        if (mount.directory != directory) continue;
        const auto numbers = text::split(mount.device, ':');
        if (numbers.size() != 2) continue;
        const auto major_number = text::to_int(numbers[0]), minor_number = text::to_int(numbers[1]);
        if (!major_number || !minor_number) continue;
        MountedAt at;
        at.device = makedev(static_cast<unsigned>(*major_number), static_cast<unsigned>(*minor_number));
        at.type = mount.type;
        found = at;  // the last one is on top
    }
    return found;
}

Result<> mount_fuse(int fuse_fd, const std::string& directory) {
    if (const auto old = mounted_at(directory)) {
        if (!old->type.starts_with("fuse"))
            return fail(Code::failure, "{} is a mount point of type {}; the export needs it for itself",
                        directory, old->type);
        UNDERSTUDY_CHECK(unmount_fuse(directory, true));
    }
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) return fail(Code::failure, "cannot make {}: {}", directory, error.message());
    const std::string options = fmt::format("fd={},rootmode=40000,user_id=0,group_id=0", fuse_fd);
    if (mount("understudy", directory.c_str(), "fuse.understudy",
              MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, options.c_str()) != 0)
        return fail(Code::failure, "cannot mount the export at {}: {}", directory, system_error_text());
    return {};
}

Result<> unmount_fuse(const std::string& directory, bool forced) {
    if (umount2(directory.c_str(), UMOUNT_NOFOLLOW | (forced ? MNT_DETACH : 0)) != 0 && errno != EINVAL)
        return fail(Code::failure, "cannot unmount {}: {}", directory, system_error_text());
    return {};
}

}  // namespace understudy::mirror
