#include "runtime/posix/blocking_client.h"

#include "runtime/network.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>

namespace understudy::runtime {

namespace {

constexpr std::size_t kHeaderBytes = 4;
constexpr std::size_t kReadBytes = 64UL << 10;
/// The daemon's queue of new connections is full: ask again after this.
constexpr int kBusyRetryMs = 2;
/// Marks "the daemon is not running" among connect's errors: the catalogue's message for it. Spec: CMD-003.
constexpr int kDaemonMissingNumber = 472;

/// Callers may say "for ever" with the largest value, which must not overflow into the past.
std::chrono::steady_clock::time_point deadline_after(BlockingClient::Timeout timeout) {
    constexpr BlockingClient::Timeout kForEver = std::chrono::hours(24 * 365);
    return std::chrono::steady_clock::now() + std::min(timeout, kForEver);
}

std::size_t decode_length(const std::string& from) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < kHeaderBytes; ++i)
        length |= static_cast<std::size_t>(static_cast<unsigned char>(from[i])) << (8 * i);
    return length;
}

}  // namespace

Result<BlockingClient> BlockingClient::connect(const std::string& path, Timeout timeout) {
    const Deadline deadline = deadline_after(timeout);
    sockaddr_un address{};
    if (path.size() >= sizeof address.sun_path)
        return fail(Code::bad_argument, "the socket path {} is longer than {} bytes", path,
                    sizeof address.sun_path - 1);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.data(), path.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    BlockingClient out(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), path);
    if (out.fd_ < 0) return fail(Code::failure, "cannot create a socket: {}", strerror(errno));
    while (::connect(out.fd_, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
        if (errno == EINTR) continue;
        if (errno == ENOENT || errno == ECONNREFUSED)
            return fail(Error{Code::failure,
                              fmt::format("the daemon is not running (nothing listens on {})", path),
                              kDaemonMissingNumber});
        if (errno != EAGAIN) return fail(Code::failure, "cannot connect to {}: {}", path, strerror(errno));
        if (std::chrono::steady_clock::now() >= deadline)
            return fail(Code::failure,
                        "the daemon behind {} does not accept connections: it is overloaded or "
                        "stopped",
                        path);
        ::poll(nullptr, 0, kBusyRetryMs);
    }
    return out;
}

bool BlockingClient::daemon_missing(const Error& error) {
    return error.number == kDaemonMissingNumber;
}

BlockingClient::BlockingClient(BlockingClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      received_(std::move(other.received_)) {}

BlockingClient& BlockingClient::operator=(BlockingClient&& other) noexcept {
    if (this == &other) return *this;
    close();
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
    received_ = std::move(other.received_);
    return *this;
}

BlockingClient::~BlockingClient() {
    close();
}

void BlockingClient::close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    received_.clear();
}

tl::unexpected<Error> BlockingClient::broken(std::string_view why) {
    close();
    return fail(Code::unreachable, "{}: {}", path_, why);
}

Result<> BlockingClient::wait(short events, Deadline deadline) {
    for (;;) {
        const auto left = std::chrono::ceil<Timeout>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return broken("the daemon did not answer in time");
        constexpr Timeout::rep kLongestPoll = 1'000'000;
        pollfd one{fd_, events, 0};
        const int ready = ::poll(&one, 1, static_cast<int>(std::min(left.count(), kLongestPoll)));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return broken(strerror(errno));
    }
}

Result<> BlockingClient::send_until(std::string_view frame, Deadline deadline) {
    if (fd_ < 0) return fail(Code::unreachable, "{}: the connection is closed", path_);
    if (frame.size() > kMaxFrameBytes)
        return fail(Code::out_of_range, "{}: a message of {} bytes is larger than the {} allowed", path_,
                    frame.size(), kMaxFrameBytes);
    std::string whole;
    whole.reserve(kHeaderBytes + frame.size());
    for (std::size_t i = 0; i < kHeaderBytes; ++i)
        whole.push_back(static_cast<char>(frame.size() >> (8 * i)));
    whole.append(frame);
    for (std::string_view rest = whole; !rest.empty();) {
        const ssize_t put = ::send(fd_, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (put >= 0) {
            rest.remove_prefix(static_cast<std::size_t>(put));
        } else if (errno == EAGAIN) {
            UNDERSTUDY_CHECK(wait(POLLOUT, deadline));
        } else if (errno != EINTR) {
            return broken(errno == EPIPE ? "the daemon closed the connection" : strerror(errno));
        }
    }
    return {};
}

Result<std::string> BlockingClient::receive_until(Deadline deadline) {
    if (fd_ < 0) return fail(Code::unreachable, "{}: the connection is closed", path_);
    for (;;) {
        if (received_.size() >= kHeaderBytes) {
            const std::size_t length = decode_length(received_);
            if (length > kMaxFrameBytes) return broken("the daemon sent a message that is too large");
            if (received_.size() >= kHeaderBytes + length) {
                std::string frame = received_.substr(kHeaderBytes, length);
                received_.erase(0, kHeaderBytes + length);
                return frame;
            }
        }
        static thread_local std::array<char, kReadBytes> buffer;
        const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
        if (got > 0) {
            received_.append(buffer.data(), static_cast<std::size_t>(got));
        } else if (got == 0) {
            return broken("the daemon closed the connection");
        } else if (errno == EAGAIN) {
            UNDERSTUDY_CHECK(wait(POLLIN, deadline));
        } else if (errno != EINTR) {
            return broken(errno == ECONNRESET ? "the daemon closed the connection" : strerror(errno));
        }
    }
}

Result<> BlockingClient::send(std::string_view frame, Timeout timeout) {
    return send_until(frame, deadline_after(timeout));
}

Result<std::string> BlockingClient::next_frame(Timeout timeout) {
    return receive_until(deadline_after(timeout));
}

Result<std::string> BlockingClient::request(std::string_view frame, Timeout timeout) {
    const Deadline deadline = deadline_after(timeout);
    UNDERSTUDY_CHECK(send_until(frame, deadline));
    return receive_until(deadline);
}

}  // namespace understudy::runtime
