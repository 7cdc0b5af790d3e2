#pragma once
// What recovery needs of the other nodes, and no more: comm::Cluster through an adapter in the daemon, fakes
// in tests. Threading: loop thread only.

#include "comm/cluster.h"
#include "runtime/task.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::recovery {

/// Told to a peer before this node falls silent on purpose: it takes nothing over. With kPathsDeleted as the
/// payload because the last path to it is deleted, else because the engine stops. Spec: CLU-021, CLU-061.
inline constexpr std::string_view kStoppingMethod = "recovery.stopping";
inline constexpr std::string_view kPathsDeleted = "paths deleted";

class Peers {
  public:
    using Done = std::function<void(Result<std::string>)>;
    using Method = comm::Cluster::Method;
    virtual ~Peers() = default;
    [[nodiscard]] virtual comm::PeerState state(const NodeName& peer) const = 0;
    /// Whether calls can reach it: a DISK path alone keeps it ALIVE and carries none. Spec: CLU-052.
    [[nodiscard]] virtual bool carries_calls(const NodeName& peer) const {
        return state(peer) == comm::PeerState::alive;
    }
    /// Every configured path had its time to come up. Spec: CLU-127.
    [[nodiscard]] virtual bool settled() const = 0;
    /// Always answers: the callee's result, or Code::unreachable when the peer is or gets out of reach or
    /// `deadline` passes.
    virtual void call(const NodeName& peer, std::string_view method, std::string payload,
                      runtime::Duration deadline, Done done) = 0;
    virtual void serve(const std::string& method, Method handler) = 0;
    virtual void on_peer_event(std::function<void(const comm::PeerEvent&)> handler) = 0;
    /// This process did not run for so long that its peers have probably declared it dead.
    virtual void on_absence(std::function<void(runtime::Duration)> handler) = 0;
    /// For incident reports: the paths to a peer, and its wall clock against ours.
    [[nodiscard]] virtual std::vector<comm::PathStatus> paths_to(const NodeName& /*peer*/) const {
        return {};
    }
    [[nodiscard]] virtual std::optional<comm::ClockEstimate> clock_of(const NodeName& /*peer*/) const {
        return std::nullopt;
    }
};

/// The same call for coroutines. `peers` and `tasks` outlive it.
runtime::Task<Result<std::string>> call(Peers& peers, runtime::Tasks& tasks, NodeName peer,
                                        std::string method, std::string payload, runtime::Duration deadline);

}  // namespace understudy::recovery
