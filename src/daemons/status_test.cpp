// What people read about the paths to a node.

#include "daemons/status.h"

#include <gtest/gtest.h>

namespace understudy::daemons {
namespace {

using comm::PathState;

std::vector<comm::PathStatus> paths(const std::string& to, const std::vector<PathState>& states) {
    std::vector<comm::PathStatus> result;
    for (const auto state : states) {
        comm::PathStatus status;
        status.path.remote = NodeName(to);
        status.path.device = fmt::format("TCP:{}", 1500 + 10 * result.size());
        status.state = state;
        result.push_back(status);
    }
    return result;
}

// Spec: CLU-060, CLU-063
TEST(PathSummary, IsDecidedFromTheTopDown) {
    const auto up = PathState::alive;
    const auto down = PathState::dead;
    const NodeName right("right");
    EXPECT_EQ(path_summary({}, right), "None defined");
    EXPECT_EQ(path_summary(paths("right", {down, down}), right), "Failed");
    EXPECT_EQ(path_summary(paths("right", {up}), right), "Warning") << "no redundancy";
    EXPECT_EQ(path_summary(paths("right", {up, down}), right), "Warning") << "not Degraded: one works";
    EXPECT_EQ(path_summary(paths("right", {up, up, down}), right), "Degraded");
    EXPECT_EQ(path_summary(paths("right", {up, up}), right), "Normal");
}

// Spec: CLU-062
TEST(PathSummary, IsOfOneNodesPathsOnly) {
    EXPECT_EQ(path_summary(paths("other", {PathState::alive, PathState::alive}), NodeName("right")),
              "None defined");
}

// Spec: CLU-116
TEST(ShownState, IsAWordForEachStateAndForOneThatCannotBeTold) {
    using config::State;
    EXPECT_EQ(shown_state(State::isp), "Active");
    EXPECT_EQ(shown_state(State::isu), "Degraded");
    EXPECT_EQ(shown_state(State::osu), "StandBy");
    EXPECT_EQ(shown_state(State::osf), "Failed");
    EXPECT_EQ(shown_state(State::illstate), "Unknown") << "the start did not set a state";
    EXPECT_EQ(shown_state(std::nullopt), "Unknown") << "its node cannot be asked";
}

// Spec: CLU-064
TEST(PathWarning, ThatAPairIsNotRedundantIsSaidWhenWantedABrokenPathAlways) {
    using comm::PeerState;
    const auto up = PathState::alive;
    const auto down = PathState::dead;
    const NodeName right("right");
    const auto warning = [&](const std::vector<PathState>& states, bool redundant,
                             PeerState peer = PeerState::alive) {
        return path_warning(paths("right", states), right, peer, redundant);
    };
    EXPECT_EQ(warning({up}, true), "not redundant: one path");
    EXPECT_EQ(warning({up}, false), "");
    EXPECT_EQ(warning({}, true, PeerState::unknown), "no path is defined");
    EXPECT_EQ(warning({}, false, PeerState::unknown), "");
    for (const bool redundant : {true, false}) {
        EXPECT_EQ(warning({up, up}, redundant), "");
        EXPECT_EQ(warning({up, down}, redundant), "TCP:1510 DEAD");
        EXPECT_EQ(warning({down, up, down}, redundant), "TCP:1500, TCP:1520 DEAD");
        EXPECT_EQ(warning({down}, redundant, PeerState::unknown), "TCP:1500 DEAD") << "never seen yet";
        EXPECT_EQ(warning({down, down}, redundant, PeerState::dead), "") << "the node is DEAD, not its paths";
    }
    EXPECT_EQ(path_warning(paths("other", {up, up}), right, PeerState::unknown, true), "no path is defined");
}

}  // namespace
}  // namespace understudy::daemons
