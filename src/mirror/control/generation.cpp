#include "mirror/control/generation.h"

#include <algorithm>
#include <cassert>

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
    if (*age == 0) return true;
    const auto base = age_of(sync_base);
    return base && *age <= *base;
}

void Generations::begin_alone(GenerationId fresh) {
    assert(fresh != 0 && !knows(fresh));
    if (current != 0) history.insert(history.begin(), current);
    current = fresh;
    peer_may_hold_current = false;
    if (history.size() > kMaxGenerationHistory) history.resize(kMaxGenerationHistory);
}

void Generations::begin_session(GenerationId peer_current) {
    // From here on the peer holds what it says or, after the resync, `current`. Ids between them were this
    // end's alone; without this a flapping link would push sync_base out of the history.
    if (const auto age = age_of(peer_current); age && *age > 1 && log_covers(peer_current)) {
        history.erase(history.begin(), history.begin() + static_cast<std::ptrdiff_t>(*age - 1));
        sync_base = peer_current;
    }
    peer_may_hold_current = true;
}

void Generations::in_sync() {
    sync_base = current;
    peer_may_hold_current = true;
}

void Generations::adopt(GenerationId source_current, const std::vector<GenerationId>& source_history) {
    current = source_current;
    history = source_history;
    if (history.size() > kMaxGenerationHistory) history.resize(kMaxGenerationHistory);
    sync_base = source_current;
    peer_may_hold_current = true;
}

}  // namespace understudy::mirror::control
