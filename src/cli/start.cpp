#include "cli/start.h"

#include "base/text.h"
#include "cli/client.h"
#include "runtime/posix/programs.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace understudy::cli {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(20);
constexpr auto kEndLimit = std::chrono::seconds(30);
constexpr std::int64_t kDefaultWait_s = 60;
constexpr std::int64_t kMaxWait_s = 86400;

bool ready(const config::Layout& layout) {
    static const CommandSpec kReady{"engine-ready", "", "", {}};
    config::Command command;
    command.name = kReady.name;
    const auto reply = send(layout, kReady, command);
    return reply && reply->exit_code == 0;
}

bool answers(const config::Layout& layout, Server server) {
    CommandSpec probe{"engine-ready", "", "", {}};
    probe.server = server;
    config::Command command;
    command.name = probe.name;
    return send(layout, probe, command).has_value();
}

/// Starts a daemon in a session of its own, with its standard error in the log directory.
Result<> start_detached(const config::Layout& layout, const std::string& program) {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    const auto path = (self.parent_path() / program).string();
    if (access(path.c_str(), X_OK) != 0) return fail(Code::failure, "{} is not installed", path);
    std::filesystem::create_directories(layout.log(), error);
    const auto out = fmt::format("{}/{}.stderr", layout.log(), program);
    return runtime::start_detached({path, "--root", layout.root}, out);
}

Result<> start_by_systemd() {
    const auto child = fork();
    if (child < 0) return fail(Code::failure, "cannot start systemctl: no more processes");
    if (child == 0) {
        execlp("systemctl", "systemctl", "start", "--no-block", "understudy.service", nullptr);
        _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return fail(Code::failure,
                "systemctl start understudy.service failed; see `systemctl status understudy`");
}

/// A node that lost quorum is down for a while, and its daemon waits. Spec: QUO-076.
Result<> pass_quarantine(const config::Layout& layout, bool force) {
    const auto path = layout.run() + "/quarantine";
    std::ifstream file(path);
    std::int64_t until = 0;
    if (!(file >> until)) return {};
    std::error_code error;
    if (force) {
        std::filesystem::remove(path, error);
        if (error) return fail(Code::failure, "cannot end the quarantine: {}: {}", path, error.message());
        return {};
    }
    const auto now =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    return fail(Code::failure,
                "this node lost quorum and is in quarantine for {} s more; lkstart --force ends it now",
                std::max<std::int64_t>(until - now, 0));
}

}  // namespace

Result<std::string> start_engine(const config::Layout& layout, const config::Command& command) {
    const auto wait = text::to_int(command.get("w", std::to_string(kDefaultWait_s)));
    if (!wait) return fail(Code::bad_argument, "-w takes a number of seconds, not \"{}\"", command.get("w"));
    if (*wait < 0 || *wait > kMaxWait_s)
        return fail(Code::out_of_range, "-w takes 0 to {} seconds", kMaxWait_s);
    // In this order: a daemon that stops answering has noted its quarantine before.
    const bool ran = answers(layout, Server::daemon);
    UNDERSTUDY_CHECK(pass_quarantine(layout, command.has("force")));
    if (!ran || !answers(layout, Server::mirror)) {
        if (layout.root.empty() && std::filesystem::exists("/run/systemd/system")) {
            UNDERSTUDY_CHECK(start_by_systemd());
        } else {
            if (!answers(layout, Server::mirror)) UNDERSTUDY_CHECK(start_detached(layout, "mirrord"));
            if (!ran) UNDERSTUDY_CHECK(start_detached(layout, "understudyd"));
        }
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(*wait);
    while (!ready(layout)) {
        if (*wait == 0) return std::string("LIFEKEEPER STARTING");
        if (std::chrono::steady_clock::now() > deadline)
            return fail(Code::failure, "the engine is not ready after {} s; it goes on starting, see {}",
                        *wait, layout.log());
        std::this_thread::sleep_for(kPollInterval);
    }
    return std::string(ran ? "LIFEKEEPER ALREADY RUNNING" : "LIFEKEEPER NOW STARTED");
}

Result<> wait_for_end(int pid) {
    const auto deadline = std::chrono::steady_clock::now() + kEndLimit;
    while (pid > 0 && kill(pid, 0) == 0) {
        if (std::chrono::steady_clock::now() > deadline)
            return fail(Code::failure, "understudyd ({}) has stopped its work, but does not end", pid);
        std::this_thread::sleep_for(kPollInterval);
    }
    return {};
}

}  // namespace understudy::cli
