#include "config/priorities.h"

#include <algorithm>
#include <set>

namespace understudy::config {
namespace {

// The catalogue's numbers of the dialog's two refusals.
constexpr int kOutOfRange = 133;
constexpr int kDuplicate = 134;

}  // namespace

Result<std::vector<EquivalentTags>> equivalent_hierarchy(const NodeConfig& own, const NodeName& self,
                                                         const Tag& tag) {
    if (own.find(tag) == nullptr)
        return fail(Code::not_found, "there is no resource with tag \"{}\" on {}", tag.str(), self.str());
    // A resource under two roots ties their priorities together: both are the hierarchy.
    std::set<Tag> seen{tag};
    std::vector<Tag> hierarchy{tag};
    for (std::size_t i = 0; i < hierarchy.size(); ++i)
        for (const auto& neighbours : {own.children(hierarchy[i]), own.parents(hierarchy[i])})
            for (const auto& each : neighbours)
                if (seen.insert(each).second) hierarchy.push_back(each);
    std::vector<EquivalentTags> resources;
    for (const auto& each : hierarchy) {
        EquivalentTags tags{{self, each}};
        for (const auto& pair : own.equivalents(each))
            tags.emplace(pair.other_node, pair.other_tag);
        if (tags.size() > 1) resources.push_back(std::move(tags));
    }
    if (resources.empty())
        return fail(Code::not_found, "no resource of the hierarchy of {} is extended to another system",
                    tag.str());
    return resources;
}

PriorityView view_priorities(const NodeConfig& own, const NodeName& self, const std::vector<Tag>& tags) {
    PriorityView view;
    for (const auto& tag : tags)
        for (const auto& pair : own.equivalents(tag)) {
            view[tag].emplace(self, pair.priority);
            view[tag].emplace(pair.other_node, pair.other_priority);
        }
    return view;
}

std::set<NodeName> PriorityChange::members() const {
    std::set<NodeName> nodes;
    for (const auto& tags : resources)
        for (const auto& [node, tag] : tags)
            nodes.insert(node);
    return nodes;
}

Result<> PriorityChange::check() const {
    const auto nodes = members();
    if (wanted.size() > kMaxChangedPriorities)
        return fail(Code::out_of_range, "at most {} systems' priorities can be changed at once",
                    kMaxChangedPriorities);
    for (const auto& [node, value] : wanted) {
        if (!nodes.contains(node))
            return fail(Code::not_found, "the hierarchy is not extended to {}", node.str());
        if (value.value < Priority::kMin || value.value > Priority::kMaxForPeople)
            return fail(Error{Code::out_of_range,
                              fmt::format("priority {} of {} is not within {} to {}", value.value, node.str(),
                                          Priority::kMin, Priority::kMaxForPeople),
                              kOutOfRange});
    }
    for (const auto& tags : resources) {
        std::map<Priority, NodeName> taken;
        for (const auto& [node, tag] : tags) {
            auto value = Priority{0};
            if (const auto at = wanted.find(node); at != wanted.end()) {
                value = at->second;
            } else if (const auto view = before.find(node); view != before.end()) {
                const auto records = view->second.find(tag);
                if (records == view->second.end() || !records->second.contains(node)) continue;
                value = records->second.at(node);
            } else {
                continue;
            }
            const auto [at, added] = taken.emplace(value, node);
            if (!added)
                return fail(Error{Code::bad_argument,
                                  fmt::format("{} and {} would both have priority {} for {}",
                                              at->second.str(), node.str(), value.value, tag.str()),
                                  kDuplicate});
        }
    }
    return {};
}

Priority PriorityChange::temporary_of(const NodeName& node) const {
    const auto at = std::distance(wanted.begin(), wanted.find(node));
    return Priority{kFirstTemporaryPriority + static_cast<int>(at)};
}

PriorityWrites PriorityChange::everywhere(const NodeName& node, Priority value,
                                          const std::vector<Priority>& only_if) const {
    PriorityWrites writes;
    for (const auto& tags : resources)
        if (tags.contains(node))
            for (const auto& [writer, tag] : tags)
                writes[writer].push_back({tag, node, value, only_if});
    return writes;
}

PriorityWrites PriorityChange::temporary(const NodeName& node) const {
    return everywhere(node, temporary_of(node), {});
}

PriorityWrites PriorityChange::final(const NodeName& node) const {
    return everywhere(node, wanted.at(node), {temporary_of(node), wanted.at(node)});
}

PriorityWrites PriorityChange::roll_back() const {
    PriorityWrites writes;
    for (const auto& [writer, view] : before)
        for (const auto& [tag, values] : view)
            for (const auto& [node, value] : values)
                if (const auto at = wanted.find(node); at != wanted.end())
                    writes[writer].push_back({tag, node, value, {temporary_of(node), at->second}});
    return writes;
}

Result<std::vector<Edit>> priority_edits(const NodeConfig& own, const NodeName& self,
                                         const std::vector<PriorityWrite>& writes) {
    // One record may get several of the writes: the last state of each counts.
    std::map<std::tuple<Tag, NodeName, Tag>, Equivalency> changed;
    for (const auto& write : writes) {
        if (write.value.value < Priority::kMin || write.value.value > Priority::kMax)
            return fail(Code::out_of_range, "priority {} is not within {} to {}", write.value.value,
                        Priority::kMin, Priority::kMax);
        const auto pairs = own.equivalents(write.tag);
        if (pairs.empty())
            return fail(Code::not_found, "{} has no equivalency of \"{}\"; compare eqv_list on all systems",
                        self.str(), write.tag.str());
        for (const auto& pair : pairs) {
            if (write.node != self && write.node != pair.other_node) continue;
            auto& record =
                changed.try_emplace({pair.tag, pair.other_node, pair.other_tag}, pair).first->second;
            auto& value = write.node == self ? record.priority : record.other_priority;
            const auto& legal = write.only_if;
            if (legal.empty() || std::find(legal.begin(), legal.end(), value) != legal.end())
                value = write.value;
        }
    }
    std::vector<Edit> edits;
    for (auto& [key, record] : changed)
        edits.emplace_back(PutEquivalency{std::move(record)});
    return edits;
}

}  // namespace understudy::config
