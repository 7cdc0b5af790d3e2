#include "comm/peer_state.h"

#include "comm/clock_filter.h"

#include <gtest/gtest.h>

namespace understudy::comm {
namespace {

using namespace std::chrono_literals;
using Change = PeerMembership::Change;

TEST(PeerMembership, IsUnknownUntilAPathWasAlive) {
    PeerMembership peer;
    EXPECT_EQ(peer.on_path(1, PathState::dead), Change::none);
    EXPECT_EQ(peer.state(), PeerState::unknown);
}

// Spec: CLU-078, CLU-068
TEST(PeerMembership, ComesUpWithTheFirstPathAndGoesDownWithTheLast) {
    PeerMembership peer;
    peer.on_path(1, PathState::dead);
    peer.on_path(2, PathState::dead);
    EXPECT_EQ(peer.on_path(1, PathState::alive), Change::comm_up);
    EXPECT_EQ(peer.on_path(2, PathState::alive), Change::none);
    EXPECT_EQ(peer.on_path(1, PathState::dead), Change::none);
    EXPECT_EQ(peer.state(), PeerState::alive);
    EXPECT_EQ(peer.on_path(2, PathState::dead), Change::comm_down);
    EXPECT_EQ(peer.state(), PeerState::dead);
}

// Spec: CLU-071
TEST(PeerMembership, TellsATotalLossOnce) {
    PeerMembership peer;
    peer.on_path(1, PathState::alive);
    EXPECT_EQ(peer.on_path(1, PathState::dead), Change::comm_down);
    EXPECT_EQ(peer.on_path(1, PathState::dead), Change::none);
    EXPECT_EQ(peer.on_path(2, PathState::dead), Change::none);
    EXPECT_EQ(peer.on_path(2, PathState::alive), Change::comm_up);
    EXPECT_EQ(peer.on_path(2, PathState::dead), Change::comm_down);
}

// Spec: CLU-061
TEST(PeerMembership, DeletingTheLastPathIsNoLoss) {
    PeerMembership peer;
    peer.on_path(1, PathState::alive);
    peer.on_path(2, PathState::dead);
    peer.remove_path(1);
    EXPECT_EQ(peer.state(), PeerState::unknown);
    EXPECT_EQ(peer.on_path(2, PathState::dead), Change::none);
    EXPECT_EQ(peer.on_path(2, PathState::alive), Change::comm_up);
}

TEST(PeerMembership, DeletingAPathBesideALivingOneChangesNothing) {
    PeerMembership peer;
    peer.on_path(1, PathState::alive);
    peer.on_path(2, PathState::alive);
    peer.remove_path(1);
    EXPECT_EQ(peer.state(), PeerState::alive);
}

// A heartbeat that comes at `now` (ours): sent by a peer whose clock is `ahead`, with the given one-way
// times.
struct Exchange {
    ClockFilter filter;
    runtime::Duration mono = 1000s;
    runtime::Duration wall = 5000s;

    void sample(runtime::Duration there, runtime::Duration held, runtime::Duration back,
                runtime::Duration ahead) {
        wire::Heartbeat heartbeat;
        heartbeat.echo_ns = mono.count();
        heartbeat.held_ns = held.count();
        const auto took = there + held + back;
        heartbeat.wall_us =
            std::chrono::duration_cast<std::chrono::microseconds>(wall + there + held + ahead).count();
        mono += took;
        wall += took;
        filter.on_heartbeat(heartbeat, runtime::TimePoint(mono),
                            runtime::WallTime(std::chrono::duration_cast<std::chrono::microseconds>(wall)));
    }
};

TEST(ClockFilter, FindsRoundTripAndOffset) {
    Exchange peer;
    peer.sample(2ms, 500ms, 2ms, 3s);
    const auto best = peer.filter.best();
    ASSERT_TRUE(best);
    EXPECT_EQ(best->round_trip, 4ms);
    EXPECT_EQ(best->offset, 3s);
}

TEST(ClockFilter, TrustsTheShortestRoundTrip) {
    Exchange peer;
    peer.sample(1ms, 10ms, 1ms, -2s);
    peer.sample(300ms, 10ms, 1ms, -2s);
    EXPECT_EQ(peer.filter.best()->offset, -2s);
    EXPECT_EQ(peer.filter.best()->round_trip, 2ms);
}

TEST(ClockFilter, ForgetsOldSamples) {
    Exchange peer;
    peer.sample(1ms, 10ms, 1ms, 0s);
    for (int i = 0; i < 8; ++i)
        peer.sample(2ms, 10ms, 2ms, 7s);
    EXPECT_EQ(peer.filter.best()->offset, 7s);
}

TEST(ClockFilter, IgnoresNumbersThatCannotBe) {
    ClockFilter filter;
    const runtime::TimePoint now(10s);
    wire::Heartbeat heartbeat;
    heartbeat.echo_ns = std::numeric_limits<std::int64_t>::max();
    filter.on_heartbeat(heartbeat, now, {});
    heartbeat.echo_ns = 1;
    heartbeat.held_ns = std::numeric_limits<std::int64_t>::max();
    filter.on_heartbeat(heartbeat, now, {});
    heartbeat.held_ns = std::numeric_limits<std::int64_t>::min();
    filter.on_heartbeat(heartbeat, now, {});
    heartbeat.held_ns = 0;
    heartbeat.wall_us = std::numeric_limits<std::int64_t>::max();
    filter.on_heartbeat(heartbeat, now, {});
    EXPECT_FALSE(filter.best());
}

}  // namespace
}  // namespace understudy::comm
