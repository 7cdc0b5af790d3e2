#include "config/settings.h"

#include "config/address.h"

#include <gtest/gtest.h>

#include <set>

namespace understudy::config {
namespace {

// Spec: CLU-276, CLU-075, CLU-077, CLU-141, CLU-206, CMD-114
TEST(Settings, DefaultsAreTheOnesOfTheTable) {
    const auto settings = Settings::parse("");
    ASSERT_TRUE(settings);
    EXPECT_EQ(settings->integer("SAFETY_CHECK_TIMEOUT"), 30);
    EXPECT_EQ(settings->text("SAFETY_CHECK_MODE"), "off");
    EXPECT_EQ(settings->integer("RESRVTIMEOUT"), 150);
    EXPECT_EQ(settings->integer("RESRVRECTIMEOUT"), 150);
    EXPECT_EQ(settings->integer("SHUTDOWN_SWITCHOVER_TIMEOUT"), 600);
    EXPECT_EQ(settings->text("ON_RECOVERY_FAILURE"), "failover");
    EXPECT_EQ(settings->text("ADMIN_GROUP"), "lkadmin");
    EXPECT_FALSE(settings->boolean("ALLOW_FAST_HEARTBEATS"));
    EXPECT_FALSE(settings->boolean("NOBCASTPING"));
    EXPECT_TRUE(settings->boolean("HA_DISABLE"));
    EXPECT_EQ(settings->integer("INIT_PEER_WAIT"), Settings::kAutomatic);
    EXPECT_EQ(settings->integer("RESMON_CHECK_TIMEOUT"), Settings::kAutomatic);
    EXPECT_FALSE(settings->present("LCMHBEATTIME"));
    EXPECT_EQ(settings->text("NO_SUCH_KEY"), "");
}

// Spec: QUO-005, QUO-007
TEST(Settings, QuorumDefaultsAreThoseOfTheManual) {
    const auto settings = Settings::parse("");
    ASSERT_TRUE(settings);
    EXPECT_EQ(settings->text("QUORUM_MODE"), "none");
    EXPECT_EQ(settings->text("WITNESS_MODE"), "none");
    EXPECT_EQ(settings->text("QUORUM_LOSS_ACTION"), "osu");
    EXPECT_EQ(settings->integer("QUORUM_QUARANTINE_SECS"), 300);
    EXPECT_EQ(settings->integer("QWK_STORAGE_HBEATTIME"), 6);
    EXPECT_EQ(settings->integer("QWK_STORAGE_NUMHBEATS"), 4);
    EXPECT_EQ(settings->text("QWK_STORAGE_TYPE"), "");
    EXPECT_FALSE(settings->boolean("QUORUM_DEBUG"));
}

TEST(Settings, LinesMayHaveBlanksQuotesCommentsAndForeignKeys) {
    const auto settings = Settings::parse(
        "# comment\r\n"
        "\n"
        "  SAFETY_CHECK_TIMEOUT = 60   # longer\n"
        "ADMIN_GROUP=\"cluster # admins\"\n"
        "SAFETY_CHECK_MODE='ReCheck'\n"
        "HC_TIMEOUT=5\n"
        "QWK_STORAGE_OBJECT_ALPHA=s3://east/A#1,s3://west/A\n"
        "RESRVTIMEOUT=1\nRESRVTIMEOUT=2\n"
        "ALLOW_FAST_HEARTBEATS=yes");
    ASSERT_TRUE(settings) << settings.error().text;
    EXPECT_EQ(settings->integer("SAFETY_CHECK_TIMEOUT"), 60);
    EXPECT_EQ(settings->text("ADMIN_GROUP"), "cluster # admins");
    EXPECT_EQ(settings->text("SAFETY_CHECK_MODE"), "recheck");
    EXPECT_EQ(settings->text("HC_TIMEOUT"), "5");
    EXPECT_EQ(settings->text("QWK_STORAGE_OBJECT_ALPHA"), "s3://east/A#1,s3://west/A");
    EXPECT_EQ(settings->integer("RESRVTIMEOUT"), 2);
    EXPECT_TRUE(settings->boolean("ALLOW_FAST_HEARTBEATS"));
}

TEST(Settings, AnErrorNamesLineKeyValueAndRange) {
    const auto error = [](std::string_view text) { return Settings::parse(text).error(); };
    EXPECT_EQ(error("RESRVTIMEOUT=-1").code, Code::bad_argument);
    EXPECT_EQ(error("\nRESRVTIMEOUT=-1").text, "line 2: RESRVTIMEOUT=-1 is not a number from 0 to 86400 s");
    EXPECT_EQ(error("INIT_PEER_WAIT=soon").text,
              "line 1: INIT_PEER_WAIT=soon is not \"auto\" or a number from 0 to 3600 s");
    EXPECT_EQ(error("NOBCASTPING=2").text, "line 1: NOBCASTPING=2 is not 0 or 1");
    EXPECT_EQ(error("QUORUM_MODE=all").text,
              "line 1: QUORUM_MODE=all is not one of majority|storage|none|off");
    EXPECT_EQ(error("nonsense").text, "line 1: \"nonsense\" is not of the form KEY=value");
    EXPECT_EQ(error("=x").code, Code::bad_argument);
    EXPECT_EQ(error("LCMNUMHBEATS=2").code, Code::bad_argument);
    EXPECT_EQ(Settings::check("NOBCASTPING", "2").error().text, "NOBCASTPING=2 is not 0 or 1");
    EXPECT_TRUE(Settings::check("NOBCASTPING", "1"));
    EXPECT_TRUE(Settings::check("KEY_OF_A_KIT", "anything"));
}

// Spec: CLU-066
TEST(Settings, AHeartbeatBelowFourSecondsNeedsPermission) {
    EXPECT_FALSE(Settings::parse("LCMHBEATTIME=3"));
    EXPECT_TRUE(Settings::parse("LCMHBEATTIME=4"));
    EXPECT_TRUE(Settings::parse("LCMHBEATTIME=1\nALLOW_FAST_HEARTBEATS=1"));
    EXPECT_TRUE(Settings::parse("LCMHBEATTIME=15"));
    EXPECT_FALSE(Settings::parse("LCMHBEATTIME=16"));
}

// Spec: QUO-008, QUO-009
TEST(Settings, LenientlyReadAWrongValueCountsAsItsDefault) {
    std::vector<std::string> problems;
    const auto settings = Settings::parse_leniently(
        "QUORUM_QUARANTINE_SECS=86401\nQUORUM_LOSS_ACTION=reboot\nRESRVTIMEOUT=9", problems);
    EXPECT_EQ(settings.integer("QUORUM_QUARANTINE_SECS"), 300);
    EXPECT_EQ(settings.text("QUORUM_LOSS_ACTION"), "osu");
    EXPECT_EQ(settings.integer("RESRVTIMEOUT"), 9);
    EXPECT_EQ(problems.size(), 2U);
}

// Spec: QUO-003
TEST(Settings, TheSampleFileIsLegalAndNamesEverySettingOnce) {
    const auto sample = sample_settings();
    const auto settings = Settings::parse(sample);
    ASSERT_TRUE(settings) << settings.error().text;
    EXPECT_EQ(settings->all(), (std::map<std::string, std::string>{{"QUORUM_MODE", "none"}}));
    std::set<std::string_view> keys;
    for (const auto& setting : setting_table()) {
        EXPECT_TRUE(keys.insert(setting.key).second) << setting.key;
        EXPECT_NE(sample.find(fmt::format("{}={}\n", setting.key, setting.fallback)), std::string::npos)
            << setting.key;
        EXPECT_FALSE(setting.meaning.empty()) << setting.key;
        // Each default is a legal value.
        EXPECT_TRUE(setting.fallback.empty() ||
                    Settings::parse(fmt::format("{}={}", setting.key, setting.fallback)))
            << setting.key;
    }
}

TEST(Address, NumericAddressesOfBothFamiliesAreUnderstood) {
    for (const auto* legal : {"10.0.0.1", "255.255.255.254", "::1", "fd00::1", "2001:db8:0:1:2:3:4:5",
                              "::ffff:10.0.0.1", "1::", "::", "64:ff9b::10.0.0.1"})
        EXPECT_TRUE(parse_address(legal)) << legal;
    for (const auto* illegal : {"", "10.0.0", "10.0.0.256", "10.0.0.01", "10.0.0.1.2", "a.b.c.d", "host", ":",
                                ":::", "1:2:3:4:5:6:7", "fe80::1%eth0", "1:2:3:4:5:6:7:8:9", "12345::",
                                "1::2::3", "::10.0.0", "10.0.0.1:80", " 10.0.0.1", "1:2:3:4:5:6:7:8::"})
        EXPECT_FALSE(parse_address(illegal)) << illegal;
    EXPECT_EQ(*parse_address("fd00:0:0:0:0:0:0:1"), *parse_address("FD00::1"));
    EXPECT_NE(*parse_address("10.0.0.1"), *parse_address("a00:1::"));
}

TEST(Address, WhatASocketTakesByItselfIsToldFromNames) {
    for (const char* address : {"10.77.2.11", "0.0.0.0", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"})
        EXPECT_TRUE(is_numeric_address(address)) << address;
    for (const char* name : {"", "right", "10.77.2", "10.77.2.256", "10.77.2.11.", "10.77.2.1%eth0",
                             "fe80::1%", "a:b:g", "10..2.1"})
        EXPECT_FALSE(is_numeric_address(name)) << name;
}

// Spec: CLU-013
TEST(Address, LinkLocalAndUnusableAddressesAreTold) {
    for (const auto* link_local : {"169.254.0.1", "fe80::1", "febf::1", "::ffff:169.254.1.1"})
        EXPECT_TRUE(is_link_local(*parse_address(link_local))) << link_local;
    for (const auto* other : {"169.253.0.1", "fec0::1", "10.0.0.1"})
        EXPECT_FALSE(is_link_local(*parse_address(other))) << other;
    for (const auto* unusable : {"0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "0.1.2.3"})
        EXPECT_FALSE(is_unicast(*parse_address(unusable))) << unusable;
    EXPECT_TRUE(is_unicast(*parse_address("127.0.0.1")));
    EXPECT_TRUE(is_unicast(*parse_address("::1")));
}

}  // namespace
}  // namespace understudy::config
