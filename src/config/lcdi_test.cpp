// Applications, types and instances: output, order and exit codes to the letter.

#include "config/lcdi.h"

#include "base/text.h"
#include "config/test_support.h"

#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using testing::equivalency;
using testing::instance;
using testing::Shell;

/// A failing command prints nothing on standard output, says why on standard error, and changes nothing.
void expect_failure(Shell& shell, const std::vector<std::string>& words, int code) {
    const auto before = shell.database->own();
    const auto reply = shell.run(words);
    std::string line;
    for (const auto& word : words)
        line += word + " ";
    EXPECT_EQ(reply.exit_code, code) << line << ": " << reply.err;
    EXPECT_EQ(reply.out, "") << line;
    EXPECT_NE(reply.err, "") << line;
    EXPECT_EQ(shell.database->own(), before) << line;
}

void expect_silent_success(Shell& shell, const std::string& line) {
    const auto reply = shell(line);
    EXPECT_EQ(reply.exit_code, 0) << line << ": " << reply.err;
    EXPECT_EQ(reply.out, "") << line;
    EXPECT_EQ(reply.err, "") << line;
}

class Lcdi : public ::testing::Test {
  protected:
    Shell shell;
    void SetUp() override {
        expect_silent_success(shell, "app_create -a gen");
        expect_silent_success(shell, "typ_create -a gen -r app");
    }
};

TEST_F(Lcdi, OnlyItsOwnCommandsAreAnswered) {
    for (const auto* name : {"lcdsync", "perform_action", "eqv_create", "ins_remove", "nonsense", ""}) {
        Command command;
        command.name = name;
        EXPECT_FALSE(run_lcdi(*shell.database, shell.live, command)) << name;
    }
}

// Spec: CMD-056, CMD-057, CMD-055
TEST_F(Lcdi, ApplicationsAreListedOnePerLine) {
    for (const auto* app : {"filesys", "comm", "database"})
        expect_silent_success(shell, std::string("app_create -a ") + app);
    EXPECT_EQ(shell("app_list").out, "comm\ndatabase\nfilesys\ngen\n");
    EXPECT_EQ(shell("app_list").exit_code, 0);
}

// Spec: CMD-056, CMD-088, CMD-030
TEST_F(Lcdi, WrongApplicationsAndTypesAreRefused) {
    expect_failure(shell, {"app_create", "-a", "gen"}, 4);
    for (const auto* bad : {"", "a b", "a/b", "..", ".", "\xc3\xa4", "a:b"})
        expect_failure(shell, {"app_create", "-a", bad}, 5);
    expect_failure(shell, {"app_create"}, 2);
    expect_failure(shell, {"typ_create", "-a", "gen", "-r", "app"}, 4);
    expect_failure(shell, {"typ_create", "-a", "none", "-r", "app"}, 7);
    expect_failure(shell, {"typ_create", "-a", "gen", "-r", "a b"}, 5);
    expect_failure(shell, {"typ_create", "-a", "gen"}, 2);
    expect_failure(shell, {"typ_list", "-a", "none"}, 7);
    expect_failure(shell, {"typ_remove", "-a", "gen", "-r", "none"}, 7);
    expect_failure(shell, {"app_remove", "-a", "none"}, 7);
}

TEST_F(Lcdi, CreationMakesTheDirectoriesOfItsScripts) {
    std::vector<std::string> made;
    shell.live.make_directories = [&](const std::string& directory) -> Result<> {
        made.push_back(directory);
        return {};
    };
    expect_silent_success(shell, "app_create -a mail");
    expect_silent_success(shell, "typ_create -a mail -r smtp");
    EXPECT_EQ(made, (std::vector<std::string>{"subsys/mail/actions", "subsys/mail/resources",
                                              "subsys/mail/resources/smtp/actions",
                                              "subsys/mail/resources/smtp/instances"}));
    shell.live.make_directories = [](const std::string&) -> Result<> {
        return fail(Code::failure, "read-only");
    };
    expect_failure(shell, {"app_create", "-a", "web"}, 1);
}

// Acceptance scenario 1. Spec: CMD-008, CMD-089
TEST_F(Lcdi, FieldsAreSeparatedByTheByte1OrTheCharacterOfF) {
    expect_silent_success(shell, "app_create -a comm");
    expect_silent_success(shell, "typ_create -a comm -r ip");
    EXPECT_EQ(shell("typ_list").out,
              "comm\x01ip\ngen\x01"
              "app\n");
    EXPECT_EQ(shell("typ_list -f:").out, "comm:ip\ngen:app\n");
    EXPECT_EQ(shell("typ_list -f: -a gen").out, "gen:app\n");
    for (const auto* command : {"typ_list", "ins_list", "dep_list", "eqv_list", "net_list"}) {
        expect_failure(shell, {command, "-f"}, 2);
        expect_failure(shell, {command, "-f", "::"}, 2);
        EXPECT_EQ(shell.run({command, "-f:"}).exit_code, 0);
    }
}

// Acceptance scenario 2. Spec: CMD-059, CMD-062, CMD-063
TEST_F(Lcdi, AnInstanceIsListedWithFifteenFields) {
    auto reply = shell.run({"ins_create", "-a", "gen", "-r", "app", "-t", "t1", "-i", "id1", "-I", "INIT_OSU",
                            "-v", "x y", "-Q", "120", "-D", "0", "-l", "N"});
    EXPECT_EQ(reply.exit_code, 0);
    EXPECT_EQ(reply.out + reply.err, "");
    EXPECT_EQ(shell.run({"ins_list", "-f|", "-t", "t1"}).out,
              "nodeA|gen|app|t1|id1|x y|OSU||INIT_OSU||0|0|120|0|0\n");

    const std::vector<std::string> again{"ins_create", "-a", "gen", "-r", "app", "-t", "t1", "-i", "id1"};
    expect_failure(shell, again, 4);
    auto with = [&](std::initializer_list<std::string> more) {
        auto words = again;
        words.insert(words.end(), more);
        return words;
    };
    expect_failure(shell, {"ins_create", "-a", "gen", "-r", "nosuch", "-t", "t1", "-i", "id1"}, 7);
    expect_failure(shell, {"ins_create", "-a", "nosuch", "-r", "app", "-t", "t1", "-i", "id1"}, 7);
    expect_failure(shell, with({"-Q", "604801"}), 6);
    expect_failure(shell, with({"-Q", "-1"}), 6);
    expect_failure(shell, with({"-D", "99999999999999999999"}), 6);
    expect_failure(shell, with({"-Q", "abc"}), 5);
    expect_failure(shell, with({"-Q", ""}), 5);
    expect_failure(shell, with({"-D", "1.5"}), 5);
    expect_failure(shell, with({"-I", "ISP"}), 5);
    expect_failure(shell, with({"-l", "y"}), 5);
    expect_failure(shell, with({"-s", "automatic"}), 5);
    expect_failure(shell, with({"-v", "a\nb"}), 5);
    expect_failure(shell,
                   with({"-v",
                         "a\x01"
                         "b"}),
                   5);
    expect_failure(shell, {"ins_create", "-a", "gen", "-r", "app", "-i", "id1"}, 2);
    expect_failure(shell, {"ins_create", "-a", "gen", "-r", "app", "-t", "new", "-i", "id1"},
                   4);  // id is taken
    expect_failure(shell, {"ins_create", "-a", "gen", "-r", "app", "-t", "a b", "-i", "x"}, 5);
    expect_failure(shell, {"ins_create", "-a", "gen", "-r", "app", "-t", "t2", "-i", ""}, 5);
    expect_failure(shell, {"ins_create", "-a", "gen", "-r", "app", "-t", "t2", "-i", "a\x01"}, 5);
}

// Spec: CMD-062, CLU-104
TEST_F(Lcdi, DefaultsFollowTheScriptsThatTheTypeHas) {
    expect_silent_success(shell, "ins_create -a gen -r app -t bare -i 1");
    EXPECT_EQ(shell("ins_list -f| -t bare").out, "nodeA|gen|app|bare|1||OSU||AUTORES_ISP||0|0|0|0|0\n");
    shell.live.has_action = [](const AppName&, const TypeName&, const std::string&) { return true; };
    expect_silent_success(shell, "ins_create -a gen -r app -t full -i 2");
    EXPECT_EQ(shell("ins_list -f| -t full").out, "nodeA|gen|app|full|2||OSU||AUTORES_ISP||0|0|180|300|1\n");
}

// Spec: CLU-086
TEST_F(Lcdi, ATypeWithoutRestoreAndRemoveIsWarnedOf) {
    shell.live.has_action = [](const AppName&, const TypeName&, const std::string& action) {
        return action == "restore";
    };
    const auto reply = shell("ins_create -a gen -r app -t t1 -i 1");
    EXPECT_EQ(reply.exit_code, 0);
    EXPECT_EQ(reply.out, "");
    EXPECT_NE(reply.err.find("no remove action"), std::string::npos);
    EXPECT_EQ(reply.err.find("no restore action"), std::string::npos);
}

// Spec: CMD-060
TEST_F(Lcdi, TheExtendedListAddsSwitchbackAndTimeOfCreation) {
    expect_silent_success(shell, "ins_create -a gen -r app -t t1 -i 1 -s AUTOMATIC -l Y");
    EXPECT_EQ(shell("ins_list -f| --extended").out,
              "nodeA|gen|app|t1|1||OSU||AUTORES_ISP||0|0|0|0|1|AUTOMATIC|1700000000\n");
}

TEST_F(Lcdi, TheDefaultSeparatorKeepsEmptyFields) {
    expect_silent_success(shell, "ins_create -a gen -r app -t t1 -i 1");
    const auto out = shell("ins_list").out;
    EXPECT_EQ(std::count(out.begin(), out.end(), '\x01'), 14);
    EXPECT_TRUE(out.ends_with("0\n"));
}

// Spec: CMD-059
TEST_F(Lcdi, StateReasonAndReservationAreShown) {
    expect_silent_success(shell, "ins_create -a gen -r app -t t1 -i E: -Q 180 -D 300 -l Y");
    shell.database->set_state(Tag("t1"), State::isp, "restore action has succeeded");
    EXPECT_EQ(shell("ins_list -f| -t t1").out,
              "nodeA|gen|app|t1|E:||ISP|restore action has succeeded|AUTORES_ISP||0|0|180|300|1\n");
    shell.database->set_reservation(Tag("t1"), Reservation::restore, 4711);
    EXPECT_EQ(shell("ins_list -f| -t t1").out,
              "nodeA|gen|app|t1|E:||ISP|restore action has succeeded|AUTORES_ISP|RESTORE|4711|0|180|300|1\n");
    shell.database->set_state(Tag("t1"), State::illstate, "");
    EXPECT_NE(shell("ins_list -f| -t t1").out.find("|ILLSTATE||"), std::string::npos);
}

std::string tags_of(const Reply& reply) {
    std::string tags;
    for (const auto& line : text::split(reply.out, '\n'))
        if (!line.empty()) tags += text::split(line, '|')[3] + " ";
    return tags;
}

// Acceptance scenario 3. Spec: CMD-061
TEST_F(Lcdi, SelectorsNarrowTheListAndCombine) {
    shell.add_hierarchy();
    shell.database->commit({PutApp{AppName("comm")}, PutType{{AppName("comm"), TypeName("ip")}},
                            PutInstance{instance("alone", "comm", "ip")}});
    const auto list = [&](std::initializer_list<std::string> more) {
        std::vector<std::string> words{"ins_list", "-f|"};
        words.insert(words.end(), more);
        const auto reply = shell.run(words);
        EXPECT_EQ(reply.exit_code, 0);
        return tags_of(reply);
    };
    EXPECT_EQ(list({}), "Vol.E ip.0 web.0 db.0 alone ");
    EXPECT_EQ(list({"-R", ""}), "web.0 db.0 alone ");
    EXPECT_EQ(list({"-R", "web.0"}), "web.0 ip.0 Vol.E ");
    EXPECT_EQ(list({"-a", "comm"}), "alone ");
    EXPECT_EQ(list({"-r", "app"}), "Vol.E ip.0 web.0 db.0 ");
    EXPECT_EQ(list({"-a", "gen", "-r", "app", "-R", ""}), "web.0 db.0 ");
    EXPECT_EQ(list({"-t", "ip.0"}), "ip.0 ");
    EXPECT_EQ(list({"-i", "id-ip.0"}), "ip.0 ");
    EXPECT_EQ(list({"-i", "id-ip.0", "-t", "web.0"}), "");
    EXPECT_EQ(list({"-R", "web.0", "-t", "db.0"}), "");
    EXPECT_EQ(list({"-R", "web.0", "-t", "Vol.E"}), "Vol.E ");
    for (const std::vector<std::string>& wrong :
         std::vector<std::vector<std::string>>{{"ins_list", "-t", "none"},
                                               {"ins_list", "-t", ""},
                                               {"ins_list", "-i", "none"},
                                               {"ins_list", "-R", "none"},
                                               {"ins_list", "-a", "none"},
                                               {"ins_list", "-r", "none"},
                                               {"ins_list", "-a", "comm", "-r", "app"},
                                               {"ins_list", "-R", "web.0", "-t", "none"}})
        expect_failure(shell, wrong, 7);
}

// Spec: CMD-065
TEST_F(Lcdi, AnIdNamesItsTag) {
    expect_silent_success(shell, "ins_create -a gen -r app -t Vol.E -i E:");
    EXPECT_EQ(shell("ins_gettag -i E:").out, "Vol.E\n");
    expect_failure(shell, {"ins_gettag", "-i", "F:"}, 7);
    expect_failure(shell, {"ins_gettag"}, 2);
}

// Spec: CMD-070, CMD-071
TEST_F(Lcdi, SwitchbackIsSetForAWholeHierarchyFromItsRoot) {
    shell.add_hierarchy();
    expect_silent_success(shell, "ins_setas -t web.0 -s AUTOMATIC");
    const auto& own = shell.database->own();
    EXPECT_EQ(own.find(Tag("ip.0"))->switchback, Switchback::automatic);
    EXPECT_EQ(own.find(Tag("Vol.E"))->switchback, Switchback::automatic);
    EXPECT_EQ(own.find(Tag("db.0"))->switchback, Switchback::intelligent);
    expect_failure(shell, {"ins_setas", "-t", "ip.0", "-s", "AUTOMATIC"}, 5);
    expect_failure(shell, {"ins_setas", "-t", "web.0", "-s", "OFTEN"}, 5);
    expect_failure(shell, {"ins_setas", "-t", "none", "-s", "AUTOMATIC"}, 7);

    shell.database->commit(
        {PutInstance{instance("Vol.R", "filesys", "volume")}, PutDependency{{Tag("db.0"), Tag("Vol.R")}}});
    expect_failure(shell, {"ins_setas", "-t", "db.0", "-s", "AUTOMATIC"}, 5);
    expect_silent_success(shell, "ins_setas -t db.0 -s INTELLIGENT");
    shell.live.is_replicated = [](const Instance&) { return false; };  // on shared storage
    expect_silent_success(shell, "ins_setas -t db.0 -s AUTOMATIC");
}

// Spec: CMD-072
TEST_F(Lcdi, CheckIntervalsAreSetByLetterOrWord) {
    expect_silent_success(shell, "ins_create -a gen -r app -t t1 -i 1");
    expect_silent_success(shell, "ins_setchkint -t t1 -c q -v 120");
    expect_silent_success(shell, "ins_setchkint -t t1 -c deep -v 604800");
    EXPECT_EQ(shell("ins_list -f| -t t1").out, "nodeA|gen|app|t1|1||OSU||AUTORES_ISP||0|0|120|604800|0\n");
    expect_silent_success(shell, "ins_setchkint -t t1 -c quick -v 0");
    expect_silent_success(shell, "ins_setchkint -t t1 -c d -v 0");
    EXPECT_EQ(shell("ins_list -f| -t t1").out, "nodeA|gen|app|t1|1||OSU||AUTORES_ISP||0|0|0|0|0\n");
    expect_failure(shell, {"ins_setchkint", "-t", "t1", "-c", "x", "-v", "1"}, 5);
    expect_failure(shell, {"ins_setchkint", "-t", "t1", "-c", "q", "-v", "x"}, 5);
    expect_failure(shell, {"ins_setchkint", "-t", "t1", "-c", "q", "-v", "604801"}, 6);
    expect_failure(shell, {"ins_setchkint", "-t", "none", "-c", "q", "-v", "1"}, 7);
}

// Spec: CMD-074, CMD-075, CMD-076
TEST_F(Lcdi, InfoInitialisationAndLocalRecoveryAreSet) {
    expect_silent_success(shell, "ins_create -a gen -r app -t t1 -i 1");
    expect_silent_success(shell, "ins_setin -t t1 -v shareA,shareB");
    expect_silent_success(shell, "ins_setit -t t1 -I INIT_ISP");
    expect_silent_success(shell, "ins_setlocalrecover -t t1 -l Y");
    EXPECT_EQ(shell("ins_list -f| -t t1").out, "nodeA|gen|app|t1|1|shareA,shareB|OSU||INIT_ISP||0|0|0|0|1\n");
    expect_silent_success(shell, "ins_setin -t t1");
    expect_silent_success(shell, "ins_setlocalrecovery -t t1 -l N");
    EXPECT_EQ(shell("ins_list -f| -t t1").out, "nodeA|gen|app|t1|1||OSU||INIT_ISP||0|0|0|0|0\n");
    expect_failure(shell,
                   {"ins_setin", "-t", "t1", "-v",
                    "a\x01"
                    "b"},
                   5);
    expect_failure(shell, {"ins_setin", "-t", "none", "-v", "a"}, 7);
    expect_failure(shell, {"ins_setit", "-t", "t1", "-I", "x"}, 5);
    expect_failure(shell, {"ins_setit", "-t", "none", "-I", "INIT_OSU"}, 7);
    expect_failure(shell, {"ins_setlocalrecover", "-t", "t1", "-l", "yes"}, 5);
    expect_failure(shell, {"ins_setlocalrecover", "-t", "none", "-l", "N"}, 7);
    expect_failure(shell, {"ins_setin"}, 2);
}

// Spec: CMD-077, CLU-121
TEST_F(Lcdi, AStateIsSetWithItsReasonAndUpTheHierarchy) {
    shell.add_hierarchy();
    const auto& own = shell.database->own();
    expect_silent_success(shell, "ins_setst -t ip.0 -S ISU -R byhand");
    EXPECT_EQ(own.find(Tag("ip.0"))->state, State::isu);
    EXPECT_EQ(own.find(Tag("ip.0"))->reason, "byhand");
    EXPECT_EQ(own.find(Tag("web.0"))->state, State::osu);
    expect_silent_success(shell, "ins_setst -t ip.0 -S ISP");
    EXPECT_EQ(own.find(Tag("ip.0"))->reason, "");
    expect_silent_success(shell, "ins_setst -t Vol.E -S ISP -A");
    for (const auto* tag : {"Vol.E", "web.0", "db.0"})
        EXPECT_EQ(own.find(Tag(tag))->state, State::isp) << tag;
    for (const auto* state : {"OSF", "ILLSTATE", "UNKNOWN", "isp", ""})
        expect_failure(shell, {"ins_setst", "-t", "ip.0", "-S", state}, 5);
    expect_failure(shell, {"ins_setst", "-t", "none", "-S", "OSU"}, 7);
    expect_failure(shell, {"ins_setst", "-t", "ip.0", "-S", "OSU", "-R", "a\nb"}, 5);
    expect_failure(shell, {"ins_setst", "-t", "ip.0"}, 2);
}

// Spec: CMD-023, CMD-077, CLU-107
TEST_F(Lcdi, WhatIsInServiceElsewhereIsNotSetInServiceHere) {
    shell.add_hierarchy();
    shell.database->commit(
        {PutSystem{NodeName("nodeB")}, PutEquivalency{equivalency("web.0", "nodeB", 1, 10)}});
    NodeConfig peer;
    auto there = instance("web.0");
    there.state = State::isp;
    config::apply(peer, PutInstance{there});
    shell.database->replace_replica(NodeName("nodeB"), peer);
    expect_failure(shell, {"ins_setst", "-t", "web.0", "-S", "ISP"}, 5);
    expect_failure(shell, {"ins_setst", "-t", "web.0", "-S", "ISU"}, 5);
    expect_failure(shell, {"ins_setst", "-t", "ip.0", "-S", "ISP", "-A"}, 5);
    expect_silent_success(shell, "ins_setst -t ip.0 -S ISP");
    expect_silent_success(shell, "ins_setst -t web.0 -S OSU");
    shell.live.in_service_elsewhere = [](const Tag&, const NodeName&) { return false; };
    expect_silent_success(shell, "ins_setst -t web.0 -S ISP");
}

// Spec: CMD-058, CMD-090
TEST_F(Lcdi, RemovingAnApplicationOrTypeTakesItsInstancesAlong) {
    shell.add_hierarchy();
    shell.database->commit({PutApp{AppName("comm")}, PutType{{AppName("comm"), TypeName("ip")}},
                            PutInstance{instance("addr", "comm", "ip")},
                            PutDependency{{Tag("web.0"), Tag("addr")}}, PutSystem{NodeName("nodeB")},
                            PutEquivalency{equivalency("addr", "nodeB", 1, 10)}});
    expect_failure(shell, {"app_remove", "-a", "comm"}, 8);
    expect_failure(shell, {"typ_remove", "-a", "comm", "-r", "ip"}, 8);
    expect_silent_success(shell, "dep_remove -p web.0 -c addr");
    expect_silent_success(shell, "typ_remove -a comm -r ip");
    EXPECT_EQ(shell.database->own().find(Tag("addr")), nullptr);
    EXPECT_TRUE(shell.database->own().equivalencies.empty());
    EXPECT_EQ(shell("app_list").out, "comm\ngen\n");
    expect_silent_success(shell, "app_remove -a gen");
    EXPECT_TRUE(shell.database->own().instances.empty());
    EXPECT_TRUE(shell.database->own().dependencies.empty());
    EXPECT_EQ(shell("typ_list").out, "");
    EXPECT_EQ(shell("app_list").out, "comm\n");
}

Result<std::vector<Tag>> removal(const Shell& shell, std::map<std::string, std::string> options) {
    Command command;
    command.name = "ins_remove";
    command.options = std::move(options);
    return removal_set(shell.database->own(), command);
}

std::string joined(const Result<std::vector<Tag>>& tags) {
    if (!tags) return fmt::format("code {}", static_cast<int>(tags.error().code));
    std::string result;
    for (const auto& tag : *tags)
        result += tag.str() + " ";
    return result;
}

// Acceptance scenario 20. Spec: CMD-066, CMD-067, CMD-068
TEST_F(Lcdi, RemovalGoesUpToWhatDependsAndDownToWhatIsSharedOnly) {
    shell.add_hierarchy();
    EXPECT_EQ(joined(removal(shell, {{"t", "Vol.E"}})), "web.0 db.0 Vol.E ");
    EXPECT_EQ(joined(removal(shell, {{"R", "web.0"}})), "web.0 ip.0 ");
    EXPECT_EQ(joined(removal(shell, {{"R",
                                      "web.0\x01"
                                      "db.0"}})),
              "web.0 db.0 ip.0 Vol.E ");
    EXPECT_EQ(joined(removal(shell, {{"i", "id-ip.0"}})), "web.0 ip.0 ");
    EXPECT_EQ(joined(removal(shell, {{"a", "gen"}})), "web.0 db.0 ip.0 Vol.E ");
    EXPECT_EQ(joined(removal(shell, {{"t", "none"}})), "code 7");
    EXPECT_EQ(joined(removal(shell, {{"R", "web.0\x01none"}})), "code 7");
    EXPECT_EQ(joined(removal(shell, {{"a", "none"}})), "code 7");
    EXPECT_EQ(joined(removal(shell, {})), "code 2");
    EXPECT_EQ(joined(removal(shell, {{"t", "ip.0"}, {"I", ""}, {"N", ""}})), "code 2");
    shell.database->commit({PutApp{AppName("comm")}, PutType{{AppName("comm"), TypeName("ip")}},
                            PutInstance{instance("addr", "comm", "ip")},
                            PutDependency{{Tag("db.0"), Tag("addr")}}});
    EXPECT_EQ(joined(removal(shell, {{"a", "comm"}})), "code 8");
    EXPECT_EQ(joined(removal(shell, {{"t", "addr"}, {"a", "comm"}})), "code 8");

    const auto doomed = removal(shell, {{"t", "Vol.E"}});
    ASSERT_TRUE(doomed);
    for (const auto& tag : *doomed)
        shell.database->commit(removal_edits(shell.database->own(), tag));
    EXPECT_EQ(joined(Result<std::vector<Tag>>(shell.database->own().roots())), "ip.0 addr ");
    EXPECT_TRUE(shell.database->own().dependencies.empty());
}

// Spec: CLU-271
TEST_F(Lcdi, RemovingEveryInstanceThatIsListedLeavesNothingOfAnyHierarchy) {
    shell.add_hierarchy();
    shell.database->commit(
        {PutSystem{NodeName("nodeB")}, PutEquivalency{equivalency("Vol.E", "nodeB", 1, 10)}});
    for (const auto& line : text::split(shell("ins_list -f|").out, '\n')) {
        if (line.empty()) continue;
        const auto tag = text::split(line, '|').at(3);
        if (shell.database->own().find(Tag(tag)) == nullptr) continue;  // it went with what it needed
        const auto doomed = removal(shell, {{"t", tag}});
        ASSERT_TRUE(doomed) << tag;
        for (const auto& each : *doomed)
            shell.database->commit(removal_edits(shell.database->own(), each));
    }
    for (const auto* list : {"ins_list", "dep_list", "eqv_list"})
        EXPECT_EQ(shell(list).out, "") << list;
}

}  // namespace
}  // namespace understudy::config
