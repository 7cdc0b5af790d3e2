// Addresses that change under a mirror, and the mirror's pair in its job with them.

#include "mirror/emcmd/test_lab.h"

#include <gmock/gmock.h>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

struct Addresses : Emcmd {
    /// The hosts lose the addresses that the mirror uses; they have their new ones.
    void lose_the_old_ones() {
        cut("10.0.0.1", "10.0.0.2");
        pair.wire.cut_off.insert("right");
        for (Host* host : {&left, &right})
            host->daemon->host->lose_link();
        ASSERT_TRUE(pair.until([&] { return state(left, "10.0.0.2") == "1 4"; }));
        // The data links have no addresses of their own here.
        pair.wire.cut_off.clear();
    }
    void cut(const std::string& one, const std::string& other) {
        pair.sim.cut_one_way(one, other);
        pair.sim.cut_one_way(other, one);
    }
    void open(const std::string& one, const std::string& other) {
        pair.sim.heal_one_way(one, other);
        pair.sim.heal_one_way(other, one);
    }
    std::string job_line(Host& host) {
        const std::string out = emcmd(host, {".", "GETJOBINFO"});
        const auto at = out.find("MirrorEndPoints = ");
        return at == std::string::npos ? out : out.substr(at + 18, out.find('\n', at) - at - 18);
    }
    void job_of_two() {
        (void)emcmd(left,
                    {".", "CREATEJOB", "data", "", "left", "R", "10.0.0.1", "right", "R", "10.0.0.2", "S"});
        ASSERT_EQ(exit_code, 0) << error;
    }
};

// Spec: EMC-100, EMC-106, MOP-117
TEST_F(Addresses, AMirrorWhoseAddressesAreGonePausesByItselfAndGoesOnByItselfWithTheNewOnes) {
    one_target();
    job_of_two();
    lose_the_old_ones();
    EXPECT_EQ(emcmd(left, {".", "ISBREAKUSERREQUESTED", "R"}), "Target 0, remote system 10.0.0.2: FALSE\n");
    EXPECT_TRUE(pair.write(left, 7, 77));
    pair.sim.run_for(10s);
    EXPECT_EQ(state(left, "10.0.0.2"), "1 4");
    sent();
    ok(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.2", "10.9.0.1", "10.9.0.2"});
    ASSERT_TRUE(in_sync(left, {&right}));
    EXPECT_EQ(sent(), 1U) << "partial";
    EXPECT_EQ(state(left, "10.9.0.2"), "1 1");
    for (Host* host : {&left, &right})
        EXPECT_EQ(job_line(*host), "left;R;10.9.0.1;right;R;10.9.0.2;S") << host->name;
}

// Spec: EMC-101, EMC-109
TEST_F(Addresses, NewAddressesThatAFirewallClosesKeepTheMirrorPausedUntilItIsOpen) {
    one_target();
    job_of_two();
    lose_the_old_ones();
    EXPECT_TRUE(pair.write(left, 7, 77));
    for (const char* from : {"10.9.0.1", "10.0.0.1"})  // whichever it asks from
        cut(from, "10.9.0.2");
    EXPECT_EQ(status(left, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.2", "10.9.0.1", "10.9.0.2"}), 53);
    EXPECT_THAT(error, HasSubstr("right could not be told"));
    pair.sim.run_for(20s);
    EXPECT_EQ(state(left, "10.9.0.2"), "1 4");
    EXPECT_THAT(own(left, "mirror health", {}, {{"ports", ""}}).out,
                HasSubstr("port 9999 of right (10.9.0.2) takes no new connections"));
    sent();
    for (const char* from : {"10.9.0.1", "10.0.0.1"})
        open(from, "10.9.0.2");
    ASSERT_TRUE(in_sync(left, {&right}));
    EXPECT_EQ(sent(), 1U);
    ASSERT_TRUE(pair.until([&] { return job_line(right) == "left;R;10.9.0.1;right;R;10.9.0.2;S"; }, 2min));
}

// Spec: EMC-099
TEST_F(Addresses, NeitherEndChangesThoseOfAMirrorThatRuns) {
    one_target();
    EXPECT_EQ(status(right, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.1", "10.9.0.2", "10.9.0.1"}), 87);
    EXPECT_THAT(error, HasSubstr("is mirroring: pause it first"));
    EXPECT_EQ(pair.peer(right).address, "10.0.0.1");
    EXPECT_EQ(pair.peer(left).address, "10.0.0.2");
    ok(left, {".", "PAUSEMIRROR", "R"});
    ASSERT_TRUE(pair.until([&] { return state(right, "10.0.0.1") == "2 4"; })) << "right has heard of it";
    EXPECT_EQ(status(right, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.1", "left", "right"}), 87);
    EXPECT_THAT(error, HasSubstr("\"left\" is no numeric"));
    ok(right, {".", "CHANGEMIRRORENDPOINTS", "R", "10.0.0.1", "10.9.0.2", "10.9.0.1"});
    EXPECT_EQ(pair.peer(left).address, "10.9.0.2");
    ok(left, {".", "CONTINUEMIRROR", "R"});
    ASSERT_TRUE(in_sync(left, {&right}));
}

// Spec: EMC-095, EMC-110, MOP-116, MOP-117
TEST_F(Addresses, ThisProgramsOwnCommandsChangeTheJobToo) {
    one_target();
    job_of_two();
    const auto endpoints = [this](const char* mine, const char* other) {
        return pair.run(left, {"endpoints", "R"},
                        {{"target", "right"}, {"source-address", mine}, {"target-address", other}});
    };
    EXPECT_NE(endpoints("10.9.0.1", "10.9.0.2").exit_code, 0) << "it is mirroring";
    EXPECT_EQ(job_line(right), "left;R;10.0.0.1;right;R;10.0.0.2;S");
    ASSERT_EQ(pair.run(left, {"type", "R", "async"}).exit_code, 0);
    EXPECT_EQ(job_line(right), "left;R;10.0.0.1;right;R;10.0.0.2;A");
    ASSERT_EQ(pair.run(left, {"pause", "R"}).exit_code, 0);
    // What the job cannot take, and what is no address, changes nothing.
    for (const auto& [mine, other] : {std::pair{"10.9.0.1", "10.9.0.1"},
                                      {"left", "right"},
                                      {"10.9.0.1", "10.9.0.256"},
                                      {"10.9.0.1", ""}}) {
        EXPECT_NE(endpoints(mine, other).exit_code, 0) << other;
        EXPECT_EQ(pair.peer(left).address, "10.0.0.2");
        EXPECT_EQ(job_line(left), "left;R;10.0.0.1;right;R;10.0.0.2;A");
    }
    const config::Reply done = endpoints("10.9.0.1", "10.9.0.2");
    ASSERT_EQ(done.exit_code, 0) << done.err;
    for (Host* host : {&left, &right})
        EXPECT_EQ(job_line(*host), "left;R;10.9.0.1;right;R;10.9.0.2;A") << host->name;
    ASSERT_EQ(pair.run(left, {"continue", "R"}).exit_code, 0);
    ASSERT_TRUE(in_sync(left, {&right}));
    EXPECT_EQ(own(left, "mirror health", {}).out, "left: mirroring\n1 mirroring\n");
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
