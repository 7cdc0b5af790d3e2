// Resource instances. Spec: CMD-059 to CMD-077.

#include "config/lcdi_internal.h"

#include <algorithm>
#include <optional>
#include <unordered_set>

namespace understudy::config {
namespace lcdi {
namespace {

constexpr int kDefaultQuickS = 180;  // Spec: CMD-059, CMD-062
constexpr int kDefaultDeepS = 300;

Result<> check_id(const std::string& id) {
    if (id.empty()) return fail(Code::bad_argument, "the id must not be empty");
    if (id.size() > kMaxIdBytes)
        return fail(Code::bad_argument, "the id has {} bytes; at most {} are allowed", id.size(),
                    kMaxIdBytes);
    const auto printable = [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; };
    if (!std::all_of(id.begin(), id.end(), printable))
        return fail(Code::bad_argument, "the id must consist of printable characters");
    return {};
}

Result<Init> init_of(const std::string& text) {
    if (const auto init = parse_init(text)) return *init;
    return fail(Code::bad_argument, "initialisation option \"{}\" is not AUTORES_ISP, INIT_ISP or INIT_OSU",
                text);
}

Result<Switchback> switchback_of(const std::string& text) {
    if (const auto switchback = parse_switchback(text)) return *switchback;
    return fail(Code::bad_argument, "switchback type \"{}\" is not INTELLIGENT or AUTOMATIC", text);
}

Result<bool> yes_or_no(const std::string& text) {
    if (text == "Y") return true;
    if (text == "N") return false;
    return fail(Code::bad_argument, "local recovery \"{}\" is not Y or N", text);
}

bool is_replicated(const Context& context, const Instance& instance) {
    if (context.live.is_replicated) return context.live.is_replicated(instance);
    return instance.app.str() == "filesys" && instance.type.str() == "volume";
}

Result<> refuse_automatic(const Instance& replicated) {
    return fail(Code::bad_argument,
                "{} is a replicated volume, which does not support AUTOMATIC switchback; use INTELLIGENT",
                replicated.tag.str());
}

/// The instance that -t names.
Result<const Instance*> named_instance(const Context& context) {
    UNDERSTUDY_TRY(const auto tag, required(context.command, "t", "tag"));
    return find_instance(context, tag);
}

}  // namespace

Result<Reply> ins_create(Context& context) {
    const auto& command = context.command;
    Instance instance;
    UNDERSTUDY_TRY(const auto app, required(command, "a", "application"));
    UNDERSTUDY_TRY(const auto type, required(command, "r", "resource type"));
    UNDERSTUDY_TRY(const auto tag, required(command, "t", "tag"));
    UNDERSTUDY_TRY(const auto id, required(command, "i", "id"));
    instance.app = AppName(app);
    instance.type = TypeName(type);
    instance.tag = Tag(tag);
    instance.id = ResourceId(id);
    instance.info = command.get("v");
    instance.created_at = context.live.now_s;

    if (const auto problem = tag_problem(instance.tag); !problem.empty())
        return fail(Code::bad_argument, "{}", problem);
    UNDERSTUDY_CHECK(check_id(id));
    UNDERSTUDY_CHECK(check_text(instance.info, "information text"));
    if (command.has("I")) {
        UNDERSTUDY_TRY(instance.init, init_of(command.get("I")));
    }
    if (command.has("s")) {
        UNDERSTUDY_TRY(instance.switchback, switchback_of(command.get("s")));
    }

    // What has no script of the kit cannot be checked or recovered.
    const auto has_action = [&](const char* action) {
        return context.live.has_action && context.live.has_action(instance.app, instance.type, action);
    };
    instance.quick_interval_s = has_action("quickchk") ? kDefaultQuickS : 0;
    instance.deep_interval_s = has_action("deepchk") ? kDefaultDeepS : 0;
    instance.local_recovery = has_action("recover");
    if (command.has("Q")) {
        UNDERSTUDY_TRY(instance.quick_interval_s,
                       number(command.get("Q"), 0, kMaxCheckIntervalS, "quick check interval"));
    }
    if (command.has("D")) {
        UNDERSTUDY_TRY(instance.deep_interval_s,
                       number(command.get("D"), 0, kMaxCheckIntervalS, "deep check interval"));
    }
    if (command.has("l")) {
        UNDERSTUDY_TRY(instance.local_recovery, yes_or_no(command.get("l")));
    }

    UNDERSTUDY_CHECK(check_type(context, app, type));
    if (instance.switchback == Switchback::automatic && is_replicated(context, instance))
        UNDERSTUDY_CHECK(refuse_automatic(instance));
    if (context.own().find(instance.tag) != nullptr)
        return fail(Code::exists, "a resource with tag \"{}\" already exists on {}", tag,
                    context.self().str());
    if (const auto* other = context.own().find_id(instance.id))
        return fail(Code::exists, "id \"{}\" already belongs to resource {} on {}", id, other->tag.str(),
                    context.self().str());

    auto reply = success();
    // Spec: CLU-086.
    if (context.live.has_action)
        for (const auto* action : {"restore", "remove"})
            if (!has_action(action))
                reply.err +=
                    fmt::format("{}type {}/{} has no {} action: {} cannot be brought in or out of service",
                                reply.err.empty() ? "" : "\n", app, type, action, tag);
    context.database.commit({PutInstance{std::move(instance)}});
    return reply;
}

Result<Reply> ins_list(Context& context) {
    const auto& command = context.command;
    const auto& own = context.own();
    UNDERSTUDY_TRY(const auto field_separator, separator(command));
    UNDERSTUDY_CHECK(check_selectors(context));
    const Instance* by_tag = nullptr;
    const Instance* by_id = nullptr;
    if (command.has("t")) {
        UNDERSTUDY_TRY(by_tag, find_instance(context, command.get("t")));
    }
    if (command.has("i")) {
        by_id = own.find_id(ResourceId(command.get("i")));
        if (by_id == nullptr)
            return fail(Code::not_found, "there is no resource with id \"{}\" on {}", command.get("i"),
                        context.self().str());
    }

    std::vector<const Instance*> candidates;
    if (command.has("R")) {
        const auto top = command.get("R");
        std::vector<Tag> tags;
        if (top.empty()) {
            tags = own.roots();
        } else {
            UNDERSTUDY_TRY(const auto* instance, find_instance(context, top));
            tags = own.subtree(instance->tag);
        }
        for (const auto& tag : tags)
            if (const auto* instance = own.find(tag)) candidates.push_back(instance);
    } else if (by_tag != nullptr) {
        candidates.push_back(by_tag);
    } else if (by_id != nullptr) {
        candidates.push_back(by_id);
    } else {
        candidates = own.in_creation_order();
    }

    const bool extended = command.has("extended");
    Lines lines(field_separator);
    for (const auto* each : candidates) {
        if ((by_tag != nullptr && each != by_tag) || (by_id != nullptr && each != by_id) ||
            !matches_selectors(context, *each))
            continue;
        constexpr int kReserved = 0;
        const auto print = [&](const auto&... more) {
            lines.add(context.self(), each->app, each->type, each->tag, each->id, each->info,
                      to_string(each->state), each->reason, to_string(each->init),
                      to_string(each->reservation), each->reserving_pid, kReserved, each->quick_interval_s,
                      each->deep_interval_s, each->local_recovery ? 1 : 0, more...);
        };
        if (extended)
            print(to_string(each->switchback), each->created_at);
        else
            print();
    }
    return success(lines.take());
}

Result<Reply> ins_gettag(Context& context) {
    UNDERSTUDY_TRY(const auto id, required(context.command, "i", "id"));
    const auto* instance = context.own().find_id(ResourceId(id));
    if (instance == nullptr)
        return fail(Code::not_found, "there is no resource with id \"{}\" on {}", id, context.self().str());
    return success(instance->tag.str() + "\n");
}

Result<Reply> ins_setas(Context& context) {
    UNDERSTUDY_TRY(const auto value, required(context.command, "s", "switchback type"));
    UNDERSTUDY_TRY(const auto switchback, switchback_of(value));
    UNDERSTUDY_TRY(const auto* root, named_instance(context));
    const auto& own = context.own();
    if (!own.parents(root->tag).empty())
        return fail(Code::bad_argument, "{} is not a root: {} depends on it; use ins_setas on the root",
                    root->tag.str(), own.parents(root->tag).front().str());
    std::vector<Edit> edits;
    for (const auto& tag : own.subtree(root->tag)) {
        const auto* instance = own.find(tag);
        if (instance == nullptr) continue;
        if (switchback == Switchback::automatic && is_replicated(context, *instance))
            UNDERSTUDY_CHECK(refuse_automatic(*instance));
        if (instance->switchback == switchback) continue;
        auto changed = *instance;
        changed.switchback = switchback;
        edits.emplace_back(PutInstance{std::move(changed)});
    }
    context.database.commit(std::move(edits));
    return success();
}

Result<Reply> ins_setchkint(Context& context) {
    UNDERSTUDY_TRY(const auto check, required(context.command, "c", "quick or deep"));
    UNDERSTUDY_TRY(const auto interval, required(context.command, "v", "interval"));
    const bool quick = check == "q" || check == "quick";
    if (!quick && check != "d" && check != "deep")
        return fail(Code::bad_argument, "check \"{}\" is not q, quick, d or deep", check);
    UNDERSTUDY_TRY(const auto seconds, number(interval, 0, kMaxCheckIntervalS,
                                              quick ? "quick check interval" : "deep check interval"));
    UNDERSTUDY_TRY(const auto* instance, named_instance(context));
    auto changed = *instance;
    (quick ? changed.quick_interval_s : changed.deep_interval_s) = seconds;
    context.database.commit({PutInstance{std::move(changed)}});
    return success();
}

Result<Reply> ins_setin(Context& context) {
    auto info = context.command.get("v");
    UNDERSTUDY_CHECK(check_text(info, "information text"));
    UNDERSTUDY_TRY(const auto* instance, named_instance(context));
    auto changed = *instance;
    changed.info = std::move(info);
    context.database.commit({PutInstance{std::move(changed)}});
    return success();
}

Result<Reply> ins_setit(Context& context) {
    UNDERSTUDY_TRY(const auto value, required(context.command, "I", "initialisation option"));
    UNDERSTUDY_TRY(const auto init, init_of(value));
    UNDERSTUDY_TRY(const auto* instance, named_instance(context));
    auto changed = *instance;
    changed.init = init;
    context.database.commit({PutInstance{std::move(changed)}});
    return success();
}

Result<Reply> ins_setlocalrecover(Context& context) {
    UNDERSTUDY_TRY(const auto value, required(context.command, "l", "Y or N"));
    UNDERSTUDY_TRY(const auto enabled, yes_or_no(value));
    UNDERSTUDY_TRY(const auto* instance, named_instance(context));
    auto changed = *instance;
    changed.local_recovery = enabled;
    context.database.commit({PutInstance{std::move(changed)}});
    return success();
}

namespace {

/// The first equivalent of `tag` that is in service on another node.
std::optional<Equivalency> in_service_elsewhere(const Context& context, const Tag& tag) {
    for (const auto& equivalent : context.own().equivalents(tag)) {
        bool in_service = false;
        if (context.live.in_service_elsewhere) {
            in_service = context.live.in_service_elsewhere(equivalent.other_tag, equivalent.other_node);
        } else if (const auto* there = context.database.of(equivalent.other_node)) {
            const auto* instance = there->find(equivalent.other_tag);
            in_service =
                instance != nullptr && (instance->state == State::isp || instance->state == State::isu);
        }
        if (in_service) return equivalent;
    }
    return std::nullopt;
}

}  // namespace

Result<Reply> ins_setst(Context& context) {
    const auto& command = context.command;
    UNDERSTUDY_TRY(const auto value, required(command, "S", "state"));
    const auto state = parse_state(value);
    if (state != State::isp && state != State::isu && state != State::osu)
        return fail(Code::bad_argument, "state \"{}\" cannot be set; use ISP, ISU or OSU", value);
    const auto reason = command.get("R");
    UNDERSTUDY_CHECK(check_text(reason, "reason"));
    UNDERSTUDY_TRY(const auto* instance, named_instance(context));
    const auto& own = context.own();
    const auto tags = command.has("A") ? own.ancestry(instance->tag) : std::vector<Tag>{instance->tag};
    std::vector<Edit> edits;
    for (const auto& tag : tags) {
        const auto* each = own.find(tag);
        if (each == nullptr) continue;
        // Two nodes in service at once would destroy data. Spec: CMD-023.
        if (state != State::osu)
            if (const auto there = in_service_elsewhere(context, tag))
                return fail(Code::bad_argument, "{} is in service on {}; take it out of service there first",
                            there->other_tag.str(), there->other_node.str());
        auto changed = *each;
        changed.state = *state;
        changed.reason = reason;
        edits.emplace_back(PutInstance{std::move(changed)});
    }
    context.database.commit(std::move(edits));
    return success();
}

}  // namespace lcdi

Result<std::vector<Tag>> removal_set(const NodeConfig& own, const Command& command) {
    const bool by_root = command.has("R");
    const bool by_tag = command.has("t");
    const bool by_id = command.has("i");
    if (command.has("I") && command.has("N")) return fail(Code::syntax, "only one of -I and -N may be given");
    if (!by_root && !by_tag && !by_id && !command.has("a") && !command.has("r"))
        return fail(Code::syntax, "name what to remove with -R, -a, -r, -t or -i");
    if (command.has("a") && !own.apps.contains(AppName(command.get("a"))))
        return fail(Code::not_found, "there is no application \"{}\"", command.get("a"));
    const auto of_type = [&](const ResourceType& each) {
        return each.type.str() == command.get("r") &&
               (!command.has("a") || each.app.str() == command.get("a"));
    };
    if (command.has("r") && std::none_of(own.types.begin(), own.types.end(), of_type))
        return fail(Code::not_found, "there is no resource type \"{}\"", command.get("r"));

    std::vector<Tag> named;
    std::unordered_set<Tag> members;
    const auto add = [&](const std::vector<Tag>& tags) {
        for (const auto& tag : tags)
            if (members.insert(tag).second) named.push_back(tag);
    };
    if (by_root) {
        std::vector<Tag> roots;
        for (const auto& root : text::split(command.get("R"), lcdi::kDefaultSeparator)) {
            if (own.find(Tag(root)) == nullptr)
                return fail(Code::not_found, "there is no resource with tag \"{}\"", root);
            roots.emplace_back(root);
            add(own.ancestry(roots.back()));
        }
        for (const auto& root : roots)
            for (const auto& tag : own.subtree(root)) {
                const auto parents = own.parents(tag);
                if (std::all_of(parents.begin(), parents.end(),
                                [&](const Tag& parent) { return members.contains(parent); }))
                    add({tag});
            }
    }
    if (by_tag) {
        if (own.find(Tag(command.get("t"))) == nullptr)
            return fail(Code::not_found, "there is no resource with tag \"{}\"", command.get("t"));
        add(own.ancestry(Tag(command.get("t"))));
    }
    if (by_id) {
        const auto* instance = own.find_id(ResourceId(command.get("i")));
        if (instance == nullptr)
            return fail(Code::not_found, "there is no resource with id \"{}\"", command.get("i"));
        add(own.ancestry(instance->tag));
    }
    if (!by_root && !by_tag && !by_id)
        for (const auto* instance : own.in_creation_order())
            add({instance->tag});

    const auto permitted = [&](const Tag& tag) {
        const auto* instance = own.find(tag);
        return instance != nullptr && (!command.has("a") || instance->app.str() == command.get("a")) &&
               (!command.has("r") || instance->type.str() == command.get("r"));
    };
    std::erase_if(named, [&](const Tag& tag) { return !permitted(tag); });
    members = {named.begin(), named.end()};
    for (const auto& tag : named)
        for (const auto& parent : own.parents(tag))
            if (!members.contains(parent))
                return fail(Code::has_dependents, "{} depends on {} and is not among what is to be removed",
                            parent.str(), tag.str());
    return parents_first(own, named);
}

std::vector<Edit> removal_edits(const NodeConfig& own, const Tag& tag) {
    std::vector<Edit> edits;
    for (const auto& parent : own.parents(tag))
        edits.emplace_back(DropDependency{parent, tag});
    for (const auto& child : own.children(tag))
        edits.emplace_back(DropDependency{tag, child});
    for (const auto& equivalent : own.equivalents(tag))
        edits.emplace_back(DropEquivalency{tag, equivalent.other_node, equivalent.other_tag});
    edits.emplace_back(DropInstance{tag});
    return edits;
}

}  // namespace understudy::config
