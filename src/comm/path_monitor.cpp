#include "comm/path_monitor.h"

#include <cassert>

namespace understudy::comm {

std::string_view to_string(PathState state) {
    switch (state) {
        case PathState::dead:
            return "DEAD";
        case PathState::alive:
            return "ALIVE";
    }
    return "";
}

std::string_view to_string(PeerState state) {
    switch (state) {
        case PeerState::unknown:
            return "UNKNOWN";
        case PeerState::alive:
            return "ALIVE";
        case PeerState::dead:
            return "DEAD";
    }
    return "";
}

namespace {

// The smallest step of time: a limit has passed one step after it.
constexpr auto kStep = runtime::Duration(1);

PathLimits sane(PathLimits limits) {
    limits.interval =
        std::clamp<runtime::Duration>(limits.interval, std::chrono::milliseconds(1), std::chrono::hours(1));
    limits.misses = std::clamp(limits.misses, 1, 1000);
    return limits;
}

}  // namespace

PathMonitor::PathMonitor(PathLimits limits, TimePoint now)
    : limits_(sane(limits)),
      hear_by_(now),
      confirm_by_(now),
      next_send_(now + limits_.interval),
      since_(now),
      lenient_until_(now) {}

runtime::Duration PathMonitor::send_period() const {
    return peer_limits_ ? std::min(limits_.interval, peer_limits_->interval) : limits_.interval;
}

runtime::TimePoint PathMonitor::next_tick() const {
    auto next = next_send_;
    if (hearing_) next = std::min(next, hear_by_ + kStep);
    if (state_ == PathState::alive) next = std::min(next, confirm_by_ + kStep);
    return next;
}

void PathMonitor::set_limits(PathLimits limits, TimePoint now) {
    limits_ = sane(limits);
    hear_by_ = confirm_by_ = now + limits_.limit();
    next_send_ = std::min(next_send_, now + send_period());
}

void PathMonitor::on_greeting(std::uint64_t peer_incarnation, PathLimits peer_limits, TimePoint now) {
    peer_limits_ = sane(peer_limits);
    if (peer_incarnation_ != peer_incarnation) {
        peer_incarnation_ = peer_incarnation;
        last_sequence_ = 0;
        echo_ns_ = 0;
    }
    next_send_ = std::min(next_send_, now + send_period());
}

void PathMonitor::notice_absence(TimePoint now, Outcome& outcome) {
    const auto late = now - next_tick();
    if (late <= limits_.interval) return;
    outcome.late = late;
    const bool long_absence = late > limits_.limit();
    // At least one interval, so that what lies in the sockets is read before the verdict.
    const auto pardon = [&](TimePoint& by) {
        by = long_absence ? now + limits_.limit() : std::max(by + late, now + limits_.interval);
    };
    pardon(hear_by_);
    pardon(confirm_by_);
    lenient_until_ = now + limits_.limit();
    next_send_ = std::max(next_send_, now);  // noticed: not late any more
    if (long_absence) {
        since_ = now;
        unconfirmed_from_ = next_sequence_;
        outcome.absent = late;
    }
}

void PathMonitor::become(PathState state, Outcome& outcome) {
    if (state_ == state) return;
    state_ = state;
    if (state == PathState::dead) {
        ++times_down_;
        peer_gave_up_ = false;  // the return from here is an ordinary one
    }
    outcome.changed = state;
}

void PathMonitor::judge(TimePoint now, Outcome& outcome) {
    if (hearing_ && now > hear_by_) {
        hearing_ = false;
        outcome.heartbeat_due = true;  // tell the peer at once, if it still hears us
    }
    if (state_ == PathState::alive && (!hearing_ || now > confirm_by_)) become(PathState::dead, outcome);
}

PathMonitor::Outcome PathMonitor::on_heartbeat(const wire::Heartbeat& heartbeat, TimePoint now) {
    Outcome outcome;
    notice_absence(now, outcome);
    // Not newer than what we have: a frame of a connection that was replaced meanwhile.
    if (heartbeat.sequence <= last_sequence_) {
        judge(now, outcome);
        return outcome;
    }
    // Also when its former life was heard: the new one may start what it has as soon as its wait is over.
    const bool first_of_its_life = last_sequence_ == 0;
    last_sequence_ = heartbeat.sequence;
    echo_ns_ = heartbeat.sent_ns;
    last_heard_ = now;
    hear_by_ = now + limits_.limit();
    if (!hearing_ || first_of_its_life) {
        hearing_ = true;
        outcome.heartbeat_due = true;
    }
    // That the former life stopped confirming says nothing of this one, which takes us for ALIVE from our
    // answer on.
    if (first_of_its_life) confirm_by_ = now + limits_.limit();

    switch (heartbeat.view) {
        case wire::View::heard:
            confirm_by_ = now + limits_.limit();
            if (unconfirmed_from_ && heartbeat.last_seen >= *unconfirmed_from_) unconfirmed_from_.reset();
            if (peer_gave_up_) {
                peer_gave_up_ = false;
                outcome.peer_returned = true;
            }
            become(PathState::alive, outcome);
            break;
        case wire::View::silent:
            if (state_ == PathState::alive && now < lenient_until_)
                peer_gave_up_ = true;
            else
                become(PathState::dead, outcome);
            break;
        case wire::View::unknown:
            // A peer that has just started: it must confirm within the limit, like any other.
            break;
    }
    judge(now, outcome);
    return outcome;
}

PathMonitor::Outcome PathMonitor::on_tick(TimePoint now) {
    Outcome outcome;
    notice_absence(now, outcome);
    judge(now, outcome);
    if (now >= next_send_) {
        outcome.heartbeat_due = true;
        // An even rhythm; ticks that were missed are not made up for.
        next_send_ += send_period();
        if (next_send_ <= now) next_send_ = now + send_period();
    }
    assert(next_tick() > now);
    return outcome;
}

wire::Heartbeat PathMonitor::make_heartbeat(TimePoint now, runtime::WallTime wall) {
    wire::Heartbeat out;
    out.sequence = next_sequence_++;
    out.last_seen = last_sequence_;
    // What was heard of the peer's earlier life says nothing to this one: were it told "heard", it would take
    // the path for ALIVE before we heard it, and our verdict about its earlier life for our death.
    const bool heard_this_life = last_sequence_ != 0;
    out.view = !heard_this_life ? wire::View::unknown : (hearing_ ? wire::View::heard : wire::View::silent);
    out.wall_us = wall.time_since_epoch().count();
    out.sent_ns = now.time_since_epoch().count();
    if (echo_ns_ != 0 && last_heard_) {
        out.echo_ns = echo_ns_;
        out.held_ns = (now - *last_heard_).count();
    }
    return out;
}

bool PathMonitor::settled(TimePoint now) const {
    if (now > since_ + limits_.limit()) return true;
    return state_ == PathState::alive && !unconfirmed_from_;
}

}  // namespace understudy::comm
