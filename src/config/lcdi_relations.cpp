// Dependencies and equivalencies. Spec: CMD-078 to CMD-086.

#include "config/lcdi_internal.h"

#include <algorithm>
#include <deque>
#include <unordered_set>

namespace understudy::config {
namespace lcdi {
namespace {

/// What the callers of dep_create should have looked after, as warnings. Spec: CMD-079.
std::vector<std::string> dependency_warnings(const Context& context, const Instance& parent,
                                             const Instance& child) {
    const auto& own = context.own();
    std::vector<std::string> warnings;
    const auto of_parent = own.equivalents(parent.tag);
    const auto of_child = own.equivalents(child.tag);
    const auto find_node = [](const std::vector<Equivalency>& all, const NodeName& node) {
        return std::find_if(all.begin(), all.end(),
                            [&](const Equivalency& each) { return each.other_node == node; });
    };
    std::vector<std::string> missing;
    bool order_differs = false;
    for (const auto& equivalent : of_parent) {
        const auto same_node = find_node(of_child, equivalent.other_node);
        if (same_node == of_child.end()) {
            missing.push_back(equivalent.other_node.str());
            continue;
        }
        // Relative priority: of each pair of nodes the same one comes first for parent and child.
        if ((equivalent.priority < equivalent.other_priority) !=
            (same_node->priority < same_node->other_priority))
            order_differs = true;
        for (const auto& second : of_parent)
            if (const auto second_child = find_node(of_child, second.other_node);
                second_child != of_child.end() &&
                (equivalent.other_priority < second.other_priority) !=
                    (same_node->other_priority < second_child->other_priority))
                order_differs = true;
    }
    if (!missing.empty())
        warnings.push_back(
            fmt::format("{} is extended to {}, but {} is not: extend it, or {} cannot start there",
                        parent.tag.str(), text::join(missing, ", "), child.tag.str(), parent.tag.str()));
    if (order_differs)
        warnings.push_back(fmt::format("{} and {} have different orders of priority; make them the same",
                                       parent.tag.str(), child.tag.str()));
    const auto in_service = [](const Instance& each) {
        return each.state == State::isp || each.state == State::isu;
    };
    if (in_service(parent) && !in_service(child))
        warnings.push_back(
            fmt::format("{} is in service, but {}, which it needs, is not; bring it in service",
                        parent.tag.str(), child.tag.str()));
    return warnings;
}

Result<> check_shared(const Command& command) {
    if (!command.has("e") || command.get("e") == "SHARED") return {};
    return fail(Code::bad_argument, "equivalency type \"{}\" is not SHARED, the only one there is",
                command.get("e"));
}

/// Edges met by walking from `start`, breadth first, each once.
std::vector<Dependency> walk(const NodeConfig& own, const Tag& start, bool down) {
    std::vector<Dependency> edges;
    std::deque<Tag> queue{start};
    std::unordered_set<Tag> seen{start};
    while (!queue.empty()) {
        const auto tag = std::move(queue.front());
        queue.pop_front();
        for (const auto& next : down ? own.children(tag) : own.parents(tag)) {
            edges.push_back(down ? Dependency{tag, next} : Dependency{next, tag});
            if (seen.insert(next).second) queue.push_back(next);
        }
    }
    return edges;
}

}  // namespace

Result<Reply> dep_create(Context& context) {
    UNDERSTUDY_TRY(const auto parent_tag, required(context.command, "p", "parent"));
    UNDERSTUDY_TRY(const auto child_tag, required(context.command, "c", "child"));
    UNDERSTUDY_TRY(const auto* parent, find_instance(context, parent_tag));
    UNDERSTUDY_TRY(const auto* child, find_instance(context, child_tag));
    const auto& own = context.own();
    if (parent == child) return fail(Code::bad_argument, "{} cannot depend on itself", parent_tag);
    const auto children = own.children(parent->tag);
    if (std::find(children.begin(), children.end(), child->tag) != children.end())
        return fail(Code::exists, "{} already depends on {}", parent_tag, child_tag);
    if (own.reaches(child->tag, parent->tag))
        return fail(Code::bad_argument, "{} already depends on {}: the dependency would close a cycle",
                    child_tag, parent_tag);
    auto reply = success();
    reply.err = text::join(dependency_warnings(context, *parent, *child), "\n");
    context.database.commit({PutDependency{Dependency{parent->tag, child->tag}}});
    return reply;
}

Result<Reply> dep_list(Context& context) {
    const auto& command = context.command;
    const auto& own = context.own();
    UNDERSTUDY_TRY(const auto field_separator, separator(command));
    std::string mode;
    for (const auto* option : {"C", "P", "c", "p"})
        if (command.has(option)) mode += option;
    if (mode.size() > 1) return fail(Code::syntax, "only one of -C, -P, -c and -p may be given");
    UNDERSTUDY_CHECK(check_selectors(context));

    std::vector<Dependency> edges;
    if (mode.empty()) {
        edges = own.dependencies;
    } else {
        UNDERSTUDY_TRY(const auto* instance, find_instance(context, command.get(mode)));
        const auto& tag = instance->tag;
        switch (mode.front()) {
            case 'C':
                edges = walk(own, tag, true);
                break;
            case 'P':
                edges = walk(own, tag, false);
                break;
            case 'c':
                for (const auto& child : own.children(tag))
                    edges.push_back({tag, child});
                break;
            default:
                for (const auto& parent : own.parents(tag))
                    edges.push_back({parent, tag});
                break;
        }
    }
    const bool filtered = command.has("a") || command.has("r");
    Lines lines(field_separator);
    for (const auto& edge : edges) {
        if (filtered) {
            const auto* child = own.find(edge.child);
            if (child == nullptr || !matches_selectors(context, *child)) continue;
        }
        lines.add(edge.parent, edge.child);
    }
    return success(lines.take());
}

Result<Reply> dep_remove(Context& context) {
    const auto& command = context.command;
    const auto& own = context.own();
    const bool by_parent = command.has("p");
    const bool by_child = command.has("c");
    const Tag parent(command.get("p"));
    const Tag child(command.get("c"));
    std::vector<Edit> edits;
    for (auto at = own.dependencies.rbegin(); at != own.dependencies.rend(); ++at)
        if ((!by_parent || at->parent == parent) && (!by_child || at->child == child))
            edits.emplace_back(DropDependency{at->parent, at->child});
    if (edits.empty() && (by_parent || by_child))
        return fail(Code::not_found, "there is no dependency of {} on {} on {}",
                    by_parent ? parent.str() : "anything", by_child ? child.str() : "anything",
                    context.self().str());
    auto reply = success();
    if (!by_parent && !by_child) reply.err = fmt::format("{} dependencies removed", edits.size());
    context.database.commit(std::move(edits));
    return reply;
}

Result<Reply> eqv_list(Context& context) {
    const auto& command = context.command;
    const auto& own = context.own();
    UNDERSTUDY_TRY(const auto field_separator, separator(command));
    UNDERSTUDY_CHECK(check_shared(command));
    const NodeName system(command.get("s"));
    const Tag tag(command.get("t"));
    if (command.has("s") && !own.systems.contains(system))
        return fail(Code::not_found, "there is no system \"{}\" known to {}", system.str(),
                    context.self().str());
    // Each pair is listed with this node in field 1; -s selects the pairs of which that system is either end,
    // and -t then means the tag at that end.
    const bool of_other = command.has("s") && system != context.self();
    const auto tag_of = [&](const Equivalency& each) -> const Tag& {
        return of_other ? each.other_tag : each.tag;
    };
    bool known = !command.has("t") || (!of_other && own.find(tag) != nullptr);
    Lines lines(field_separator);
    for (const auto& each : own.equivalencies) {
        if (of_other && each.other_node != system) continue;
        if (command.has("t") && tag_of(each) != tag) continue;
        known = true;
        lines.add(context.self(), each.tag, each.other_node, each.other_tag, std::string_view("SHARED"),
                  each.priority.value, each.other_priority.value);
    }
    if (!known)
        return fail(Code::not_found, "there is no resource with tag \"{}\" on {}", tag.str(),
                    of_other ? system.str() : context.self().str());
    return success(lines.take());
}

/// -p and -o; the daemon runs the scripts of -g and -G. Spec: CMD-039, CMD-040.
Result<Reply> lcdrecover(Context& context) {
    const auto& command = context.command;
    if (command.has("p") == command.has("o")) return fail(Code::syntax, "give one of -g, -G, -p and -o");
    UNDERSTUDY_TRY(const auto* instance, find_instance(context, command.get(command.has("p") ? "p" : "o")));
    const auto pairs = context.own().equivalents(instance->tag);
    if (command.has("p")) {
        const bool primary = std::all_of(pairs.begin(), pairs.end(), [](const Equivalency& each) {
            return each.priority < each.other_priority;
        });
        return success(primary ? "primary\n" : "secondary\n");
    }
    std::string systems;
    for (const auto& each : pairs)
        systems += each.other_node.str() + "\n";
    return success(std::move(systems));
}

}  // namespace lcdi

Equivalency EquivalencyPair::record_on(const NodeName& node) const {
    if (node == system) return {tag, other_system, other_tag, priority, other_priority};
    return {other_tag, system, tag, other_priority, priority};
}

namespace {

Result<EquivalencyPair> parse_pair(const Command& command, const NodeName& self) {
    UNDERSTUDY_TRY(const auto tag, lcdi::required(command, "t", "tag"));
    UNDERSTUDY_CHECK(lcdi::check_shared(command));
    EquivalencyPair pair;
    pair.system = NodeName(command.get("s", self.str()));
    pair.tag = Tag(tag);
    pair.other_system = NodeName(command.get("S", self.str()));
    pair.other_tag = Tag(command.get("o", tag));
    if (pair.system == pair.other_system)
        return fail(Code::bad_argument, "both ends are on {}; name the other system with -S",
                    pair.system.str());
    return pair;
}

}  // namespace

Result<EquivalencyPair> parse_eqv_create(const Command& command, const NodeName& self) {
    UNDERSTUDY_CHECK(lcdi::required(command, "o", "tag on the other system"));
    UNDERSTUDY_CHECK(lcdi::required(command, "e", "SHARED"));
    UNDERSTUDY_TRY(auto pair, parse_pair(command, self));
    UNDERSTUDY_TRY(pair.priority.value,
                   lcdi::number(command.get("p", "1"), Priority::kMin, Priority::kMax, "priority"));
    UNDERSTUDY_TRY(pair.other_priority.value,
                   lcdi::number(command.get("r", "10"), Priority::kMin, Priority::kMax, "priority"));
    if (pair.priority == pair.other_priority)
        return fail(Code::bad_argument, "{} and {} cannot both have priority {} for {}", pair.system.str(),
                    pair.other_system.str(), pair.priority.value, pair.tag.str());
    return pair;
}

Result<EquivalencyPair> parse_eqv_remove(const Command& command, const NodeName& self) {
    return parse_pair(command, self);
}

Result<> check_equivalency(const NodeConfig& own, const Equivalency& equivalency) {
    const auto& tag = equivalency.tag.str();
    const auto& node = equivalency.other_node.str();
    for (const auto priority : {equivalency.priority.value, equivalency.other_priority.value})
        if (priority < Priority::kMin || priority > Priority::kMax)
            return fail(Code::out_of_range, "priority {} is not within {} to {}", priority, Priority::kMin,
                        Priority::kMax);
    if (own.find(equivalency.tag) == nullptr)
        return fail(Code::not_found, "there is no resource with tag \"{}\"", tag);
    if (!own.systems.contains(equivalency.other_node))
        return fail(Code::not_found, "there is no system \"{}\"", node);
    const auto existing = own.equivalents(equivalency.tag);
    for (const auto& each : existing) {
        if (each.other_node != equivalency.other_node) continue;
        if (each.other_tag == equivalency.other_tag)
            return fail(Code::exists, "{} is already equivalent to {} on {}", tag, each.other_tag.str(),
                        node);
        return fail(Code::bad_argument, "{} is already equivalent to {} on {}; remove that equivalency first",
                    tag, each.other_tag.str(), node);
    }
    for (const auto& each : own.equivalencies)
        if (each.other_node == equivalency.other_node && each.other_tag == equivalency.other_tag)
            return fail(Code::bad_argument, "{} on {} is already equivalent to {}", each.other_tag.str(),
                        node, each.tag.str());
    if (equivalency.priority == equivalency.other_priority)
        return fail(Code::bad_argument, "two systems cannot both have priority {} for {}",
                    equivalency.priority.value, tag);
    for (const auto& each : existing) {
        if (each.priority != equivalency.priority)
            return fail(Code::bad_argument, "the priority of this system for {} is {}, not {}", tag,
                        each.priority.value, equivalency.priority.value);
        if (each.other_priority == equivalency.other_priority)
            return fail(Code::bad_argument, "priority {} for {} is already that of {}",
                        each.other_priority.value, tag, each.other_node.str());
    }
    return {};
}

Result<DropEquivalency> equivalency_removal(const NodeConfig& own, const Equivalency& equivalency) {
    for (const auto& each : own.equivalents(equivalency.tag))
        if (each.other_node == equivalency.other_node && each.other_tag == equivalency.other_tag)
            return DropEquivalency{each.tag, each.other_node, each.other_tag};
    return fail(Code::not_found, "{} is not equivalent to {} on {}", equivalency.tag.str(),
                equivalency.other_tag.str(), equivalency.other_node.str());
}

}  // namespace understudy::config
