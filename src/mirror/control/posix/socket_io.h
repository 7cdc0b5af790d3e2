#pragma once
// TCP sockets with deadlines for the threads of data_sockets.cpp. Every wait ends at its deadline or when the
// `wake` descriptor becomes readable.

#include "base/result.h"
#include "runtime/network.h"

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace understudy::mirror::control {

using SocketClock = std::chrono::steady_clock;

class Socket {
  public:
    Socket() = default;
    explicit Socket(int fd) : fd_(fd) {}
    Socket(Socket&& other) noexcept : fd_(other.release()) {}
    Socket& operator=(Socket&& other) noexcept {
        if (this != &other) {
            reset();
            fd_ = other.release();
        }
        return *this;
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() { reset(); }

    [[nodiscard]] bool valid() const { return fd_ >= 0; }
    [[nodiscard]] int fd() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

  private:
    void reset() {
        if (fd_ >= 0) close(std::exchange(fd_, -1));
    }
    int fd_ = -1;
};

std::string system_text(int number);
int milliseconds_until(SocketClock::time_point deadline);

/// Code::exists when the port is taken.
Result<Socket> listen_socket(const runtime::Endpoint& at);
Result<Socket> connect_socket(const runtime::Endpoint& remote, const std::string& local_address, int wake,
                              SocketClock::time_point deadline);
Result<> send_all(int fd, std::span<const std::byte> data, int wake, SocketClock::time_point deadline);
Result<> receive_all(int fd, std::span<std::byte> data, int wake, SocketClock::time_point deadline);
/// Ready for the volume's reactor: blocking mode, no delay, keep-alive.
Result<> make_link(int fd);

}  // namespace understudy::mirror::control
