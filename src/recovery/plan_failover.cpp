// Who takes over what when a node died. Spec: CLU-182, CLU-186, CLU-187, CLU-191, CLU-210, CLU-219.

#include "config/maintenance.h"
#include "recovery/plan_builder.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

const config::Equivalency* pair_with(const PlanBuilder& builder, const Tag& tag, const NodeName& node) {
    for (const auto& pair : builder.equivalents(tag))
        if (pair.other_node == node) return &pair;
    return nullptr;
}

/// What is known about one hierarchy at the moment its owner died.
struct Situation {
    std::vector<Tag> tops;  // uppermost members that the dead node has too
    std::vector<Tag> roots;
    bool here = false;             // a member is in service on self
    std::set<Tag> held;            // members that the dead node had in service
    std::set<NodeName> elsewhere;  // living nodes with a member in service
    std::set<NodeName> silent;     // neither alive nor known to be dead
};

Situation look_at(const PlanBuilder& builder, const ClusterView& view, const FailoverRequest& request,
                  const std::vector<Tag>& hierarchy) {
    Situation found;
    found.roots = builder.graph().roots_of(hierarchy);
    const auto* dead = builder.node(request.dead);
    for (const auto& tag : hierarchy) {
        if (builder.has_it(view.self, tag)) found.here = true;
        for (const auto& pair : builder.equivalents(tag)) {
            if (pair.other_node == request.dead || request.tried.contains(pair.other_node)) continue;
            if (builder.holding(pair.other_node, pair.other_tag) == Holding::unreachable)
                found.silent.insert(pair.other_node);
            else if (builder.has_it(pair.other_node, pair.other_tag))
                found.elsewhere.insert(pair.other_node);
        }
        const auto* pair = pair_with(builder, tag, request.dead);
        if (pair == nullptr) continue;
        if (dead != nullptr) {
            const auto at = dead->config.instances.find(pair->other_tag);
            if (at != dead->config.instances.end() && is_in_service(at->second.state)) found.held.insert(tag);
        }
        const auto& parents = builder.graph().parents(tag);
        if (std::none_of(parents.begin(), parents.end(), [&](const Tag& parent) {
                return pair_with(builder, parent, request.dead) != nullptr;
            }))
            found.tops.push_back(tag);
    }
    return found;
}

Result<> take_over(PlanBuilder& builder, const ClusterView& view, const FailoverRequest& request,
                   const Situation& found) {
    const Tag& first = found.tops.front();
    const auto& dead = request.dead.str();
    if (!found.elsewhere.empty()) {
        const auto& holder = found.elsewhere.begin()->str();
        builder.leave(first, found.here
                                 ? fmt::format("in service on {} and here at once: solve that first", holder)
                                 : fmt::format("in service on {}", holder));
        return {};
    }
    const bool all_here = std::all_of(found.tops.begin(), found.tops.end(), [&](const Tag& top) {
        return builder.state(top) == config::State::isp;
    });
    if (all_here) {
        builder.leave(first, "in service here already");
        return {};
    }
    if (const auto why = barred(builder, view, Cause::node_lost, request.dead, view.self); !why.empty()) {
        builder.leave(first, why);
        return {};
    }
    if (config::hierarchy_in_maintenance(builder.own(), found.roots)) {
        builder.leave(first, "the hierarchy is in maintenance");
        return {};
    }
    if (!found.silent.empty()) {
        builder.leave(
            first, fmt::format("{} cannot be asked and may have it in service", found.silent.begin()->str()));
        return {};
    }
    std::string choice;
    if (found.here) {
        choice = "the rest of it runs here";
    } else {
        const auto best = candidates(builder, view, Cause::node_lost, request.dead, first, request.tried);
        if (best.empty()) {
            builder.leave(first, "no node is left that may take it over");
            return {};
        }
        choice = fmt::format("{} comes first among the living (priority {})", best.front().node.str(),
                             best.front().priority);
        if (best.front().node != view.self) {
            builder.leave(first, std::move(choice));
            return {};
        }
    }
    // What was stopped is started all the same. Spec: CLU-187.
    const auto loss = [&](const Tag& top) {
        if (found.held.contains(top)) return fmt::format("{} had it in service and is dead", dead);
        if (found.held.empty()) return fmt::format("in service nowhere when {} died", dead);
        return fmt::format("part of what {} had in service, which is dead", dead);
    };
    for (const auto& top : found.tops)
        UNDERSTUDY_CHECK(builder.down(top, fmt::format("{}; {}", loss(top), choice)));
    return {};
}

}  // namespace

Result<Plan> plan_failover(const ClusterView& view, const FailoverRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    if (request.dead == view.self)
        return fail(Code::bad_argument, "{} cannot take over from itself", view.self.str());
    if (!request.only.empty() && !builder.own().instances.contains(request.only))
        return fail(Code::not_found, "there is no resource \"{}\" on {}", request.only.str(),
                    view.self.str());
    const auto* dead = builder.node(request.dead);
    const bool back = dead != nullptr && dead->alive;
    for (const auto& hierarchy : builder.graph().hierarchies()) {
        if (!is_meant(hierarchy, request.only)) continue;
        const auto found = look_at(builder, view, request, hierarchy);
        if (found.tops.empty()) continue;  // the dead node has no part in it
        if (back)
            builder.leave(found.tops.front(), fmt::format("{} is alive", request.dead.str()));
        else
            UNDERSTUDY_CHECK(take_over(builder, view, request, found));
    }
    return std::move(builder).finish();
}

}  // namespace understudy::recovery
