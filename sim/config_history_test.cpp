// `understudy history` on a simulated cluster: who is named, on which node, for what.

#include "sim/cluster_sim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using config::Command;
using ::testing::HasSubstr;
using ::testing::Not;

class History : public ::testing::Test {
  protected:
    void SetUp() override {
        c.power_on_all();
        ASSERT_TRUE(c.wait_in_service(60s));
    }
    std::string history(const NodeName& on, std::map<std::string, std::string> options = {}) {
        Command command;
        command.name = "understudy history";
        command.options = std::move(options);
        command.options.emplace("count", "1000");
        const auto reply = c.run(on, command);
        if (!reply) return "no answer";
        err = reply->err;
        return reply->out;
    }
    config::Reply set_state(const NodeName& on, std::map<std::string, std::string> options) {
        Command command;
        command.name = "ins_setst";
        command.options = std::move(options);
        command.user = "eve";
        return c.run(on, command).value_or(config::Reply{});
    }
    runtime::Simulation sim{9};
    SimulatedCluster c{sim, {.nodes = 2}};
    const NodeName alpha{"alpha"};
    const NodeName beta{"beta"};
    std::string err;
};

TEST_F(History, AChangeNamesUserNodeCommandAndBothValuesOnEveryNode) {
    ASSERT_EQ(set_state(alpha, {{"d", "beta"}, {"t", "app0"}, {"S", "OSU"}, {"R", "by hand"}}).exit_code, 0);
    for (const auto& node : {alpha, beta}) {
        const auto told = history(node, {{"text", "ins_setst"}});
        EXPECT_THAT(told, HasSubstr("beta       eve@alpha: ins_setst -R by hand -S OSU -t app0"))
            << node.str();
        EXPECT_THAT(told, HasSubstr("-> reason=by hand"));
        EXPECT_EQ(err, "");
    }
}

TEST_F(History, WhatAnActionChangesIsNamedAfterItsCommandAndTheRestIsTheDaemons) {
    auto command = SimulatedCluster::perform_action(Tag("app0"), "remove");
    command.user = "eve";
    ASSERT_EQ(c.run(alpha, command)->exit_code, 0);
    EXPECT_THAT(history(alpha, {{"tag", "app0"}, {"text", "perform_action"}}),
                HasSubstr("instance app0: state=ISP"));
    EXPECT_THAT(history(alpha, {{"tag", "app1"}, {"text", "perform_action"}}), Not(HasSubstr("app1")));
    EXPECT_THAT(history(alpha, {{"tag", "app0"}}), HasSubstr("understudyd"));
}

TEST_F(History, ANodeThatIsAwayIsNamedAsMissingAndItsPastReturnsWithIt) {
    ASSERT_EQ(set_state(beta, {{"t", "app0"}, {"S", "OSU"}, {"R", "before"}}).exit_code, 0);
    sim.run_for(1s);
    c.host(beta).power_off();
    sim.run_for(10s);
    EXPECT_THAT(history(alpha, {{"text", "before"}}), Not(HasSubstr("eve")));
    EXPECT_THAT(err, HasSubstr("beta is not reachable"));
    c.power_on(beta);
    sim.run_for(20s);
    EXPECT_THAT(history(alpha, {{"text", "before"}}), HasSubstr("eve@beta"));
    EXPECT_EQ(err, "");
}

TEST_F(History, OneNodeAndATimeCanBeAskedFor) {
    ASSERT_EQ(set_state(alpha, {{"t", "app1"}, {"S", "OSU"}, {"R", "early"}}).exit_code, 0);
    sim.run_for(100s);
    ASSERT_EQ(set_state(alpha, {{"t", "app1"}, {"S", "OSU"}, {"R", "late"}}).exit_code, 0);
    EXPECT_THAT(history(beta, {{"since", "50s"}, {"text", "eve"}}), HasSubstr("reason=late"));
    EXPECT_THAT(history(beta, {{"since", "50s"}, {"text", "eve"}}), Not(HasSubstr("-> reason=early")));
    EXPECT_THAT(history(beta, {{"until", "50s"}, {"text", "eve"}}), HasSubstr("reason=early"));
    EXPECT_EQ(history(beta, {{"node", "beta"}, {"text", "eve"}}), "");
    EXPECT_THAT(history(beta, {{"json", ""}, {"text", "late"}}), HasSubstr("\"user\": \"eve\""));
}

TEST_F(History, WrongQuestionsAreRefused) {
    for (const auto& [options, code] :
         std::vector<std::pair<std::map<std::string, std::string>, int>>{{{{"since", "yesterday"}}, 5},
                                                                         {{{"count", "x"}}, 5},
                                                                         {{{"count", "0"}}, 6},
                                                                         {{{"node", "gamma"}}, 7}}) {
        Command command;
        command.name = "understudy history";
        command.options = options;
        EXPECT_EQ(c.run(alpha, command)->exit_code, code);
    }
}

}  // namespace
}  // namespace understudy::sim
