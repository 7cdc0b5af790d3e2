#include "runtime/posix/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include <array>

namespace understudy::runtime {

namespace {

Result<SocketAddress> unix_address(const Endpoint& endpoint) {
    SocketAddress out;
    auto& to = reinterpret_cast<sockaddr_un&>(out.storage);
    if (endpoint.address.size() >= sizeof(to.sun_path))
        return fail(Code::bad_argument, "the socket path {} is longer than the {} bytes the system allows",
                    endpoint.address, sizeof(to.sun_path) - 1);
    to.sun_family = AF_UNIX;
    memcpy(to.sun_path, endpoint.address.data(), endpoint.address.size());
    out.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + endpoint.address.size() + 1);
    return out;
}

void set_option(int fd, int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
}

Result<Descriptor> tcp_socket(const SocketAddress& address) {
    Descriptor fd(
        ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!fd) return fail(Code::failure, "cannot create a TCP socket: {}", strerror(errno));
    return fd;
}

Error bind_error(const Endpoint& at, int error) {
    switch (error) {
        case EADDRINUSE:
            return {Code::failure,
                    fmt::format("{} is in use by another program: stop it or choose another port "
                                "(`ss -ltnp` shows who listens)",
                                to_string(at))};
        case EADDRNOTAVAIL:
            return {Code::failure, fmt::format("{} is not an address of this host (`ip address` shows which "
                                               "are)",
                                               at.address)};
        case EACCES:
            return {Code::failure,
                    fmt::format("no permission to listen on {}: ports below 1024 need root", to_string(at))};
        default:
            return {Code::failure, fmt::format("cannot bind to {}: {}", to_string(at), strerror(error))};
    }
}

}  // namespace

Result<SocketAddress> to_socket_address(const Endpoint& endpoint) {
    if (endpoint.is_unix()) return unix_address(endpoint);
    SocketAddress out;
    auto& v4 = reinterpret_cast<sockaddr_in&>(out.storage);
    if (::inet_pton(AF_INET, endpoint.address.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(endpoint.port);
        out.length = sizeof v4;
        return out;
    }
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out.storage);
    const auto percent = endpoint.address.find('%');
    if (::inet_pton(AF_INET6, endpoint.address.substr(0, percent).c_str(), &v6.sin6_addr) != 1)
        return fail(Code::bad_argument, "\"{}\" is not a numeric IPv4 or IPv6 address", endpoint.address);
    if (percent != std::string::npos) {
        v6.sin6_scope_id = ::if_nametoindex(endpoint.address.substr(percent + 1).c_str());
        if (v6.sin6_scope_id == 0)
            return fail(Code::bad_argument, "{}: there is no such network interface", endpoint.address);
    }
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    out.length = sizeof v6;
    return out;
}

Endpoint to_endpoint(const SocketAddress& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.storage.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
        ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
        return {text.data(), ntohs(v4.sin_port)};
    }
    if (address.storage.ss_family != AF_INET6) return {};
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address.storage);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    Endpoint out{text.data(), ntohs(v6.sin6_port)};
    std::array<char, IF_NAMESIZE> interface {};
    if (v6.sin6_scope_id != 0 && ::if_indextoname(v6.sin6_scope_id, interface.data()))
        out.address += fmt::format("%{}", interface.data());
    return out;
}

Endpoint local_endpoint_of(int fd) {
    SocketAddress address;
    address.length = sizeof address.storage;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) return {};
    return to_endpoint(address);
}

Endpoint remote_endpoint_of(int fd) {
    SocketAddress address;
    address.length = sizeof address.storage;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) return {};
    return to_endpoint(address);
}

Result<Descriptor> listen_tcp(const Endpoint& at) {
    UNDERSTUDY_TRY(const SocketAddress address, to_socket_address(at));
    UNDERSTUDY_TRY(Descriptor fd, tcp_socket(address));
    // A restarted daemon must get its port back while old connections are still in TIME_WAIT.
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(fd.get(), address.get(), address.length) != 0) return fail(bind_error(at, errno));
    if (::listen(fd.get(), SOMAXCONN) != 0) return fail(bind_error(at, errno));
    return fd;
}

Result<Descriptor> begin_connect_tcp(const Endpoint& remote, const std::string& local_address) {
    UNDERSTUDY_TRY(const SocketAddress address, to_socket_address(remote));
    UNDERSTUDY_TRY(Descriptor fd, tcp_socket(address));
    set_tcp_options(fd.get());
    if (!local_address.empty()) {
        const Endpoint from{local_address, 0};
        UNDERSTUDY_TRY(const SocketAddress local, to_socket_address(from));
        if (local.storage.ss_family != address.storage.ss_family)
            return fail(Code::bad_argument, "cannot connect from {} to {}: one is IPv4, the other IPv6",
                        local_address, remote.address);
        // The port is chosen at connect, when the kernel knows both ends: local ports do not run out early.
        set_option(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        if (::bind(fd.get(), local.get(), local.length) != 0) return fail(bind_error(from, errno));
    }
    if (::connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS)
        return fail(connect_error(remote, errno));
    return fd;
}

int pending_error(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
    return error;
}

void set_tcp_options(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(kUnacknowledgedLimit.count()));
}

Error connect_error(const Endpoint& remote, int error) {
    const char* hint = "";
    switch (error) {
        case ECONNREFUSED:
            hint = ": nothing listens there; is Understudy running on that host?";
            break;
        case ENOENT:
            hint = ": the daemon that makes this socket is not running";
            break;
        case EHOSTUNREACH:
        case ENETUNREACH:
            hint = ": check the link, the address and the routes";
            break;
        default:
            break;
    }
    return {Code::unreachable,
            fmt::format("cannot connect to {}: {}{}", to_string(remote), strerror(error), hint)};
}

}  // namespace understudy::runtime
