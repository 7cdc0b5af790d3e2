#pragma once
// Liveness of one communication path: a state machine without I/O. Spec: CLU-065, CLU-067, CLU-070.
//
//   heartbeat from the peer --> on_heartbeat() --+--> changed: ALIVE or DEAD
//   the driver's timer      --> on_tick()       -+--> heartbeat_due: send make_heartbeat() now
//                                                +--> absent: this process itself did not run for so long
//
// A path is ALIVE when both ends hear each other. Each heartbeat says whether its sender hears the receiver
// (View), so both sides agree on a one-way failure:
//
//     DEAD  --heartbeat whose sender hears us-->  ALIVE
//     ALIVE --no heartbeat for interval x misses, or none in that time whose sender hears us,
//             or the sender says that it has stopped hearing us-->  DEAD
//
// "Hears" does not depend on ALIVE or DEAD, so two ends never wait for each other's ALIVE.
//
// Silence counts only while this process was running. When a tick comes later than an interval after its time
// (SIGSTOP, a frozen VM, a swap storm), the peer's heartbeats may lie unread in the socket: the lateness is
// not counted; after an absence longer than the limit the path gets a fresh interval x misses. The peer has
// then probably declared this node dead: its report of silence is remembered (peer_gave_up), not taken as its
// death.

#include "comm/states.h"
#include "comm/wire.h"
#include "runtime/tasks.h"

#include <optional>

namespace understudy::comm {

/// Heartbeat parameters of one end of a path.
struct PathLimits {
    runtime::Duration interval = std::chrono::seconds(6);
    int misses = 5;
    [[nodiscard]] runtime::Duration limit() const { return interval * misses; }
    friend bool operator==(const PathLimits&, const PathLimits&) = default;
};

class PathMonitor {
  public:
    using TimePoint = runtime::TimePoint;
    using Duration = runtime::Duration;

    struct Outcome {
        std::optional<PathState> changed;
        bool heartbeat_due = false;
        std::optional<Duration> absent;  // set once per absence longer than interval x misses
        std::optional<Duration> late;    // the same for any that is longer than the interval
        bool peer_returned = false;      // a peer that had given this node up hears it again
    };

    PathMonitor(PathLimits limits, TimePoint now);

    /// A connection of the path was greeted. Heartbeats are sent at the shorter of both ends' intervals, so
    /// that each end can judge by its own. Another incarnation starts the peer's sequence numbers afresh.
    void on_greeting(std::uint64_t peer_incarnation, PathLimits peer_limits, TimePoint now);
    Outcome on_heartbeat(const wire::Heartbeat& heartbeat, TimePoint now);
    Outcome on_tick(TimePoint now);
    /// When on_tick() is wanted next; earlier is harmless, later counts as absence.
    [[nodiscard]] TimePoint next_tick() const;

    /// The next heartbeat to send; takes a sequence number.
    wire::Heartbeat make_heartbeat(TimePoint now, runtime::WallTime wall);

    /// New interval or misses from the configuration: a fresh window under the new limit.
    void set_limits(PathLimits limits, TimePoint now);

    [[nodiscard]] PathState state() const { return state_; }
    [[nodiscard]] const PathLimits& limits() const { return limits_; }
    /// The last valid heartbeat, by the real clock (absences included); empty: none yet.
    [[nodiscard]] std::optional<TimePoint> last_heard() const { return last_heard_; }
    [[nodiscard]] int times_down() const { return times_down_; }
    /// Whether the path has had its chance to come up since start or since this process returned: it is ALIVE
    /// and the peer confirmed it since, or interval x misses have passed. Spec: CLU-127.
    [[nodiscard]] bool settled(TimePoint now) const;
    /// The peer declared this node dead while this process was absent, and does not hear it again yet.
    [[nodiscard]] bool peer_gave_up() const { return peer_gave_up_; }

  private:
    void notice_absence(TimePoint now, Outcome& outcome);
    void judge(TimePoint now, Outcome& outcome);
    void become(PathState state, Outcome& outcome);
    [[nodiscard]] Duration send_period() const;

    PathLimits limits_;
    std::optional<PathLimits> peer_limits_;
    PathState state_ = PathState::dead;
    int times_down_ = 0;

    std::optional<std::uint64_t> peer_incarnation_;
    std::uint64_t last_sequence_ = 0;  // received
    std::uint64_t next_sequence_ = 1;  // to send
    std::optional<TimePoint> last_heard_;
    std::int64_t echo_ns_ = 0;

    bool hearing_ = false;
    TimePoint hear_by_;     // silence is a failure after it; meaningful while hearing_
    TimePoint confirm_by_;  // the peer must have said that it hears us; meaningful while ALIVE
    TimePoint next_send_;

    TimePoint since_;                                // start, or return from an absence
    std::optional<std::uint64_t> unconfirmed_from_;  // after an absence: our first sequence number since
    TimePoint lenient_until_;                        // reports of silence until then are our own fault
    bool peer_gave_up_ = false;
};

}  // namespace understudy::comm
