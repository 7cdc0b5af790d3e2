#pragma once
// Asking another node's mirrord, and being asked. One TLS channel carries one request and one reply: calls
// are rare (handshakes, administration), and no state is left to go stale when a node dies. Threading: the
// control loop's thread.

#include "mirror/control/protocol.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <functional>
#include <list>
#include <memory>

namespace understudy::mirror::control {

struct PeerAddress {
    std::string node;  // the certificate's name must be this; empty: any node of the cluster
    std::string remote_address;
    std::uint16_t remote_port = kDispatchPort;
    std::string local_address;
};

struct CallLimits {
    runtime::Duration connect = std::chrono::seconds(3);
    runtime::Duration answer = std::chrono::seconds(20);
};

/// The peer's reply. Code::unreachable: nobody answered within the limits. Other codes: the peer's own error,
/// or a peer that is not the expected node, or of another protocol version. `world` outlives the task.
runtime::Task<Result<PeerReply>> call_peer(runtime::World world, PeerAddress peer, PeerRequest request,
                                           CallLimits limits);

/// Serves calls. A caller that is silent, floods or sends what is no request loses its channel.
class PeerServer {
  public:
    /// `caller` is the node name proven by TLS. `answer` may be called later, once.
    using Answer = std::function<void(PeerReply)>;
    using Handler = std::function<void(const std::string& caller, PeerRequest request, Answer answer)>;

    PeerServer(runtime::World world, Handler handler);
    PeerServer(const PeerServer&) = delete;
    PeerServer& operator=(const PeerServer&) = delete;
    ~PeerServer();
    /// Errors: port taken, address not ours, no certificate yet.
    Result<> listen(const runtime::Endpoint& at);

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace understudy::mirror::control
