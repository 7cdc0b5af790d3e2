// What the health check finds by looking: each of its checks with what makes it fail, on hosts in the
// simulated world.

#include "mirror/emcmd/test_lab.h"

#include <gmock/gmock.h>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

struct HealthCheck : Emcmd {
    std::string health(Host& host, std::map<std::string, std::string> options = {}) {
        return own(host, "mirror health", {}, std::move(options)).out;
    }
    std::string verdict(Host& host) { return health(host, {{"verdict", ""}}); }
    FakeHost& facts(Host& host) { return programs.at(host.name)->facts; }
};

// Spec: REP-337
TEST_F(HealthCheck, LooksAtThisHostAndItsMirrors) {
    one_target();
    const std::string sound = "left: mirroring\n1 mirroring\n";
    ASSERT_EQ(health(left), sound);
    EXPECT_EQ(verdict(left), "healthy\n");
    facts(left).eligibility.swap = true;
    EXPECT_THAT(health(left), HasSubstr("warning: left: volume R: it is used as swap\n"));
    EXPECT_EQ(verdict(left), "warning\n");
    facts(left).eligibility.swap = false;
    EXPECT_EQ(health(left), sound) << "it is looked at anew each time";
    facts(left).log_room = 1000;
    EXPECT_THAT(health(left), HasSubstr("has room for 1000 bytes only"));
    facts(left).log_room = std::nullopt;
    EXPECT_THAT(health(left), HasSubstr("the directory of the event log"));
    facts(left).log_room = 1ULL << 30;
    facts(left).ephemeral = {"nvme1n1"};
    EXPECT_THAT(health(left), HasSubstr("nvme1n1"));
    facts(left).ephemeral.clear();
    facts(left).boot_table = "/dev/understudy/R /srv ext4 defaults 0 2\n";
    EXPECT_THAT(health(left), HasSubstr("volume R: "));
    facts(left).boot_table.clear();
    EXPECT_EQ(health(left), sound);

    ok(right, {".", "SETSNAPSHOTLOCATION", "R", "/snaps"});
    EXPECT_EQ(verdict(right), "healthy\n");
    facts(right).snapshots = Status::path_not_found;
    EXPECT_THAT(health(right), HasSubstr("volume R: no snapshot can be taken: /snaps is missing"));
    // The target's device becomes too small for a source that grows.
    left.disk.size = 24 * 65536;
    ASSERT_TRUE(pair.until([&] { return pair.peer(left).user_requested; }));
    (void)status(left, {".", "CONTINUEMIRROR", "R"});
    pair.sim.run_for(5s);
    EXPECT_THAT(health(left), HasSubstr("less than"));
    EXPECT_EQ(verdict(left), "warning\n");
}

// Spec: REP-337
TEST_F(HealthCheck, TriesWhetherTheHostsAcceptEachOtherAndWhetherJobsSayTheSame) {
    one_target();
    (void)job_of_three();
    const std::string sound = "left: mirroring\n1 mirroring\n";
    EXPECT_EQ(health(left, {{"ports", ""}}), sound);
    EXPECT_EQ(health(right, {{"ports", ""}}), "right: mirroring\n1 mirroring\n");
    right.node->set_ca_fingerprint("another");
    EXPECT_THAT(health(left, {{"ports", ""}}),
                HasSubstr("error: volume R: right (10.0.0.2) and left do not accept each other: "));
    EXPECT_EQ(health(left), sound) << "it is tried on demand";
    right.node->set_ca_fingerprint("simulated-ca");
    EXPECT_EQ(health(left, {{"ports", ""}}), sound);
    // The job is changed by hand, and the mirror is not.
    const std::string job = emcmd(left, {".", "GETJOBINFO"}).substr(5, 36);
    ok(left, {".", "UPDATEJOB", job, "data",     "",      "left",     "R",        "10.9.0.1", "right",
              "R", "10.0.0.2",  "A", "left",     "R",     "10.0.0.1", "third",    "R",        "10.0.0.3",
              "S", "right",     "R", "10.0.0.2", "third", "R",        "10.0.0.3", "S"});
    const std::string found = health(left);
    EXPECT_THAT(found, HasSubstr("the mirror with right goes from 10.0.0.1 to 10.0.0.2, and the job says "
                                 "from 10.9.0.1 to 10.0.0.2\n"));
    EXPECT_THAT(found, HasSubstr("the mirror with right is synchronous, and the job says otherwise\n"));
    EXPECT_EQ(verdict(left), "warning\n");
}

// Spec: REP-337
TEST_F(HealthCheck, ASplitBrainIsAnError) {
    one_target();
    pair.cut();
    EXPECT_EQ(pair.run(right, {"promote", "R"}, {{"force", ""}}).exit_code, 0);
    pair.heal();
    ASSERT_TRUE(pair.until([&] { return pair.peer(left).split_brain; }));
    EXPECT_THAT(health(left), HasSubstr("error: volume R: split brain with right\n"));
    EXPECT_EQ(verdict(left), "error\n");
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
