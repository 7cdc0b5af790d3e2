#pragma once
// Base of the quorum scenarios: a cluster with quorum, its nodes alpha (priority 1), beta (11), gamma (21),
// one hierarchy, and the invariant that nothing ever runs twice.

#include "quorum/decisions.h"
#include "sim/story.h"

namespace understudy::sim {

using namespace std::chrono_literals;
using config::State;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class QuorumScenario : public testing::Test, protected Story {
  protected:
    QuorumScenario(int nodes, quorum::Mode mode, const std::string& more = {}, bool watchdog = true,
                   std::size_t reserved_tail = ClusterOptions{}.reserved_tail)
        : Story({.nodes = nodes,
                 .hierarchies = 1,
                 .settings = quorum_settings(mode, more),
                 .quorum = mode,
                 .reserved_tail = reserved_tail,
                 .watchdog = watchdog},
                7) {}
    void start_in_service() {
        ASSERT_NO_FATAL_FAILURE(Story::start_in_service(120s));
        ASSERT_THAT(running(), ElementsAre(alpha));
        sim.run_for(30s);
    }
    void cut(const NodeName& a, const NodeName& b) {
        invariants.disturbed(a, b);
        sim.partition(a.str(), b.str());
    }
    void isolate(const NodeName& node) {
        for (const auto& other : cluster.nodes())
            if (other != node) cut(node, other);
    }
    void heal() {
        for (const auto& node : cluster.nodes())
            invariants.disturbed(node);
        sim.heal_all();
    }
    /// The longest a takeover takes: detection, witness, the wait, two restores.
    runtime::Duration takeover() { return 2 * cluster.detection() + 5s + 1s + 10s; }
    /// What `lkquorum status` says on the node.
    config::Reply status_of(const NodeName& node) {
        config::Command command;
        command.name = "lkquorum";
        command.arguments = {"status"};
        return cluster.run(node, command).value_or(config::Reply{.exit_code = -1});
    }
    quorum::Quorum quorum_of(const NodeName& node) {
        return static_cast<quorum::Quorum>(status_of(node).exit_code);
    }
    int changes() { return static_cast<int>(cluster.kits().changes()); }
};

class MajorityUnderFaults : public QuorumScenario {
  protected:
    MajorityUnderFaults() : QuorumScenario(3, quorum::Mode::majority) {}
};

class StorageUnderFaults : public QuorumScenario {
  protected:
    explicit StorageUnderFaults(std::size_t reserved_tail = ClusterOptions{}.reserved_tail)
        : QuorumScenario(2, quorum::Mode::storage, {}, true, reserved_tail) {}
    /// Alpha, which runs everything, has a full disk and loses quorum; returns when it has stopped
    /// everything. `run_too`: the run directory is full as well.
    void lose_quorum_with_a_full_disk(bool run_too) {
        cluster.fill_disk(alpha, true, run_too);
        cluster.storage().reachable(alpha, false);
        sim.run_for(20s);
        cut(alpha, beta);
        ASSERT_TRUE(sim.run_until([&] { return running().empty(); }, takeover()));
    }
};

}  // namespace understudy::sim
