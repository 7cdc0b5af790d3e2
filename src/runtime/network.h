#pragma once
// Message channels between processes: frames over TCP with TLS 1.3, or over a unix socket.
//
// A frame on the wire is a 4-byte little-endian length, then that many bytes. A channel delivers whole frames
// in order or closes; it never delivers part of one. Addresses are numeric (the engine connects to comm-path
// addresses only; Spec: CLU-040).

#include "base/result.h"
#include "runtime/tasks.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace understudy::runtime {

/// TCP: numeric address and port. Unix: `address` is the socket's path and `port` is 0.
struct Endpoint {
    std::string address;
    std::uint16_t port = 0;
    [[nodiscard]] bool is_unix() const { return address.starts_with('/'); }
    friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};
std::string to_string(const Endpoint& endpoint);

enum class Security {
    plain,      // unix sockets only
    cluster,    // TLS 1.3, both sides show a certificate of the cluster's CA
    enrolment,  // TLS 1.3, the server shows its certificate, the client has none yet
};

/// Who is at the other end, as proven by the transport.
struct PeerIdentity {
    std::string common_name;     // TLS: the certificate's CN, which is the node's name
    std::string ca_fingerprint;  // TLS: SHA-256 of the issuing CA certificate, hex
    std::uint32_t uid = ~0U;     // unix socket: SO_PEERCRED
    std::uint32_t gid = ~0U;
    std::int32_t pid = 0;
    std::uint32_t issue = 1;  // TLS: which certificate of that name it is; each later one has a higher number
};

inline constexpr std::size_t kMaxFrameBytes = 16UL << 20;
/// send() refuses beyond this many bytes waiting: a peer that does not read must not eat our memory.
inline constexpr std::size_t kMaxQueuedBytes = 64UL << 20;

class Channel {
  public:
    using FrameHandler = std::function<void(std::span<const std::byte> frame)>;
    using CloseHandler = std::function<void(const Error& why)>;
    virtual ~Channel() = default;  // closes without calling the close handler
    /// Sets both handlers; frames that came before are delivered then. The close handler runs at most once
    /// and never on the stack of send() or close().
    virtual void start(FrameHandler on_frame, CloseHandler on_close) = 0;
    /// Queues one frame. False: the channel is closed, or its queue is full (the frame is dropped whole).
    virtual bool send(std::span<const std::byte> frame) = 0;
    /// Sends what is queued, then closes. No handler runs after it.
    virtual void close() = 0;
    [[nodiscard]] virtual const PeerIdentity& peer() const = 0;
    [[nodiscard]] virtual Endpoint local_endpoint() const = 0;
    [[nodiscard]] virtual Endpoint remote_endpoint() const = 0;
};

class Listener {
  public:
    virtual ~Listener() = default;  // stops listening
    /// Where it listens; the port the system chose when 0 was asked for.
    [[nodiscard]] virtual Endpoint endpoint() const { return {}; }
};

struct ConnectOptions {
    Endpoint remote;
    std::string local_address;  // bind to it when not empty
    Security security = Security::cluster;
    std::string expected_ca_fingerprint;  // enrolment: pin the server's CA; empty accepts any
    Duration timeout = std::chrono::seconds(5);
};

class Network {
  public:
    using AcceptHandler = std::function<void(std::unique_ptr<Channel>)>;
    using ConnectHandler = std::function<void(Result<std::unique_ptr<Channel>>)>;
    virtual ~Network() = default;
    /// Errors: address or port taken, not ours, no certificate yet (cluster, enrolment).
    virtual Result<std::unique_ptr<Listener>> listen(const Endpoint& at, Security security,
                                                     AcceptHandler on_accept) = 0;
    /// Calls the handler exactly once, within the timeout, never on the caller's stack.
    virtual void connect(const ConnectOptions& options, ConnectHandler on_done) = 0;
    /// Reads the node's certificate, key and CA again (after init, join, key rotation).
    virtual Result<> reload_credentials() = 0;
};

}  // namespace understudy::runtime
