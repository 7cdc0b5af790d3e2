// What a person does with a mirror or with a job on both ends at once.

#include "mirror/emcmd/test_lab.h"

#include <gmock/gmock.h>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

struct Actions : Emcmd {
    config::Reply mirror(Host& host, Words words, std::map<std::string, std::string> options = {}) {
        return pair.run(host, std::move(words), std::move(options));
    }
    config::Reply job(Host& host, Words words, std::map<std::string, std::string> options = {}) {
        return own(host, "mirror job", std::move(words), std::move(options));
    }
    void done(const config::Reply& reply) { EXPECT_EQ(reply.exit_code, 0) << reply.err; }
    void refused(const config::Reply& reply, const char* says) {
        EXPECT_NE(reply.exit_code, 0);
        EXPECT_THAT(reply.err, HasSubstr(says));
    }
    bool unlocked(Host& host) { return pair.record(host).unlocked; }
    bool usable(Host& host) { return host.daemon->host->writable(); }
};

// Spec: EMC-309, EMC-310, REP-359, MOP-100, MOP-105, MOP-107
TEST_F(Actions, OneMirrorIsPausedAndOpenedAndContinuedOnlyWhenItsTargetCouldBeClosed) {
    two_targets();
    done(mirror(left, {"pause", "R"}, {{"target", "right"}, {"unlock", ""}}));
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
    EXPECT_EQ(state(left, "10.0.0.3"), "1 1") << "the other goes on";
    EXPECT_TRUE(unlocked(right));
    EXPECT_TRUE(usable(right));
    EXPECT_TRUE(pair.write(right, 3, 99));
    EXPECT_TRUE(pair.write(left, 4, 44));
    right.disk.used_by = "backup (pid 812)";
    refused(mirror(left, {"continue", "R"}), "backup (pid 812)");
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
    EXPECT_TRUE(unlocked(right));
    right.disk.used_by.clear();
    sent();
    done(mirror(left, {"continue", "R"}));
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_FALSE(unlocked(right));
    EXPECT_FALSE(usable(right));
    EXPECT_EQ(right.disk.blocks, left.disk.blocks) << "what was written there is gone";
    EXPECT_EQ(sent(), 2U) << "partial";
}

// Spec: EMC-309, REP-359, MOP-109, MOP-110
TEST_F(Actions, ABrokenMirrorIsOpenAndAResyncClosesItAndSendsAll) {
    one_target();
    done(mirror(left, {"break", "R"}, {{"unlock", ""}}));
    EXPECT_EQ(state(left, "10.0.0.2"), "1 3");
    EXPECT_TRUE(unlocked(right));
    EXPECT_TRUE(pair.write(right, 3, 99));
    right.disk.used_by = "backup (pid 812)";
    refused(mirror(left, {"resync", "R"}), "backup (pid 812)");
    EXPECT_EQ(state(left, "10.0.0.2"), "1 3");
    right.disk.used_by.clear();
    sent();
    done(mirror(left, {"resync", "R"}));
    ASSERT_TRUE(in_sync(left, {&right}));
    EXPECT_EQ(sent(), control::testing_pair::kBlocks);
    EXPECT_FALSE(unlocked(right));
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    // A target that is away keeps nobody from continuing.
    power_off(right);
    refused(mirror(left, {"pause", "R"}, {{"unlock", ""}}),
            "volume R is paused, but its target is not unlocked: ");
    done(mirror(left, {"continue", "R"}));
    start(right);
    ASSERT_TRUE(in_sync(left, {&right}));
}

// Spec: EMC-309, EMC-310, MOP-099
TEST_F(Actions, AJobsMirrorsAreActedOnFromAnyOfItsSystems) {
    two_targets();
    (void)job_of_three();
    done(job(third, {"pause", "data"}, {{"unlock", ""}}));
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
    EXPECT_EQ(state(left, "10.0.0.3"), "1 4");
    EXPECT_TRUE(unlocked(right) && unlocked(third));
    // One that cannot be closed keeps all from being overwritten.
    third.disk.used_by = "backup (pid 812)";
    refused(job(right, {"continue", "data"}), "backup (pid 812)");
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
    third.disk.used_by.clear();
    done(job(right, {"continue", "data"}));
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_FALSE(unlocked(right) || unlocked(third));
    done(job(left, {"break", "data"}));
    EXPECT_EQ(state(left, "10.0.0.2"), "1 3");
    EXPECT_EQ(state(left, "10.0.0.3"), "1 3");
    EXPECT_FALSE(unlocked(right));
    sent();
    done(job(third, {"resync", "data"}));
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    EXPECT_EQ(sent(), 2 * control::testing_pair::kBlocks);
    // A target that is away is none of the sources.
    power_off(third);
    done(job(right, {"pause", "data"}));
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
    done(job(right, {"continue", "data"}));
    start(third);
    ASSERT_TRUE(in_sync(left, {&right, &third}));
    power_off(left);
    refused(job(right, {"pause", "data"}), "volume R: left may be its source, and does not answer");
}

// Spec: EMC-309, MOP-078, MOP-099
TEST_F(Actions, AJobsVolumesAreSwitchedToWhereItIsTypedUnlessTheClusterSwitchesThem) {
    two_targets();
    (void)job_of_three();
    ok(left, {".", "SETCONFIGURATION", "R", "32"});
    refused(job(right, {"switchover", "data"}), "the cluster protects volume R on left");
    EXPECT_EQ(state(left, "10.0.0.2"), "1 1");
    ok(left, {".", "SETCONFIGURATION", "R", "0"});
    done(job(right, {"switchover", "data"}));
    ASSERT_TRUE(in_sync(right, {&left, &third}));
    done(job(right, {"switchover", "data"}));  // it is source already
    done(mirror(right, {"pause", "R"}, {{"target", "left"}}));
    refused(job(left, {"switchover", "data"}), "only a target that is mirroring can become source");
    EXPECT_EQ(pair.record(right).role, Role::source);
    refused(job(left, {"switchover", "other"}), "there is no job other");
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
