#include "recovery/plan.h"

#include "recovery/plan_builder.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

namespace understudy::recovery {

std::string_view to_string(Action action) {
    switch (action) {
        case Action::restore:
            return "restore";
        case Action::remove:
            return "remove";
        case Action::set_isp:
            return "set ISP";
        case Action::set_osu:
            return "set OSU";
        case Action::leave:
            return "leave";
    }
    return "?";
}

bool Plan::does_nothing() const {
    return std::all_of(steps.begin(), steps.end(), [](const Step& s) { return s.action == Action::leave; });
}

Result<Plan> plan(const ClusterView& view, const Request& request) {
    if (!view.nodes.contains(view.self))
        return fail(Code::internal, "the cluster view lacks its own node {}", view.self.str());
    struct Dispatch {
        const ClusterView& view;
        Result<Plan> operator()(const RestoreRequest& r) const { return plan_restore(view, r); }
        Result<Plan> operator()(const RemoveRequest& r) const { return plan_remove(view, r); }
        Result<Plan> operator()(const FailoverRequest& r) const { return plan_failover(view, r); }
        Result<Plan> operator()(const InitialiseRequest& r) const { return plan_initialise(view, r); }
        Result<Plan> operator()(const StopRequest& r) const { return plan_stop(view, r); }
        Result<Plan> operator()(const SwitchbackRequest& r) const { return plan_switchback(view, r); }
        Result<Plan> operator()(const ShutdownRequest& r) const { return plan_shutdown(view, r); }
        Result<Plan> operator()(const ResourceFailoverRequest& r) const {
            return plan_resource_failover(view, r);
        }
        Result<Plan> operator()(const RejoinRequest& r) const { return plan_rejoin(view, r); }
        Result<Plan> operator()(const InterruptedRequest& r) const { return plan_interrupted(view, r); }
    };
    return std::visit(Dispatch{view}, request);
}

std::vector<Plan> by_hierarchy(const ClusterView& view, const Plan& plan) {
    const auto count = plan.steps.size();
    std::vector<std::size_t> group(count);  // union-find
    std::iota(group.begin(), group.end(), std::size_t{0});
    const auto find = [&](std::size_t i) {
        while (group[i] != i)
            i = group[i] = group[group[i]];
        return i;
    };
    const auto join = [&](std::size_t a, std::size_t b) {
        a = find(a);
        b = find(b);
        group[std::max(a, b)] = std::min(a, b);
    };
    std::unordered_map<Tag, std::size_t> hierarchy_of_tag;
    std::size_t next = 0;
    for (const auto& members : Graph(view.nodes.at(view.self).config).hierarchies()) {
        for (const auto& tag : members)
            hierarchy_of_tag[tag] = next;
        ++next;
    }
    std::map<std::size_t, std::size_t> first_of_hierarchy;
    for (std::size_t i = 0; i < count; ++i) {
        for (const auto need : plan.steps[i].needs)
            join(i, need);
        if (plan.steps[i].node != view.self) continue;
        const auto at = hierarchy_of_tag.find(plan.steps[i].tag);
        if (at != hierarchy_of_tag.end()) join(i, first_of_hierarchy.emplace(at->second, i).first->second);
    }
    std::map<std::size_t, Plan> parts;
    std::vector<std::size_t> index(count);
    for (std::size_t i = 0; i < count; ++i) {
        auto& part = parts[find(i)];
        index[i] = part.steps.size();
        part.steps.push_back(plan.steps[i]);
        for (auto& need : part.steps.back().needs)
            need = index[need];
    }
    std::vector<Plan> result;
    for (auto& [first, part] : parts)
        result.push_back(std::move(part));
    return result;
}

std::vector<Tag> hierarchy_of(const config::NodeConfig& config, const Tag& tag) {
    // By the configuration's own index: this is asked for one hierarchy at a time, among thousands.
    std::vector<Tag> members{tag};
    std::set<Tag> seen{tag};
    for (std::size_t i = 0; i < members.size(); ++i) {
        auto neighbours = config.children(members[i]);
        for (auto& parent : config.parents(members[i]))
            neighbours.push_back(std::move(parent));
        for (auto& next : neighbours)
            if (config.instances.contains(next) && seen.insert(next).second)
                members.push_back(std::move(next));
    }
    std::sort(members.begin(), members.end(), [&config](const Tag& a, const Tag& b) {
        const auto order = [&config](const Tag& t) {
            const auto at = config.instances.find(t);
            return at == config.instances.end() ? std::uint64_t{0} : at->second.order;
        };
        return std::pair(order(a), a) < std::pair(order(b), b);
    });
    return members;
}

std::vector<NodeName> in_service_on(const ClusterView& view, const Tag& tag) {
    const PlanBuilder builder(view, PlanBuilder::Order::parallel);
    std::vector<NodeName> result;
    const auto isp = [&](const NodeName& node, const Tag& name) {
        const auto* found = builder.node(node);
        if (found == nullptr || !builder.alive(node)) return false;
        const auto at = found->config.instances.find(name);
        return at != found->config.instances.end() && at->second.state == config::State::isp;
    };
    if (isp(view.self, tag)) result.push_back(view.self);
    for (const auto& pair : builder.equivalents(tag))
        if (isp(pair.other_node, pair.other_tag)) result.push_back(pair.other_node);
    return result;
}

std::string describe(const Plan& plan) {
    if (plan.steps.empty()) return "nothing to do\n";
    std::size_t node_width = 0;
    std::size_t tag_width = 0;
    for (const auto& step : plan.steps) {
        node_width = std::max(node_width, step.node.str().size());
        tag_width = std::max(tag_width, step.tag.str().size());
    }
    const auto number_width = std::to_string(plan.steps.size()).size();
    std::string text;
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        const auto& step = plan.steps[i];
        text += fmt::format("{:>{}}. {:<{}}  {:<7}  {:<{}}  {}", i + 1, number_width, step.node.str(),
                            node_width, to_string(step.action), step.tag.str(), tag_width, step.why);
        if (!step.needs.empty()) {
            text += " [after ";
            for (std::size_t n = 0; n < step.needs.size(); ++n)
                text += fmt::format("{}{}", n == 0 ? "" : ", ", step.needs[n] + 1);
            text += "]";
        }
        text += "\n";
    }
    return text;
}

}  // namespace understudy::recovery
