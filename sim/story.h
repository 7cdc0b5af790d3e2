#pragma once
// What the named scenarios share: a cluster whose rules are checked to the end of the test, and the names of
// its nodes and of its first hierarchy. A test that fails prints what happened.

#include "sim/cluster_sim.h"
#include "sim/invariants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

namespace understudy {

template <class Purpose>
void PrintTo(const Name<Purpose>& name, std::ostream* out) {
    *out << name.str();
}

namespace sim {

class Story {
  public:
    explicit Story(ClusterOptions options, std::uint64_t seed = 2)
        : sim(seed), cluster(sim, std::move(options)) {
        sim.set_trace_detail(runtime::TraceDetail::notes);
    }
    Story(const Story&) = delete;
    Story& operator=(const Story&) = delete;
    ~Story() {
        EXPECT_THAT(invariants.violations(), testing::IsEmpty());
        if (testing::Test::HasFailure()) std::fputs(sim.trace().c_str(), stderr);
    }

    void start_in_service(runtime::Duration limit = std::chrono::seconds(60)) {
        cluster.power_on_all();
        ASSERT_TRUE(cluster.wait_in_service(limit));
    }
    [[nodiscard]] std::vector<NodeName> running() { return cluster.kits().hosts_running(app); }
    bool wait_running(const NodeName& node, runtime::Duration limit) {
        return sim.run_until([&] { return running() == std::vector{node}; }, limit);
    }

    runtime::Simulation sim;
    SimulatedCluster cluster;
    Invariants invariants{cluster};
    const NodeName alpha{"alpha"};
    const NodeName beta{"beta"};
    const NodeName gamma{"gamma"};
    const Tag app{"app0"};
    const Tag ip{"ip0"};
};

}  // namespace sim
}  // namespace understudy
