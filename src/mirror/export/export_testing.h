#pragma once
// Helpers of this folder's tests: a place for an export that is cleaned up whatever happens, programs that
// are killed by their id, and waiting with a limit.

#include "mirror/export/descriptor.h"
#include "mirror/export/export.h"
#include "mirror/export/loop_device.h"
#include "mirror/export/ublk_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

extern char** environ;

namespace understudy::mirror::testing_support {

using namespace std::chrono_literals;

inline constexpr auto kTestLimit = 20s;

/// Why exports of devices cannot be tested here; empty when they can.
inline std::string why_no_devices() {
    if (geteuid() != 0) return "needs root: mounts a FUSE file system and configures a loop device";
    if (access("/dev/fuse", R_OK | W_OK) != 0) return "needs /dev/fuse";
    if (access("/dev/loop-control", R_OK | W_OK) != 0) return "needs /dev/loop-control";
    return {};
}

/// How a block device is made.
enum class DeviceKind { fuse, ublk };
inline std::string name_of(const ::testing::TestParamInfo<DeviceKind>& info) {
    return info.param == DeviceKind::fuse ? "Fuse" : "Ublk";
}
/// Why this kind cannot be tested here; empty when it can. The virtual machine of tests/vm has both.
inline std::string why_not(DeviceKind kind) {
    if (auto why = why_no_devices(); !why.empty() || kind == DeviceKind::fuse) return why;
    const auto usable = ublk_available();
    return usable ? std::string() : usable.error().text;
}

inline bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds limit = kTestLimit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(2ms);
    }
    return true;
}

/// A directory with a backing file; takes away loop devices, mounts and files in the end.
class Place {
  public:
    explicit Place(std::uint64_t size) {
        std::string name = "/var/tmp/understudy-export-XXXXXX";
        root = mkdtemp(name.data());
        mount_directory = root + "/mount";
        device_directory = root + "/dev";
        file_system = root + "/fs";
        file = root + "/backing";
        for (const auto& directory : {device_directory, file_system})
            std::filesystem::create_directory(directory);
        const Descriptor created(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (ftruncate(created.get(), static_cast<off_t>(size)) != 0) std::abort();
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
        if (mounted_at(file_system)) (void)unmount_fuse(file_system, true);
        (void)detach_labelled_loops(device_directory);
        if (const auto device = ublk::find(ublk_place()); device && *device)
            (void)ublk::remove(ublk_place(), (*device)->number, true, {});
        if (mounted_at(mount_directory)) (void)unmount_fuse(mount_directory, true);
        std::error_code ignored;
        std::filesystem::remove_all(root, ignored);
    }
    [[nodiscard]] std::string device() const { return device_directory + "/volume"; }

    [[nodiscard]] ublk::Place ublk_place() const { return {"volume", device_directory}; }

    std::string root, mount_directory, device_directory, file_system, file;
};

/// How many ublk devices the kernel has of this place.
inline unsigned ublk_devices(const Place& place) {
    const auto found = ublk::find(place.ublk_place());
    return found && *found ? 1 : 0;
}

/// A child process; killed by its id when it goes out of scope.
class Program {
  public:
    Program() = default;
    explicit Program(std::vector<std::string> arguments) {
        std::array<int, 2> ends{-1, -1};
        if (pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
        output_ = Descriptor(ends[0]);
        const Descriptor write_end(ends[1]);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
        std::vector<char*> pointers;
        for (auto& argument : arguments)
            pointers.push_back(argument.data());
        pointers.push_back(nullptr);
        if (posix_spawnp(&pid_, pointers[0], &actions, nullptr, pointers.data(), environ) != 0) pid_ = -1;
        posix_spawn_file_actions_destroy(&actions);
    }
    Program(Program&& other) noexcept
        : pid_(std::exchange(other.pid_, -1)), output_(std::move(other.output_)) {}
    Program& operator=(Program&& other) noexcept {
        std::swap(pid_, other.pid_);
        std::swap(output_, other.output_);
        return *this;
    }
    ~Program() { kill_now(); }

    [[nodiscard]] bool running() const { return pid_ > 0; }
    void send(int number) const {
        if (pid_ > 0) kill(pid_, number);
    }
    void kill_now() {
        if (pid_ <= 0) return;
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }
    /// First line that it prints, empty when it ends before or takes longer than the limit.
    std::string first_line() {
        std::string line;
        fcntl(output_.get(), F_SETFL, O_NONBLOCK);
        const bool complete = wait_until([&] {
            char byte = 0;
            ssize_t size = 0;
            while ((size = read(output_.get(), &byte, 1)) == 1) {
                if (byte == '\n') return true;
                line += byte;
            }
            return size == 0;
        });
        return complete ? line : std::string();
    }
    /// Exit code, -1 when it was killed by a signal or does not end within the limit.
    int wait_for_end(std::chrono::milliseconds limit = kTestLimit) {
        int status = 0;
        if (!wait_until([&] { return waitpid(pid_, &status, WNOHANG) == pid_; }, limit)) return -1;
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

  private:
    pid_t pid_ = -1;
    Descriptor output_;
};

inline int run_program(std::vector<std::string> arguments) {
    return Program(std::move(arguments)).wait_for_end(60s);
}

/// A page of memory fit for direct I/O.
struct alignas(4096) Page {
    std::array<std::byte, 4096> bytes{};
};

}  // namespace understudy::mirror::testing_support
