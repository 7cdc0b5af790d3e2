// What an operation of another node took out of service here and left behind when it ended in the middle: it
// comes in service here again, unless it is in service elsewhere by now. Only that: what was out of service
// before stays out. Spec: CLU-107, CLU-200.

#include "config/maintenance.h"
#include "recovery/plan_builder.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

using config::State;

/// The node whose name follows `beginning` in the reason of an OSU instance.
NodeName named_in(const config::Instance& instance, std::string_view beginning) {
    const std::string_view reason = instance.reason;
    if (instance.state != State::osu || !reason.starts_with(beginning)) return {};
    return NodeName(std::string(reason.substr(beginning.size())));
}

/// What is known about one hierarchy that was left half-moved.
struct Situation {
    std::vector<Tag> members;
    std::vector<Tag> taken;     // children first
    std::set<NodeName> movers;  // whose operations took it
};

Situation look_at(const PlanBuilder& builder, std::vector<Tag> members) {
    Situation found;
    for (const auto& tag : builder.graph().children_first(members))
        if (const auto mover = interrupted_on(builder.own().instances.at(tag)); !mover.empty()) {
            found.taken.push_back(tag);
            found.movers.insert(mover);
        }
    found.members = std::move(members);
    return found;
}

NodeName holder_of(const PlanBuilder& builder, const Tag& tag) {
    for (const auto& pair : builder.equivalents(tag))
        if (builder.holding(pair.other_node, pair.other_tag) == Holding::in_service) return pair.other_node;
    return {};
}

/// Why nothing has to be done about it any more; empty: something has.
std::string settled(const PlanBuilder& builder, const Situation& found) {
    for (const auto& tag : found.members)
        if (builder.state(tag) == State::osf)
            return fmt::format("{} failed here: an administrator decides", tag.str());
    NodeName holder;
    for (const auto& tag : found.taken) {
        holder = holder_of(builder, tag);
        if (holder.empty()) return {};
    }
    return fmt::format("in service on {}", holder.str());
}

/// Why it cannot be decided now; empty: it can.
std::string obstacle(const PlanBuilder& builder, const ClusterView& view, const Situation& found,
                     const std::set<NodeName>& never_heard) {
    std::set<NodeName> partly;
    std::set<NodeName> undecided;
    for (const auto& tag : found.members)
        for (const auto& pair : builder.equivalents(tag)) {
            const auto& peer = pair.other_node;
            const auto holding = builder.holding(peer, pair.other_tag);
            if (holding == Holding::unreachable) return fmt::format("{} {}", peer.str(), kNotAsked);
            if (!builder.alive(peer)) continue;
            if (holding == Holding::in_service) {
                partly.insert(peer);
                if (builder.in_service(tag))
                    return fmt::format("{} is in service on {} and here at once: solve that first", tag.str(),
                                       peer.str());
            } else if (builder.has_it(peer, pair.other_tag)) {
                return fmt::format("{} is being started on {}", pair.other_tag.str(), peer.str());
            }
            const auto& instances = builder.node(peer)->config.instances;
            const auto at = instances.find(pair.other_tag);
            if (at != instances.end() && at->second.state == State::illstate) undecided.insert(peer);
        }
    for (const auto& peer : partly)
        if (undecided.contains(peer))
            return fmt::format("{} has a part in service and has not decided about the rest", peer.str());
    for (const auto& mover : found.movers) {
        if (builder.alive(mover)) continue;
        if (!never_heard.contains(mover)) return fmt::format("{} is lost: a takeover decides", mover.str());
        if (auto why = barred(builder, view, Cause::node_lost, mover, view.self); !why.empty()) return why;
    }
    if (config::node_in_maintenance(builder.own(), view.self))
        return fmt::format("{} is in maintenance", view.self.str());
    if (config::hierarchy_in_maintenance(builder.own(), builder.graph().roots_of(found.members)))
        return "the hierarchy is in maintenance";
    return {};
}

Result<> put_back(PlanBuilder& builder, const ClusterView& view, const Situation& found) {
    std::set<Tag> wanted;
    for (const auto& tag : found.taken) {
        const auto& children = builder.graph().children(tag);
        const auto missing = std::find_if(children.begin(), children.end(), [&](const Tag& child) {
            return !builder.in_service(child) && !wanted.contains(child);
        });
        if (missing == children.end())
            wanted.insert(tag);
        else
            builder.add({view.self,
                         tag,
                         Action::set_osu,
                         fmt::format("needs {}, which was taken out of service since", missing->str()),
                         {},
                         false});
    }
    const auto why = fmt::format("an operation of {} took it out of service and was interrupted",
                                 found.movers.begin()->str());
    for (const auto& tag : found.taken)
        if (wanted.contains(tag)) UNDERSTUDY_CHECK(builder.down(tag, why));
    return {};
}

}  // namespace

NodeName taken_for(const config::Instance& instance) {
    return named_in(instance, kTakenFor);
}

NodeName interrupted_on(const config::Instance& instance) {
    return named_in(instance, kInterrupted);
}

Result<Plan> plan_interrupted(const ClusterView& view, const InterruptedRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    for (auto& members : builder.graph().hierarchies()) {
        if (!is_meant(members, request.only)) continue;
        const auto found = look_at(builder, std::move(members));
        if (found.taken.empty()) continue;
        if (const auto why = settled(builder, found); !why.empty()) {
            for (const auto& tag : found.taken)
                builder.add({view.self, tag, Action::set_osu, why, {}, false});
        } else if (auto hindered = obstacle(builder, view, found, request.never_heard); !hindered.empty()) {
            builder.leave(found.taken.back(), std::move(hindered));
        } else {
            UNDERSTUDY_CHECK(put_back(builder, view, found));
        }
    }
    return std::move(builder).finish();
}

}  // namespace understudy::recovery
