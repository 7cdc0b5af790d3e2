// understudy-keeper: holds the descriptors of exports while mirrord is dead or being upgraded.

#include "mirror/export/keeper/keeper_protocol.h"
#include "mirror/export/keeper/keeper_server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace {

understudy::mirror::keeper::Server* running = nullptr;

constexpr char kUsage[] =
    "usage: understudy-keeper --socket PATH\n"
    "Holds file descriptors of replicated volumes' devices, so that their I/O waits instead of failing "
    "while\n"
    "mirrord is restarted. Runs in the foreground until SIGTERM; ending it while mirrord is down too ends "
    "the\n"
    "devices.\n";

/// Being chosen by the out-of-memory killer, or waiting for a device that waits for mirrord, would defeat the
/// purpose.
void be_hard_to_kill() {
    mlockall(MCL_CURRENT | MCL_FUTURE);
    constexpr int kSetIoFlusher = 57;  // PR_SET_IO_FLUSHER
    prctl(kSetIoFlusher, 1, 0, 0, 0);
    if (const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
        [[maybe_unused]] const ssize_t written = write(fd, "-1000", 5);
        close(fd);
    }
}

/// The usual limit of 1024 is too low for some hundred volumes.
void allow_open_files() {
    rlimit limit{};
    constexpr rlim_t wanted = understudy::mirror::keeper::kMostOpenFiles;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    limit.rlim_cur = std::min(limit.rlim_max, wanted);
    setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
    using understudy::Code;
    if (argc == 2 && std::string_view(argv[1]) == "--help") {
        std::fputs(kUsage, stdout);
        return static_cast<int>(Code::ok);
    }
    if (argc != 3 || std::string_view(argv[1]) != "--socket") {
        std::fputs(kUsage, stderr);
        return static_cast<int>(Code::syntax);
    }
    be_hard_to_kill();
    allow_open_files();
    auto server = understudy::mirror::keeper::Server::listen(argv[2]);
    if (!server) {
        std::fprintf(stderr, "understudy-keeper: %s\n", server.error().text.c_str());
        return static_cast<int>(server.error().code);
    }
    running = server->get();
    struct sigaction action {};
    action.sa_handler = [](int) { running->stop(); };
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (auto ended = (*server)->run(); !ended) {
        std::fprintf(stderr, "understudy-keeper: %s\n", ended.error().text.c_str());
        return static_cast<int>(ended.error().code);
    }
    return static_cast<int>(Code::ok);
}
