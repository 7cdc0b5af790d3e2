// Time, tasks, lives and pauses of simulated nodes.

#include "runtime/simulated/simulated_world.h"

#include "runtime/task.h"

#include <gtest/gtest.h>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;

/// A program that runs a function at its start and owns a counter of its life.
struct Program {
    explicit Program(int& lives) : count(lives) { ++count; }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() { --count; }
    int& count;
};

class SimulatedWorldTest : public testing::Test {
  protected:
    World boot() {
        node.boot([this](World w) {
            world = std::make_unique<World>(w);
            return std::make_unique<Program>(lives);
        });
        return *world;
    }
    Simulation sim{7};
    SimulatedNode& node = sim.add_node("A", {"10.0.0.1"});
    std::unique_ptr<World> world;
    int lives = 0;
    std::vector<std::string> log;
    std::function<void()> say(std::string text) {
        return [this, text = std::move(text)] { log.push_back(text); };
    }
};

TEST_F(SimulatedWorldTest, CallbacksRunInOrderOfTimeThenOfPosting) {
    auto w = boot();
    w.tasks.after(2ms, say("later"));
    w.tasks.after(1ms, say("first of two"));
    w.tasks.after(1ms, say("second of two"));
    w.tasks.post(say("now"));
    EXPECT_TRUE(log.empty());
    sim.run_for(10ms);
    EXPECT_EQ(log, (std::vector<std::string>{"now", "first of two", "second of two", "later"}));
    EXPECT_EQ(sim.now(), TimePoint(10ms));
}

TEST_F(SimulatedWorldTest, CancelledTimerDoesNotRunAndItsCallbackIsDestroyedAtOnce) {
    auto w = boot();
    auto held = std::make_shared<int>();
    const auto timer = w.tasks.after(1s, [held, this] { log.push_back("ran"); });
    EXPECT_EQ(held.use_count(), 2);
    w.tasks.cancel(timer);
    EXPECT_EQ(held.use_count(), 1);
    w.tasks.cancel(timer);
    sim.run_for(2s);
    EXPECT_TRUE(log.empty());
}

TEST_F(SimulatedWorldTest, CancellingAFiredTimerDoesNotHitTheOneThatReusesItsPlace) {
    auto w = boot();
    const auto fired = w.tasks.after(1ms, [] {});
    sim.run_for(2ms);
    w.tasks.after(1ms, say("ran"));
    w.tasks.cancel(fired);
    sim.run_for(2ms);
    EXPECT_EQ(log, std::vector<std::string>{"ran"});
}

TEST_F(SimulatedWorldTest, BlockingWorkRunsBeforeItsCompletionAndNotOnTheCallersStack) {
    auto w = boot();
    EXPECT_TRUE(w.tasks.run_blocking(say("work"), say("done")));
    EXPECT_TRUE(log.empty());
    sim.run_for(1s);
    EXPECT_EQ(log, (std::vector<std::string>{"work", "done"}));
}

TEST_F(SimulatedWorldTest, PowerOffDestroysTheProgramAndNoneOfItsCallbacksRunsAgain) {
    auto w = boot();
    auto held = std::make_shared<int>();
    w.tasks.after(1s, [held, this] { log.push_back("from the grave"); });
    EXPECT_TRUE(w.tasks.run_blocking([held] {}, say("done")));
    node.power_off();
    EXPECT_EQ(lives, 0);
    EXPECT_EQ(held.use_count(), 1);
    EXPECT_FALSE(node.powered());
    boot();
    sim.run_for(5s);
    EXPECT_TRUE(log.empty());
    EXPECT_EQ(lives, 1);
    EXPECT_EQ(node.boots(), 2U);
}

TEST_F(SimulatedWorldTest, ADyingProgramCannotActAnyMore) {
    struct Stubborn {
        explicit Stubborn(World world) : w(world) {}
        Stubborn(const Stubborn&) = delete;
        Stubborn& operator=(const Stubborn&) = delete;
        ~Stubborn() {
            w.tasks.post([] { FAIL() << "a dead program's callback ran"; });
            written = w.files.write_atomic("/last-words", "x").has_value();
        }
        World w;
        bool written = false;
    };
    node.boot([](World w) { return std::make_unique<Stubborn>(w); });
    node.power_off();
    sim.run_for(1s);
    EXPECT_FALSE(node.files().exists("/last-words"));
}

TEST_F(SimulatedWorldTest, PowerOffFromItsOwnCallbackStrikesAtOnceAndDestroysWhenItReturns) {
    auto w = boot();
    w.tasks.post([this, w] {
        node.power_off();
        EXPECT_EQ(lives, 1) << "the stack still belongs to the program";
        EXPECT_FALSE(node.running());
        w.tasks.post([this] { log.push_back("after death"); });
        EXPECT_FALSE(w.files.write_atomic("/after-death", "x"));
    });
    sim.run_for(1s);
    EXPECT_EQ(lives, 0);
    EXPECT_TRUE(log.empty());
    EXPECT_FALSE(node.files().exists("/after-death"));
}

Task<void> count_up(Tasks& tasks, int& counter) {
    for (;;) {
        co_await sleep_for(tasks, 1s);
        ++counter;
    }
}

TEST_F(SimulatedWorldTest, CoroutinesDieWithTheirNode) {
    int counter = 0;
    node.boot([&](World w) {
        auto scope = std::make_unique<TaskScope>();
        scope->spawn(count_up(w.tasks, counter));
        return scope;
    });
    sim.run_for(3500ms);
    node.power_off();
    sim.run_for(10s);
    EXPECT_EQ(counter, 3);
}

TEST_F(SimulatedWorldTest, PauseHoldsCallbacksBackAndResumeDeliversThemInOrder) {
    auto w = boot();
    const auto before = w.clock.now();
    w.tasks.after(1s, say("one"));
    w.tasks.after(2s, say("two"));
    const auto cancelled = w.tasks.after(3s, say("cancelled"));
    node.pause();
    sim.run_for(10s);
    EXPECT_TRUE(log.empty());
    EXPECT_EQ(w.clock.now() - before, 10s) << "the clock goes on";
    w.tasks.cancel(cancelled);
    node.resume();
    sim.run_for(0s);
    EXPECT_EQ(log, (std::vector<std::string>{"one", "two"}));
}

TEST_F(SimulatedWorldTest, PausedNodeCanBePoweredOffAndBootedAgain) {
    auto w = boot();
    w.tasks.after(1s, say("old"));
    node.pause();
    sim.run_for(2s);
    node.power_off();
    boot().tasks.after(1s, say("new"));
    EXPECT_FALSE(node.paused());
    sim.run_for(2s);
    EXPECT_EQ(log, std::vector<std::string>{"new"});
}

TEST_F(SimulatedWorldTest, MonotonicClockRestartsAtBootAndGoesOnWhenOnlyTheProgramRestarts) {
    auto w = boot();
    sim.run_for(1h);
    const auto before = w.clock.now();
    node.kill_program();
    sim.run_for(1s);
    EXPECT_EQ(boot().clock.now() - before, 1s);
    node.power_off();
    EXPECT_LT(boot().clock.now(), before) << "uptime after a power-on is at most about a quarter of an hour";
}

// Spec: CLU-067: wall-clock jumps do not reach the clock that decisions use.
TEST_F(SimulatedWorldTest, WallClockJumpsLeaveTheMonotonicClockAlone) {
    auto w = boot();
    const auto wall = w.clock.wall();
    const auto monotonic = w.clock.now();
    node.jump_wall_clock(-3600s);
    sim.run_for(1s);
    EXPECT_EQ(w.clock.wall() - wall, -3599s);
    EXPECT_EQ(w.clock.now() - monotonic, 1s);
}

TEST_F(SimulatedWorldTest, DriftingClockFiresTimersByItsOwnTimeAndNeverEarly) {
    auto w = boot();
    for (const int drift : {-50'000, -333, 777, 50'000}) {
        node.set_clock_drift(drift);
        const auto truly = sim.now();
        const auto start = w.clock.now();
        bool fired = false;
        w.tasks.after(10s, [&] {
            fired = true;
            EXPECT_GE(w.clock.now() - start, 10s);
            EXPECT_LT(w.clock.now() - start, 10s + 10ns);
        });
        EXPECT_TRUE(sim.run_until([&] { return fired; }, 20s));
        EXPECT_EQ(sim.now() - truly<10s, drift> 0);
    }
}

TEST_F(SimulatedWorldTest, RunUntilStopsAtTheEventThatMakesItTrue) {
    auto w = boot();
    w.tasks.after(3s, say("x"));
    EXPECT_TRUE(sim.run_until([&] { return !log.empty(); }, 1h));
    EXPECT_EQ(sim.now(), TimePoint(3s));
    EXPECT_FALSE(sim.run_until([] { return false; }, 5s));
    EXPECT_EQ(sim.now(), TimePoint(8s));
}

TEST_F(SimulatedWorldTest, InvariantIsCheckedAfterEveryEventWithTheDeathsItCausedDone) {
    auto w = boot();
    int checks = 0;
    sim.after_each_event([&] {
        ++checks;
        EXPECT_EQ(node.running(), lives == 1);
    });
    w.tasks.post([] {});
    w.tasks.post([this] { node.kill_program(); });
    w.tasks.post(say("never"));
    sim.run_for(1s);
    EXPECT_EQ(checks, 2);
}

TEST_F(SimulatedWorldTest, TimersThatAreAlwaysReplacedDoNotPileUp) {
    auto w = boot();
    TimerId deadline{};
    for (int i = 0; i < 100'000; ++i) {
        w.tasks.cancel(deadline);
        deadline = w.tasks.after(1h, say("expired"));
    }
    const auto before = sim.events_run();
    sim.run_for(2h);
    EXPECT_EQ(sim.events_run() - before, 1U);
    EXPECT_EQ(log, std::vector<std::string>{"expired"});
}

TEST(RandomOfASimulation, IsFixedByTheSeedForEver) {
    // Recorded seeds of failing runs must mean the same run after any change of compiler or library.
    Simulation sim(42);
    EXPECT_EQ(sim.random(), 0x15780b2e0c2ec716U);
    Simulation other(43);
    EXPECT_NE(other.random(), 0x15780b2e0c2ec716U);
    for (int i = 0; i < 1000; ++i) {
        EXPECT_LT(sim.random_below(3), 3U);
        const auto some = sim.random_duration(2ms, 3ms);
        EXPECT_TRUE(2ms <= some && some <= 3ms);
    }
    EXPECT_FALSE(sim.chance(0));
    EXPECT_TRUE(sim.chance(1));
}

}  // namespace
}  // namespace understudy::runtime
