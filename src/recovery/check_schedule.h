#pragma once
// When which resource is checked. Pure: no clock, no processes; the driver (checks.h) feeds it.
//
//   watch ──> idle ──due──> running ──ended──> idle
//                              └──overdue (once) ──> the driver ends the check ──ended──┘
//
// A resource has two grids of slots, quick and deep, from one origin. Origins are spread over the interval so
// that any number of resources loads the node evenly, from the first check on (Spec: CLU-131, CLU-162). A
// resource is never checked twice at a time: a quick slot that falls into a running check is left out, a deep
// one runs right after it. Where both fall together only the deep check runs (Spec: CMD-073).

#include "base/types.h"
#include "runtime/tasks.h"

#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace understudy::recovery {

enum class CheckKind { quick, deep };
std::string_view to_string(CheckKind kind);  // the action's name: "quickchk", "deepchk"

/// Checks that run at the same time, at most. Large, for those that hang on a dead disk must not keep the
/// others from being made.
inline constexpr std::size_t kMaxRunningChecks = 128;
/// A check may take its interval, but never less than this. Spec: CLU-172.
inline constexpr runtime::Duration kLeastCheckLimit = std::chrono::seconds(60);

class CheckSchedule {
  public:
    struct Intervals {
        runtime::Duration quick{};  // 0: never
        runtime::Duration deep{};   // 0: never
        friend bool operator==(const Intervals&, const Intervals&) = default;
    };
    struct Check {
        Tag tag;
        CheckKind kind = CheckKind::quick;
        friend bool operator==(const Check&, const Check&) = default;
    };

    /// Checks `tag` from now on at these intervals; other ones than before take effect at once. Both 0: the
    /// same as forget().
    void watch(const Tag& tag, Intervals intervals, runtime::TimePoint now);
    void forget(const Tag& tag);

    /// The checks to start now; each runs until ended(). `limit` replaces the usual one of CLU-172.
    std::vector<Check> due(runtime::TimePoint now, std::optional<runtime::Duration> limit);
    /// Running checks whose limit has passed; each is told once.
    std::vector<Check> overdue(runtime::TimePoint now);
    /// The check of `tag` has ended, was ended, or was left out.
    void ended(const Tag& tag, runtime::TimePoint now);
    /// Checks `tag` at the next opportunity, besides its slots.
    void soon(const Tag& tag, runtime::TimePoint now);
    /// Leaves out the slots that fell due while this process stood still, instead of running them all at
    /// once.
    void skip_missed(runtime::TimePoint now);

    /// When due() or overdue() has something to tell; nullopt: not before another call.
    [[nodiscard]] std::optional<runtime::TimePoint> next() const;
    [[nodiscard]] std::size_t running() const { return running_; }
    [[nodiscard]] std::size_t watched() const { return entries_.size() - forgotten_; }

  private:
    struct Entry {
        Intervals intervals;
        double phase = 0;  // of the interval, 0 to 1; the resource's own for as long as it is watched
        runtime::TimePoint origin;
        runtime::TimePoint quick;  // next slots
        runtime::TimePoint deep;
        std::optional<CheckKind> running;
        std::optional<runtime::TimePoint> deadline;
        bool forgotten = false;  // while it ran
    };
    void lay_grid(Entry& entry, runtime::TimePoint now);
    void skip(Entry& entry, runtime::TimePoint now, bool deep_too);
    [[nodiscard]] static runtime::TimePoint next_of(const Entry& entry);
    void queue(const Tag& tag, const Entry& entry);

    std::map<Tag, Entry> entries_;
    std::set<std::pair<runtime::TimePoint, Tag>> idle_;       // by next slot
    std::set<std::pair<runtime::TimePoint, Tag>> deadlines_;  // of running ones, not told yet
    std::size_t running_ = 0;
    std::size_t forgotten_ = 0;
    double next_phase_ = 0;
};

}  // namespace understudy::recovery
