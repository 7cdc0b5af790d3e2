// First states at the engine's start. Spec: CLU-119 rows 2 to 6, CLU-124 to CLU-129, CLU-132.
//
// A hierarchy is initialised as a whole, on one node: where its root is in service, else on the reachable
// node of the highest priority. Resources that kept running while only the daemon was away are ISP or ISU
// here; they are affirmed by their restore scripts, or taken down when a peer took them over meanwhile.

#include "recovery/plan_builder.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

using config::State;

struct Hierarchy {
    std::vector<Tag> members;  // creation order
    std::vector<Tag> upwards;  // children first
    std::vector<Tag> kept;     // ISP or ISU: ran on while the daemon was away
    std::vector<Tag> undecided;
    std::set<NodeName> holders;  // peers that have the hierarchy, its top included
    std::set<NodeName> movers;   // peers that are bringing a member in service
    std::set<NodeName> partly;   // peers with a member in service, but nothing above it
    std::set<NodeName> silent;   // neither alive nor known to be dead, or not known
};

Tag top_above(const Graph& graph, const Tag& tag, const auto& wanted) {
    for (const auto& above : graph.upward(tag))
        if (graph.parents(above).empty() && wanted(above)) return above;
    return {};
}

bool was_left_out(const config::Instance& instance) {
    return instance.state == State::osu && std::string_view(instance.reason).ends_with(kNotAsked);
}

/// Nothing has been decided about it yet.
bool is_undecided(const config::Instance& instance, const InitialiseRequest& request) {
    return instance.state == State::illstate || (request.left_out && was_left_out(instance));
}

Hierarchy look_at(const PlanBuilder& builder, const std::map<NodeName, Graph>& graphs,
                  std::vector<Tag> members, const InitialiseRequest& request) {
    Hierarchy found;
    found.members = std::move(members);
    found.upwards = builder.graph().children_first(found.members);
    for (const auto& tag : found.members) {
        if (builder.in_service(tag)) found.kept.push_back(tag);
        if (is_undecided(builder.own().instances.at(tag), request)) found.undecided.push_back(tag);
        for (const auto& pair : builder.equivalents(tag)) {
            const auto& peer = pair.other_node;
            if (builder.holding(peer, pair.other_tag) == Holding::unreachable) {
                found.silent.insert(peer);
            } else if (builder.has_it(peer, pair.other_tag)) {
                const auto held = [&](const Tag& t) { return builder.has_it(peer, t); };
                const bool whole = !top_above(graphs.at(peer), pair.other_tag, held).empty();
                (whole ? found.holders : found.partly).insert(peer);
                if (builder.holding(peer, pair.other_tag) != Holding::in_service) found.movers.insert(peer);
            }
        }
    }
    return found;
}

/// Whether it was undecided and no step so far has decided.
bool is_open(const PlanBuilder& builder, const Hierarchy& found, const Tag& tag) {
    return std::find(found.undecided.begin(), found.undecided.end(), tag) != found.undecided.end() &&
           builder.state(tag) == builder.own().instances.at(tag).state;
}

/// `mover` is bringing those of `had` in service that start by themselves.
void all_osu(PlanBuilder& builder, const ClusterView& view, const Hierarchy& found, const std::string& why,
             const NodeName& mover = {}, const std::set<Tag>& had = {}) {
    for (const auto& tag : found.undecided) {
        const auto& instance = builder.own().instances.at(tag);
        const bool said = instance.state == State::osu && instance.reason == why;
        const bool yields = had.contains(tag) && instance.init == config::Init::autores_isp;
        if (is_open(builder, found, tag) && !said)
            out_of_service(builder, view, tag, why, yields ? mover : NodeName());
    }
}

/// The peer that comes before `self` for this hierarchy, if one is alive and starts too or has a part of it.
/// One that started long ago starts nothing any more: to step back for it would leave the hierarchy in
/// service nowhere when this node rebooted faster than its peers notice. Spec: CLU-124, CLU-128, CLU-132.
std::optional<config::Equivalency> better_peer(const PlanBuilder& builder, const Hierarchy& found,
                                               const InitialiseRequest& request) {
    for (const auto& tag : found.members) {
        if (!builder.graph().parents(tag).empty()) continue;
        for (const auto& pair : builder.equivalents(tag)) {
            const auto* peer = builder.node(pair.other_node);
            if (peer == nullptr || !peer->alive || !(pair.other_priority < pair.priority)) continue;
            const auto at = peer->config.instances.find(pair.other_tag);
            if (at == peer->config.instances.end()) continue;
            if (is_undecided(at->second, request) || found.partly.contains(pair.other_node)) return pair;
        }
        return std::nullopt;  // the first root decides for all
    }
    return std::nullopt;
}

Result<> by_method(PlanBuilder& builder, const ClusterView& view, const Tag& tag) {
    const auto& instance = builder.own().instances.at(tag);
    const auto& children = builder.graph().children(tag);
    const auto down = std::find_if(children.begin(), children.end(),
                                   [&](const Tag& child) { return !builder.in_service(child); });
    const auto osu = [&](const std::string& why) { out_of_service(builder, view, tag, why); };
    switch (instance.init) {
        case config::Init::init_osu:
            osu(std::string(kByHand));
            return {};
        case config::Init::init_isp: {
            for (const auto& pair : builder.equivalents(tag))
                if (builder.has_it(pair.other_node, pair.other_tag)) {
                    osu(fmt::format("in service on {}", pair.other_node.str()));
                    return {};
                }
            builder.add({view.self, tag, Action::set_isp, "INIT_ISP: something else starts it",
                         builder.steps_of_children(tag), false});
            return {};
        }
        case config::Init::autores_isp:
            break;
    }
    if (down != children.end()) {
        osu(fmt::format("needs {}, which is not started", down->str()));
        return {};
    }
    return builder.one(tag, "AUTORES_ISP and in service on no living node");
}

/// The rest of it runs here, but `peer` cannot be asked now: it goes on when it can (plan_interrupted.cpp).
/// Where a script was cut short that is so as it is recorded.
void wait_for(PlanBuilder& builder, const ClusterView& view, const Tag& tag, const NodeName& peer) {
    if (builder.holding(view.self, tag) == Holding::may_hold) return;
    const bool by_hand = builder.own().instances.at(tag).init == config::Init::init_osu;
    builder.add(
        {view.self, tag, Action::set_osu,
         by_hand ? std::string(kByHand) : fmt::format("{}{} {}", kStartStopped, peer.str(), kNotAsked)});
}

/// Members that are in service here with all below them, and on no other node; children first.
std::vector<Tag> here_alone(const PlanBuilder& builder, const Hierarchy& found) {
    std::vector<Tag> alone;
    for (const auto& tag : found.upwards) {
        const auto& pairs = builder.equivalents(tag);
        const auto& children = builder.graph().children(tag);
        const bool elsewhere = std::any_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
            return builder.has_it(pair.other_node, pair.other_tag);
        });
        const bool whole = std::all_of(children.begin(), children.end(), [&](const Tag& child) {
            return std::find(alone.begin(), alone.end(), child) != alone.end();
        });
        if (builder.in_service(tag) && !elsewhere && whole) alone.push_back(tag);
    }
    return alone;
}

Result<> initialise(PlanBuilder& builder, const ClusterView& view, const Hierarchy& found,
                    const InitialiseRequest& request) {
    if (!found.holders.empty()) {
        const auto& holder = found.holders.begin()->str();
        // Its takeover goes on without us; a switchover that needed this node does not. Spec: CLU-107
        const auto mover = found.movers.empty() ? NodeName() : *found.movers.begin();
        for (const auto& tag : found.upwards)
            builder.remove_upward(tag, fmt::format("{} took it over while the daemon was away", holder),
                                  mover);
        all_osu(builder, view, found, fmt::format("the hierarchy is in service on {}", holder), mover,
                request.had);
        return {};
    }
    if (!found.kept.empty()) {
        if (!found.partly.empty()) {
            builder.leave(found.kept.front(),
                          fmt::format("a part is in service on {} and here at once: solve that first",
                                      found.partly.begin()->str()));
            // What only this node has is affirmed all the same: a script may have stopped it meanwhile.
            for (const auto& tag : here_alone(builder, found))
                affirm(builder, view, tag);
            all_osu(builder, view, found, "a part of the hierarchy is in service twice");
            return {};
        }
        for (const auto& tag : found.upwards) {
            if (builder.in_service(tag))
                affirm(builder, view, tag);
            else if (!is_open(builder, found, tag))
                continue;
            else if (found.silent.empty())
                UNDERSTUDY_CHECK(by_method(builder, view, tag));
            else
                wait_for(builder, view, tag, *found.silent.begin());
        }
        return {};
    }
    if (!found.silent.empty()) {
        all_osu(builder, view, found, fmt::format("{} {}", found.silent.begin()->str(), kNotAsked));
        return {};
    }
    if (const auto better = better_peer(builder, found, request)) {
        all_osu(builder, view, found,
                fmt::format("{} is up and comes first (priority {}, here {})", better->other_node.str(),
                            better->other_priority.value, better->priority.value));
        return {};
    }
    for (const auto& tag : found.upwards)
        if (is_open(builder, found, tag)) UNDERSTUDY_CHECK(by_method(builder, view, tag));
    return {};
}

}  // namespace

Result<Plan> plan_initialise(const ClusterView& view, const InitialiseRequest& request) {
    PlanBuilder builder(view, PlanBuilder::Order::parallel);
    std::map<NodeName, Graph> graphs;
    for (const auto& [name, node] : view.nodes)
        if (name != view.self) graphs.emplace(name, Graph(node.config));
    for (auto& members : builder.graph().hierarchies()) {
        if (!is_meant(members, request.only)) continue;
        const auto found = look_at(builder, graphs, std::move(members), request);
        if (found.kept.empty() && found.undecided.empty()) continue;
        const auto left_out = [&](const Tag& tag) { return was_left_out(builder.own().instances.at(tag)); };
        if (request.left_out &&
            (!found.kept.empty() || !std::any_of(found.undecided.begin(), found.undecided.end(), left_out)))
            continue;
        UNDERSTUDY_CHECK(initialise(builder, view, found, request));
    }
    return std::move(builder).finish();
}

}  // namespace understudy::recovery
