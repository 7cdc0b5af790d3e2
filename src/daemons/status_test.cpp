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

}  // namespace
}  // namespace understudy::daemons
