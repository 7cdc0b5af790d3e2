// Systems, communication paths and flags. Spec: CMD-091 to CMD-102, CLU-055 to CLU-059, CLU-100.

#include "config/address.h"
#include "config/interval.h"
#include "config/lcdi_internal.h"
#include "config/ports.h"
#include "messages/messages.h"

#include <algorithm>

namespace understudy::config::lcdi {
namespace {

constexpr int kMaxPathPriority = 99;  // Spec: CLU-048
constexpr int kMinIntervalMs = 4000;  // Spec: CLU-066
constexpr int kMinFastIntervalMs = 100;
constexpr int kMaxIntervalMs = 15000;
constexpr int kMinMisses = 3;
constexpr int kMaxMisses = 99;
constexpr std::string_view kTcp = "TCP:";
constexpr std::string_view kDisk = "DISK:";

/// Comm-path values outside their ranges are illegal arguments, not code 6. Spec: AS-01.
Result<int> path_number(const std::string& text, int least, int most, std::string_view what) {
    auto value = number(text, least, most, what);
    if (!value) value.error().code = Code::bad_argument;
    return value;
}

Result<int> interval_ms(const std::string& text, bool allow_fast) {
    const int least = allow_fast ? kMinFastIntervalMs : kMinIntervalMs;
    const auto interval = parse_interval_ms(text);
    if (!interval || *interval < least || *interval > kMaxIntervalMs)
        return fail(Code::bad_argument, "heartbeat interval \"{}\" is not within {} to {} s{}", text,
                    allow_fast ? "0.1" : "4", kMaxIntervalMs / 1000,
                    allow_fast ? "" : " (shorter ones need ALLOW_FAST_HEARTBEATS=1)");
    return *interval;
}

Result<Address> path_address(const std::string& text) {
    UNDERSTUDY_TRY(const auto address, parse_address(text));
    if (is_link_local(address))
        return fail(Code::bad_argument, "{} is a link-local address, which communication paths must not use",
                    text);
    if (!is_unicast(address)) return fail(Code::bad_argument, "{} is not an address of one host", text);
    return address;
}

Result<> fill_tcp(const Context& context, Path& path) {
    const auto& command = context.command;
    const auto port_text = path.device.substr(kTcp.size());
    UNDERSTUDY_TRY(const auto port, path_number(port_text, kFirstPathPort, kLastPathPort, "port"));
    if (is_reserved_port(port))
        return fail(Code::bad_argument, "port {} is reserved; use another one, such as 1500 or 1510", port);
    path.device = fmt::format("{}{}", kTcp, port);
    UNDERSTUDY_TRY(path.remote_address, required(command, "r", "remote address"));
    UNDERSTUDY_TRY(path.local_address, required(command, "l", "local address"));
    UNDERSTUDY_TRY(const auto remote, path_address(path.remote_address));
    UNDERSTUDY_TRY(const auto local, path_address(path.local_address));
    if (remote.v6 != local.v6)
        return fail(Code::bad_argument, "{} and {} are not of the same address family", path.remote_address,
                    path.local_address);
    if (remote == local)
        return fail(Code::bad_argument, "local and remote address are both {}", path.local_address);
    return {};
}

Result<> fill_disk(const Context& context, Path& path) {
    const auto& own = context.own();
    if (path.device.size() == kDisk.size())
        return fail(Code::bad_argument, "device \"{}\" names no disk; use DISK:<block device>", path.device);
    UNDERSTUDY_CHECK(check_text(path.device, "device name"));
    if (context.command.has("r") || context.command.has("l"))
        return fail(Code::syntax, "a DISK path has no addresses; leave out -r and -l");
    // Spec: CLU-046, CLU-053.
    auto systems = own.systems;
    systems.insert(path.remote);
    if (systems.size() > 2)
        return fail(Code::bad_argument, "DISK paths work in clusters of two systems only, this one has {}",
                    systems.size());
    for (const auto& other : own.paths)
        if (other.transport == "DISK" && other.remote == path.remote && other.device != path.device)
            return fail(Code::bad_argument, "there already is a DISK path to {}: {}", path.remote.str(),
                        other.device);
    return {};
}

/// A DISK path is for two systems: a third one must not come while there is one. Spec: CLU-046, AS-29.
Result<> check_not_third(const NodeConfig& own, const NodeName& system, const NodeName& self) {
    if (own.systems.contains(system)) return {};
    const bool full = own.systems.size() >= (own.systems.contains(self) ? 2U : 1U);
    const auto disk = std::find_if(own.paths.begin(), own.paths.end(),
                                   [](const Path& path) { return path.transport == "DISK"; });
    if (!full || disk == own.paths.end()) return {};
    return fail(
        Code::bad_argument,
        "{} would be a third system, and {} has the DISK path {} to {}, which works between two only: "
        "remove it on both first",
        system.str(), self.str(), disk->device, disk->remote.str());
}

/// The system that -s names, which must be known.
Result<NodeName> known_system(const Context& context) {
    UNDERSTUDY_TRY(const auto name, required(context.command, "s", "system"));
    NodeName system(name);
    if (system != context.self() && !context.own().systems.contains(system))
        return fail(Code::not_found, "there is no system \"{}\" known to {}", name, context.self().str());
    return system;
}

std::string state_of(const Context& context, const NodeName& system) {
    if (system == context.self()) return "ALIVE";
    return context.live.node_state ? context.live.node_state(system) : "UNKNOWN";
}

/// Seconds as net_list has always shown them; sub-second intervals, which the manual does not know, as a
/// fraction.
std::string seconds(int interval_ms) {
    if (interval_ms % 1000 == 0) return fmt::format("{}", interval_ms / 1000);
    auto text = fmt::format("{}.{:03}", interval_ms / 1000, interval_ms % 1000);
    while (text.ends_with('0'))
        text.pop_back();
    return text;
}

Result<FlagName> flag_name(const Context& context) {
    UNDERSTUDY_TRY(const auto name, required(context.command, "f", "flag"));
    return FlagName(name);
}

Result<> check_flag(const FlagName& flag) {
    const auto& name = flag.str();
    if (name.empty()) return fail(Code::bad_argument, "a flag's name must not be empty");
    if (name.size() > kMaxFlagBytes)
        return fail(Code::bad_argument, "a flag's name has at most {} bytes, this one has {}", kMaxFlagBytes,
                    name.size());
    return check_text(name, "flag's name");
}

}  // namespace

Result<Reply> sys_create(Context& context) {
    UNDERSTUDY_TRY(const auto name, required(context.command, "s", "system"));
    UNDERSTUDY_CHECK(check_name(name, "system"));
    const NodeName system(name);
    if (system == context.self() || context.own().systems.contains(system))
        return fail(Code::exists, "system \"{}\" is already known to {}", name, context.self().str());
    UNDERSTUDY_CHECK(check_not_third(context.own(), system, context.self()));
    context.database.commit({PutSystem{system}});
    return success();
}

Result<Reply> sys_list(Context& context) {
    Lines lines(kDefaultSeparator);
    for (const auto& system : context.own().systems)
        lines.add(system);
    return success(lines.take());
}

Result<Reply> sys_getst(Context& context) {
    UNDERSTUDY_TRY(const auto system, known_system(context));
    return success(state_of(context, system) + "\n");
}

Result<Reply> sys_getds(Context& context) {
    UNDERSTUDY_TRY(const auto system, known_system(context));
    if (system == context.self()) return success("this is the local system\n");
    int alive = 0;
    int total = 0;
    for (const auto& path : context.own().paths) {
        if (path.remote != system) continue;
        ++total;
        if (context.live.path_state && context.live.path_state(path.device).first == "ALIVE") ++alive;
    }
    if (total == 0) return success("no communication path is defined\n");
    auto reason = fmt::format("{} of {} communication paths ALIVE", alive, total);
    if (context.live.node_reason)
        if (const auto problems = context.live.node_reason(system); !problems.empty())
            reason += "; " + problems;
    return success(reason + "\n");
}

Result<Reply> sys_remove(Context& context) {
    const auto& own = context.own();
    UNDERSTUDY_TRY(const auto system, known_system(context));
    if (system == context.self())
        return messages::fail(Code::bad_argument, messages::remove_local_system, system.str());
    for (const auto& each : own.equivalencies)
        if (each.other_node == system)
            return fail(Code::has_dependents, "{} still has an equivalent of {} on {}; run eqv_remove first",
                        context.self().str(), each.tag.str(), system.str());
    auto reply = success();
    std::vector<Edit> edits;
    for (const auto& path : own.paths) {
        if (path.remote != system) continue;
        edits.emplace_back(DropPath{path.device});
        reply.err += fmt::format("{}communication path {} to {} is removed too",
                                 reply.err.empty() ? "" : "\n", path.device, system.str());
    }
    edits.emplace_back(DropSystem{system});
    context.database.commit(std::move(edits));
    return reply;
}

Result<Reply> lcduname(Context& context) {
    return success(context.self().str() + "\n");
}

/// The daemon makes it durable before it answers. Spec: CMD-135.
Result<Reply> delallsys(Context& context) {
    const auto& own = context.own();
    UNDERSTUDY_TRY(const auto name, required(context.command, "f", "lost system"));
    const NodeName lost(name);
    if (lost == context.self())
        return messages::fail(Code::bad_argument, messages::remove_local_system, name);
    const auto involved = [&](const auto& records, auto node_of) {
        return std::any_of(records.begin(), records.end(),
                           [&](const auto& record) { return record.*node_of == lost; });
    };
    if (!own.systems.contains(lost) && !involved(own.equivalencies, &Equivalency::other_node) &&
        !involved(own.paths, &Path::remote))
        return fail(Code::not_found, "there is no system \"{}\" known to {}", name, context.self().str());
    auto reply = success();
    if (state_of(context, lost) == "ALIVE")
        reply.err = fmt::format("{} is ALIVE: its own records of {} stay; run delallsys -f {} there too",
                                name, context.self().str(), context.self().str());
    std::vector<Edit> edits;
    for (const auto& each : own.equivalencies) {
        if (each.other_node != lost) continue;
        edits.emplace_back(DropEquivalency{each.tag, each.other_node, each.other_tag});
        reply.out += fmt::format("Removing equivalency {} -> {} on {}...\n", each.tag.str(),
                                 each.other_tag.str(), name);
    }
    for (const auto& path : own.paths) {
        if (path.remote != lost) continue;
        edits.emplace_back(DropPath{path.device});
        reply.out += fmt::format("Removing network comm path(s) {} -> {}...\n", path.local_address,
                                 path.remote_address);
    }
    edits.emplace_back(DropSystem{lost});
    context.database.commit(std::move(edits));
    return reply;
}

Result<Path> checked_path(Context& context) {
    const auto& command = context.command;
    const auto& own = context.own();
    Path path;
    UNDERSTUDY_TRY(const auto remote, required(command, "s", "remote system"));
    UNDERSTUDY_TRY(path.device, required(command, "D", "device"));
    UNDERSTUDY_TRY(path.transport, required(command, "n", "TLI or DISK"));
    UNDERSTUDY_TRY(const auto priority, required(command, "p", "priority"));
    path.remote = NodeName(remote);
    UNDERSTUDY_CHECK(check_name(remote, "system"));
    if (path.remote == context.self())
        return fail(Code::bad_argument, "a communication path leads to another system, not to {} itself",
                    remote);
    UNDERSTUDY_TRY(path.priority, path_number(priority, 1, kMaxPathPriority, "priority"));
    if (command.has("h")) {
        UNDERSTUDY_TRY(path.interval_ms, interval_ms(command.get("h"), context.live.allow_fast_heartbeats));
    }
    if (command.has("c")) {
        UNDERSTUDY_TRY(path.misses,
                       path_number(command.get("c"), kMinMisses, kMaxMisses, "missed heartbeats"));
    }
    const bool tcp = path.device.starts_with(kTcp);
    if (!tcp && !path.device.starts_with(kDisk))
        return fail(Code::bad_argument, "device \"{}\" is not TCP:<port> or DISK:<block device>",
                    path.device);
    if (path.transport != (tcp ? "TLI" : "DISK"))
        return fail(Code::bad_argument, "device {} needs -n {}, not \"{}\"", path.device,
                    tcp ? "TLI" : "DISK", path.transport);
    UNDERSTUDY_CHECK(tcp ? fill_tcp(context, path) : fill_disk(context, path));
    UNDERSTUDY_CHECK(check_not_third(own, path.remote, context.self()));
    if (const auto* existing = own.find_path(path.device))
        return fail(Code::exists, "{} is already the communication path to {}{}", path.device,
                    existing->remote.str(), tcp ? "; each path has a port of its own" : "");
    return path;
}

Result<Reply> net_create(Context& context) {
    UNDERSTUDY_TRY(auto path, checked_path(context));
    std::vector<Edit> edits;
    // The first path to a system makes it known. Spec: CLU-100.
    if (!context.own().systems.contains(path.remote)) edits.emplace_back(PutSystem{path.remote});
    auto reply = success();
    // Spec: CLU-049.
    for (const auto& other : context.own().paths)
        if (other.transport == path.transport && other.remote == path.remote &&
            other.local_address == path.local_address && other.remote_address == path.remote_address)
            reply.err = fmt::format(
                "*WARNING* {} uses the same addresses as {}: when that network fails, both fail. A second "
                "path "
                "is worth something on a network of its own",
                path.device, other.device);
    edits.emplace_back(PutPath{std::move(path)});
    context.database.commit(std::move(edits));
    return reply;
}

Result<Reply> net_list(Context& context) {
    UNDERSTUDY_TRY(const auto field_separator, separator(context.command));
    Lines lines(field_separator);
    for (const auto& path : context.own().paths) {
        std::string state = "DEAD";
        int downs = 0;
        if (context.live.path_state) std::tie(state, downs) = context.live.path_state(path.device);
        lines.add(path.remote, path.device, path.transport, 0, 0, 0, state, path.priority,
                  seconds(path.interval_ms), path.misses, downs, 0, 0, 0, 0, 0, 0, path.remote_address,
                  path.local_address);
    }
    return success(lines.take());
}

Result<Reply> net_remove(Context& context) {
    UNDERSTUDY_TRY(const auto device, required(context.command, "D", "device"));
    const auto* path = context.own().find_path(device);
    if (path == nullptr)
        return fail(Code::not_found, "there is no communication path \"{}\" on {}", device,
                    context.self().str());
    if (is_last_path(context.own(), *path) && !context.command.has("last"))
        return fail(
            Code::has_dependents,
            "{} is the last path to {}, which shares resources with {}: without it neither takes over "
            "from the other, and what one runs the other cannot ask. If that is wanted, say --last",
            device, path->remote.str(), context.self().str());
    context.database.commit({DropPath{device}});
    return success();
}

Result<Reply> flg_create(Context& context) {
    UNDERSTUDY_TRY(const auto flag, flag_name(context));
    UNDERSTUDY_CHECK(check_flag(flag));
    if (context.database.has_flag(flag))
        return fail(Code::exists, "flag \"{}\" already exists on {}", flag.str(), context.self().str());
    context.database.set_flag(flag, true);
    auto reply = success();
    if (flag.str().starts_with('!'))
        reply.err = fmt::format("flags beginning with ! belong to the engine; {} may change what it does",
                                flag.str());
    return reply;
}

Result<Reply> flg_list(Context& context) {
    Lines lines(kDefaultSeparator);
    for (const auto& flag : context.own().flags)
        lines.add(flag);
    return success(lines.take());
}

Result<Reply> flg_test(Context& context) {
    UNDERSTUDY_TRY(const auto flag, flag_name(context));
    // Only the exit code tells. Spec: CMD-098.
    Reply reply;
    reply.exit_code = static_cast<int>(context.database.has_flag(flag) ? Code::ok : Code::not_found);
    return reply;
}

Result<Reply> flg_remove(Context& context) {
    UNDERSTUDY_TRY(const auto flag, flag_name(context));
    UNDERSTUDY_CHECK(check_flag(flag));
    if (!context.database.has_flag(flag))
        return fail(Code::not_found, "there is no flag \"{}\" on {}", flag.str(), context.self().str());
    context.database.set_flag(flag, false);
    return success();
}

}  // namespace understudy::config::lcdi
