// Global pre and post scripts around the engine's operations, on a simulated cluster.

#include "recovery/global_scripts.h"

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr auto kApp = "/subsys/gen/actions/";
constexpr auto kCore = "/admin/core/actions/";

/// Application "gen" has all six scripts on every node.
struct ScriptedWeb : Web {
    void boot_with_scripts() {
        for (const auto* name : {"A", "B"})
            for (const auto* action : {"restore", "remove", "delete"})
                for (const auto* when : {"pre", "post"})
                    host(name).node->install_executable(fmt::format("{}{}{}{}", kRoot, kApp, when, action));
        boot_all();
        take_trace();
    }
    bool has_flag(const std::string& on, const FlagName& flag) {
        return host(on).daemon->database->has_flag(flag);
    }
};

struct Row {
    const char* command;
    const char* trace;
};

// Spec: CMD-122, CMD-116, CMD-118, CMD-123, CLU-140
TEST(GlobalScripts, RunAroundARestoreAndItsRemovesElsewhereAsInTheWorkedExample) {
    const std::vector<Row> rows{
        {"-a restore -t Vol.E",
         "B: prerestore, A: preremove, A: remove web.0, A: remove db.0, A: remove Vol.E, B: restore Vol.E, "
         "A: remove ip.0, B: restore ip.0, B: restore web.0, B: restore db.0, B: postrestore, A: postremove"},
        {"-b -a restore -t web.0",
         "B: prerestore, A: preremove, A: remove web.0, A: remove ip.0, B: restore ip.0, A: remove db.0, "
         "A: remove Vol.E, B: restore Vol.E, B: restore web.0, B: postrestore, A: postremove"},
        {"-s -a restore -t Vol.E",
         "B: prerestore, A: preremove, A: remove web.0, A: remove db.0, A: remove Vol.E, B: restore Vol.E, "
         "B: postrestore, A: postremove"},
        {"-G -b -a restore -t db.0",
         "A: remove web.0, A: remove db.0, A: remove Vol.E, B: restore Vol.E, B: restore db.0"},
    };
    for (const auto& row : rows) {
        ScriptedWeb c;
        c.boot_with_scripts();
        EXPECT_EQ(c.perform("B", row.command).exit_code, 0);
        EXPECT_EQ(c.take_trace(), row.trace) << row.command;
        EXPECT_FALSE(c.has_flag("B", global_flag("restore")));
        EXPECT_FALSE(c.has_flag("B", global_flag("remove", NodeName("A"))));
        EXPECT_FALSE(c.has_flag("A", global_flag("remove")));
    }
}

// Spec: CMD-122, CMD-120, CMD-121
TEST(GlobalScripts, RunAroundARemove) {
    ScriptedWeb c;
    c.boot_with_scripts();
    EXPECT_EQ(c.perform("A", "-a remove -t web.0").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "A: preremove, A: remove web.0, A: postremove");
    EXPECT_EQ(c.perform("A", "-a remove -t web.0").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "") << "nothing to do";
}

// Spec: CMD-034, CMD-101, CLU-140, CLU-220
TEST(GlobalScripts, TheCoreComesFirstAndTheFlagStandsWhileTheyRun) {
    ScriptedWeb c;
    c.host("A").node->install_executable(std::string(kRoot) + kCore + "prerestore");
    c.boot_with_scripts();
    EXPECT_FALSE(c.has_flag("A", global_flag("restore")));
    EXPECT_EQ(c.lcdrecover("A", "g", "restore").exit_code, 0);
    EXPECT_TRUE(c.has_flag("A", global_flag("restore")));
    const auto& started = c.host("A").started;
    ASSERT_GE(started.size(), 2U);
    EXPECT_THAT(started[started.size() - 2].path, HasSubstr(kCore));
    EXPECT_THAT(started.back().path, HasSubstr(kApp));
    EXPECT_EQ(c.lcdrecover("A", "G", "restore").exit_code, 0);
    EXPECT_FALSE(c.has_flag("A", global_flag("restore")));
    EXPECT_EQ(c.take_trace(), "A: prerestore, A: prerestore, A: postrestore");
}

// Spec: CMD-035
TEST(GlobalScripts, PostScriptsWithoutPreScriptsAreNothingToDo) {
    ScriptedWeb c;
    c.boot_with_scripts();
    EXPECT_EQ(c.lcdrecover("A", "G", "restore").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "");
}

// Spec: CMD-036, CMD-101
TEST(GlobalScripts, AFlagThatNamesAPeerSendsItsPostScriptsThere) {
    ScriptedWeb c;
    c.boot_with_scripts();
    c.host("B").daemon->database->set_flag(global_flag("remove"), true);
    c.host("A").daemon->database->set_flag(global_flag("remove", NodeName("B")), true);
    EXPECT_EQ(c.lcdrecover("A", "G", "remove").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "A: postremove, B: postremove");
    EXPECT_FALSE(c.has_flag("A", global_flag("remove", NodeName("B"))));
    EXPECT_FALSE(c.has_flag("B", global_flag("remove")));
}

// Each names the other, after interruptions on both. A seed found them asking in turn for ever.
// Spec: CMD-036, CMD-101
TEST(GlobalScripts, NodesThatOweEachOtherAskOnce) {
    ScriptedWeb c;
    c.boot_with_scripts();
    for (const auto& [node, other] : {std::pair{"A", "B"}, std::pair{"B", "A"}}) {
        c.host(node).daemon->database->set_flag(global_flag("remove"), true);
        c.host(node).daemon->database->set_flag(global_flag("remove", NodeName(other)), true);
    }
    EXPECT_EQ(c.lcdrecover("A", "G", "remove").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "A: postremove, B: postremove");
    EXPECT_FALSE(c.has_flag("A", global_flag("remove", NodeName("B"))));
    EXPECT_EQ(c.lcdrecover("B", "G", "remove").exit_code, 0);
    EXPECT_FALSE(c.has_flag("B", global_flag("remove", NodeName("A"))));
}

// Spec: CMD-036
TEST(GlobalScripts, WhatAnUnreachablePeerOwesStaysFlagged) {
    ScriptedWeb c;
    c.boot_with_scripts();
    c.host("A").daemon->database->set_flag(global_flag("delete", NodeName("B")), true);
    c.power_off("B");
    EXPECT_EQ(c.lcdrecover("A", "G", "delete").exit_code, 9);
    EXPECT_TRUE(c.has_flag("A", global_flag("delete", NodeName("B"))));
}

// Spec: CMD-034
TEST(GlobalScripts, AFailingOneIsReportedAfterAllHaveRunAndKeepsNoOperationFromGoingOn) {
    ScriptedWeb c;
    c.host("A").node->install_executable(std::string(kRoot) + kCore + "preremove");
    c.boot_with_scripts();
    c.host("A").failing = {"preremove"};
    const auto reply = c.lcdrecover("A", "g", "remove");
    EXPECT_EQ(reply.exit_code, 1);
    EXPECT_THAT(reply.err, HasSubstr("admin/core/actions/preremove failed with exit code 1"));
    EXPECT_EQ(c.lcdrecover("A", "G", "remove").exit_code, 0);
    EXPECT_EQ(c.take_trace(), "A: preremove, A: preremove, A: postremove");
    EXPECT_EQ(c.perform("A", "-a remove -t web.0").exit_code, 0);
    EXPECT_EQ(c.state("A", "web.0"), "OSU");
}

// Spec: CMD-034
TEST(GlobalScripts, TheSynopsisIsAdheredTo) {
    ScriptedWeb c;
    c.boot_with_scripts();
    EXPECT_EQ(c.lcdrecover("A", "g", "remote").exit_code, 2);
    EXPECT_EQ(c.lcdrecover("A", "x", "").exit_code, 2);
    EXPECT_EQ(c.take_trace(), "");
}

// Spec: CMD-037, CMD-013, CLU-139, CLU-215
TEST(GlobalScripts, PostrestoreTakesTheAdminLockUnlessItsCallerHasIt) {
    ScriptedWeb c;
    c.boot_with_scripts();
    int taken = 0;
    int released = 0;
    auto& tasks = c.host("A").daemon->tasks;
    c.host("A").daemon->engine->set_admin_lock(
        [&](std::function<void(Result<GlobalScripts::Release>)> granted) {
            ++taken;
            tasks.post(
                [&released, granted] { granted(GlobalScripts::Release([&released] { ++released; })); });
        });
    EXPECT_EQ(c.perform("A", "-a remove -t web.0").exit_code, 0);
    EXPECT_EQ(taken, 0) << "only restore's post-scripts want it";
    EXPECT_EQ(c.perform("A", "-a restore -t web.0").exit_code, 0);
    EXPECT_EQ(taken, 1);
    EXPECT_EQ(released, 1);
    EXPECT_EQ(c.perform("A", "-a remove -t web.0").exit_code, 0);
    EXPECT_EQ(c.perform("A", "-a restore -t web.0 -- -m").exit_code, 0);
    EXPECT_EQ(taken, 1);
}

// Spec: CMD-052
TEST(GlobalScripts, RunOnceAroundAStop) {
    ScriptedWeb c;
    c.boot_with_scripts();
    c.stop("A", false);
    const auto trace = c.take_trace();
    EXPECT_THAT(trace, ::testing::StartsWith("A: preremove, A: remove"));
    EXPECT_THAT(trace, ::testing::EndsWith("A: postremove"));
}

TEST(GlobalScripts, RunAroundATakeover) {
    ScriptedWeb c;
    c.boot_with_scripts();
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP ISP"; }));
    c.run(1s);
    const auto trace = c.take_trace();
    EXPECT_THAT(trace, ::testing::StartsWith("B: prerestore, B: restore"));
    EXPECT_THAT(trace, ::testing::EndsWith("B: postrestore"));
    EXPECT_FALSE(c.has_flag("B", global_flag("restore")));
}

}  // namespace
}  // namespace understudy::recovery::testing
