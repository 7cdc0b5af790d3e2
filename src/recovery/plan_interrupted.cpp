// What an operation of another node took out of service here and left behind when it ended in the middle: it
// comes in service here again, unless it is in service elsewhere by now. Only that: what was out of service
// before stays out. And what a start of this node had begun and not finished when it was stopped.
// Spec: CLU-107, CLU-129, CLU-200.

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
    std::vector<Tag> kept;      // in service and not affirmed; children first
    std::set<NodeName> movers;  // whose operations took it
};

Situation look_at(const PlanBuilder& builder, std::vector<Tag> members) {
    Situation found;
    for (const auto& tag : builder.graph().children_first(members)) {
        const auto& instance = builder.own().instances.at(tag);
        const auto mover = interrupted_on(instance);
        if (!mover.empty()) found.movers.insert(mover);
        if (is_in_service(instance.state) && is_half_started(instance))
            found.kept.push_back(tag);
        else if (!mover.empty() || is_half_started(instance))
            found.taken.push_back(tag);
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
    if (found.taken.empty()) return {};
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
            if (at == instances.end()) continue;
            if (at->second.state == State::illstate) undecided.insert(peer);
            if (interrupted_on(at->second) == view.self || taken_for(at->second) == view.self)
                return fmt::format("{} brings {} back, which was taken from it", peer.str(),
                                   pair.other_tag.str());
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

/// Unless that was decided for one below it.
void stays_out(PlanBuilder& builder, const ClusterView& view, const Tag& tag, const std::string& why) {
    if (builder.state(tag) == builder.own().instances.at(tag).state) out_of_service(builder, view, tag, why);
}

Result<> put_back(PlanBuilder& builder, const ClusterView& view, const Situation& found) {
    std::set<Tag> wanted;
    for (const auto& tag : found.kept)
        affirm(builder, view, tag);
    for (const auto& tag : found.taken) {
        const auto& children = builder.graph().children(tag);
        const auto missing = std::find_if(children.begin(), children.end(), [&](const Tag& child) {
            return !builder.in_service(child) && !wanted.contains(child);
        });
        if (missing == children.end())
            wanted.insert(tag);
        else
            stays_out(builder, view, tag,
                      fmt::format("needs {}, which was taken out of service since", missing->str()));
    }
    for (const auto& tag : found.taken) {
        if (!wanted.contains(tag)) continue;
        const auto mover = interrupted_on(builder.own().instances.at(tag));
        UNDERSTUDY_CHECK(builder.down(
            tag, mover.empty() ? std::string("its start was stopped before it had come to its end")
                               : fmt::format("an operation of {} took it out of service and was interrupted",
                                             mover.str())));
    }
    return {};
}

}  // namespace

NodeName taken_for(const config::Instance& instance) {
    return named_in(instance, kTakenFor);
}

NodeName interrupted_on(const config::Instance& instance) {
    return named_in(instance, kInterrupted);
}

bool is_half_started(const config::Instance& instance) {
    const std::string_view reason = instance.reason;
    switch (instance.state) {
        case State::osu:
            return reason.starts_with(kStartStopped);
        case State::illstate:
            return reason.starts_with(kNotAffirmed);
        case State::isp:
            return reason.starts_with(kKeptRunning);
        case State::isu:
        case State::osf:
            return false;
    }
    return false;
}

Result<Plan> plan_interrupted(const ClusterView& view, const InterruptedRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    for (auto& members : builder.graph().hierarchies()) {
        if (!is_meant(members, request.only)) continue;
        const auto found = look_at(builder, std::move(members));
        if (found.taken.empty() && found.kept.empty()) continue;
        const auto why = settled(builder, found);
        auto hindered = why.empty() || !found.kept.empty()
                            ? obstacle(builder, view, found, request.never_heard)
                            : std::string();
        if (!hindered.empty()) {
            builder.leave(found.taken.empty() ? found.kept.back() : found.taken.back(), std::move(hindered));
        } else if (!why.empty()) {
            for (const auto& tag : found.kept)
                affirm(builder, view, tag);
            for (const auto& tag : found.taken)
                stays_out(builder, view, tag, why);
        } else {
            UNDERSTUDY_CHECK(put_back(builder, view, found));
        }
    }
    return std::move(builder).finish();
}

}  // namespace understudy::recovery
