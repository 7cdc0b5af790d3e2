// What happens to what runs here when the engine stops or the host shuts down. Spec: CMD-052, CMD-054,
// CLU-202 to CLU-206.

#include "config/maintenance.h"
#include "recovery/plan_builder.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

/// From what depends on nothing, then whatever else is in service: single removes can leave a parent in
/// service over a child that is not.
void take_down(PlanBuilder& builder, const std::vector<Tag>& hierarchy, const std::string& why) {
    const auto order = builder.graph().children_first(hierarchy);
    for (const auto& tag : order)
        if (builder.graph().children(tag).empty()) builder.remove_upward(tag, why);
    for (const auto& tag : order)
        builder.remove_upward(tag, why);
}

/// The steps by which `target` takes over what is in service here, planned as that node will plan them.
Result<Plan> moved(const PlanBuilder& builder, const ClusterView& seen_there, const std::vector<Tag>& tops) {
    PlanBuilder there(seen_there, PlanBuilder::Order::chained);
    for (const auto& top : tops)
        for (const auto& pair : builder.equivalents(top))
            if (pair.other_node == seen_there.self)
                UNDERSTUDY_CHECK(there.down_as_it_was(pair.other_tag, "requested here"));
    return std::move(there).finish();
}

class Shutdown {
  public:
    Shutdown(const ClusterView& view, const ShutdownRequest& request)
        : view_(view), request_(request), builder_(view, PlanBuilder::Order::parallel) {}

    Plan plan() && {
        for (const auto& hierarchy : builder_.graph().hierarchies()) {
            if (!is_meant(hierarchy, request_.only)) continue;
            const auto tops = in_service_tops(builder_, hierarchy);
            if (tops.empty()) continue;
            if (const auto why = move(hierarchy, tops); !why.empty())
                take_down(builder_, hierarchy, "this node shuts down; " + why);
        }
        return std::move(builder_).finish();
    }

  private:
    /// Why it cannot be moved; empty when it was.
    std::string move(const std::vector<Tag>& hierarchy, const std::vector<Tag>& tops) {
        for (const auto& tag : hierarchy)  // Spec: CLU-204
            if (is_mirrored(builder_.own().instances.at(tag)))
                return fmt::format("{} is a mirrored volume, which is not switched over", tag.str());
        if (config::hierarchy_in_maintenance(builder_.own(), builder_.graph().roots_of(hierarchy)))
            return "the hierarchy is in maintenance";
        const auto found =
            candidates(builder_, view_, Cause::shutdown, view_.self, tops.front(), request_.tried);
        if (found.empty()) return "no node is left that may take it over";
        const auto steps = moved(builder_, seen_from(found.front().node), tops);
        if (!steps) return steps.error().text;
        builder_.append(*steps);
        return {};
    }

    const ClusterView& seen_from(const NodeName& node) {
        auto [at, added] = others_.try_emplace(node);
        if (added) {
            at->second = view_;
            at->second.self = node;
        }
        return at->second;
    }

    const ClusterView& view_;
    const ShutdownRequest& request_;
    PlanBuilder builder_;
    std::map<NodeName, ClusterView> others_;
};

}  // namespace

std::vector<Tag> in_service_tops(const PlanBuilder& builder, const std::vector<Tag>& hierarchy) {
    std::vector<Tag> tops;
    for (const auto& tag : hierarchy) {
        const auto& parents = builder.graph().parents(tag);
        if (builder.in_service(tag) &&
            std::none_of(parents.begin(), parents.end(), [&](const Tag& p) { return builder.in_service(p); }))
            tops.push_back(tag);
    }
    return tops;
}

std::vector<Tag> in_service_tops(const ClusterView& view, const Tag& member) {
    const PlanBuilder builder(view, PlanBuilder::Order::parallel);
    return in_service_tops(builder, builder.graph().connected(member));
}

Result<Plan> plan_stop(const ClusterView& view, const StopRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    for (const auto& hierarchy : builder.graph().hierarchies()) {
        if (!is_meant(hierarchy, request.only)) continue;
        if (!request.also_failed) {
            take_down(builder, hierarchy, "this node stops");
            continue;
        }
        const auto order = builder.graph().children_first(hierarchy);
        for (auto tag = order.rbegin(); tag != order.rend(); ++tag) {
            if (builder.in_service(*tag))
                builder.remove_one(*tag, "this node has lost quorum", false);
            else if (builder.holding(view.self, *tag) == Holding::may_hold)
                builder.remove_one(*tag, "this node has lost quorum, and it may still run", true);
        }
    }
    return std::move(builder).finish();
}

Result<Plan> plan_shutdown(const ClusterView& view, const ShutdownRequest& request) {
    if (!view.nodes.at(view.self).config.flags.contains(FlagName(kShutdownSwitchoverFlag)))
        return plan_stop(view, StopRequest{request.only});
    return Shutdown(view, request).plan();
}

}  // namespace understudy::recovery
