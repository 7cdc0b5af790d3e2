#include "sim/simulated_store.h"

#include "runtime/simulated/simulated_world.h"

#include <gtest/gtest.h>

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

class SimulatedStoreTest : public testing::Test {
  protected:
    SimulatedStoreTest() { boot(); }
    void boot() {
        node.boot([this](runtime::World world) {
            auto made = std::make_unique<SimulatedStore>(world, disk);
            store = made.get();
            return made;
        });
    }
    /// Commit number n sets the flag "n".
    void commit(std::uint64_t n) {
        store->write({NodeName("A"), n, {config::PutFlag{FlagName(std::to_string(n))}}},
                     [this, n](const Result<>& result) { (result ? durable : failed).push_back(n); });
    }
    runtime::Simulation sim{5};
    runtime::SimulatedNode& node = sim.add_node("A", {"10.0.0.1"});
    StoreDisk disk;
    SimulatedStore* store = nullptr;
    std::vector<std::uint64_t> durable;
    std::vector<std::uint64_t> failed;
};

TEST_F(SimulatedStoreTest, CommitsBecomeDurableInOrderAfterAWhile) {
    for (std::uint64_t n = 1; n <= 5; ++n)
        commit(n);
    EXPECT_TRUE(durable.empty());
    EXPECT_EQ(disk.own.generation, 0U);
    sim.run_for(1s);
    EXPECT_EQ(durable, (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
    EXPECT_EQ(disk.own.generation, 5U);
    EXPECT_EQ(store->waiting(), 0U);
}

// Spec: CLU-089
TEST_F(SimulatedStoreTest, CrashKeepsEveryDurableCommitAndNeverALaterOneWithoutAnEarlier) {
    std::uint64_t n = 0;
    int lost_runs = 0;
    int more_than_told_runs = 0;
    for (int round = 0; round < 300; ++round) {
        durable.clear();
        const auto base = disk.own.generation;
        n = base;
        for (int i = 0; i < 20; ++i) {
            commit(++n);
            sim.run_for(sim.random_duration(0ms, 3ms));
        }
        if (round % 2 == 0)
            node.power_off();
        else
            node.kill_program();
        const auto told = durable.empty() ? base : durable.back();
        EXPECT_GE(disk.own.generation, told);
        EXPECT_EQ(disk.own.flags.size(), disk.own.generation) << "a gap in the history";
        lost_runs += disk.own.generation < n ? 1 : 0;
        more_than_told_runs += disk.own.generation > told ? 1 : 0;
        boot();
        EXPECT_EQ(store->load(NodeName("A"))->own.generation, disk.own.generation);
    }
    EXPECT_GT(lost_runs, 50);
    EXPECT_GT(more_than_told_runs, 50);
}

TEST_F(SimulatedStoreTest, FullDiskFailsCommitsAndTheNextOneAfterItBringsThemAll) {
    disk.full = true;
    commit(1);
    commit(2);
    sim.run_for(1s);
    EXPECT_EQ(failed, (std::vector<std::uint64_t>{1, 2}));
    disk.full = false;
    commit(3);
    sim.run_for(1s);
    EXPECT_EQ(durable, std::vector<std::uint64_t>{3});
    EXPECT_EQ(disk.own.flags.size(), 3U);
}

TEST_F(SimulatedStoreTest, WhatAFullDiskRefusedIsTriedAgainByItself) {
    disk.full = true;
    commit(1);
    sim.run_for(1s);
    EXPECT_TRUE(disk.own.flags.empty());
    disk.full = false;
    sim.run_for(StoreDisk::kRetry);
    EXPECT_EQ(disk.own.flags.size(), 1U);
    EXPECT_EQ(store->waiting(), 0U);
}

TEST_F(SimulatedStoreTest, ASlowDiskWritesLateAndInOrder) {
    disk.most_write = 10s;
    commit(1);
    commit(2);
    sim.run_for(StoreDisk::kMostWrite);
    const auto at_first = durable.size();
    sim.run_for(20s);
    EXPECT_EQ(at_first, 0U);
    EXPECT_EQ(durable, (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(SimulatedStoreTest, JournalSurvivesAPowerOffAndItsIdsGoOn) {
    for (std::uint64_t id = 1; id <= 3; ++id)
        store->append({id, 0, NodeName("A"), 0, "node", "A", "entry " + std::to_string(id)});
    node.power_off();
    boot();
    EXPECT_EQ(store->load(NodeName("A"))->last_journal_id, 3U);
    std::vector<config::JournalEntry> newest;
    store->read_journal(2, [&](std::vector<config::JournalEntry> entries) { newest = std::move(entries); });
    sim.run_for(1ms);
    ASSERT_EQ(newest.size(), 2U);
    EXPECT_EQ(newest.front().text, "entry 2");
}

TEST_F(SimulatedStoreTest, PeersCopiesAreReplacedMovedForwardAndDropped) {
    config::NodeConfig copy;
    copy.generation = 7;
    store->write_replica(NodeName("B"), copy);
    store->advance_replica({NodeName("B"), 8, {config::PutFlag{FlagName("x")}}});
    store->write_replica(NodeName("C"), copy);
    store->drop_replica(NodeName("C"));
    sim.run_for(1s);
    const auto loaded = store->load(NodeName("A"));
    ASSERT_EQ(loaded->replicas.size(), 1U);
    EXPECT_EQ(loaded->replicas.at(NodeName("B")).generation, 8U);
    EXPECT_TRUE(loaded->replicas.at(NodeName("B")).flags.contains(FlagName("x")));
}

}  // namespace
}  // namespace understudy::sim
