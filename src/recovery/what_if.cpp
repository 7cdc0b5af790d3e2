#include "recovery/what_if.h"

namespace understudy::recovery {

ClusterView seen_from(ClusterView view, const NodeName& node) {
    view.self = node;
    auto& self = view.nodes[node];
    self.alive = true;
    self.known_dead = false;
    return view;
}

ClusterView if_lost(ClusterView view, const NodeName& node) {
    auto& lost = view.nodes[node];
    lost.alive = false;
    lost.known_dead = true;
    return view;
}

ClusterView if_starting(ClusterView view) {
    for (auto& [tag, instance] : view.nodes[view.self].config.instances) {
        instance.state = config::State::illstate;
        instance.reason.clear();
        instance.reservation = config::Reservation::none;
        instance.reserving_pid = 0;
    }
    for (auto& [name, node] : view.nodes)
        node.config.flags.erase(no_failover_flag(view.self));
    return view;
}

ClusterView after(ClusterView view, const Plan& plan) {
    for (const auto& step : plan.steps) {
        auto& instances = view.nodes[step.node].config.instances;
        const auto at = instances.find(step.tag);
        if (at == instances.end() || step.action == Action::leave) continue;
        const bool up = step.action == Action::restore || step.action == Action::set_isp;
        at->second.state = up ? config::State::isp : config::State::osu;
        at->second.reason = step.why;
    }
    return view;
}

}  // namespace understudy::recovery
