#pragma once
// Time and the event loop.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace understudy::runtime {

using Duration = std::chrono::nanoseconds;

/// The monotonic clock; wall-clock jumps do not exist here. Spec: CLU-067.
struct MonotonicClock {
    using duration = Duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<MonotonicClock>;
    static constexpr bool is_steady = true;
};
using TimePoint = MonotonicClock::time_point;
using WallTime = std::chrono::sys_time<std::chrono::microseconds>;

class Clock {
  public:
    virtual ~Clock() = default;
    [[nodiscard]] virtual TimePoint now() const = 0;
    /// For journals and people only; no decision may depend on it.
    [[nodiscard]] virtual WallTime wall() const = 0;
};

enum class TimerId : std::uint64_t {};

/// Jobs of Tasks::run_blocking that wait for a worker, at most.
inline constexpr std::size_t kMaxBlockingJobs = 256;

/// One event loop on one thread. Callbacks run one at a time, in order of time, then of posting.
class Tasks {
  public:
    using Function = std::function<void()>;
    virtual ~Tasks() = default;
    /// Runs `function` soon, never on the caller's stack. Loop thread only.
    virtual void post(Function function) = 0;
    /// Runs `function` once after `delay`.
    virtual TimerId after(Duration delay, Function function) = 0;
    /// Harmless when the timer has fired or never existed.
    virtual void cancel(TimerId timer) = 0;
    /// Like post, callable from any thread (a worker's completion).
    virtual void post_from_thread(Function function) = 0;
    /// Runs `work` off the loop (SQLite's fsync, DNS), then `done` on the loop. At most a small fixed number
    /// of workers; `work` must not touch loop-owned data. False, and neither runs, when kMaxBlockingJobs wait
    /// already.
    [[nodiscard]] virtual bool run_blocking(Function work, Function done) = 0;
};

}  // namespace understudy::runtime
