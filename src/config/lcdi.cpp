#include "config/lcdi.h"

#include "config/lcdi_internal.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace understudy::config {
namespace lcdi {
namespace {

struct Entry {
    std::string_view name;
    Handler handler;
};

constexpr auto kHandlers = std::to_array<Entry>({
    {"app_create", app_create},
    {"app_list", app_list},
    {"app_remove", app_remove},
    {"typ_create", typ_create},
    {"typ_list", typ_list},
    {"typ_remove", typ_remove},
    {"ins_create", ins_create},
    {"ins_list", ins_list},
    {"ins_gettag", ins_gettag},
    {"ins_setas", ins_setas},
    {"ins_setchkint", ins_setchkint},
    {"ins_setin", ins_setin},
    {"ins_setit", ins_setit},
    {"ins_setlocalrecover", ins_setlocalrecover},
    {"ins_setlocalrecovery", ins_setlocalrecover},  // the address chapters' spelling. Spec: CMD-076
    {"ins_setst", ins_setst},
    {"dep_create", dep_create},
    {"dep_list", dep_list},
    {"dep_remove", dep_remove},
    {"eqv_list", eqv_list},
    {"lcdrecover", lcdrecover},
    {"sys_create", sys_create},
    {"sys_list", sys_list},
    {"sys_getst", sys_getst},
    {"sys_getds", sys_getds},
    {"sys_remove", sys_remove},
    {"lcduname", lcduname},
    {"delallsys", delallsys},
    {"net_create", net_create},
    {"net_list", net_list},
    {"net_remove", net_remove},
    {"flg_create", flg_create},
    {"flg_list", flg_list},
    {"flg_test", flg_test},
    {"flg_remove", flg_remove},
});

}  // namespace

Result<std::string> required(const Command& command, std::string_view option, std::string_view what) {
    if (!command.has(option)) return fail(Code::syntax, "option -{} ({}) is missing", option, what);
    return command.get(option);
}

Result<char> separator(const Command& command) {
    if (!command.has("f")) return kDefaultSeparator;
    const auto value = command.get("f");
    if (value.size() != 1) return fail(Code::syntax, "-f takes exactly one character, such as -f:");
    return value.front();
}

Result<int> number(const std::string& text, std::int64_t least, std::int64_t most, std::string_view what) {
    const auto digits = text.starts_with('-') ? std::string_view(text).substr(1) : std::string_view(text);
    if (digits.empty() ||
        !std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; }))
        return fail(Code::bad_argument, "{} \"{}\" is not a number", what, text);
    const auto value = text::to_int(text);
    if (!value || *value < least || *value > most)
        return fail(Code::out_of_range, "{} {} is not within {} to {}", what, text, least, most);
    return static_cast<int>(*value);
}

Result<> check_name(std::string_view name, std::string_view what) {
    const auto legal = [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '.' || c == '-';
    };
    if (name.empty()) return fail(Code::bad_argument, "the {} name must not be empty", what);
    if (name.size() > kMaxNameBytes)
        return fail(Code::bad_argument, "the {} name has {} characters; at most {} are allowed", what,
                    name.size(), kMaxNameBytes);
    if (name == "." || name == ".." || !std::all_of(name.begin(), name.end(), legal))
        return fail(Code::bad_argument,
                    "{} name \"{}\" is not legal; use letters, digits, \"_\", \".\" and \"-\"", what, name);
    return {};
}

Result<> check_text(std::string_view text, std::string_view what) {
    if (text.size() > kMaxTextBytes)
        return fail(Code::bad_argument, "the {} has {} bytes; at most {} are allowed", what, text.size(),
                    kMaxTextBytes);
    if (text.find_first_of(std::string_view("\x01\n\0", 3)) != std::string_view::npos)
        return fail(Code::bad_argument, "the {} must not contain the byte 0x01, a null byte or a line end",
                    what);
    return {};
}

Result<const Instance*> find_instance(const Context& context, const std::string& tag) {
    if (const auto* instance = context.own().find(Tag(tag))) return instance;
    return fail(Code::not_found, "there is no resource with tag \"{}\" on {}", tag, context.self().str());
}

Result<> check_app(const Context& context, const std::string& app) {
    if (context.own().apps.contains(AppName(app))) return {};
    return fail(Code::not_found, "there is no application \"{}\" on {}", app, context.self().str());
}

Result<> check_type(const Context& context, const std::string& app, const std::string& type) {
    UNDERSTUDY_CHECK(check_app(context, app));
    if (context.own().types.contains(ResourceType{AppName(app), TypeName(type)})) return {};
    return fail(Code::not_found, "there is no resource type \"{}\" of application \"{}\" on {}", type, app,
                context.self().str());
}

Result<> check_selectors(const Context& context) {
    const auto& command = context.command;
    if (command.has("a")) UNDERSTUDY_CHECK(check_app(context, command.get("a")));
    if (!command.has("r")) return {};
    if (command.has("a")) return check_type(context, command.get("a"), command.get("r"));
    const auto& types = context.own().types;
    const TypeName type(command.get("r"));
    if (std::any_of(types.begin(), types.end(), [&](const ResourceType& each) { return each.type == type; }))
        return {};
    return fail(Code::not_found, "there is no resource type \"{}\" on {}", type.str(), context.self().str());
}

bool matches_selectors(const Context& context, const Instance& instance) {
    const auto& options = context.command.options;
    const auto app = options.find("a");
    const auto type = options.find("r");
    return (app == options.end() || instance.app.str() == app->second) &&
           (type == options.end() || instance.type.str() == type->second);
}

}  // namespace lcdi

Result<Path> new_path(Database& database, const LiveView& live, const Command& command) {
    lcdi::Context context{database, live, command};
    return lcdi::checked_path(context);
}

bool is_last_path(const NodeConfig& own, const Path& path) {
    const auto shares = [&](const Equivalency& pair) { return pair.other_node == path.remote; };
    const auto another = [&](const Path& other) {
        return other.remote == path.remote && other.device != path.device;
    };
    return std::any_of(own.equivalencies.begin(), own.equivalencies.end(), shares) &&
           std::none_of(own.paths.begin(), own.paths.end(), another);
}

std::optional<Reply> run_lcdi(Database& database, const LiveView& live, const Command& command) {
    const auto at = std::find_if(lcdi::kHandlers.begin(), lcdi::kHandlers.end(),
                                 [&](const auto& entry) { return entry.name == command.name; });
    if (at == lcdi::kHandlers.end()) return std::nullopt;
    lcdi::Context context{database, live, command};
    auto reply = at->handler(context);
    return reply ? std::move(*reply) : failure(reply.error());
}

}  // namespace understudy::config
