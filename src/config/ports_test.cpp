#include "config/ports.h"

#include "config/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace understudy::config {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

std::vector<std::string> ports_of(const PortNeeds& needs, From from = From::peers) {
    std::vector<std::string> result;
    for (const auto& opening : openings(needs))
        if (opening.from == from) result.push_back(port_text(opening));
    return result;
}

std::string_view fallback(std::string_view key) {
    for (const auto& setting : setting_table())
        if (setting.key == key) return setting.fallback;
    return {};
}

// Spec: CLU-031, CLU-032, DEP-100
TEST(Ports, AHostWithNothingConfiguredHasThePortsOfTheManual) {
    EXPECT_THAT(ports_of({}),
                ElementsAre("1500", "1510", "3278", "3279", "82", "" /* ping */, "9999", "10000-10026"));
    EXPECT_THAT(ports_of({}, From::anywhere), ElementsAre("81"));
    for (const auto& entry : port_table()) {
        EXPECT_FALSE(entry.name.empty());
        EXPECT_FALSE(entry.use.empty()) << entry.name;
        EXPECT_LE(entry.first, entry.last) << entry.name;
    }
}

// Spec: CLU-031, DEP-103
TEST(Ports, TheConfigurationAddsWhatItNeeds) {
    PortNeeds needs;
    needs.path_ports = {1500, 1520, 4711};
    needs.probe_ports = {12345};
    needs.settings = {
        {"NbdListen", "data=10.0.0.1:10809 other=127.0.0.1:10810 third=[fd00::1]:10811 damaged"}};
    EXPECT_THAT(ports_of(needs),
                ElementsAre("1500", "1510", "1520", "4711", "3278", "3279", "82", "", "9999", "10000-10026"));
    EXPECT_THAT(ports_of(needs, From::anywhere), ElementsAre("81", "10809", "10811", "12345"));
    needs.file_shares = true;
    EXPECT_THAT(ports_of(needs, From::anywhere),
                ElementsAre("81", "10809", "10811", "137-138", "139", "445", "12345"));
}

// Spec: CLU-032, DEP-103
TEST(Ports, SettingsMoveThem) {
    PortNeeds needs;
    needs.settings = {{"TargetDispatchPort", "19999"},
                      {"TargetPortBase", "20000"},
                      {"GUI_WEB_PORT", "8443"},
                      {"GUI_RMI_PORT", "8444"}};
    EXPECT_THAT(ports_of(needs),
                ElementsAre("1500", "1510", "3278", "3279", "8444", "", "19999", "20000-20026"));
    EXPECT_THAT(ports_of(needs, From::anywhere), ElementsAre("8443"));
    needs.settings = {{"TargetDispatchPort", "no port"}, {"TargetPortBase", "0"}, {"GUI_WEB_PORT", "70000"}};
    EXPECT_EQ(openings(needs), openings({}));
    needs.settings = {{"TargetPortBase", "65510"}};
    EXPECT_THAT(ports_of(needs), Contains("65510-65535"));
}

// Spec: CLU-032
TEST(Ports, AreTheDefaultsOfTheSettings) {
    EXPECT_EQ(fallback("TargetDispatchPort"), std::to_string(kMirrorDispatchPort));
    EXPECT_EQ(fallback("TargetPortBase"), std::to_string(kMirrorFirstDataPort));
    EXPECT_EQ(fallback("GUI_WEB_PORT"), "81");
    EXPECT_EQ(fallback("GUI_RMI_PORT"), "82");
}

TEST(Ports, ArePartOfTheSetOrNot) {
    const auto open = openings({});
    EXPECT_TRUE(covers(open, Transport::tcp, 1500));
    EXPECT_TRUE(covers(open, Transport::tcp, 10013));
    EXPECT_FALSE(covers(open, Transport::tcp, 10027));
    EXPECT_FALSE(covers(open, Transport::tcp, 22));
    EXPECT_FALSE(covers(open, Transport::udp, 1500));
    EXPECT_TRUE(is_reserved_port(3278) && is_reserved_port(9999) && !is_reserved_port(1500));
}

}  // namespace
}  // namespace understudy::config
