#include "recovery/plan_graph.h"

#include <algorithm>
#include <unordered_set>

namespace understudy::recovery {
namespace {

const std::vector<Tag> kNoTags;

/// Depth-first with an explicit stack, so that a long chain cannot exhaust the call stack. Every tag is
/// emitted after all that `next` leads to from it; a cycle (only possible in a damaged database) is cut.
template <class Next>
void post_order(const Tag& from, const Next& next, std::unordered_set<Tag>& seen, std::vector<Tag>& out) {
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

std::vector<Tag> in_creation_order(std::vector<std::pair<std::uint64_t, const Tag*>> members) {
    std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) {
        return a.first != b.first ? a.first < b.first : *a.second < *b.second;
    });
    std::vector<Tag> tags;
    tags.reserve(members.size());
    for (const auto& [order, tag] : members)
        tags.push_back(*tag);
    return tags;
}

}  // namespace

Graph::Graph(const config::NodeConfig& config) {
    members_.reserve(config.instances.size());
    for (const auto& [tag, instance] : config.instances)
        members_[tag].order = instance.order;
    for (const auto& dependency : config.dependencies) {
        const auto parent = members_.find(dependency.parent);
        const auto child = members_.find(dependency.child);
        // A dependency without its instances cannot be acted on; dep_create never makes one.
        if (parent == members_.end() || child == members_.end()) continue;
        parent->second.children.push_back(dependency.child);
        child->second.parents.push_back(dependency.parent);
    }
}

const Graph::Member* Graph::find(const Tag& tag) const {
    const auto at = members_.find(tag);
    return at == members_.end() ? nullptr : &at->second;
}

const std::vector<Tag>& Graph::children(const Tag& parent) const {
    const auto* member = find(parent);
    return member == nullptr ? kNoTags : member->children;
}

const std::vector<Tag>& Graph::parents(const Tag& child) const {
    const auto* member = find(child);
    return member == nullptr ? kNoTags : member->parents;
}

std::vector<Tag> Graph::connected(const Tag& tag) const {
    const auto first = members_.find(tag);
    if (first == members_.end()) return {tag};
    std::unordered_set<Tag> seen{tag};
    std::vector<std::pair<std::uint64_t, const Tag*>> members{{first->second.order, &first->first}};
    for (std::size_t i = 0; i < members.size(); ++i) {
        const Member& current = members_.at(*members[i].second);
        for (const auto* side : {&current.children, &current.parents})
            for (const auto& next : *side)
                if (seen.insert(next).second) members.emplace_back(members_.at(next).order, &next);
    }
    return in_creation_order(std::move(members));
}

std::vector<Tag> Graph::upward(const Tag& tag) const {
    std::unordered_set<Tag> seen;
    std::vector<Tag> result;
    post_order(
        tag, [this](const Tag& t) -> const std::vector<Tag>& { return parents(t); }, seen, result);
    return result;
}

std::vector<std::vector<Tag>> Graph::hierarchies() const {
    std::vector<std::pair<std::uint64_t, const Tag*>> all;
    all.reserve(members_.size());
    for (const auto& [tag, member] : members_)
        all.emplace_back(member.order, &tag);
    std::unordered_set<Tag> seen;
    std::vector<std::vector<Tag>> result;
    for (const auto& tag : in_creation_order(std::move(all))) {
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
    std::unordered_set<Tag> seen;
    std::vector<Tag> result;
    const auto next = [this](const Tag& t) -> const std::vector<Tag>& { return children(t); };
    for (const auto& root : roots_of(hierarchy))
        post_order(root, next, seen, result);
    for (const auto& tag : hierarchy)
        post_order(tag, next, seen, result);  // a damaged, rootless cycle
    return result;
}

}  // namespace understudy::recovery
