#pragma once
// The commands' side of a daemon's unix socket: frames as in runtime/network.h, one blocking call at a time.
// Needs neither Asio nor OpenSSL (library understudy_client), so a command starts in a millisecond.

#include "base/result.h"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::runtime {

/// Threading: one thread at a time. After any error but a refused oversized frame the connection is closed
/// and every later call fails: a frame may have been cut in the middle.
class BlockingClient {
  public:
    using Timeout = std::chrono::milliseconds;

    /// Code::failure when no daemon listens on `path` (also in daemon_missing()), it is too busy or the
    /// caller may not connect.
    static Result<BlockingClient> connect(const std::string& path, Timeout timeout);
    /// Whether this error of connect() means that the daemon is not running. Spec: CMD-003.
    static bool daemon_missing(const Error& error);

    BlockingClient(BlockingClient&& other) noexcept;
    BlockingClient& operator=(BlockingClient&& other) noexcept;
    BlockingClient(const BlockingClient&) = delete;
    BlockingClient& operator=(const BlockingClient&) = delete;
    ~BlockingClient();

    /// Sends one frame and waits for the next one; `timeout` covers both.
    Result<std::string> request(std::string_view frame, Timeout timeout);
    Result<> send(std::string_view frame, Timeout timeout);
    /// Code::unreachable when the daemon closed the connection or the time is over.
    Result<std::string> next_frame(Timeout timeout);
    /// For a caller's own poll(); -1 when closed.
    [[nodiscard]] int descriptor() const { return fd_; }

  private:
    using Deadline = std::chrono::steady_clock::time_point;
    BlockingClient(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
    void close();
    tl::unexpected<Error> broken(std::string_view why);
    Result<> wait(short events, Deadline deadline);
    Result<> send_until(std::string_view frame, Deadline deadline);
    Result<std::string> receive_until(Deadline deadline);

    int fd_ = -1;
    std::string path_;
    std::string received_;  // what came and is not part of a returned frame
};

}  // namespace understudy::runtime
