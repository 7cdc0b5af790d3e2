#pragma once
// A host's own clocks: the monotonic one starts anew at each boot and may drift, the wall clock may jump too.

#include "runtime/tasks.h"

namespace understudy::runtime::simulated {

class HostClock {
  public:
    void boot(TimePoint true_now, Duration since) {
        anchor_ = true_now;
        at_anchor_ = TimePoint(since);
    }
    void set_drift(TimePoint true_now, int parts_per_million) {
        at_anchor_ = now(true_now);
        anchor_ = true_now;
        drift_ = parts_per_million;
    }
    void jump(std::chrono::microseconds by) { jumped_ += by; }

    [[nodiscard]] TimePoint now(TimePoint true_now) const {
        const auto elapsed = (true_now - anchor_).count();
        return at_anchor_ +
               Duration(elapsed + elapsed / kMillion * drift_ + elapsed % kMillion * drift_ / kMillion);
    }
    [[nodiscard]] WallTime wall(TimePoint true_now) const {
        // Jumps apart, all hosts are set by the same time service.
        return kEpoch + std::chrono::duration_cast<std::chrono::microseconds>(true_now.time_since_epoch()) +
               jumped_;
    }
    /// True time in which at least `local` passes on this clock: a timer is never early.
    [[nodiscard]] Duration truly(Duration local) const {
        if (drift_ == 0) return local;
        const auto rate = kMillion + drift_;
        const auto whole = local.count() / rate;
        const auto rest = local.count() % rate;
        return Duration(whole * kMillion + (rest * kMillion + rate - 1) / rate + kRounding);
    }

  private:
    static constexpr Duration::rep kMillion = 1'000'000;
    static constexpr Duration::rep kRounding = 2;  // now() rounds down twice
    static constexpr WallTime kEpoch{std::chrono::sys_days(std::chrono::year{2026} / 1 / 1)};

    TimePoint anchor_{};
    TimePoint at_anchor_{};
    Duration::rep drift_ = 0;
    std::chrono::microseconds jumped_{};
};

}  // namespace understudy::runtime::simulated
