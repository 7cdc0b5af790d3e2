#include "mirror/control/posix/socket_io.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace understudy::mirror::control {

namespace {

constexpr int kBacklog = 8;

struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<Address> address_of(const std::string& text, std::uint16_t port) {
    Address out;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        out.length = sizeof *v4;
        return out;
    }
    if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        out.length = sizeof *v6;
        return out;
    }
    return fail(Code::bad_argument, "\"{}\" is not a numeric address", text);
}

Result<Socket> make_socket(const Address& address) {
    Socket made(socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!made.valid()) return fail(Code::failure, "cannot make a socket: {}", system_text(errno));
    return made;
}

/// Waits for `events` on `fd`.
Result<> wait_for(int fd, short events, int wake, SocketClock::time_point deadline) {
    for (;;) {
        pollfd waits[2] = {{fd, events, 0}, {wake, POLLIN, 0}};
        const int left = milliseconds_until(deadline);
        if (left <= 0) return fail(Code::unreachable, "no answer within the limit");
        const int ready = poll(waits, 2, left);
        if (ready < 0 && errno != EINTR) return fail(Code::failure, "poll: {}", system_text(errno));
        if (ready <= 0) continue;
        if (waits[1].revents != 0) return fail(Code::failure, "given up");
        return {};
    }
}

}  // namespace

std::string system_text(int number) {
    return std::generic_category().message(number);
}

int milliseconds_until(SocketClock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SocketClock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

Result<Socket> listen_socket(const runtime::Endpoint& at) {
    UNDERSTUDY_TRY(const Address address, address_of(at.address, at.port));
    UNDERSTUDY_TRY(Socket made, make_socket(address));
    const int yes = 1;
    // Links of earlier sessions on the same port are no reason to refuse.
    setsockopt(made.fd(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(made.fd(), address.get(), address.length) != 0 || listen(made.fd(), kBacklog) != 0)
        return fail(errno == EADDRINUSE ? Code::exists : Code::failure, "cannot listen at {}: {}",
                    runtime::to_string(at), system_text(errno));
    return made;
}

Result<Socket> connect_socket(const runtime::Endpoint& remote, const std::string& local_address, int wake,
                              SocketClock::time_point deadline) {
    UNDERSTUDY_TRY(const Address address, address_of(remote.address, remote.port));
    UNDERSTUDY_TRY(Socket made, make_socket(address));
    if (!local_address.empty()) {
        UNDERSTUDY_TRY(const Address local, address_of(local_address, 0));
        if (bind(made.fd(), local.get(), local.length) != 0)
            return fail(Code::failure, "cannot use the address {}: {}", local_address, system_text(errno));
    }
    if (connect(made.fd(), address.get(), address.length) != 0 && errno != EINPROGRESS)
        return fail(Code::unreachable, "cannot connect to {}: {}", runtime::to_string(remote),
                    system_text(errno));
    if (auto ready = wait_for(made.fd(), POLLOUT, wake, deadline); !ready)
        return with_context(ready.error(), fmt::format("cannot connect to {}", runtime::to_string(remote)));
    int problem = 0;
    socklen_t length = sizeof problem;
    getsockopt(made.fd(), SOL_SOCKET, SO_ERROR, &problem, &length);
    if (problem != 0)
        return fail(Code::unreachable, "cannot connect to {}: {}", runtime::to_string(remote),
                    system_text(problem));
    return made;
}

Result<> send_all(int fd, std::span<const std::byte> data, int wake, SocketClock::time_point deadline) {
    while (!data.empty()) {
        const ssize_t sent = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
        if (sent > 0) {
            data = data.subspan(static_cast<std::size_t>(sent));
        } else if (errno == EAGAIN) {
            UNDERSTUDY_CHECK(wait_for(fd, POLLOUT, wake, deadline));
        } else if (errno != EINTR) {
            return fail(Code::unreachable, "data link: {}", system_text(errno));
        }
    }
    return {};
}

Result<> receive_all(int fd, std::span<std::byte> data, int wake, SocketClock::time_point deadline) {
    while (!data.empty()) {
        const ssize_t got = recv(fd, data.data(), data.size(), 0);
        if (got > 0) {
            data = data.subspan(static_cast<std::size_t>(got));
        } else if (got == 0) {
            return fail(Code::unreachable, "data link: the peer refused it");
        } else if (errno == EAGAIN) {
            UNDERSTUDY_CHECK(wait_for(fd, POLLIN, wake, deadline));
        } else if (errno != EINTR) {
            return fail(Code::unreachable, "data link: {}", system_text(errno));
        }
    }
    return {};
}

Result<> make_link(int fd) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return fail(Code::failure, "data link: {}", system_text(errno));
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    return {};
}

}  // namespace understudy::mirror::control
