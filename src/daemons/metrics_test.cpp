#include "daemons/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

namespace understudy::daemons {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

MetricsFacts facts(const config::NodeConfig& own) {
    MetricsFacts facts{
        .self = NodeName("alpha"), .own = own, .paths = {}, .quorum = {}, .counters = {}, .ready = true};
    facts.quorum.known = 2;
    facts.quorum.reachable = 1;
    facts.quorum.peers.push_back({NodeName("beta"), comm::PeerState::dead, false, {}, {}});
    return facts;
}

// Spec: QUO-132
TEST(Metrics, QuorumIsInNumbers) {
    const config::NodeConfig own;
    auto with = facts(own);
    with.quorum.quorum = quorum::Quorum::lost;
    with.quorum.storage_ready = true;
    with.quorum.sequence = 1207;
    with.quorum.peers[0].sequence = 88;
    with.quorum.peers[0].quiet = 2500ms;
    with.counters.losses = 3;
    with.counters.verdicts[static_cast<std::size_t>(quorum::Witness::peer_down)] = 4;
    const auto text = metrics_text(with);
    for (const auto* line :
         {"\nlk_quorum_state 1\n", "\nlk_quorum_known_nodes 2\n", "\nlk_quorum_loss_total 3\n",
          "\nlk_qwk_sequence{node=\"alpha\"} 1207\n", "\nlk_qwk_sequence{node=\"beta\"} 88\n",
          "\nlk_qwk_quiet_seconds{node=\"beta\"} 2.5\n", "# TYPE lk_witness_verdict_total counter\n"})
        EXPECT_THAT(text, HasSubstr(line));
    EXPECT_THAT(text, HasSubstr("\nlk_witness_verdict_total{verdict=\"peer_down\"} 4\n"));
    EXPECT_THAT(text, HasSubstr("\nlk_witness_verdict_total{verdict=\"peer_up\"} 0\n"));
    EXPECT_THAT(metrics_text(facts(own)), Not(HasSubstr("lk_qwk"))) << "without storage quorum";
}

TEST(Metrics, NamesAreEscapedAndEveryFamilyIsDescribedOnce) {
    config::NodeConfig own;
    config::Instance instance;
    instance.tag = Tag("a\"b\\c");
    instance.state = config::State::isp;
    own.instances[instance.tag] = instance;
    auto with = facts(own);
    config::Path path;
    path.remote = NodeName("beta");
    path.device = "TCP:1500";
    with.paths.push_back({path, comm::PathState::alive, 2, {}});
    const auto text = metrics_text(with);
    EXPECT_THAT(text, HasSubstr("\nlk_resource_state{tag=\"a\\\"b\\\\c\",state=\"ISP\"} 1\n"));
    EXPECT_THAT(text, HasSubstr("\nlk_path_alive{node=\"beta\",device=\"TCP:1500\"} 1\n"));
    EXPECT_THAT(text, HasSubstr("\nlk_path_down_total{node=\"beta\",device=\"TCP:1500\"} 2\n"));
    EXPECT_THAT(text, HasSubstr("\nlk_node_alive{node=\"beta\"} 0\n"));
    std::set<std::string> described;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        ASSERT_FALSE(line.empty());
        const auto name = line.substr(0, line.find_first_of(" {"));
        if (line.starts_with("# TYPE ")) {
            EXPECT_TRUE(described.insert(line.substr(7, line.find(' ', 7) - 7)).second) << line;
        } else if (name != "#") {
            EXPECT_TRUE(described.contains(name)) << line;
        }
    }
    EXPECT_GT(described.size(), 9U);
}

}  // namespace
}  // namespace understudy::daemons
