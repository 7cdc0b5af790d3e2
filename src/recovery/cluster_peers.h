#pragma once
// Peers over the real communication. Its own file, so that tests without communication need not link it.

#include "recovery/peers.h"

namespace understudy::recovery {

class ClusterPeers final : public Peers {
  public:
    /// `cluster` outlives it.
    explicit ClusterPeers(comm::Cluster& cluster) : cluster_(cluster) {}
    [[nodiscard]] comm::PeerState state(const NodeName& peer) const override;
    [[nodiscard]] bool carries_calls(const NodeName& peer) const override;
    [[nodiscard]] bool settled() const override;
    void call(const NodeName& peer, std::string_view method, std::string payload, runtime::Duration deadline,
              Done done) override;
    void serve(const std::string& method, Method handler) override;
    void on_peer_event(std::function<void(const comm::PeerEvent&)> handler) override;
    void on_absence(std::function<void(runtime::Duration)> handler) override;
    [[nodiscard]] std::vector<comm::PathStatus> paths_to(const NodeName& peer) const override;
    [[nodiscard]] std::optional<comm::ClockEstimate> clock_of(const NodeName& peer) const override;

  private:
    comm::Cluster& cluster_;
};

}  // namespace understudy::recovery
