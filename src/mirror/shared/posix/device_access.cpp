#include "mirror/shared/posix/device_access.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace understudy::mirror::shared {
namespace {

constexpr auto kBusyWait = std::chrono::seconds(10);
constexpr auto kBusyLook = std::chrono::milliseconds(20);

class File {
  public:
    File(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC)) {}
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() {
        if (fd_ >= 0) ::close(fd_);
    }
    [[nodiscard]] int fd() const { return fd_; }

  private:
    int fd_;
};

Result<> put(const std::string& device, std::uint64_t offset, std::string_view bytes) {
    const auto problem = [&] {
        return fail(Code::failure, "cannot write to {}: {}", device, std::strerror(errno));
    };
    const File file(device, O_WRONLY | O_DIRECT | O_SYNC);
    if (file.fd() < 0) return problem();
    const std::unique_ptr<char, decltype(&std::free)> buffer(
        static_cast<char*>(std::aligned_alloc(kAreaBlock, bytes.size())), &std::free);
    std::memcpy(buffer.get(), bytes.data(), bytes.size());
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t put =
            ::pwrite(file.fd(), buffer.get() + done, bytes.size() - done, static_cast<off_t>(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put == 0) errno = ENOSPC;
        if (put <= 0) return problem();
        done += static_cast<std::size_t>(put);
    }
    return {};
}

}  // namespace

/// One device's writes, one after the other: at most one is under way, and its thread is alone with the disk.
struct LinuxDeviceAccess::Lane {
    std::mutex mutex;
    std::condition_variable ended;
    bool busy = false;  // what follows is written by the thread until it says no
    Result<> result;

    void finish(Result<> how) {
        const std::lock_guard lock(mutex);
        result = std::move(how);
        busy = false;
        ended.notify_all();
    }
};

LinuxDeviceAccess::LinuxDeviceAccess() = default;
LinuxDeviceAccess::~LinuxDeviceAccess() = default;

Result<> LinuxDeviceAccess::write_now(const std::string& device, std::uint64_t offset, std::string_view bytes,
                                      runtime::Duration limit) {
    auto& lane = lanes_[device];
    if (!lane) lane = std::make_shared<Lane>();
    std::unique_lock lock(lane->mutex);
    if (lane->busy) return fail(Code::failure, "{} has not answered an earlier write yet", device);
    lane->busy = true;
    try {
        std::thread([lane = lane, device, offset, text = std::string(bytes)] {
            lane->finish(put(device, offset, text));
        }).detach();
    } catch (const std::system_error& error) {
        lane->busy = false;
        return fail(Code::failure, "cannot write to {}: no thread: {}", device, error.what());
    }
    if (lane->ended.wait_for(lock, limit, [&] { return !lane->busy; })) return lane->result;
    return fail(Code::failure, "{} has not answered within {} ms", device,
                std::chrono::duration_cast<std::chrono::milliseconds>(limit).count());
}

Result<> LinuxDeviceAccess::wait_until_free(const std::string& device) {
    struct stat status {};
    if (::stat(device.c_str(), &status) != 0)
        return fail(Code::not_found, "cannot open {}: {}", device, std::strerror(errno));
    const bool block = S_ISBLK(status.st_mode);
    for (const auto deadline = std::chrono::steady_clock::now() + kBusyWait;;) {
        const File file(device, O_RDWR | (block ? O_EXCL : 0));
        if (file.fd() >= 0 && (block || ::flock(file.fd(), LOCK_EX | LOCK_NB) == 0)) return {};
        if (file.fd() < 0 && errno != EBUSY)
            return fail(Code::failure, "cannot open {}: {}", device, std::strerror(errno));
        if (std::chrono::steady_clock::now() >= deadline)
            return fail(Code::failure, "{} is in use on this host", device);
        std::this_thread::sleep_for(kBusyLook);
    }
}

}  // namespace understudy::mirror::shared
