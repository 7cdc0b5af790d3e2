#include "config/definition.h"

#include "config/test_support.h"

#include <gtest/gtest.h>

#include <random>

namespace understudy::config {
namespace {

using testing::Shell;

/// Nodes that know each other, each with its own database; runs the commands of a difference on them.
class Fleet {
  public:
    explicit Fleet(const std::vector<std::string>& names) {
        for (const auto& name : names)
            shells_.emplace(NodeName(name), std::make_unique<Shell>(name));
        for (auto& [node, shell] : shells_) {
            shell->live.allow_fast_heartbeats = true;
            for (const auto& name : names)
                if (NodeName(name) != node) (*shell)("sys_create -s " + name);
        }
    }

    [[nodiscard]] std::map<NodeName, const NodeConfig*> configs() const {
        std::map<NodeName, const NodeConfig*> result;
        for (const auto& [node, shell] : shells_)
            result[node] = &shell->database->own();
        return result;
    }
    [[nodiscard]] Definition definition() const { return define(configs(), settings); }

    Result<std::vector<std::string>> apply(const Definition& wanted, bool prune = false) {
        UNDERSTUDY_TRY(const auto found, difference(configs(), settings, wanted, {NodeName("left"), prune}));
        std::vector<std::string> texts;
        for (const auto& change : found.changes) {
            texts.push_back(change.text);
            UNDERSTUDY_CHECK(run(change.command));
        }
        return texts;
    }
    Result<std::vector<std::string>> apply(const std::string& yaml, bool prune = false) {
        UNDERSTUDY_TRY(const auto wanted, parse_definition(yaml));
        return apply(wanted, prune);
    }

    Shell& shell(const std::string& name) { return *shells_.at(NodeName(name)); }
    std::map<NodeName, NodeSettings> settings;

  private:
    Result<> run(const Command& command) {
        const NodeName node(command.get("d", "left"));
        auto& database = *shells_.at(node)->database;
        if (command.name == kSetSettings) {
            for (const auto& pair : command.arguments)
                settings[node][pair.substr(0, pair.find('='))] = pair.substr(pair.find('=') + 1);
            return {};
        }
        if (command.name == "eqv_create") return pair(command);
        if (command.name == "eqv_remove") return unpair(command);
        if (command.name == "understudy priorities") return prioritise(command);
        if (command.name == "ins_remove") {
            UNDERSTUDY_TRY(const auto tags, removal_set(database.own(), command));
            for (const auto& tag : tags)
                database.commit(removal_edits(database.own(), tag));
            return {};
        }
        const auto reply = run_lcdi(database, shells_.at(node)->live, command);
        if (!reply) return fail(Code::internal, "no command {}", command.name);
        if (reply->exit_code != 0) return fail(Code::failure, "{}: {}", command.name, reply->err);
        return {};
    }
    Result<> pair(const Command& command) {
        UNDERSTUDY_TRY(const auto pair, parse_eqv_create(command, NodeName("left")));
        for (const auto& node : {pair.system, pair.other_system}) {
            auto& database = *shells_.at(node)->database;
            UNDERSTUDY_CHECK(check_equivalency(database.own(), pair.record_on(node)));
            database.commit({PutEquivalency{pair.record_on(node)}});
        }
        return {};
    }
    Result<> unpair(const Command& command) {
        UNDERSTUDY_TRY(const auto pair, parse_eqv_remove(command, NodeName("left")));
        for (const auto& node : {pair.system, pair.other_system}) {
            auto& database = *shells_.at(node)->database;
            UNDERSTUDY_TRY(const auto edit, equivalency_removal(database.own(), pair.record_on(node)));
            database.commit({edit});
        }
        return {};
    }
    /// Every resource here is in one hierarchy: all records get the values.
    Result<> prioritise(const Command& command) {
        std::map<NodeName, Priority> wanted;
        for (std::size_t i = 1; i < command.arguments.size(); ++i) {
            const auto& word = command.arguments[i];
            wanted[NodeName(word.substr(0, word.find('=')))] =
                Priority{std::stoi(word.substr(word.find('=') + 1))};
        }
        for (auto& [node, shell] : shells_)
            for (auto record : std::vector(shell->database->own().equivalencies)) {
                if (wanted.contains(node)) record.priority = wanted[node];
                if (wanted.contains(record.other_node)) record.other_priority = wanted[record.other_node];
                shell->database->commit({DropEquivalency{record.tag, record.other_node, record.other_tag}});
                shell->database->commit({PutEquivalency{record}});
            }
        return {};
    }

    std::map<NodeName, std::unique_ptr<Shell>> shells_;
};

constexpr auto kPostgres = R"(
format: 1
nodes:
  left: {settings: {ALLOW_FAST_HEARTBEATS: "1"}}
  right:
paths:
  - {ends: {left: 10.77.1.1, right: 10.77.1.2}, port: 1500, priority: 1, interval: 200ms, misses: 3}
  - {ends: {left: 10.77.2.1, right: 10.77.2.2}, port: 1510, priority: 2}
resources:
  - tag: pgsql-5432
    type: database/pgsql
    id: "5432"
    info: data=/mnt/pg
    needs: [Vol.data, 10.77.1.100]
    on: {left: 1, right: 10}
    initialization: INIT_ISP
    quick_check: 60
  - {tag: Vol.data, type: filesys/volume, id: data, info: mount=/mnt, on: {left: 1, right: {priority: 10, info: mount=/srv}}}
  - {tag: 10.77.1.100, type: comm/ip, id: 10.77.1.100, on: {left: 1, right: 10}, local_recovery: false}
)";

TEST(Definition, MakesACluster) {
    Fleet fleet({"left", "right"});
    const auto done = fleet.apply(kPostgres);
    ASSERT_TRUE(done) << done.error().text;
    const auto& left = fleet.shell("left").database->own();
    const auto& right = fleet.shell("right").database->own();
    EXPECT_EQ(left.paths.size(), 2U);
    EXPECT_EQ(left.find_path("TCP:1500")->interval_ms, 200);
    EXPECT_EQ(right.find_path("TCP:1500")->remote_address, "10.77.1.1");
    EXPECT_EQ(right.find_path("TCP:1510")->interval_ms, Path{}.interval_ms);
    EXPECT_EQ(right.find(Tag("Vol.data"))->info, "mount=/srv");
    EXPECT_EQ(left.children(Tag("pgsql-5432")), (std::vector{Tag("Vol.data"), Tag("10.77.1.100")}));
    EXPECT_EQ(right.children(Tag("pgsql-5432")).size(), 2U);
    EXPECT_EQ(right.priority(Tag("pgsql-5432")), Priority{10});
    EXPECT_EQ(left.find(Tag("pgsql-5432"))->init, Init::init_isp);
    EXPECT_EQ(left.find(Tag("pgsql-5432"))->quick_interval_s, 60);
    EXPECT_FALSE(left.find(Tag("10.77.1.100"))->local_recovery);
    EXPECT_EQ(fleet.settings.at(NodeName("left")).at("ALLOW_FAST_HEARTBEATS"), "1");
}

TEST(Definition, AppliedAgainChangesNothing) {
    Fleet fleet({"left", "right"});
    ASSERT_TRUE(fleet.apply(kPostgres));
    const auto again = fleet.apply(kPostgres, true);
    ASSERT_TRUE(again) << again.error().text;
    EXPECT_EQ(*again, std::vector<std::string>{});
}

TEST(Definition, WhatIsExportedIsWhatIsThere) {
    Fleet fleet({"left", "right"});
    ASSERT_TRUE(fleet.apply(kPostgres));
    const auto read = parse_definition(to_yaml(fleet.definition()));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, fleet.definition());

    Fleet empty({"left", "right"});
    const auto made = empty.apply(*read);
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ(empty.definition(), fleet.definition());
}

TEST(Definition, ChangesOnlyWhatDiffers) {
    Fleet fleet({"left", "right"});
    ASSERT_TRUE(fleet.apply(kPostgres));
    auto wanted = fleet.definition();
    for (auto& resource : wanted.resources)
        for (auto& [node, instance] : resource.on)
            instance.priority = Priority{node == NodeName("left") ? 20 : 5};
    wanted.resources.back().quick_interval_s = 77;
    wanted.nodes[NodeName("right")]["LCMHBEATTIME"] = "5";
    const auto changed = fleet.apply(wanted);
    ASSERT_TRUE(changed) << changed.error().text;
    EXPECT_EQ(*changed,
              (std::vector<std::string>{"~ pgsql-5432 on left: quick check every s 60 -> 77",
                                        "~ pgsql-5432 on right: quick check every s 60 -> 77",
                                        "~ priorities of Vol.data and its hierarchy: left=20, right=5",
                                        "~ settings of right: LCMHBEATTIME unset -> 5"}));
    EXPECT_EQ(fleet.definition(), wanted);
}

TEST(Definition, KeepsWhatItDoesNotNameUnlessPruned) {
    Fleet fleet({"left", "right"});
    ASSERT_TRUE(fleet.apply(kPostgres));
    auto wanted = fleet.definition();
    std::erase_if(wanted.resources, [](const auto& each) { return each.name() == Tag("10.77.1.100"); });
    for (auto& resource : wanted.resources)
        std::erase(resource.needs, Tag("10.77.1.100"));
    const auto found = difference(fleet.configs(), fleet.settings, wanted, {NodeName("left"), false});
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->changes.empty());
    EXPECT_EQ(found->kept.size(), 4U) << "the address and a dependency on each node";

    const auto pruned = fleet.apply(wanted, true);
    ASSERT_TRUE(pruned) << pruned.error().text;
    EXPECT_EQ(fleet.definition(), wanted);
    EXPECT_EQ(fleet.shell("right").database->own().find(Tag("10.77.1.100")), nullptr);
}

TEST(Definition, TheOnlyPathIsNotMadeAnew) {
    Fleet fleet({"left", "right"});
    ASSERT_TRUE(fleet.apply(kPostgres));
    auto wanted = fleet.definition();
    wanted.paths[1].misses = 9;
    ASSERT_TRUE(fleet.apply(wanted)) << "the first path carries it";
    EXPECT_EQ(fleet.definition(), wanted);
    wanted.paths[0].misses = 9;
    wanted.paths[1].misses = 5;
    const auto refused = fleet.apply(wanted);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("no other path between its nodes stays as it is"), std::string::npos);
}

// Spec: CLU-096
TEST(Definition, APairWithOneRecordMissingStillHasBothPriorities) {
    Fleet fleet({"left", "right"});
    ASSERT_TRUE(fleet.apply(kPostgres));
    const auto whole = fleet.definition();
    fleet.shell("right").database->commit(
        {DropEquivalency{Tag("Vol.data"), NodeName("left"), Tag("Vol.data")}});
    const auto read = parse_definition(to_yaml(fleet.definition()));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, whole);
}

TEST(Definition, AnotherDefinitionOfTenThousandResourcesIsComparedWithoutLookingAtAllPairs) {
    Definition wanted;
    wanted.nodes[NodeName("left")];
    wanted.nodes[NodeName("right")];
    for (int i = 0; i < 10'000; ++i) {
        DefinedResource resource;
        resource.app = AppName("gen");
        resource.type = TypeName("app");
        const auto tag = fmt::format("r{}", i);
        for (const auto& [node, priority] : {std::pair("left", 1), std::pair("right", 10)})
            resource.on[NodeName(node)] = {Tag(tag), ResourceId(tag), "", Priority{priority}};
        if (i % 10 != 0) resource.needs.emplace_back(fmt::format("r{}", i - 1));
        wanted.resources.push_back(std::move(resource));
    }
    Fleet fleet({"left", "right"});
    const auto made = fleet.apply(parse_definition(to_yaml(wanted)).value());
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ(made->size(), 10'000U * 3 + 9'000U * 2 + 4) << "instances, pairs, dependencies, types";
    for (auto& resource : wanted.resources)
        for (auto& [node, instance] : resource.on)
            instance.priority = Priority{node == NodeName("left") ? 3 : 2};
    const auto changed = difference(fleet.configs(), fleet.settings, wanted, {NodeName("left"), true});
    ASSERT_TRUE(changed) << changed.error().text;
    EXPECT_EQ(changed->changes.size(), 1'000U) << "one for each hierarchy";
}

TEST(Definition, RefusesWhatCannotBeChangedInPlace) {
    Fleet fleet({"left", "right"});
    ASSERT_TRUE(fleet.apply(kPostgres));
    auto other_id = fleet.definition();
    for (auto& [node, instance] : other_id.resources.back().on)
        instance.id = ResourceId("5433");
    EXPECT_EQ(fleet.apply(other_id).error().code, Code::exists);
    auto other_node = fleet.definition();
    other_node.nodes[NodeName("third")];
    EXPECT_EQ(fleet.apply(other_node).error().code, Code::not_found);
}

struct Wrong {
    const char* yaml;
    Code code;
    const char* says;
};
class WrongDefinition : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongDefinition, IsRefusedWithItsLine) {
    const auto read = parse_definition(GetParam().yaml);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, GetParam().code);
    EXPECT_NE(read.error().text.find(GetParam().says), std::string::npos) << read.error().text;
}
INSTANTIATE_TEST_SUITE_P(
    Files, WrongDefinition,
    ::testing::Values(
        Wrong{"format: [1", Code::bad_argument, "this is no YAML"},
        Wrong{"- 1", Code::bad_argument, "line 1: the definition must be a mapping"},
        Wrong{"format: 2", Code::bad_argument, "this version reads format 1"},
        Wrong{"format: 1\nnode: {}", Code::bad_argument, "line 2: the definition has no \"node\""},
        Wrong{"format: 1\nresources:\n  - {tag: a, type: gen, id: a, on: {left: 1}}", Code::bad_argument,
              "type of a is application/type"},
        Wrong{"format: 1\nresources:\n  - {tag: a, type: gen/app, id: a, on: {left: 1}}", Code::not_found,
              "line 3: node left is not among \"nodes\""},
        Wrong{
            "format: 1\nnodes: {left: {}}\nresources:\n  - {tag: a, type: gen/app, id: a, on: {left: 1000}}",
            Code::out_of_range, "line 4: priority of a on left is 1 to 999"},
        Wrong{"format: 1\nnodes: {left: , right: }\nresources:\n  - {tag: a, type: gen/app, id: a, on: "
              "{left: 1, "
              "right: 1}}",
              Code::bad_argument, "two nodes have priority 1 for a"},
        Wrong{"format: 1\nnodes: {left: }\nresources:\n  - {tag: a, type: gen/app, id: a, needs: [b], on: "
              "{left: 1}}",
              Code::not_found, "a needs b, which is not defined"},
        Wrong{"format: 1\nnodes: {left: }\nresources:\n  - {tag: a, type: gen/app, id: a, needs: [b], on: "
              "{left: 1}}\n"
              "  - {tag: b, type: gen/app, id: b, needs: [a], on: {left: 1}}",
              Code::bad_argument, "a needs itself"},
        Wrong{"format: 1\nnodes: {left: }\nresources:\n  - {tag: a, type: gen/app, id: a, on: {left: }}\n"
              "  - {tag: a, type: gen/app, id: b, on: {left: }}",
              Code::bad_argument, "a on left is defined twice"},
        Wrong{"format: 1\nnodes: {left: , right: }\npaths:\n  - {ends: {left: 10.0.0.1, right: 10.0.0.2}, "
              "port: 1500, "
              "interval: soon}",
              Code::bad_argument, "line 4: an interval is seconds or milliseconds"}));

/// A random cluster on three nodes: what is exported makes the same cluster elsewhere.
TEST(Definition, RandomClustersSurviveTheWayThroughAFile) {
    for (unsigned seed = 1; seed <= 60; ++seed) {
        std::mt19937 random(seed);
        const auto upto = [&](unsigned n) { return random() % n; };
        Definition wanted;
        const std::vector<NodeName> names{NodeName("left"), NodeName("right"), NodeName("third")};
        for (const auto& name : names)
            if (upto(2) != 0)
                wanted.nodes[name]["KEY_" + std::to_string(upto(3))] = "it's \"x\": " + std::to_string(seed);
            else
                wanted.nodes[name];
        const auto count = 1 + upto(12);
        for (unsigned i = 0; i < count; ++i) {
            DefinedResource resource;
            resource.app = AppName("gen");
            resource.type = TypeName(upto(2) != 0 ? "app" : "other");
            resource.init = static_cast<Init>(upto(3));
            resource.local_recovery = upto(2) != 0;
            resource.quick_interval_s = static_cast<int>(upto(1000));
            resource.deep_interval_s = static_cast<int>(upto(1000));
            const auto where = 1 + upto(7);
            int priority = 1 + static_cast<int>(upto(5));
            for (std::size_t n = 0; n < names.size(); ++n) {
                if ((where & (1U << n)) == 0) continue;
                const auto differs = upto(4) == 0 ? std::to_string(n) : std::string();
                resource.on[names[n]] = {
                    Tag("r" + std::to_string(i) + differs), ResourceId(fmt::format("#id {}", i)),
                    upto(2) != 0 ? "a=\"b c\" d:" + differs : "",
                    std::has_single_bit(where) ? std::nullopt : std::optional(Priority{priority})};
                priority += 1 + static_cast<int>(upto(9));
            }
            for (const auto& below : wanted.resources) {
                const bool together = std::any_of(below.on.begin(), below.on.end(), [&](const auto& at) {
                    return resource.on.contains(at.first);
                });
                if (together && upto(3) == 0) resource.needs.push_back(below.name());
            }
            wanted.resources.push_back(std::move(resource));
        }
        const auto read = parse_definition(to_yaml(wanted));
        ASSERT_TRUE(read) << "seed " << seed << ": " << read.error().text;
        ASSERT_EQ(*read, wanted) << "seed " << seed;
        Fleet fleet({"left", "right", "third"});
        const auto made = fleet.apply(*read);
        ASSERT_TRUE(made) << "seed " << seed << ": " << made.error().text;
        const auto there = fleet.definition();
        ASSERT_EQ(there.nodes, wanted.nodes) << "seed " << seed;
        ASSERT_EQ(there.resources.size(), wanted.resources.size()) << "seed " << seed;
        const auto again = fleet.apply(*read, true);
        ASSERT_TRUE(again) << "seed " << seed << ": " << again.error().text;
        ASSERT_EQ(*again, std::vector<std::string>{}) << "seed " << seed;
    }
}

}  // namespace
}  // namespace understudy::config
