#include "runtime/posix/daemon_protection.h"

#include "base/text.h"
#include "runtime/posix/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

namespace understudy::runtime {

namespace {

/// Not -1000: a daemon that leaks must still be killable before it takes the host down.
constexpr std::string_view kOomScore = "-900";
/// A nice level, not a real-time class: most of a daemon can wait a little.
constexpr int kNiceLevel = -15;

bool exempt_from_memory_limit() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    return ::syscall(SYS_capget, &header, data.data()) == 0 &&
           (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

std::string lock_memory() {
    // Under a limit on locked memory, MCL_FUTURE would make later allocations fail instead of swap.
    // Children inherit a lifted limit, not the locks.
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    if (!exempt_from_memory_limit() && ::setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0)
        return fmt::format("memory is not locked (the limit on locked memory cannot be lifted: {})",
                           strerror(errno));
    // ONFAULT: pages are locked once used, so idle stacks and unused code cost nothing.
    if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        return fmt::format("memory is not locked ({})", strerror(errno));
    return {};
}

std::string protect_from_oom_killer() {
    const Descriptor fd(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
    if (!fd || ::write(fd.get(), kOomScore.data(), kOomScore.size()) < 0)
        return fmt::format("not protected from the out-of-memory killer ({})", strerror(errno));
    return {};
}

std::string raise_priority() {
    const sched_param normal{};
    // Children start with the usual priority.
    if (::sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &normal) != 0 ||
        ::setpriority(PRIO_PROCESS, 0, kNiceLevel) != 0)
        return fmt::format("priority is not raised ({})", strerror(errno));
    return {};
}

pid_t real_time_thread = 0;

/// SIGXCPU arrives on any thread; only calls that are safe in a handler.
void leave_real_time(int) {
    const int error = errno;
    const sched_param normal{};
    ::sched_setscheduler(real_time_thread, SCHED_OTHER | SCHED_RESET_ON_FORK, &normal);
    constexpr std::string_view kTold =
        "understudyd computes for too long and gives up its real-time priority\n";
    (void)!::write(STDERR_FILENO, kTold.data(), kTold.size());
    errno = error;
}

}  // namespace

Result<> raise_to_real_time() {
    struct sigaction action {};
    action.sa_handler = leave_real_time;
    action.sa_flags = SA_RESTART;
    const auto limit_us = static_cast<rlim_t>(std::chrono::microseconds(kRealTimeLimit).count());
    rlimit limit{};
    if (::getrlimit(RLIMIT_RTTIME, &limit) != 0 || ::sigaction(SIGXCPU, &action, nullptr) != 0)
        return fail(Code::failure, "no real-time priority ({})", strerror(errno));
    limit.rlim_cur = std::min(limit_us, limit.rlim_max);
    real_time_thread = static_cast<pid_t>(::syscall(SYS_gettid));
    sched_param lowest{};
    lowest.sched_priority = ::sched_get_priority_min(SCHED_RR);
    if (::setrlimit(RLIMIT_RTTIME, &limit) != 0 ||
        ::sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) != 0)
        return fail(Code::failure, "no real-time priority ({})", strerror(errno));
    return {};
}

Result<> lock_memory_and_raise_priority() {
    std::vector<std::string> problems;
    for (auto&& problem : {lock_memory(), protect_from_oom_killer(), raise_priority()})
        if (!problem.empty()) problems.push_back(problem);
    if (problems.empty()) return {};
    return fail(Code::failure, "{}; run as root or with CAP_IPC_LOCK, CAP_SYS_RESOURCE and CAP_SYS_NICE",
                text::join(problems, "; "));
}

}  // namespace understudy::runtime
