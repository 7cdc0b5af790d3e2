#include "kits/ip/settings.h"

#include <gtest/gtest.h>

namespace understudy::kits {
namespace {

TEST(IpSettings, AreTheIdAndTheWordsOfTheInfo) {
    const auto settings = ip_settings(
        "10.0.0.100",
        {{"device", "eth0"}, {"prefix", "255.255.255.0"}, {"backup", "eth1"}, {"restore_mode", "Disable"}});
    ASSERT_TRUE(settings);
    EXPECT_EQ(settings->device, "eth0");
    EXPECT_EQ(settings->backup, "eth1");
    EXPECT_EQ(settings->prefix, 24);
    EXPECT_TRUE(settings->disabled);
    EXPECT_EQ(ip_info(*settings), "device=eth0 prefix=24 backup=eth1 restore_mode=disable");
}

// Spec: CMD-145
TEST(IpSettings, APrimaryInterfaceGivenAsBackupIsNone) {
    const auto settings = ip_settings("10.0.0.100", {{"device", "eth0"}, {"backup", "eth0"}});
    ASSERT_TRUE(settings);
    EXPECT_EQ(settings->backup, "");
}

TEST(IpSettings, WhatIsWrongIsNamed) {
    EXPECT_FALSE(ip_settings("web", {{"device", "eth0"}}));
    EXPECT_NE(ip_settings("10.0.0.1", {}).error().text.find("info field damaged"), std::string::npos);
    EXPECT_FALSE(ip_settings("10.0.0.1", {{"device", "eth0"}, {"prefix", "33"}}));
    EXPECT_TRUE(ip_settings("fd00::1", {{"device", "eth0"}, {"prefix", "128"}}));
    EXPECT_FALSE(ip_settings("fd00::1", {{"device", "eth0"}, {"prefix", "255.255.255.0"}}));
    EXPECT_FALSE(ip_settings("10.0.0.1", {{"device", "eth0"}, {"restore_mode", "off"}}));
}

// Spec: KIT-093
TEST(IpMask, IsALengthOrAMaskWithoutHoles) {
    EXPECT_EQ(prefix_of("255.255.255.255", true), 32);  // clouds
    EXPECT_EQ(prefix_of("255.255.240.0", true), 20);
    EXPECT_EQ(prefix_of("255.0.255.0", true), std::nullopt);
    EXPECT_EQ(prefix_of("0.0.0.0", true), std::nullopt);
    EXPECT_EQ(prefix_of("0", true), std::nullopt);
    EXPECT_EQ(usual_prefix("10.1.2.3"), 8);
    EXPECT_EQ(usual_prefix("172.16.0.1"), 16);
    EXPECT_EQ(usual_prefix("192.0.2.1"), 24);
    EXPECT_EQ(usual_prefix("fd00::1"), 64);
}

// Spec: KIT-118
TEST(IpSubnet, IsOfBothFamilies) {
    EXPECT_TRUE(same_subnet("10.0.0.1", "10.0.0.254", 24));
    EXPECT_FALSE(same_subnet("10.0.0.1", "10.0.1.1", 24));
    EXPECT_TRUE(same_subnet("10.0.0.1", "10.0.1.1", 23));
    EXPECT_TRUE(same_subnet("fd00::1", "fd00::ffff:1", 64));
    EXPECT_FALSE(same_subnet("fd00::1", "fd00:0:0:1::1", 64));
    EXPECT_FALSE(same_subnet("10.0.0.1", "fd00::1", 8));
    EXPECT_EQ(broadcast_of("10.1.2.3", 20), "10.1.15.255");
    EXPECT_EQ(broadcast_of("10.1.2.3", 32), std::nullopt);
    EXPECT_EQ(broadcast_of("fd00::1", 64), std::nullopt);
}

// Spec: KIT-115
TEST(PingList, LeavesOutBlankLinesAndComments) {
    std::vector<std::string> bad;
    EXPECT_EQ(parse_ping_list("# gateway\n10.0.0.1\n\n  fd00::1  # router\ngateway.example\n", &bad),
              (std::vector<std::string>{"10.0.0.1", "fd00::1"}));
    EXPECT_EQ(bad, std::vector<std::string>{"gateway.example"});
    EXPECT_TRUE(parse_ping_list("# none\n\n").empty());
}

}  // namespace
}  // namespace understudy::kits
