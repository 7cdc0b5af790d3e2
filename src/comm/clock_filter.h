#pragma once
// Round trip and clock offset of a peer from the times in its heartbeats, as NTP does it: of the last samples
// the one with the shortest round trip is the most exact. Pure; for people and plausibility checks, never for
// liveness.

#include "comm/wire.h"
#include "runtime/tasks.h"

#include <array>
#include <optional>

namespace understudy::comm {

class ClockFilter {
  public:
    struct Sample {
        runtime::Duration round_trip{};
        runtime::Duration offset{};  // the peer's wall clock minus ours
    };

    void on_heartbeat(const wire::Heartbeat& heartbeat, runtime::TimePoint now, runtime::WallTime wall) {
        const auto now_ns = now.time_since_epoch().count();
        const auto wall_us = wall.time_since_epoch().count();
        // The peer's numbers are bounded before any arithmetic with them.
        if (heartbeat.echo_ns <= 0 || heartbeat.echo_ns > now_ns || heartbeat.held_ns < 0 ||
            heartbeat.held_ns > now_ns - heartbeat.echo_ns || heartbeat.wall_us < 0 ||
            heartbeat.wall_us > kLatestWallUs)
            return;
        Sample sample;
        sample.round_trip = runtime::Duration(now_ns - heartbeat.echo_ns - heartbeat.held_ns);
        sample.offset = std::chrono::microseconds(heartbeat.wall_us - wall_us) + sample.round_trip / 2;
        samples_[next_++ % samples_.size()] = sample;
    }

    [[nodiscard]] std::optional<Sample> best() const {
        std::optional<Sample> best;
        for (const auto& sample : samples_)
            if (sample && (!best || sample->round_trip < best->round_trip)) best = sample;
        return best;
    }

    void reset() { samples_ = {}; }

  private:
    static constexpr std::int64_t kLatestWallUs =
        9'000'000'000'000'000;  // keeps offsets within nanoseconds' range
    std::array<std::optional<Sample>, 8> samples_{};
    std::size_t next_ = 0;
};

}  // namespace understudy::comm
