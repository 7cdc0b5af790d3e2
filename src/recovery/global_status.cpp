#include "recovery/global_status.h"

namespace understudy::recovery {
namespace {

using config::State;

struct Count {
    int in_service = 0;
    int unprotected = 0;  // of them ISU
    int ready = 0;        // OSU on a living node
    int failed = 0;
    int lost = 0;     // on a node that is known to be dead
    int unknown = 0;  // its node cannot be asked, or it has no proper state

    void add(const ClusterView& view, const NodeName& node, const Tag& tag) {
        const auto at = view.nodes.find(node);
        const bool alive = node == view.self || (at != view.nodes.end() && at->second.alive);
        if (!alive) {
            ++(at != view.nodes.end() && at->second.known_dead ? lost : unknown);
            return;
        }
        const auto* instance = at == view.nodes.end() ? nullptr : at->second.config.find(tag);
        if (instance == nullptr) {
            ++unknown;
            return;
        }
        switch (instance->state) {
            case State::isu:
                ++unprotected;
                [[fallthrough]];
            case State::isp:
                ++in_service;
                return;
            case State::osu:
                ++ready;
                return;
            case State::osf:
                ++failed;
                return;
            case State::illstate:
                ++unknown;
                return;
        }
    }
};

}  // namespace

std::string_view to_string(GlobalStatus status) {
    switch (status) {
        case GlobalStatus::normal:
            return "Normal";
        case GlobalStatus::warning:
            return "Warning";
        case GlobalStatus::failed:
            return "Failed";
        case GlobalStatus::unknown:
            return "Unknown";
    }
    return "Unknown";
}

GlobalStatus global_status(const ClusterView& view, const NodeName& owner, const Tag& tag) {
    Count count;
    count.add(view, owner, tag);
    if (const auto at = view.nodes.find(owner); at != view.nodes.end())
        for (const auto& pair : at->second.config.equivalents(tag))
            count.add(view, pair.other_node, pair.other_tag);
    if (count.in_service > 1) return GlobalStatus::unknown;
    if (count.in_service == 1)
        return count.unprotected + count.failed + count.lost + count.unknown > 0 ? GlobalStatus::warning
                                                                                 : GlobalStatus::normal;
    return count.unknown > 0 || count.ready + count.failed == 0 ? GlobalStatus::unknown
                                                                : GlobalStatus::failed;
}

}  // namespace understudy::recovery
