// What quorum says: in the log, as events, to the witness.

#include "messages/messages.h"
#include "sim/quorum_scenario.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>

namespace understudy::sim {
namespace {

/// The log of all nodes while `act` runs.
std::string log_of(const std::function<void()>& act) {
    const auto path = std::filesystem::temp_directory_path() /
                      fmt::format("understudy-quorum-log-{}", std::random_device()());
    messages::configure({.process = "test", .file = path.string(), .least = messages::Severity::info});
    act();
    messages::configure({.process = "test", .file = "", .least = messages::Severity::critical});
    std::ifstream file(path);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    std::filesystem::remove(path);
    return text;
}

// Spec: QUO-015
TEST_F(MajorityUnderFaults, DebugMessagesAreLoggedOnlyWhenTheyAreAskedFor) {
    const auto start_alone = [&] {
        cluster.power_on(alpha);
        sim.run_for(60s);
        cluster.host(alpha).power_off();
    };
    EXPECT_THAT(log_of(start_alone), Not(HasSubstr("quorum check in progress")));
    cluster.configure_settings(alpha, cluster.options().settings + "QUORUM_DEBUG=1\n");
    EXPECT_THAT(log_of(start_alone), HasSubstr("quorum check in progress"));
}

// Spec: QUO-093
TEST_F(StorageUnderFaults, AFirstCheckOfTheStorageThatDoesNotEndIsTold) {
    cluster.storage().set_delay(30s);
    const auto text = log_of([&] {
        cluster.power_on_all();
        sim.run_for(60s);
    });
    EXPECT_THAT(text,
                HasSubstr("(No. 18218) the first storage check was not finished after 5000 ms, 0 completed"));
    EXPECT_THAT(running(), IsEmpty());
    cluster.storage().set_delay(20ms);
    EXPECT_TRUE(wait_running(alpha, 120s));
    const auto later = log_of([&] {
        cluster.storage().set_delay(30s);
        sim.run_for(10s);
        cluster.storage().set_delay(20ms);
    });
    EXPECT_THAT(later, Not(HasSubstr("18218"))) << "it is not the first";
}

// Spec: QUO-032, CLU-078, CLU-079
TEST_F(MajorityUnderFaults, EachStartIsOneEventAndEachLossAndReturnOfAPeerIsOneForEachNodeThatSeesIt) {
    for (const auto& node : cluster.nodes())
        for (const auto* event : {"lcm_avail", "comm_up", "comm_down"})
            cluster.host(node).install_executable(
                fmt::format("/usr/lib/understudy/events/lifekeeper/{}/told", event));
    sim.set_trace_detail(runtime::TraceDetail::full);
    std::size_t seen = 0;
    // What was raised on the node since the last call, in order: "lcm_avail comm_up".
    const auto raised = [&](const NodeName& node) {
        std::string events;
        std::istringstream lines(sim.trace().substr(seen));
        for (std::string line; std::getline(lines, line);)
            for (const auto* event : {"lcm_avail", "comm_up", "comm_down"})
                if (line.substr(line.find(' ') + 1).starts_with(node.str() + " ") &&
                    line.find(fmt::format("starts: /usr/lib/understudy/events/lifekeeper/{}/told", event)) !=
                        std::string::npos)
                    events += (events.empty() ? "" : " ") + std::string(event);
        return events;
    };
    const auto all = [&] {
        const auto result = raised(alpha) + "|" + raised(beta) + "|" + raised(gamma);
        seen = sim.trace().size();
        return result;
    };
    start_in_service();
    EXPECT_EQ(all(), "lcm_avail comm_up comm_up|lcm_avail comm_up comm_up|lcm_avail comm_up comm_up");
    sim.partition(alpha.str(), beta.str());
    sim.heal(alpha.str(), beta.str());
    sim.run_for(30s);
    EXPECT_EQ(all(), "||");
    cluster.host(gamma).power_off();
    sim.run_for(60s);
    EXPECT_EQ(all(), "comm_down|comm_down|");
    cluster.power_on(gamma);
    sim.run_for(60s);
    EXPECT_EQ(all(), "comm_up|comm_up|lcm_avail comm_up comm_up");
}

// Spec: QUO-029
TEST_F(MajorityUnderFaults, TheWitnessIsAskedAtTheStartWhenAPeerComesAndWhenOneGoes) {
    EXPECT_THAT(log_of([&] {
                    cluster.power_on(alpha);
                    cluster.power_on(beta);
                    ASSERT_TRUE(wait_running(alpha, 120s));
                }),
                HasSubstr("witness_verify LCM_AVAIL gamma:"));
    cluster.power_on(gamma);
    sim.run_for(60s);
    EXPECT_THAT(log_of([&] {
                    cluster.host(gamma).power_off();
                    sim.run_for(60s);
                }),
                HasSubstr("witness_verify COMM_DOWN gamma:"));
    EXPECT_THAT(log_of([&] {
                    cluster.host(beta).power_off();
                    sim.run_for(60s);
                    cluster.power_on(beta);
                    sim.run_for(180s);
                }),
                HasSubstr("witness_verify COMM_UP gamma:"));
}

}  // namespace
}  // namespace understudy::sim
