#include "runtime/task.h"

#include "base/result.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>
#include <vector>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;

/// An event loop turned by hand, with its own time.
class ManualTasks final : public Tasks {
  public:
    void post(Function function) override { posted_.push_back(std::move(function)); }
    TimerId after(Duration delay, Function function) override {
        const TimerId id{++last_};
        timers_.emplace(now_ + delay, std::pair(id, std::move(function)));
        return id;
    }
    void cancel(TimerId timer) override {
        std::erase_if(timers_, [&](const auto& entry) { return entry.second.first == timer; });
    }
    void post_from_thread(Function function) override { post(std::move(function)); }
    bool run_blocking(Function work, Function done) override {
        work();
        post(std::move(done));
        return true;
    }

    void run_posted() {
        while (!posted_.empty()) {
            const auto next = std::move(posted_.front());
            posted_.pop_front();
            next();
        }
    }
    void advance(Duration by) {
        const auto until = now_ + by;
        while (!timers_.empty() && timers_.begin()->first <= until) {
            now_ = timers_.begin()->first;
            const auto next = std::move(timers_.begin()->second.second);
            timers_.erase(timers_.begin());
            next();
            run_posted();
        }
        now_ = until;
    }
    [[nodiscard]] std::size_t pending_timers() const { return timers_.size(); }

  private:
    std::deque<Function> posted_;
    std::multimap<TimePoint, std::pair<TimerId, Function>> timers_;
    TimePoint now_{};
    std::uint64_t last_ = 0;
};

using Log = std::vector<std::string>;

/// Writes when it is destroyed: shows that a coroutine's locals were.
struct Tracer {
    Log& log;
    std::string name;
    Tracer(Log& l, std::string n) : log(l), name(std::move(n)) {}
    Tracer(const Tracer&) = delete;
    Tracer& operator=(const Tracer&) = delete;
    ~Tracer() { log.push_back("~" + name); }
};

Task<int> answer(Log& log) {
    log.emplace_back("answer runs");
    co_return 42;
}

Task<> ask(Log& log) {
    log.emplace_back("ask runs");
    Task<int> task = answer(log);
    log.emplace_back("task made");
    const int value = co_await std::move(task);
    log.push_back("got " + std::to_string(value));
}

TEST(Task, StartsOnlyWhenAwaitedAndGivesItsValue) {
    Log log;
    TaskScope scope;
    scope.spawn(ask(log));
    EXPECT_EQ(log, (Log{"ask runs", "task made", "answer runs", "got 42"}));
    EXPECT_EQ(scope.running(), 0U);
}

TEST(Task, ThatIsNeverAwaitedNeverRunsAndLeaksNothing) {
    Log log;
    { const Task<> unused = ask(log); }
    EXPECT_TRUE(log.empty());
}

Task<Result<int>> refuse() {
    co_return fail(Code::not_found, "no such thing");
}
Task<Result<int>> pass_error_up() {
    auto inner = co_await refuse();
    if (!inner) co_return fail(inner.error());
    co_return *inner + 1;
}
Task<> keep_error(Result<int>& out) {
    out = co_await pass_error_up();
}

TEST(Task, CarriesErrorsAsValues) {
    Result<int> out = 0;
    TaskScope scope;
    scope.spawn(keep_error(out));
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().code, Code::not_found);
}

Task<int> count_down(int from) {
    if (from == 0) co_return 0;
    const int below = co_await count_down(from - 1);
    co_return below + 1;
}
Task<> call_in_a_loop(int times, int& sum) {
    for (int i = 0; i < times; ++i) {
        const int one = co_await count_down(1);
        sum += one;
    }
}

TEST(Task, NestsAndRepeats) {
    int sum = 0;
    TaskScope scope;
    scope.spawn(call_in_a_loop(1'000, sum));
    EXPECT_EQ(sum, 1'000);
}

Task<> sleep_and_log(Tasks& tasks, Log& log, std::string name, Duration duration) {
    const Tracer tracer(log, name);
    co_await sleep_for(tasks, duration);
    log.push_back(name + " woke");
}

TEST(Sleep, WakesAfterItsTimeInOrderOfTime) {
    ManualTasks tasks;
    Log log;
    TaskScope scope;
    scope.spawn(sleep_and_log(tasks, log, "late", 2s));
    scope.spawn(sleep_and_log(tasks, log, "early", 1s));
    tasks.advance(999ms);
    EXPECT_TRUE(log.empty());
    tasks.advance(1ms);
    EXPECT_EQ(log, (Log{"early woke", "~early"}));
    tasks.advance(1s);
    EXPECT_EQ(log, (Log{"early woke", "~early", "late woke", "~late"}));
}

Task<> outer_of(Tasks& tasks, Log& log) {
    const Tracer tracer(log, "outer");
    co_await sleep_and_log(tasks, log, "inner", 1h);
    log.emplace_back("never");
}

TEST(TaskScope, DestroysSuspendedTasksInnermostFirstAndCancelsTheirTimers) {
    ManualTasks tasks;
    Log log;
    {
        TaskScope scope;
        scope.spawn(outer_of(tasks, log));
        ASSERT_EQ(scope.running(), 1U);
        ASSERT_EQ(tasks.pending_timers(), 1U);
    }
    EXPECT_EQ(log, (Log{"~inner", "~outer"}));
    EXPECT_EQ(tasks.pending_timers(), 0U);
    tasks.advance(2h);
    EXPECT_EQ(log.size(), 2U);
}

TEST(TaskScope, CanBeUsedAgainAfterClear) {
    ManualTasks tasks;
    Log log;
    TaskScope scope;
    scope.spawn(outer_of(tasks, log));
    scope.clear();
    EXPECT_EQ(scope.running(), 0U);
    log.clear();
    scope.spawn(sleep_and_log(tasks, log, "second", 1s));
    tasks.advance(1s);
    EXPECT_EQ(log, (Log{"second woke", "~second"}));
}

/// Spawns into the scope from a destructor: what a cleanup path may do by mistake.
struct SpawnsWhenDestroyed {
    TaskScope& scope;
    Tasks& tasks;
    Log& log;
    bool armed = true;
    ~SpawnsWhenDestroyed() {
        if (armed) scope.spawn(sleep_and_log(tasks, log, "late guest", 1h));
    }
};
Task<> sleeper_that_spawns(TaskScope& scope, Tasks& tasks, Log& log) {
    const SpawnsWhenDestroyed spawner{scope, tasks, log};
    co_await sleep_for(tasks, 1h);
}

TEST(TaskScope, AlsoDestroysWhatIsSpawnedWhileItClears) {
    ManualTasks tasks;
    Log log;
    TaskScope scope;
    scope.spawn(sleeper_that_spawns(scope, tasks, log));
    scope.clear();
    EXPECT_EQ(scope.running(), 0U);
    EXPECT_EQ(log, (Log{"~late guest"}));
    EXPECT_EQ(tasks.pending_timers(), 0U);
}

Task<> spawn_one_more(TaskScope& scope, Tasks& tasks, Log& log) {
    scope.spawn(sleep_and_log(tasks, log, "child", 1s));
    co_return;
}

TEST(TaskScope, TasksMaySpawnInTheirOwnScope) {
    ManualTasks tasks;
    Log log;
    TaskScope scope;
    scope.spawn(spawn_one_more(scope, tasks, log));
    EXPECT_EQ(scope.running(), 1U);
    tasks.advance(1s);
    EXPECT_EQ(log, (Log{"child woke", "~child"}));
}

Task<> wait_for_text(OneShot<std::string> shot, Log& log) {
    const Tracer tracer(log, "waiter");
    const std::string text = co_await shot;
    log.push_back(text);
}

TEST(OneShot, ResumesTheWaiterThroughTheLoopNotOnTheSettersStack) {
    ManualTasks tasks;
    Log log;
    TaskScope scope;
    const OneShot<std::string> shot(tasks);
    scope.spawn(wait_for_text(shot, log));
    shot.set("hello");
    EXPECT_TRUE(log.empty());
    tasks.run_posted();
    EXPECT_EQ(log, (Log{"hello", "~waiter"}));
}

TEST(OneShot, SetBeforeTheWaitGivesTheValueAtOnceAndToEveryLaterReader) {
    ManualTasks tasks;
    Log log;
    TaskScope scope;
    const OneShot<std::string> shot(tasks);
    shot.set("early");
    EXPECT_TRUE(shot.ready());
    scope.spawn(wait_for_text(shot, log));
    scope.spawn(wait_for_text(shot, log));
    EXPECT_EQ(log, (Log{"early", "~waiter", "early", "~waiter"}));
}

TEST(OneShot, IgnoresASecondValue) {
    ManualTasks tasks;
    Log log;
    TaskScope scope;
    const OneShot<std::string> shot(tasks);
    scope.spawn(wait_for_text(shot, log));
    shot.set("first");
    shot.set("second");
    tasks.run_posted();
    EXPECT_EQ(log, (Log{"first", "~waiter"}));
}

TEST(OneShot, SetAfterTheWaiterWasDestroyedIsHarmless) {
    ManualTasks tasks;
    Log log;
    const OneShot<std::string> shot(tasks);
    {
        TaskScope scope;
        scope.spawn(wait_for_text(shot, log));
    }
    shot.set("too late");
    tasks.run_posted();
    EXPECT_EQ(log, (Log{"~waiter"}));
}

TEST(OneShot, WaiterDestroyedBetweenSetAndResumptionIsNotResumed) {
    ManualTasks tasks;
    Log log;
    const OneShot<std::string> shot(tasks);
    {
        TaskScope scope;
        scope.spawn(wait_for_text(shot, log));
        shot.set("in flight");
    }
    tasks.run_posted();
    EXPECT_EQ(log, (Log{"~waiter"}));
}

Task<> race(Tasks& tasks, OneShot<std::string> shot, Log& log) {
    // The pattern for a call with a deadline: the first of answer and timer wins.
    const TimerId timer = tasks.after(1s, [shot] { shot.set("timed out"); });
    const std::string text = co_await shot;
    tasks.cancel(timer);
    log.push_back(text);
}

TEST(OneShot, FirstOfAnswerAndTimerWins) {
    ManualTasks tasks;
    Log log;
    TaskScope scope;
    const OneShot<std::string> answered(tasks);
    const OneShot<std::string> silent(tasks);
    scope.spawn(race(tasks, answered, log));
    scope.spawn(race(tasks, silent, log));
    tasks.advance(500ms);
    answered.set("answer");
    tasks.run_posted();
    tasks.advance(500ms);
    EXPECT_EQ(log, (Log{"answer", "timed out"}));
    EXPECT_EQ(tasks.pending_timers(), 0U);
}

}  // namespace
}  // namespace understudy::runtime
