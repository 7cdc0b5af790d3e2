// What follows when a resource failed on a node that lives, and could not be repaired there. Spec: CLU-176 to
// CLU-179, CLU-209, CLU-222.
//
// Two nodes plan for themselves: the one where it failed takes its whole hierarchy out of service, if there
// is somebody to take it over; the next one by priority brings in service what ran there.

#include "config/maintenance.h"
#include "recovery/plan_builder.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

std::optional<config::Equivalency> next_of(const PlanBuilder& builder, const ClusterView& view,
                                           const NodeName& failed_on, const Tag& tag,
                                           const std::set<NodeName>& tried) {
    for (const auto& pair : builder.equivalents(tag)) {  // by priority
        const auto& peer = pair.other_node;
        if (peer == failed_on || tried.contains(peer) || !builder.alive(peer)) continue;
        if (barred(builder, view, Cause::resource_failed, failed_on, peer).empty()) return pair;
    }
    return std::nullopt;
}

/// Why nobody may take `tag` over, for a person.
std::string nobody(const PlanBuilder& builder, const ClusterView& view, const NodeName& failed_on,
                   const Tag& tag, const std::set<NodeName>& tried) {
    const auto& pairs = builder.equivalents(tag);
    if (pairs.empty()) return "it is not extended to another node";
    const auto why_not = [&](const config::Equivalency& pair) {
        return builder.node(pair.other_node) == nullptr
                   ? std::string()
                   : barred(builder, view, Cause::resource_failed, failed_on, pair.other_node);
    };
    const bool all_disabled = std::all_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
        return why_not(pair).starts_with("resource failover");
    });
    if (all_disabled)
        return fmt::format("resource failover from {} is disabled to every other node", failed_on.str());
    if (!tried.empty()) return "no node is left that may try";
    for (const auto& pair : pairs)
        if (auto why = why_not(pair); builder.alive(pair.other_node) && !why.empty()) return why;
    return "no other node that may take it over is alive";
}

/// Nodes other than `failed_on` and `tried` that have a member of the hierarchy in service, `self` included.
std::set<NodeName> holders(const PlanBuilder& builder, const ClusterView& view,
                           const ResourceFailoverRequest& request, const std::vector<Tag>& hierarchy) {
    std::set<NodeName> found;
    const auto note = [&](const NodeName& node, const Tag& tag) {
        if (node != request.failed_on && !request.tried.contains(node) && builder.has_it(node, tag))
            found.insert(node);
    };
    for (const auto& member : hierarchy) {
        note(view.self, member);
        for (const auto& pair : builder.equivalents(member))
            note(pair.other_node, pair.other_tag);
    }
    return found;
}

/// On the node where it failed. The failed resource's remove runs whatever its state: the failure says
/// nothing about what is left of it.
void take_down(PlanBuilder& builder, const ResourceFailoverRequest& request,
               const std::vector<Tag>& hierarchy, const config::Equivalency& next) {
    const auto to =
        fmt::format("{} takes it over (priority {})", next.other_node.str(), next.other_priority.value);
    const auto& graph = builder.graph();
    const auto above = graph.upward(request.tag);
    bool failed_is_down = false;
    const auto take = [&](const Tag& tag) {
        if (tag == request.tag) {
            if (std::exchange(failed_is_down, true)) return;
            return builder.remove_one(tag, "failed here; " + to, true);
        }
        if (!builder.in_service(tag)) return;
        const bool depends = std::find(above.begin(), above.end(), tag) != above.end();
        builder.remove_one(
            tag,
            depends ? fmt::format("depends on {}, which failed", request.tag.str())
                    : fmt::format("belongs to the hierarchy of {}, which failed", request.tag.str()),
            false);
    };
    const auto upwards = graph.children_first(hierarchy);
    for (const auto& tag : upwards)
        if (graph.children(tag).empty())
            for (const auto& member : graph.upward(tag))
                take(member);
    // Single removes can leave a parent in service over a child that is not.
    for (const auto& tag : upwards)
        for (const auto& member : graph.upward(tag))
            take(member);
}

}  // namespace

std::optional<config::Equivalency> next_backup(const ClusterView& view, const NodeName& failed_on,
                                               const Tag& tag, const std::set<NodeName>& tried) {
    return next_of(PlanBuilder(view, PlanBuilder::Order::parallel), view, failed_on, tag, tried);
}

Result<Plan> plan_resource_failover(const ClusterView& view, const ResourceFailoverRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    if (!builder.own().instances.contains(request.tag))
        return fail(Code::not_found, "there is no resource \"{}\" on {}", request.tag.str(), view.self.str());
    const auto hierarchy = builder.graph().connected(request.tag);
    const bool failed_here = request.failed_on == view.self;
    const auto elsewhere = holders(builder, view, request, hierarchy);
    if (!elsewhere.empty()) {
        const auto& holder = elsewhere.begin()->str();
        builder.leave(request.tag,
                      failed_here && builder.in_service(request.tag)
                          ? fmt::format("in service on {} and here at once: solve that first", holder)
                          : fmt::format("in service on {}", holder));
        return std::move(builder).finish();
    }
    if (config::hierarchy_in_maintenance(builder.own(), builder.graph().roots_of(hierarchy))) {
        builder.leave(request.tag, "the hierarchy is in maintenance");
        return std::move(builder).finish();
    }
    if (failed_here) {
        if (const auto next = next_of(builder, view, view.self, request.tag, request.tried))
            take_down(builder, request, hierarchy, *next);
        else
            builder.leave(request.tag, nobody(builder, view, view.self, request.tag, request.tried));
        return std::move(builder).finish();
    }
    if (const auto why = barred(builder, view, Cause::resource_failed, request.failed_on, view.self);
        !why.empty()) {
        builder.leave(request.tag, why);
        return std::move(builder).finish();
    }
    for (const auto& pair : builder.equivalents(request.tag))
        if (pair.other_node == request.failed_on &&
            builder.holding(pair.other_node, pair.other_tag) == Holding::in_service) {
            builder.leave(request.tag, fmt::format("in service on {} again", request.failed_on.str()));
            return std::move(builder).finish();
        }
    const auto wanted = request.wanted.empty() ? builder.graph().roots_of(hierarchy) : request.wanted;
    for (const auto& tag : wanted) {
        if (!builder.own().instances.contains(tag)) continue;
        UNDERSTUDY_CHECK(builder.down(tag, fmt::format("{} failed on {}; {} comes next", request.tag.str(),
                                                       request.failed_on.str(), view.self.str())));
    }
    if (builder.size() == 0) builder.leave(request.tag, "in service here already");
    return std::move(builder).finish();
}

}  // namespace understudy::recovery
