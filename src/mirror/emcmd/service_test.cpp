// emcmd with several targets: what each command prints, and what it does to one mirror of a volume or to all.

#include "mirror/emcmd/test_lab.h"

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;
using control::testing_pair::kBlocks;

// Spec: EMC-143, EMC-144, EMC-154, EMC-191, EMC-192, EMC-193, EMC-194, EMC-199, EMC-204, EMC-208, EMC-209,
// EMC-213 Spec: MOP-016, MOP-069
// Spec: MOP-051
TEST_F(Emcmd, ASecondTargetIsAMirrorOfItsOwnInEveryQuery) {
    two_targets();
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 1 left 10.0.0.2 1\nR: 1 left 10.0.0.3 1\n");
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}), "R: 2 10.0.0.1 right 1\n");
    EXPECT_EQ(emcmd(left, {"third", "GETMIRRORVOLINFO", "R"}), "R: 2 10.0.0.1 third 1\n");
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORTYPE", "R"}),
              "Target system 10.0.0.2, Type 1\nTarget system 10.0.0.3, Type 1\n");
    EXPECT_EQ(emcmd(third, {".", "GETMIRRORTYPE", "R"}), "Target system 10.0.0.3, Type 1\n");
    EXPECT_EQ(emcmd(left, {".", "GETVOLUMEDRVSTATE", "R"}), "1 10.0.0.2\n1 10.0.0.3\n");
    EXPECT_EQ(emcmd(third, {".", "GETVOLUMEDRVSTATE", "R"}), "1 10.0.0.1\n");
    EXPECT_EQ(emcmd(left, {".", "GETSOURCEMIRROREDVOLUMES"}),
              "Status = 0\nSource Volume  = R:\nSource Label   = data1\nSource #Targs  = 2\n"
              "Target 0\nTarget System  = 10.0.0.2\nMirror State   = 0001\n"
              "Target 1\nTarget System  = 10.0.0.3\nMirror State   = 0001\n");
    EXPECT_EQ(emcmd(left, {".", "ISBREAKUSERREQUESTED", "R"}),
              "Target 0, remote system 10.0.0.2: FALSE\nTarget 1, remote system 10.0.0.3: FALSE\n");
    const std::string resync = emcmd(left, {".", "GETRESYNCSTATUS", "R"});
    EXPECT_NE(resync.find("Target 0 (Target System 10.0.0.2)\n"), std::string::npos) << resync;
    EXPECT_NE(resync.find("Target 1 (Target System 10.0.0.3)\n"), std::string::npos) << resync;
    EXPECT_NE(emcmd(left, {".", "GETCOMPLETEVOLUMELIST"}).find("Number of targets  = 2\n"),
              std::string::npos);
    const std::string info = emcmd(left, {".", "GETVOLUMEINFO", "R", "2"});
    EXPECT_NE(info.find("Num Targets      = 2\n"), std::string::npos) << info;
    EXPECT_NE(info.find(">> Remote [1]    = 10.0.0.3, R:\nMirror State     = MIRROR\n"), std::string::npos)
        << info;
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 1);
    EXPECT_EQ(status(right, {"10.0.0.2", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 1);
    EXPECT_NE(error.find("mirror it from its source left"), std::string::npos) << error;
}

// Spec: EMC-013, EMC-014, EMC-087, EMC-090, EMC-222, MOP-016, MOP-099, MOP-100
TEST_F(Emcmd, AnAddressMeansOneMirrorAndNoneMeansAll) {
    two_targets();
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    EXPECT_EQ(state(left, "10.0.0.2"), "1 1");
    EXPECT_EQ(state(left, "10.0.0.3"), "1 4");
    EXPECT_TRUE(pair.write(left, 2, 22));
    EXPECT_EQ(right.disk.blocks[2], 22);
    EXPECT_EQ(third.disk.blocks[2], 0);
    EXPECT_EQ(emcmd(left, {".", "ISBREAKUSERREQUESTED", "R"}),
              "Target 0, remote system 10.0.0.2: FALSE\nTarget 1, remote system 10.0.0.3: TRUE\n");
    ok(left, {".", "PAUSEMIRROR", "R"});
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
    EXPECT_EQ(state(left, "10.0.0.3"), "1 4");
    for (const char* command : {"PAUSEMIRROR", "CONTINUEMIRROR", "BREAKMIRROR", "RESYNCMIRROR",
                                "DELETEMIRROR", "DELETELOCALMIRRORONLY"})
        EXPECT_EQ(status(left, {".", command, "R", "10.0.0.99"}), 2) << command;
    ok(left, {".", "CONTINUEMIRROR", "R", "10.0.0.2"});
    ASSERT_TRUE(in_sync(left, {&right}));
    EXPECT_EQ(state(left, "10.0.0.3"), "1 4");
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    sent();
    ok(left, {".", "BREAKMIRROR", "R", "10.0.0.2"});
    EXPECT_EQ(state(left, "10.0.0.2"), "1 3");
    EXPECT_EQ(state(left, "10.0.0.3"), "1 1");
    ok(left, {".", "RESYNCMIRROR", "R", "10.0.0.2"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(sent(), kBlocks);
}

// Spec: EMC-014
TEST_F(Emcmd, OfSeveralMirrorsTheFirstFailureIsTheAnswerAndTheOthersAreDone) {
    two_targets();
    ok(left, {".", "BREAKMIRROR", "R", "10.0.0.2"});
    EXPECT_EQ(status(left, {".", "PAUSEMIRROR", "R"}), 1);
    EXPECT_NE(error.find("to 10.0.0.2 is broken"), std::string::npos) << error;
    EXPECT_EQ(state(left, "10.0.0.2"), "1 3");
    EXPECT_EQ(state(left, "10.0.0.3"), "1 4");
}

// Spec: EMC-131, EMC-080, EMC-258, EMC-296, MOP-102, MOP-104, MOP-105, MOP-106
TEST_F(Emcmd, AnUnlockedTargetKeepsItsMirrorStoppedAndTheOtherGoesOn) {
    two_targets();
    ok(left, {".", "PAUSEMIRROR", "R"});
    ok(left, {"third", "UNLOCKVOLUME", "R"});
    EXPECT_TRUE(pair.write(third, 5, 55));
    EXPECT_NE(status(third, {".", "SWITCHOVERVOLUME", "R"}), 0);
    EXPECT_NE(status(third, {".", "SWITCHOVERVOLUME", "R", "-f"}), 0);
    EXPECT_EQ(status(left, {".", "CONTINUEMIRROR", "R"}), 33);
    EXPECT_EQ(state(left, "10.0.0.3"), "1 4");
    ASSERT_TRUE(in_sync(left, {&right}));
    ok(third, {".", "LOCKVOLUME", "R"});
    sent();
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(third.disk.blocks[5], 0);
    EXPECT_EQ(sent(), 1U);
    // While a resync runs the target stays locked.
    ok(left, {".", "BREAKMIRROR", "R", "10.0.0.3"});
    pair.wire.resync_takes = 60s;
    ok(left, {".", "RESYNCMIRROR", "R", "10.0.0.3"});
    ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.3") == "1 2"; }));
    EXPECT_EQ(status(third, {".", "UNLOCKVOLUME", "R"}), 170);
}

// Spec: EMC-013, EMC-165, EMC-166, EMC-167, EMC-168, EMC-301, MOP-155
TEST_F(Emcmd, OneMirrorOfSeveralIsDeletedAndTheLastDeletesTheVolume) {
    two_targets();
    const std::string job = job_of_three();
    const std::string before = emcmd(left, {".", "GETJOBINFO", job});
    EXPECT_EQ(status(third, {".", "DELETEMIRROR", "R"}), 1);
    ok(left, {".", "DELETEMIRROR", "R", "10.0.0.3"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 1 left 10.0.0.2 1\n");
    EXPECT_EQ(emcmd(third, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_EQ(right.disk.blocks[1], 11);
    EXPECT_EQ(third.disk.blocks[1], 0);
    EXPECT_EQ(emcmd(left, {".", "GETJOBINFO", job}), before);
    // It is made again, and lost for good: the source's side goes although nobody answers.
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "A"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    power_off(third);
    EXPECT_TRUE(pair.write(left, 1, 12));
    ok(left, {".", "DELETEMIRROR", "R", "10.0.0.3"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 1 left 10.0.0.2 1\n");
    ok(left, {".", "DELETEMIRROR", "R"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    // What was left over on the lost one goes there; its source knows it no more.
    start(third);
    EXPECT_EQ(emcmd(third, {".", "GETMIRRORVOLINFO", "R"}).substr(0, 4), "R: 2");
    ok(third, {".", "DELETEMIRROR", "R"});
    EXPECT_EQ(emcmd(third, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
}

// Spec: EMC-160, EMC-161, EMC-162, EMC-127, EMC-128, EMC-129, MOP-113
TEST_F(Emcmd, ASideIsRemovedAloneAndTheOtherIsNotAsked) {
    two_targets();
    ok(left, {".", "DELETELOCALMIRRORONLY", "R", "10.0.0.3"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 1 left 10.0.0.2 1\n");
    EXPECT_EQ(emcmd(third, {".", "GETMIRRORVOLINFO", "R"}).substr(0, 4), "R: 2");
    ok(third, {".", "DELETELOCALMIRRORONLY", "R"});
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 1225);
    ok(left, {"third", "CLEARSWITCHOVER", "R"});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    ok(left, {".", "DELETELOCALMIRRORONLY", "R"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}), "R: 2 10.0.0.1 right 1\n");
}

// Spec: EMC-128, MOP-118
TEST_F(Emcmd, ATargetThatHasLostItsSideGetsItAgainByContinueAndUpdate) {
    two_targets();
    EXPECT_TRUE(pair.write(left, 3, 33));
    ok(third, {".", "DELETELOCALMIRRORONLY", "R"});
    ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.3") == "1 4"; }));
    EXPECT_EQ(status(left, {".", "CONTINUEMIRROR", "R"}), 1225) << "as long as it says so";
    ok(left, {"third", "CLEARSWITCHOVER", "R"});
    sent();
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(sent(), kBlocks);
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
    ok(third, {".", "UPDATEVOLUMEINFO", "R"});
    EXPECT_EQ(emcmd(third, {".", "GETMIRRORVOLINFO", "R"}), "R: 2 10.0.0.1 third 1\n");
    ok(third, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(third, {&left, &right}));
}

// Spec: EMC-118, EMC-146, EMC-148, EMC-149, EMC-156, MOP-014, MOP-052, MOP-053
TEST_F(Emcmd, WhatASecondTargetIsRefusedForLeavesTheFirstAsItWas) {
    one_target();
    EXPECT_TRUE(pair.write(left, 3, 33));
    const std::string before = emcmd(left, {".", "GETMIRRORVOLINFO", "R"});
    ok(left, {".", "UPDATEVOLUMEINFO", "R"});
    EXPECT_EQ(emcmd(left, {"10.0.0.3", "SETBLOCKTARGET", "R"}), "");
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 1);
    EXPECT_EQ(emcmd(left, {"10.0.0.3", "CLEARBLOCKTARGET", "R"}), "");
    third.disk.size = 65536;
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 87);
    third.disk.size = kBlocks * 65536;
    third.disk.sector = 4096;
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"}), 87);
    third.disk.sector = 512;
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "fd00::3", "S"}), 87);
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.1", "S"}), 87);
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), before);
    EXPECT_EQ(emcmd(third, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
}

// Spec: EMC-148, MOP-054, MOP-055
TEST_F(Emcmd, WhatTheSystemLivesFromIsNotMirrored) {
    Eligibility& left_disk = programs.at("left")->facts.eligibility;
    for (bool Eligibility::*one :
         {&Eligibility::system_drive, &Eligibility::swap, &Eligibility::bitmaps, &Eligibility::not_fixed}) {
        left_disk.*one = true;
        EXPECT_NE(emcmd(left, {".", "ISPOTENTIALMIRRORVOL", "R"}), "TRUE\n");
        EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S"}), 1);
        EXPECT_NE(error.find("cannot be mirrored"), std::string::npos) << error;
        EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
        left_disk.*one = false;
    }
    EXPECT_EQ(emcmd(left, {".", "ISPOTENTIALMIRRORVOL", "R"}), "TRUE\n");
    one_target();
}

// Spec: EMC-055, EMC-149
TEST_F(Emcmd, ATargetThatIsSaidToBeEqualGetsNothingButWhatIsWrittenFromThenOn) {
    one_target();
    EXPECT_TRUE(pair.write(left, 3, 33));
    third.disk.blocks = left.disk.blocks;
    sent();
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S", "1"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(sent(), 0U);
    EXPECT_TRUE(pair.write(left, 4, 44));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: EMC-031, EMC-240, EMC-241, EMC-242, MOP-075, MOP-076, MOP-079
TEST_F(Emcmd, SwitchoverOfAVolumeWithTwoTargetsNeedsThatTargetToMirror) {
    two_targets();
    EXPECT_EQ(status(left, {".", "SWITCHOVERVOLUME", "R"}), 1);
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    const std::string before = emcmd(left, {".", "GETMIRRORVOLINFO", "R"});
    EXPECT_EQ(status(left, {"third", "SWITCHOVERVOLUME", "R"}), 87);
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), before);
    EXPECT_TRUE(pair.write(left, 6, 66));
    sent();
    ok(left, {"right", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right, {&left}));
    // The pause that was asked for is the new source's too.
    pair.sim.run_for(10s);
    EXPECT_EQ(state(right, "10.0.0.3"), "1 4");
    EXPECT_EQ(sent(), 0U);
    ok(left, {"right", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(right, {&left, &third}));
    EXPECT_EQ(sent(), 1U);
    EXPECT_EQ(third.disk.blocks[6], 66);
}

// Spec: EMC-243, EMC-246, MOP-080, MOP-081, MOP-082
TEST_F(Emcmd, FailoverMakesMirrorsToTheOthersAndTheOldSourceFollows) {
    two_targets();
    EXPECT_TRUE(pair.write(left, 1, 11));
    sent();
    power_off(left);
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right, {&third}));
    EXPECT_TRUE(pair.write(right, 2, 22));
    start(left);
    ASSERT_TRUE(in_sync(right, {&left, &third}));
    EXPECT_LE(sent(), 3U);
    EXPECT_EQ(left.disk.blocks, right.disk.blocks);
    EXPECT_EQ(third.disk.blocks, right.disk.blocks);
}

// Spec: EMC-245, MOP-086
TEST_F(Emcmd, ASecondSwitchoverWaitsForTheFirstAndEndsLikeIt) {
    two_targets();
    auto replies = std::make_shared<std::vector<config::Reply>>();
    Program* const program = programs.at("right");
    const auto ask = [](Program* at, std::shared_ptr<std::vector<config::Reply>> out) -> runtime::Task<> {
        config::Command command;
        command.name = "emcmd";
        command.arguments = {".", "SWITCHOVERVOLUME", "R"};
        command.uid = 0;
        config::Reply reply = co_await at->service.run(std::move(command));
        out->push_back(std::move(reply));
    };
    program->tasks.spawn(ask(program, replies));
    program->tasks.spawn(ask(program, replies));
    ASSERT_TRUE(pair.until([&] { return replies->size() == 2; }));
    for (const config::Reply& reply : *replies)
        EXPECT_EQ(reply.out, "Status = 0\n") << reply.err;
    EXPECT_EQ(pair.record(right).role_epoch, 2U);
    EXPECT_EQ(status(right, {".", "SWITCHOVERVOLUME", "R"}), 1);
}

// Spec: EMC-095, EMC-096, EMC-097, EMC-098, EMC-099, EMC-102, EMC-103, EMC-104, EMC-105, EMC-106, MOP-117,
// MOP-242
TEST_F(Emcmd, EndpointsChangeOnBothEndsAndInTheJob) {
    two_targets();
    const std::string job = job_of_three();
    const std::string head = "ID = " + job + "\nName = data\nDescription =\n";
    EXPECT_EQ(status(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.3", "10.9.0.1", "10.9.0.3"}), 87);
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    EXPECT_EQ(status(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.3", "10.9.0.1", "fd00::3"}), 87);
    EXPECT_EQ(status(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.3", "10.0.0.1", "10.0.0.2"}), 87);
    EXPECT_EQ(status(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.77", "10.9.0.1", "10.9.0.3"}), 2);
    ok(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.3", "10.9.0.1", "10.9.0.3"});
    for (Host* host : pair.hosts)
        EXPECT_EQ(emcmd(*host, {".", "GETJOBINFOFORVOL", "R"}),
                  head +
                      "MirrorEndPoints = left;R;10.0.0.1;right;R;10.0.0.2;S\n"
                      "MirrorEndPoints = left;R;10.9.0.1;third;R;10.9.0.3;S\n"
                      "MirrorEndPoints = right;R;10.0.0.2;third;R;10.0.0.3;S\n")
            << host->name;
    // Paused by command, it waits for the command; then what was written is sent over the new addresses.
    EXPECT_TRUE(pair.write(left, 7, 77));
    pair.sim.run_for(10s);
    EXPECT_EQ(state(left, "10.9.0.3"), "1 4");
    EXPECT_EQ(pair.peer(third, left).address, "10.9.0.1");
    EXPECT_EQ(pair.peer(third, left).local_address, "10.9.0.3");
    sent();
    ok(left, {".", "CONTINUEMIRROR", "R", "10.9.0.3"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(sent(), 1U);
    // A pair without a mirror, on the end whose address changes.
    ok(left, {"right", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.3", "10.0.0.2", "10.9.0.3"});
    EXPECT_NE(emcmd(third, {".", "GETJOBINFO"}).find("right;R;10.0.0.2;third;R;10.9.0.3;S"),
              std::string::npos);
    EXPECT_EQ(pair.peer(right, third).address, "10.9.0.3");
    EXPECT_EQ(pair.peer(left, right).state, MirrorState::mirroring);
}

// Spec: EMC-098, MOP-117, MOP-242
TEST_F(Emcmd, EndpointsOfFourSystemsAreNotChanged) {
    one_target();
    const std::string made = emcmd(left, {".",      "CREATEJOB", "four",     "",  "left", "R", "10.0.0.1",
                                          "right",  "R",         "10.0.0.2", "S", "left", "R", "10.0.0.1",
                                          "third",  "R",         "10.0.0.3", "S", "left", "R", "10.0.0.1",
                                          "fourth", "R",         "10.0.0.4", "S"});
    const std::string before = emcmd(left, {".", "GETJOBINFO"});
    ok(left, {".", "PAUSEMIRROR", "R"});
    EXPECT_EQ(status(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.2", "10.9.0.1", "10.9.0.2"}), 50);
    EXPECT_EQ(emcmd(left, {".", "GETJOBINFO"}), before);
    EXPECT_EQ(pair.peer(left, right).address, "10.0.0.2");
}

// Spec: EMC-110, EMC-111, EMC-114, EMC-116, MOP-072, MOP-116
TEST_F(Emcmd, TypesOfMirrorsThatRunAndOfPairsThatCouldChangeOneByOne) {
    two_targets();
    (void)job_of_three();
    ok(left, {".", "CHANGEMIRRORTYPE", "R", "10.0.0.3", "A"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORTYPE", "R"}),
              "Target system 10.0.0.2, Type 1\nTarget system 10.0.0.3, Type 2\n");
    ok(left, {"right", "CHANGEMIRRORTYPE", "R", "10.0.0.3", "a"});
    EXPECT_NE(emcmd(third, {".", "GETJOBINFO"}).find("right;R;10.0.0.2;third;R;10.0.0.3;A"),
              std::string::npos);
    EXPECT_EQ(pair.peer(right, third).type, MirrorType::async);
    ASSERT_TRUE(pair.until([&] { return pair.peer(third, right).type == MirrorType::async; }));
    EXPECT_EQ(state(left, "10.0.0.3"), "1 1");
    EXPECT_EQ(state(left, "10.0.0.2"), "1 1");
    // Whoever becomes source keeps them.
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right, {&left, &third}));
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORTYPE", "R"}),
              "Target system 10.0.0.1, Type 1\nTarget system 10.0.0.3, Type 2\n");
}

// Spec: EMC-134, EMC-136, EMC-225, EMC-226, EMC-227, EMC-293, MOP-092, MOP-094, MOP-095, MOP-096
TEST_F(Emcmd, ASplitBrainWithAFollowerEndsByPrepareOnBoth) {
    two_targets();
    EXPECT_EQ(status(right, {".", "PREPARETOBECOMETARGET", "R"}), 1);
    pair.cluster.apart = true;
    pair.cut_off(left);
    EXPECT_TRUE(pair.write(left, 1, 11));
    ok(right, {".", "SWITCHOVERVOLUME", "R", "-f"});
    ASSERT_TRUE(in_sync(right, {&third}));
    EXPECT_TRUE(pair.write(right, 2, 22));
    pair.cluster.apart = false;
    pair.heal();
    ASSERT_TRUE(
        pair.until([&] { return pair.peer(left, right).split_brain && pair.peer(right, left).split_brain; }));
    EXPECT_EQ(left.disk.blocks[2], 0);
    EXPECT_EQ(status(left, {".", "CONTINUEMIRROR", "R", "10.0.0.2"}), 1);
    EXPECT_NE(error.find("both source"), std::string::npos) << error;
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    EXPECT_EQ(status(left, {".", "CONTINUEMIRROR", "R", "10.0.0.3"}), 1);
    EXPECT_NE(error.find("third is target of right"), std::string::npos) << error;
    // right's changes go, and with them what third has got of right; not while somebody uses them.
    right.disk.used_by = "bash (pid 7)";
    EXPECT_EQ(status(left, {"right", "PREPARETOBECOMETARGET", "R"}), 33);
    EXPECT_EQ(pair.record(right).role, Role::source);
    right.disk.used_by.clear();
    ok(left, {"right", "PREPARETOBECOMETARGET", "R"});
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}).substr(0, 4), "R: 2");
    ASSERT_TRUE(pair.until([&] { return status(third, {".", "PREPARETOBECOMETARGET", "R"}) == 0; }));
    sent();
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    for (Host* host : {&right, &third}) {
        EXPECT_EQ(host->disk.blocks[1], 11) << host->name;
        EXPECT_EQ(host->disk.blocks[2], 0) << host->name;
    }
}

// Spec: EMC-195, EMC-198
TEST_F(Emcmd, TheBitmapOfATargetIsWrittenWhereTheCommandWasTyped) {
    two_targets();
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    for (const std::size_t block : {0UL, 3UL, 9UL})
        EXPECT_TRUE(pair.write(left, block, 7));
    ok(right, {"left", "GETREMOTEBITMAP", "R", "10.0.0.3", "/var/lib/understudy/bits"});
    const auto bits = right.node->files().read("/var/lib/understudy/bits");
    ASSERT_TRUE(bits) << bits.error().text;
    EXPECT_EQ(*bits, std::string("\x09\x02", 2));
    ok(left, {".", "GETREMOTEBITMAP", "R", "10.0.0.2", "/var/lib/understudy/clean"});
    EXPECT_EQ(*left.node->files().read("/var/lib/understudy/clean"), std::string(2, '\0'));
    EXPECT_EQ(status(left, {".", "GETREMOTEBITMAP", "R", "10.0.0.99", "/var/lib/understudy/none"}), 2);
    EXPECT_EQ(status(left, {".", "GETREMOTEBITMAP", "R", "10.0.0.2", "relative"}), 87);
}

// Spec: EMC-197
TEST_F(Emcmd, AVolumesConnectionsAreMadeAnewWithoutAChangeOfState) {
    two_targets();
    const auto generation = pair.record(left).lineage.current;
    sent();
    ok(right, {"left", "RESTARTVOLUMEPIPE", "R"});
    EXPECT_EQ(state(left, "10.0.0.2"), "1 1");
    EXPECT_TRUE(pair.write(left, 2, 21, 2s));
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(pair.record(left).lineage.current, generation);
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    EXPECT_EQ(sent(), 0U);
    ok(right, {".", "RESTARTVOLUMEPIPE", "R"});
    EXPECT_EQ(status(left, {".", "RESTARTVOLUMEPIPE", "F"}), 2);
}

// Spec: EMC-038, EMC-250, EMC-252, EMC-256, MOP-189, MOP-190, MOP-191, MOP-203, MOP-206
TEST_F(Emcmd, EitherOfTwoTargetsTakesSnapshotsWhileItsMirrorGoesOnAndASharedVolumeNone) {
    two_targets();
    EXPECT_EQ(status(third, {".", "TAKESNAPSHOT", "R"}), 3);
    ok(left, {"third", "SETSNAPSHOTLOCATION", "R", "/snap"});
    EXPECT_EQ(status(third, {".", "TAKESNAPSHOT", "R"}), 2) << "it belongs to no job";
    (void)job_of_three();
    EXPECT_TRUE(pair.write(left, 1, 11));
    ok(right, {"third", "TAKESNAPSHOT", "R"});
    EXPECT_TRUE(pair.write(left, 1, 12));
    EXPECT_EQ(third.disk.blocks[1], 12);
    EXPECT_EQ(third.daemon->host->snapshot()->blocks[1], 11);
    EXPECT_EQ(state(left, "10.0.0.3"), "1 1");
    EXPECT_NE(status(third, {".", "SWITCHOVERVOLUME", "R"}), 0);
    ok(third, {".", "DROPSNAPSHOT", "R"});
    ok(third, {".", "SETCONFIGURATION", "R", "256"});
    EXPECT_EQ(status(third, {".", "TAKESNAPSHOT", "R"}), 50);
    ok(third, {".", "SETCONFIGURATION", "R", "0"});
    ok(third, {".", "CLEARSNAPSHOTLOCATION", "R"});
    EXPECT_EQ(status(third, {".", "TAKESNAPSHOT", "R"}), 3);
    ok(third, {".", "SWITCHOVERVOLUME", "R"});
}

// Spec: EMC-002, EMC-052, EMC-248, EMC-312
TEST_F(Emcmd, ItDoesWhatTheConsoleDoesNotOffer) {
    (void)job_of_three();
    ok(left, {".", "SETCONFIGURATION", "R", "32"});
    power_off(third);  // a system of the job is down, and the volume is the cluster's
    one_target();
    ok(right, {".", "SETCONFIGURATION", "R", "128"});
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right, {&left}));
    ok(left, {"right", "DELETEMIRROR", "R"});
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
}

// Spec: EMC-170
TEST_F(Emcmd, TheClusterDeletesAMirrorAtTheRemoteSourceWithItsOwnAddress) {
    two_targets();
    ok(right, {"10.0.0.1", "DELETEMIRROR", "R:", "10.0.0.2"});
    EXPECT_EQ(emcmd(right, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 1 left 10.0.0.3 1\n");
}

// Spec: EMC-264, EMC-267, MOP-119
TEST_F(Emcmd, AVolumeIsLookedAtAgainAndWhatCannotBeReadIsSaid) {
    ok(left, {".", "UPDATEVOLUMEINFO", "R"});
    left.disk.size = 4 * 65536;
    EXPECT_EQ(emcmd(left, {".", "GETVOLUMEINFO", "R", "1"}).find("Total Space      = 262144\n"),
              std::string::npos);
    ok(left, {".", "UPDATEVOLUMEINFO", "R"});
    EXPECT_NE(emcmd(left, {".", "GETVOLUMEINFO", "R", "1"}).find("Total Space      = 262144\n"),
              std::string::npos);
    programs.at("left")->facts.eligibility.readable = false;
    EXPECT_EQ(status(left, {".", "UPDATEVOLUMEINFO", "R"}), 15);
    EXPECT_EQ(
        error,
        "Unable to update the volume information. The volume may be locked by another process or may not "
        "be formatted as a supported file system.\n");
    EXPECT_EQ(status(left, {".", "UPDATEVOLUMEINFO", "Q"}), 15);
}

// Spec: EMC-234
TEST_F(Emcmd, WithoutAClusterAVolumeIsNotRegistered) {
    one_target();
    EXPECT_EQ(status(left, {".", "REGISTERCLUSTERVOLUME", "R"}), 50);
    EXPECT_NE(error.find("belongs to no cluster"), std::string::npos) << error;
}

// Spec: EMC-196, MOP-105
TEST_F(Emcmd, MergingATargetsBitmapIsPartOfEverySession) {
    two_targets();
    ok(left, {".", "MERGETARGETBITMAP", "R", "10.0.0.3"});
    EXPECT_EQ(status(left, {".", "MERGETARGETBITMAP", "R", "10.0.0.99"}), 2);
    EXPECT_EQ(status(right, {".", "MERGETARGETBITMAP", "R", "10.0.0.1"}), 2);
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.3"});
    ok(third, {".", "UNLOCKVOLUME", "R"});
    EXPECT_TRUE(pair.write(third, 8, 88));
    ok(third, {".", "LOCKVOLUME", "R"});
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(third.disk.blocks[8], 0);
}

// Spec: EMC-203, EMC-205, EMC-206
TEST_F(Emcmd, TheServiceSaysWhenAnythingChangedLast) {
    EXPECT_EQ(emcmd(left, {".", "GETTARGETMIRROREDVOLUMES"}),
              "** Calling GetTargetMirroredVolumes **\nReturned 0 Target Volumes\n");
    EXPECT_EQ(emcmd(left, {".", "GETSOURCEMIRROREDVOLUMES"}), "Status = 0\n");
    const auto modified = [&] {
        const std::string out = emcmd(left, {".", "GETSERVICEINFO"});
        return out.substr(out.find("Last Modified Time"));
    };
    one_target();
    pair.sim.run_for(5s);
    const std::string before = modified();
    pair.sim.run_for(5s);
    EXPECT_EQ(modified(), before);
    ok(left, {".", "PAUSEMIRROR", "R"});
    EXPECT_NE(modified(), before);
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
