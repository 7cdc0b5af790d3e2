#include "mirror/shared/posix/kernel_fence.h"

#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace understudy::mirror::shared {
namespace {

class KernelFence final : public Fence {
  public:
    KernelFence(const runtime::Clock& clock, timer_t timer) : clock_(clock), timer_(timer) {}
    KernelFence(const KernelFence&) = delete;
    KernelFence& operator=(const KernelFence&) = delete;
    ~KernelFence() override { timer_delete(timer_); }

    Result<> arm(runtime::TimePoint until) override {
        // In this order: whoever stands still between the two gets an earlier moment, never a later one.
        timespec boot{};
        clock_gettime(CLOCK_BOOTTIME, &boot);
        const runtime::Duration left = until - clock_.now();
        const runtime::Duration at = std::chrono::seconds(boot.tv_sec) +
                                     std::chrono::nanoseconds(boot.tv_nsec) +
                                     std::max(left, runtime::Duration(1));
        itimerspec when{};
        when.it_value.tv_sec = at.count() / 1'000'000'000;
        when.it_value.tv_nsec = at.count() % 1'000'000'000;
        if (timer_settime(timer_, TIMER_ABSTIME, &when, nullptr) != 0)
            return fail(Code::failure, "cannot set the timer that fences this process: {}",
                        std::strerror(errno));
        return {};
    }
    void disarm() override {
        const itimerspec never{};
        timer_settime(timer_, 0, &never, nullptr);
    }

  private:
    const runtime::Clock& clock_;
    timer_t timer_;
};

}  // namespace

Result<std::unique_ptr<Fence>> make_kernel_fence(const runtime::Clock& clock) {
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGKILL;
    timer_t timer{};
    if (timer_create(CLOCK_BOOTTIME, &event, &timer) != 0)
        return fail(Code::failure, "cannot make the timer that fences this process: {}",
                    std::strerror(errno));
    return std::make_unique<KernelFence>(clock, timer);
}

}  // namespace understudy::mirror::shared
