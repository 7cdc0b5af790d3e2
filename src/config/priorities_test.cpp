// Which records a change of priorities writes where, what it refuses, and that putting back undoes it.

#include "config/priorities.h"

#include "config/test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using testing::instance;

const NodeName kA("nodeA");
const NodeName kB("nodeB");
const NodeName kC("nodeC");

/// web needs ip, db needs ip, both extended to three nodes; on nodeC the address has another tag.
class PrioritiesTest : public ::testing::Test {
  protected:
    void SetUp() override {
        const std::map<NodeName, Priority> priorities{{kA, {1}}, {kB, {10}}, {kC, {20}}};
        for (const auto& [node, priority] : priorities) {
            auto& config = configs[node];
            for (const auto* tag : {"web", "db", "ip"}) {
                apply(config, PutInstance{instance(tag_on(node, tag).str())});
                for (const auto& [other, other_priority] : priorities)
                    if (other != node)
                        apply(config, PutEquivalency{{tag_on(node, tag), other, tag_on(other, tag), priority,
                                                      other_priority, 0}});
            }
            apply(config, PutDependency{{Tag("web"), tag_on(node, "ip")}});
            apply(config, PutDependency{{Tag("db"), tag_on(node, "ip")}});
            apply(config, PutInstance{instance("local")});
        }
    }
    static Tag tag_on(const NodeName& node, const std::string& tag) {
        return Tag(node == kC && tag == "ip" ? "ip-c" : tag);
    }
    PriorityChange change(const std::map<NodeName, Priority>& wanted) {
        PriorityChange made;
        made.resources = equivalent_hierarchy(configs[kA], kA, Tag("web")).value();
        made.wanted = wanted;
        for (const auto& node : made.members()) {
            std::vector<Tag> tags;
            for (const auto& each : made.resources)
                tags.push_back(each.at(node));
            made.before[node] = view_priorities(configs[node], node, tags);
        }
        return made;
    }
    void write(const PriorityWrites& writes) {
        for (const auto& [node, list] : writes) {
            const auto edits = priority_edits(configs[node], node, list);
            ASSERT_TRUE(edits) << edits.error().text;
            for (const auto& edit : *edits)
                apply(configs[node], edit);
        }
    }
    /// What every record of every node says about a node's priority; one value when they agree.
    std::set<int> values(const NodeName& about) {
        std::set<int> found;
        for (const auto& [node, config] : configs)
            for (const auto& pair : config.equivalencies) {
                if (node == about) found.insert(pair.priority.value);
                if (pair.other_node == about) found.insert(pair.other_priority.value);
            }
        return found;
    }
    std::map<NodeName, NodeConfig> configs;
};

// Spec: CLU-109, CLU-110
TEST_F(PrioritiesTest, EveryRecordOfAllRootsIsChangedByWayOfATemporaryValue) {
    const auto swap = change({{kA, {10}}, {kB, {1}}});
    ASSERT_TRUE(swap.check());
    write(swap.temporary(kA));
    EXPECT_EQ(values(kA), std::set<int>{1000});
    EXPECT_EQ(values(kB), std::set<int>{10});
    write(swap.temporary(kB));
    EXPECT_EQ(values(kB), std::set<int>{1001});
    write(swap.final(kA));
    write(swap.final(kB));
    EXPECT_EQ(values(kA), std::set<int>{10});
    EXPECT_EQ(values(kB), std::set<int>{1});
    EXPECT_EQ(values(kC), std::set<int>{20});
}

// Spec: CLU-110
TEST_F(PrioritiesTest, PuttingBackRestoresWhatWasThereFromAnyStep) {
    const auto before = configs;
    const auto swap = change({{kA, {10}}, {kB, {1}}});
    const std::vector<PriorityWrites> steps{swap.temporary(kA), swap.temporary(kB), swap.final(kA),
                                            swap.final(kB)};
    for (std::size_t count = 0; count <= steps.size(); ++count) {
        configs = before;
        for (std::size_t i = 0; i < count; ++i)
            write(steps[i]);
        write(swap.roll_back());
        for (const auto& [node, config] : configs)
            EXPECT_EQ(config.equivalencies, before.at(node).equivalencies)
                << count << " steps, " << node.str();
    }
}

TEST_F(PrioritiesTest, WhatSomebodyElseHasRepairedIsNotPutBack) {
    const auto raise = change({{kA, {5}}});
    write(raise.temporary(kA));
    const auto repair = change({{kA, {7}}});
    write(repair.temporary(kA));
    write(repair.final(kA));
    write(raise.roll_back());
    EXPECT_EQ(values(kA), std::set<int>{7});
    write(raise.final(kA));
    EXPECT_EQ(values(kA), std::set<int>{7});
}

// Spec: CLU-108
TEST_F(PrioritiesTest, EqualAndIllegalPrioritiesAndStrangersAreRefused) {
    EXPECT_EQ(change({{kA, {10}}}).check().error().number, 134);
    EXPECT_EQ(change({{kA, {7}}, {kB, {7}}}).check().error().number, 134);
    EXPECT_EQ(change({{kA, {1000}}}).check().error().number, 133);
    EXPECT_EQ(change({{kA, {0}}}).check().error().number, 133);
    EXPECT_EQ(change({{NodeName("nodeX"), {3}}}).check().error().code, Code::not_found);
    EXPECT_TRUE(change({{kA, {10}}, {kB, {1}}}).check());
    std::map<NodeName, Priority> many;
    for (int i = 0; i <= static_cast<int>(kMaxChangedPriorities); ++i)
        many[NodeName(fmt::format("n{}", i))] = Priority{i + 1};
    EXPECT_EQ(change(many).check().error().code, Code::out_of_range);
}

TEST_F(PrioritiesTest, AResourceWithoutEquivalentsHasNoPriorities) {
    EXPECT_EQ(equivalent_hierarchy(configs[kA], kA, Tag("local")).error().code, Code::not_found);
    EXPECT_EQ(equivalent_hierarchy(configs[kA], kA, Tag("none")).error().code, Code::not_found);
    EXPECT_EQ(equivalent_hierarchy(configs[kA], kA, Tag("db")).value().size(), 3U) << "all roots";
    EXPECT_EQ(priority_edits(configs[kA], kA, {{Tag("local"), kA, {3}, {}}}).error().code, Code::not_found);
}

}  // namespace
}  // namespace understudy::config
