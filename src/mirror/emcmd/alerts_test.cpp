// What the cluster is told of a mirror's changes.

#include "mirror/emcmd/alerts.h"

#include "mirror/emcmd/report.h"

#include <gtest/gtest.h>

namespace understudy::mirror::emcmd {
namespace {

using control::MirrorRecord;

MirrorRecord source_of_two() {
    MirrorRecord out;
    out.volume = VolumeId("E");
    out.role = Role::source;
    for (const char* node : {"right", "third"}) {
        control::PeerRecord peer;
        peer.node = node;
        peer.address = node == std::string("right") ? "10.0.0.2" : "10.0.0.3";
        peer.state = MirrorState::mirroring;
        out.peers.push_back(std::move(peer));
    }
    return out;
}

std::string shown(const std::vector<Alert>& alerts) {
    std::string out;
    for (const Alert& one : alerts)
        out += fmt::format("{} {} {};", one.event, one.object, one.severity);
    return out;
}

// Spec: EMC-072, CMD-152, REP-360
TEST(Alerts, TheSourceTellsEachChangeOfEachMirror) {
    const MirrorRecord before = source_of_two();
    MirrorRecord now = before;
    EXPECT_EQ(shown(alerts_of(before, now)), "");
    now.peers[1].state = MirrorState::paused;
    now.peers[1].user_requested = true;
    EXPECT_EQ(shown(alerts_of(before, now)), "mirror_state E,4,10.0.0.3 2;");
    EXPECT_EQ(shown(alerts_of(now, before)), "mirror_state E,1,10.0.0.3 0;");
    now.peers[0].state = MirrorState::broken;
    EXPECT_EQ(shown(alerts_of(before, now)), "mirror_state E,3,10.0.0.2 4;mirror_state E,4,10.0.0.3 2;");
    now.role = Role::target;
    EXPECT_EQ(shown(alerts_of(before, now)), "");
    // Who becomes source tells how it finds its mirrors; who loses one tells that too.
    EXPECT_EQ(shown(alerts_of(now, before)), "mirror_state E,1,10.0.0.2 0;mirror_state E,1,10.0.0.3 0;");
    MirrorRecord one_less = before;
    one_less.peers.pop_back();
    EXPECT_EQ(shown(alerts_of(before, one_less)), "mirror_state E,0,10.0.0.3 1;");
}

// Spec: EMC-072, CMD-153, REP-225, REP-360
TEST(Alerts, ASplitBrainIsToldOnceForEachDetection) {
    const MirrorRecord before = source_of_two();
    MirrorRecord split = before;
    split.peers[0].split_brain = true;
    EXPECT_EQ(shown(alerts_of(before, split)), "split_brain E,10.0.0.2 5;");
    EXPECT_EQ(shown(alerts_of(split, split)), "");
    EXPECT_EQ(shown(alerts_of(split, before)), "");
}

// Spec: EMC-050
TEST(Alerts, ANetAlertIsRaisedForWhatItsBitAsksForOnly) {
    const MirrorRecord before = source_of_two();
    MirrorRecord broken = before, lost = before, by_hand = before, taken = before;
    broken.peers[0].state = MirrorState::broken;
    lost.peers[1].state = by_hand.peers[1].state = MirrorState::paused;
    lost.peers[1].cause = PauseCause::link_lost;
    by_hand.peers[1].cause = PauseCause::user;
    taken.role = Role::target;
    const auto told = [&](const MirrorRecord& from, const MirrorRecord& to, unsigned bits) {
        return shown(net_alerts_of(from, to, bits));
    };
    EXPECT_EQ(told(before, broken, 0), "") << "without a bit there is the log";
    EXPECT_EQ(told(before, broken, broken_alert), "net_broken E,10.0.0.2 1;");
    EXPECT_EQ(told(before, broken, all_net_alert), "net_broken E,10.0.0.2 1;");
    EXPECT_EQ(told(before, broken, resync_done_alert | failover_alert | net_failure_alert), "");
    EXPECT_EQ(told(broken, before, resync_done_alert), "net_resync_done E,10.0.0.2 1;");
    EXPECT_EQ(told(before, lost, net_failure_alert), "net_failure E,10.0.0.3 1;");
    EXPECT_EQ(told(before, by_hand, net_failure_alert), "");
    EXPECT_EQ(told(taken, before, failover_alert), "net_failover E 1;");
    EXPECT_EQ(told(taken, before, net_failure_alert), "");
    EXPECT_EQ(told(before, taken, all_net_alert), "") << "the source tells";
    EXPECT_EQ(told(before, broken, lifekeeper_config | shared_volume), "");
}

TEST(Alerts, NoObjectIsLongerThanAnEventTakes) {
    const MirrorRecord before = source_of_two();
    MirrorRecord now = before;
    now.volume = VolumeId(std::string(32, 'v'));
    now.peers[0].address = "fd00:1111:2222:3333:4444:5555:6666:7777";
    now.peers[0].state = MirrorState::paused;
    for (const Alert& one : alerts_of(before, now))
        EXPECT_LE(one.object.size(), kMostObject);
}

}  // namespace
}  // namespace understudy::mirror::emcmd
