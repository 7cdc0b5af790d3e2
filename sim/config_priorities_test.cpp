// A change of priorities on a simulated cluster, killed at every step, and copies of configurations that
// diverge.

#include "sim/config_cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace understudy::sim {
namespace {

using config::Command;
using config::Reply;

/// A hierarchy app -> ip on all nodes, priorities 1, 11, 21.
void configure(ConfigCluster& c) {
    for (std::size_t i = 0; i < c.names.size(); ++i) {
        auto& own = c.disks[c.names[i]].own;
        own.generation = 1;
        std::uint64_t order = 0;
        for (const auto* tag : {"app", "ip"}) {
            config::Instance instance;
            instance.tag = Tag(tag);
            instance.id = ResourceId(tag);
            instance.order = ++order;
            own.instances[instance.tag] = instance;
            for (std::size_t other = 0; other < c.names.size(); ++other)
                if (other != i)
                    own.equivalencies.push_back({Tag(tag), c.names[other], Tag(tag),
                                                 Priority{1 + 10 * static_cast<int>(i)},
                                                 Priority{1 + 10 * static_cast<int>(other)}, ++order});
        }
        own.dependencies.push_back({Tag("app"), Tag("ip"), ++order});
        own.reindex();
    }
}

Command swap_first_two() {
    Command command;
    command.name = "understudy priorities";
    command.arguments = {"app", "n0=11", "n1=1"};
    return command;
}

/// What all records of all nodes say about each node's priority.
std::map<NodeName, std::set<int>> priorities(ConfigCluster& c) {
    std::map<NodeName, std::set<int>> found;
    for (const auto& name : c.names) {
        auto* node = c.node(name);
        if (node == nullptr) continue;
        for (const auto& pair : node->database->own().equivalencies) {
            found[name].insert(pair.priority.value);
            found[pair.other_node].insert(pair.other_priority.value);
        }
    }
    return found;
}

const std::map<NodeName, std::set<int>> kBefore{
    {NodeName("n0"), {1}}, {NodeName("n1"), {11}}, {NodeName("n2"), {21}}};
const std::map<NodeName, std::set<int>> kAfter{
    {NodeName("n0"), {11}}, {NodeName("n1"), {1}}, {NodeName("n2"), {21}}};

class Priorities : public ::testing::Test {
  protected:
    void SetUp() override {
        configure(c);
        ASSERT_TRUE(c.boot_all());
    }
    std::optional<Reply> run(const NodeName& on, const Command& command) {
        auto reply = std::make_shared<std::optional<Reply>>();
        c.node(on)->priorities.run(command, [reply](const Reply& answer) { *reply = answer; });
        c.sim.run_until([&] { return reply->has_value(); }, 120s);
        return *reply;
    }
    ConfigCluster c{3, 3};
    const NodeName a{"n0"};
    const NodeName b{"n1"};
    const NodeName third{"n2"};
};

// Spec: CLU-109, CLU-110
TEST_F(Priorities, TwoNodesChangePlacesOnAllNodesAndPassThroughTemporaryValues) {
    std::set<int> seen;
    c.node(third)->database->subscribe([&](const config::Change&) {
        for (const auto& pair : c.node(third)->database->own().equivalencies)
            seen.insert(pair.other_priority.value);
    });
    const auto reply = run(a, swap_first_two());
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->exit_code, 0) << reply->err;
    EXPECT_EQ(priorities(c), kAfter);
    EXPECT_TRUE(seen.contains(1000) && seen.contains(1001));
    EXPECT_TRUE(c.sim.run_until([&] { return c.copies_are_equal(); }, 30s));
    EXPECT_FALSE(c.host(a).files().exists("/state/change.json"));
    const auto no_locks = [&] {
        return std::all_of(c.names.begin(), c.names.end(), [&](const NodeName& name) {
            const auto& flags = c.node(name)->database->own().flags;
            return std::none_of(flags.begin(), flags.end(), config::is_lock_flag);
        });
    };
    EXPECT_TRUE(c.sim.run_until(no_locks, 10s));
}

// Spec: CLU-097
TEST_F(Priorities, WithAnUnreachableMemberNothingIsChanged) {
    c.host(third).power_off();
    c.sim.run_for(10s);
    const auto reply = run(a, swap_first_two());
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->exit_code, 9);
    EXPECT_THAT(reply->err, ::testing::HasSubstr("n2"));
    c.boot(third);
    ASSERT_TRUE(c.wait_together());
    EXPECT_EQ(priorities(c), kBefore);
}

TEST_F(Priorities, OneNodesPriorityIsSetAndDuplicatesAreRefused) {
    Command command;
    command.name = "hry_setpri";
    command.options = {{"t", "ip"}, {"p", "11"}};
    EXPECT_EQ(run(a, command)->message_number, 134);
    command.options["p"] = "1000";
    EXPECT_EQ(run(a, command)->message_number, 133);
    EXPECT_EQ(priorities(c), kBefore);
    command.options["p"] = "5";
    EXPECT_EQ(run(a, command)->exit_code, 0);
    EXPECT_EQ(priorities(c).at(a), std::set<int>{5});
}

TEST_F(Priorities, WhatCannotBeNotedIsNotBegun) {
    c.host(a).set_disk_full(true);
    const auto reply = run(a, swap_first_two());
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->exit_code, 1);
    EXPECT_EQ(priorities(c), kBefore);
    c.host(a).set_disk_full(false);
    EXPECT_EQ(run(a, swap_first_two())->exit_code, 0);
    EXPECT_EQ(priorities(c), kAfter);
}

TEST_F(Priorities, AFullDiskInTheMiddleOfAChangeIsWaitedOutAndEndsWhole) {
    c.node(a)->priorities.run(swap_first_two(), [](const Reply&) {});
    ASSERT_TRUE(c.sim.run_until([&] { return priorities(c).at(b) == std::set<int>{1001}; }, 30s));
    c.host(a).set_disk_full(true);
    c.sim.run_for(30s);
    EXPECT_TRUE(c.node(a)->transactions.unfinished());
    c.host(a).set_disk_full(false);
    ASSERT_TRUE(c.sim.run_until([&] { return !c.node(a)->transactions.unfinished(); }, 60s));
    const auto now = priorities(c);
    EXPECT_TRUE(now == kBefore || now == kAfter);
}

TEST_F(Priorities, NoOtherChangeRunsMeanwhile) {
    auto first = std::make_shared<std::optional<Reply>>();
    auto second = std::make_shared<std::optional<Reply>>();
    c.node(a)->priorities.run(swap_first_two(), [first](const Reply& reply) { *first = reply; });
    Command command;
    command.name = "hry_setpri";
    command.options = {{"t", "app"}, {"p", "7"}, {"s", "n0"}};
    c.node(b)->priorities.run(command, [second](const Reply& reply) { *second = reply; });
    ASSERT_TRUE(c.sim.run_until([&] { return first->has_value() && second->has_value(); }, 200s));
    EXPECT_EQ((*first)->exit_code, 0) << (*first)->err;
    EXPECT_EQ((*second)->exit_code, 0) << (*second)->err;
    const auto now = priorities(c);
    EXPECT_EQ(now.at(b), std::set<int>{1});
    EXPECT_EQ(now.at(a).size(), 1U) << "one of the two came last, everywhere";
}

enum class Blow { crash_of_the_caller, power_off_of_the_caller, crash_of_a_member, power_off_of_a_member };

/// One run in which the blow falls at the n-th event after the command. False: the command had ended before.
bool struck_at(std::uint64_t event, Blow blow, std::string& problem) {
    ConfigCluster c(7, 3);
    configure(c);
    if (!c.boot_all()) {
        problem = "the nodes did not come up";
        return true;
    }
    const NodeName caller("n0");
    const NodeName victim(blow == Blow::crash_of_the_caller || blow == Blow::power_off_of_the_caller ? "n0"
                                                                                                     : "n2");
    auto reply = std::make_shared<std::optional<Reply>>();
    c.node(caller)->priorities.run(swap_first_two(), [reply](const Reply& answer) { *reply = answer; });
    const auto start = c.sim.events_run();
    c.sim.run_until([&] { return reply->has_value() || c.sim.events_run() >= start + event; }, 60s);
    const bool ended = reply->has_value();
    if (blow == Blow::crash_of_the_caller || blow == Blow::crash_of_a_member)
        c.host(victim).kill_program();
    else
        c.host(victim).power_off();
    c.sim.after(8s, [&] { c.boot(victim); });
    const auto whole = [&] {
        const auto now = priorities(c);
        if (now != kBefore && now != kAfter) return false;
        return std::all_of(c.names.begin(), c.names.end(), [&](const NodeName& name) {
            auto* node = c.node(name);
            return node != nullptr && !node->transactions.unfinished() && node->locks.all().empty();
        });
    };
    c.sim.run_for(9s);
    if (!c.sim.run_until([&] { return whole() && c.copies_are_equal(); }, 180s)) {
        problem = fmt::format("event {}: neither the old nor the new priorities everywhere", event);
        return true;
    }
    c.sim.run_for(30s);
    if (!whole()) problem = fmt::format("event {}: it did not stay whole", event);
    // What the caller was told is what happened.
    if (*reply && problem.empty() && priorities(c) != ((*reply)->exit_code == 0 ? kAfter : kBefore))
        problem = fmt::format("event {}: exit code {}, but the priorities say otherwise: {}", event,
                              (*reply)->exit_code, (*reply)->err);
    return !ended;
}

// Spec: CLU-110
class KilledChange : public ::testing::TestWithParam<Blow> {};
TEST_P(KilledChange, AtEveryStepEndsWithAllOldOrAllNewPriorities) {
    std::uint64_t event = 1;
    std::string problem;
    while (struck_at(event, GetParam(), problem)) {
        ASSERT_EQ(problem, "");
        ++event;
        ASSERT_LT(event, 20'000U);
    }
    ASSERT_EQ(problem, "");
    EXPECT_GT(event, 50U);
}
INSTANTIATE_TEST_SUITE_P(Blows, KilledChange,
                         ::testing::Values(Blow::crash_of_the_caller, Blow::power_off_of_the_caller,
                                           Blow::crash_of_a_member, Blow::power_off_of_a_member));

class Copies : public Priorities {};

// Spec: CLU-095
TEST_F(Copies, AnOlderFileOfTheSameGenerationIsNoticedByItsContent) {
    ASSERT_TRUE(c.sim.run_until([&] { return c.copies_are_equal(); }, 30s));
    // The host comes back with another file that has the same generation.
    c.host(b).power_off();
    auto& disk = c.disks[b].own;
    config::apply(disk, config::PutFlag{FlagName("from another life")});
    c.boot(b);
    ASSERT_TRUE(c.wait_together());
    EXPECT_TRUE(c.sim.run_until([&] { return c.copies_are_equal(); }, 30s));
    EXPECT_TRUE(c.node(a)->database->of(b)->flags.contains(FlagName("from another life")));
}

// Spec: CLU-095
TEST_F(Copies, AnOlderGenerationReplacesANewerCopy) {
    const auto old = c.disks[b].own;
    for (int i = 0; i < 5; ++i)
        c.node(b)->database->commit({config::PutFlag{FlagName(fmt::format("f{}", i))}});
    ASSERT_TRUE(c.sim.run_until([&] { return c.copies_are_equal(); }, 30s));
    c.host(b).power_off();
    c.disks[b].own = old;
    c.boot(b);
    ASSERT_TRUE(c.wait_together());
    EXPECT_TRUE(c.sim.run_until([&] { return c.copies_are_equal(); }, 30s));
}

// Spec: CLU-096
TEST_F(Copies, DifferentEquivalenciesAreReportedOnBothSidesAndStayAsTheyAre) {
    c.host(b).power_off();
    auto& disk = c.disks[b].own;
    config::apply(disk, config::DropEquivalency{Tag("ip"), a, Tag("ip")});
    config::apply(disk, config::PutEquivalency{{Tag("app"), a, Tag("app"), Priority{7}, Priority{1}, 0}});
    const auto kept = disk.equivalencies;
    c.boot(b);
    ASSERT_TRUE(c.wait_together());
    c.sim.run_for(30s);
    EXPECT_EQ(c.node(b)->database->own().equivalencies, kept);
    for (const auto& name : {a, b}) {
        std::string told;
        for (const auto& entry : c.disks[name].journal)
            if (entry.text.find("equivalencies differ") != std::string::npos) told += entry.text;
        EXPECT_THAT(told, ::testing::HasSubstr("ip")) << name.str();
        EXPECT_THAT(told, ::testing::HasSubstr("7")) << name.str();
    }
}

// Spec: CLU-089, CLU-092
TEST_F(Copies, SyncAnswersWhenDiskAndLivingPeersHaveIt) {
    c.node(a)->database->commit({config::PutFlag{FlagName("f")}});
    std::optional<Result<>> disk;
    std::vector<NodeName> missing;
    c.node(a)->replication.sync([&](const Result<>& result, const std::vector<NodeName>& unconfirmed) {
        disk = result;
        missing = unconfirmed;
    });
    ASSERT_TRUE(c.sim.run_until([&] { return disk.has_value(); }, 5s));
    EXPECT_TRUE(*disk);
    EXPECT_TRUE(missing.empty());
    EXPECT_TRUE(c.disks[a].own.flags.contains(FlagName("f")));
    EXPECT_TRUE(c.node(b)->database->of(a)->flags.contains(FlagName("f")));
    EXPECT_TRUE(c.node(third)->database->of(a)->flags.contains(FlagName("f")));
}

}  // namespace
}  // namespace understudy::sim
