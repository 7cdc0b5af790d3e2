// sendevent, its handlers, and the engine's own events.

#include "recovery/events.h"

#include "recovery/test_hierarchies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::recovery::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kEvents = "/usr/lib/understudy/events/";

struct Registered : One {
    void command(const std::string& path, const std::string& on = "A") {
        host(on).node->install_executable(kEvents + path);
    }
    /// The arguments of each response command that was started, with its path below events.
    std::vector<std::string> told(const std::string& on = "A") {
        std::vector<std::string> found;
        for (const auto& spec : host(on).started)
            if (spec.path.starts_with(kEvents)) {
                std::string line = spec.path.substr(std::string(kEvents).size());
                for (const auto& word : spec.arguments)
                    line += " " + word;
                found.push_back(line);
            }
        return found;
    }
    std::vector<std::string> kinds(const std::string& on = "A") {
        std::vector<std::string> found;
        for (const auto& line : told(on)) {
            const auto event = line.find(" -E ") + 4;
            found.push_back(line.substr(event, line.find(' ', event) - event));
        }
        return found;
    }
};

// Spec: CMD-125, CMD-126, CMD-128, CMD-129
TEST(SendEvent, TellsTheSpecificAndTheGeneralCommandsWithAllOptions) {
    Registered c;
    c.boot_all();
    c.command("filesys/diskfull/zeta");
    c.command("filesys/diskfull/alpha");
    c.command("filesys/badmount/alpha");
    c.command("allclass/watcher");
    const auto reply = c.sendevent("A", "-C filesys -E diskfull -m TST:mon -n /data -s 3 -w");
    ASSERT_EQ(reply.exit_code, 0) << reply.err;
    const auto id = reply.out.substr(0, reply.out.size() - 1);
    EXPECT_THAT(id, ::testing::MatchesRegex("A-[0-9]+-[0-9]+"));
    EXPECT_EQ(reply.out, id + "\n");
    const auto options = " -C filesys -E diskfull -m TST:mon -n /data -s 3 -i " + id;
    EXPECT_THAT(c.told(), ElementsAre("filesys/diskfull/alpha" + options, "filesys/diskfull/zeta" + options,
                                      "allclass/watcher" + options));
}

// Spec: CMD-126, CMD-127
TEST(SendEvent, SeverityIsMajorUnlessGivenAndAnAlarmCanBeCleared) {
    Registered c;
    c.boot_all();
    c.command("filesys/diskfull/app");
    const auto id = c.sendevent("A", "-C filesys -E diskfull -m TST:mon -n /data").out;
    const auto cleared = c.sendevent("A", "-C filesys -E diskfull -m TST:mon -n /data -s 0 -i " + id);
    EXPECT_EQ(cleared.out, id) << "the id of the alarm that is over";
    ASSERT_EQ(c.told().size(), 2U);
    EXPECT_THAT(c.told()[0], HasSubstr("-s 4"));
    EXPECT_THAT(c.told()[1], HasSubstr("-s 0 -i " + id.substr(0, id.size() - 1)));
}

// Spec: CMD-132, CMD-126
TEST(SendEvent, ItsExitCodesTellWhatIsWrong) {
    Registered c;
    c.boot_all();
    c.command("allclass/watcher");
    const std::string good = "-C filesys -E diskfull -m TST:mon -n /data";
    const std::vector<std::pair<std::string, int>> rows{
        {"-C filesys -E diskfull -m TST:mon", 1},
        {"-E diskfull -m TST:mon -n /data", 1},
        {"-C filesys -m TST:mon -n /data", 1},
        {"-C filesys -E diskfull -n /data", 1},
        {good + " -s 6", 1},
        {good + " -s x", 1},
        {"-C filesys -E diskfull -m TST:mon -n " + std::string(65, 'x'), 1},
        {"-C filesys -E diskfull -m TST:mon -n \xc3\xa4", 1},
        {"-C filesys -E diskfull -m TOOLONGPR:mon -n /data", 1},
        {"-C filesys -E diskfull -m TST:seventeencharsxyz -n /data", 1},
        {"-C filesys -E diskfull -m TST -n /data", 1},
        {"-C filesys -E diskfull -m :mon -n /data", 1},
        {"-C none -E diskfull -m TST:mon -n /data", 2},
        {"-C .. -E diskfull -m TST:mon -n /data", 2},
        {"-C allclass -E watcher -m TST:mon -n /data", 2},
        {"-C filesys -E none -m TST:mon -n /data", 3},
        {"-C filesys -E ../lifekeeper/comm_up -m TST:mon -n /data", 3},
        {good + " -A", 4},
        {good + " -s 0", 5},
    };
    for (const auto& [line, code] : rows) {
        const auto reply = c.sendevent("A", line);
        EXPECT_EQ(reply.exit_code, code) << line << ": " << reply.err;
        EXPECT_EQ(reply.out, "") << line;
        EXPECT_NE(reply.err, "") << line;
    }
    EXPECT_THAT(c.told(), IsEmpty()) << "nothing is run on an error";
    EXPECT_EQ(c.sendevent("A", good + " -s 5").exit_code, 0);
    EXPECT_EQ(c.sendevent("A", "-C FILESYS -E DiskFull -m TST:mon -n " + std::string(64, 'x')).exit_code, 0);
}

// Spec: CMD-128
TEST(SendEvent, MarkersLeftoversAndPlainFilesAreNoCommands) {
    Registered c;
    c.boot_all();
    for (const auto* name : {"ACTIVE", ".hidden", "app~", "app.bak", "app.dpkg-old", "app.rpmsave"})
        c.command(std::string("filesys/diskfull/") + name);
    ASSERT_TRUE(
        c.host("A").node->files().write_atomic(std::string(kEvents) + "filesys/diskfull/README", "text"));
    EXPECT_EQ(c.sendevent("A", "-C filesys -E diskfull -m TST:mon -n /data -w").exit_code, 0);
    EXPECT_THAT(c.told(), IsEmpty());
}

// Spec: CMD-129
TEST(SendEvent, ReturnsAtOnceAndItsCommandsAreBoundedAndLogged) {
    Registered c;
    c.boot_all();
    for (int i = 0; i < 40; ++i) {
        const auto name = fmt::format("app{:02}", i);
        c.command("filesys/diskfull/" + name);
        c.host("A").slow[name + " filesys"] = 10s;
    }
    c.host("A").failing = {"app07 filesys"};
    // What the scripts model calls a script's tag is its second word, here the class.
    EXPECT_EQ(c.sendevent("A", "-C filesys -E diskfull -m TST:mon -n /data").exit_code, 0);
    c.run(1s);
    EXPECT_EQ(c.told().size(), kMaxRunningHandlers);
    c.run(30s);
    EXPECT_EQ(c.told().size(), 40U);
    const auto log = c.host("A").node->files().read("/var/log/understudy/events.log");
    ASSERT_TRUE(log);
    EXPECT_THAT(*log, HasSubstr("filesys/diskfull for /data by filesys/diskfull/app07 ended with 1"));
    EXPECT_THAT(*log, HasSubstr("app39 filesys speaks"));
}

// Spec: CMD-129, CMD-130, CLU-005
TEST(SendEvent, OfAFailedCheckStartsTheRecoveryOfItsResourceAndSaysSo) {
    Registered c;
    c.install("recover");
    for (const auto* node : {"A", "B"})
        config::apply(c.host(node).store.own, config::PutType{{AppName("gen"), TypeName("app")}});
    c.boot_all();
    c.command("app/quickchk_failed/watcher");
    EXPECT_EQ(c.sendevent("A", "-C app -E quickchk_failed -m TST:mon -n pg.0 -w").exit_code, 0);
    ASSERT_TRUE(c.wait([&] { return c.reason("A", "pg.0") == "recover action has succeeded"; }));
    ASSERT_EQ(c.told().size(), 1U);
    EXPECT_THAT(c.told()[0], ::testing::EndsWith(" -A"));
    // By its id as well; a resource that is not in service here is nobody's to recover.
    EXPECT_EQ(c.sendevent("A", "-C app -E deepchk_failed -m TST:mon -n id-ip.0").exit_code, 0);
    ASSERT_TRUE(c.wait([&] { return c.reason("A", "ip.0") == "recover action has succeeded"; }));
    EXPECT_EQ(c.sendevent("B", "-C app -E quickchk_failed -m TST:mon -n pg.0 -w").exit_code, 0);
    c.run(5s);
    EXPECT_EQ(c.count("B", "recover pg.0"), 0U);
    // Others only tell.
    EXPECT_EQ(c.sendevent("A", "-C app -E check_timeout -m TST:mon -n pg.0").exit_code, 0);
    EXPECT_EQ(c.sendevent("A", "-C filesys -E diskfull -m TST:mon -n pg.0").exit_code, 0);
    c.run(5s);
    EXPECT_EQ(c.count("A", "recover pg.0"), 1U);
}

// Spec: CMD-133, CLU-078, CLU-082, CLU-181
TEST(EngineEvents, AreToldToWhoeverIsRegistered) {
    Registered c;
    c.command("allclass/watcher");
    c.command("allclass/watcher", "B");
    c.boot_all();
    c.run(1s);
    EXPECT_EQ(c.kinds().front(), "lcm_avail") << "before any COMM_UP";
    EXPECT_THAT(c.kinds(), ElementsAre("lcm_avail", "comm_up", "startup_complete"));
    EXPECT_THAT(c.told().front(), HasSubstr("-C lifekeeper -E lcm_avail -m LK:lcm -n A -s 1"));
    c.host("B").started.clear();
    c.power_off("A");
    ASSERT_TRUE(c.wait([&] { return c.states("B") == "ISP ISP ISP"; }));
    c.run(1s);
    EXPECT_THAT(c.kinds("B"), ElementsAre("comm_down", "node_failure", "node_recovered"));
    EXPECT_THAT(c.told("B")[1], HasSubstr("-n A -s 5"));
    for (const auto& spec : c.host("B").started)
        if (spec.path.ends_with("/watcher") && spec.arguments[3] == "node_recovered") {
            EXPECT_EQ(spec.environment.at("LK_EVENT_NUMBER"), "121");
            EXPECT_THAT(spec.environment.at("LK_EVENT_TEXT"), HasSubstr("pg.0"));
        }
}

// Spec: CMD-133, CLU-167, CMD-130
TEST(EngineEvents, OfAFailedCheckPrecedeItsRecoveryAndTheEndCarriesTheIdOfTheBeginning) {
    Registered c;
    c.install("recover");
    c.command("allclass/watcher");
    c.check_every("A", "pg.0", 10s);
    c.boot_all();
    c.run(1s);
    c.host("A").started.clear();
    c.host("A").broken = {"quickchk pg.0"};
    ASSERT_TRUE(c.wait([&] { return c.kinds().size() >= 3; }));
    EXPECT_THAT(c.kinds(),
                ElementsAre("quickchk_failed", "resource_recovery_initiated", "resource_recovered"));
    EXPECT_THAT(c.told()[0], HasSubstr("-C app -E quickchk_failed -m LK:resmon -n pg.0 -s 4"));
    EXPECT_THAT(c.told()[0], ::testing::EndsWith(" -A"));
    const auto id_of = [](const std::string& line) { return line.substr(line.find(" -i ") + 4); };
    EXPECT_EQ(id_of(c.told()[1]), id_of(c.told()[2]));
    EXPECT_THAT(c.told()[2], HasSubstr("-s 0"));
}

// Spec: CMD-133, CMD-128
TEST(EngineEvents, HaveDirectoriesWithAMarkThatTheyAreWatchedFor) {
    Registered c;
    config::apply(c.host("A").store.own, config::PutType{{AppName("gen"), TypeName("app")}});
    c.boot_all();
    const auto& files = c.host("A").node->files();
    for (const auto* event :
         {"lifekeeper/startup_complete", "lifekeeper/shutdown_initiated", "lifekeeper/shutdown_complete",
          "lifekeeper/switchover_initiated", "lifekeeper/switchover_recovered",
          "lifekeeper/switchover_failed", "lifekeeper/node_failure", "lifekeeper/node_recovered",
          "lifekeeper/node_recovery_failed", "lifekeeper/resource_recovery_initiated",
          "lifekeeper/resource_recovery_failed", "lifekeeper/resource_recovered", "lifekeeper/lcm_avail",
          "lifekeeper/comm_up", "lifekeeper/comm_down", "app/quickchk_failed", "app/deepchk_failed",
          "app/check_timeout"})
        EXPECT_TRUE(files.exists(std::string(kEvents) + event + "/ACTIVE")) << event;
    for (const auto* event :
         {"volume/mirror_state", "volume/split_brain", "volume/net_broken", "volume/net_failover",
          "filesys/diskfull", "filesys/badmount", "allclass", "genclass"})
        EXPECT_TRUE(files.exists(std::string(kEvents) + event)) << event;
    c.host("A").daemon->database->commit({config::PutType{{AppName("gen"), TypeName("later")}}});
    EXPECT_TRUE(files.exists(std::string(kEvents) + "later/quickchk_failed/ACTIVE"));
}

}  // namespace
}  // namespace understudy::recovery::testing
