#pragma once
// A connected, non-blocking byte stream: a socket, with TLS on it or plain. Private to runtime/posix.

#include "runtime/posix/descriptor.h"
#include "runtime/posix/tls.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace understudy::runtime {

class Transport {
  public:
    enum class Status { done, wait_readable, wait_writable, ended, failed };
    struct Outcome {
        Status status;
        std::size_t bytes = 0;
    };

    /// `tls` may be null: plain.
    Transport(Descriptor socket, std::unique_ptr<TlsSession> tls)
        : socket_(std::move(socket)), tls_(std::move(tls)) {}

    [[nodiscard]] int fd() const { return socket_.get(); }
    [[nodiscard]] const TlsSession* tls() const { return tls_.get(); }

    /// done when the TLS handshake is complete; at once for a plain stream.
    Status handshake();
    /// At least one byte, or a status other than done.
    Outcome read(std::span<std::byte> into);
    Outcome write(std::span<const std::byte> from);
    /// Tells the peer that nothing more will come; reading stays possible.
    void end_writing();
    /// Why the last operation failed or ended, for a person.
    [[nodiscard]] const std::string& problem() const { return problem_; }

  private:
    Status from_tls(int result);
    Status from_system(const char* ended);

    Descriptor socket_;
    std::unique_ptr<TlsSession> tls_;
    std::string problem_;
};

}  // namespace understudy::runtime
