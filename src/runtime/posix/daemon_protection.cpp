#include "runtime/posix/daemon_protection.h"

#include "base/text.h"
#include "runtime/posix/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <vector>

namespace understudy::runtime {

namespace {

/// Not -1000: a daemon that leaks must still be killable before it takes the host down.
constexpr std::string_view kOomScore = "-900";
/// A nice level, not a real-time class: a defect of ours must not starve the applications we protect.
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

}  // namespace

Result<> lock_memory_and_raise_priority() {
    std::vector<std::string> problems;
    for (auto&& problem : {lock_memory(), protect_from_oom_killer(), raise_priority()})
        if (!problem.empty()) problems.push_back(problem);
    if (problems.empty()) return {};
    return fail(Code::failure, "{}; run as root or with CAP_IPC_LOCK, CAP_SYS_RESOURCE and CAP_SYS_NICE",
                text::join(problems, "; "));
}

}  // namespace understudy::runtime
