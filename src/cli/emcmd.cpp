#include "cli/emcmd.h"

#include "base/text.h"
#include "cli/client.h"
#include "mirror/emcmd/request.h"
#include "mirror/emcmd/status.h"

#include <unistd.h>

#include <cstdio>

namespace understudy::cli {
namespace {

using namespace mirror::emcmd;

void print(std::FILE* to, const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), to);
}

int end_with(Status status, const std::string& error) {
    print(stderr, error);
    print(stdout, status_line(status));
    return exit_code(status);
}

int explain(const std::vector<std::string>& words) {
    const auto value = words.size() == 2 ? text::to_int(words[1]) : std::nullopt;
    if (!value) return end_with(Status::invalid_parameter, "usage: emcmd -helpmsg <status>\n");
    const std::string_view text = meaning(static_cast<int>(*value));
    if (text.empty()) {
        print(stderr, fmt::format("emcmd gives no status {}\n", *value));
        return 1;
    }
    print(stdout, fmt::format("{}\n", text));
    return 0;
}

}  // namespace

int run_emcmd(const config::Layout& layout, const std::vector<std::string>& words) {
    if (!words.empty() && text::iequals(words[0], "-helpmsg")) return explain(words);
    if (words.size() == 1 && (words[0] == "--help" || words[0] == "-?")) {
        print(stdout, usage());
        return 0;
    }
    // The daemon parses it again, and notes a command that it does not know. Spec: EMC-006
    const auto request = mirror::emcmd::parse(words);
    if (!request && request.error().unknown.empty())
        return end_with(Status::invalid_parameter, request.error().text);
    const CommandSpec* spec = find_command("emcmd");
    config::Command command;
    command.name = "emcmd";
    command.arguments = words;
    command.pid = static_cast<int>(getpid());
    const auto reply = send(layout, *spec, command);
    if (!reply) {
        if (!request) return end_with(Status::invalid_parameter, request.error().text);
        // What could not be asked prints as little as what failed. Spec: EMC-017, EMC-024
        print(stderr, reply.error().text + "\n");
        if (request->spec->ending != Ending::silent) print(stdout, status_line(Status::file_not_found));
        return exit_code(Status::file_not_found);
    }
    print(stdout, reply->out);
    print(stderr, reply->err);
    return reply->exit_code;
}

}  // namespace understudy::cli
