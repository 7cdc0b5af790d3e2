// The same faults under many seeds.

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;

// The same faults under many seeds: whatever the order of messages, nothing runs twice and A's death is
// survived.
TEST(Seeds, PowerLossIsSurvivedWhateverTheTiming) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        Web c({"A", "B", "C"}, seed);
        c.boot_all();
        const auto moving = c.begin("B", "-t web.0 -a restore");
        c.run(c.sim().random_duration(0ms, 400ms));
        c.power_off("A");
        const auto up = [&] {
            return c.states("B") == "ISP ISP ISP ISP" || c.states("C") == "ISP ISP ISP ISP";
        };
        ASSERT_TRUE(c.wait(up, 60s)) << "seed " << seed << ": B " << c.states("B") << ", C " << c.states("C");
        c.boot("A");
        ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }, 60s)) << "seed " << seed;
        c.run(5s);
        EXPECT_TRUE(up()) << "seed " << seed;
        EXPECT_FALSE(c.was_ever_twice()) << "seed " << seed;
    }
}

// Spec: CLU-107, CLU-128, CLU-187, CLU-201
TEST(Seeds, RandomPowerLossesFailuresAndCommandsNeverRunAnythingTwiceAndEndWithEverythingInService) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        Web c({"A", "B", "C"}, seed);
        c.resource("mail.0", {"ip.1"});
        c.boot_all();
        const std::vector<std::string> nodes{"A", "B", "C"};
        const std::vector<std::string> scripts{"restore ip.0", "remove Vol.E", "restore mail.0",
                                               "remove web.0"};
        const auto pick = [&](const std::vector<std::string>& from) {
            return from[c.sim().random_below(from.size())];
        };
        std::vector<std::shared_ptr<std::optional<config::Reply>>> replies;
        for (int event = 0; event < 15; ++event) {
            const auto node = pick(nodes);
            auto& host = c.host(node);
            const auto living = std::count_if(nodes.begin(), nodes.end(),
                                              [&](const auto& n) { return c.host(n).daemon != nullptr; });
            switch (c.sim().random_below(5)) {
                case 0:
                    if (host.daemon && living > 1) c.power_off(node);
                    break;
                case 1:
                    if (!host.daemon) c.boot(node);
                    break;
                case 2:
                    host.failing.insert(pick(scripts));
                    break;
                case 3:
                    host.failing.clear();
                    break;
                default:
                    if (host.daemon)
                        replies.push_back(c.begin(
                            node, fmt::format("-t {} -a {}", pick({"web.0", "Vol.E", "mail.0", "db.0"}),
                                              pick({"restore", "restore", "remove"}))));
            }
            c.run(c.sim().random_duration(10ms, 4s));
            ASSERT_FALSE(c.was_ever_twice()) << "seed " << seed << " event " << event;
        }
        for (const auto& node : nodes) {
            c.host(node).failing.clear();
            if (!c.host(node).daemon) c.boot(node);
        }
        ASSERT_TRUE(c.wait([&] {
            return std::all_of(nodes.begin(), nodes.end(),
                               [&](const auto& n) { return c.host(n).daemon->engine->ready(); });
        })) << "seed "
            << seed;
        c.run(400s);  // whatever waits for a reservation has had its limit
        // An administrator can always bring everything up, wherever the faults left it.
        for (const auto* root : {"web.0", "db.0", "mail.0"}) {
            const auto reply = c.perform("B", fmt::format("-t {} -a restore", root));
            EXPECT_EQ(reply.exit_code, 0) << "seed " << seed << ": " << reply.err;
        }
        c.run(2s);  // reservations on other nodes end by a message
        EXPECT_EQ(c.states("B"), "ISP ISP ISP ISP ISP ISP") << "seed " << seed;
        EXPECT_EQ(c.host("B").running.size(), 6U) << "seed " << seed;
        EXPECT_FALSE(c.was_ever_twice()) << "seed " << seed;
        for (const auto& node : nodes)
            for (const auto& [tag, instance] : c.host(node).store.own.instances)
                EXPECT_EQ(instance.reservation, config::Reservation::none)
                    << "seed " << seed << " " << node << " " << tag.str();
        if (::testing::Test::HasFailure()) return;
    }
}

}  // namespace
}  // namespace understudy::recovery::testing
