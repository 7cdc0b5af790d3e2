// Every command of the manual and `understudy`: one program, called by the name it is linked as.

#include "base/text.h"
#include "cli/client.h"
#include "cli/emcmd.h"
#include "cli/firewall.h"
#include "cli/log_message.h"
#include "cli/mirror_progress.h"
#include "cli/remote.h"
#include "cli/start.h"
#include "cli/support.h"
#include "messages/messages.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <source_location>
#include <string>
#include <vector>

namespace understudy::cli {
namespace {

/// Every message has a number that scripts can rely on: its own, or this plus the exit code. Spec: CMD-006.
// The line with which lkstop ends. Spec: CMD-051
constexpr std::string_view kNowStopped = "LIFEKEEPER NOW STOPPED";
constexpr int kNumbersOfCodes = 600;

void print(std::FILE* to, std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), to);
}

int fail_with(std::string_view process, const Error& error,
              std::source_location where = std::source_location::current()) {
    const bool no_daemon = error.number == messages::daemon_not_running.number;
    const auto severity = no_daemon ? messages::Severity::critical : messages::Severity::error;
    const int number = error.number != 0 ? error.number : kNumbersOfCodes + static_cast<int>(error.code);
    auto text = messages::layout(severity, number, error.text, process, static_cast<int>(getpid()));
    if (no_daemon) {  // Spec: CLU-026
        const std::string_view file(where.file_name());
        text.insert(text.find('\n') + 1, fmt::format("[File:{} Line:{}]\n",
                                                     file.substr(file.find_last_of('/') + 1), where.line()));
    }
    print(stderr, text);
    return static_cast<int>(error.code);
}

std::string overview() {
    std::string result = "usage: understudy COMMAND [options]\n\n";
    for (const auto& spec : command_table())
        if (spec.name.starts_with("understudy "))
            result += fmt::format("  {:<18} {}\n", spec.name.substr(11), spec.summary);
    result += "\nAlso commands by themselves:\n";
    for (const auto& spec : command_table())
        if (!spec.name.starts_with("understudy "))
            result += fmt::format("  {:<20} {}\n", spec.name, spec.summary);
    return result +
           "\nCOMMAND --help explains one. --root DIR (or UNDERSTUDY_ROOT) names another host root.\n";
}

/// Takes "--root DIR" from anywhere in front of "--".
void take_root(std::vector<std::string>& words) {
    for (std::size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
        if (words[i] == "--root" && i + 1 < words.size()) {
            setenv("UNDERSTUDY_ROOT", words[i + 1].c_str(), 1);
            unsetenv("LKROOT");  // it belongs to the other root
            words.erase(words.begin() + static_cast<std::ptrdiff_t>(i),
                        words.begin() + static_cast<std::ptrdiff_t>(i) + 2);
            return;
        }
    }
}

/// A file's content, or standard input's for "-".
Result<std::string> read_operand(const std::string& file) {
    constexpr std::size_t kMost = 8UL << 20;  // what fits into a request
    std::FILE* from = file == "-" ? stdin : std::fopen(file.c_str(), "re");
    if (from == nullptr) return fail(Code::not_found, "cannot read {}: {}", file, std::strerror(errno));
    std::string content;
    std::array<char, 65536> piece;
    std::size_t count = 0;
    while (content.size() <= kMost && (count = std::fread(piece.data(), 1, piece.size(), from)) > 0)
        content.append(piece.data(), count);
    const int error = std::ferror(from) != 0 ? errno : 0;
    if (from != stdin) std::fclose(from);
    if (error != 0) return fail(Code::failure, "cannot read {}: {}", file, std::strerror(error));
    if (content.size() > kMost)
        return fail(Code::bad_argument, "{} is larger than {} MiB", file, kMost >> 20);
    return content;
}

int print_reply(const CommandSpec& spec, const config::Reply& reply) {
    print(stdout, reply.out);
    if (reply.raw)
        print(stderr, reply.err);
    else if (reply.exit_code == 0 && !reply.err.empty())
        print(stderr, reply.err + "\n");  // a warning
    else if (!reply.err.empty())
        fail_with(spec.name, Error{static_cast<Code>(reply.exit_code), reply.err, reply.message_number});
    return reply.exit_code;
}

/// Commands that the client does itself, perhaps with a daemon's help.
int run_local(const config::Layout& layout, const CommandSpec& spec, const config::Command& command) {
    if (spec.name == "understudy completion") {
        print(stdout, bash_completion());
        return 0;
    }
    if (spec.name == "lk_err") {
        const auto logged = log_message(layout, command);
        return logged ? 0 : fail_with(spec.name, logged.error());
    }
    if (spec.name == "lksupport") return fail_with(spec.name, run_support_script(layout, command));
    if (spec.name == "understudy firewall") {
        const auto reply = run_firewall(layout, command);
        return reply ? print_reply(spec, *reply) : fail_with(spec.name, reply.error());
    }
    if (spec.name == "lcdrcp") {
        const auto reply = copy_files(layout, command);
        return reply ? print_reply(spec, *reply) : fail_with(spec.name, reply.error());
    }
    const auto started = start_engine(layout, command);
    if (!started) return fail_with(spec.name, started.error());
    print(stdout, *started + "\n");
    return 0;
}

/// Commands that last as long as a resync or a comparison.
bool shows_progress(const CommandSpec& spec) {
    return spec.name == "understudy mirror wait" || spec.name == "understudy mirror verify";
}

/// The volume of a mirror's command: its first argument behind the verb.
std::string volume_of(const config::Command& command) {
    return command.arguments.size() < 2 ? std::string() : command.arguments[1];
}

Result<config::Reply> send_with_progress(const config::Layout& layout, const CommandSpec& spec,
                                         const config::Command& command) {
    Result<config::Reply> reply;
    (void)with_progress(layout, volume_of(command), command.get("target"), [&] {
        reply = send(layout, spec, command);
        return reply.value_or(config::Reply());
    });
    return reply;
}

/// --wait: the command has done its part, and ends when the mirrors mirror.
int wait_for_mirror(const config::Layout& layout, const config::Command& command) {
    constexpr const char* kAWeek_s = "604800";
    std::vector<std::string> words{volume_of(command), "--timeout", kAWeek_s};
    // "a,b" are all that were made.
    if (const auto target = command.get("target"); !target.empty() && target.find(',') == target.npos)
        words.insert(words.end(), {"--target", target});
    const auto* wait = find_command("understudy mirror wait");
    const auto asked = parse(*wait, words);
    if (!asked) return fail_with(wait->name, asked.error());
    const auto reply = send_with_progress(layout, *wait, *asked);
    return reply ? print_reply(*wait, *reply) : fail_with(wait->name, reply.error());
}

int run_command(const CommandSpec& spec, const std::vector<std::string>& words) {
    if (spec.name == "emcmd") return run_emcmd(layout_from_environment(), words);
    for (const auto& word : words) {
        if (word == "--") break;
        if (word == "--help" || word == "-?") {
            print(stdout, help(spec));
            return 0;
        }
    }
    auto command = parse(spec, words);
    if (!command) {
        print(stderr, fmt::format("{}: {}\nusage: {}\n", spec.name, command.error().text, synopsis(spec)));
        return command.error().code == Code::syntax ? spec.syntax_code
                                                    : static_cast<int>(command.error().code);
    }
    if (spec.reads_file) {
        auto content = read_operand(command->arguments.front());
        if (!content) return fail_with(spec.name, content.error());
        command->arguments.front() = std::move(*content);
    }
    const auto layout = layout_from_environment();
    if (spec.server == Server::local) return run_local(layout, spec, *command);
    if (spec.name == "lcdremexec" && runs_here(layout, *command)) {
        const auto code = run_here(layout, *command);
        return code ? *code : fail_with(spec.name, code.error());
    }
    const int daemon = spec.name == "lkstop" ? server_pid(layout, Server::daemon) : 0;
    command->pid = static_cast<int>(getpid());
    // A lock belongs to who called the command, which ends at once.
    if ((spec.name == "getlocks" || spec.name == "rlslocks") && !command->has("p") && getppid() > 0)
        command->options["p"] = std::to_string(getppid());
    bool ends = false;
    const auto tell = [&ends](const std::string& text) {
        ends = ends || text.find(kNowStopped) != std::string::npos;
        print(stdout, text);
        std::fflush(stdout);
    };
    const auto reply = shows_progress(spec) ? send_with_progress(layout, spec, *command)
                                            : send(layout, spec, *command, tell);
    if (!reply) return fail_with(spec.name, reply.error());
    print_reply(spec, *reply);
    if (reply->exit_code == 0 && command->has("wait") && spec.server == Server::mirror)
        return wait_for_mirror(layout, *command);
    // A stop that could not be noted on the disk is an error, and a stop all the same.
    if (reply->exit_code == 0 || ends)
        if (const auto ended = wait_for_end(daemon); !ended) return fail_with(spec.name, ended.error());
    return reply->exit_code;
}

int run_main(int argc, char** argv) {
    std::vector<std::string> words(argv + 1, argv + argc);
    take_root(words);
    std::string name = argv[0];
    name = name.substr(name.find_last_of('/') + 1);
    if (name != "understudy") {
        const auto* spec = find_command(name);
        if (spec == nullptr) {
            print(stderr, fmt::format("{}: there is no such command\n{}", name, overview()));
            return static_cast<int>(Code::syntax);
        }
        return run_command(*spec, words);
    }
    if (words.empty()) {
        print(stderr, overview());
        return static_cast<int>(Code::syntax);
    }
    if (words[0] == "--help" || words[0] == "-?" || words[0] == "help") {
        print(stdout, overview());
        return 0;
    }
    // "understudy mirror create ...", "understudy status ...", "understudy ins_list ..."
    for (const std::size_t length : {2UL, 1UL}) {
        if (words.size() < length) continue;
        const auto head = text::join(std::span(words).first(length), " ");
        const auto* spec = find_command("understudy " + head);
        if (spec == nullptr && length == 1) spec = find_command(head);
        if (spec != nullptr)
            return run_command(*spec, {words.begin() + static_cast<std::ptrdiff_t>(length), words.end()});
    }
    // Of "mirror frob" those of "mirror" are what was looked for.
    const std::string group = fmt::format("understudy {} ", words[0]);
    std::string beside;
    for (const auto& spec : command_table())
        if (spec.name.starts_with(group))
            beside += fmt::format("  {:<18} {}\n", spec.name.substr(11), spec.summary);
    const auto asked =
        beside.empty() ? words[0] : text::join(std::span(words).first(std::min(words.size(), 2UL)), " ");
    print(stderr, fmt::format("understudy: there is no command \"{}\"\n{}", asked,
                              beside.empty() ? overview() : beside));
    return static_cast<int>(Code::syntax);
}

}  // namespace
}  // namespace understudy::cli

int main(int argc, char** argv) {
    return understudy::cli::run_main(argc, argv);
}
