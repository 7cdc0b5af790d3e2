#include "cli/firewall_state.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace understudy::cli {
namespace {

FirewallState example() {
    FirewallState state;
    state.backend = "ufw";
    state.extra_peers = {"10.0.0.9"};
    state.peers = {"10.0.0.2", "fd00::2"};
    state.needs.path_ports = {1500, 1520};
    state.needs.probe_ports = {12345};
    state.needs.file_shares = true;
    state.ufw_rules = {"allow from 10.0.0.2 to any app Understudy"};
    return state;
}

// Spec: DEP-102
TEST(FirewallState, IsThereWhileRulesAreApplied) {
    std::string root = ::testing::TempDir() + "firewall-XXXXXX";
    ASSERT_NE(mkdtemp(root.data()), nullptr);
    const config::Layout layout{root, {}};
    EXPECT_EQ(load_firewall_state(layout)->backend, "") << "nothing was ever applied";
    ASSERT_TRUE(save_firewall_state(layout, example()));
    EXPECT_EQ(*load_firewall_state(layout), example());
    ASSERT_TRUE(forget_firewall_state(layout));
    EXPECT_EQ(*load_firewall_state(layout), FirewallState());
    EXPECT_TRUE(forget_firewall_state(layout));

    for (const auto* damaged :
         {"", "[]", "{\"version\": 2}", "{\"peers\": 3}", "{\"path_ports\": [\"x\"]}"}) {
        std::ofstream(root + "/etc/understudy/firewall.json") << damaged;
        EXPECT_FALSE(load_firewall_state(layout)) << damaged;
    }
    std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace understudy::cli
