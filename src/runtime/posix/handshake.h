#pragma once
// From a socket that is connected or connecting to an Established one, within a deadline. Private to
// runtime/posix.

#include "runtime/posix/connection.h"

#include <functional>
#include <memory>
#include <optional>

namespace understudy::runtime {

/// Drives connect and TLS on one socket. Owned by shared_ptr; the waits it has pending hold it.
class Handshake : public std::enable_shared_from_this<Handshake> {
  public:
    using DoneHandler = std::function<void(Result<Established>)>;

    /// `tls` may be null. `connecting`: the TCP connection is still being made.
    Handshake(EventLoop& loop, Descriptor socket, std::unique_ptr<TlsSession> tls, Endpoint remote,
              bool connecting);

    /// Calls `on_done` exactly once, never on the caller's stack, unless cancelled before.
    void start(Duration limit, DoneHandler on_done);
    /// Closes the socket; on_done is not called any more.
    void cancel();

  private:
    void step();
    void step_later(Transport::Status status);
    void timed_out();
    void finish(Result<Established> result);
    void release();

    EventLoop& loop_;
    std::unique_ptr<Transport> transport_;
    std::unique_ptr<Watch> watch_;
    Endpoint remote_;
    bool connecting_;
    Duration limit_{};
    std::optional<TimerId> timer_;
    DoneHandler on_done_;
};

}  // namespace understudy::runtime
