// Operations on hierarchies in simulated clusters of whole nodes, killed and cut off at every step.

#include "config/locks.h"
#include "sim/cluster_sim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;
using config::Command;
using config::Reply;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const NodeName alpha{"alpha"};
const NodeName beta{"beta"};
const NodeName gamma{"gamma"};
const Tag web{"web"};
const Tag ip{"vip"};

Command command(const std::string& name, std::vector<std::string> arguments,
                std::map<std::string, std::string> options = {}) {
    Command made;
    made.name = name;
    made.arguments = std::move(arguments);
    made.options = std::move(options);
    return made;
}

const Command kCreateIp = command("understudy resource create", {"comm", "ip", "vip"});
const Command kCreateWeb = command("understudy resource create", {"gen", "app", "web"}, {{"needs", "vip"}});
const Command kExtend = command("understudy resource extend", {"web"}, {{"to", "beta"}});
const Command kUnextend = command("understudy resource unextend", {"web"}, {{"from", "beta"}});
const Command kDelete = command("understudy resource delete", {"web"});
const Command kRemoveDependency = command("understudy dependency remove", {"web", "vip"});
const Command kSet = command("understudy resource set", {"web", "quick_check=33"});

/// Three nodes with kits that can be extended and nothing defined.
class HierarchyWorld {
  public:
    explicit HierarchyWorld(std::uint64_t seed) : sim(seed), cluster(sim, {.nodes = 3, .hierarchies = 0}) {
        sim.set_trace_detail(runtime::TraceDetail::notes);
        cluster.kits().needs(web, ip);
        for (const auto& name : cluster.nodes())
            for (const auto* type : {"comm/resources/ip", "gen/resources/app"})
                for (const auto* action : {"create", "canextend", "extend", "delete"})
                    cluster.host(name).install_executable(
                        fmt::format("{}/subsys/{}/actions/{}", config::Layout().lkroot(), type, action));
    }
    bool boot() {
        cluster.power_on_all();
        return wait_together();
    }
    bool wait_together() {
        return sim.run_until(
            [&] {
                for (const auto& name : cluster.nodes()) {
                    auto* node = cluster.daemon(name);
                    if (node == nullptr || !node->engine().ready() || !node->cluster().settled() ||
                        node->cluster().alive_peers().size() != 2)
                        return false;
                }
                return true;
            },
            120s);
    }
    Reply run(const NodeName& on, const Command& what) {
        const auto reply = cluster.run(on, what);
        EXPECT_TRUE(reply) << what.name;
        return reply.value_or(Reply{});
    }
    void must(const NodeName& on, const Command& what) {
        const auto reply = run(on, what);
        EXPECT_EQ(reply.exit_code, 0) << what.name << ": " << reply.err;
    }
    /// Everything that operations define, on all running nodes.
    std::string definition() {
        std::string text;
        for (const auto& name : cluster.nodes()) {
            auto* node = cluster.daemon(name);
            if (node == nullptr) return "down";
            const auto& own = node->database().own();
            for (const auto& [tag, instance] : own.instances)
                text += fmt::format("{} {} {} {}\n", name.str(), tag.str(), config::to_string(instance.init),
                                    instance.quick_interval_s);
            for (const auto& each : own.dependencies)
                text += fmt::format("{} {}>{}\n", name.str(), each.parent.str(), each.child.str());
            std::set<std::string> pairs;
            for (const auto& each : own.equivalencies)
                pairs.insert(fmt::format("{} {}={} {} {}\n", name.str(), each.tag.str(),
                                         each.other_node.str(), each.priority.value,
                                         each.other_priority.value));
            for (const auto& pair : pairs)
                text += pair;
        }
        return text;
    }
    bool unfinished() {
        for (const auto& name : cluster.nodes())
            if (cluster.host(name).files().exists(config::Layout().state() + "/change.json")) return true;
        return false;
    }
    bool locked() {
        for (const auto& name : cluster.nodes()) {
            auto* node = cluster.daemon(name);
            if (node == nullptr) return true;
            const auto& flags = node->database().own().flags;
            if (std::any_of(flags.begin(), flags.end(), config::is_lock_flag)) return true;
        }
        return false;
    }

    runtime::Simulation sim;
    SimulatedCluster cluster;
};

class HierarchyOperations : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_TRUE(w.boot()); }
    void TearDown() override {
        if (HasFailure()) std::fputs(w.sim.trace().c_str(), stderr);
    }
    void create() {
        w.must(alpha, kCreateIp);
        w.must(alpha, kCreateWeb);
    }
    HierarchyWorld w{5};
};

// Spec: CLU-104, CLU-111
TEST_F(HierarchyOperations, AHierarchyIsCreatedExtendedMovedUnextendedAndDeleted) {
    create();
    EXPECT_THAT(w.cluster.kits().hosts_running(web), ElementsAre(alpha));
    w.must(alpha, kExtend);
    auto second = kExtend;
    second.options["to"] = "gamma";
    w.must(gamma, second);
    const auto& own = w.cluster.daemon(gamma)->database().own();
    EXPECT_EQ(own.priority(web), Priority{20});
    EXPECT_EQ(own.priority(ip), Priority{20});
    w.must(beta, SimulatedCluster::switchover(web, gamma));
    EXPECT_THAT(w.cluster.kits().hosts_running(web), ElementsAre(gamma));
    auto active = kUnextend;
    active.options["from"] = "gamma";
    EXPECT_THAT(w.run(alpha, active).err, HasSubstr("in service on gamma"));
    w.must(gamma, kUnextend);
    EXPECT_THAT(w.cluster.daemon(beta)->database().own().instances, IsEmpty());
    w.must(beta, kDelete);  // from a node that has no part in it
    EXPECT_EQ(w.definition(), "");
    EXPECT_THAT(w.cluster.kits().hosts_running(web), ElementsAre(gamma)) << "deleting stops nothing";
    EXPECT_FALSE(w.unfinished());
}

// Spec: CLU-114
TEST_F(HierarchyOperations, AnExtendedHierarchyFailsOverAndOneThatIsNotDoesNot) {
    create();
    w.must(alpha, kExtend);
    w.cluster.host(alpha).power_off();
    ASSERT_TRUE(w.sim.run_until([&] { return w.cluster.kits().runs(beta, web); }, 60s));
}

TEST_F(HierarchyOperations, APreviewShowsTheLinesOfTheRealThingAndChangesNothing) {
    create();
    for (const auto& what : {kExtend, kSet, kRemoveDependency,
                             command("understudy dependency add", {"web", "vip"}), kUnextend, kDelete}) {
        const auto before = w.definition();
        auto preview = what;
        preview.options["dry-run"] = "";
        const auto shown = w.run(beta, preview);
        EXPECT_EQ(shown.exit_code, 0) << shown.err;
        EXPECT_EQ(w.definition(), before) << what.name;
        const auto done = w.run(beta, what);
        EXPECT_EQ(done.exit_code, 0) << done.err;
        EXPECT_EQ(shown.out, done.out) << what.name;
        EXPECT_NE(shown.out, "") << what.name;
        EXPECT_NE(w.definition(), before) << what.name;
    }
}

// Spec: CLU-106
TEST_F(HierarchyOperations, ADependencyComesAndGoesOnAllNodes) {
    create();
    w.must(alpha, kExtend);
    const auto before = w.definition();
    w.must(gamma, kRemoveDependency);
    for (const auto& name : {alpha, beta})
        EXPECT_THAT(w.cluster.daemon(name)->database().own().dependencies, IsEmpty());
    w.must(beta, command("understudy dependency add", {"web", "vip"}));
    EXPECT_EQ(w.definition(), before);
    EXPECT_EQ(w.run(alpha, command("understudy dependency add", {"vip", "web"})).exit_code, 5);
}

// Spec: CLU-147
TEST_F(HierarchyOperations, AKitThatRefusesLeavesEverythingAsItWas) {
    create();
    const auto before = w.definition();
    w.cluster.kits().fail_next(beta, "canextend", 1, ip);
    auto reply = w.run(alpha, kExtend);
    EXPECT_EQ(reply.exit_code, 1);
    EXPECT_THAT(reply.err, HasSubstr("canextend of vip fails as planned"));
    EXPECT_THAT(reply.err, HasSubstr("nothing is changed"));
    EXPECT_EQ(w.definition(), before);
    w.cluster.kits().fail_next(beta, "extend", 1, web);
    reply = w.run(alpha, kExtend);
    EXPECT_EQ(reply.exit_code, 1);
    EXPECT_THAT(reply.err, HasSubstr("extend of web fails as planned"));
    EXPECT_THAT(reply.err, HasSubstr("everything is as it was before"));
    EXPECT_EQ(w.definition(), before);
    EXPECT_FALSE(w.unfinished());
    w.must(alpha, kExtend);

    w.cluster.kits().fail_next(beta, "delete", 1, ip);
    reply = w.run(alpha, kDelete);
    EXPECT_THAT(reply.err, HasSubstr("delete of vip fails as planned"));
    EXPECT_EQ(w.cluster.daemon(beta)->database().own().instances.size(), 2U);
    w.must(alpha, kDelete);
    EXPECT_EQ(w.definition(), "");
}

// Spec: CLU-115
TEST_F(HierarchyOperations, ACreationThatFailsLeavesNothing) {
    w.must(alpha, kCreateIp);
    const auto before = w.definition();
    for (const auto* action : {"create", "restore"}) {
        w.cluster.kits().fail_next(alpha, action, 1, web);
        const auto reply = w.run(beta, command("understudy resource create", {"gen", "app", "web"},
                                               {{"needs", "vip"}, {"on", "alpha"}}));
        EXPECT_EQ(reply.exit_code, 1) << action;
        EXPECT_EQ(w.definition(), before) << action;
        EXPECT_FALSE(w.cluster.kits().runs(alpha, web)) << action;
        EXPECT_TRUE(w.cluster.kits().runs(alpha, ip)) << action;
    }
}

// Spec: CLU-097
TEST_F(HierarchyOperations, AMemberThatIsAwayRefusesEveryChange) {
    create();
    w.must(alpha, kExtend);
    w.cluster.host(beta).power_off();
    w.sim.run_for(15s);
    auto to_gamma = kExtend;
    to_gamma.options["to"] = "gamma";
    for (const auto& what : {to_gamma, kUnextend, kDelete, kRemoveDependency, kSet})
        EXPECT_EQ(w.run(alpha, what).exit_code, 9) << what.name;
    w.cluster.power_on(beta);
    ASSERT_TRUE(w.wait_together());
    w.must(alpha, kSet);
}

// Spec: CLU-213
TEST_F(HierarchyOperations, ACreationElsewhereWaitsForTheLock) {
    w.cluster.kits().set_trouble({.least = 5s, .most = 5s});
    w.cluster.start(alpha, kCreateIp);
    w.sim.run_for(2s);
    w.cluster.start(beta, command("understudy resource create", {"gen", "app", "other"}));
    w.sim.run_for(1s);
    std::string flags;
    for (const auto& flag : w.cluster.daemon(gamma)->database().own().flags)
        flags += flag.str() + "\n";
    EXPECT_THAT(flags, HasSubstr("!alpha:Create_Hierarchy"));
    EXPECT_THAT(flags, HasSubstr("!beta:Create_Hierarchy"));
    EXPECT_THAT(w.cluster.daemon(beta)->database().own().instances, IsEmpty());
    EXPECT_TRUE(w.sim.run_until([&] { return w.cluster.kits().runs(beta, Tag("other")); }, 60s));
    EXPECT_TRUE(w.cluster.kits().runs(alpha, ip));
    EXPECT_TRUE(w.sim.run_until([&] { return !w.locked(); }, 30s));
}

// Spec: CLU-142
TEST_F(HierarchyOperations, AScriptThatAnInterruptedChangeLeftRunningIsNamedAndItsEndCompletesEverything) {
    create();
    const auto before = w.definition();
    w.cluster.kits().delay_next(beta, "extend", 1h, web);
    w.cluster.start(alpha, kExtend);
    w.sim.run_for(20s);
    w.cluster.host(alpha).kill_program();
    w.cluster.power_on(alpha);
    ASSERT_TRUE(w.wait_together());
    w.sim.run_for(30s);
    ASSERT_TRUE(w.unfinished());
    const auto reply = w.run(alpha, kSet);
    EXPECT_EQ(reply.exit_code, 3);
    EXPECT_THAT(reply.err, HasSubstr("extend of an interrupted change has not ended there after 60 s"));
    EXPECT_THAT(reply.err, HasSubstr("waits on beta"));
    EXPECT_TRUE(w.unfinished()) << "it is not forgotten while the script runs";
    w.sim.run_for(1h);
    EXPECT_FALSE(w.unfinished());
    EXPECT_FALSE(w.locked());
    EXPECT_EQ(w.definition(), before);
    w.must(alpha, kSet);
}

enum class Blow {
    crash_of_the_caller,
    power_off_of_the_caller,
    crash_of_the_member,
    power_off_of_the_member,
    partition
};

struct Case {
    const char* name;
    std::vector<std::pair<NodeName, Command>> before;
    Command what;
};

const Case kCases[] = {
    {"create", {{alpha, kCreateIp}}, kCreateWeb},
    {"extend", {{alpha, kCreateIp}, {alpha, kCreateWeb}}, kExtend},
    {"unextend", {{alpha, kCreateIp}, {alpha, kCreateWeb}, {alpha, kExtend}}, kUnextend},
    {"delete", {{alpha, kCreateIp}, {alpha, kCreateWeb}, {alpha, kExtend}}, kDelete},
    {"dependency", {{alpha, kCreateIp}, {alpha, kCreateWeb}, {alpha, kExtend}}, kRemoveDependency},
    {"properties", {{alpha, kCreateIp}, {alpha, kCreateWeb}, {alpha, kExtend}}, kSet},
};

/// What the operation makes of the definition.
std::pair<std::string, std::string> before_and_after(const Case& each) {
    HierarchyWorld w(11);
    EXPECT_TRUE(w.boot());
    for (const auto& [node, what] : each.before)
        w.must(node, what);
    const auto before = w.definition();
    w.must(alpha, each.what);
    return {before, w.definition()};
}

/// One run in which the blow falls at the n-th event after the command. False: the command had ended before.
bool struck_at(const Case& each, std::uint64_t event, Blow blow,
               const std::pair<std::string, std::string>& known, std::string& problem) {
    HierarchyWorld w(11);
    w.sim.set_trace_detail(runtime::TraceDetail::none);
    if (!w.boot()) {
        problem = "the nodes did not come up";
        return false;
    }
    for (const auto& [node, what] : each.before)
        w.must(node, what);
    auto reply = std::make_shared<std::optional<Reply>>();
    w.cluster.daemon(alpha)->run(each.what, [reply](const Reply& answer) { *reply = answer; });
    const auto start = w.sim.events_run();
    w.sim.run_until([&] { return reply->has_value() || w.sim.events_run() >= start + event; }, 120s);
    const bool ended = reply->has_value();
    const bool caller = blow == Blow::crash_of_the_caller || blow == Blow::power_off_of_the_caller;
    const auto victim = caller ? alpha : beta;
    if (blow == Blow::partition) {
        for (const auto& other : {alpha, gamma})
            w.sim.partition(beta.str(), other.str());
        w.sim.after(20s, [&] { w.sim.heal_all(); });
    } else if (blow == Blow::crash_of_the_caller || blow == Blow::crash_of_the_member) {
        w.cluster.host(victim).kill_program();
    } else {
        w.cluster.host(victim).power_off();
    }
    w.sim.after(20s, [&] { w.cluster.power_on(victim); });
    w.sim.run_for(21s);
    const auto whole = [&] {
        const auto now = w.definition();
        return (now == known.first || now == known.second) && !w.unfinished() && !w.locked();
    };
    const bool together = w.wait_together();
    if (!together || !w.sim.run_until(whole, 240s)) {
        problem = fmt::format("{} event {}: neither as before nor done{}{}:\n{}{}", each.name, event,
                              !together        ? ", nodes are missing"
                              : w.unfinished() ? ", unfinished"
                                               : "",
                              w.locked() ? ", locked" : "", w.definition(), *reply ? (*reply)->err : "");
        return !ended;
    }
    w.sim.run_for(30s);
    if (!whole()) problem = fmt::format("{} event {}: it did not stay whole", each.name, event);
    const bool after = w.definition() == known.second;
    // What the caller was told is what happened.
    if (*reply && problem.empty()) {
        const bool open = (*reply)->err.find("completed by itself") != std::string::npos;
        if (!open && ((*reply)->exit_code == 0) != after)
            problem =
                fmt::format("{} event {}: exit code {} ({}), but the definition is {}", each.name, event,
                            (*reply)->exit_code, (*reply)->err, after ? "the new one" : "the old one");
    }
    // A creation that was interrupted leaves nothing running. Spec: CLU-115
    if (!after && std::string(each.name) == "create" && !w.cluster.kits().hosts_running(web).empty())
        problem = fmt::format("event {}: the creation was taken back, but web runs", event);
    return !ended;
}

class StruckOperation : public ::testing::TestWithParam<std::tuple<int, Blow>> {};
// Spec: CLU-115
TEST_P(StruckOperation, EndsWithAllOrNothingOnAllNodes) {
    const auto& each = kCases[std::get<0>(GetParam())];
    const auto known = before_and_after(each);
    ASSERT_NE(known.first, known.second);
    std::string problem;
    std::uint64_t event = 1;
    int runs = 0;
    // Every other event: one more than another would tell little more, and the runs would take twice as long.
    constexpr std::uint64_t kStride = 2;
    for (; struck_at(each, event, std::get<1>(GetParam()), known, problem); event += kStride, ++runs) {
        ASSERT_EQ(problem, "");
        ASSERT_LT(event, 20'000U);
    }
    ASSERT_EQ(problem, "");
    EXPECT_GT(runs, 20);
}
INSTANTIATE_TEST_SUITE_P(
    Blows, StruckOperation,
    ::testing::Combine(::testing::Range(0, static_cast<int>(std::size(kCases))),
                       ::testing::Values(Blow::crash_of_the_caller, Blow::power_off_of_the_caller,
                                         Blow::crash_of_the_member, Blow::power_off_of_the_member,
                                         Blow::partition)));

}  // namespace
}  // namespace understudy::sim
