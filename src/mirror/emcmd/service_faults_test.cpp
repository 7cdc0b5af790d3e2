// What a mirror does by itself when a network or a host goes, and which resync follows what.

#include "messages/sink.h"
#include "mirror/emcmd/test_lab.h"

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;
using control::testing_pair::kBlocks;

struct Faults : Emcmd {
    /// Right's and left's, while third keeps its own.
    void cut() {
        pair.sim.partition("left", "right");
        pair.wire.cut_off.insert("right");
        left.daemon->host->lose_link("right");
        if (right.daemon) right.daemon->host->lose_link("left");
    }
    /// Blocks that the resync to right sent, of 16.
    std::uint64_t resynced() {
        sent();
        EXPECT_TRUE(in_sync(left, {&right}));
        return sent();
    }
};

// Spec: EMC-073, EMC-085, EMC-087, EMC-214, MOP-006, MOP-007, MOP-123, MOP-124
TEST_F(Faults, ALostTargetIsPausedTrackedAndResumedByItselfAndAPauseByCommandIsNot) {
    one_target();
    cut();
    ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.2") == "1 4"; }));
    EXPECT_EQ(emcmd(left, {".", "ISBREAKUSERREQUESTED", "R"}), "Target 0, remote system 10.0.0.2: FALSE\n");
    // The target has heard nothing: it shows what it knew last.
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}), "R: 2 10.0.0.1 right 1\n");
    for (const std::size_t block : {1UL, 2UL, 3UL})
        EXPECT_TRUE(pair.write(left, block, 5));
    EXPECT_NE(emcmd(left, {".", "GETRESYNCSTATUS", "R"}).find("DirtyBlocks     : 3\n"), std::string::npos);
    sent();
    pair.heal();
    ASSERT_TRUE(in_sync(left, {&right}));
    EXPECT_EQ(sent(), 3U);
    ok(left, {".", "PAUSEMIRROR", "R"});
    cut();
    pair.sim.run_for(5s);
    pair.heal();
    pair.sim.run_for(60s);
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
    EXPECT_EQ(emcmd(left, {".", "ISBREAKUSERREQUESTED", "R"}), "Target 0, remote system 10.0.0.2: TRUE\n");
}

// Spec: EMC-073, MOP-124, MOP-125
TEST_F(Faults, AnOutageOfHoursWithARebootOfTheSourceNeedsAPartialResyncOnly) {
    one_target();
    cut();
    EXPECT_TRUE(pair.write(left, 1, 11));
    pair.sim.run_for(6h);
    power_off(left);
    pair.sim.run_for(10min);
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}), "R: 2 10.0.0.1 right 1\n");
    start(left);
    const auto promoted = [&] { return pair.run(left, {"promote", "R"}, {{"force", ""}}).exit_code == 0; };
    ASSERT_TRUE(pair.until(promoted));
    EXPECT_TRUE(pair.write(left, 2, 22));
    pair.sim.run_for(6h);
    sent();
    pair.heal();
    ASSERT_TRUE(in_sync(left, {&right}));
    EXPECT_EQ(sent(), 2U);
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

// Spec: MOP-083
TEST_F(Faults, AFailoverWithoutItsSourceIsDoneWithin40Seconds) {
    one_target();
    pair.power_off(left);  // the cluster has not noticed
    const auto begun = pair.sim.now();
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    EXPECT_LE(pair.sim.now() - begun, 40s);
    EXPECT_EQ(pair.record(right).role, Role::source);
}

// Spec: EMC-246, MOP-081, MOP-088
TEST_F(Faults, ATargetThatDoesNotKeepUpCannotBecomeSource) {
    one_target();
    ok(left, {".", "BREAKMIRROR", "R"});
    pair.wire.resync_takes = 10min;
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.2") == "1 2"; }));
    EXPECT_EQ(status(right, {".", "SWITCHOVERVOLUME", "R"}), 87);
    EXPECT_EQ(state(left, "10.0.0.2"), "1 2");
    power_off(left);
    for (const Words& words :
         {Words{".", "SWITCHOVERVOLUME", "R"}, Words{".", "SWITCHOVERVOLUME", "R", "-f"}})
        EXPECT_NE(status(right, words), 0);
    EXPECT_EQ(pair.record(right).role, Role::target);
}

// Spec: EMC-067, MOP-114
TEST_F(Faults, DeletingInTheMiddleOfAResyncIsDoneAndNoted) {
    one_target();
    ok(left, {".", "BREAKMIRROR", "R"});
    pair.wire.resync_takes = 10min;
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.2") == "1 2"; }));
    testing::internal::CaptureStderr();
    ok(left, {".", "DELETEMIRROR", "R"});
    EXPECT_NE(testing::internal::GetCapturedStderr().find("right may hold a mixture of blocks"),
              std::string::npos);
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
}

// Spec: EMC-068, MOP-045
TEST_F(Faults, ANewMirrorIsPendingThenResyncThenMirroringByItself) {
    pair.wire.resync_takes = 5s;
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S", "2"});
    std::string seen;
    ASSERT_TRUE(pair.until([&] {
        const std::string now = state(left, "10.0.0.2").substr(1);
        if (!now.empty() && !seen.ends_with(now)) seen += now;
        return now == " 1";
    }));
    EXPECT_EQ(seen, " 5 2 1");
}

// Spec: EMC-079, EMC-261, MOP-105
TEST_F(Faults, WhichResyncFollowsWhat) {
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S"});
    EXPECT_EQ(resynced(), kBlocks) << "creation";
    const auto change = [&] { EXPECT_TRUE(pair.write(left, 4, 4)); };
    ok(left, {".", "PAUSEMIRROR", "R"});
    change();
    ok(left, {".", "CONTINUEMIRROR", "R"});
    EXPECT_EQ(resynced(), 1U) << "continue from paused";
    ok(left, {".", "BREAKMIRROR", "R"});
    ok(left, {".", "CONTINUEMIRROR", "R"});
    EXPECT_EQ(resynced(), kBlocks) << "continue from broken";
    ok(left, {".", "RESYNCMIRROR", "R"});
    EXPECT_EQ(resynced(), kBlocks) << "resync on demand";
    // The target is unlocked, and restarted or not.
    for (const bool restarted : {false, true}) {
        ok(left, {".", "PAUSEMIRROR", "R"});
        ok(right, {".", "UNLOCKVOLUME", "R"});
        EXPECT_TRUE(pair.write(right, 7, 7));
        if (restarted) {
            pair.power_off(right);
            pair.start(right);
            ASSERT_TRUE(pair.until([&] { return status(right, {".", "LOCKVOLUME", "R"}) == 0; }));
        } else {
            ok(right, {".", "LOCKVOLUME", "R"});
        }
        ok(left, {".", "CONTINUEMIRROR", "R"});
        EXPECT_EQ(resynced(), restarted ? kBlocks : 1U) << "unlocked, restarted " << restarted;
    }
    // The source crashes: with its log, and without.
    for (const bool lost : {false, true}) {
        EXPECT_TRUE(pair.write(left, 2, 20));
        pair.power_off(left);
        left.disk.log_lost = lost;
        pair.start(left);
        ASSERT_TRUE(pair.until([&] { return left.daemon->host && left.daemon->host->linked(); }));
        EXPECT_EQ(resynced(), lost ? kBlocks : 0U) << "source crash, log lost " << lost;
    }
    // New addresses, and a reboot before it goes on: the log does not depend on them (docs/decisions.md).
    ok(left, {".", "PAUSEMIRROR", "R"});
    ok(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.2", "10.0.0.1", "10.0.0.2"});
    EXPECT_TRUE(pair.write(left, 4, 40));
    pair.power_off(left);
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return status(left, {".", "CONTINUEMIRROR", "R"}) == 0; }));
    EXPECT_EQ(resynced(), 1U) << "new addresses and a reboot";
    // Both sides write apart, and one is given up.
    pair.cluster.apart = true;
    cut();
    EXPECT_TRUE(pair.write(left, 5, 50));
    ok(right, {".", "SWITCHOVERVOLUME", "R", "-f"});
    EXPECT_TRUE(pair.write(right, 6, 60));
    pair.cluster.apart = false;
    pair.heal();
    ASSERT_TRUE(pair.until([&] { return pair.peer(left).split_brain && pair.peer(right).split_brain; }));
    ok(right, {".", "PREPARETOBECOMETARGET", "R"});
    ok(left, {".", "CONTINUEMIRROR", "R"});
    EXPECT_EQ(resynced(), 2U) << "after a split brain, what either side changed";
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    // Wanted by its parameters.
    EXPECT_EQ(pair.run(left, {"set", "R", "AutoResyncOnContinue=2"}).exit_code, 0);
    ok(left, {".", "PAUSEMIRROR", "R"});
    ok(left, {".", "CONTINUEMIRROR", "R"});
    EXPECT_EQ(resynced(), kBlocks) << "AutoResyncOnContinue";
    EXPECT_EQ(pair.run(left, {"set", "R", "AutoResyncOnContinue="}).exit_code, 0);
    // Deleted and made again, and made with the word that nothing differs.
    ok(left, {".", "DELETEMIRROR", "R"});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S"});
    EXPECT_EQ(resynced(), kBlocks) << "made again";
    ok(left, {".", "DELETEMIRROR", "R"});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S", "1"});
    EXPECT_EQ(resynced(), 0U) << "without resync";
}

// Spec: EMC-081, EMC-082, EMC-083, MOP-005
TEST_F(Faults, NoStateOfTheMirrorLocksOrUnlocksATarget) {
    two_targets();
    const auto device = [&](Host& host) { return host.daemon->host->exported(); };
    EXPECT_TRUE(device(left));
    EXPECT_FALSE(device(right));
    for (const char* command : {"PAUSEMIRROR", "CONTINUEMIRROR", "BREAKMIRROR", "RESYNCMIRROR"}) {
        ok(left, {".", command, "R"});
        EXPECT_FALSE(device(right)) << command;
        EXPECT_TRUE(device(left)) << command;
    }
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    // Unlocked in the middle of mirroring, it takes nothing more from its source, and the other goes on.
    ok(right, {".", "UNLOCKVOLUME", "R"});
    EXPECT_TRUE(device(right));
    ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.2") == "1 4"; }));
    EXPECT_EQ(state(left, "10.0.0.3"), "1 1");
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_EQ(right.disk.blocks[3], 0);
    EXPECT_EQ(third.disk.blocks[3], 33);
    ASSERT_TRUE(pair.until([&] {
        return emcmd(left, {".", "ISBREAKUSERREQUESTED", "R"}).find("10.0.0.2: TRUE\n") != std::string::npos;
    }));
}

// Spec: EMC-019
TEST_F(Faults, EveryRequestIsLoggedWithItsMessage) {
    one_target();
    std::string log;
    messages::configure({"test", "", messages::Severity::info});
    messages::log_to([&log](messages::Severity, int, std::string_view text) {
        log += std::string(text) + "\n";
        return true;
    });
    ok(left, {".", "PAUSEMIRROR", "R"});
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ok(left, {"right", "SETCONFIGURATION", "R", "128"});
    EXPECT_NE(status(left, {".", "BREAKMIRROR", "R", "10.0.0.99"}), 0);
    messages::configure({"test", "", messages::Severity::warning});
    for (const char* line : {"command received: PAUSEMIRROR R (message 37)",
                             "pausing the mirror of volume R to 10.0.0.2 (message 48)",
                             "command received: CONTINUEMIRROR R (message 37)",
                             "continuing the mirror of volume R to 10.0.0.2 (message 50)",
                             "command received: SETCONFIGURATION R 128 (message 37)",
                             "attributes of volume R: \"128\" (message 40)",
                             "command received: BREAKMIRROR R 10.0.0.99 (message 37)"})
        EXPECT_NE(log.find(line), std::string::npos) << line << "\n" << log;
    ok(left, {"right", "SETCONFIGURATION", "R", "0"});
}

// Spec: EMC-054
TEST_F(Faults, AttributesThatCannotBeSetAreLoggedAndStayAsTheyWere) {
    std::string log;
    messages::configure({"test", "", messages::Severity::error});
    messages::log_to([&log](messages::Severity, int, std::string_view text) {
        log += std::string(text) + "\n";
        return true;
    });
    left.node->set_disk_full(true);
    EXPECT_NE(status(left, {".", "SETCONFIGURATION", "R", "256"}), 0);
    left.node->set_disk_full(false);
    EXPECT_NE(emcmd(left, {".", "GETCONFIGURATION", "R"}).find("Shared Volume              IS NOT enabled"),
              std::string::npos);
    ok(left, {".", "SETCONFIGURATION", "R", "256"});
    left.node->set_disk_full(true);
    EXPECT_NE(status(right, {"10.0.0.1", "SETCONFIGURATION", "R", "0"}), 0);
    left.node->set_disk_full(false);
    EXPECT_NE(emcmd(left, {".", "GETCONFIGURATION", "R"}).find("Shared Volume              IS enabled"),
              std::string::npos);
    messages::configure({"test", "", messages::Severity::warning});
    for (const char* line :
         {"(messages 41 and 242)", "volume R is not shared yet (message 261)",
          "volume R is still shared (message 262)", "attributes of R cannot be set on 10.0.0.1: "})
        EXPECT_NE(log.find(line), std::string::npos) << line << "\n" << log;
    EXPECT_NE(log.find("(message 343)"), std::string::npos) << log;
}

// Spec: EMC-035, EMC-036
TEST_F(Faults, AFailureBehindTheProxyIsTheCommandsStatus) {
    two_targets();
    const Words asked{"right", "GETMIRRORVOLINFO", "R", "-proxy", "third"};
    EXPECT_EQ(emcmd(left, asked), "R: 2 10.0.0.1 right 1\n");
    power_off(right);
    const int there = status(third, {"right", "PAUSEMIRROR", "R"});
    EXPECT_NE(there, 0);
    EXPECT_EQ(status(left, {"right", "PAUSEMIRROR", "R", "-proxy", "third"}), there);
    EXPECT_NE(error.find("proxy third -> system right"), std::string::npos) << error;
    power_off(third);
    EXPECT_NE(status(left, asked), 0);
    EXPECT_NE(error.find("client -> proxy third"), std::string::npos) << error;
}

// Spec: EMC-051
TEST_F(Faults, AnAutomaticResyncIsShownAndStartsAFullResyncThatNobodyAskedFor) {
    one_target();
    ok(left, {".", "SETCONFIGURATION", "R", "64"});
    const std::string shown = emcmd(left, {".", "GETCONFIGURATION", "R"});
    const std::string line = shown.substr(shown.find("Auto Resync"));
    EXPECT_TRUE(line.substr(0, line.find('\n')).ends_with("IS enabled")) << shown;
    pair.power_off(left);
    left.disk.log_lost = true;
    start(left);
    ASSERT_TRUE(pair.until([&] { return left.daemon->host && left.daemon->host->linked(); }));
    EXPECT_EQ(resynced(), kBlocks);
    // What a person stopped stays stopped.
    ok(left, {".", "PAUSEMIRROR", "R"});
    pair.power_off(left);
    left.disk.log_lost = true;
    start(left);
    pair.sim.run_for(60s);
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
}

// Spec: EMC-020
TEST_F(Faults, CommandsForOneVolumeFollowEachOtherAndQueriesDoNotWait) {
    one_target();
    Program* const program = programs.at("left");
    auto order = std::make_shared<std::vector<std::string>>();
    const auto ask = [](Program* at, Words words,
                        std::shared_ptr<std::vector<std::string>> out) -> runtime::Task<> {
        config::Command command;
        command.name = "emcmd";
        command.arguments = words;
        command.uid = 0;
        const config::Reply reply = co_await at->service.run(std::move(command));
        out->push_back(words[1] + " " + std::to_string(reply.exit_code));
    };
    program->tasks.spawn(ask(program, {".", "RESYNCMIRROR", "R"}, order));
    program->tasks.spawn(ask(program, {".", "CONTINUEMIRROR", "R"}, order));
    program->tasks.spawn(ask(program, {".", "BREAKMIRROR", "R"}, order));
    program->tasks.spawn(ask(program, {".", "GETJOBINFO"}, order));
    ASSERT_TRUE(pair.until([&] { return order->size() == 4; }));
    EXPECT_EQ(*order, (std::vector<std::string>{"GETJOBINFO 0", "RESYNCMIRROR 0", "CONTINUEMIRROR 0",
                                                "BREAKMIRROR 0"}));
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
