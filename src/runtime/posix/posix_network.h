#pragma once
// The Network of a real host: TLS 1.3 over TCP, and unix sockets. Private to runtime/posix.

#include "runtime/network.h"
#include "runtime/posix/event_loop.h"
#include "runtime/posix/tls.h"

#include <functional>
#include <memory>

namespace understudy::runtime {

/// An accepted connection must finish its TLS handshake within this.
inline constexpr Duration kHandshakeLimit = std::chrono::seconds(5);
/// Unfinished handshakes per listener. One more drops the oldest, so that a peer that connects and says
/// nothing cannot keep the others out.
inline constexpr std::size_t kMaxUnfinishedHandshakes = 64;

class PosixNetwork final : public Network {
  public:
    using RefusalHandler = PosixWorld::RefusalHandler;

    PosixNetwork(EventLoop& loop, CredentialPaths credentials, const Files& files,
                 Duration handshake_limit = kHandshakeLimit);

    Result<std::unique_ptr<Listener>> listen(const Endpoint& at, Security security,
                                             AcceptHandler on_accept) override;
    void connect(const ConnectOptions& options, ConnectHandler on_done) override;
    Result<> reload_credentials() override;

    void on_refused(RefusalHandler handler) { *refused_ = std::move(handler); }

  private:
    void connect_to_unix(const ConnectOptions& options, TimePoint deadline, ConnectHandler on_done);

    EventLoop& loop_;
    TlsCredentials credentials_;
    Duration handshake_limit_;
    // Shared with listeners, which look at it when a handshake fails.
    std::shared_ptr<RefusalHandler> refused_ = std::make_shared<RefusalHandler>();
};

}  // namespace understudy::runtime
