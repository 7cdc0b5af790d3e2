// Processes and files of simulated nodes.

#include "runtime/simulated/simulated_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;

class SimulatedHostTest : public testing::Test {
  protected:
    SimulatedHostTest() {
        node.set_process_model([this](const ProcessSpec& spec) {
            SimulatedOutcome outcome;
            outcome.takes = 2s;
            outcome.output = "line one\nline two\n";
            outcome.effect = [this, path = spec.path] {
                effects.push_back(path);
                return 3;
            };
            outcome.on_kill = [this, path = spec.path] { effects.push_back(path + " killed"); };
            return outcome;
        });
        boot();
    }
    void boot() {
        node.boot([this](World w) {
            world = std::make_unique<World>(w);
            return 0;
        });
    }
    ProcessHandle start(std::optional<Duration> limit = {}) {
        ProcessSpec spec;
        spec.path = "/kit/restore";
        spec.limit = limit;
        return world->processes.start(
            spec, [this](std::string_view line) { lines.emplace_back(line); },
            [this](Result<ProcessResult> r) { result = std::move(r); });
    }
    Simulation sim{1};
    SimulatedNode& node = sim.add_node("A", {"10.0.0.1"});
    std::unique_ptr<World> world;
    std::vector<std::string> effects;
    std::vector<std::string> lines;
    std::optional<Result<ProcessResult>> result;
};

TEST_F(SimulatedHostTest, ProcessTakesEffectAtItsEndAndReportsLinesThenExit) {
    const auto process = start();
    const auto pid = world->processes.pid(process);
    EXPECT_TRUE(world->processes.alive(pid));
    sim.run_for(1999ms);
    EXPECT_TRUE(effects.empty());
    sim.run_for(1ms);
    EXPECT_EQ(effects, std::vector<std::string>{"/kit/restore"});
    EXPECT_EQ(lines, (std::vector<std::string>{"line one", "line two"}));
    ASSERT_TRUE(result && *result);
    EXPECT_EQ((*result)->exit_code, 3);
    EXPECT_EQ((*result)->output, "line one\nline two\n");
    EXPECT_FALSE(world->processes.alive(pid));
}

TEST_F(SimulatedHostTest, ProcessBeyondItsLimitIsKilledWithoutEffect) {
    start(500ms);
    sim.run_for(500ms);
    ASSERT_TRUE(result && *result);
    EXPECT_TRUE((*result)->timed_out);
    EXPECT_EQ((*result)->exit_code, 137);
    EXPECT_EQ(effects, std::vector<std::string>{"/kit/restore killed"});
}

TEST_F(SimulatedHostTest, KilledProcessStillReportsItsExit) {
    const auto process = start();
    sim.run_for(1s);
    world->processes.kill(process);
    EXPECT_FALSE(result) << "never on the caller's stack";
    sim.run_for(0s);
    ASSERT_TRUE(result && *result);
    EXPECT_EQ((*result)->exit_code, 137);
    EXPECT_FALSE((*result)->timed_out);
    world->processes.kill(process);
    sim.run_for(5s);
    EXPECT_EQ(effects.size(), 1U);
}

TEST_F(SimulatedHostTest, ProcessesOutliveTheirProgramButTellNobody) {
    start();
    node.kill_program();
    sim.run_for(3s);
    EXPECT_EQ(effects, std::vector<std::string>{"/kit/restore"});
    EXPECT_FALSE(result);
}

TEST_F(SimulatedHostTest, NextProgramEndsWhatTheOneBeforeLeftUnfinished) {
    const auto pid = world->processes.pid(start());
    node.kill_program();
    boot();
    EXPECT_FALSE(world->processes.alive(pid));
    sim.run_for(3s);
    EXPECT_EQ(effects, std::vector<std::string>{"/kit/restore killed"});
    EXPECT_FALSE(result);
}

TEST_F(SimulatedHostTest, PowerOffEndsProcessesWithoutAnyEffect) {
    start();
    node.power_off();
    sim.run_for(5s);
    EXPECT_TRUE(effects.empty());
    EXPECT_EQ(node.processes(), 0U);
}

TEST_F(SimulatedHostTest, StoppedProgramDoesNotStopItsProcessesButAFrozenHostDoes) {
    start();
    node.pause(Pause::program);
    sim.run_for(3s);
    EXPECT_EQ(effects.size(), 1U);
    EXPECT_FALSE(result);
    node.resume();
    sim.run_for(0s);
    EXPECT_TRUE(result);

    start();
    node.pause(Pause::host);
    sim.run_for(3s);
    EXPECT_EQ(effects.size(), 1U);
    node.resume();
    sim.run_for(0s);
    EXPECT_EQ(effects.size(), 2U);
}

TEST_F(SimulatedHostTest, StartWithoutAModelReportsThatThereIsNoSuchProgram) {
    node.set_process_model(nullptr);
    start();
    sim.run_for(0s);
    ASSERT_TRUE(result);
    ASSERT_FALSE(*result);
    EXPECT_EQ(result->error().code, Code::not_found);
}

TEST_F(SimulatedHostTest, WrittenFileIsDurableWhenTheCallReturns) {
    ASSERT_TRUE(world->files.make_directories("/var/lib/x"));
    ASSERT_TRUE(world->files.write_atomic("/var/lib/x/a", "1"));
    ASSERT_TRUE(world->files.write_atomic("/var/lib/x/a", "2"));
    node.power_off();
    EXPECT_EQ(node.files().read("/var/lib/x/a"), "2");
    EXPECT_EQ(node.files().list("/var/lib"), std::vector<std::string>{"x"});
}

TEST_F(SimulatedHostTest, WriteIntoAMissingDirectoryFails) {
    EXPECT_FALSE(world->files.write_atomic("/nowhere/a", "1"));
    EXPECT_FALSE(node.files().exists("/nowhere/a"));
}

TEST_F(SimulatedHostTest, FullDiskFailsWritesAndKeepsTheOldContent) {
    ASSERT_TRUE(world->files.write_atomic("/a", "old"));
    node.set_disk_full(true);
    const auto written = world->files.write_atomic("/a", "new");
    ASSERT_FALSE(written);
    EXPECT_THAT(written.error().text, testing::HasSubstr("no space left"));
    EXPECT_EQ(world->files.read("/a"), "old");
}

TEST(SimulatedDisk, PowerOffInTheMiddleOfAWriteLeavesTheOldOrTheNewContent) {
    int with_old = 0;
    int with_new = 0;
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        Simulation sim(seed);
        auto& node = sim.add_node("A", {"10.0.0.1"});
        static_cast<void>(node.files().write_atomic("/a", "old"));
        node.power_off_in_next_write();
        node.boot([](World w) {
            w.tasks.post([w] {
                EXPECT_FALSE(w.files.write_atomic("/a", "new"));
                EXPECT_FALSE(w.files.write_atomic("/a", "after the power-off"));
            });
            return 0;
        });
        sim.run_for(1s);
        EXPECT_FALSE(node.powered());
        const auto content = node.files().read("/a");
        with_old += content == "old" ? 1 : 0;
        with_new += content == "new" ? 1 : 0;
    }
    EXPECT_EQ(with_old + with_new, 64);
    EXPECT_GT(with_old, 10);
    EXPECT_GT(with_new, 10);
}

TEST(SimulatedDisk, APowerOffInAWriteOfACallFromOutsideEndsTheProgramWhenTheCallHasReturned) {
    struct Program {
        World world;
        bool* returned;
        bool* ended_inside;
        ~Program() { *ended_inside = !*returned; }
    };
    Simulation sim(1);
    auto& node = sim.add_node("A", {"10.0.0.1"});
    bool returned = false;
    bool ended_inside = true;
    std::weak_ptr<Program> running;
    node.boot([&](World w) {
        auto made = std::shared_ptr<Program>(new Program{w, &returned, &ended_inside});
        running = made;
        return made;
    });
    node.power_off_in_next_write();
    node.call([&] {
        EXPECT_FALSE(running.lock()->world.files.write_atomic("/a", "new"));
        EXPECT_FALSE(running.expired());
        returned = true;
    });
    EXPECT_TRUE(running.expired());
    EXPECT_FALSE(ended_inside);
    EXPECT_FALSE(node.powered());
    node.call([] { FAIL() << "no program runs"; });
}

TEST(SimulatedDisk, UnsyncedRemovalMayBeUndoneByAPowerOffButNotASyncedOne) {
    int returned = 0;
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        Simulation sim(seed);
        auto& node = sim.add_node("A", {"10.0.0.1"});
        node.boot([](World w) {
            for (const auto* directory : {"/d", "/e"}) {
                static_cast<void>(w.files.make_directories(directory));
                static_cast<void>(w.files.write_atomic(std::string(directory) + "/a", "x"));
                static_cast<void>(w.files.remove(std::string(directory) + "/a"));
                EXPECT_FALSE(w.files.exists(std::string(directory) + "/a"));
            }
            static_cast<void>(w.files.write_atomic("/e/b", "y"));  // syncs /e
            return 0;
        });
        node.power_off();
        returned += node.files().exists("/d/a") ? 1 : 0;
        EXPECT_FALSE(node.files().exists("/e/a"));
    }
    EXPECT_GT(returned, 10);
    EXPECT_LT(returned, 54);
}

}  // namespace
}  // namespace understudy::runtime
