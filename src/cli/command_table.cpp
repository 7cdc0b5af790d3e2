#include "cli/command_table.h"

#include "base/text.h"

#include <algorithm>

namespace understudy::cli {
namespace {

constexpr std::string_view kMirrorPrefix = "understudy mirror ";
constexpr OptionSpec kDest{"d", "destsys", "act on this system's database instead of the local one"};
constexpr OptionSpec kSeparator{"f", "C", "separate fields by the character C instead of the byte 0x01"};
constexpr OptionSpec kJson{"json", "", "print JSON for programs"};

OptionSpec required(std::string_view name, std::string_view value, std::string_view help) {
    return {name, value, help, true};
}

std::vector<CommandSpec> make_table() {
    const auto tag = required("t", "tag", "resource tag");
    const auto app = required("a", "appname", "application");
    std::vector<CommandSpec> table{
        {"app_create", "", "Create an application.", {kDest, app}},
        {"app_list", "", "List the applications.", {kDest}},
        {"app_remove",
         "",
         "Remove an application with its types, instances and equivalencies.",
         {kDest, app}},
        {"typ_create",
         "",
         "Create a resource type of an application.",
         {kDest, app, required("r", "restyp", "resource type")}},
        {"typ_list",
         "",
         "List resource types.",
         {kDest, kSeparator, {"a", "appname", "only this application's"}}},
        {"typ_remove",
         "",
         "Remove a resource type with its instances.",
         {kDest, app, required("r", "restyp", "resource type")}},
        {"ins_create",
         "",
         "Create a resource instance.",
         {kDest,
          app,
          required("r", "restyp", "resource type"),
          {"I", "init", "AUTORES_ISP (default), INIT_ISP or INIT_OSU"},
          {"v", "info", "information for the recovery kit"},
          tag,
          required("i", "id", "internal id"),
          {"Q", "seconds", "quick check interval, 0 to 604800"},
          {"D", "seconds", "deep check interval, 0 to 604800"},
          {"l", "Y|N", "local recovery"},
          {"s", "switchback", "INTELLIGENT (default) or AUTOMATIC"}}},
        {"ins_list",
         "",
         "List resource instances.",
         {kDest,
          kSeparator,
          {"R", "top", "the hierarchy below top; empty: roots only"},
          {"a", "appname", "only this application's"},
          {"r", "typ", "only this type's"},
          {"t", "tag", "only this tag"},
          {"i", "id", "only this id"},
          {"extended", "", "add the switchback type and the time of creation"}}},
        {"ins_gettag",
         "",
         "Print the tag that belongs to an internal id.",
         {kDest, required("i", "id", "internal id")}},
        {"ins_setin",
         "",
         "Set an instance's information for the kit.",
         {kDest, tag, {"v", "info", "the text"}}},
        {"ins_setit",
         "",
         "Set how an instance is initialised at engine start.",
         {kDest, tag, required("I", "init", "AUTORES_ISP, INIT_ISP or INIT_OSU")}},
        {"ins_setst",
         "",
         "Set an instance's state without running a script.",
         {kDest,
          tag,
          required("S", "state", "ISP, ISU or OSU"),
          {"R", "reason", "reason text"},
          {"A", "", "also everything that depends on it"}}},
        {"ins_setchkint",
         "",
         "Set a check interval.",
         {kDest, tag, required("c", "check", "quick (q) or deep (d)"),
          required("v", "seconds", "0 to 604800, 0 disables")}},
        {"ins_setlocalrecover",
         "",
         "Enable or disable local recovery.",
         {kDest, tag, required("l", "Y|N", "on or off")}},
        {"ins_setas",
         "",
         "Set the switchback type of a root and everything below it.",
         {kDest, tag, required("s", "type", "INTELLIGENT or AUTOMATIC")}},
        {"dep_create",
         "",
         "Make parent depend on child.",
         {kDest, required("p", "parent", "tag that needs the other"),
          required("c", "child", "tag that is needed")}},
        {"dep_list",
         "",
         "List dependencies.",
         {kDest,
          kSeparator,
          {"C", "tag", "all children, direct and indirect"},
          {"P", "tag", "all parents, direct and indirect"},
          {"c", "tag", "direct children of this parent"},
          {"p", "tag", "direct parents of this child"},
          {"r", "typ", "child is of this type"},
          {"a", "appname", "child is of this application"}},
         0,
         0,
         Server::daemon,
         {{"C", "P", "c", "p"}}},
        {"dep_remove",
         "",
         "Remove dependencies.",
         {kDest, {"p", "parent", "the parent"}, {"c", "child", "the child"}}},
        {"eqv_create",
         "",
         "Declare two instances on two systems to be the same thing.",
         {kDest,
          {"s", "sys", "first system (default: this one)"},
          tag,
          {"p", "priority", "first system's priority (default 1)"},
          {"S", "othersys", "other system"},
          required("o", "othertag", "tag on the other system"),
          {"r", "priority", "other system's priority (default 10)"},
          required("e", "SHARED", "kind of equivalency")}},
        {"eqv_list",
         "",
         "List equivalencies.",
         {kDest,
          {"s", "sys", "only this system's"},
          {"t", "tag", "only this tag's"},
          {"e", "SHARED", "kind"},
          kSeparator}},
        {"eqv_remove",
         "",
         "Remove an equivalency on both systems.",
         {kDest,
          {"s", "sys", "first system"},
          tag,
          {"S", "othersys", "other system"},
          {"o", "othertag", "tag on the other system (default: the same)"},
          {"e", "SHARED", "kind"}}},
        {"sys_create", "", "Add a system.", {kDest, required("s", "sys", "the system")}},
        {"sys_list", "", "List the systems this system knows.", {kDest}},
        {"sys_getst",
         "",
         "Print whether a system is ALIVE, DEAD or UNKNOWN.",
         {kDest, required("s", "sys", "the system")}},
        {"sys_getds", "", "Print why a system is in its state.", {kDest, required("s", "sys", "the system")}},
        {"net_create",
         "",
         "Define this system's end of a communication path.",
         {kDest,
          required("s", "remote", "the system at the other end"),
          required("D", "device", "TCP:port"),
          required("n", "transport", "TLI"),
          required("r", "remote_ip", "address of the other end"),
          required("l", "local_ip", "address of this end"),
          required("p", "priority", "1 (highest) to 99"),
          {"h", "interval", "heartbeat interval in seconds, or with ms (default 6)"},
          {"c", "misses", "missed heartbeats until the path is DEAD (default 5)"}}},
        {"net_list", "", "List communication paths.", {kDest, kSeparator}},
        {"net_remove",
         "",
         "Remove this system's end of a communication path.",
         {kDest, required("D", "device", "TCP:port, second field of net_list")}},
        {"flg_create", "", "Create a flag.", {kDest, required("f", "flag", "its name")}},
        {"flg_remove", "", "Remove a flag.", {kDest, required("f", "flag", "its name")}},
        {"flg_test",
         "",
         "Exit with 0 when the flag exists, with 7 when not.",
         {kDest, required("f", "flag", "its name")}},
        {"flg_list", "", "List the flags.", {kDest}},
        {"lcdsync", "", "Return when every change is on disk.", {kDest}},
        {"perform_action",
         "[-- arg ...]",
         "Run an action on a resource; restore and remove walk its hierarchy.",
         {{"G", "", "no global scripts"},
          {"s", "", "this resource only"},
          {"b", "", "restore: not the parents"},
          {"n", "", "ignore reservations"},
          tag,
          required("a", "action", "restore, remove or another of the kit")},
         0,
         1000,
         Server::daemon,
         {},
         0},
        {"lkstart",
         "",
         "Start the engine and wait until it is ready.",
         {{"w", "seconds", "how long to wait (default 60, 0: not at all)"}},
         0,
         0,
         Server::local},
        {"lkstop",
         "",
         "Stop the engine.",
         {{"n", "", "take resources out of service (default)"},
          {"f", "", "leave resources in service"},
          {"r", "", "same as -f"}},
         0,
         0,
         Server::daemon,
         {{"n", "f", "r"}},
         0},

        {"understudy init",
         "",
         "Make a new cluster with this node as its first member.",
         {{"cluster", "name", "a name for people (default: understudy)"}}},
        {"understudy invite",
         "",
         "Print a token with which one host can join.",
         {{"lifetime", "minutes", "how long it is valid (default 60)"}}},
        {"understudy join",
         "HOST",
         "Join this host to the cluster of HOST.",
         {required("token", "T", "from `understudy invite` on a member"),
          {"path", "LOCAL:REMOTE[,..]",
           "communication paths as pairs of addresses, best first (default: one, on the route to HOST)"},
          {"interval", "time", "heartbeat interval of the paths, seconds or with ms (default 6)"},
          {"misses", "n", "missed heartbeats until a path is DEAD (default 5)"}},
         1,
         1},
        {"understudy status", "", "Show nodes, hierarchies and mirrors at a glance.", {kJson}},
        {"getlocks",
         "",
         "Take the lock that keeps cluster-wide operations from overlapping.",
         {{"a", "system", "a system of the cluster; the lock holds for all of them"},
          required("i", "identifier", "kind of operation, such as Create_Hierarchy"),
          {"l", "lockfile", "name of the lock, for rlslocks"},
          {"o", "system", "another system of the cluster"},
          {"e", "", "do not wait while somebody else holds it"},
          {"p", "pid", "process that owns the lock, default the caller of getlocks"},
          {"w", "seconds", "how long to wait, default 300"}},
         0,
         0,
         Server::daemon,
         {{"e", "w"}},
         0},
        {"rlslocks",
         "",
         "Release the lock that getlocks took.",
         {{"a", "system", "a system of the cluster"},
          {"l", "lockfile", "name of the lock, or the flag that shows it"},
          {"p", "pid", "process that owns the lock, default the caller of rlslocks"}}},
        {"hry_setpri",
         "",
         "Set a system's priority for a whole hierarchy, on all its systems.",
         {kDest,
          required("t", "tag", "any resource of the hierarchy"),
          required("p", "priority", "1 (highest) to 999"),
          {"s", "system", "whose priority, default the system that executes the command"}},
         0,
         0,
         Server::daemon,
         {},
         0},
        {"understudy priorities",
         "TAG SYSTEM=PRIORITY ...",
         "Set several systems' priorities for a hierarchy at once, on all its systems or on none.",
         {},
         2,
         32,
         Server::daemon,
         {},
         0},
        {"understudy history",
         "",
         "Show who changed what in the configuration and the states, on all nodes.",
         {kJson,
          {"since", "time", "only from then: 2026-11-22, \"2026-11-22 14:05\", 90s, 15m, 2h, 3d (ago)"},
          {"until", "time", "only until then"},
          {"tag", "tag", "only what concerns this resource"},
          {"node", "system", "only this system's"},
          {"text", "text", "only what contains this text"},
          {"count", "n", "the newest so many, default 50"}}},
        {"understudy events",
         "",
         "Show what happened on all nodes, newest last.",
         {{"count", "n", "how many (default 50)"}, kJson}},
        {"understudy plan",
         "ACTION TAG|NODE",
         "Show what restore, remove or failover-of would do, and why.",
         {kJson},
         2,
         2},
        {"understudy switchover",
         "TAG",
         "Bring TAG's hierarchy in service on another node.",
         {required("to", "NODE", "where to")},
         1,
         1,
         Server::daemon,
         {},
         0},
        {"understudy completion", "", "Print the bash completion script.", {}, 0, 0, Server::local},
        {"understudy mirror create",
         "VOL",
         "Create a mirrored volume; the target's content is overwritten.",
         {required("device", "PATH", "this node's device or file"),
          required("target", "NODE", "the other node"),
          required("target-device", "PATH", "its device or file"),
          required("source-address", "A", "this node's address for mirror traffic"),
          required("target-address", "A", "the other node's address"),
          {"type", "sync|async", "default sync"},
          {"export", "fuse|nbd", "how the volume is offered (default fuse)"},
          {"no-resync", "", "both sides are known to be equal"}},
         1,
         1,
         Server::mirror,
         {},
         120},
        {"understudy mirror status",
         "[VOL]",
         "Show mirrors, their state and what is left to copy.",
         {kJson},
         0,
         1,
         Server::mirror},
        {"understudy mirror pause", "VOL", "Stop sending; writes are tracked.", {}, 1, 1, Server::mirror},
        {"understudy mirror continue", "VOL", "Send again after a partial resync.", {}, 1, 1, Server::mirror},
        {"understudy mirror delete",
         "VOL",
         "End the mirror; both sides keep their data.",
         {{"force", "", "although the other side cannot be told"}},
         1,
         1,
         Server::mirror},
        {"understudy mirror promote",
         "VOL",
         "Make this node the source.",
         {{"peer-dead", "", "the cluster knows that the other node is dead"},
          {"force", "", "although this side is known to be behind"}},
         1,
         1,
         Server::mirror,
         {},
         120},
        {"understudy mirror yield",
         "VOL",
         "Give this side up after both were written; `continue` on the other then overwrites it.",
         {},
         1,
         1,
         Server::mirror},
        {"understudy mirror demote",
         "VOL",
         "Give the volume's device up on this node.",
         {},
         1,
         1,
         Server::mirror,
         {},
         120},
        {"understudy mirror type", "VOL sync|async", "Change the mirror's type.", {}, 2, 2, Server::mirror},
        {"understudy mirror wait",
         "VOL",
         "Wait until the mirror is mirroring.",
         {{"timeout", "S", "seconds (default 600)"}},
         1,
         1,
         Server::mirror,
         {},
         0},
    };
    std::sort(table.begin(), table.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return table;
}

const OptionSpec* find_option(const CommandSpec& spec, std::string_view name) {
    const auto at = std::find_if(spec.options.begin(), spec.options.end(),
                                 [&](const OptionSpec& option) { return option.name == name; });
    return at == spec.options.end() ? nullptr : &*at;
}

std::string dashed(std::string_view name) {
    return fmt::format("{}{}", name.size() == 1 ? "-" : "--", name);
}

}  // namespace

std::span<const CommandSpec> command_table() {
    static const auto kTable = make_table();
    return kTable;
}

const CommandSpec* find_command(std::string_view name) {
    // The address chapters of the manual spell this one differently. Spec: CMD-076.
    if (name == "ins_setlocalrecovery") name = "ins_setlocalrecover";
    const auto table = command_table();
    const auto at =
        std::find_if(table.begin(), table.end(), [&](const CommandSpec& spec) { return spec.name == name; });
    return at == table.end() ? nullptr : &*at;
}

Result<config::Command> parse(const CommandSpec& spec, std::span<const std::string> words) {
    config::Command command;
    command.name = spec.name;
    bool options_ended = false;
    for (std::size_t i = 0; i < words.size(); ++i) {
        std::string_view word = words[i];
        if (options_ended || word.size() < 2 || word.front() != '-') {
            command.arguments.emplace_back(word);
            continue;
        }
        if (word == "--") {
            options_ended = true;
            continue;
        }
        std::string_view name;
        std::optional<std::string_view> glued;
        if (word.starts_with("--")) {
            name = word.substr(2);
            if (const auto equals = name.find('='); equals != std::string_view::npos) {
                glued = name.substr(equals + 1);
                name = name.substr(0, equals);
            }
        } else {
            name = word.substr(1, 1);
            if (word.size() > 2) glued = word.substr(2);
        }
        const auto* option = find_option(spec, name);
        if (option == nullptr) return fail(Code::syntax, "unknown option {}", dashed(name));
        if (option->value.empty()) {
            if (!glued) {
                command.options[std::string(name)] = "";
                continue;
            }
            if (word.starts_with("--")) return fail(Code::syntax, "option {} takes no value", dashed(name));
            // A cluster of switches, "-sb".
            for (const char letter : word.substr(1)) {
                const auto* each = find_option(spec, std::string_view(&letter, 1));
                if (each == nullptr || !each->value.empty())
                    return fail(Code::syntax, "unknown switch -{} in \"{}\"", letter, word);
                command.options[std::string(1, letter)] = "";
            }
            continue;
        }
        if (!glued) {
            if (i + 1 >= words.size())
                return fail(Code::syntax, "option {} needs a value ({})", dashed(name), option->value);
            glued = words[++i];
        }
        if (command.has(name)) return fail(Code::syntax, "option {} is given twice", dashed(name));
        command.options[std::string(name)] = std::string(*glued);
    }
    for (const auto& option : spec.options)
        if (option.required && !command.has(option.name))
            return fail(Code::syntax, "option {} {} is missing", dashed(option.name), option.value);
    for (const auto& group : spec.exclusive) {
        std::string given;
        int count = 0;
        for (const auto name : group)
            if (command.has(name)) {
                ++count;
                given += " " + dashed(name);
            }
        if (count > 1) return fail(Code::syntax, "only one of these may be given:{}", given);
    }
    // Fields are separated by exactly one character. Spec: CMD-008.
    if (const auto* separator = find_option(spec, "f");
        separator != nullptr && separator->value == "C" && command.has("f") && command.get("f").size() != 1)
        return fail(Code::syntax, "-f takes exactly one character");
    if (command.arguments.size() < spec.least_operands)
        return fail(Code::syntax, "{} is missing", spec.operands);
    if (command.arguments.size() > spec.most_operands)
        return fail(Code::syntax, "unexpected argument \"{}\"", command.arguments[spec.most_operands]);
    if (spec.server == Server::mirror) {
        // mirrord knows one command with a verb: "understudy mirror pause VOL" is "mirror" with {"pause",
        // "VOL"}.
        command.name = "mirror";
        command.arguments.insert(command.arguments.begin(),
                                 std::string(spec.name.substr(kMirrorPrefix.size())));
    }
    return command;
}

std::string synopsis(const CommandSpec& spec) {
    std::string line(spec.name);
    for (const auto& option : spec.options) {
        const auto glue = option.name == "f" && option.value == "C" ? "" : " ";
        const auto text = option.value.empty()
                              ? dashed(option.name)
                              : fmt::format("{}{}{}", dashed(option.name), glue, option.value);
        line += option.required ? fmt::format(" {}", text) : fmt::format(" [{}]", text);
    }
    if (!spec.operands.empty()) line += fmt::format(" {}", spec.operands);
    return line;
}

std::string help(const CommandSpec& spec) {
    std::string result = fmt::format("usage: {}\n\n{}\n", synopsis(spec), spec.summary);
    if (!spec.options.empty()) result += "\n";
    for (const auto& option : spec.options) {
        const auto left = option.value.empty() ? dashed(option.name)
                                               : fmt::format("{} {}", dashed(option.name), option.value);
        result += fmt::format("  {:<24} {}{}\n", left, option.help, option.required ? " (required)" : "");
    }
    return result;
}

std::string bash_completion() {
    std::string words;
    std::string mirror_words;
    std::string result = "# bash completion for understudy and the commands of its configuration database\n";
    std::string cases;
    for (const auto& spec : command_table()) {
        std::string options;
        for (const auto& option : spec.options)
            options += dashed(option.name) + " ";
        options += "--help";
        if (spec.name.starts_with("understudy mirror "))
            mirror_words += fmt::format("{} ", spec.name.substr(18));
        else if (spec.name.starts_with("understudy "))
            words += fmt::format("{} ", spec.name.substr(11));
        cases += fmt::format("        \"{}\") COMPREPLY=($(compgen -W \"{}\" -- \"$current\"));;\n",
                             spec.name, options);
    }
    result += "_understudy() {\n    local current=${COMP_WORDS[COMP_CWORD]} name=${COMP_WORDS[0]##*/}\n";
    result += "    if [[ $name == understudy ]]; then\n";
    result += fmt::format(
        "        if ((COMP_CWORD == 1)); then COMPREPLY=($(compgen -W \"{}mirror\" -- \"$current\")); "
        "return; fi\n",
        words);
    result += "        name+=\" ${COMP_WORDS[1]}\"\n        if [[ ${COMP_WORDS[1]} == mirror ]]; then\n";
    result += fmt::format(
        "            if ((COMP_CWORD == 2)); then COMPREPLY=($(compgen -W \"{}\" -- \"$current\")); return; "
        "fi\n",
        mirror_words);
    result += "            name+=\" ${COMP_WORDS[2]}\"\n        fi\n    fi\n    case $name in\n" + cases +
              "    esac\n}\ncomplete -F _understudy understudy";
    for (const auto& spec : command_table())
        if (!spec.name.starts_with("understudy ")) result += fmt::format(" {}", spec.name);
    return result + "\n";
}

}  // namespace understudy::cli
