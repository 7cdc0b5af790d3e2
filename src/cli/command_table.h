#pragma once
// Every command's options in one table: the parser, --help, the man pages and shell completion all come from
// it. Spec: CMD-009, CMD-015.

#include "base/result.h"
#include "config/command.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::cli {

enum class Server {
    daemon,   // understudyd's socket
    mirror,   // mirrord's socket
    local,    // the client itself does it, perhaps with the daemons' help
    program,  // a program of its own
};

struct OptionSpec {
    std::string_view name;   // "t" for -t, "json" for --json
    std::string_view value;  // placeholder of its value, empty for a switch
    std::string_view help;
    bool required = false;
};

struct CommandSpec {
    std::string_view name;      // "ins_list", "understudy status"
    std::string_view operands;  // "VOL", "TAG", "[-- arg ...]", empty when it takes none
    std::string_view summary;   // one sentence
    std::vector<OptionSpec> options;
    std::size_t least_operands = 0;
    std::size_t most_operands = 0;
    Server server = Server::daemon;
    /// At most one of each group may be given; the names are option names.
    std::vector<std::vector<std::string_view>> exclusive = {};
    int limit_s =
        60;  // how long the client waits for the answer; 0: as long as it takes (scripts have no limit)
    /// The first operand is a file, - for standard input; the server gets what is in it.
    bool reads_file = false;
    int syntax_code = static_cast<int>(Code::syntax);  // exit code for a command line that is wrong
};

/// Most source files of one lcdrcp.
inline constexpr std::size_t kMaxCopiedFiles = 1000;

std::span<const CommandSpec> command_table();
/// What command_table() keeps, sorted by name; command_specs.cpp.
std::vector<CommandSpec> make_command_table();
/// nullptr when there is none of that name.
const CommandSpec* find_command(std::string_view name);

/// Parses what follows the command's name. Options may be glued to their values, in any order; `--` ends
/// them. Code::syntax with a text that names the offending word.
Result<config::Command> parse(const CommandSpec& spec, std::span<const std::string> words);

std::string synopsis(const CommandSpec& spec);  // one line
std::string help(const CommandSpec& spec);      // for --help
std::string bash_completion();

}  // namespace understudy::cli
