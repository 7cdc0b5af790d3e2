// What the indicator shows and the health check finds.

#include "mirror/emcmd/health.h"

#include <gtest/gtest.h>

namespace understudy::mirror::emcmd {
namespace {

MirrorHealth mirror(const char* volume, MirrorState state) {
    MirrorHealth out;
    out.volume = VolumeId(volume);
    out.role = Role::source;
    out.state = state;
    out.peer = "n2";
    out.connected = true;
    return out;
}

HealthInput with(std::vector<MirrorHealth> mirrors) {
    HealthInput input;
    input.node = "n1.lab";
    input.mirrors = std::move(mirrors);
    return input;
}

// Spec: MOP-183, MOP-185
TEST(Health, AnInstanceStoreThatNobodyPreparesIsAnErrorOnceTheLogsMayBeThere) {
    auto input = with({mirror("E", MirrorState::mirroring)});
    input.ephemeral = "nvme1n1 loses its content";
    EXPECT_EQ(verdict(assess(input)), "warning");
    EXPECT_EQ(assess(input).indicator, Indicator::mirroring);
    input.logs_elsewhere = true;
    EXPECT_EQ(verdict(assess(input)), "error");
    EXPECT_EQ(assess(input).indicator, Indicator::error);
    EXPECT_NE(print(assess(input), "n1.lab").find("error: n1.lab: nvme1n1 loses its content\n"),
              std::string::npos);
}

// Spec: EMC-288, MOP-175, MOP-176
TEST(Health, TheWorstStateIsShownAndDisabledHidesIt) {
    EXPECT_EQ(assess(with({})).indicator, Indicator::none);
    auto input = with({mirror("E", MirrorState::mirroring)});
    EXPECT_EQ(assess(input).indicator, Indicator::mirroring);
    EXPECT_EQ(verdict(assess(input)), "healthy");
    input.mirrors.push_back(mirror("F", MirrorState::resync));
    EXPECT_EQ(assess(input).indicator, Indicator::resync);
    input.mirrors.push_back(mirror("G", MirrorState::paused));
    EXPECT_EQ(assess(input).indicator, Indicator::warning);
    EXPECT_EQ(verdict(assess(input)), "warning");
    EXPECT_EQ(assess(input).counts,
              (std::map<std::string, int>{{"mirroring", 1}, {"paused", 1}, {"resync", 1}}));
    input.mirrors[0].split_brain = true;
    EXPECT_EQ(assess(input).indicator, Indicator::error);
    EXPECT_EQ(verdict(assess(input)), "error");
    input.updates_disabled = true;
    EXPECT_EQ(assess(input).indicator, Indicator::disabled);
}

// Spec: EMC-286, EMC-287, MOP-178
TEST(Health, FindingsNameTheVolumeAndConfigurationTheNode) {
    auto input = with({mirror("E", MirrorState::broken)});
    input.mirrors[0].unlocked = true;
    input.mirrors[0].has_swap = true;
    input.bitmaps = "/fast/logs";
    input.bitmaps_missing = true;
    input.damaged = {"F.json: no JSON"};
    EXPECT_EQ(print(assess(input), "n1.lab"), R"(n1.lab: error
1 broken
error: n1.lab: a record cannot be read: F.json: no JSON
error: n1.lab: the directory of the intent logs, /fast/logs, is missing
warning: volume E: broken, n2 lacks what is written
warning: volume E: the target is unlocked
warning: n1.lab: volume E: it is used as swap
)");
}

// Spec: EMC-287, MOP-028
TEST(Health, MirrorsAndJobsAreCompared) {
    auto input = with({mirror("E", MirrorState::mirroring), mirror("F", MirrorState::mirroring)});
    EXPECT_TRUE(assess(input).findings.empty()) << "without jobs nothing is compared";
    auto pair = parse_pair("n1.lab;E;10.0.0.1;n2.lab;E;10.0.0.2;A");
    auto other = parse_pair("n1.lab;E;10.0.0.1;n3.lab;E;10.0.0.3;A");
    ASSERT_TRUE(pair && other);
    input.jobs = {{"id", "sql", "", {*pair, *other}, 1}};
    const auto health = assess(input);
    ASSERT_EQ(health.findings.size(), 2U);
    EXPECT_EQ(health.findings[0].text, "volume F: it belongs to no job");
    EXPECT_EQ(health.findings[1].text, "job sql: there are no addresses for volume E: n2.lab and n3.lab");
    EXPECT_EQ(verdict(health), "warning");
}

}  // namespace
}  // namespace understudy::mirror::emcmd
