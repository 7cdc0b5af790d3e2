#include "quorum/decisions.h"

#include <algorithm>

namespace understudy::quorum {

std::string_view to_string(Quorum quorum) {
    switch (quorum) {
        case Quorum::have:
            return "HAVE";
        case Quorum::lost:
            return "LOST";
        case Quorum::frozen:
            return "FROZEN";
        case Quorum::config_error:
            return "CONFIG ERROR";
    }
    return "?";
}

std::string_view to_string(Witness witness) {
    switch (witness) {
        case Witness::peer_up:
            return "CR1 peer up";
        case Witness::peer_down:
            return "CR2 peer down";
        case Witness::quorum_lost:
            return "CR3 quorum failed";
        case Witness::no_verdict:
            return "CR4 no verdict";
    }
    return "?";
}

std::string_view to_string(Opinion opinion) {
    switch (opinion) {
        case Opinion::unknown:
            return "UNKNOWN";
        case Opinion::alive:
            return "ALIVE";
        case Opinion::dead:
            return "DEAD";
    }
    return "?";
}

std::optional<Witness> remote_verdict(Quorum quorum, const std::vector<Opinion>& answers,
                                      bool deadline_passed) {
    if (quorum != Quorum::have) return Witness::quorum_lost;
    if (answers.empty()) return Witness::no_verdict;
    const auto count = [&](Opinion wanted) { return std::count(answers.begin(), answers.end(), wanted); };
    if (count(Opinion::dead) == static_cast<std::ptrdiff_t>(answers.size())) return Witness::peer_down;
    if (!deadline_passed) return std::nullopt;
    if (count(Opinion::alive) > 0) return Witness::peer_up;
    return count(Opinion::dead) > 0 ? Witness::peer_down : Witness::no_verdict;
}

std::optional<Witness> storage_verdict(const StorageLook& look) {
    if (look.quorum != Quorum::have) return Witness::quorum_lost;
    // A first object where there was none is an update too.
    if (look.sequence && (!look.base || *look.sequence > *look.base)) return Witness::peer_up;
    if (look.quiet >= look.dead_after) return Witness::peer_down;
    if (look.waited > look.dead_after * kTimeoutMultiplier) return Witness::no_verdict;
    return std::nullopt;
}

DownAction on_comm_down(Quorum quorum, std::optional<Witness> witness, bool has_active_resources) {
    const auto loss = has_active_resources ? DownAction::loss_action : DownAction::nothing;
    switch (quorum) {
        case Quorum::lost:
            return loss;
        case Quorum::frozen:
        case Quorum::config_error:
            return DownAction::nothing;
        case Quorum::have:
            break;
    }
    if (!witness) return DownAction::take_over;
    switch (*witness) {
        case Witness::peer_down:
            return DownAction::take_over;
        case Witness::quorum_lost:
            return loss;
        case Witness::peer_up:
        case Witness::no_verdict:
            return DownAction::nothing;
    }
    return DownAction::nothing;
}

}  // namespace understudy::quorum
