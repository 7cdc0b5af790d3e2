// Mirrors made, extended and ended together with their job, and what is not open to whoever is not the
// cluster.

#include "mirror/emcmd/test_lab.h"

#include <gmock/gmock.h>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

struct JobMirrors : Emcmd {
    std::string info(Host& host) { return emcmd(host, {".", "GETJOBINFO"}); }
    config::Reply add(Host& target, const std::string& job) {
        std::map<std::string, std::string> options{{"target", target.name},
                                                   {"target-device", "/disks/r"},
                                                   {"source-address", left.address},
                                                   {"target-address", target.address}};
        if (!job.empty()) options["job"] = job;
        return pair.run(left, {"add", "R"}, options);
    }
    void protect(Host& host, const char* mask) { ok(host, {".", "SETCONFIGURATION", "R", mask}); }
    void expect_error(const config::Reply& reply, const char* says) {
        EXPECT_NE(reply.exit_code, 0) << reply.out;
        EXPECT_THAT(reply.err, HasSubstr(says));
    }
};

// Spec: MOP-049, MOP-070, MOP-071, MOP-112, KIT-068
TEST_F(JobMirrors, ATargetMoreIsInTheJobOfTheVolumeWithEveryPair) {
    ASSERT_EQ(pair.create({{"job", "Vol.R"}}).exit_code, 0);
    ASSERT_TRUE(in_sync(left, {&right}));
    const config::Reply added = add(third, "other");  // it is in one
    ASSERT_EQ(added.exit_code, 0) << added.err;
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    for (Host* host : pair.hosts) {
        const std::string jobs = info(*host);
        EXPECT_THAT(jobs, HasSubstr("Name = Vol.R\n")) << host->name;
        EXPECT_THAT(jobs, HasSubstr("left;R;10.0.0.1;right;R;10.0.0.2;S")) << host->name;
        EXPECT_THAT(jobs, HasSubstr("left;R;10.0.0.1;third;R;10.0.0.3;S")) << host->name;
        EXPECT_THAT(jobs, HasSubstr("right;R;10.0.0.2;third;R;10.0.0.3;S")) << host->name;
        EXPECT_THAT(jobs, Not(HasSubstr("other"))) << host->name;
    }
    EXPECT_EQ(own(left, "mirror delete", {"R"}, {{"target", "third"}}).exit_code, 0);
    EXPECT_EQ(info(third), "");
    EXPECT_THAT(info(right), Not(HasSubstr("third")));
}

// Spec: MOP-049, MOP-072, EMC-311
TEST_F(JobMirrors, ATargetThatTheJobCannotTakeIsNoTarget) {
    one_target();
    // An address of the new target is another system's there.
    EXPECT_EQ(own(left, "mirror job", {"create", "sql", "left;F;10.0.0.1;fourth;F;10.0.0.3;S"}).exit_code, 0);
    const std::string before = info(left);
    expect_error(add(third, "sql"), "job sql cannot take it");
    EXPECT_EQ(info(left), before);
    EXPECT_EQ(pair.record(left).peer_names(), "right");
    EXPECT_EQ(third.daemon->manager.find(VolumeId("R")), nullptr);
    EXPECT_EQ(state(left, "10.0.0.2"), "1 1");
    // Without a job there is nothing to take it.
    EXPECT_EQ(add(third, "").exit_code, 0);
    EXPECT_EQ(info(left), before);
}

// Spec: MOP-033, EMC-109
TEST_F(JobMirrors, AHostThatIsAwayDoesNotKeepAnotherFromBecomingTargetAndHearsOfItLater) {
    ASSERT_EQ(pair.create({{"job", "Vol.R"}}).exit_code, 0);
    ASSERT_TRUE(in_sync(left, {&right}));
    power_off(right);
    const config::Reply added = add(third, "Vol.R");
    ASSERT_EQ(added.exit_code, 0) << added.err;
    EXPECT_THAT(info(third), HasSubstr("right;R;10.0.0.2;third;R;10.0.0.3;S"));
    start(right);
    ASSERT_TRUE(pair.until([&] { return info(right) == info(left); }, 2min));
}

// Spec: MOP-078, EMC-312, KIT-084
TEST_F(JobMirrors, WhatTheClusterProtectsIsSwitchedAndEndedByTheClusterAlone) {
    two_targets();
    (void)job_of_three();
    for (const char* mask : {"32", "128"}) {  // of this cluster, of another one
        for (Host* host : pair.hosts)
            protect(*host, mask);
        expect_error(pair.run(right, {"promote", "R"}), "the cluster protects volume R on right");
        expect_error(own(left, "mirror delete", {"R"}), "the cluster protects volume R on left");
        expect_error(own(left, "mirror delete", {"R"}, {{"target", "third"}}),
                     "the cluster protects volume R");
        for (const bool mirrors_too : {false, true}) {
            std::map<std::string, std::string> options;
            if (mirrors_too) options["mirrors"] = "";
            expect_error(own(right, "mirror job", {"delete", "data"}, options),
                         "the cluster protects volume R");
        }
    }
    // Also by what another of its systems says, whose source it is.
    protect(right, "0");
    protect(third, "0");
    expect_error(own(right, "mirror job", {"delete", "data"}), "the cluster protects volume R on left");
    EXPECT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_THAT(info(right), HasSubstr("Name = data"));

    // What only moves data, and what its kit does, is open.
    EXPECT_EQ(pair.run(left, {"pause", "R"}).exit_code, 0);
    EXPECT_EQ(pair.run(left, {"continue", "R"}).exit_code, 0);
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    protect(right, "32");
    EXPECT_EQ(pair.run(right, {"promote", "R"}, {{"cluster", ""}}).exit_code, 0);
    ASSERT_TRUE(in_sync(right, {&left, &third}));
    EXPECT_EQ(own(right, "mirror delete", {"R"}, {{"target", "third"}, {"cluster", ""}}).exit_code, 0);
    // emcmd asks nobody.
    ok(left, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(left, {&right}));
    ok(left, {".", "DELETEMIRROR", "R"});
}

// Spec: KIT-068, EMC-143
TEST_F(JobMirrors, AVolumeWithoutATargetIsNoMirrorForEmcmdAndGetsItsFirstByIt) {
    ASSERT_EQ(pair.run(left, {"create", "R"}, {{"device", "/disks/r"}}).exit_code, 0);
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 0 - - 0\n");
    EXPECT_EQ(emcmd(left, {".", "GETSOURCEMIRROREDVOLUMES"}).find("R"), std::string::npos);
    for (const char* verb : {"PAUSEMIRROR", "CONTINUEMIRROR", "BREAKMIRROR", "RESYNCMIRROR", "DELETEMIRROR"})
        EXPECT_EQ(status(left, {".", verb, "R"}), 2) << verb;
    EXPECT_NE(status(right, {"10.0.0.2", "CREATEMIRROR", "R", "10.0.0.1", "S"}), 0) << "left serves it";
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.2", "S"});
    ASSERT_TRUE(in_sync(left, {&right}));
    EXPECT_EQ(right.disk.blocks[3], 33);
    EXPECT_EQ(emcmd(left, {".", "GETMIRRORVOLINFO", "R"}), "R: 1 left 10.0.0.2 1\n");
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
