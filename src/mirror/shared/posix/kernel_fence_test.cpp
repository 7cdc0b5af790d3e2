#include "mirror/shared/posix/kernel_fence.h"

#include "runtime/posix/posix_world.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace understudy::mirror::shared {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct MonotonicNow final : runtime::Clock {
    [[nodiscard]] runtime::TimePoint now() const override {
        return runtime::TimePoint(std::chrono::steady_clock::now().time_since_epoch());
    }
    [[nodiscard]] runtime::WallTime wall() const override { return {}; }
};

/// Runs `body` in a child process; how the child ended.
template <class Body>
int status_of_child(Body body) {
    const pid_t child = fork();
    if (child == 0) {
        body();
        _exit(7);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
}

// Spec: KIT-061, CLU-229
TEST(KernelFence, EndsAProcessThatIsStopped) {
    const int status = status_of_child([] {
        const MonotonicNow clock;
        auto fence = make_kernel_fence(clock);
        if (!fence || !(*fence)->arm(clock.now() + milliseconds(300))) return;
        raise(SIGSTOP);  // nobody continues it
    });
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(KernelFence, EndsAProcessThatIsTooLate) {
    const int status = status_of_child([] {
        const MonotonicNow clock;
        auto fence = make_kernel_fence(clock);
        if (!fence || !(*fence)->arm(clock.now() - seconds(5))) return;
        for (;;)
            pause();
    });
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(KernelFence, LetsOneLiveThatRenewsOrDisarmsIt) {
    const int status = status_of_child([] {
        const MonotonicNow clock;
        auto fence = make_kernel_fence(clock);
        if (!fence || !(*fence)->arm(clock.now() + milliseconds(400))) return;
        if (!(*fence)->arm(clock.now() + seconds(60))) return;
        const auto later = clock.now() + milliseconds(600);
        while (clock.now() < later)
            usleep(10'000);
        if (!(*fence)->arm(clock.now() + milliseconds(200))) return;
        (*fence)->disarm();
        const auto end = clock.now() + milliseconds(400);
        while (clock.now() < end)
            usleep(10'000);
        _exit(42);
    });
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 42);
}

}  // namespace
}  // namespace understudy::mirror::shared
