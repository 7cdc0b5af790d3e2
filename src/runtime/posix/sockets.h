#pragma once
// Sockets as the network needs them: addresses, options and errors in words. Private to runtime/posix.

#include "base/result.h"
#include "runtime/network.h"
#include "runtime/posix/descriptor.h"

#include <sys/socket.h>

namespace understudy::runtime {

/// How long sent data may stay unacknowledged before the kernel gives the connection up. A backstop only:
/// heartbeats notice a dead path earlier.
inline constexpr std::chrono::milliseconds kUnacknowledgedLimit{30'000};

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Numeric address (IPv6 with an optional %interface) or socket path; Code::bad_argument for anything else.
Result<SocketAddress> to_socket_address(const Endpoint& endpoint);
Endpoint to_endpoint(const SocketAddress& address);
Endpoint local_endpoint_of(int fd);
Endpoint remote_endpoint_of(int fd);

/// A TCP listener. Errors name the address and port.
Result<Descriptor> listen_tcp(const Endpoint& at);
/// A socket that connects to `remote`, from `local_address` when that is not empty; the connection is
/// complete when the socket gets writable and pending_error() is 0.
Result<Descriptor> begin_connect_tcp(const Endpoint& remote, const std::string& local_address);
/// Result of the last asynchronous operation, 0 or an errno. Clears it.
int pending_error(int fd);
/// The options of every TCP connection: no delay, no keep-alive, a limit on unacknowledged data.
void set_tcp_options(int fd);
/// Why a connection to `remote` failed, with what to look at.
Error connect_error(const Endpoint& remote, int error);

}  // namespace understudy::runtime
