// Automatic switchback: a node that returns takes back what says AUTOMATIC and runs on a node that comes
// after it. Spec: CLU-195 to CLU-201.

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

struct Elsewhere {
    std::set<NodeName> holders;  // living nodes with a member in service
    std::set<NodeName> silent;   // neither alive nor known to be dead
    std::vector<Tag> roots;      // in service on the only holder
};

Elsewhere look_at(const PlanBuilder& builder, const std::vector<Tag>& hierarchy) {
    Elsewhere found;
    for (const auto& tag : hierarchy)
        for (const auto& pair : builder.equivalents(tag)) {
            if (builder.holding(pair.other_node, pair.other_tag) == Holding::unreachable)
                found.silent.insert(pair.other_node);
            else if (builder.has_it(pair.other_node, pair.other_tag))
                found.holders.insert(pair.other_node);
        }
    if (found.holders.size() != 1) return found;
    for (const auto& root : builder.graph().roots_of(hierarchy))
        if (const auto* pair = pair_with(builder, root, *found.holders.begin());
            pair != nullptr && builder.has_it(pair->other_node, pair->other_tag))
            found.roots.push_back(root);
    return found;
}

/// Why it stays where it is although it says AUTOMATIC; empty when it moves.
std::string stays(const PlanBuilder& builder, const ClusterView& view, const std::vector<Tag>& hierarchy,
                  const Elsewhere& found) {
    const auto& holder = *found.holders.begin();
    const auto& pair = *pair_with(builder, found.roots.front(), holder);
    if (pair.other_priority < pair.priority)
        return fmt::format("AUTOMATIC, but {} comes first (priority {}, here {})", holder.str(),
                           pair.other_priority.value, pair.priority.value);
    for (const auto& tag : hierarchy) {
        const auto& instance = builder.own().instances.at(tag);
        // It would be written on the side that may lack what was written meanwhile. Spec: CLU-199.
        if (is_mirrored(instance))
            return fmt::format("AUTOMATIC is ignored: {} is a mirrored volume", tag.str());
        if (builder.in_service(tag))
            return fmt::format("{} is in service here and the rest on {}: solve that first", tag.str(),
                               holder.str());
        if (instance.state == config::State::osf) return fmt::format("{} has failed here", tag.str());
        if (config::in_maintenance(builder.own(), view.self, tag))
            return fmt::format("{} is in maintenance here", tag.str());
        for (const auto& there : builder.equivalents(tag))
            if (there.other_node == holder &&
                config::in_maintenance(view.nodes.at(holder).config, holder, there.other_tag))
                return fmt::format("{} is in maintenance on {}", there.other_tag.str(), holder.str());
    }
    if (!found.silent.empty())
        return fmt::format("{} cannot be asked and may have a part of it", found.silent.begin()->str());
    return {};
}

}  // namespace

Result<Plan> plan_switchback(const ClusterView& view, const SwitchbackRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    for (const auto& hierarchy : builder.graph().hierarchies()) {
        if (!is_meant(hierarchy, request.only)) continue;
        const auto found = look_at(builder, hierarchy);
        if (found.roots.empty()) continue;
        const auto& holder = *found.holders.begin();
        if (!request.holder.empty() && request.holder != holder) continue;
        // The root's setting counts for all below it; where several roots are in service all must agree.
        // Spec: CLU-196.
        const bool automatic = std::all_of(found.roots.begin(), found.roots.end(), [&](const Tag& root) {
            return builder.own().instances.at(root).switchback == config::Switchback::automatic;
        });
        if (!automatic) continue;
        if (auto why = stays(builder, view, hierarchy, found); !why.empty()) {
            builder.leave(found.roots.front(), std::move(why));
            continue;
        }
        const auto& pair = *pair_with(builder, found.roots.front(), holder);
        const auto why =
            fmt::format("AUTOMATIC switchback: {} comes first (priority {}, {} {})", view.self.str(),
                        pair.priority.value, holder.str(), pair.other_priority.value);
        for (const auto& root : found.roots)
            UNDERSTUDY_CHECK(builder.down(root, why));
    }
    return std::move(builder).finish();
}

}  // namespace understudy::recovery
