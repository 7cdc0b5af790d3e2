#pragma once
// TLS for a server that reads and writes its sockets itself, such as one on an io_uring: the node's
// credentials, and for each connection a pipe through which its bytes go. No I/O happens here but the reading
// of the credentials' files.
//
//   socket -> put() -> read() -> server;   server -> write() -> take() -> socket

#include "base/result.h"
#include "runtime/files.h"
#include "runtime/posix/posix_world.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace understudy::runtime {

/// One connection. Threading: one thread at a time.
class TlsPipe {
  public:
    enum class Status {
        done,
        more,    // waits for what the peer sends
        ended,   // the peer has closed it
        failed,  // see problem()
    };
    struct Outcome {
        Status status;
        std::size_t bytes = 0;
    };
    virtual ~TlsPipe() = default;

    /// What came over the socket.
    virtual void put(std::span<const std::byte> received) = 0;
    /// Appends what is to go over the socket. To be called after each of the calls below, failed ones too.
    virtual void take(std::vector<std::byte>& output) = 0;

    /// `done` once the peer has proved who it is; again with more of its bytes until then.
    virtual Status handshake() = 0;
    /// `done`: at least one byte.
    virtual Outcome read(std::span<std::byte> into) = 0;
    /// All of it; done or failed.
    virtual Status write(std::span<const std::byte> from) = 0;
    /// After the handshake: the name in the peer's certificate.
    [[nodiscard]] virtual const std::string& peer() const = 0;
    [[nodiscard]] virtual const std::string& problem() const = 0;
};

/// A server's credentials as they were when they were read. Threading: any.
class TlsServer {
  public:
    virtual ~TlsServer() = default;
    [[nodiscard]] virtual Result<std::unique_ptr<TlsPipe>> accept() const = 0;
};

/// Clients show a certificate that a CA of `credentials.clients` issued, or, where that is empty, one of a
/// node that has not been removed. Errors: a file is missing or damaged. Blocking, for milliseconds.
Result<std::shared_ptr<const TlsServer>> load_tls_server(const CredentialPaths& credentials,
                                                         const Files& files);

}  // namespace understudy::runtime
