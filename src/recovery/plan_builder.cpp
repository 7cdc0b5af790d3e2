#include "recovery/plan_builder.h"

#include <algorithm>
#include <deque>

namespace understudy::recovery {
namespace {

const std::vector<Tag> kNoTags;
const std::vector<config::Equivalency> kNoEquivalents;

/// Depth-first with an explicit stack, so that a long chain cannot exhaust the call stack. Every tag is
/// emitted after all that `next` leads to from it; a cycle (only possible in a damaged database) is cut.
template <class Next>
void post_order(const Tag& from, const Next& next, std::set<Tag>& seen, std::vector<Tag>& out) {
    struct Frame {
        Tag tag;
        std::size_t at = 0;
    };
    if (!seen.insert(from).second) return;
    std::vector<Frame> stack{{from}};
    while (!stack.empty()) {
        const std::vector<Tag>& targets = next(stack.back().tag);
        if (stack.back().at == targets.size()) {
            out.push_back(stack.back().tag);
            stack.pop_back();
            continue;
        }
        const Tag& target = targets[stack.back().at++];
        if (seen.insert(target).second) stack.push_back({target});
    }
}

bool configuration_is_known(const config::NodeConfig& config) {
    return config.generation > 0 || !config.instances.empty();
}

}  // namespace

bool is_meant(const std::vector<Tag>& hierarchy, const Tag& only) {
    return only.empty() || std::find(hierarchy.begin(), hierarchy.end(), only) != hierarchy.end();
}

Graph::Graph(const config::NodeConfig& config) {
    for (const auto& [tag, instance] : config.instances)
        order_[tag] = instance.order;
    for (const auto& dependency : config.dependencies) {
        // A dependency without its instances cannot be acted on; dep_create never makes one.
        if (!order_.contains(dependency.parent) || !order_.contains(dependency.child)) continue;
        children_[dependency.parent].push_back(dependency.child);
        parents_[dependency.child].push_back(dependency.parent);
    }
}

const std::vector<Tag>& Graph::children(const Tag& parent) const {
    const auto at = children_.find(parent);
    return at == children_.end() ? kNoTags : at->second;
}

const std::vector<Tag>& Graph::parents(const Tag& child) const {
    const auto at = parents_.find(child);
    return at == parents_.end() ? kNoTags : at->second;
}

std::vector<Tag> Graph::connected(const Tag& tag) const {
    std::set<Tag> seen{tag};
    std::vector<Tag> members{tag};
    for (std::size_t i = 0; i < members.size(); ++i) {
        const Tag current = members[i];
        for (const auto* side : {&children(current), &parents(current)})
            for (const auto& next : *side)
                if (seen.insert(next).second) members.push_back(next);
    }
    std::sort(members.begin(), members.end(), [this](const Tag& a, const Tag& b) {
        const auto left = order_.find(a);
        const auto right = order_.find(b);
        const auto left_order = left == order_.end() ? 0 : left->second;
        const auto right_order = right == order_.end() ? 0 : right->second;
        return std::tie(left_order, a) < std::tie(right_order, b);
    });
    return members;
}

std::vector<Tag> Graph::upward(const Tag& tag) const {
    std::set<Tag> seen;
    std::vector<Tag> result;
    post_order(
        tag, [this](const Tag& t) -> const std::vector<Tag>& { return parents(t); }, seen, result);
    return result;
}

std::vector<std::vector<Tag>> Graph::hierarchies() const {
    std::vector<Tag> all;
    all.reserve(order_.size());
    for (const auto& [tag, order] : order_)
        all.push_back(tag);
    std::stable_sort(all.begin(), all.end(),
                     [this](const Tag& a, const Tag& b) { return order_.at(a) < order_.at(b); });
    std::set<Tag> seen;
    std::vector<std::vector<Tag>> result;
    for (const auto& tag : all) {
        if (seen.contains(tag)) continue;
        result.push_back(connected(tag));
        seen.insert(result.back().begin(), result.back().end());
    }
    return result;
}

std::vector<Tag> Graph::roots_of(const std::vector<Tag>& hierarchy) const {
    std::vector<Tag> result;
    for (const auto& tag : hierarchy)
        if (parents(tag).empty()) result.push_back(tag);
    return result;
}

std::vector<Tag> Graph::children_first(const std::vector<Tag>& hierarchy) const {
    std::set<Tag> seen;
    std::vector<Tag> result;
    const auto next = [this](const Tag& t) -> const std::vector<Tag>& { return children(t); };
    for (const auto& root : roots_of(hierarchy))
        post_order(root, next, seen, result);
    for (const auto& tag : hierarchy)
        post_order(tag, next, seen, result);  // a damaged, rootless cycle
    return result;
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
    if (const auto at = states_.find({view_.self, own_tag}); at != states_.end()) return at->second;
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
    const auto changed = states_.find({name, tag});
    if (changed != states_.end())
        return is_in_service(changed->second) ? Holding::in_service : Holding::nothing;
    const auto& instance = at->second;
    if (is_in_service(instance.state)) return Holding::in_service;
    // A failed script, of whatever action, may have left it running, or the half of it.
    if (instance.state == config::State::osf)
        return instance.reason.starts_with(kFailedAndTakenDown) ? Holding::nothing : Holding::may_hold;
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
    const Where where{step.node, step.tag};
    switch (step.action) {
        case Action::restore:
        case Action::set_isp:
            set(where, config::State::isp, index);
            break;
        case Action::remove:
        case Action::set_osu:
            set(where, config::State::osu, index);
            break;
        case Action::leave:
            break;
    }
    plan_.steps.push_back(std::move(step));
    return index;
}

void PlanBuilder::leave(const Tag& tag, std::string why) {
    add({view_.self, tag, Action::leave, std::move(why), {}, false});
}

void PlanBuilder::set(const Where& where, config::State state, std::size_t step) {
    states_[where] = state;
    last_step_[where] = step;
}

const Graph& PlanBuilder::graph_of(const NodeName& name) {
    const auto at = peer_graphs_.find(name);
    if (at != peer_graphs_.end()) return at->second;
    return peer_graphs_.emplace(name, Graph(view_.nodes.at(name).config)).first->second;
}

std::vector<std::size_t> PlanBuilder::steps_of_children(const Tag& tag) const {
    std::vector<std::size_t> needs;
    for (const auto& child : graph_.children(tag))
        if (const auto at = last_step_.find({view_.self, child}); at != last_step_.end())
            needs.push_back(at->second);
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
                if (const auto at = last_step_.find({name, parent}); at != last_step_.end())
                    step.needs.push_back(at->second);
            add(std::move(step));
        }
        if (const auto at = last_step_.find({name, affected}); at != last_step_.end())
            needs.push_back(at->second);
    }
    return {};
}

Result<> PlanBuilder::release_elsewhere(const Tag& tag, std::vector<std::size_t>& needs) {
    for (const auto& pair : equivalents(tag)) {
        switch (holding(pair.other_node, pair.other_tag)) {
            case Holding::nothing:
                // Steps of this plan may have taken it out of service there.
                if (const auto at = last_step_.find({pair.other_node, pair.other_tag});
                    at != last_step_.end())
                    needs.push_back(at->second);
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

void PlanBuilder::remove_upward(const Tag& top, std::string why) {
    for (const auto& tag : graph_.upward(top))
        if (in_service(tag))
            remove_one(tag, tag == top ? why : fmt::format("depends on {}", top.str()), false);
}

void PlanBuilder::remove_one(const Tag& tag, std::string why, bool force) {
    Step step{view_.self, tag, Action::remove, std::move(why), {}, force};
    for (const auto& parent : graph_.parents(tag))
        if (const auto at = last_step_.find({view_.self, parent}); at != last_step_.end())
            step.needs.push_back(at->second);
    add(std::move(step));
}

}  // namespace understudy::recovery
