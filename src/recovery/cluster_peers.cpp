#include "recovery/cluster_peers.h"

#include "recovery/engine.h"

namespace understudy::recovery {

comm::PeerState ClusterPeers::state(const NodeName& peer) const {
    return cluster_.peer_state(peer);
}

bool ClusterPeers::carries_calls(const NodeName& peer) const {
    return cluster_.carries_calls(peer);
}

bool ClusterPeers::settled() const {
    return cluster_.settled();
}

void ClusterPeers::call(const NodeName& peer, std::string_view method, std::string payload,
                        runtime::Duration deadline, Done done) {
    cluster_.call(peer, method, std::move(payload), deadline, std::move(done));
}

void ClusterPeers::serve(const std::string& method, Method handler) {
    cluster_.serve(method, std::move(handler));
}

void ClusterPeers::on_peer_event(std::function<void(const comm::PeerEvent&)> handler) {
    cluster_.on_peer_event(std::move(handler));
}

void ClusterPeers::on_absence(std::function<void(runtime::Duration)> handler) {
    cluster_.on_absence(std::move(handler));
}

std::vector<comm::PathStatus> ClusterPeers::paths_to(const NodeName& peer) const {
    auto paths = cluster_.paths();
    std::erase_if(paths, [&](const comm::PathStatus& path) { return path.path.remote != peer; });
    return paths;
}

std::optional<comm::ClockEstimate> ClusterPeers::clock_of(const NodeName& peer) const {
    return cluster_.clock_of(peer);
}

Engine::Engine(runtime::World world, config::Database& database, comm::Cluster& cluster, Options options)
    : Engine(world, database, std::make_unique<ClusterPeers>(cluster), std::move(options)) {}

}  // namespace understudy::recovery
