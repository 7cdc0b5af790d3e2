#include "comm/path_monitor.h"

#include <gtest/gtest.h>

namespace understudy::comm {
namespace {

using namespace std::chrono_literals;
using runtime::Duration;
using runtime::TimePoint;
using wire::View;

constexpr PathLimits kLimits{1s, 3};
const TimePoint kStart{100s};

// One end with a scripted peer; ticks are run at their exact times unless a test stops them.
struct End {
    explicit End(PathLimits limits = kLimits) : monitor(limits, kStart) {}

    PathMonitor monitor;
    TimePoint now = kStart;
    std::uint64_t peer_sequence = 0;
    std::vector<PathState> changes;
    int heartbeats = 0;
    std::vector<Duration> absences;
    int returns = 0;

    void take(const PathMonitor::Outcome& outcome) {
        if (outcome.changed) changes.push_back(*outcome.changed);
        if (outcome.heartbeat_due) {
            ++heartbeats;
            monitor.make_heartbeat(now, {});
        }
        if (outcome.absent) absences.push_back(*outcome.absent);
        returns += outcome.peer_returned ? 1 : 0;
    }
    void run_until(TimePoint end) {
        while (monitor.next_tick() <= end) {
            now = monitor.next_tick();
            take(monitor.on_tick(now));
        }
        now = end;
    }
    void run_for(Duration duration) { run_until(now + duration); }
    void sleep_for(Duration duration) { now += duration; }  // stopped: no ticks
    void hear(View view, std::uint64_t last_seen = 0) {
        wire::Heartbeat heartbeat;
        heartbeat.sequence = ++peer_sequence;
        heartbeat.last_seen = last_seen;
        heartbeat.view = view;
        take(monitor.on_heartbeat(heartbeat, now));
    }
    void come_alive() {
        hear(View::heard);
        ASSERT_EQ(monitor.state(), PathState::alive);
        changes.clear();
        heartbeats = 0;
    }
    View view() { return monitor.make_heartbeat(now, {}).view; }
};

TEST(PathMonitor, StartsDeadAndHasHeardNothing) {
    End end;
    EXPECT_EQ(end.monitor.state(), PathState::dead);
    EXPECT_EQ(end.view(), View::unknown);
    EXPECT_FALSE(end.monitor.last_heard());
    EXPECT_EQ(end.monitor.times_down(), 0);
}

// Spec: CLU-067
TEST(PathMonitor, DiesExactlyAfterIntervalTimesMissesOfSilence) {
    End end;
    end.come_alive();
    end.run_for(3s);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    end.run_for(1ns);
    EXPECT_EQ(end.changes, std::vector{PathState::dead});
    EXPECT_EQ(end.monitor.times_down(), 1);
    EXPECT_EQ(end.view(), View::silent);
}

// Spec: CLU-065
TEST(PathMonitor, SendsHeartbeatsAtItsInterval) {
    End end;
    end.run_for(10s);
    EXPECT_EQ(end.heartbeats, 10);
}

TEST(PathMonitor, SendsAtThePeersIntervalWhenThatIsShorterAndJudgesByItsOwn) {
    End end;
    end.monitor.on_greeting(1, {200ms, 3}, end.now);
    end.come_alive();
    end.run_for(2s);
    EXPECT_EQ(end.heartbeats, 10);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    end.run_for(1s + 1ns);
    EXPECT_EQ(end.monitor.state(), PathState::dead);
}

TEST(PathMonitor, KeepsItsOwnIntervalWhenThePeersIsLonger) {
    End end;
    end.monitor.on_greeting(1, {6s, 5}, end.now);
    end.run_for(10s);
    EXPECT_EQ(end.heartbeats, 10);
}

TEST(PathMonitor, StaysAliveWhileHeartbeatsComeWithinTheLimit) {
    End end;
    end.come_alive();
    for (int i = 0; i < 20; ++i) {
        end.run_for(2900ms);
        end.hear(View::heard);
    }
    EXPECT_TRUE(end.changes.empty());
}

TEST(PathMonitor, IsNotAliveBeforeThePeerHearsIt) {
    End end;
    end.hear(View::unknown);
    EXPECT_EQ(end.monitor.state(), PathState::dead);
    EXPECT_EQ(end.view(), View::heard);
    end.hear(View::heard);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
}

TEST(PathMonitor, AnswersTheFirstHeartbeatAtOnce) {
    End end;
    end.hear(View::unknown);
    EXPECT_EQ(end.heartbeats, 1);
    end.hear(View::unknown);
    EXPECT_EQ(end.heartbeats, 1);
}

// Spec: CLU-070
TEST(PathMonitor, DiesAtOnceWhenThePeerNoLongerHearsIt) {
    End end;
    end.come_alive();
    end.hear(View::silent);
    EXPECT_EQ(end.changes, std::vector{PathState::dead});
    EXPECT_EQ(end.view(), View::heard);  // it does hear the peer, and says so
}

// Spec: CLU-070
TEST(PathMonitor, TwoEndsOfABrokenPathBothComeBack) {
    End a;
    End b;
    a.come_alive();
    b.come_alive();
    a.run_for(4s);
    b.run_for(4s);
    ASSERT_EQ(a.monitor.state(), PathState::dead);
    ASSERT_EQ(b.monitor.state(), PathState::dead);
    a.hear(b.view());
    EXPECT_EQ(a.monitor.state(), PathState::dead);
    b.hear(a.view());
    EXPECT_EQ(b.monitor.state(), PathState::alive);
    a.hear(b.view());
    EXPECT_EQ(a.monitor.state(), PathState::alive);
}

TEST(PathMonitor, APeerThatRestartedInTimeIsNotDead) {
    End end;
    end.come_alive();
    end.monitor.on_greeting(2, kLimits, end.now);
    end.peer_sequence = 0;
    end.hear(View::unknown);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    end.run_for(1s);
    end.hear(View::heard);
    EXPECT_TRUE(end.changes.empty());
}

TEST(PathMonitor, WhatWasHeardOfAnEarlierLifeOfThePeerIsNotToldToThePresentOne) {
    End end;
    end.monitor.on_greeting(1, kLimits, end.now);
    end.come_alive();
    EXPECT_EQ(end.view(), View::heard);
    end.monitor.on_greeting(2, kLimits, end.now);
    end.peer_sequence = 0;
    EXPECT_EQ(end.view(), View::unknown) << "ALIVE there only after it is heard here";
    end.hear(View::unknown);
    EXPECT_EQ(end.view(), View::heard);
}

// It waits for that before it starts anything, and no longer than interval x misses.
TEST(PathMonitor, TheFirstHeartbeatOfAPeersNewLifeIsAnsweredAtOnce) {
    End end;
    end.monitor.on_greeting(1, kLimits, end.now);
    end.hear(View::unknown);
    EXPECT_EQ(end.heartbeats, 1) << "its first life";
    end.hear(View::heard);
    EXPECT_EQ(end.heartbeats, 1) << "no answers to answers";
    end.monitor.on_greeting(2, kLimits, end.now);
    end.peer_sequence = 0;
    end.hear(View::unknown);
    EXPECT_EQ(end.heartbeats, 2) << "the one that boots has heard nothing from here yet";
    end.hear(View::heard);
    EXPECT_EQ(end.heartbeats, 2);
}

TEST(PathMonitor, APeerWhoseNewLifeIsHeardInTimeHasTheWholeLimitToConfirm) {
    End end;
    end.monitor.on_greeting(1, kLimits, end.now);
    end.come_alive();
    end.run_for(2900ms);
    end.monitor.on_greeting(2, kLimits, end.now);
    end.peer_sequence = 0;
    end.hear(View::unknown);
    end.run_for(2900ms);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    end.run_for(200ms);
    EXPECT_EQ(end.monitor.state(), PathState::dead) << "and not longer";
}

TEST(PathMonitor, APeerThatNeverConfirmsIsDeadAfterTheLimit) {
    End end;
    end.come_alive();
    for (int i = 0; i < 4; ++i) {
        end.run_for(1s);
        end.hear(View::unknown);
    }
    EXPECT_EQ(end.monitor.state(), PathState::dead);
}

TEST(PathMonitor, FramesOfAReplacedConnectionDoNotCount) {
    End end;
    end.come_alive();
    end.run_for(2s);
    end.peer_sequence = 0;
    end.hear(View::heard);  // sequence 1 again
    end.run_for(1s + 1ns);
    EXPECT_EQ(end.monitor.state(), PathState::dead);
}

TEST(PathMonitor, HeartbeatsCarryWhatIsNeededToMeasure) {
    End end;
    wire::Heartbeat heartbeat;
    heartbeat.sequence = 7;
    heartbeat.sent_ns = 1234;
    end.monitor.on_heartbeat(heartbeat, end.now);
    const auto out = end.monitor.make_heartbeat(end.now + 5ms, runtime::WallTime(9s));
    EXPECT_EQ(out.last_seen, 7U);
    EXPECT_EQ(out.echo_ns, 1234);
    EXPECT_EQ(out.held_ns, Duration(5ms).count());
    EXPECT_EQ(out.wall_us, 9'000'000);
    EXPECT_EQ(out.sequence, 1U);
    EXPECT_EQ(end.monitor.make_heartbeat(end.now, {}).sequence, 2U);
}

TEST(PathMonitor, AbsenceOfThisProcessIsNotSilenceOfThePeer) {
    End end;
    end.come_alive();
    end.sleep_for(60s);
    end.take(end.monitor.on_tick(end.now));
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    ASSERT_EQ(end.absences.size(), 1U);
    EXPECT_EQ(end.absences.front(), 59s);  // the tick was due after one interval
    // A whole fresh window, not more.
    end.run_for(3s);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    end.run_for(1ns);
    EXPECT_EQ(end.monitor.state(), PathState::dead);
    EXPECT_EQ(end.absences.size(), 1U);
}

TEST(PathMonitor, AbsenceIsNoticedWhenAFrameIsReadBeforeTheTimerRuns) {
    End end;
    end.come_alive();
    end.sleep_for(60s);
    end.hear(View::silent);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    EXPECT_EQ(end.absences.size(), 1U);
    end.take(end.monitor.on_tick(end.now));
    EXPECT_EQ(end.absences.size(), 1U);
}

TEST(PathMonitor, AShortAbsenceIsNotCountedAndNotReported) {
    End end;
    end.come_alive();
    end.run_for(900ms);
    end.sleep_for(2900ms);  // 3.8 s since the last heartbeat, 2.8 s of them absent
    end.take(end.monitor.on_tick(end.now));
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    EXPECT_TRUE(end.absences.empty());
    end.run_for(3s);
    EXPECT_EQ(end.monitor.state(), PathState::dead);
}

TEST(PathMonitor, SmallLatenessOfTicksDoesNotProlongTheVerdict) {
    End end;
    end.come_alive();
    while (end.monitor.state() == PathState::alive && end.now < kStart + 10s) {
        end.now = end.monitor.next_tick() + 50ms;
        end.take(end.monitor.on_tick(end.now));
    }
    EXPECT_LE(end.now, kStart + 3s + 51ms);
}

TEST(PathMonitor, APeerThatGaveUpAnAbsentNodeIsAnnouncedWhenItHearsItAgain) {
    End end;
    end.come_alive();
    end.sleep_for(60s);
    end.take(end.monitor.on_tick(end.now));
    end.hear(View::silent);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    EXPECT_TRUE(end.monitor.peer_gave_up());
    EXPECT_EQ(end.returns, 0);
    end.hear(View::heard);
    EXPECT_EQ(end.returns, 1);
    EXPECT_FALSE(end.monitor.peer_gave_up());
    EXPECT_TRUE(end.changes.empty());
}

// Spec: CLU-127
TEST(PathMonitor, IsSettledWhenAliveOrAfterItsTime) {
    End end;
    EXPECT_FALSE(end.monitor.settled(end.now));
    EXPECT_FALSE(end.monitor.settled(end.now + 3s));
    EXPECT_TRUE(end.monitor.settled(end.now + 3s + 1ns));
    end.come_alive();
    EXPECT_TRUE(end.monitor.settled(end.now));
}

TEST(PathMonitor, IsNotSettledAfterAnAbsenceUntilThePeerConfirmsWhatWasSentSince) {
    End end;
    end.come_alive();
    const auto before = end.monitor.make_heartbeat(end.now, {}).sequence;
    end.sleep_for(60s);
    end.take(end.monitor.on_tick(end.now));
    EXPECT_FALSE(end.monitor.settled(end.now));
    end.hear(View::heard, before);  // lay in the socket all the time
    EXPECT_FALSE(end.monitor.settled(end.now));
    end.hear(View::heard, end.monitor.make_heartbeat(end.now, {}).sequence);
    EXPECT_TRUE(end.monitor.settled(end.now));
}

TEST(PathMonitor, NewLimitsGiveAFreshWindow) {
    End end;
    end.come_alive();
    end.run_for(2s);
    end.monitor.set_limits({100ms, 3}, end.now);
    end.run_for(300ms);
    EXPECT_EQ(end.monitor.state(), PathState::alive);
    end.run_for(1ns);
    EXPECT_EQ(end.monitor.state(), PathState::dead);
    EXPECT_TRUE(end.absences.empty());
}

TEST(PathMonitor, SenselessLimitsAreMadeLegal) {
    End end(PathLimits{0s, 0});
    EXPECT_EQ(end.monitor.limits().interval, 1ms);
    EXPECT_EQ(end.monitor.limits().misses, 1);
}

}  // namespace
}  // namespace understudy::comm
