#include "mirror/control/generation.h"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace understudy::mirror::control {

std::optional<std::size_t> Generations::age_of(GenerationId id) const {
    if (id == 0) return std::nullopt;
    if (id == current) return 0;
    const auto at = std::find(history.begin(), history.end(), id);
    if (at == history.end()) return std::nullopt;
    return static_cast<std::size_t>(at - history.begin()) + 1;
}

bool Generations::log_covers(GenerationId id) const {
    const auto age = age_of(id);
    if (!age) return false;
    if (*age == 0) return true;  // got in a session with this end
    const auto base = age_of(sync_base);
    return base && *age <= *base;
}

Generations Lineage::with(const std::string& peer) const {
    const auto at = peers.find(peer);
    const PeerBase base = at == peers.end() ? PeerBase() : at->second;
    return {current, history, base.sync_base, base.may_hold_current};
}

void Lineage::begin_alone(GenerationId fresh, const std::set<std::string>& in_session) {
    assert(fresh != 0 && !knows(fresh));
    if (current != 0) history.insert(history.begin(), current);
    current = fresh;
    for (auto& [peer, base] : peers) {
        base.may_hold_current = in_session.contains(peer);
        if (base.may_hold_current) base.offered = fresh;
    }
    prune();
}

/// Oldest first, but never what some copy may say it holds: without it that copy would need all blocks.
void Lineage::prune() {
    const auto needed = [this](GenerationId id) {
        return std::any_of(peers.begin(), peers.end(), [id](const auto& peer) {
            return peer.second.sync_base == id || peer.second.offered == id;
        });
    };
    while (history.size() > kMaxGenerationHistory) {
        const auto oldest = std::find_if_not(history.rbegin(), history.rend(), needed);
        if (oldest == history.rend())
            history.pop_back();
        else
            history.erase(std::next(oldest).base());
    }
}

void Lineage::begin_session(const std::string& peer, GenerationId peer_current) {
    PeerBase& base = peers[peer];
    if (with(peer).log_covers(peer_current)) base.sync_base = peer_current;
    base.may_hold_current = true;
    base.offered = current;
}

void Lineage::in_sync(const std::string& peer, GenerationId told) {
    PeerBase& base = peers[peer];
    base.sync_base = knows(told) ? told : current;
    base.offered = current;
    base.may_hold_current = true;
}

void Lineage::confirmed(const std::string& peer) {
    PeerBase& base = peers[peer];
    base.sync_base = base.offered = current;
}

void Lineage::adopt(const std::string& source, GenerationId source_current,
                    const std::vector<GenerationId>& source_history) {
    current = source_current;
    history = source_history;
    if (history.size() > kMaxGenerationHistory) history.resize(kMaxGenerationHistory);
    peers[source] = {source_current, source_current, true};
}

}  // namespace understudy::mirror::control
