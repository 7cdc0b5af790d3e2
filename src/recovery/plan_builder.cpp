#include "recovery/plan_builder.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

const std::vector<config::Equivalency> kNoEquivalents;

bool configuration_is_known(const config::NodeConfig& config) {
    return config.generation > 0 || !config.instances.empty();
}

}  // namespace

bool is_mirrored(const config::Instance& instance) {
    return instance.app.str() == "filesys" && instance.type.str() == "volume";
}

bool is_meant(const std::vector<Tag>& hierarchy, const Tag& only) {
    return only.empty() || std::find(hierarchy.begin(), hierarchy.end(), only) != hierarchy.end();
}

PlanBuilder::PlanBuilder(const ClusterView& view, Order order)
    : view_(view),
      order_(order),
      own_(view.nodes.contains(view.self) ? view.nodes.at(view.self).config : none_),
      graph_(own_) {
    for (const auto& equivalency : own_.equivalencies)
        equivalents_[equivalency.tag].push_back(equivalency);
    for (auto& [tag, list] : equivalents_)
        std::stable_sort(list.begin(), list.end(),
                         [](const auto& a, const auto& b) { return a.other_priority < b.other_priority; });
}

const NodeView* PlanBuilder::node(const NodeName& name) const {
    const auto at = view_.nodes.find(name);
    return at == view_.nodes.end() ? nullptr : &at->second;
}

bool PlanBuilder::alive(const NodeName& name) const {
    if (name == view_.self) return true;
    const auto* found = node(name);
    return found != nullptr && found->alive;
}

config::State PlanBuilder::state(const Tag& own_tag) const {
    if (const auto* changed = change(view_.self, own_tag)) return changed->state;
    const auto at = own_.instances.find(own_tag);
    return at == own_.instances.end() ? config::State::osu : at->second.state;
}

bool PlanBuilder::in_service(const Tag& own_tag) const {
    return is_in_service(state(own_tag));
}

Holding PlanBuilder::holding(const NodeName& name, const Tag& tag) const {
    const auto* found = node(name);
    if (found == nullptr) return Holding::unreachable;
    if (!found->alive) return found->known_dead ? Holding::nothing : Holding::unreachable;
    if (!configuration_is_known(found->config)) return Holding::unreachable;
    const auto at = found->config.instances.find(tag);
    if (at == found->config.instances.end()) return Holding::nothing;
    if (const auto* changed = change(name, tag))
        return is_in_service(changed->state) ? Holding::in_service : Holding::nothing;
    const auto& instance = at->second;
    if (is_in_service(instance.state)) return Holding::in_service;
    // A failed script, of whatever action, may have left it running, or the half of it.
    if (instance.state == config::State::osf)
        return instance.reason.starts_with(kFailedAndTakenDown) ||
                       instance.reason.starts_with(kCheckFailedAndTakenDown)
                   ? Holding::nothing
                   : Holding::may_hold;
    if (instance.state == config::State::illstate && instance.reason.starts_with(kNotAffirmed))
        return Holding::may_hold;
    return Holding::nothing;
}

bool PlanBuilder::has_it(const NodeName& name, const Tag& tag) const {
    if (holding(name, tag) == Holding::in_service) return true;
    const auto* found = node(name);
    if (found == nullptr || !found->alive) return false;
    const auto at = found->config.instances.find(tag);
    return at != found->config.instances.end() && at->second.reservation == config::Reservation::restore;
}

const std::vector<config::Equivalency>& PlanBuilder::equivalents(const Tag& own_tag) const {
    const auto at = equivalents_.find(own_tag);
    return at == equivalents_.end() ? kNoEquivalents : at->second;
}

std::size_t PlanBuilder::add(Step step) {
    const std::size_t index = plan_.steps.size();
    if (order_ == Order::chained && step.action != Action::leave) {
        step.needs.clear();
        for (std::size_t before = index; before > 0; --before)
            if (plan_.steps[before - 1].action != Action::leave) {
                step.needs.push_back(before - 1);
                break;
            }
    }
    std::sort(step.needs.begin(), step.needs.end());
    step.needs.erase(std::unique(step.needs.begin(), step.needs.end()), step.needs.end());
    switch (step.action) {
        case Action::restore:
        case Action::set_isp:
            changes_[step.node][step.tag] = {config::State::isp, index};
            break;
        case Action::remove:
        case Action::set_osu:
            changes_[step.node][step.tag] = {config::State::osu, index};
            break;
        case Action::leave:
            break;
    }
    plan_.steps.push_back(std::move(step));
    return index;
}

void PlanBuilder::append(const Plan& plan) {
    const auto offset = plan_.steps.size();
    for (auto step : plan.steps) {
        for (auto& need : step.needs)
            need += offset;
        add(std::move(step));
    }
}

void PlanBuilder::leave(const Tag& tag, std::string why) {
    add({view_.self, tag, Action::leave, std::move(why), {}, false});
}

const PlanBuilder::Change* PlanBuilder::change(const NodeName& name, const Tag& tag) const {
    const auto node_changes = changes_.find(name);
    if (node_changes == changes_.end()) return nullptr;
    const auto at = node_changes->second.find(tag);
    return at == node_changes->second.end() ? nullptr : &at->second;
}

const Graph& PlanBuilder::graph_of(const NodeName& name) {
    const auto at = peer_graphs_.find(name);
    if (at != peer_graphs_.end()) return at->second;
    return peer_graphs_.emplace(name, Graph(view_.nodes.at(name).config)).first->second;
}

std::vector<std::size_t> PlanBuilder::steps_of_children(const Tag& tag) const {
    std::vector<std::size_t> needs;
    for (const auto& child : graph_.children(tag))
        if (const auto* changed = change(view_.self, child)) needs.push_back(changed->step);
    return needs;
}

Result<> PlanBuilder::release_on(const NodeName& name, const Tag& tag, std::vector<std::size_t>& needs) {
    const auto& graph = graph_of(name);
    for (const auto& affected : graph.upward(tag)) {
        const auto holds = holding(name, affected);
        if (holds == Holding::in_service || holds == Holding::may_hold) {
            Step step{name, affected, Action::remove, {}, {}, holds == Holding::may_hold};
            const auto& instance = node(name)->config.instances.at(affected);
            if (step.force && instance.reason.starts_with(kRemoveFailed))
                step.why = fmt::format("its earlier remove on {} failed, so it may still hold the resource",
                                       name.str());
            else if (step.force)
                step.why = fmt::format("it failed on {}, so it may still hold the resource", name.str());
            else if (affected == tag)
                step.why = fmt::format("in service on {}, wanted on {}", name.str(), view_.self.str());
            else
                step.why = fmt::format("needs {}, which moves to {}", tag.str(), view_.self.str());
            for (const auto& parent : graph.parents(affected))
                if (const auto* changed = change(name, parent)) step.needs.push_back(changed->step);
            add(std::move(step));
        }
        if (const auto* changed = change(name, affected)) needs.push_back(changed->step);
    }
    return {};
}

Result<> PlanBuilder::release_elsewhere(const Tag& tag, std::vector<std::size_t>& needs) {
    for (const auto& pair : equivalents(tag)) {
        switch (holding(pair.other_node, pair.other_tag)) {
            case Holding::nothing:
                // Steps of this plan may have taken it out of service there.
                if (const auto* changed = change(pair.other_node, pair.other_tag))
                    needs.push_back(changed->step);
                break;
            case Holding::in_service:
            case Holding::may_hold:
                UNDERSTUDY_CHECK(release_on(pair.other_node, pair.other_tag, needs));
                break;
            case Holding::unreachable:
                return fail(Code::unreachable,
                            "{} cannot be reached and may have {} in service; restore its communication, or "
                            "wait until it is known to be dead",
                            pair.other_node.str(), pair.other_tag.str());
        }
    }
    return {};
}

Result<> PlanBuilder::one(const Tag& tag, std::string why) {
    switch (state(tag)) {
        case config::State::isp:
            return {};
        case config::State::isu: {
            add({view_.self, tag, Action::set_isp, "runs already (ISU); " + why, steps_of_children(tag),
                 false});
            return {};
        }
        case config::State::osu:
        case config::State::osf:
        case config::State::illstate:
            break;
    }
    auto needs = steps_of_children(tag);
    UNDERSTUDY_CHECK(release_elsewhere(tag, needs));
    add({view_.self, tag, Action::restore, std::move(why), std::move(needs), false});
    return {};
}

Result<> PlanBuilder::down(const Tag& top, std::string why) {
    // Children first. What is ISP already needs nothing, and neither does anything below it (Spec: CMD-116).
    std::vector<Tag> order;
    std::map<Tag, Tag> wanted_by;
    if (visited_down_.contains(top) || state(top) == config::State::isp) return {};
    struct Frame {
        Tag tag;
        std::size_t at = 0;
    };
    visited_down_.insert(top);
    std::vector<Frame> stack{{top}};
    while (!stack.empty()) {
        const auto& children = graph_.children(stack.back().tag);
        if (stack.back().at < children.size()) {
            const Tag& child = children[stack.back().at++];
            if (state(child) == config::State::isp || !visited_down_.insert(child).second) continue;
            wanted_by[child] = stack.back().tag;
            stack.push_back({child});
            continue;
        }
        const Tag tag = stack.back().tag;
        stack.pop_back();
        UNDERSTUDY_CHECK(one(tag, tag == top ? why : fmt::format("{} needs it", wanted_by.at(tag).str())));
    }
    return {};
}

Result<> PlanBuilder::up(const Tag& tag, std::string why) {
    UNDERSTUDY_CHECK(down(tag, std::move(why)));
    struct Frame {
        Tag tag;
        std::size_t at = 0;
    };
    visited_up_.insert(tag);
    std::vector<Frame> stack{{tag}};
    while (!stack.empty()) {
        const auto& parents = graph_.parents(stack.back().tag);
        if (stack.back().at == parents.size()) {
            stack.pop_back();
            continue;
        }
        const Tag parent = parents[stack.back().at++];
        if (!visited_up_.insert(parent).second) continue;
        UNDERSTUDY_CHECK(down(parent, fmt::format("depends on {}", stack.back().tag.str())));
        stack.push_back({parent});
    }
    return {};
}

Result<> PlanBuilder::bring_back(const Tag& moved) {
    std::set<std::pair<NodeName, Tag>> taken;
    for (const auto& step : plan_.steps)
        if (step.action == Action::remove) taken.emplace(step.node, step.tag);
    for (const auto& tag : graph_.connected(moved))
        for (const auto& pair : equivalents(tag))
            if (taken.contains({pair.other_node, pair.other_tag}))
                UNDERSTUDY_CHECK(down(tag, fmt::format("was in service on {}", pair.other_node.str())));
    return {};
}

Result<> PlanBuilder::down_as_it_was(const Tag& tag, std::string why) {
    UNDERSTUDY_CHECK(down(tag, std::move(why)));
    return bring_back(tag);
}

void PlanBuilder::remove_upward(const Tag& top, std::string why, const NodeName& yields_to) {
    for (const auto& tag : graph_.upward(top))
        if (in_service(tag))
            remove_one(tag, tag == top ? why : fmt::format("depends on {}", top.str()), false, yields_to);
}

void PlanBuilder::remove_one(const Tag& tag, std::string why, bool force, const NodeName& yields_to) {
    Step step{view_.self, tag, Action::remove, std::move(why), {}, force, yields_to};
    for (const auto& parent : graph_.parents(tag))
        if (const auto* changed = change(view_.self, parent)) step.needs.push_back(changed->step);
    add(std::move(step));
}

void out_of_service(PlanBuilder& builder, const ClusterView& view, const Tag& tag, const std::string& why,
                    const NodeName& yields_to) {
    if (builder.holding(view.self, tag) != Holding::may_hold) {
        builder.add({view.self, tag, Action::set_osu, why, {}, false, yields_to});
        return;
    }
    for (const auto& member : builder.graph().upward(tag))
        if (builder.state(member) == config::State::illstate &&
            builder.holding(view.self, member) == Holding::may_hold)
            builder.remove_one(member, why, true, yields_to);
}

void affirm(PlanBuilder& builder, const ClusterView& view, const Tag& tag) {
    const auto& instance = builder.own().instances.at(tag);
    auto needs = builder.steps_of_children(tag);
    if (instance.state == config::State::isu)
        builder.leave(tag, "kept running (ISU)");
    else if (instance.init == config::Init::init_isp)
        builder.add(
            {view.self, tag, Action::set_isp, "kept running; INIT_ISP: no script", std::move(needs), false});
    else
        builder.add({view.self, tag, Action::restore,
                     "kept running while the daemon was away; its script affirms it", std::move(needs),
                     true});
}

}  // namespace understudy::recovery
