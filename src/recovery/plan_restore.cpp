// perform_action's plans, and lkstop's. Spec: CMD-116 to CMD-122, CMD-052.

#include "recovery/plan_builder.h"

namespace understudy::recovery {
namespace {

Result<> check_known(const PlanBuilder& builder, const ClusterView& view, const Tag& tag) {
    if (builder.own().instances.contains(tag)) return {};
    return fail(Code::not_found, "there is no resource \"{}\" on {}", tag.str(), view.self.str());
}

/// Other roots over a shared child were stopped on the peer; they belong where the child is now. Spec:
/// CLU-177.
Result<> bring_back_what_was_taken_down(PlanBuilder& builder, const Tag& moved) {
    std::set<std::pair<NodeName, Tag>> taken;
    for (const auto& step : builder.steps())
        if (step.action == Action::remove) taken.emplace(step.node, step.tag);
    for (const auto& tag : builder.graph().connected(moved))
        for (const auto& pair : builder.equivalents(tag))
            if (taken.contains({pair.other_node, pair.other_tag}))
                UNDERSTUDY_CHECK(
                    builder.down(tag, fmt::format("was in service on {}", pair.other_node.str())));
    return {};
}

}  // namespace

Result<Plan> plan_restore(const ClusterView& view, const RestoreRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::chained);
    UNDERSTUDY_CHECK(check_known(builder, view, request.tag));
    if (builder.state(request.tag) == config::State::isp) {
        builder.leave(request.tag, "in service here already");
        return std::move(builder).finish();
    }
    const std::string why = "requested here";
    switch (request.scope) {
        case Scope::related:
            UNDERSTUDY_CHECK(builder.up(request.tag, why));
            break;
        case Scope::below:
            UNDERSTUDY_CHECK(builder.down(request.tag, why));
            break;
        case Scope::single:
            UNDERSTUDY_CHECK(builder.one(request.tag, why));
            break;
        case Scope::moving:
            UNDERSTUDY_CHECK(builder.up(request.tag, why));
            UNDERSTUDY_CHECK(bring_back_what_was_taken_down(builder, request.tag));
            break;
    }
    return std::move(builder).finish();
}

Result<Plan> plan_remove(const ClusterView& view, const RemoveRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::chained);
    UNDERSTUDY_CHECK(check_known(builder, view, request.tag));
    const std::string why = "requested here";
    if (request.scope == Scope::single) {
        if (builder.in_service(request.tag))
            builder.add({view.self, request.tag, Action::remove, why, {}, false});
    } else {
        builder.remove_upward(request.tag, why);  // -b has no effect on remove (Spec: CMD-109)
    }
    if (builder.size() == 0) builder.leave(request.tag, "not in service here");
    return std::move(builder).finish();
}

Result<Plan> plan_stop(const ClusterView& view, const StopRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    for (const auto& hierarchy : builder.graph().hierarchies()) {
        if (!is_meant(hierarchy, request.only)) continue;
        const auto order = builder.graph().children_first(hierarchy);
        // From what depends on nothing, then whatever else is in service: single removes can leave a parent
        // in service over a child that is not.
        for (const auto& tag : order)
            if (builder.graph().children(tag).empty()) builder.remove_upward(tag, "this node stops");
        for (const auto& tag : order)
            builder.remove_upward(tag, "this node stops");
    }
    return std::move(builder).finish();
}

}  // namespace understudy::recovery
