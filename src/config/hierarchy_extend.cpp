// Extending a hierarchy to a node.

#include "base/text.h"
#include "config/hierarchy_internal.h"
#include "config/lcdi_internal.h"

#include <algorithm>

namespace understudy::config {

using namespace hierarchy;

namespace {

/// What is to be extended, and what is on the target already.
struct Extension {
    Members members;
    NodeName target;
    std::vector<Tags> missing;  // resources that the target gets, children first
    Priority priority;          // of the target
    std::map<Tag, Tag> names;   // of all of the hierarchy, by the template's tag: the tag on the target
    Priority template_priority{1};
};

/// The node whose instances are copied: where the hierarchy is in service, else the best of the reachable.
NodeName template_of(const ClusterFacts& cluster, const Members& members) {
    std::optional<std::pair<Priority, NodeName>> best;
    for (const auto& tags : members.resources)
        for (const auto& [node, tag] : tags) {
            const auto at = cluster.nodes.find(node);
            const auto* instance = at == cluster.nodes.end() ? nullptr : at->second->find(tag);
            if (instance == nullptr) continue;
            if (in_service(*instance)) return node;
            const auto priority = at->second->priority(tag).value_or(Priority{1});
            if (!best || priority < best->first) best = {priority, node};
        }
    return best ? best->second : members.home;
}

/// An equivalency with a node that has no such instance: the node was set up anew. Spec: CLU-269, KIT-035.
Result<> check_present(const ClusterFacts& cluster, const Members& members, const NodeName& node) {
    for (const auto& tags : members.resources) {
        const auto at = tags.find(node);
        if (at == tags.end() || cluster.nodes.at(node)->find(at->second) != nullptr) continue;
        return fail(Code::bad_argument,
                    "{} still counts {} as a node of {}, but there is no such resource there (was it set up "
                    "anew?); remove what is left with delallsys -f {} or eqv_remove on every other node "
                    "first",
                    members.home.str(), node.str(), tags.at(members.home).str(), node.str());
    }
    return {};
}

Result<> check_priority(const Extension& extension) {
    const auto& [members, target, missing, priority, names, template_priority] = extension;
    for (const auto& value : {priority, template_priority})
        if (value.value < Priority::kMin || value.value > Priority::kMaxForPeople)
            return fail(Code::out_of_range, "priority {} is not within {} to {}", value.value, Priority::kMin,
                        Priority::kMaxForPeople);
    for (const auto& tags : missing) {
        const auto& tag = tags.at(members.home);
        const auto pairs = members.config->equivalents(tag);
        if (pairs.empty() && priority == template_priority)
            return fail(Code::bad_argument, "{} and {} cannot both have priority {} for {}",
                        members.home.str(), target.str(), priority.value, tag.str());
        for (const auto& pair : pairs)
            for (const auto& [node, taken] :
                 {std::pair(members.home, pair.priority), std::pair(pair.other_node, pair.other_priority)})
                if (taken == priority)
                    return fail(Code::bad_argument, "priority {} for {} is already that of {}",
                                priority.value, tag.str(), node.str());
    }
    return {};
}

/// The priority that the target gets: as asked, as for what it has already, or the next step.
Result<Priority> priority_of(const ExtendRequest& request, const Members& members) {
    std::optional<Priority> present;
    Priority last{0};
    for (const auto& tags : members.resources)
        for (const auto& pair : members.config->equivalents(tags.at(members.home))) {
            last = std::max({last, pair.priority, pair.other_priority});
            if (pair.other_node == request.to) present = pair.other_priority;
        }
    if (present && request.priority && *present != *request.priority)
        return fail(Code::bad_argument,
                    "a part of the hierarchy is extended to {} already with priority {}; all its resources "
                    "need the same",
                    request.to.str(), present->value);
    if (present) return *present;
    if (request.priority) return *request.priority;
    if (last.value == 0) last = request.template_priority.value_or(Priority{1});
    const Priority next{(last.value / kPriorityStep + 1) * kPriorityStep};
    if (next.value > Priority::kMaxForPeople)
        return fail(Code::out_of_range, "no priority behind {} is free; name one with --priority",
                    last.value);
    return next;
}

Result<Extension> examine(const ClusterFacts& cluster, const ExtendRequest& request) {
    if (!cluster.nodes.contains(request.to))
        return fail(Code::unreachable, "{} is not reachable; nothing is changed", request.to.str());
    Extension extension;
    extension.target = request.to;
    UNDERSTUDY_TRY(auto members, connected(cluster, request.tag, request.from));
    UNDERSTUDY_CHECK(check_reachable(cluster, members.nodes(), request.tag));
    const auto from = request.from.empty() ? template_of(cluster, members) : request.from;
    if (!members.nodes().contains(from))
        return fail(Code::not_found, "{} has no part in the hierarchy of {}", from.str(), request.tag.str());
    if (from != members.home) {
        // The same resources, as the template names them.
        Tag there;
        for (const auto& tags : members.resources)
            if (tags.at(members.home) == request.tag)
                if (const auto at = tags.find(from); at != tags.end()) there = at->second;
        if (there.empty())
            return fail(Code::not_found, "{} is not extended to {}", request.tag.str(), from.str());
        UNDERSTUDY_TRY(members, connected(cluster, there, from));
    }
    extension.members = std::move(members);
    UNDERSTUDY_CHECK(check_present(cluster, extension.members, request.to));
    auto all = extension.members.nodes();
    all.insert(request.to);
    UNDERSTUDY_CHECK(check_paths(cluster, all));
    for (const auto& tags : extension.members.resources) {
        const auto& here = tags.at(extension.members.home);
        const auto at = tags.find(request.to);
        if (at == tags.end()) extension.missing.push_back(tags);
        extension.names[here] = at != tags.end()                                  ? at->second
                                : here == request.tag && !request.new_tag.empty() ? request.new_tag
                                                                                  : here;
    }
    if (extension.missing.empty())
        return fail(Code::exists, "the hierarchy of {} is extended to {} already", request.tag.str(),
                    request.to.str());
    extension.template_priority = request.template_priority.value_or(Priority{1});
    UNDERSTUDY_TRY(extension.priority, priority_of(request, extension.members));
    UNDERSTUDY_CHECK(check_priority(extension));
    return extension;
}

/// The copy of a template's instance for the target. Every check of it is here.
Result<Instance> copy_for(const ClusterFacts& cluster, const ExtendRequest& request,
                          const Extension& extension, const Tags& tags) {
    const auto& target = *cluster.nodes.at(extension.target);
    auto copy = extension.members.at_home(tags);
    const auto template_tag = copy.tag;
    copy.tag = extension.names.at(copy.tag);
    copy.state = State::osu;
    copy.reason = fmt::format("extended from {}", extension.members.home.str());
    copy.reservation = Reservation::none;
    copy.reserving_pid = 0;
    copy.created_at = cluster.now_s;
    copy.order = 0;
    if (const auto words = request.info.find(template_tag); words != request.info.end())
        for (const auto& [key, value] : words->second)
            copy.info = with_info_word(copy.info, key, value);
    UNDERSTUDY_CHECK(lcdi::check_text(copy.info, "information text"));
    if (const auto problem = tag_problem(copy.tag); !problem.empty())
        return fail(Code::bad_argument, "{}", problem);
    if (target.find(copy.tag) != nullptr)
        return fail(Code::exists, "a resource with tag \"{}\" already exists on {} and is another one",
                    copy.tag.str(), extension.target.str());
    if (const auto* other = target.find_id(copy.id))
        return fail(Code::exists, "id \"{}\" of {} already belongs to resource {} on {}", copy.id.str(),
                    copy.tag.str(), other->tag.str(), extension.target.str());
    UNDERSTUDY_CHECK(check_kit(cluster, extension.target, copy.app, copy.type));
    if (!has_action(cluster, extension.target, copy.app, copy.type, "extend"))  // Spec: APP-005
        return fail(Code::not_found,
                    "an extend script does not exist or is not executable for {}/{} on {}; the kit must have "
                    "one, even if it has nothing to do",
                    copy.app.str(), copy.type.str(), extension.target.str());
    return copy;
}

/// Both nodes' records of the new pairs.
void add_pairs(const ClusterFacts& cluster, const Extension& extension,
               std::map<NodeName, RecordChange>& members, std::map<NodeName, RecordChange>& backs,
               RecordChange& target) {
    const auto& home = extension.members.home;
    for (const auto& tags : extension.missing) {
        const auto& there = extension.names.at(tags.at(home));
        for (const auto& [node, tag] : tags) {
            const auto own = cluster.nodes.at(node)->priority(tag).value_or(extension.template_priority);
            members[node].edits.emplace_back(
                PutEquivalency{{tag, extension.target, there, own, extension.priority}});
            backs[node].edits.emplace_back(DropEquivalency{tag, extension.target, there});
            target.edits.emplace_back(PutEquivalency{{there, node, tag, extension.priority, own}});
        }
    }
}

}  // namespace

Result<HierarchyPlan> plan_extend(const ClusterFacts& cluster, const ExtendRequest& request) {
    UNDERSTUDY_TRY(const auto extension, examine(cluster, request));
    const auto& home = extension.members.home;
    const auto& target = extension.target;
    for (const auto& info : request.info)
        if (std::none_of(extension.missing.begin(), extension.missing.end(),
                         [&](const Tags& tags) { return tags.at(home) == info.first; }))
            return fail(Code::not_found, "{} is no resource that is extended", info.first.str());

    HierarchyPlan plan;
    plan.lock = "Extend_Hierarchy";
    plan.what = fmt::format("the extension of {} to {}", request.tag.str(), target.str());
    RecordChange define;
    RecordChange undefine;
    RecordChange complete;
    std::vector<HierarchyStep> scripts;
    std::vector<Tag> tags_there;
    for (const auto& tags : extension.missing) {
        UNDERSTUDY_TRY(auto copy, copy_for(cluster, request, extension, tags));
        const auto& here = tags.at(home);
        tags_there.push_back(copy.tag);
        complete.properties.push_back({copy.tag, "initialization", std::string(to_string(copy.init))});
        complete.idle.push_back(copy.tag);
        copy.init = Init::init_osu;
        const std::vector<std::string> arguments{home.str(), here.str()};
        if (has_action(cluster, target, copy.app, copy.type, "canextend")) {
            auto check = kit_action(
                target, copy, "canextend",
                fmt::format("ask the kit whether {} can be extended from {}", copy.tag.str(), home.str()));
            check.arguments = arguments;
            check.arguments.push_back(copy.info);
            plan.checks.push_back(std::move(check));
        }
        auto extend = kit_action(target, copy, "extend",
                                 fmt::format("let the kit prepare {} as on {}", copy.tag.str(), home.str()));
        extend.arguments = arguments;
        for (const auto* action : {"delete", "unextend", "takeback"})
            if (has_action(cluster, target, copy.app, copy.type, action)) extend.back_action = action;
        scripts.push_back(std::move(extend));
        undefine.removals.push_back({copy.tag, copy.id, copy.created_at});
        define.edits.emplace_back(PutInstance{std::move(copy)});
    }
    std::reverse(undefine.removals.begin(), undefine.removals.end());
    for (const auto& tags : extension.missing)
        for (const auto& child : extension.members.config->children(tags.at(home)))
            define.edits.emplace_back(
                PutDependency{{extension.names.at(tags.at(home)), extension.names.at(child), 0}});
    // What is there already and depends on something new.
    for (const auto& tags : extension.members.resources)
        if (tags.contains(target))
            for (const auto& child : extension.members.config->children(tags.at(home)))
                if (const auto there = extension.names.at(child);
                    std::find(tags_there.begin(), tags_there.end(), there) != tags_there.end()) {
                    define.edits.emplace_back(PutDependency{{tags.at(target), there, 0}});
                }

    plan.steps.push_back(
        records(target,
                fmt::format("define {} as on {}; not started by itself before the extension is complete",
                            list(tags_there), home.str()),
                std::move(define), std::move(undefine)));
    plan.steps.insert(plan.steps.end(), scripts.begin(), scripts.end());
    std::map<NodeName, RecordChange> members;
    std::map<NodeName, RecordChange> backs;
    add_pairs(cluster, extension, members, backs, complete);
    for (auto& [node, change] : members)
        plan.steps.push_back(records(
            node,
            fmt::format("count {} as a backup with priority {}", target.str(), extension.priority.value),
            std::move(change), std::move(backs[node])));
    plan.final_from = plan.steps.size();
    plan.steps.push_back(records(
        target, fmt::format("be a backup of {} with priority {}", list(tags_there), extension.priority.value),
        std::move(complete)));
    return plan;
}

}  // namespace understudy::config
