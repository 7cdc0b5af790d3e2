#include "mirror/control/posix/keeper_start.h"

#include "mirror/control/posix/socket_io.h"
#include "mirror/export/export.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

namespace understudy::mirror::control {

namespace {

constexpr auto kStartLimit = std::chrono::seconds(5);
constexpr auto kPoll = std::chrono::milliseconds(10);

}  // namespace

std::string beside_this_program(const std::string& name) {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? name : (self.parent_path() / name).string();
}

Result<> ensure_keeper(const std::string& socket, const std::string& program) {
    if (kept_exports(socket)) return {};
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&actions);
    // A session of its own: a signal to mirrord's group or terminal must not reach it.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    std::string name = "understudy-keeper";
    std::string option = "--socket";
    std::string where = socket;
    std::array<char*, 4> arguments{name.data(), option.data(), where.data(), nullptr};
    pid_t pid = 0;
    const int problem = posix_spawn(&pid, program.c_str(), &actions, &attributes, arguments.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (problem != 0) return fail(Code::failure, "cannot start {}: {}", program, system_text(problem));
    const auto deadline = std::chrono::steady_clock::now() + kStartLimit;
    for (;;) {
        auto answered = kept_exports(socket);
        if (answered) return {};
        if (std::chrono::steady_clock::now() > deadline)
            return with_context(answered.error(), fmt::format("{} does not answer", program));
        std::this_thread::sleep_for(kPoll);
    }
}

}  // namespace understudy::mirror::control
