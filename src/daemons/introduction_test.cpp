// How nodes that do not know each other get paths: what the member proposes, what the other accepts.

#include "daemons/introduction.h"

#include "config/test_support.h"

#include <gtest/gtest.h>

namespace understudy::daemons {
namespace {

using config::Path;

Path path(std::string local, std::string remote, int priority = 1) {
    Path made;
    made.transport = "TLI";
    made.local_address = std::move(local);
    made.remote_address = std::move(remote);
    made.priority = priority;
    return made;
}

// Spec: CLU-045
TEST(Introduction, ProposesOnePathForEachNetworkOnWhichTheMemberReachesBoth) {
    auto first = path("10.1.0.1", "10.1.0.3");
    first.interval_ms = 500;
    first.misses = 4;
    const auto ends = paths_between({first, path("10.2.0.1", "10.2.0.3", 2), path("10.9.0.1", "10.9.0.3", 3)},
                                    {path("10.2.0.1", "10.2.0.2"), path("10.1.0.1", "10.1.0.2", 2)});
    ASSERT_EQ(ends.size(), 2U);
    EXPECT_EQ(ends[0].local_address, "10.1.0.2") << "the member's end";
    EXPECT_EQ(ends[0].remote_address, "10.1.0.3");
    EXPECT_EQ(ends[0].priority, 1);
    EXPECT_EQ(ends[0].interval_ms, 500);
    EXPECT_EQ(ends[0].misses, 4);
    EXPECT_EQ(ends[1].local_address, "10.2.0.2");
    EXPECT_EQ(ends[1].remote_address, "10.2.0.3");
    EXPECT_EQ(ends[1].priority, 2);
}

TEST(Introduction, WithoutACommonNetworkTheBestAddressesMustDo) {
    const auto ends = paths_between({path("10.1.0.1", "10.1.0.3")}, {path("10.2.0.1", "10.2.0.2")});
    ASSERT_EQ(ends.size(), 1U);
    EXPECT_EQ(ends[0].local_address, "10.2.0.2");
    EXPECT_EQ(ends[0].remote_address, "10.1.0.3");
    EXPECT_TRUE(paths_between({}, {path("10.2.0.1", "10.2.0.2")}).empty());
    EXPECT_TRUE(paths_between({path("10.1.0.1", "10.1.0.3")}, {}).empty());
}

class Acceptance : public ::testing::Test {
  protected:
    [[nodiscard]] std::vector<std::string> devices() const {
        std::vector<std::string> names;
        for (const auto& each : database->own().paths)
            names.push_back(each.device);
        return names;
    }
    config::testing::Shell shell{"left"};
    config::Settings settings;
    config::Database* database = shell.database.get();
    const NodeName third{"third"};
};

// Spec: CLU-100, DEP-216
TEST_F(Acceptance, TakesPortsThatAreFreeAtBothEndsAndMakesTheSystemKnown) {
    ASSERT_TRUE(accept_paths(*database, settings, NodeName("right"), {path("10.1.0.1", "10.1.0.2")}, {}));
    const auto made = accept_paths(*database, settings, third,
                                   {path("10.1.0.1", "10.1.0.3"), path("10.2.0.1", "10.2.0.3", 2)}, {1510});
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ((*made)[0].device, "TCP:1520") << "1500 is right's, 1510 is taken at the other end";
    EXPECT_EQ((*made)[1].device, "TCP:1530");
    EXPECT_TRUE(database->own().systems.contains(third));
    EXPECT_EQ(devices(), (std::vector<std::string>{"TCP:1500", "TCP:1520", "TCP:1530"}));
}

TEST_F(Acceptance, AskedAgainAnswersWhatThereIsAndMakesOnlyWhatLacks) {
    ASSERT_TRUE(accept_paths(*database, settings, third, {path("10.1.0.1", "10.1.0.3")}, {}));
    const auto made = accept_paths(*database, settings, third,
                                   {path("10.1.0.1", "10.1.0.3"), path("10.2.0.1", "10.2.0.3", 2)}, {1500});
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ((*made)[0].device, "TCP:1500");
    EXPECT_EQ((*made)[1].device, "TCP:1510");
    EXPECT_EQ(devices().size(), 2U);
}

TEST_F(Acceptance, MakesAllOrNone) {
    const auto refused = accept_paths(*database, settings, third,
                                      {path("10.1.0.1", "10.1.0.3"), path("10.2.0.1", "no address")}, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::bad_argument);
    EXPECT_TRUE(devices().empty());
    EXPECT_FALSE(database->own().systems.contains(third));
    EXPECT_FALSE(accept_paths(*database, settings, third, std::vector<Path>(kMaxPathsAtOnce + 1), {}));
}

}  // namespace
}  // namespace understudy::daemons
