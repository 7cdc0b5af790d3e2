// What nodes of a simulated cluster remember of what they lived through.

#include "recovery/incident.h"

#include "recovery/incident_report.h"
#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<Incident> incidents_of(TestCluster& c, const std::vector<std::string>& nodes) {
    std::vector<config::JournalEntry> entries;
    for (const auto& node : nodes) {
        const auto& journal = c.host(node).store.journal;
        entries.insert(entries.end(), journal.begin(), journal.end());
    }
    return join_incidents(entries, {});
}

std::vector<std::string> done_steps(const IncidentReport& page) {
    std::vector<std::string> steps;
    for (const auto& step : page.steps)
        steps.push_back(fmt::format("{}: {} {} {}", step.node.str(), step.action, step.tag, step.result));
    return steps;
}

// Spec: CLU-181, CLU-186, CLU-188
TEST(IncidentLog, ATakeoverIsOneIncidentOfBothSurvivors) {
    One c({"A", "B", "C"});
    c.boot_all();
    c.host("B").slow = {{"restore pg.0", 2s}};
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 10s));
    c.run(5s);
    const auto incidents = incidents_of(c, {"B", "C"});
    ASSERT_EQ(incidents.size(), 1U);
    const auto page = report(incidents[0], {});
    EXPECT_EQ(page.subject, "A");
    EXPECT_EQ(page.clock, NodeName("B"));
    EXPECT_TRUE(page.ended);
    EXPECT_EQ(page.also.size() + 1, incidents[0].ids.size());
    EXPECT_EQ(done_steps(page).back(), "B: restore pg.0 ok");
    EXPECT_EQ(page.steps.size(), 3U);
    ASSERT_EQ(page.outages.size(), 1U);
    EXPECT_EQ(page.outages[0].tag, "pg.0");
    ASSERT_TRUE(page.outage_us());
    EXPECT_GT(*page.outage_us(), 2'000'000) << "the script alone takes that";
    EXPECT_LT(*page.outage_us(), 10'000'000);
    EXPECT_FALSE(page.paths.empty());
    for (const auto& path : page.paths)
        EXPECT_TRUE(path.heard_us) << path.device;
    ASSERT_TRUE(page.clocks.contains(NodeName("C")));
    EXPECT_TRUE(page.clocks.at(NodeName("C")).uncertainty_us);
    bool left_by_third = false;
    for (const auto& choice : page.choices)
        left_by_third |= choice.node == NodeName("C") && choice.action == "leave" &&
                         choice.why.find("B comes first") != std::string::npos;
    EXPECT_TRUE(left_by_third);
}

TEST(IncidentLog, TheReturnedNodeTellsOfItsBootAndTheIncidentStaysOne) {
    One c;
    c.boot_all();
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }, 10s));
    c.run(5s);
    c.boot("A");
    ASSERT_TRUE(c.wait([&] { return c.host("A").daemon->engine->ready(); }));
    c.run(5s);
    const auto incidents = incidents_of(c, {"A", "B"});
    ASSERT_EQ(incidents.size(), 1U);
    const auto page = report(incidents[0], {});
    std::vector<std::string> texts;
    for (const auto& notice : page.noticed)
        texts.push_back(notice.text);
    EXPECT_THAT(texts, ElementsAre(HasSubstr("last heartbeat of A"), "every path to A is DEAD",
                                   "its daemon starts, the host booted", "A is ALIVE again"));
}

class Refusing final : public TakeoverGate {
  public:
    explicit Refusing(runtime::Tasks& tasks) : tasks_(tasks) {}
    [[nodiscard]] std::string name() const override { return "majority"; }
    runtime::Task<Verdict> check(NodeName) override {
        co_await runtime::sleep_for(tasks_, 300ms);
        Verdict verdict{false, "1 of 3 nodes"};
        co_return verdict;
    }

  private:
    runtime::Tasks& tasks_;
};

// Spec: CLU-183
TEST(IncidentLog, AGateThatRefusesIsToldWithItsReasonAndTime) {
    One c;
    c.boot("A");
    c.boot("B");
    Refusing gate(c.host("B").daemon->tasks);
    c.host("B").daemon->engine->add_gate(gate);
    ASSERT_TRUE(
        c.wait([&] { return c.states("A") == "ISP ISP ISP" && c.host("B").daemon->engine->ready(); }));
    c.power_off("A");
    c.run(10s);
    const auto incidents = incidents_of(c, {"B"});
    ASSERT_EQ(incidents.size(), 1U);
    const auto page = report(incidents[0], {});
    ASSERT_EQ(page.gates.size(), 1U);
    EXPECT_EQ(page.gates[0].answer, "stop");
    EXPECT_EQ(page.gates[0].why, "1 of 3 nodes");
    EXPECT_GE(page.gates[0].took_us, 300'000);
    ASSERT_EQ(page.choices.size(), 1U);
    EXPECT_EQ(page.choices[0].action, "nothing");
    EXPECT_EQ(page.choices[0].why, "majority: 1 of 3 nodes");
    EXPECT_TRUE(page.ended);
    EXPECT_TRUE(page.steps.empty());
}

// Spec: CLU-188
TEST(IncidentLog, TheNextCandidatesStepsBelongToTheSameIncident) {
    One c({"A", "B", "C"});
    c.boot_all();
    c.host("B").failing = {"restore pg.0"};
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("C") == "ISP ISP ISP"; }, 30s));
    c.run(5s);
    const auto incidents = incidents_of(c, {"B", "C"});
    ASSERT_EQ(incidents.size(), 1U);
    const auto page = report(incidents[0], {});
    bool failed = false, done = false;
    for (const auto& step : page.steps) {
        failed |= step.node == NodeName("B") && step.tag == "pg.0" && step.result == "failed" &&
                  !step.error.empty();
        done |= step.node == NodeName("C") && step.tag == "pg.0" && step.result == "ok";
    }
    EXPECT_TRUE(failed);
    EXPECT_TRUE(done);
    EXPECT_TRUE(page.ended);
    EXPECT_TRUE(page.outage_us());
}

// Spec: CLU-144
TEST(IncidentLog, ASwitchoverIsAMove) {
    One c;
    c.boot_all();
    ASSERT_EQ(c.switchover("A", "pg.0", "B").exit_code, 0);
    const auto incidents = incidents_of(c, {"A", "B"});
    ASSERT_EQ(incidents.size(), 1U);
    EXPECT_EQ(incidents[0].kind, IncidentKind::move);
    const auto page = report(incidents[0], {});
    EXPECT_EQ(done_steps(page).front(), "A: remove pg.0 ok");
    EXPECT_EQ(done_steps(page).back(), "B: restore pg.0 ok");
    EXPECT_EQ(page.steps.size(), 6U);
    EXPECT_TRUE(page.ended);
    EXPECT_TRUE(page.outage_us());
}

TEST(IncidentLog, AStartInServiceIsNone) {
    One c;
    c.boot_all();
    ASSERT_EQ(c.perform("A", "-a remove -t pg.0").exit_code, 0);
    ASSERT_EQ(c.perform("A", "-a restore -t pg.0").exit_code, 0);
    EXPECT_TRUE(incidents_of(c, {"A", "B"}).empty());
}

}  // namespace
}  // namespace understudy::recovery::testing
