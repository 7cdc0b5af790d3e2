#include "sim/invariants.h"

#include <algorithm>

namespace understudy::sim {
namespace {

std::string join(const std::vector<NodeName>& names) {
    std::string text;
    for (const auto& name : names)
        text += (text.empty() ? "" : ", ") + name.str();
    return text;
}

std::pair<NodeName, NodeName> in_order(const NodeName& a, const NodeName& b) {
    return a < b ? std::pair(a, b) : std::pair(b, a);
}

}  // namespace

Invariants::Invariants(SimulatedCluster& cluster) : cluster_(cluster) {
    cluster_.simulation().after_each_event([this] { check_step(); });
    cluster_.kits().on_violation([this](std::string what) { violation(std::move(what)); });
    cluster_.on_peer_event(
        [this](const NodeName& at, const comm::PeerEvent& event) { peer_event(at, event); });
    cluster_.on_daemon_start(
        [this](const NodeName& at) { daemon_started_at_[at] = cluster_.simulation().now(); });
}

void Invariants::disturbed(const NodeName& a, const NodeName& b) {
    disturbed_at_[in_order(a, b)] = cluster_.simulation().now();
}

void Invariants::disturbed(const NodeName& node) {
    for (const auto& other : cluster_.nodes())
        if (other != node) disturbed(node, other);
}

void Invariants::split_resolved() {
    split_possible_ = false;
    seen_changes_ = ~std::uint64_t{0};  // look again at once
}

void Invariants::violation(std::string what) {
    if (violations_.size() >= kMaxViolations) return;
    if (!violations_.empty() && violations_.back() == what) return;
    cluster_.simulation().note("INVARIANT", what);
    violations_.push_back(std::move(what));
}

// Only what the kits did can break the rule, so nothing is done for the other events.
void Invariants::check_step() {
    const auto changes = cluster_.kits().changes();
    if (std::exchange(seen_changes_, changes) == changes) return;
    if (split_possible_ && !cluster_.fenced()) return;
    for (const auto& hierarchy : cluster_.hierarchies())
        for (const auto& tag : hierarchy.members) {
            const auto hosts = cluster_.kits().hosts_running(tag);
            for (std::size_t i = 0; i < hosts.size(); ++i)
                for (std::size_t j = i + 1; j < hosts.size(); ++j)
                    check_together(tag, hosts[i], hosts[j]);
        }
}

bool Invariants::saw(const NodeName& a, const NodeName& b, runtime::TimePoint when) const {
    auto* node = cluster_.daemon(a);
    const auto since = seen_since_.find({a, b});
    return node != nullptr && node->cluster().peer_state(b) == comm::PeerState::alive &&
           since != seen_since_.end() && since->second < when;
}

// A script that began when they did not see each other cannot be called back when they do.
void Invariants::check_together(const Tag& tag, const NodeName& a, const NodeName& b) {
    if (split_possible_ && !cluster_.fenced()) return;
    // Quorum knows no excuse.
    if (cluster_.fenced())
        return violation(
            fmt::format("{} runs on {} and {} at once, with quorum", tag.str(), a.str(), b.str()));
    const auto began = std::max(cluster_.kits().restore_began(a, tag), cluster_.kits().restore_began(b, tag));
    if (excused(a, b, began) && !(saw(a, b, began) && saw(b, a, began))) {
        split_possible_ = true;
        return;
    }
    violation(fmt::format("{} runs on {} and {} at once", tag.str(), a.str(), b.str()));
}

// A cut or pause is felt until heartbeats have flowed again for the whole detection time. A script that hangs
// may end long after that. A network that breaks as many connections in the detection time as heartbeats may
// be missing (a path connects once an interval) lets none through, of a pair that has one path left.
bool Invariants::excused(const NodeName& a, const NodeName& b, runtime::TimePoint since) const {
    if (cluster_.separated(a, b) || cluster_.host(a).paused() || cluster_.host(b).paused()) return true;
    if (cluster_.simulation().connections_lost(a.str(), b.str(), since - cluster_.detection(), since) >=
        cluster_.misses())
        return true;
    const auto at = disturbed_at_.find(in_order(a, b));
    return at != disturbed_at_.end() && since - at->second <= 2 * cluster_.detection();
}

void Invariants::peer_event(const NodeName& at, const comm::PeerEvent& event) {
    if (event.kind == comm::PeerEvent::Kind::comm_up)
        seen_since_[{at, event.peer}] = cluster_.simulation().now();
    if (event.kind != comm::PeerEvent::Kind::comm_down) return;
    auto& peer = cluster_.host(event.peer);
    // Powered off, or not long enough up again for its first heartbeats to count.
    if (!peer.running()) {
        // The daemon is away but the host, and with it the application, lives.
        if (peer.powered()) split_possible_ = true;
        return;
    }
    const auto started = daemon_started_at_.find(event.peer);
    if (started != daemon_started_at_.end() &&
        cluster_.simulation().now() - started->second <= cluster_.detection())
        return;
    if (!excused(at, event.peer, cluster_.simulation().now()))
        violation(
            fmt::format("{} takes {} for dead, which lives, without a reason", at.str(), event.peer.str()));
    split_possible_ = true;
}

void Invariants::check_calm() {
    for (const auto& hierarchy : cluster_.hierarchies())
        check_hierarchy(hierarchy);
    check_copies();
}

void Invariants::check_hierarchy(const Hierarchy& hierarchy) {
    if (cluster_.in_service(hierarchy)) return;
    std::string states;
    for (const auto& tag : hierarchy.members) {
        states +=
            fmt::format("; {} runs on [{}], recorded", tag.str(), join(cluster_.kits().hosts_running(tag)));
        for (const auto& name : cluster_.nodes()) {
            const auto state = cluster_.state(name, tag);
            states += fmt::format(" {} {}", name.str(), state ? config::to_string(*state) : "(off)");
        }
    }
    violation(fmt::format("{} is not in service on exactly one host though all is calm{}",
                          hierarchy.root.str(), states));
}

void Invariants::check_copies() {
    for (const auto& holder : cluster_.nodes())
        for (const auto& owner : cluster_.nodes()) {
            auto* keeps = cluster_.daemon(holder);
            auto* owns = cluster_.daemon(owner);
            if (holder == owner || keeps == nullptr || owns == nullptr) continue;
            const auto* copy = keeps->database().of(owner);
            if (copy == nullptr || !(*copy == owns->database().own()))
                violation(fmt::format("the copy of {} that {} keeps is at generation {}, the owner at {}",
                                      owner.str(), holder.str(), copy == nullptr ? 0 : copy->generation,
                                      owns->database().own().generation));
        }
}

}  // namespace understudy::sim
