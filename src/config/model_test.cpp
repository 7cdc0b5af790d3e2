#include "config/model.h"

#include "config/database.h"
#include "config/test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace understudy::config {
namespace {

using ::testing::ElementsAre;
using testing::equivalency;
using testing::instance;
using ::testing::IsEmpty;

NodeConfig make(std::initializer_list<const char*> tags,
                std::initializer_list<std::pair<const char*, const char*>> dependencies) {
    NodeConfig config;
    std::uint64_t order = 1;
    for (const auto* tag : tags) {
        auto each = instance(tag);
        each.order = order++;
        config::apply(config, PutInstance{each});
    }
    for (const auto& [parent, child] : dependencies)
        config::apply(config, PutDependency{{Tag(parent), Tag(child), order++}});
    return config;
}

std::vector<std::string> names(const std::vector<Tag>& tags) {
    std::vector<std::string> result;
    for (const auto& tag : tags)
        result.push_back(tag.str());
    return result;
}

NodeConfig example() {
    return make({"Vol.E", "ip.0", "web.0", "db.0"},
                {{"web.0", "ip.0"}, {"web.0", "Vol.E"}, {"db.0", "Vol.E"}});
}

// Spec: CLU-105, CMD-026
TEST(Model, ChildrenAndParentsComeInTheOrderTheDependenciesWereMade) {
    const auto config = example();
    EXPECT_THAT(names(config.children(Tag("web.0"))), ElementsAre("ip.0", "Vol.E"));
    EXPECT_THAT(names(config.parents(Tag("Vol.E"))), ElementsAre("web.0", "db.0"));
    EXPECT_THAT(config.children(Tag("ip.0")), IsEmpty());
    EXPECT_THAT(config.parents(Tag("none")), IsEmpty());
}

TEST(Model, SubtreeHasParentsBeforeChildrenEachOnce) {
    // d is reached by a long way and a short one; the long one decides its place.
    const auto config = make({"a", "b", "c", "d"}, {{"a", "d"}, {"a", "b"}, {"b", "c"}, {"c", "d"}});
    EXPECT_THAT(names(config.subtree(Tag("a"))), ElementsAre("a", "b", "c", "d"));
    EXPECT_THAT(names(example().subtree(Tag("web.0"))), ElementsAre("web.0", "ip.0", "Vol.E"));
    EXPECT_THAT(config.subtree(Tag("none")), IsEmpty());
}

TEST(Model, AncestryHasParentsBeforeChildrenEachOnce) {
    EXPECT_THAT(names(example().ancestry(Tag("Vol.E"))), ElementsAre("web.0", "db.0", "Vol.E"));
    const auto config = make({"a", "b", "c", "d"}, {{"a", "d"}, {"a", "b"}, {"b", "c"}, {"c", "d"}});
    EXPECT_THAT(names(config.ancestry(Tag("d"))), ElementsAre("a", "b", "c", "d"));
}

TEST(Model, RootsAreWhatNothingDependsOnInCreationOrder) {
    EXPECT_THAT(names(example().roots()), ElementsAre("web.0", "db.0"));
    EXPECT_THAT(names(example().roots_above(Tag("Vol.E"))), ElementsAre("web.0", "db.0"));
    EXPECT_THAT(names(example().roots_above(Tag("ip.0"))), ElementsAre("web.0"));
    EXPECT_THAT(names(example().roots_above(Tag("web.0"))), ElementsAre("web.0"));
}

TEST(Model, ReachesFollowsDependenciesDownOnly) {
    const auto config = make({"a", "b", "c"}, {{"a", "b"}, {"b", "c"}});
    EXPECT_TRUE(config.reaches(Tag("a"), Tag("c")));
    EXPECT_TRUE(config.reaches(Tag("a"), Tag("a")));
    EXPECT_FALSE(config.reaches(Tag("c"), Tag("a")));
}

TEST(Model, WalksEndAndLoseNothingWhenADamagedConfigHasACycle) {
    const auto config = make({"a", "b", "c"}, {{"a", "b"}, {"b", "c"}, {"c", "b"}});
    EXPECT_THAT(names(config.subtree(Tag("a"))), ElementsAre("a", "b", "c"));
    EXPECT_THAT(names(config.ancestry(Tag("c"))), ::testing::UnorderedElementsAre("a", "b", "c"));
}

// Spec: CMD-027, CLU-108
TEST(Model, EquivalentsComeByPriorityOfTheOtherNode) {
    NodeConfig config = make({"t"}, {});
    config::apply(config, PutEquivalency{equivalency("t", "C", 1, 20)});
    config::apply(config, PutEquivalency{equivalency("t", "B", 1, 10)});
    const auto found = config.equivalents(Tag("t"));
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].other_node, NodeName("B"));
    EXPECT_EQ(found[1].other_node, NodeName("C"));
    EXPECT_EQ(config.priority(Tag("t")), Priority{1});
    EXPECT_EQ(config.priority(Tag("none")), std::nullopt);
}

TEST(Model, AConfigFilledInByHandAnswersWithoutItsIndex) {
    NodeConfig config;
    config.instances.emplace(Tag("a"), instance("a"));
    config.instances.emplace(Tag("b"), instance("b"));
    config.dependencies.push_back({Tag("a"), Tag("b"), 1});
    config.equivalencies.push_back(equivalency("a", "B", 1, 10));
    const auto check = [&config] {
        EXPECT_EQ(config.find_id(ResourceId("id-b")), config.find(Tag("b")));
        EXPECT_THAT(names(config.children(Tag("a"))), ElementsAre("b"));
        EXPECT_THAT(names(config.parents(Tag("b"))), ElementsAre("a"));
        EXPECT_EQ(config.equivalents(Tag("a")).size(), 1U);
    };
    check();
    config.reindex();
    check();
}

TEST(Model, ComparisonIgnoresTheIndexButNoRecord) {
    auto by_hand = example();
    by_hand.index = {};
    EXPECT_EQ(by_hand, example());
    auto changed = example();
    changed.dependencies.pop_back();
    EXPECT_NE(changed, example());
}

TEST(Model, TheIndexKeptByEditsEqualsOneMadeAnew) {
    std::mt19937 random(7);
    const auto pick = [&random](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    NodeConfig config;
    for (int step = 0; step < 5000; ++step) {
        const auto tag = [&] { return Tag(fmt::format("t{}", pick(12))); };
        const auto a = tag();
        const auto b = tag();
        switch (pick(6)) {
            case 0: {
                auto each = instance(a.str());
                each.id = ResourceId(fmt::format("{}-{}", a.str(), pick(3)));
                config::apply(config, PutInstance{each});
                break;
            }
            case 1:
                config::apply(config, DropInstance{a});
                break;
            case 2:
                config::apply(config, PutDependency{{a, b, static_cast<std::uint64_t>(step)}});
                break;
            case 3:
                config::apply(config, DropDependency{a, b});
                break;
            case 4:
                config::apply(config,
                              PutEquivalency{equivalency(a.str(), pick(2) == 0 ? "B" : "C", 1, 2 + pick(9))});
                break;
            default:
                config::apply(config, DropEquivalency{a, NodeName("B"), a});
                break;
        }
        auto fresh = config;
        fresh.reindex();
        ASSERT_EQ(config.index.by_id, fresh.index.by_id) << step;
        ASSERT_EQ(config.index.parents, fresh.index.parents) << step;
        ASSERT_EQ(config.index.equivalents, fresh.index.equivalents) << step;
        for (const auto& [parent, children] : fresh.index.children)
            ASSERT_EQ(config.children(parent), children) << step;
        ASSERT_EQ(config.index.dependencies, config.dependencies.size());
    }
}

TEST(Model, PathsAreKeptByKindAndPort) {
    NodeConfig config;
    for (const auto* device : {"TCP:10000", "DISK:/dev/x", "TCP:1510", "TCP:1500"})
        config::apply(config, PutPath{Path{NodeName("B"), device, "TLI"}});
    std::vector<std::string> devices;
    for (const auto& path : config.paths)
        devices.push_back(path.device);
    EXPECT_THAT(devices, ElementsAre("TCP:1500", "TCP:1510", "TCP:10000", "DISK:/dev/x"));
    EXPECT_EQ(config.paths[0].port(), 1500);
    EXPECT_EQ(config.paths[3].port(), 0);
}

// Spec: CMD-012, CLU-102, MOP-241
TEST(Model, TagsFollowTheManualsRule) {
    for (const auto* legal : {"Vol.E", "17.17.17.17", "web-0_a/b", "a.", "fd00--1", "(x)", "~"})
        EXPECT_EQ(tag_problem(Tag(legal)), "") << legal;
    EXPECT_EQ(tag_problem(Tag(std::string(256, 'a'))), "");
    for (const auto* illegal : {"", ".a", "/a", "a b", "a+b", "a;b", "a:b", "a!b", "a@b", "a#b", "a$b", "a*b",
                                "a=b", "a\tb", "\xc3\xa4", "a\x01", "a\n"})
        EXPECT_NE(tag_problem(Tag(illegal)), "") << illegal;
    EXPECT_NE(tag_problem(Tag(std::string(257, 'a'))), "");
}

TEST(Model, NamesOfStatesAreThoseOfTheManual) {
    for (const auto* name : {"ISP", "ISU", "OSU", "OSF", "ILLSTATE"})
        EXPECT_EQ(to_string(*parse_state(name)), name);
    EXPECT_FALSE(parse_state("UNKNOWN"));  // never stored. Spec: CLU-117
    EXPECT_FALSE(parse_state("isp"));
    EXPECT_EQ(to_string(Reservation::recover), "RECOVER");
    EXPECT_EQ(to_string(Reservation::none), "");
}

}  // namespace
}  // namespace understudy::config
