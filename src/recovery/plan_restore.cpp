// perform_action's and switchover's plans. Spec: CMD-116 to CMD-122.

#include "recovery/plan_builder.h"

namespace understudy::recovery {
namespace {

Result<> check_known(const PlanBuilder& builder, const ClusterView& view, const Tag& tag) {
    if (builder.own().instances.contains(tag)) return {};
    return fail(Code::not_found, "there is no resource \"{}\" on {}", tag.str(), view.self.str());
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
            UNDERSTUDY_CHECK(builder.bring_back(request.tag));
            break;
        case Scope::as_it_was:
            UNDERSTUDY_CHECK(builder.down_as_it_was(request.tag, why));
            break;
    }
    return std::move(builder).finish();
}

Result<Plan> plan_remove(const ClusterView& view, const RemoveRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::chained);
    UNDERSTUDY_CHECK(check_known(builder, view, request.tag));
    const std::string why = "requested here";
    // What is out of service only until it can be brought back stays out.
    const auto stays_out = [&](const Tag& tag) {
        const auto& instance = builder.own().instances.at(tag);
        if (!interrupted_on(instance).empty() ||
            (instance.state == config::State::osu && is_half_started(instance)))
            builder.add({view.self, tag, Action::set_osu, "taken out of service on request", {}, false});
    };
    if (request.scope == Scope::single) {
        if (builder.in_service(request.tag))
            builder.add({view.self, request.tag, Action::remove, why, {}, false});
        stays_out(request.tag);
    } else {
        builder.remove_upward(request.tag, why);  // -b has no effect on remove (Spec: CMD-109)
        for (const auto& tag : builder.graph().upward(request.tag))
            stays_out(tag);
    }
    if (builder.size() == 0) builder.leave(request.tag, "not in service here");
    return std::move(builder).finish();
}

Result<std::optional<RestoreRequest>> switchover_request(const ClusterView& view, const Tag& tag,
                                                         Scope scope) {
    const auto& own = view.nodes.at(view.self).config;
    if (own.find(tag) == nullptr)
        return fail(Code::not_found, "there is no resource \"{}\" on {}", tag.str(), view.self.str());
    for (const auto& member : hierarchy_of(own, tag)) {
        const auto where = in_service_on(view, member);
        if (where.size() > 1)
            return fail(Code::failure,
                        "{} is in service on {} and {} at once; take it out of service on one of them "
                        "(perform_action -a remove) before it is moved",
                        member.str(), where[0].str(), where[1].str());
    }
    std::vector<Tag> wanted{tag};
    if (scope != Scope::as_it_was)
        for (auto& root : own.roots_above(tag))
            wanted.push_back(std::move(root));
    for (const auto& each : wanted) {
        const auto* instance = own.find(each);
        if (instance != nullptr && instance->state != config::State::isp)
            return std::optional(RestoreRequest{each, scope});
    }
    return std::optional<RestoreRequest>();
}

}  // namespace understudy::recovery
