// The history: what an entry says, who is named, what a search finds.

#include "config/history.h"

#include "config/test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using ::testing::ElementsAre;
using testing::equivalency;
using ::testing::HasSubstr;
using testing::instance;
using testing::Shell;

TEST(HistoryTest, AnItemShowsOnlyTheFieldsThatChanged) {
    NodeConfig before;
    apply(before, PutInstance{instance("web")});
    auto changed = instance("web");
    changed.state = State::isp;
    changed.reason = "restored";
    EXPECT_THAT(
        describe_changes(before, {PutInstance{changed}}),
        ElementsAre(HistoryItem{"instance", "web", "state=OSU, reason=\"\"", "state=ISP, reason=restored"}));
}

TEST(HistoryTest, WhatIsNewHasNoBeforeAndWhatIsGoneNoAfter) {
    NodeConfig before;
    const auto made = describe_changes(before, {PutInstance{instance("web")}, PutFlag{FlagName("f")}});
    ASSERT_EQ(made.size(), 2U);
    EXPECT_EQ(made[0].before, "");
    EXPECT_THAT(made[0].after, HasSubstr("app=gen, type=app, id=id-web, state=OSU"));
    EXPECT_EQ(made[1], (HistoryItem{"flag", "f", "", "present"}));
    apply(before, PutInstance{instance("web")});
    const auto gone = describe_changes(before, {DropInstance{Tag("web")}, DropFlag{FlagName("f")}});
    ASSERT_EQ(gone.size(), 1U) << "the flag was not there";
    EXPECT_EQ(gone[0].after, "");
    EXPECT_EQ(gone[0].before, made[0].after);
}

TEST(HistoryTest, ReservationsAndWhatStaysEqualLeaveNoItem) {
    NodeConfig before;
    apply(before, PutInstance{instance("web")});
    auto reserved = instance("web");
    reserved.reservation = Reservation::restore;
    reserved.reserving_pid = 7;
    EXPECT_THAT(describe_changes(before, {PutInstance{reserved}, PutInstance{instance("web")}}),
                ElementsAre());
}

TEST(HistoryTest, EveryKindOfRecordIsDescribedBothWays) {
    NodeConfig config;
    const std::vector<Edit> puts{PutApp{AppName("gen")},
                                 PutType{{AppName("gen"), TypeName("app")}},
                                 PutInstance{instance("a")},
                                 PutDependency{{Tag("a"), Tag("b")}},
                                 PutEquivalency{equivalency("a", "nodeB", 1, 10)},
                                 PutSystem{NodeName("nodeB")},
                                 PutFlag{FlagName("f")},
                                 PutPath{Path{NodeName("nodeB"), "TCP:1500", "TLI"}}};
    const std::vector<Edit> drops{DropApp{AppName("gen")},
                                  DropType{{AppName("gen"), TypeName("app")}},
                                  DropInstance{Tag("a")},
                                  DropDependency{Tag("a"), Tag("b")},
                                  DropEquivalency{Tag("a"), NodeName("nodeB"), Tag("a")},
                                  DropSystem{NodeName("nodeB")},
                                  DropFlag{FlagName("f")},
                                  DropPath{"TCP:1500"}};
    EXPECT_THAT(describe_changes(config, drops), ElementsAre());
    const auto made = describe_changes(config, puts);
    for (const auto& edit : puts)
        apply(config, edit);
    const auto gone = describe_changes(config, drops);
    ASSERT_EQ(made.size(), puts.size());
    ASSERT_EQ(gone.size(), drops.size());
    for (std::size_t i = 0; i < made.size(); ++i) {
        EXPECT_EQ(made[i].kind, gone[i].kind);
        EXPECT_EQ(made[i].subject, gone[i].subject);
        EXPECT_EQ(made[i].after, gone[i].before);
    }
    EXPECT_THAT(describe_changes(config, puts), ElementsAre());
}

TEST(HistoryTest, AResourceIsFoundInItsDependenciesAndEquivalencies) {
    const HistoryItem dependency{"dependency", "web needs ip", "", "present"};
    EXPECT_TRUE(concerns(dependency, "web"));
    EXPECT_TRUE(concerns(dependency, "ip"));
    EXPECT_FALSE(concerns(dependency, "we"));
    const HistoryItem pair{"equivalency", "web = nodeB:web2", "", "priority=1"};
    EXPECT_TRUE(concerns(pair, "web"));
    EXPECT_TRUE(concerns(pair, "web2"));
    EXPECT_FALSE(concerns(pair, "nodeB"));
    EXPECT_FALSE(concerns(HistoryItem{"flag", "web", "", "present"}, "web"));
}

TEST(HistoryTest, ASearchTakesTimeTagAndText) {
    const HistoryEntry entry{4,
                             1000,
                             NodeName("nodeA"),
                             9,
                             {"root", NodeName("nodeB"), "ins_setst -t web"},
                             {{"instance", "web", "state=OSU", "state=ISP"}},
                             0};
    EXPECT_TRUE(matches(entry, {}));
    EXPECT_TRUE(matches(entry, {.since_us = 1000, .until_us = 1000}));
    EXPECT_FALSE(matches(entry, {.since_us = 1001}));
    EXPECT_FALSE(matches(entry, {.until_us = 999}));
    EXPECT_TRUE(matches(entry, {.tag = "web"}));
    EXPECT_FALSE(matches(entry, {.tag = "ip"}));
    for (const auto* text : {"INS_setst", "Root", "nodeb", "state=isp", "WEB"})
        EXPECT_TRUE(matches(entry, {.text = text})) << text;
    EXPECT_FALSE(matches(entry, {.text = "nothing of it"}));
}

TEST(HistoryTest, EntriesAndQueriesSurviveTheirByteForm) {
    const HistoryEntry entry{4, -5, NodeName("n"), 9, {"u", NodeName("m"), "c"}, {{"k", "s", "b", "a"}}, 3};
    EXPECT_EQ(decode_history(encode(entry)).value(), entry);
    const auto list = decode_history_list(encode(HistoryList{{entry, entry}, true}));
    ASSERT_TRUE(list);
    EXPECT_EQ(list->entries, (std::vector{entry, entry}));
    EXPECT_TRUE(list->cut);
    const auto query = decode_history_query(encode(HistoryQuery{1, 2, "t", "x", 1'000'000'000}));
    ASSERT_TRUE(query);
    EXPECT_EQ(query->tag, "t");
    EXPECT_EQ(query->limit, kMaxHistoryAnswer) << "a peer cannot ask for more than an answer holds";
    EXPECT_FALSE(decode_history("\xff"));
}

TEST(HistoryTest, AMessageHoldsTheNewestThatFit) {
    std::vector<HistoryEntry> entries;
    for (std::uint64_t id = 1; id <= 10; ++id)
        entries.push_back(
            {id, 0, NodeName("n"), id, {}, {{"instance", "t", "", std::string(1 << 20, 'x')}}, 0});
    const auto list = fit_into_message(entries);
    EXPECT_TRUE(list.cut);
    ASSERT_EQ(list.entries.size(), 3U);
    EXPECT_EQ(list.entries.back().id, 10U);
    EXPECT_FALSE(fit_into_message({entries.begin(), entries.begin() + 2}).cut);
}

TEST(HistoryTest, ACommandLineShowsEverythingButSecrets) {
    Command command;
    command.name = "understudy join";
    command.options = {{"token", "abc"}, {"json", ""}, {"p", "5"}};
    command.arguments = {"10.0.0.1"};
    EXPECT_EQ(command_line(command), "understudy join --json -p 5 --token *** 10.0.0.1");
    EXPECT_EQ(decode_command(encode(command))->user, "");
    command.user = "eve";
    EXPECT_EQ(decode_command(encode(command))->user, "eve");
}

TEST(HistoryTest, ACommitIsAttributedToTheInnermostCallerOrToTheFinder) {
    Shell shell;
    auto& database = *shell.database;
    shell.store.history.clear();
    const auto flag = [&](const char* name) { database.commit({PutFlag{FlagName(name)}}); };
    flag("by-daemon");
    {
        const auto outer = database.attribute({"root", NodeName("nodeB"), "outer"});
        {
            const auto inner = database.attribute({"eve", NodeName("nodeA"), "inner"});
            flag("inner");
        }
        flag("outer");
    }
    database.attribute_by([](const std::vector<Edit>&) { return Origin{"root", {}, "found"}; });
    flag("found");
    std::vector<std::string> who;
    for (const auto& entry : shell.store.history)
        who.push_back(
            fmt::format("{}@{} {}", entry.origin.user, entry.origin.node.str(), entry.origin.command));
    EXPECT_THAT(who, ElementsAre("@nodeA ", "eve@nodeA inner", "root@nodeB outer", "root@nodeA found"));
}

TEST(HistoryTest, AnEntryCarriesTheGenerationThatItMade) {
    Shell shell;
    shell.database->commit({PutFlag{FlagName("f")}});
    EXPECT_EQ(shell.store.history.back().generation, shell.database->own().generation);
    EXPECT_EQ(shell.store.history.back().node, NodeName("nodeA"));
    const auto entries = shell.store.history.size();
    shell.database->commit({PutFlag{FlagName("f")}});
    EXPECT_EQ(shell.store.history.size(), entries) << "nothing changed";
}

TEST(HistoryTest, AHugeCommitKeepsItsFirstItemsAndCountsTheRest) {
    Shell shell;
    std::vector<Edit> edits;
    for (std::size_t i = 0; i < kMaxHistoryItems + 5; ++i)
        edits.emplace_back(PutFlag{FlagName(fmt::format("f{}", i))});
    shell.database->commit(std::move(edits));
    EXPECT_EQ(shell.store.history.back().items.size(), kMaxHistoryItems);
    EXPECT_EQ(shell.store.history.back().omitted, 5U);
}

// Spec: CLU-095
TEST(DigestTest, ItFollowsEveryEditAndTellsConfigsApart) {
    NodeConfig config;
    config.reindex();
    const std::vector<Edit> edits{PutApp{AppName("gen")},
                                  PutType{{AppName("gen"), TypeName("app")}},
                                  PutInstance{instance("a")},
                                  PutInstance{instance("b")},
                                  PutDependency{{Tag("a"), Tag("b"), 1}},
                                  PutDependency{{Tag("a"), Tag("b"), 2}},
                                  PutEquivalency{equivalency("a", "nodeB", 1, 10)},
                                  PutEquivalency{equivalency("a", "nodeB", 10, 1)},
                                  PutSystem{NodeName("nodeB")},
                                  PutFlag{FlagName("f")},
                                  PutPath{Path{NodeName("nodeB"), "TCP:1500", "TLI"}},
                                  PutPath{Path{NodeName("nodeC"), "TCP:1500", "TLI"}},
                                  DropDependency{Tag("a"), Tag("b")},
                                  DropInstance{Tag("b")},
                                  DropEquivalency{Tag("a"), NodeName("nodeB"), Tag("a")},
                                  DropFlag{FlagName("f")},
                                  DropPath{"TCP:1500"},
                                  DropSystem{NodeName("nodeB")},
                                  DropType{{AppName("gen"), TypeName("app")}}};
    for (std::size_t i = 0; i < edits.size(); ++i) {
        const auto before = config.index.digest;
        apply(config, edits[i]);
        EXPECT_EQ(config.index.digest, digest_of(config)) << "after edit " << i;
        EXPECT_NE(config.index.digest, before) << "edit " << i << " changed nothing";
    }
    apply(config, DropInstance{Tag("a")});
    apply(config, DropApp{AppName("gen")});
    EXPECT_EQ(config.index.digest, 0U) << "an empty config has no digest";
    const auto before = config.index.digest;
    apply(config, DropFlag{FlagName("absent")});
    EXPECT_EQ(config.index.digest, before);
}

}  // namespace
}  // namespace understudy::config
