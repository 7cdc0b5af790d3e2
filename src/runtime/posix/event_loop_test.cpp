#include "runtime/posix/event_loop.h"

#include "runtime/posix/descriptor.h"
#include "runtime/posix/test_support.h"
#include "runtime/task.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <future>
#include <thread>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;
using testing::run_for;
using testing::run_until;

TEST(EventLoop, RunsTimersInOrderOfTimeThenOfSetting) {
    EventLoop loop;
    std::vector<int> order;
    loop.after(20ms, [&] { order.push_back(3); });
    loop.after(5ms, [&] { order.push_back(1); });
    loop.after(5ms, [&] { order.push_back(2); });
    loop.post([&] { order.push_back(0); });
    ASSERT_TRUE(run_until(loop, [&] { return order.size() == 4; }));
    EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
}

TEST(EventLoop, TimerNeverFiresEarly) {
    EventLoop loop;
    const TimePoint before = loop.now();
    std::optional<TimePoint> fired;
    loop.after(10ms, [&] { fired = loop.now(); });
    ASSERT_TRUE(run_until(loop, [&] { return fired.has_value(); }));
    EXPECT_GE(*fired - before, 10ms);
}

TEST(EventLoop, CancelledTimerDoesNotFireAndCancellingAgainIsHarmless) {
    EventLoop loop;
    bool fired = false;
    const TimerId timer = loop.after(1ms, [&] { fired = true; });
    loop.cancel(timer);
    loop.cancel(timer);
    run_for(loop, 10ms);
    EXPECT_FALSE(fired);
}

TEST(EventLoop, ATimerCanCancelAnotherThatIsDueAtTheSameTime) {
    EventLoop loop;
    bool second_fired = false;
    std::optional<TimerId> second;
    loop.after(1ms, [&] { loop.cancel(*second); });
    second = loop.after(1ms, [&] { second_fired = true; });
    run_for(loop, 10ms);
    EXPECT_FALSE(second_fired);
}

TEST(EventLoop, DelayOfForEverDoesNotFire) {
    EventLoop loop;
    bool fired = false;
    loop.after(Duration::max(), [&] { fired = true; });
    run_for(loop, 5ms);
    EXPECT_FALSE(fired);
}

TEST(EventLoop, TimersThatSetThemselvesAgainDoNotStarvePosts) {
    EventLoop loop;
    bool posted = false;
    std::function<void()> again = [&] { loop.after(0ms, again); };
    again();
    loop.after(1ms, [&] { loop.post([&] { posted = true; }); });
    EXPECT_TRUE(run_until(loop, [&] { return posted; }));
}

TEST(EventLoop, PostNeverRunsOnTheCallersStack) {
    EventLoop loop;
    bool nested = false;
    bool ran = false;
    loop.post([&] {
        loop.post([&] { ran = true; });
        nested = ran;
    });
    ASSERT_TRUE(run_until(loop, [&] { return ran; }));
    EXPECT_FALSE(nested);
}

TEST(EventLoop, TakesPostsFromOtherThreads) {
    EventLoop loop;
    constexpr int kPosts = 1'000;
    int seen = 0;
    std::thread other([&] {
        for (int i = 0; i < kPosts; ++i)
            loop.post_from_thread([&] { ++seen; });
    });
    EXPECT_TRUE(run_until(loop, [&] { return seen == kPosts; }));
    other.join();
}

TEST(EventLoop, BlockingWorkDoesNotStopTheLoopAndItsEndComesBackToIt) {
    EventLoop loop;
    std::promise<void> release;
    auto released = release.get_future().share();
    std::thread::id worker;
    std::thread::id back;
    bool done = false;
    const bool taken = loop.run_blocking(
        [&, released] {
            worker = std::this_thread::get_id();
            released.wait_for(20s);
        },
        [&] {
            back = std::this_thread::get_id();
            done = true;
        });
    EXPECT_TRUE(taken);
    bool timer_fired = false;
    loop.after(1ms, [&] {
        timer_fired = true;
        release.set_value();
    });
    ASSERT_TRUE(run_until(loop, [&] { return done; }));
    EXPECT_TRUE(timer_fired);
    EXPECT_NE(worker, std::this_thread::get_id());
    EXPECT_EQ(back, std::this_thread::get_id());
}

TEST(EventLoop, RefusesBlockingWorkWhenTooMuchOfItWaits) {
    EventLoop loop;
    std::promise<void> release;
    auto released = release.get_future().share();
    std::size_t taken = 0;
    std::size_t done = 0;
    constexpr std::size_t kMost = kMaxBlockingJobs + kBlockingWorkers;
    while (taken <= kMost && loop.run_blocking([released] { released.wait_for(20s); }, [&] { ++done; }))
        ++taken;
    EXPECT_GE(taken, kMaxBlockingJobs);
    EXPECT_LE(taken, kMost);
    release.set_value();
    ASSERT_TRUE(run_until(loop, [&] { return done == taken; }));
    EXPECT_TRUE(loop.run_blocking([] {}, [] {})) << "there is room again";
}

TEST(EventLoop, RunsAtMostItsNumberOfBlockingJobsAtOnce) {
    EventLoop loop;
    std::atomic<int> running = 0;
    std::atomic<int> most = 0;
    int done = 0;
    constexpr int kJobs = 16;
    for (int i = 0; i < kJobs; ++i) {
        const bool taken = loop.run_blocking(
            [&] {
                const int now = ++running;
                int seen = most;
                while (now > seen && !most.compare_exchange_weak(seen, now)) {
                }
                std::this_thread::yield();
                --running;
            },
            [&] { ++done; });
        EXPECT_TRUE(taken);
    }
    ASSERT_TRUE(run_until(loop, [&] { return done == kJobs; }));
    EXPECT_LE(most, kBlockingWorkers);
}

TEST(EventLoop, ReportsTerminationSignalsOnTheLoop) {
    EventLoop loop;
    int signals = 0;
    loop.on_terminate([&] { ++signals; });
    loop.post([] { ::raise(SIGTERM); });
    ASSERT_TRUE(run_until(loop, [&] { return signals == 1; }));
    loop.post([] { ::raise(SIGINT); });
    EXPECT_TRUE(run_until(loop, [&] { return signals == 2; }));
}

TEST(EventLoop, StopBeforeRunMakesItReturn) {
    EventLoop loop;
    bool ran = false;
    loop.post([&] { ran = true; });
    loop.stop();
    loop.run();
    EXPECT_FALSE(ran);
    EXPECT_TRUE(run_until(loop, [&] { return ran; }));
}

TEST(EventLoop, WatchReportsReadinessUntilItIsDestroyed) {
    EventLoop loop;
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC), 0);
    const Descriptor in(ends[0]);
    const Descriptor out(ends[1]);
    int ready = 0;
    auto watch = loop.watch(in.get());
    watch->wait_readable([&] { ++ready; });
    run_for(loop, 2ms);
    EXPECT_EQ(ready, 0);
    ASSERT_EQ(::write(out.get(), "x", 1), 1);
    ASSERT_TRUE(run_until(loop, [&] { return ready == 1; }));
    // Readable still: a new wait reports at once, but not when the watch goes first.
    watch->wait_readable([&] { ++ready; });
    watch.reset();
    run_for(loop, 2ms);
    EXPECT_EQ(ready, 1);
}

Task<> sleeper(Tasks& tasks) {
    co_await sleep_for(tasks, 1h);
}

TEST(EventLoop, CallbacksThatNeverRanAreDestroyedWithItAndMayUseItMeanwhile) {
    auto loop = std::make_unique<EventLoop>();
    // Each callback owns a sleeping sequence, which cancels its timer when it is destroyed.
    auto scope = std::make_shared<TaskScope>();
    scope->spawn(sleeper(*loop));
    std::weak_ptr<TaskScope> watch = scope;
    loop->post([scope] {});
    loop->after(1h, [scope] {});
    scope.reset();
    EXPECT_FALSE(watch.expired());
    loop.reset();
    EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace understudy::runtime
