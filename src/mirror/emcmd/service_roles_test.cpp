// Commands that make a mirror or change its roles: what they wait for, and what keeps them from it.

#include "mirror/emcmd/test_lab.h"

#include <gmock/gmock.h>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;
using control::Event;
using ::testing::HasSubstr;

struct Roles : Emcmd {
    static std::size_t times(const Host& host, Event event) {
        return static_cast<std::size_t>(
            std::count_if(host.events.begin(), host.events.end(),
                          [&](const control::MirrorEvent& one) { return one.event == event; }));
    }
    /// How long a command took.
    template <class Command>
    runtime::Duration duration(Command command) {
        const auto begun = pair.sim.now();
        command();
        return pair.sim.now() - begun;
    }
};

// Spec: REP-155
TEST_F(Roles, ACreationThatDoesNotWaitIsDoneBeforeItsTargetIs) {
    pair.wire.cut_off.insert("right");  // the data connections cannot be made
    // Without the option it waits for them, and nothing is left when they do not come.
    const auto waited = duration([&] {
        EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S"}), 995);
    });
    EXPECT_GE(waited, 10s);
    EXPECT_EQ(left.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_EQ(right.daemon->manager.find(VolumeId("R")), nullptr);
    const auto answered = duration([&] {
        ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S", "2"});
    });
    EXPECT_LT(answered, 1s);
    ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.2") == "1 5"; })) << "pending";
    pair.sim.run_for(60s);
    EXPECT_EQ(state(left, "10.0.0.2"), "1 5");
    pair.heal();
    ASSERT_TRUE(in_sync(left, {&right}));
    // What is known at once is refused at once all the same.
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S", "2"}), 1);
}

// Spec: REP-156
TEST_F(Roles, ACreationAtBootIsRefusedByAnEndThatIsSourceAlready) {
    ok(right, {"10.0.0.2", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(in_sync(right, {&third}));
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S", "4"}), 1);
    EXPECT_THAT(error, HasSubstr("right is source of volume R already"));
    EXPECT_EQ(left.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_EQ(state(right, "10.0.0.3"), "1 1");
    // One that does not answer refuses as well: nobody knows what it is.
    ok(right, {".", "DELETEMIRROR", "R"});
    pair.sim.partition("left", "right");
    EXPECT_EQ(status(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S", "4"}), 53);
    pair.heal();
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S", "4"});
    ASSERT_TRUE(in_sync(left, {&right}));
}

// Spec: REP-234
TEST_F(Roles, AFailoverTriesItsSourceFirstAndIsAbortedWhereOnlyTheServiceIsGone) {
    one_target();
    pair.kill(left);  // the host lives, and refuses connections
    EXPECT_EQ(status(right, {".", "SWITCHOVERVOLUME", "R"}), 1);
    EXPECT_THAT(error, HasSubstr("left lives, but its service does not answer"));
    EXPECT_EQ(times(right, Event::switchover_failed), 1U);
    EXPECT_EQ(pair.record(right).role, Role::target);
    EXPECT_FALSE(right.daemon->host->exported());
    // -f: its state is known.
    ok(right, {".", "SWITCHOVERVOLUME", "R", "-f"});
    EXPECT_EQ(pair.record(right).role, Role::source);
    pair.start(left);
    ASSERT_TRUE(in_sync(right, {&left}));
    // A source that cannot be reached at all is tried for a while, and then left behind.
    pair.power_off(right);
    const auto took = duration([&] { ok(left, {".", "SWITCHOVERVOLUME", "R"}); });
    EXPECT_GE(took, 3s) << "it was tried";
    EXPECT_LE(took, 40s);
    EXPECT_EQ(pair.record(left).role, Role::source);
}

// Spec: REP-241
TEST_F(Roles, ASnapshotAndAVolumeInUseAbortASwitchoverAndNothingChanges) {
    one_target();
    emcmd(left, {".", "CREATEJOB", "data", "", "left", "R", "10.0.0.1", "right", "R", "10.0.0.2", "S"});
    ok(right, {".", "SETSNAPSHOTLOCATION", "R", "/snap"});
    ok(right, {".", "TAKESNAPSHOT", "R"});
    EXPECT_NE(status(right, {".", "SWITCHOVERVOLUME", "R"}), 0);
    EXPECT_THAT(error, HasSubstr("has a snapshot on right"));
    ok(right, {".", "DROPSNAPSHOT", "R"});
    left.disk.used_by = "postgres (pid 812)";
    EXPECT_EQ(status(right, {".", "SWITCHOVERVOLUME", "R"}), 33) << "online on its source";
    EXPECT_THAT(error, HasSubstr("postgres (pid 812)"));
    EXPECT_TRUE(in_sync(left, {&right}));
    EXPECT_TRUE(pair.write(left, 3, 33));
    left.disk.used_by.clear();
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
}

// Spec: REP-245, MOP-073
TEST_F(Roles, WhatTwoTargetsHaveBetweenThemIsSetWhenOneOfThemIsSource) {
    two_targets();
    (void)job_of_three();
    const auto set = [&](Host& on, const char* other) {
        return own(on, "mirror set", {"R", "CompressionLevel=3"}, {{"target", other}});
    };
    EXPECT_NE(set(right, "third").exit_code, 0);
    EXPECT_THAT(set(right, "third").err, HasSubstr("right is target of volume R: set it on its source left"));
    EXPECT_NE(set(third, "right").exit_code, 0);
    EXPECT_NE(set(left, "fourth").exit_code, 0);
    EXPECT_EQ(set(left, "third").exit_code, 0);
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right, {&left, &third}));
    EXPECT_EQ(set(right, "third").exit_code, 0);
    EXPECT_EQ(pair.peer(right, third).parameters.at("CompressionLevel"), "3");
    EXPECT_NE(set(left, "third").exit_code, 0);
}

// Spec: REP-314
TEST_F(Roles, SnapshotsAreOfOneOrTwoTargetsAndNotOfSharedVolumes) {
    one_target();
    emcmd(left, {".", "CREATEJOB", "data", "", "left", "R", "10.0.0.1", "right", "R", "10.0.0.2", "S"});
    const auto take = [&](Host& host) {
        ok(host, {".", "SETSNAPSHOTLOCATION", "R", "/snap"});
        const int taken = status(host, {".", "TAKESNAPSHOT", "R"});
        if (taken == 0) ok(host, {".", "DROPSNAPSHOT", "R"});
        return taken;
    };
    EXPECT_EQ(take(right), 0) << error;
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    (void)job_of_three();
    EXPECT_EQ(take(right), 0) << error;
    EXPECT_EQ(take(third), 0) << error;
    ok(third, {".", "SETCONFIGURATION", "R", "256"});
    EXPECT_EQ(take(third), 50);
    EXPECT_THAT(error, HasSubstr("volume R is shared"));
    EXPECT_EQ(take(right), 0) << "the other one is not";
}

// Spec: REP-072
TEST_F(Roles, AHostWhoseInstanceStoreIsNotPreparedSaysSoInHealthAndStatus) {
    one_target();
    const auto health = [&] { return own(left, "mirror health", {}); };
    const auto shown = [&] { return pair.run(left, {"status"}).out; };
    EXPECT_EQ(health().out, "left: mirroring\n1 mirroring\n");
    programs.at("left")->facts.ephemeral = {"nvme1n1"};
    EXPECT_THAT(health().out, HasSubstr("warning: left: the instance store nvme1n1 loses its content"));
    EXPECT_THAT(shown(), HasSubstr("left: the instance store nvme1n1 loses its content"));
    EXPECT_THAT(pair.run(left, {"status"}, {{"json", ""}}).out, HasSubstr("\"configuration_problems\": [\n"));
    programs.at("left")->facts.boot_table = "/dev/nvme1n1 /fast ext4 nofail,x-systemd.makefs 0 0\n";
    EXPECT_EQ(health().out, "left: mirroring\n1 mirroring\n");
    EXPECT_EQ(shown().find("instance store"), std::string::npos);
}

// Spec: EMC-249
TEST_F(Roles, ATargetThatItsSourceDoesNotAcceptIsNoSource) {
    one_target();
    right.node->set_ca_fingerprint("another");
    EXPECT_EQ(status(right, {".", "SWITCHOVERVOLUME", "R"}), 1265);
    EXPECT_NE(error.find("certificate"), std::string::npos) << error;
    EXPECT_EQ(state(left, "10.0.0.2"), "1 1");
    EXPECT_EQ(state(right, "10.0.0.1"), "2 1");
    EXPECT_TRUE(pair.write(left, 1, 11));
    // Neither is it by the commands of other programs, unless somebody accepts what may come of it.
    EXPECT_NE(pair.run(right, {"promote", "R"}).exit_code, 0);
    EXPECT_EQ(pair.record(right).role, Role::target);
    right.node->set_ca_fingerprint("simulated-ca");
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right, {&left}));
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
