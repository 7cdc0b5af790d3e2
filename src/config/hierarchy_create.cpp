// Creating a resource.

#include "base/text.h"
#include "config/hierarchy_internal.h"
#include "config/lcdi_internal.h"

#include <algorithm>

namespace understudy::config {

using namespace hierarchy;

namespace {

/// Properties in the form of a request; "info.KEY" sets one word of the information. Code::bad_argument.
Result<> set_all(Instance& instance, const std::vector<std::pair<std::string, std::string>>& properties) {
    constexpr std::string_view kWord = "info.";
    for (const auto& [name, value] : properties) {
        if (name.starts_with(kWord))
            instance.info = with_info_word(instance.info, name.substr(kWord.size()), value);
        else
            UNDERSTUDY_CHECK(set_property(instance, name, value));
    }
    return lcdi::check_text(instance.info, "information text");
}

Result<Instance> new_instance(const ClusterFacts& cluster, const CreateRequest& request) {
    Instance instance;
    instance.app = request.app;
    instance.type = request.type;
    instance.tag = request.tag;
    instance.id = request.id.empty() ? ResourceId(request.tag.str()) : request.id;
    instance.info = request.info;
    instance.created_at = cluster.now_s;
    instance.reason = "created";
    if (const auto problem = tag_problem(instance.tag); !problem.empty())
        return fail(Code::bad_argument, "{}", problem);
    UNDERSTUDY_CHECK(lcdi::check_text(instance.id.str(), "id"));
    // What has no script of the kit cannot be checked or recovered.
    const auto has = [&](const char* action) {
        return has_action(cluster, request.node, request.app, request.type, action);
    };
    if (!has("quickchk")) instance.quick_interval_s = 0;
    if (!has("deepchk")) instance.deep_interval_s = 0;
    instance.local_recovery = has("recover");
    UNDERSTUDY_CHECK(set_all(instance, request.properties));
    return instance;
}

Result<> check_needs(const NodeConfig& own, const CreateRequest& request, const Instance& instance) {
    bool volume = is_volume(instance);
    for (const auto& child : request.needs) {
        const auto* there = own.find(child);
        if (there == nullptr)
            return fail(Code::not_found, "there is no resource with tag \"{}\" on {}", child.str(),
                        request.node.str());
        if (std::count(request.needs.begin(), request.needs.end(), child) > 1)
            return fail(Code::bad_argument, "{} is named twice", child.str());
        const auto below = own.subtree(child);
        volume = volume || std::any_of(below.begin(), below.end(),
                                       [&](const Tag& tag) { return is_volume(*own.find(tag)); });
    }
    if (volume && instance.switchback == Switchback::automatic)  // Spec: CLU-199
        return fail(Code::bad_argument,
                    "{} contains a replicated volume, which does not support AUTOMATIC switchback; use "
                    "INTELLIGENT",
                    request.tag.str());
    return {};
}

}  // namespace

Result<HierarchyPlan> plan_create(const ClusterFacts& cluster, const CreateRequest& request) {
    const auto at = cluster.nodes.find(request.node);
    if (at == cluster.nodes.end())
        return fail(Code::unreachable, "{} is not reachable; nothing is changed", request.node.str());
    const auto& own = *at->second;
    UNDERSTUDY_CHECK(check_kit(cluster, request.node, request.app, request.type));
    UNDERSTUDY_TRY(auto instance, new_instance(cluster, request));
    if (own.find(instance.tag) != nullptr)
        return fail(Code::exists, "a resource with tag \"{}\" already exists on {}", instance.tag.str(),
                    request.node.str());
    if (const auto* other = own.find_id(instance.id))
        return fail(Code::exists, "id \"{}\" already belongs to resource {} on {}", instance.id.str(),
                    other->tag.str(), request.node.str());
    UNDERSTUDY_CHECK(check_needs(own, request, instance));

    HierarchyPlan plan;
    plan.lock = "Create_Hierarchy";
    plan.what = fmt::format("the creation of {} on {}", instance.tag.str(), request.node.str());
    const auto wanted = std::exchange(instance.init, Init::init_osu);
    RecordChange define;
    define.edits.emplace_back(PutInstance{instance});
    for (const auto& child : request.needs)
        define.edits.emplace_back(PutDependency{{instance.tag, child, 0}});
    RecordChange undefine;
    undefine.removals.push_back({instance.tag, instance.id, instance.created_at});
    plan.steps.push_back(records(
        request.node,
        fmt::format("define {} ({}/{}, id \"{}\"){}{}; it is not started by itself before it is complete",
                    instance.tag.str(), instance.app.str(), instance.type.str(), instance.id.str(),
                    request.needs.empty() ? "" : ", which needs ", list(request.needs)),
        std::move(define), std::move(undefine)));
    if (has_action(cluster, request.node, request.app, request.type, "create")) {
        auto create = kit_action(request.node, instance, "create",
                                 fmt::format("let the kit create what {} needs", instance.tag.str()));
        for (const auto* action : {"delete", "takeback"})
            if (has_action(cluster, request.node, request.app, request.type, action))
                create.back_action = action;
        plan.steps.push_back(std::move(create));
    }
    if (request.start) {
        auto restore = kit_action(request.node, instance, "restore",
                                  fmt::format("bring {} in service", instance.tag.str()));
        restore.kind = HierarchyStep::Kind::engine_action;
        restore.back_action = "remove";
        plan.steps.push_back(std::move(restore));
    }
    RecordChange complete;
    complete.properties.push_back({instance.tag, "initialization", std::string(to_string(wanted))});
    plan.final_from = plan.steps.size();
    plan.steps.push_back(records(request.node,
                                 fmt::format("{} is complete: at the engine's start it is initialised as {}",
                                             instance.tag.str(), to_string(wanted)),
                                 std::move(complete)));
    plan.notes.push_back(fmt::format(
        "{} is on {} only and not protected before it is extended: understudy resource extend {} --to NODE",
        instance.tag.str(), request.node.str(), instance.tag.str()));
    return plan;
}

Result<HierarchyPlan> plan_set(const ClusterFacts& cluster, const SetRequest& request) {
    UNDERSTUDY_TRY(const auto home, home_of(cluster, request.tag, request.only));
    const auto& own = *cluster.nodes.at(home);
    auto members = std::vector<Tags>{everywhere(own, home, request.tag)};
    if (request.properties.empty()) return fail(Code::syntax, "name at least one PROPERTY=VALUE");
    const bool switchback = std::any_of(request.properties.begin(), request.properties.end(),
                                        [](const auto& each) { return each.first == "switchback"; });
    if (switchback) {  // of the root and all that it needs. Spec: CLU-196
        if (const auto parents = own.parents(request.tag); !parents.empty())
            return fail(Code::bad_argument,
                        "{} is not a root: {} depends on it; set the switchback of the root",
                        request.tag.str(), parents.front().str());
        for (const auto& tag : own.subtree(request.tag))
            if (tag != request.tag) members.push_back(everywhere(own, home, tag));
    }
    std::map<NodeName, RecordChange> changes;
    std::map<NodeName, RecordChange> backs;
    for (const auto& tags : members)
        for (const auto& [node, tag] : tags) {
            if (!request.only.empty() && node != request.only) continue;
            UNDERSTUDY_CHECK(check_reachable(cluster, {node}, request.tag));
            const auto* before = cluster.nodes.at(node)->find(tag);
            if (before == nullptr)
                return fail(
                    Code::not_found,
                    "{} has no resource {}, but an equivalency to it is defined on {}; compare eqv_list "
                    "on both",
                    node.str(), tag.str(), home.str());
            auto after = *before;
            auto wanted = request.properties;
            if (&tags != &members.front())
                std::erase_if(wanted, [](const auto& each) { return each.first != "switchback"; });
            UNDERSTUDY_CHECK(set_all(after, wanted));
            if (switchback && after.switchback == Switchback::automatic && is_volume(after))  // Spec: CLU-199
                return fail(Code::bad_argument,
                            "{} is a replicated volume, which does not support AUTOMATIC switchback; use "
                            "INTELLIGENT",
                            tag.str());
            for (const auto name : kProperties) {
                const auto old_value = property(*before, name);
                const auto new_value = property(after, name);
                if (old_value == new_value) continue;
                changes[node].properties.push_back({tag, std::string(name), new_value});
                backs[node].properties.push_back({tag, std::string(name), old_value, new_value});
            }
        }
    if (!request.only.empty() && !members.front().contains(request.only))
        return fail(Code::not_found, "{} is not extended to {}", request.tag.str(), request.only.str());
    HierarchyPlan plan;
    plan.lock = "Change_properties";
    plan.what = fmt::format("a change of properties of {}", request.tag.str());
    for (auto& [node, change] : changes) {
        std::string text;
        for (const auto& each : change.properties)
            text += fmt::format("{}{}={} of {}", text.empty() ? "set " : ", ", each.name, each.value,
                                each.tag.str());
        plan.steps.push_back(records(node, text, std::move(change), std::move(backs[node])));
    }
    plan.final_from = plan.steps.size();
    return plan;
}

}  // namespace understudy::config
