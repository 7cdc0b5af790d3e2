// Facts in, page out. The pages are golden: read a difference as an operator would.

#include "recovery/incident_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery {
namespace {

using config::JournalEntry;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kNoon = 1'764'331'200'000'000;  // 2025-11-28 12:00:00 UTC

/// Facts of several nodes, in milliseconds after noon by each node's own clock.
class Journals {
  public:
    Journals& on(const std::string& node) {
        node_ = node;
        return *this;
    }
    Journals& incident(const std::string& id) {
        incident_ = id;
        return *this;
    }
    Journals& at(std::int64_t ms, std::string_view fact, const std::string& subject, Details details = {}) {
        JournalEntry entry;
        entry.id = next_++;
        entry.wall_us = kNoon + ms * 1000;
        entry.node = NodeName(node_);
        entry.fact = fact;
        entry.subject = subject;
        if (fact != fact::started) entry.incident = incident_;
        entry.details = std::move(details);
        entries.push_back(std::move(entry));
        return *this;
    }
    Journals& step(std::int64_t ms, const std::string& tag, const std::string& node,
                   const std::string& action, std::int64_t took_ms, const std::string& error = {}) {
        Details details{{"node", node},
                        {"action", action},
                        {"began_us", us(ms - took_ms)},
                        {"took_us", std::to_string(took_ms * 1000)},
                        {"result", error.empty() ? "ok" : "failed"}};
        if (!error.empty()) details["why"] = error;
        return at(ms, fact::step, tag, std::move(details));
    }
    static std::string us(std::int64_t ms) { return std::to_string(kNoon + ms * 1000); }
    std::vector<JournalEntry> entries;

  private:
    std::string node_, incident_;
    std::uint64_t next_ = 1;
};

std::string utc(std::int64_t us) {
    const auto ms = (us - kNoon) / 1000;
    return fmt::format("2025-11-28 12:{:02}:{:02}.{:03}", ms / 60000, ms / 1000 % 60, ms % 1000);
}

std::string page(const Journals& journals, const std::map<NodeName, ClockDifference>& clocks,
                 const IncidentNow& now, std::size_t which = 0) {
    const auto incidents = join_incidents(journals.entries, clocks);
    return which < incidents.size() ? render(report(incidents[which], now), utc) : std::string("none");
}

const Details kLoss{{"kind", "node failure"}};

Details loss(std::int64_t known_good_ms, const std::map<std::string, std::string>& clocks = {}) {
    auto details = kLoss;
    details["known_good_us"] = Journals::us(known_good_ms);
    for (const auto& [node, clock] : clocks)
        details["clock." + node] = clock;
    return details;
}

/// left is powered off; right takes over; third, whose clock is 5 s ahead, sees it too.
Journals power_off() {
    Journals j;
    j.on("right").incident("20251128-120001-left");
    j.at(1000, fact::begin, "left", loss(400, {{"left", "-2000 300"}, {"third", "5000000 450"}}));
    j.at(1000, fact::path, "TCP:1500",
         {{"peer", "left"}, {"heard_us", Journals::us(400)}, {"interval_ms", "200"}, {"misses", "3"}});
    j.at(1000, fact::path, "TCP:1510",
         {{"peer", "left"}, {"heard_us", Journals::us(390)}, {"interval_ms", "200"}, {"misses", "3"}});
    j.at(1003, fact::gate, "majority", {{"answer", "go on"}, {"why", "2 of 3 nodes"}, {"took_us", "2100"}});
    j.at(1004, fact::plan, "Vol.data",
         {{"order", "1"}, {"node", "right"}, {"action", "restore"}, {"why", "pg.0 needs it"}});
    j.at(1004, fact::plan, "pg.0",
         {{"order", "2"},
          {"node", "right"},
          {"action", "restore"},
          {"why", "left had it in service and is dead; right comes first among the living (priority 10)"}});
    j.at(1004, fact::candidates, "pg.0",
         {{"node.left", "priority 1, DEAD"},
          {"node.right", "priority 10, this node"},
          {"node.third", "priority 20, ALIVE"},
          {"state.left", "ISP"},
          {"state.third", "OSU"}});
    j.step(1310, "Vol.data", "right", "restore", 300).step(2010, "pg.0", "right", "restore", 700);
    j.at(2011, fact::end, "left", {{"recovered", "Vol.data, pg.0"}, {"failed", ""}});
    j.on("third").incident("20251128-120006-left");
    j.at(6040, fact::begin, "left", loss(5450));
    j.at(6045, fact::plan, "pg.0",
         {{"order", "1"},
          {"node", "third"},
          {"action", "leave"},
          {"why", "right comes first among the living (priority 10)"}});
    return j;
}

IncidentNow now_without_left() {
    IncidentNow now;
    now.alive = {{NodeName("left"), false}, {NodeName("right"), true}, {NodeName("third"), true}};
    now.silent = {NodeName("left")};
    now.resources = {
        {Tag("pg.0"), {{NodeName("left"), "ISP"}, {NodeName("right"), "ISP"}, {NodeName("third"), "OSU"}}}};
    return now;
}

TEST(IncidentReport, ALostNodeOnOnePage) {
    EXPECT_EQ(page(power_off(), {{NodeName("third"), {5'000'000, 400}}}, now_without_left()),
              R"(Incident 20251128-120001-left: failure of node left, 2025-11-28 12:00:01.000
Times are those of right's clock; third's, which differed by +5000.0 ms, are moved to it, exact to 0.5 ms.

What was noticed
  12:00:00.450             last heartbeat of left, heard by third
  12:00:01.000  right      every path to left is DEAD
  12:00:01.040  third      every path to left is DEAD

Decision
  right      path TCP:1500 (200 ms x 3): silent since 12:00:00.400
  right      path TCP:1510 (200 ms x 3): silent since 12:00:00.390
  right      majority: go on: 2 of 3 nodes, after 0.002 s
  right      pg.0: restore: left had it in service and is dead; right comes first among the living (priority 10)
               from left (priority 1, DEAD), right (priority 10, this node), third (priority 20, ALIVE)
  third      pg.0: left: right comes first among the living (priority 10)

Steps
   1. 12:00:01.010 right      restore  Vol.data             0.300 s
   2. 12:00:01.310 right      restore  pg.0                 0.700 s

Outage
  pg.0                 1.560 s      from 12:00:00.450 (last heartbeat of left, heard by third) to 12:00:02.010 (in service)

What to do now
  - left is DEAD: repair it and start it; it becomes standby by itself
  - ask again when left can be reached: what was seen there is missing here
)");
}

TEST(IncidentReport, AsksFromAnyNodeGiveTheSamePage) {
    // Seen from third, right's clock is 5 s behind.
    EXPECT_EQ(page(power_off(), {{NodeName("right"), {-5'000'000, 400}}}, now_without_left()),
              page(power_off(), {{NodeName("third"), {5'000'000, 400}}}, now_without_left()));
}

TEST(IncidentReport, AClockThatNothingIsKnownOfIsSaidSo) {
    auto j = power_off();
    for (auto& entry : j.entries)
        entry.details.erase("clock.third");
    EXPECT_THAT(page(j, {}, now_without_left()), HasSubstr("how third's differed is unknown"));
}

TEST(IncidentReport, TheReturnedNodeContributesAndBelongsToNoLaterIncident) {
    auto j = power_off();
    j.on("right").incident("20251128-120001-left").at(60'000, fact::returned, "left");
    j.on("left").incident("").at(59'000, fact::started, "left", {{"after", "boot"}});
    j.at(59'100, fact::mirror, "data",
         {{"moment", "start"}, {"role", "source"}, {"type", "async"}, {"dirty_bytes", "131072"}});
    j.on("right").incident("20251128-120001-left");
    j.at(1001, fact::lag, "data",
         {{"source", "left"},
          {"at_us", Journals::us(-800)},
          {"queue_bytes", "65536"},
          {"write_rate", "32768"}});
    j.at(1002, fact::mirror, "data",
         {{"moment", "begin"},
          {"role", "target"},
          {"type", "async"},
          {"state", "Mirroring"},
          {"peer", "left"}});
    j.on("right").incident("20251128-120500-left").at(300'000, fact::begin, "left", loss(299'000));
    auto now = now_without_left();
    now.alive[NodeName("left")] = true;
    now.silent.clear();
    now.resources[0].states[NodeName("left")] = "OSU";
    const auto text = page(j, {{NodeName("third"), {5'000'000, 400}}}, now);
    EXPECT_THAT(text, HasSubstr("12:00:59.002  left       its daemon starts, the host booted"));
    EXPECT_THAT(text, HasSubstr("12:01:00.000  right      left is ALIVE again"));
    EXPECT_THAT(
        text, HasSubstr("data                 64.0 KiB (2.0 s) what left told last, 1250 ms before its last "
                        "heartbeat; what it wrote after that is unknown; no more than the 128.0 KiB"));
    EXPECT_THAT(text, HasSubstr("nothing: all is in service and has a standby"));
    EXPECT_THAT(page(j, {{NodeName("third"), {5'000'000, 400}}}, now, 1), Not(HasSubstr("the host booted")));
}

TEST(IncidentReport, AnAsynchronousMirrorOfWhichNothingWasToldIsUnknown) {
    auto j = power_off();
    j.on("right").incident("20251128-120001-left");
    j.at(1002, fact::mirror, "data",
         {{"moment", "begin"},
          {"role", "target"},
          {"type", "async"},
          {"state", "Mirroring"},
          {"peer", "left"}});
    j.at(1002, fact::mirror, "logs",
         {{"moment", "begin"},
          {"role", "target"},
          {"type", "sync"},
          {"state", "Mirroring"},
          {"peer", "left"}});
    const auto text = page(j, {}, now_without_left());
    EXPECT_THAT(text, HasSubstr("data                 unknown      asynchronous, and left had not told"));
    EXPECT_THAT(text, HasSubstr("logs                 none         synchronous and in sync"));
}

TEST(IncidentReport, AnAsynchronousSourceThatHadSentAllBeforeItDiedMayHaveWrittenMore) {
    auto j = power_off();
    j.on("right").incident("20251128-120001-left");
    j.at(1001, fact::lag, "data", {{"source", "left"}, {"at_us", Journals::us(200)}, {"queue_bytes", "0"}});
    j.at(1002, fact::mirror, "data",
         {{"moment", "begin"},
          {"role", "target"},
          {"type", "async"},
          {"state", "Mirroring"},
          {"peer", "left"}});
    const auto text = page(j, {}, now_without_left());
    EXPECT_THAT(text, HasSubstr("(0.0 s)"));
    EXPECT_THAT(text, Not(HasSubstr("none ")));
    EXPECT_THAT(text, HasSubstr("what it wrote after that is unknown"));
}

TEST(IncidentReport, AFailedStepIsHandedOnAndSaysWhatToDo) {
    Journals j;
    j.on("B").incident("20251128-120001-A").at(1000, fact::begin, "A", loss(0, {{"C", "0 100"}}));
    j.at(1001, fact::plan, "pg.0",
         {{"order", "1"}, {"node", "B"}, {"action", "restore"}, {"why", "A had it in service and is dead"}});
    j.at(1001, fact::candidates, "pg.0", {{"node.A", "priority 1, DEAD"}, {"state.A", "ISP"}});
    j.step(3000, "pg.0", "B", "restore", 1900, "restore of pg.0 on B failed with exit code 1: no space");
    j.at(3001, fact::asked, "pg.0", {{"node", "C"}});
    j.on("C").at(3010, fact::plan, "pg.0",
                 {{"order", "1"}, {"node", "C"}, {"action", "restore"}, {"why", "B could not"}});
    j.at(3010, fact::candidates, "pg.0", {{"node.A", "priority 1, DEAD"}, {"state.A", "ISP"}});
    j.step(4000, "pg.0", "C", "restore", 900);
    j.at(4001, fact::end, "pg.0", {{"recovered", "pg.0"}, {"failed", ""}});
    j.on("B").at(4002, fact::end, "A", {{"recovered", ""}, {"failed", "pg.0"}});
    IncidentNow now;
    now.alive = {{NodeName("A"), false}, {NodeName("B"), true}, {NodeName("C"), true}};
    now.resources = {{Tag("pg.0"), {{NodeName("A"), "ISP"}, {NodeName("B"), "OSF"}, {NodeName("C"), "ISP"}}}};
    const auto text = page(j, {}, now);
    EXPECT_THAT(text, HasSubstr("Times are those of C's clock"));
    EXPECT_THAT(text, HasSubstr("B          asks C to go on with pg.0"));
    EXPECT_THAT(
        text,
        HasSubstr("B          restore  pg.0                 FAILED after 1.900 s: restore of pg.0 on B"));
    EXPECT_THAT(
        text, HasSubstr("4.000 s      from 12:00:00.000 (last heartbeat of A, heard by B) to 12:00:04.000"));
    EXPECT_THAT(text, HasSubstr("- restore of pg.0 failed on B: "));
    EXPECT_THAT(
        text,
        HasSubstr("- pg.0 is Failed on B: remove the cause, then perform_action -a remove -t pg.0 there"));
    EXPECT_THAT(text, HasSubstr("- pg.0 has no standby: if C fails too, the service ends"));
}

TEST(IncidentReport, ADaemonThatDiedInTheMiddleLeavesStepsThatNobodyRecorded) {
    auto j = power_off();
    std::erase_if(j.entries, [](const auto& entry) {
        return entry.fact == fact::end || (entry.fact == fact::step && entry.subject == "pg.0");
    });
    const auto text = page(j, {}, now_without_left());
    EXPECT_THAT(text, HasSubstr("It has not ended, or its end is not recorded."));
    EXPECT_THAT(text, HasSubstr("planned; that it was done is recorded nowhere"));
    EXPECT_THAT(text, HasSubstr("pg.0                 not restored"));
}

TEST(IncidentReport, ABrokenNetworkShowsBothSides) {
    auto j = power_off();
    j.on("left").incident("20251128-120001-right").at(1010, fact::begin, "right", loss(400));
    const auto incidents = join_incidents(j.entries, {{NodeName("third"), {5'000'000, 400}}});
    ASSERT_EQ(incidents.size(), 2U);
    EXPECT_THAT(render(report(incidents[0], now_without_left()), utc),
                HasSubstr("left       itself did not stop: it saw the loss of right"));
}

TEST(IncidentReport, LossesAreOneIncidentUntilANodeSawTheReturn) {
    Journals j;
    j.on("B").incident("b1").at(0, fact::begin, "A", kLoss).at(5000, fact::returned, "A");
    j.on("C").incident("c1").at(400, fact::begin, "A", kLoss).at(5100, fact::returned, "A");
    j.on("B").incident("b2").at(9000, fact::begin, "A", kLoss);
    j.on("C").incident("c2").at(9100, fact::begin, "A", kLoss);
    const auto incidents = join_incidents(j.entries, {});
    ASSERT_EQ(incidents.size(), 2U);
    EXPECT_THAT(incidents[0].ids, ElementsAre("b1", "c1"));
    EXPECT_THAT(incidents[1].ids, ElementsAre("b2", "c2"));
}

TEST(IncidentReport, ARestartedObserverBeginsANewIncident) {
    Journals j;
    j.on("B").incident("b1").at(0, fact::begin, "A", kLoss);
    j.at(5000, fact::started, "B", {{"after", "boot"}});
    j.incident("b2").at(9000, fact::begin, "A", kLoss);
    EXPECT_EQ(join_incidents(j.entries, {}).size(), 2U);
}

TEST(IncidentReport, AFailedResourceThatIsRepairedOnTheSpot) {
    Journals j;
    j.on("left")
        .incident("20251128-120001-ip.0")
        .at(1000, fact::begin, "ip.0", {{"kind", "resource failure"}});
    j.at(1000, fact::check, "ip.0", {{"check", "quick"}, {"result", "failed"}, {"why", "exit code 1"}});
    j.step(1500, "ip.0", "left", "recover", 400).at(1500, fact::end, "ip.0", {{"recovered", "ip.0"}});
    const auto page = report(join_incidents(j.entries, {}).at(0), {});
    EXPECT_TRUE(page.ended);
    EXPECT_EQ(page.outage_us(), 500'000);
    const auto text = render(page, utc);
    EXPECT_THAT(text, HasSubstr("left       quick check of ip.0: failed: exit code 1"));
    EXPECT_THAT(text, HasSubstr("it may have begun earlier"));
    EXPECT_THAT(text, HasSubstr("nothing: all is in service"));
}

TEST(IncidentReport, AFailedResourceThatMoves) {
    Journals j;
    j.on("left").incident("20251128-120001-ip.0");
    j.at(1000, fact::begin, "ip.0", {{"kind", "resource failure"}, {"known_good_us", Journals::us(-9000)}});
    j.step(1500, "ip.0", "left", "recover", 400, "exit code 1");
    j.at(1501, fact::plan, "pg.0",
         {{"order", "1"}, {"node", "left"}, {"action", "remove"}, {"why", "ip.0 failed"}});
    j.at(1501, fact::candidates, "pg.0",
         {{"node.left", "priority 1, this node"}, {"node.right", "priority 10, ALIVE"}});
    j.step(1700, "pg.0", "left", "remove", 150).at(1701, fact::asked, "ip.0", {{"node", "right"}});
    j.on("right").step(1900, "ip.0", "right", "restore", 100).step(2000, "pg.0", "right", "restore", 90);
    j.at(2001, fact::end, "ip.0", {{"recovered", "ip.0, pg.0"}, {"failed", ""}});
    j.on("left").at(2002, fact::end, "ip.0");
    const auto page = report(join_incidents(j.entries, {}).at(0), {});
    EXPECT_TRUE(page.ended);
    ASSERT_EQ(page.outages.size(), 1U);
    EXPECT_EQ(page.outages[0].tag, "pg.0");
    EXPECT_EQ(page.outages[0].from, "last good check on left");
    EXPECT_EQ(page.outage_us(), 11'000'000);
    EXPECT_THAT(
        page.advice,
        ElementsAre("recover of ip.0 failed on left: exit code 1. Look into var/log/understudy there."));
}

TEST(IncidentReport, AMoveIsAnOutageFromTheFirstRemove) {
    Journals j;
    j.on("right").incident("20251128-120001-pg.0").at(1000, fact::begin, "pg.0", {{"kind", "move"}});
    j.at(1001, fact::plan, "pg.0",
         {{"order", "1"}, {"node", "left"}, {"action", "remove"}, {"why", "wanted on right"}});
    j.at(1001, fact::plan, "pg.0",
         {{"order", "2"}, {"node", "right"}, {"action", "restore"}, {"why", "asked for"}});
    j.at(1001, fact::candidates, "pg.0", {{"node.left", "priority 1, ALIVE"}, {"state.left", "ISP"}});
    j.step(1500, "pg.0", "left", "remove", 400).step(2000, "pg.0", "right", "restore", 450);
    j.at(2001, fact::end, "pg.0", {{"recovered", "pg.0"}, {"failed", ""}});
    const auto incidents = join_incidents(j.entries, {});
    ASSERT_EQ(incidents.size(), 1U);
    EXPECT_EQ(report(incidents[0], {}).outage_us(), 900'000);
    EXPECT_EQ(
        render_line(report(incidents[0], {}), utc),
        "20251128-120001-pg.0         2025-11-28 12:00:01.000  move of pg.0: 1 of 1 in service again, outage "
        "0.900 s\n");
}

TEST(IncidentReport, FactsAndDetailsThatNobodyKnowsAreIgnored) {
    auto j = power_off();
    const auto before = page(j, {}, now_without_left());
    j.on("right").incident("20251128-120001-left").at(1500, "of a later version", "x", {{"y", "z"}});
    j.at(1501, fact::step, "pg.0", {{"took_us", "many"}, {"result", "skipped"}});
    EXPECT_THAT(page(j, {}, now_without_left()), HasSubstr("2. 12:00:01.310 right      restore  pg.0"));
    EXPECT_NE(before, "none");
}

}  // namespace
}  // namespace understudy::recovery
