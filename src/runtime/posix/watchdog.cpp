#include "runtime/posix/watchdog.h"

#include "base/text.h"
#include "runtime/posix/descriptor.h"
#include "runtime/posix/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

namespace understudy::runtime {
namespace {

constexpr int kStartAttempts = 100;
constexpr int kStartPause_us = 20'000;
constexpr std::int64_t kKeepAlive_ns = 1'000'000'000;
constexpr int kDeviceTimeout_s = 5;

/// Goes on while the machine is suspended: a deadline that passed in its sleep has passed.
std::int64_t boot_time_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return fail(Code::bad_argument, "{} is too long for a socket", path);
    std::copy(path.begin(), path.end(), address.sun_path);
    return address;
}

/// Sends one datagram; false when nobody listens.
bool send_to(const std::string& socket, const std::string& text) {
    const auto address = address_of(socket);
    if (!address) return false;
    const Descriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return fd && ::sendto(fd.get(), text.data(), text.size(), MSG_NOSIGNAL,
                          reinterpret_cast<const sockaddr*>(&*address), sizeof *address) >= 0;
}

/// The device, which resets the machine when it is not written to.
class Device {
  public:
    Result<> open(const std::string& path) {
        if (path.empty()) return {};
        fd_ = Descriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        if (!fd_) return fail(Code::failure, "cannot open the watchdog {}: {}", path, strerror(errno));
        int timeout = kDeviceTimeout_s;
        // One that cannot be set keeps its own.
        (void)::ioctl(fd_.get(), WDIOC_SETTIMEOUT, &timeout);
        return {};
    }
    void keep_alive() const {
        if (fd_) (void)!::write(fd_.get(), "\0", 1);
    }
    void close() {
        if (fd_) (void)!::write(fd_.get(), "V", 1);  // the magic close: it stops
        fd_.reset();
    }
    [[nodiscard]] bool is_open() const { return static_cast<bool>(fd_); }

  private:
    Descriptor fd_;
};

}  // namespace

WatchdogClient::WatchdogClient(std::string socket, std::string program, std::string device)
    : socket_(std::move(socket)), program_(std::move(program)), device_(std::move(device)) {}

Result<> WatchdogClient::start() {
    if (present()) return {};
    if (::access(program_.c_str(), X_OK) != 0) return fail(Code::failure, "{} is not installed", program_);
    UNDERSTUDY_CHECK(start_detached({program_, socket_, device_}));
    for (int attempt = 0; attempt < kStartAttempts; ++attempt) {
        if (present()) return {};
        ::usleep(kStartPause_us);
    }
    return fail(Code::failure, "{} does not come up; is {} a watchdog?", program_,
                device_.empty() ? "its socket's directory there, and" : device_);
}

void WatchdogClient::send(const std::string& text) const {
    (void)send_to(socket_, text);
}
void WatchdogClient::arm(Duration time) const {
    send(fmt::format("arm {}", boot_time_ns() + time.count()));
}
void WatchdogClient::disarm() const {
    send("disarm");
}
void WatchdogClient::end() const {
    send("end");
}
bool WatchdogClient::present() const {
    return send_to(socket_, "present");
}

void reset_host() {
    ::reboot(RB_AUTOBOOT);
}

Result<> serve_watchdog(const std::string& socket, const std::string& device_path) {
    UNDERSTUDY_TRY(const auto address, address_of(socket));
    const Descriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return fail(Code::failure, "no socket: {}", strerror(errno));
    if (send_to(socket, "present")) return fail(Code::exists, "another watchdog serves {}", socket);
    ::unlink(socket.c_str());
    const auto mask = ::umask(0177);  // root's alone
    const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int error = errno;
    ::umask(mask);
    if (bound != 0) return fail(Code::failure, "cannot listen on {}: {}", socket, strerror(error));
    Device device;
    UNDERSTUDY_CHECK(device.open(device_path));
    // It must run when nothing else does. Where that is not permitted it runs like the rest.
    (void)::mlockall(MCL_CURRENT | MCL_FUTURE);
    const sched_param realtime{.sched_priority = 50};
    (void)::sched_setscheduler(0, SCHED_FIFO, &realtime);

    std::optional<std::int64_t> deadline;
    while (true) {
        auto wait_ns = deadline ? *deadline - boot_time_ns() : std::int64_t{3'600'000'000'000};
        if (device.is_open()) wait_ns = std::min(wait_ns, kKeepAlive_ns);
        pollfd waiting{fd.get(), POLLIN, 0};
        (void)::poll(&waiting, 1,
                     static_cast<int>(std::clamp<std::int64_t>(wait_ns / 1'000'000, 0, 3'600'000)));
        std::array<char, 64> buffer{};
        ssize_t size = 0;
        while ((size = ::recv(fd.get(), buffer.data(), buffer.size(), 0)) >= 0) {
            const std::string_view text(buffer.data(), static_cast<std::size_t>(size));
            if (text == "end") {
                device.close();
                ::unlink(socket.c_str());
                return {};
            }
            if (text == "disarm") deadline.reset();
            if (text.starts_with("arm "))
                if (const auto moment = text::to_int(text.substr(4))) deadline = *moment;
        }
        if (deadline && boot_time_ns() >= *deadline) {
            // A device that is not kept awake any more fires even if this does not work.
            reset_host();
            ::usleep(kStartPause_us);
            continue;
        }
        device.keep_alive();
    }
}

}  // namespace understudy::runtime
