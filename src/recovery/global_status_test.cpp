#include "recovery/global_status.h"

#include <gtest/gtest.h>

namespace understudy::recovery {
namespace {

using config::State;

/// pg.0 on three nodes in these states; "-" stands for a dead node, "?" for one that cannot be asked.
std::string_view status(const std::vector<std::string>& words) {
    static const std::map<std::string, State> kStates{{"ISP", State::isp},
                                                      {"ISU", State::isu},
                                                      {"OSU", State::osu},
                                                      {"OSF", State::osf},
                                                      {"ILL", State::illstate}};
    ClusterView view;
    const Tag tag("pg.0");
    for (std::size_t i = 0; i < words.size(); ++i) {
        auto& node = view.nodes[NodeName(fmt::format("n{}", i))];
        node.alive = words[i] != "-" && words[i] != "?";
        node.known_dead = words[i] == "-";
        config::Instance instance;
        instance.tag = tag;
        if (const auto at = kStates.find(words[i]); at != kStates.end()) instance.state = at->second;
        node.config.instances[tag] = instance;
        for (std::size_t other = 0; other < words.size(); ++other)
            if (other != i)
                node.config.equivalencies.push_back(
                    {tag, NodeName(fmt::format("n{}", other)), tag, {}, {}, 0});
    }
    view.self = NodeName("n0");
    return to_string(global_status(view, view.self, tag));
}

// Spec: CLU-123
TEST(GlobalStatus, InServiceWithEveryBackupReadyIsNormal) {
    EXPECT_EQ(status({"ISP", "OSU", "OSU"}), "Normal");
    EXPECT_EQ(status({"OSU", "OSU", "ISP"}), "Normal");
    EXPECT_EQ(status({"ISP"}), "Normal");
}

// Spec: CLU-123, CLU-118
TEST(GlobalStatus, ABackupThatIsNotReadyIsAWarning) {
    EXPECT_EQ(status({"ISP", "OSF", "OSU"}), "Warning");
    EXPECT_EQ(status({"ISP", "-", "OSU"}), "Warning");
    EXPECT_EQ(status({"ISP", "?", "OSU"}), "Warning");
    EXPECT_EQ(status({"ISP", "OSU", "ILL"}), "Warning");
    EXPECT_EQ(status({"ISU", "OSU", "OSU"}), "Warning");
}

// Spec: CLU-123
TEST(GlobalStatus, InServiceNowhereIsFailedWhoeverStoppedIt) {
    EXPECT_EQ(status({"OSU", "OSU", "OSU"}), "Failed");
    EXPECT_EQ(status({"OSU", "OSF", "OSU"}), "Failed");
    EXPECT_EQ(status({"OSU", "-", "OSU"}), "Failed");
}

// Spec: CLU-123, CLU-222
TEST(GlobalStatus, InServiceTwiceOrNotKnownIsUnknown) {
    EXPECT_EQ(status({"ISP", "ISP", "OSU"}), "Unknown");
    EXPECT_EQ(status({"OSU", "?", "OSU"}), "Unknown") << "it may run there";
    EXPECT_EQ(status({"ILL", "ILL", "ILL"}), "Unknown");
    EXPECT_EQ(status({"ILL", "-", "-"}), "Unknown");
}

}  // namespace
}  // namespace understudy::recovery
