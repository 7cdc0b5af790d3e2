// understudy-quiesce: keeps the file systems on some devices frozen until SIGTERM, or until its limit, or
// until whoever reads its output is gone. A process of its own, so that no file system stays frozen when
// mirrord dies, and none of mirrord's threads can wait for a frozen one.
//
//   hooks pre-freeze -> FIFREEZE all -> "frozen" -> ... SIGTERM -> FITHAW all -> hooks post-thaw
//
// Spec: REP-326.

#include "base/mount_table.h"
#include "base/text.h"
#include "mirror/control/posix/quiesce_protocol.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace understudy;
using namespace understudy::mirror::control;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr char kUsage[] =
    "usage: understudy-quiesce [--limit-ms N] [--hooks DIR] DEVICE...\n"
    "Runs DIR/pre-freeze/*, freezes the file systems mounted on the devices, prints \"frozen\" and keeps "
    "them so\n"
    "until SIGTERM, at most N milliseconds (default 10000); then runs DIR/post-thaw/*. mirrord's helper.\n";

constexpr auto kHookLimit = std::chrono::seconds(10);  // of one hook
constexpr auto kHookPoll = std::chrono::milliseconds(5);

struct Frozen {
    std::string directory;
    int fd = -1;
};

void say(const std::string& text) {
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
}

/// One place where the device, or a partition of it, is mounted, for each file system on it.
std::vector<std::string> mounts_of(const std::string& device) {
    struct stat status {};
    if (stat(device.c_str(), &status) != 0 || !S_ISBLK(status.st_mode)) return {};
    std::vector<std::string> numbers{fmt::format("{}:{}", major(status.st_rdev), minor(status.st_rdev))};
    std::error_code error;
    for (fs::directory_iterator at("/sys/dev/block/" + numbers.front(), error), end; !error && at != end;
         at.increment(error)) {
        std::ifstream file(at->path() / "dev");
        std::string number;
        if (fs::exists(at->path() / "partition", error) && std::getline(file, number))
            numbers.push_back(number);
    }
    std::vector<std::string> out;
    for (const std::string& number : numbers) {
        std::ifstream table("/proc/self/mountinfo");
        const auto mounts = read_mounts(table);
        const auto at = std::ranges::find(mounts, number, &Mount::device);
        if (at != mounts.end()) out.push_back(at->directory);
    }
    return out;
}

/// Runs the executables of `directory` in the order of their names. Empty, or which one failed and how.
std::string run_hooks(const std::string& directory) {
    std::vector<fs::path> hooks;
    std::error_code error;
    for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
        if (access(at->path().c_str(), X_OK) == 0 && fs::is_regular_file(at->path(), error))
            hooks.push_back(at->path());
    std::sort(hooks.begin(), hooks.end());
    std::string problem;
    for (const fs::path& hook : hooks) {
        const pid_t child = fork();
        if (child == 0) {
            sigset_t none;
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, nullptr);
            setpgid(0, 0);
            dup2(STDERR_FILENO, STDOUT_FILENO);  // what it says is not for mirrord to read as ours
            execl(hook.c_str(), hook.c_str(), static_cast<char*>(nullptr));
            _exit(127);
        }
        int status = -1;
        pid_t ended = child < 0 ? -1 : 0;
        for (const auto late = Clock::now() + kHookLimit; ended == 0;) {
            ended = waitpid(child, &status, WNOHANG);
            if (ended != 0) break;
            if (Clock::now() >= late) {
                kill(-child, SIGKILL);
                ended = waitpid(child, &status, 0);
                break;
            }
            std::this_thread::sleep_for(kHookPoll);
        }
        if (ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
        if (problem.empty())
            problem = fmt::format("the hook {} {}", hook.string(),
                                  ended == child && WIFEXITED(status)
                                      ? fmt::format("ended with {}", WEXITSTATUS(status))
                                      : "did not end in time");
    }
    return problem;
}

/// False, with the reason in `problem`; what was frozen before is in `frozen`.
bool freeze(const std::vector<std::string>& devices, std::vector<Frozen>& frozen, std::string& problem) {
    for (const std::string& device : devices) {
        for (const std::string& directory : mounts_of(device)) {
            Frozen one{directory, open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
            if (one.fd < 0 || ioctl(one.fd, FIFREEZE, 0) != 0) {
                problem = fmt::format("the file system on {} cannot be frozen: {}", directory,
                                      std::strerror(errno));
                if (one.fd >= 0) close(one.fd);
                return false;
            }
            frozen.push_back(one);
        }
    }
    return true;
}

void thaw(std::vector<Frozen>& frozen) {
    while (!frozen.empty()) {
        if (ioctl(frozen.back().fd, FITHAW, 0) != 0 && errno != EINVAL)
            std::fprintf(stderr, "understudy-quiesce: cannot thaw %s: %s\n", frozen.back().directory.c_str(),
                         std::strerror(errno));
        close(frozen.back().fd);
        frozen.pop_back();
    }
}

/// True when it was SIGTERM that ended the wait.
bool wait_for_end(int signals, Clock::time_point late) {
    while (true) {
        pollfd watched[] = {{signals, POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(late - Clock::now()).count();
        if (left <= 0) return false;
        const int ready = poll(watched, 2, static_cast<int>(left));
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return false;
        if ((watched[0].revents & POLLIN) != 0) return true;
        if ((watched[1].revents & (POLLERR | POLLHUP)) != 0) return false;  // mirrord is gone
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::chrono::milliseconds limit{10000};
    std::string hooks;
    std::vector<std::string> devices;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--help") {
            std::fputs(kUsage, stdout);
            return 0;
        }
        if (word == "--limit-ms" && i + 1 < argc) {
            const auto value = text::to_int(argv[++i]);
            if (!value || *value < 1 || *value > 3600000) return std::fputs(kUsage, stderr), 2;
            limit = std::chrono::milliseconds(*value);
        } else if (word == "--hooks" && i + 1 < argc) {
            hooks = argv[++i];
        } else if (word.starts_with("-")) {
            return std::fputs(kUsage, stderr), 2;
        } else {
            devices.emplace_back(word);
        }
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signal(SIGPIPE, SIG_IGN);
    const int signals = signalfd(-1, &set, SFD_CLOEXEC);

    std::vector<Frozen> frozen;
    std::string problem = hooks.empty() ? std::string() : run_hooks(hooks + "/pre-freeze");
    // The limit counts from the first freeze: applications feel that one already.
    const auto late = Clock::now() + limit;
    bool in_time = false;
    const bool ready = problem.empty() && freeze(devices, frozen, problem) && Clock::now() < late;
    if (ready) {
        say(kFrozenLine);
        in_time = wait_for_end(signals, late);
    }
    thaw(frozen);
    if (!hooks.empty()) {
        const std::string after = run_hooks(hooks + "/post-thaw");
        if (!after.empty()) std::fprintf(stderr, "understudy-quiesce: %s\n", after.c_str());
    }
    if (!problem.empty()) {
        say(problem);
        return kQuiesceFailed;
    }
    if (in_time) return 0;
    say(fmt::format("they were frozen for {} ms, the limit", limit.count()));
    return kQuiesceLate;
}
