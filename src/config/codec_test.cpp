#include "config/codec.h"

#include "config/command.h"
#include "config/test_support.h"

#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using testing::equivalency;

const std::string kOddText("a\x01\xff\0\n\xc3\xa4", 7);

Instance full_instance() {
    Instance made;
    made.app = AppName("filesys");
    made.type = TypeName("volume");
    made.tag = Tag("Vol.E");
    made.id = ResourceId("E:");
    made.info = kOddText;
    made.state = State::illstate;
    made.reason = "why";
    made.init = Init::init_osu;
    made.reservation = Reservation::recover;
    made.reserving_pid = 4711;
    made.quick_interval_s = 0;
    made.deep_interval_s = 604800;
    made.local_recovery = false;
    made.switchback = Switchback::automatic;
    made.created_at = 1'700'000'000;
    made.order = 77;
    return made;
}

std::vector<Edit> one_of_each() {
    return {PutApp{AppName("gen")},
            DropApp{AppName("gen")},
            PutType{{AppName("gen"), TypeName("app")}},
            DropType{{AppName("gen"), TypeName("app")}},
            PutInstance{full_instance()},
            DropInstance{Tag("t")},
            PutDependency{{Tag("p"), Tag("c"), 3}},
            DropDependency{Tag("p"), Tag("c")},
            PutEquivalency{equivalency("t", "B", 1, 1024)},
            DropEquivalency{Tag("t"), NodeName("B"), Tag("u")},
            PutSystem{NodeName("B")},
            DropSystem{NodeName("B")},
            PutFlag{FlagName("!nofailover!B")},
            DropFlag{FlagName(kOddText)},
            PutPath{Path{NodeName("B"), "TCP:1500", "TLI", 99, 100, 3, "10.0.0.2", "10.0.0.1"}},
            DropPath{"TCP:1500"}};
}

NodeConfig full_config() {
    NodeConfig config;
    config.generation = 1ULL << 40;
    for (const auto& edit : one_of_each())
        if (edit.index() % 2 == 0) config::apply(config, edit);
    return config;
}

TEST(Codec, EveryEditSurvivesTheRoundTrip) {
    for (const auto& edit : one_of_each()) {
        const auto bytes = encode(edit);
        const auto back = decode_edit(bytes);
        ASSERT_TRUE(back) << edit.index();
        EXPECT_EQ(back->index(), edit.index());
        EXPECT_EQ(encode(*back), bytes) << edit.index();
    }
    const auto back = decode_edit(encode(Edit(PutInstance{full_instance()})));
    EXPECT_EQ(std::get<PutInstance>(*back).instance, full_instance());
}

TEST(Codec, AChangeSurvivesTheRoundTrip) {
    const Change change{NodeName("nodeA"), ~0ULL, one_of_each()};
    const auto back = decode_change(encode(change));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->owner, change.owner);
    EXPECT_EQ(back->generation, change.generation);
    EXPECT_EQ(back->edits.size(), change.edits.size());
    EXPECT_EQ(encode(*back), encode(change));
}

TEST(Codec, AConfigSurvivesTheRoundTripAndIsIndexed) {
    const auto config = full_config();
    const auto back = decode_config(encode(config));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, config);
    EXPECT_EQ(back->index.instances, 1U);
    EXPECT_EQ(*decode_config(encode(NodeConfig{})), NodeConfig{});
}

TEST(Codec, AJournalEntrySurvivesTheRoundTrip) {
    JournalEntry entry{9, -1, NodeName("B"), 120, "node", "A", kOddText};
    entry.incident = "20261128-124501-A";
    entry.fact = "begin";
    entry.details = {{"clock.B", "1 2"}, {"why", kOddText}};
    const auto back = decode_journal(encode(entry));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, entry);
}

TEST(Codec, CommandAndReplySurviveTheRoundTrip) {
    Command command{"ins_setin", {{"t", "Vol.E"}, {"v", kOddText}, {"R", ""}}, {"-x", "7", ""}, 1000, 42};
    const auto back = decode_command(encode(command));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->name, command.name);
    EXPECT_EQ(back->options, command.options);
    EXPECT_EQ(back->arguments, command.arguments);
    EXPECT_EQ(back->uid, 1000U);
    EXPECT_EQ(back->pid, 42);

    const Reply reply{7, kOddText, "no", 424};
    const auto reply_back = decode_reply(encode(reply));
    ASSERT_TRUE(reply_back);
    EXPECT_EQ(reply_back->exit_code, 7);
    EXPECT_EQ(reply_back->out, kOddText);
    EXPECT_EQ(reply_back->err, "no");
    EXPECT_EQ(reply_back->message_number, 424);
}

TEST(Codec, WhatIsMalformedIsAnInternalError) {
    const auto config = encode(full_config());
    for (std::size_t length = 1; length < config.size(); ++length) {
        const auto cut = decode_config(config.substr(0, length));
        EXPECT_TRUE(cut || cut.error().code == Code::internal) << length;
    }
    EXPECT_EQ(decode_change("\xff\xff").error().code, Code::internal);
    EXPECT_EQ(decode_change("").error().code, Code::internal);  // no owner
    EXPECT_EQ(decode_edit("").error().code, Code::internal);
    EXPECT_EQ(decode_command("").error().code, Code::internal);
    EXPECT_EQ(decode_command(encode(Reply{})).error().code, Code::internal);
    EXPECT_EQ(decode_reply(encode(Command{})).error().code, Code::internal);
}

TEST(Codec, ValuesThatNoCommandStoresAreRefused) {
    auto instance = full_instance();
    instance.state = static_cast<State>(9);
    EXPECT_FALSE(decode_edit(encode(Edit(PutInstance{instance}))));
    instance = full_instance();
    instance.quick_interval_s = -1;
    EXPECT_FALSE(decode_edit(encode(Edit(PutInstance{instance}))));
    EXPECT_FALSE(decode_edit(encode(Edit(PutEquivalency{equivalency("t", "B", 0, 10)}))));
    EXPECT_FALSE(decode_edit(encode(Edit(PutEquivalency{equivalency("t", "B", 1, 1025)}))));
    EXPECT_FALSE(decode_edit(encode(Edit(PutDependency{{Tag("a"), Tag("a")}}))));
    Path path{NodeName("B"), "TCP:1500", "TLI"};
    path.interval_ms = 0;
    EXPECT_FALSE(decode_edit(encode(Edit(PutPath{path}))));
}

TEST(Codec, AFailureNeverHasTheCodeOfSuccess) {
    EXPECT_EQ(failure(Error{Code::ok, "x"}).exit_code, 3);
    const auto reply = failure(Error{Code::not_found, "there is none", 12});
    EXPECT_EQ(reply.exit_code, 7);
    EXPECT_EQ(reply.err, "there is none");
    EXPECT_EQ(reply.message_number, 12);
    EXPECT_EQ(reply.out, "");
    EXPECT_EQ(success("x").exit_code, 0);
}

}  // namespace
}  // namespace understudy::config
