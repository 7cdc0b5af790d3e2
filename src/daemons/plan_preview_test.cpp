#include "daemons/plan_preview.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::daemons {
namespace {

using config::State;
using ::testing::HasSubstr;

const NodeName kLeft("left");
const NodeName kRight("right");

/// pg.0 needs ip.0; in service on left (priority 1), backed up by right (priority 10).
recovery::ClusterView two_nodes(const NodeName& self) {
    recovery::ClusterView view;
    view.self = self;
    for (const auto& name : {kLeft, kRight}) {
        auto& node = view.nodes[name];
        node.alive = true;
        node.config.generation = 1;
        node.config.systems = {kLeft, kRight};
        const bool left = name == kLeft;
        std::uint64_t order = 0;
        for (const auto* tag : {"pg.0", "ip.0"}) {
            config::Instance instance;
            instance.tag = Tag(tag);
            instance.order = ++order;
            instance.state = left ? State::isp : State::osu;
            node.config.instances[instance.tag] = instance;
            node.config.equivalencies.push_back(
                {Tag(tag), left ? kRight : kLeft, Tag(tag), {left ? 1 : 10}, {left ? 10 : 1}, ++order});
        }
        node.config.dependencies.push_back({Tag("pg.0"), Tag("ip.0"), ++order});
    }
    return view;
}

config::Command asked(const std::string& action, const std::string& object) {
    config::Command command;
    command.name = "understudy plan";
    command.arguments = {action, object};
    return command;
}

std::vector<Preview> previewed(const recovery::ClusterView& view, const config::Command& command) {
    auto made = preview(view, command);
    EXPECT_TRUE(made) << made.error().text;
    return made ? std::move(*made) : std::vector<Preview>();
}

std::string only_text(const recovery::ClusterView& view, const config::Command& command) {
    const auto made = previewed(view, command);
    EXPECT_EQ(made.size(), 1U);
    return made.empty() ? "" : recovery::describe(made.front().plan);
}

// Spec: CLU-138, CMD-121
TEST(PlanPreview, ARemoveIsWhatTheCommandWouldDo) {
    EXPECT_EQ(only_text(two_nodes(kLeft), asked("remove", "ip.0")),
              "1. left  remove   pg.0  depends on ip.0\n"
              "2. left  remove   ip.0  requested here [after 1]\n");
}

// Spec: CLU-144
TEST(PlanPreview, ASwitchoverTakesItDownThereFirst) {
    const auto made = previewed(two_nodes(kRight), asked("switchover", "pg.0"));
    ASSERT_EQ(made.size(), 1U);
    EXPECT_EQ(made.front().what, "switchover of pg.0 to right");
    EXPECT_EQ(recovery::describe(made.front().plan),
              "1. left   remove   pg.0  needs ip.0, which moves to right\n"
              "2. left   remove   ip.0  in service on left, wanted on right [after 1]\n"
              "3. right  restore  ip.0  pg.0 needs it [after 2]\n"
              "4. right  restore  pg.0  requested here [after 3]\n");
}

// Spec: CLU-144
TEST(PlanPreview, ASwitchoverToWhereItRunsDoesNothing) {
    EXPECT_EQ(only_text(two_nodes(kLeft), asked("switchover", "pg.0")),
              "1. left  leave    pg.0  in service here already\n");
}

// Spec: CLU-186, CLU-187
TEST(PlanPreview, TheLossOfALivingNodeIsPlannedAsIfItWereDead) {
    const auto made = previewed(two_nodes(kRight), asked("failover-of", "left"));
    ASSERT_EQ(made.size(), 1U);
    EXPECT_EQ(made.front().what, "takeover from left");
    EXPECT_THAT(recovery::describe(made.front().plan),
                HasSubstr("right  restore  pg.0  left had it in service and is dead"));
}

// Spec: CLU-202, CLU-206
TEST(PlanPreview, AShutdownFollowsTheNodesStrategy) {
    auto view = two_nodes(kLeft);
    EXPECT_EQ(previewed(view, asked("shutdown", "left")).front().what, "stop");
    EXPECT_THAT(only_text(view, asked("shutdown", "left")), HasSubstr("this node stops"));
    view.nodes.at(kLeft).config.flags.insert(FlagName(recovery::kShutdownSwitchoverFlag));
    EXPECT_EQ(previewed(view, asked("shutdown", "left")).front().what, "shutdown of left");
    EXPECT_THAT(only_text(view, asked("shutdown", "left")), HasSubstr("right  restore  pg.0"));
    EXPECT_THAT(only_text(view, asked("stop", "left")), ::testing::Not(HasSubstr("right")));
}

// Spec: CLU-125, CLU-195, CLU-197
TEST(PlanPreview, AStartIsTheInitialisationAndThenWhatSwitchesBack) {
    auto view = two_nodes(kLeft);
    for (auto& [name, node] : view.nodes)
        for (auto& [tag, instance] : node.config.instances)
            instance.state = name == kRight ? State::isp : State::osu;
    EXPECT_THAT(only_text(view, asked("start", "left")), HasSubstr("the hierarchy is in service on right"));
    for (auto& [tag, instance] : view.nodes.at(kLeft).config.instances)
        instance.switchback = config::Switchback::automatic;
    const auto made = previewed(view, asked("start", "left"));
    ASSERT_EQ(made.size(), 2U);
    EXPECT_EQ(made[0].what, "initialisation");
    EXPECT_EQ(made[1].what, "automatic switchback");
    EXPECT_THAT(recovery::describe(made[1].plan), HasSubstr("AUTOMATIC switchback: left comes first"));
}

TEST(PlanPreview, WhatItDoesNotKnowIsRefused) {
    EXPECT_EQ(preview(two_nodes(kLeft), asked("dance", "pg.0")).error().code, Code::syntax);
    EXPECT_EQ(preview(two_nodes(kLeft), asked("restore", "nosuch")).error().code, Code::not_found);
    EXPECT_EQ(preview(two_nodes(kLeft), asked("switchover", "nosuch")).error().code, Code::not_found);
}

// Spec: CLU-222
TEST(PlanPreview, ASwitchoverOfWhatRunsTwiceIsRefusedAsTheCommandIs) {
    auto view = two_nodes(kRight);
    for (auto& [tag, instance] : view.nodes.at(kRight).config.instances)
        instance.state = State::isp;
    const auto refused = preview(view, asked("switchover", "pg.0"));
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text, HasSubstr("at once"));
}

}  // namespace
}  // namespace understudy::daemons
