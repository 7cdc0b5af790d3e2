// Orderly stops as the peers see them.

#include "recovery/test_cluster.h"

#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kSeed = 5;

struct Pair : TestCluster {
    Pair() : TestCluster(kSeed, {"A", "B"}) { resource("web.0", {}); }
    bool failover_forbidden_on(const std::string& node, const std::string& of) {
        return host(node).daemon->database->has_flag(no_failover_flag(NodeName(of)));
    }
};

// Spec: CLU-219, CMD-099
TEST(Stop, TheMarkOfAStopThatWasTooShortToBeNoticedGoes) {
    Pair c;
    c.boot_all();
    c.stop("A", true);
    ASSERT_TRUE(c.failover_forbidden_on("B", "A"));
    c.boot("A", false);  // before B has missed a heartbeat too many
    ASSERT_TRUE(c.wait([&] { return !c.failover_forbidden_on("B", "A"); }));
    c.power_off("A");
    EXPECT_TRUE(c.wait([&] { return c.state("B", "web.0") == "ISP"; })) << "A's loss is a failure now";
}

// Spec: CLU-219, CMD-099
TEST(Stop, TheMarkStaysWhileTheNodeIsDown) {
    Pair c;
    c.boot_all();
    c.stop("A", false);
    c.run(30s);
    EXPECT_TRUE(c.failover_forbidden_on("B", "A"));
    EXPECT_EQ(c.state("B", "web.0"), "OSU");
    c.boot("A");
    EXPECT_TRUE(c.wait([&] { return !c.failover_forbidden_on("B", "A"); }));
}

}  // namespace
}  // namespace understudy::recovery::testing
