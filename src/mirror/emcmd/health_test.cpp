// What the indicator shows and the health check finds.

#include "mirror/emcmd/health.h"

#include <gtest/gtest.h>

#include <functional>

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

// Spec: REP-337
TEST(Health, EveryCheckFindsItsFailingCaseAndNothingElse) {
    struct Case {
        const char* says;
        const char* verdict;
        std::function<void(HealthInput&)> breaks;
    };
    const Case cases[] = {
        {"the directory of the intent logs, /logs, is missing", "error",
         [](HealthInput& in) { in.bitmaps_missing = true; }},
        {"nvme1n1 loses its content", "warning",
         [](HealthInput& in) { in.ephemeral = "nvme1n1 loses its content"; }},
        {"volume E: split brain with n2", "error", [](HealthInput& in) { in.mirrors[0].split_brain = true; }},
        {"volume E: its target n2 has 65536 bytes, less than its 131072", "warning",
         [](HealthInput& in) { in.mirrors[0].peer_size = 65536; }},
        {"volume E: sector sizes differ", "warning",
         [](HealthInput& in) { in.mirrors[0].problem = "sector sizes differ"; }},
        {"volume E: it is used as swap", "warning", [](HealthInput& in) { in.mirrors[0].has_swap = true; }},
        {"volume E: mounted at boot", "warning",
         [](HealthInput& in) { in.mirrors[0].boot_mount = "mounted at boot"; }},
        {"volume E: no snapshot can be taken: /snaps is missing", "warning",
         [](HealthInput& in) { in.mirrors[0].snapshot_location = "/snaps"; }},
        {"the event log in /log has room for 1000 bytes only", "warning",
         [](HealthInput& in) { in.event_log_bytes = 1000; }},
        {"the directory of the event log, /log, is missing", "warning",
         [](HealthInput& in) { in.event_log_bytes.reset(); }},
        {"volume E: it belongs to no job", "warning", [](HealthInput& in) { in.jobs[0].pairs.pop_back(); }},
        {"volume E: no job has the addresses of its mirror with n2", "warning",
         [](HealthInput& in) { in.jobs[0].pairs[0].second.system = "n3"; }},
        {"job sql: volume E: the mirror with n2 goes from 10.0.0.1 to 10.0.0.2, and the job says from "
         "10.0.0.9 to 10.0.0.2",
         "warning", [](HealthInput& in) { in.jobs[0].pairs[0].first.address = "10.0.0.9"; }},
        {"job sql: volume E: the mirror with n2 is synchronous, and the job says otherwise", "warning",
         [](HealthInput& in) { in.mirrors[0].type = MirrorType::sync; }},
        {"volume E: port 9999 of n2", "error",
         [](HealthInput& in) { in.closed_ports = {"volume E: port 9999 of n2 takes no new connections"}; }},
    };
    auto sound = with({mirror("E", MirrorState::mirroring)});
    sound.bitmaps = "/logs";
    sound.event_log = "/log";
    sound.event_log_bytes = 1ULL << 30;
    sound.mirrors[0].size = sound.mirrors[0].peer_size = 131072;
    sound.mirrors[0].local_address = "10.0.0.1";
    sound.mirrors[0].address = "10.0.0.2";
    sound.mirrors[0].type = MirrorType::async;
    sound.jobs = {{"id", "sql", "", {*parse_pair("n1.lab;E;10.0.0.1;n2;E;10.0.0.2;A")}, 1}};
    EXPECT_EQ(verdict(assess(sound)), "healthy") << print(assess(sound), "n1.lab");
    for (const Case& one : cases) {
        HealthInput input = sound;
        one.breaks(input);
        const Health health = assess(input);
        ASSERT_EQ(health.findings.size(), 1U) << one.says;
        EXPECT_TRUE(health.findings[0].text.starts_with(one.says)) << health.findings[0].text;
        EXPECT_EQ(verdict(health), one.verdict) << one.says;
    }
}

}  // namespace
}  // namespace understudy::mirror::emcmd
