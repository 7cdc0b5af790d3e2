#include "sim/scenario_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

PlayResult play(const std::string& yaml) {
    const auto scenario = parse_scenario(yaml);
    if (!scenario) {
        ADD_FAILURE() << scenario.error().text;
        return {};
    }
    return play(*scenario, {});
}

constexpr const char* kTakeover = R"(
about: a standby takes over and the returned node does not disturb it
nodes: 2
heartbeat: 200ms
steps:
  - expect: {app0: alpha, ip0: alpha}
  - power_off: alpha
  - expect: {app0: beta}
    within: 5s
  - power_on: alpha
  - wait: 60s
  - expect: {app0: beta}
    within: 1s
  - run: understudy switchover app0 --to alpha
    on: beta
  - expect: {app0: alpha}
    within: 1s
)";

TEST(ScenarioFile, ATakeoverIsPlayedAsItIsWritten) {
    const auto result = play(kTakeover);
    EXPECT_THAT(result.problems, IsEmpty());
    EXPECT_THAT(result.nodes, ElementsAre("alpha", "beta"));
    EXPECT_THAT(result.trace, HasSubstr("alpha loses power"));
    EXPECT_THAT(result.trace, HasSubstr("beta app0 RUNS"));
}

TEST(ScenarioFile, TheSameFileGivesTheSameRunAndAnotherSeedAnother) {
    EXPECT_EQ(play(kTakeover).trace, play(kTakeover).trace);
    EXPECT_NE(play(kTakeover).trace, play(std::string("seed: 2\n") + kTakeover).trace);
}

TEST(ScenarioFile, WhatIsNotAsExpectedIsSaidWithItsLine) {
    const auto result = play(
        "steps:\n"
        "  - expect: {app0: alpha}\n"
        "  - power_off: alpha\n"
        "  - expect: {app0: beta}\n"
        "    within: 1s\n"
        "  - run: ins_list\n"
        "    on: beta\n"
        "    exit: 3\n");
    ASSERT_EQ(result.problems.size(), 2U);
    EXPECT_EQ(result.problems[0], "line 4: app0 should run on beta, but runs nowhere");
    EXPECT_THAT(result.problems[1], HasSubstr("line 6: ins_list ends with 0, not 3"));
}

TEST(ScenarioFile, APartitionWithQuorumStopsTheMinority) {
    EXPECT_THAT(play(R"(
nodes: 3
quorum: majority
settings: {QUORUM_LOSS_ACTION: osu}
steps:
  - expect: {app0: alpha}
    within: 120s
  - wait: 30s
  - cut: [alpha, beta]
  - cut: [alpha, gamma]
  - expect: {app0: beta}
  - heal: all
  - wait: 120s
  - expect: {app0: beta}
    within: 1s
)")
                    .problems,
                IsEmpty());
}

// Without quorum both sides start it: the simulator's own rules know that excuse.
TEST(ScenarioFile, EveryActionIsPlayed) {
    const auto result = play(R"(
nodes: 3
checks: 5s
local_recovery: false
switchback: automatic
hierarchies: 2
steps:
  - expect: {app0: alpha, app1: beta}
  - fail: restore
    of: app0
    on: alpha
    times: 1
  - break: app0
  - expect: {app0: beta}
  - kill_daemon: gamma
  - power_on: gamma
  - freeze: gamma
  - wait: 1s
  - resume: gamma
  - stop: gamma
  - resume: [gamma]
  - cut_one_way: [gamma, beta]
  - heal: [gamma, beta]
  - lose_storage: gamma
  - find_storage: gamma
  - wait: 30s
  - power_off: [alpha, beta]
  - expect: {app0: gamma, app1: gamma}
)");
    EXPECT_THAT(result.problems, IsEmpty());
}

struct Wrong {
    const char* yaml;
    const char* says;
};
class WrongScenario : public testing::TestWithParam<Wrong> {};

TEST_P(WrongScenario, IsRefusedWithItsLine) {
    const auto read = parse_scenario(GetParam().yaml);
    ASSERT_FALSE(read);
    EXPECT_THAT(read.error().text, HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    Scenarios, WrongScenario,
    testing::Values(Wrong{"nodes: 9\nsteps: []", "line 1: \"nodes\" of the scenario is 2 to 8, not \"9\""},
                    Wrong{"nodes: 2", "needs \"steps\""}, Wrong{"steps: [", "this is no YAML"},
                    Wrong{"color: red\nsteps: []", "has no \"color\""},
                    Wrong{"steps:\n  - dance: alpha", "line 2: this step has no action; actions are expect"},
                    Wrong{"steps:\n  - wait: 1s\n    power_off: alpha", "are two steps"},
                    Wrong{"steps:\n  - wait: long", "line 2: a time is seconds"},
                    Wrong{"steps:\n  - power_off: zeta", "there is no node \"zeta\"; nodes are alpha, beta"},
                    Wrong{"steps:\n  - cut: alpha", "\"cut\" is about two nodes"},
                    Wrong{"steps:\n  - expect: {app7: alpha}", "there is no resource \"app7\""},
                    Wrong{"steps:\n  - run: dance\n    on: alpha", "there is no command \"dance\""},
                    Wrong{"steps:\n  - run: understudy completion\n    on: alpha",
                          "no command of the cluster's daemon"},
                    Wrong{"steps:\n  - run: ins_list --colour\n    on: alpha", "line 2: "},
                    Wrong{"steps:\n  - run: ins_list", "needs \"on\""},
                    Wrong{"quorum: rum\nsteps: []", "quorum is none, majority or storage"}));

}  // namespace
}  // namespace understudy::sim
