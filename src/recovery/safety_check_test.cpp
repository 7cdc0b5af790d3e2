// The safety check on simulated clusters: hosts that answer probes although their paths are DEAD, and do not.

#include "recovery/safety_check.h"

#include "recovery/test_hierarchies.h"

#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;

/// B checks A; which of A's addresses answer is the test's to say.
struct Checked : One {
    explicit Checked(bool recheck = false, bool informs_only = false, SafetyCheck::Resolver resolve = {}) {
        boot("A");
        boot("B");
        auto& daemon = *host("B").daemon;
        SafetyCheck::Options options;
        options.timeout = 12s;
        options.recheck = recheck;
        options.informs_only = informs_only;
        options.resolve = std::move(resolve);
        check.emplace(daemon.world, *daemon.database, *daemon.cluster, options,
                      [this](SafetyCheck::Target target) { return probe(std::move(target)); });
        daemon.engine->add_gate(*check);
        EXPECT_TRUE(wait([&] { return states("A") == "ISP ISP ISP" && daemon.engine->ready(); }));
    }
    ~Checked() { host("B").daemon.reset(); }

    runtime::Task<bool> probe(SafetyCheck::Target target) {
        probed.push_back(target.address);
        co_await runtime::sleep_for(host("B").daemon->tasks, 200ms);
        co_return answering;
    }
    void cut() { sim().partition("A", "B"); }
    void heal() { sim().heal_all(); }

    bool answering = false;
    std::vector<std::string> probed;
    std::optional<SafetyCheck> check;
};

// Spec: CLU-071, CLU-075
TEST(SafetyCheck, AHostThatNothingAnswersForIsTakenOverAfterTheTimeout) {
    Checked c;
    c.power_off("A");
    c.run(11s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 10s));
    EXPECT_EQ(c.probed, (std::vector<std::string>{"10.0.0.1", "10.0.0.1", "10.0.0.1"}));
}

runtime::Task<std::vector<std::string>> addresses_of(NodeName node) {
    EXPECT_EQ(node, NodeName("A"));
    // Its own address again, this host's, loopback's, and one that no path has.
    std::vector<std::string> found{"10.0.0.1", "10.0.0.2", "127.0.1.1", "::1", "192.0.2.7"};
    co_return found;
}

// Spec: CLU-072
TEST(SafetyCheck, TheAddressesOfItsNameAreAskedToo) {
    Checked c(false, false, addresses_of);
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.probed.size() == 2; }, 10s));
    EXPECT_EQ(c.probed, (std::vector<std::string>{"10.0.0.1", "192.0.2.7"}));
}

// Spec: CLU-073
TEST(SafetyCheck, AHostThatAnswersIsLeftAlone) {
    Checked c;
    c.answering = true;
    c.cut();
    c.run(60s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-076, CLU-077
TEST(SafetyCheck, StrictDoesNotTryAgainBeforeThePathsWereAliveAndDead) {
    Checked c;
    c.answering = true;
    c.cut();
    c.run(5s);
    c.answering = false;
    c.run(60s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU") << "it answered once in this loss";
    c.heal();
    ASSERT_TRUE(c.wait(
        [&] { return c.host("B").daemon->cluster->peer_state(NodeName("A")) == comm::PeerState::alive; }));
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 30s));
}

// Spec: CLU-077
TEST(SafetyCheck, RecheckTakesOverWhenTheHostFallsSilent) {
    Checked c(true);
    c.answering = true;
    c.cut();
    c.run(40s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    c.answering = false;
    c.power_off("A");
    c.run(6s);  // the last answer may be a probe's period old
    EXPECT_EQ(c.states("B"), "OSU OSU OSU") << "it was silent for less than the time-out";
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 30s));
}

// Spec: CLU-074
TEST(SafetyCheck, APathThatReturnsMeanwhileEndsIt) {
    Checked c;
    c.cut();
    c.run(5s);
    c.heal();
    c.run(60s);
    EXPECT_EQ(c.states("B"), "OSU OSU OSU");
    EXPECT_EQ(c.states("A"), "ISP ISP ISP");
    EXPECT_FALSE(c.was_ever_twice());
}

// Spec: CLU-185
TEST(SafetyCheck, WithAWitnessItHoldsNothingUp) {
    Checked c(false, true);
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 5s));
    c.run(20s);
    EXPECT_FALSE(c.probed.empty()) << "but it looks";
}

// Spec: CLU-040, CLU-072
TEST(SafetyCheck, AnAddressThatMovesIsNotProbed) {
    Checked c;
    auto& database = *c.host("B").daemon->database;
    auto instance = *database.own().find(Tag("ip.0"));
    instance.id = ResourceId("10.0.0.1");
    database.commit({config::PutInstance{instance}});
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 30s));
    EXPECT_TRUE(c.probed.empty());
}

}  // namespace
}  // namespace understudy::recovery::testing
