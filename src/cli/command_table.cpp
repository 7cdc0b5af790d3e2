#include "cli/command_table.h"

#include "base/text.h"

#include <algorithm>
#include <map>
#include <set>

namespace understudy::cli {
namespace {

constexpr std::string_view kMirrorPrefix = "understudy mirror ";

/// Second names under which the manual calls a command. Spec: CMD-076, CMD-103, CMD-135.
struct Alias {
    std::string_view alias;
    std::string_view name;
};
constexpr Alias kAliases[] = {{"ins_setlocalrecovery", "ins_setlocalrecover"},
                              {"delallsys.pl", "delallsys"},
                              {"lk_chg_value.ksh", "lk_chg_value"}};

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
    static const auto kTable = make_command_table();
    return kTable;
}

const CommandSpec* find_command(std::string_view name) {
    for (const auto& each : kAliases)
        if (name == each.alias) name = each.name;
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
        if (option->value.empty() && glued) {
            if (word.starts_with("--")) return fail(Code::syntax, "option {} takes no value", dashed(name));
            // A cluster of switches, "-sb"; the last letter may be an option with a value, "-vf file".
            for (std::size_t at = 1; at < word.size(); ++at) {
                name = word.substr(at, 1);
                option = find_option(spec, name);
                if (option == nullptr) return fail(Code::syntax, "unknown switch -{} in \"{}\"", name, word);
                glued = at + 1 < word.size() ? std::optional(word.substr(at + 1)) : std::nullopt;
                if (!option->value.empty()) break;
                command.options[std::string(name)] = "";
            }
        }
        if (option->value.empty()) {
            command.options[std::string(name)] = "";
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
    if (spec.server == Server::mirror && spec.name.starts_with(kMirrorPrefix)) {
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

namespace {

constexpr std::string_view kProgram = "understudy ";

/// What an option's value is one of: which shell command lists them. Empty: nothing that can be listed.
std::string_view lister(std::string_view value) {
    if (text::iequals(value, "tag") || value == "roottag" || value == "othertag" || value == "top" ||
        value == "parent" || value == "child")
        return "ins_list -f'|' 2>/dev/null | cut -d'|' -f4";
    if (value == "destsys" || value == "sys" || value == "othersys" || value == "system" || value == "NODE" ||
        value == "node" || value == "destname")
        return "sys_list 2>/dev/null";
    if (value == "appname") return "app_list 2>/dev/null";
    if (value == "flag") return "flg_list 2>/dev/null";
    return {};
}

std::string complete_with(std::string_view words) {
    return fmt::format("COMPREPLY=($(compgen -W \"{}\" -- \"$current\"))", words);
}

}  // namespace

std::string bash_completion() {
    // "understudy mirror create" is the word "mirror", and behind it "create".
    std::map<std::string, std::set<std::string>> groups;
    std::map<std::string, std::string> values;  // patterns "command option", by lister
    std::string options;
    std::string commands;
    for (const auto& spec : command_table()) {
        std::string words;
        for (const auto& option : spec.options) {
            words += dashed(option.name) + " ";
            if (const auto list = lister(option.value); !list.empty()) {
                auto& patterns = values[std::string(list)];
                patterns +=
                    fmt::format("{}\"{} {}\"", patterns.empty() ? "" : "|", spec.name, dashed(option.name));
            }
        }
        options += fmt::format("        \"{}\") {};;\n", spec.name, complete_with(words + "--help"));
        if (!spec.name.starts_with(kProgram)) {
            commands += fmt::format(" {}", spec.name);
            continue;
        }
        const auto parts = text::split(spec.name, ' ');
        groups["understudy"].insert(parts.at(1));
        if (parts.size() > 2) groups["understudy " + parts[1]].insert(parts[2]);
    }
    std::string result =
        "# bash completion for understudy and the commands of its configuration database\n"
        "_understudy() {\n"
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} "
        "name=${COMP_WORDS[0]##*/}\n"
        "    COMPREPLY=()\n";
    int at = 1;
    for (const auto& [group, words] : groups) {  // "understudy" comes first
        at = group == "understudy" ? 1 : 2;
        result += fmt::format(
            "    if [[ $name == \"{}\" ]]; then\n        if ((COMP_CWORD == {})); then {}; return; fi\n"
            "        name+=\" ${{COMP_WORDS[{}]}}\"\n    fi\n",
            group, at, complete_with(text::join(std::vector<std::string>(words.begin(), words.end()), " ")),
            at);
    }
    result += "    case \"$name $previous\" in\n";
    for (const auto& [list, patterns] : values)
        result +=
            fmt::format("        {}) {}; return;;\n", patterns, complete_with(fmt::format("$({})", list)));
    result += "    esac\n    case $name in\n" + options + "    esac\n}\ncomplete -F _understudy understudy";
    return result + commands + "\n";
}

}  // namespace understudy::cli
