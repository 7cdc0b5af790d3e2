#include "cli/tool.h"

#include "base/text.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace understudy::cli {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(2);
constexpr const char* kAdministratorsPath = "/usr/local/sbin:/usr/sbin:/sbin";

std::string path_of(const std::string& name) {
    const auto* set = std::getenv("PATH");
    for (const auto& directory :
         text::split(fmt::format("{}:{}", set == nullptr ? "/usr/bin:/bin" : set, kAdministratorsPath), ':'))
        if (const auto path = directory + "/" + name; access(path.c_str(), X_OK) == 0) return path;
    return {};
}

/// A file in memory, so that the program may read and write in any order.
int memory_file(const std::string& content) {
    const int fd = memfd_create("understudy", MFD_CLOEXEC);
    if (fd < 0) return fd;
    std::size_t done = 0;
    while (done < content.size()) {
        const auto count = write(fd, content.data() + done, content.size() - done);
        if (count <= 0) break;
        done += static_cast<std::size_t>(count);
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

std::string content_of(int fd) {
    std::string content;
    std::array<char, 65536> piece;
    lseek(fd, 0, SEEK_SET);
    for (ssize_t count = 0;
         content.size() <= kMaxToolOutput && (count = read(fd, piece.data(), piece.size())) > 0;)
        content.append(piece.data(), static_cast<std::size_t>(count));
    return content;
}

}  // namespace

bool has_tool(const std::string& name) {
    return !path_of(name).empty();
}

Result<ToolOutcome> run_tool(const std::vector<std::string>& words, const std::string& input,
                             std::chrono::milliseconds limit) {
    const auto path = path_of(words.at(0));
    if (path.empty()) return fail(Code::failure, "there is no program {} on this host", words[0]);
    const std::array<int, 3> files{memory_file(input), memory_file({}), memory_file({})};
    const auto close_all = [&files] {
        for (const int fd : files)
            if (fd >= 0) close(fd);
    };
    std::vector<char*> arguments;
    for (const auto& word : words)
        arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const auto child = files[0] < 0 || files[1] < 0 || files[2] < 0 ? -1 : fork();
    if (child == 0) {
        setsid();
        for (int to = 0; to < 3; ++to)
            dup2(files.at(static_cast<std::size_t>(to)), to);
        setenv("LC_ALL", "C.UTF-8", 1);
        execv(path.c_str(), arguments.data());
        _exit(127);
    }
    if (child < 0) {
        close_all();
        return fail(Code::failure, "cannot run {}: {}", words[0], std::strerror(errno));
    }
    const auto deadline = std::chrono::steady_clock::now() + limit;
    int status = 0;
    bool killed = false;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (std::chrono::steady_clock::now() > deadline) {
            killed = true;
            ::kill(-child, SIGKILL);
            waitpid(child, &status, 0);
            break;
        }
        poll(nullptr, 0, static_cast<int>(kPollInterval.count()));
    }
    ToolOutcome outcome{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
                        content_of(files[1]), content_of(files[2])};
    close_all();
    if (killed) return fail(Code::failure, "{} did not end within {} ms", words[0], limit.count());
    if (outcome.output.size() > kMaxToolOutput)
        return fail(Code::failure, "{} printed more than {} MiB", words[0], kMaxToolOutput >> 20);
    return outcome;
}

}  // namespace understudy::cli
