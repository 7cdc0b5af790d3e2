#include "cli/remote.h"

#include "base/text.h"
#include "cli/client.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace understudy::cli {
namespace {

constexpr int kSignalExitBase = 128;  // as shells have it

std::string node_name(const config::Layout& layout) {
    std::ifstream file(layout.etc() + "/node");
    std::string name;
    std::getline(file, name);
    return std::string(text::trim(name));
}

Result<std::string> read_file(const std::string& path) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    if (error) return fail(Code::failure, "cannot read {}: {}", path, error.message());
    if (size > kMaxCopiedBytes)
        return fail(Code::failure, "{} has {} bytes; lcdrcp copies text files of at most {} bytes", path,
                    size, kMaxCopiedBytes);
    std::ifstream file(path, std::ios::binary);
    std::string content{std::istreambuf_iterator<char>(file), {}};
    if (!file.good() && !file.eof()) return fail(Code::failure, "cannot read {}: {}", path, strerror(errno));
    return content;
}

}  // namespace

bool runs_here(const config::Layout& layout, const config::Command& command) {
    return geteuid() == 0 && !command.get("d").empty() && command.get("d") == node_name(layout);
}

Result<int> run_here(const config::Layout& layout, const config::Command& command) {
    const auto line = text::join(command.arguments, " ");
    const auto child = fork();
    if (child < 0) return fail(Code::failure, "cannot start \"{}\": {}", line, strerror(errno));
    if (child == 0) {
        const auto lkroot = layout.lkroot();
        const auto* path = getenv("PATH");
        setenv("PATH", (lkroot + "/bin:" + (path == nullptr ? "/usr/bin:/bin" : path)).c_str(), 1);
        setenv("LKROOT", lkroot.c_str(), 1);
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        if (chdir(lkroot.c_str()) != 0) _exit(static_cast<int>(Code::failure));
        execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
        _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalExitBase + WTERMSIG(status);
}

Result<config::Reply> copy_files(const config::Layout& layout, const config::Command& command) {
    auto sources = command.arguments;
    const auto target = sources.back();
    sources.pop_back();
    // Only the first colon separates: a path may hold others. Spec: CMD-033.
    const auto colon = target.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == target.size())
        return fail(Code::syntax, "the target \"{}\" is not SYSTEM:PATH", target);
    static const CommandSpec kCopy{"lcdrcp", "", "", {}};
    std::vector<config::Command> requests;
    for (const auto& source : sources) {
        UNDERSTUDY_TRY(auto content, read_file(source));
        config::Command request;
        request.name = kCopy.name;
        request.options = {{"d", target.substr(0, colon)},
                           {"to", target.substr(colon + 1)},
                           {"name", std::filesystem::path(source).filename().string()}};
        if (sources.size() > 1) request.options["several"] = "";
        request.arguments = {std::move(content)};
        requests.push_back(std::move(request));
    }
    config::Reply reply;
    for (const auto& request : requests) {
        UNDERSTUDY_TRY(reply, send(layout, kCopy, request));
        if (reply.exit_code != 0) break;
    }
    return reply;
}

}  // namespace understudy::cli
