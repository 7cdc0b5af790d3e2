// A large configuration on eight nodes: 10,000 instances with dependencies on one, 1,250 on each of the
// others.

#include "sim/config_cluster.h"

#include <gtest/gtest.h>

namespace understudy::sim {
namespace {

constexpr int kNodes = 8;
constexpr int kInstances = 10'000;
constexpr int kInstancesOfOthers = 1'250;

Tag tag(const char* kind, int i) {
    return Tag(fmt::format("{}.{}", kind, i));
}

/// Pairs: app.N needs disk.N.
void fill(config::NodeConfig& own, int instances) {
    own.generation = 1;
    std::uint64_t order = 0;
    own.apps.insert(AppName("gen"));
    own.types.insert({AppName("gen"), TypeName("app")});
    for (int i = 0; i < instances / 2; ++i) {
        for (const auto* kind : {"disk", "app"}) {
            config::Instance instance;
            instance.app = AppName("gen");
            instance.type = TypeName("app");
            instance.tag = tag(kind, i);
            instance.id = ResourceId(instance.tag.str());
            instance.order = ++order;
            own.instances[instance.tag] = instance;
        }
        own.dependencies.push_back({tag("app", i), tag("disk", i), ++order});
    }
    own.reindex();
}

class LargeCluster : public ::testing::Test {
  protected:
    void SetUp() override {
        c.sim.set_trace_detail(runtime::TraceDetail::none);
        for (const auto& name : c.names)
            fill(c.disks[name].own, name == first ? kInstances : kInstancesOfOthers);
        ASSERT_TRUE(c.boot_all());
        c.sim.run_for(10s);
        ASSERT_TRUE(c.copies_are_equal());
    }
    [[nodiscard]] int downs() {
        int total = 0;
        for (const auto& name : c.names)
            total += c.node(name)->downs;
        return total;
    }
    ConfigCluster c{11, kNodes};
    const NodeName first{"n0"};
};

// Spec: CLU-092, CLU-095
TEST_F(LargeCluster, AChangeOfOneStateIsOnEveryNodeAtOnceAndNobodyIsTakenForDead) {
    const auto generation = c.node(first)->database->own().generation;
    c.node(first)->database->set_state(tag("app", 4321), config::State::isp, "restore action has succeeded");
    const auto arrived = [&] {
        return std::all_of(c.names.begin(), c.names.end(), [&](const NodeName& name) {
            const auto* copy = c.node(name)->database->of(first);
            return copy != nullptr && copy->find(tag("app", 4321))->state == config::State::isp;
        });
    };
    EXPECT_TRUE(c.sim.run_until(arrived, 1s));
    EXPECT_EQ(c.node(first)->database->own().generation, generation + 1);
    EXPECT_TRUE(c.copies_are_equal());
    EXPECT_EQ(downs(), 0);
}

// Spec: CLU-095, CLU-089
TEST_F(LargeCluster, WhatAPeerMissedWhileItWasDownItHasWhenItIsBack) {
    const auto& peer = c.names.back();
    c.host(peer).power_off();
    c.node(first)->database->set_state(tag("app", 1), config::State::osf, "restore action has failed");
    std::optional<Result<>> durable;
    c.node(first)->database->sync([&](const Result<>& result) { durable = result; });
    ASSERT_TRUE(c.sim.run_until([&] { return durable.has_value(); }, 5s));
    c.host(first).power_off();
    for (const auto& name : {first, peer})
        c.boot(name);
    ASSERT_TRUE(c.wait_together());
    c.sim.run_for(10s);
    EXPECT_TRUE(c.copies_are_equal());
    EXPECT_EQ(c.node(peer)->database->of(first)->find(tag("app", 1))->state, config::State::osf);
}

}  // namespace
}  // namespace understudy::sim
