// Applications and resource types. Spec: CMD-055 to CMD-058, CMD-087 to CMD-090.

#include "config/lcdi_internal.h"

namespace understudy::config::lcdi {
namespace {

Result<> make_directories(const Context& context, std::initializer_list<std::string> directories) {
    if (!context.live.make_directories) return {};
    for (const auto& directory : directories)
        if (auto made = context.live.make_directories(directory); !made)
            return with_context(made.error(), fmt::format("cannot create {}", directory));
    return {};
}

/// Drops the instances that `doomed` names, or code 8 when another resource depends on one of them.
template <class Predicate>
Result<std::vector<Edit>> remove_instances(const Context& context, Predicate doomed) {
    const auto& own = context.own();
    for (const auto& dependency : own.dependencies) {
        const auto* parent = own.find(dependency.parent);
        const auto* child = own.find(dependency.child);
        if (parent != nullptr && child != nullptr && doomed(*child) && !doomed(*parent))
            return fail(Code::has_dependents, "{} ({}/{}) depends on {}; remove the dependency first",
                        parent->tag.str(), parent->app.str(), parent->type.str(), child->tag.str());
    }
    const auto is_doomed = [&](const Tag& tag) {
        const auto* instance = own.find(tag);
        return instance != nullptr && doomed(*instance);
    };
    std::vector<Edit> edits;
    for (auto at = own.dependencies.rbegin(); at != own.dependencies.rend(); ++at)
        if (is_doomed(at->parent) || is_doomed(at->child))
            edits.emplace_back(DropDependency{at->parent, at->child});
    for (auto at = own.equivalencies.rbegin(); at != own.equivalencies.rend(); ++at)
        if (is_doomed(at->tag)) edits.emplace_back(DropEquivalency{at->tag, at->other_node, at->other_tag});
    for (const auto& [tag, instance] : own.instances)
        if (doomed(instance)) edits.emplace_back(DropInstance{tag});
    return edits;
}

}  // namespace

Result<Reply> app_create(Context& context) {
    UNDERSTUDY_TRY(const auto name, required(context.command, "a", "application"));
    UNDERSTUDY_CHECK(check_name(name, "application"));
    if (context.own().apps.contains(AppName(name)))
        return fail(Code::exists, "application \"{}\" already exists on {}", name, context.self().str());
    UNDERSTUDY_CHECK(make_directories(
        context, {fmt::format("subsys/{}/actions", name), fmt::format("subsys/{}/resources", name)}));
    context.database.commit({PutApp{AppName(name)}});
    return success();
}

Result<Reply> app_list(Context& context) {
    Lines lines(kDefaultSeparator);
    for (const auto& app : context.own().apps)
        lines.add(app);
    return success(lines.take());
}

Result<Reply> app_remove(Context& context) {
    UNDERSTUDY_TRY(const auto name, required(context.command, "a", "application"));
    UNDERSTUDY_CHECK(check_app(context, name));
    const AppName app(name);
    UNDERSTUDY_TRY(auto edits,
                   remove_instances(context, [&](const Instance& instance) { return instance.app == app; }));
    for (const auto& type : context.own().types)
        if (type.app == app) edits.emplace_back(DropType{type});
    edits.emplace_back(DropApp{app});
    context.database.commit(std::move(edits));
    return success();
}

Result<Reply> typ_create(Context& context) {
    UNDERSTUDY_TRY(const auto app, required(context.command, "a", "application"));
    UNDERSTUDY_TRY(const auto type, required(context.command, "r", "resource type"));
    UNDERSTUDY_CHECK(check_name(app, "application"));
    UNDERSTUDY_CHECK(check_name(type, "resource type"));
    UNDERSTUDY_CHECK(check_app(context, app));
    const ResourceType record{AppName(app), TypeName(type)};
    if (context.own().types.contains(record))
        return fail(Code::exists, "resource type \"{}\" of application \"{}\" already exists on {}", type,
                    app, context.self().str());
    UNDERSTUDY_CHECK(make_directories(context, {fmt::format("subsys/{}/resources/{}/actions", app, type),
                                                fmt::format("subsys/{}/resources/{}/instances", app, type)}));
    context.database.commit({PutType{record}});
    return success();
}

Result<Reply> typ_list(Context& context) {
    UNDERSTUDY_TRY(const auto field_separator, separator(context.command));
    UNDERSTUDY_CHECK(check_selectors(context));
    const auto& options = context.command.options;
    const auto app = options.find("a");
    Lines lines(field_separator);
    for (const auto& type : context.own().types)
        if (app == options.end() || type.app.str() == app->second) lines.add(type.app, type.type);
    return success(lines.take());
}

Result<Reply> typ_remove(Context& context) {
    UNDERSTUDY_TRY(const auto app, required(context.command, "a", "application"));
    UNDERSTUDY_TRY(const auto type, required(context.command, "r", "resource type"));
    UNDERSTUDY_CHECK(check_type(context, app, type));
    const ResourceType record{AppName(app), TypeName(type)};
    UNDERSTUDY_TRY(auto edits, remove_instances(context, [&](const Instance& instance) {
                       return instance.app == record.app && instance.type == record.type;
                   }));
    edits.emplace_back(DropType{record});
    context.database.commit(std::move(edits));
    return success();
}

}  // namespace understudy::config::lcdi
