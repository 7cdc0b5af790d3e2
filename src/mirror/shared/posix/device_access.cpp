#include "mirror/shared/posix/device_access.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

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

}  // namespace

Result<> LinuxDeviceAccess::write_now(const std::string& device, std::uint64_t offset,
                                      std::string_view bytes) {
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
