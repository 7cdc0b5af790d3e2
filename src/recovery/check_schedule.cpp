#include "recovery/check_schedule.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace understudy::recovery {
namespace {

using runtime::Duration;
using runtime::TimePoint;

constexpr TimePoint kNever = TimePoint::max();
/// Multiples of the golden ratio's fraction fill an interval evenly, however many there are of them.
constexpr double kGolden = 0.6180339887498949;

/// The first slot of the grid after `now`.
TimePoint slot_after(TimePoint origin, Duration interval, TimePoint now) {
    if (interval <= Duration::zero()) return kNever;
    if (now < origin) return origin;
    return origin + ((now - origin) / interval + 1) * interval;
}

}  // namespace

std::string_view to_string(CheckKind kind) {
    return kind == CheckKind::quick ? "quickchk" : "deepchk";
}

void CheckSchedule::lay_grid(Entry& entry, TimePoint now) {
    auto shortest = entry.intervals.quick;
    if (shortest <= Duration::zero() ||
        (entry.intervals.deep > Duration::zero() && entry.intervals.deep < shortest))
        shortest = entry.intervals.deep;
    entry.origin =
        now + Duration(static_cast<Duration::rep>(entry.phase * static_cast<double>(shortest.count())));
    entry.quick = entry.intervals.quick > Duration::zero() ? entry.origin : kNever;
    entry.deep = entry.intervals.deep > Duration::zero() ? entry.origin : kNever;
}

TimePoint CheckSchedule::next_of(const Entry& entry) {
    return std::min(entry.quick, entry.deep);
}

void CheckSchedule::queue(const Tag& tag, const Entry& entry) {
    if (!entry.running && next_of(entry) != kNever) idle_.emplace(next_of(entry), tag);
}

void CheckSchedule::watch(const Tag& tag, Intervals intervals, TimePoint now) {
    if (intervals.quick <= Duration::zero() && intervals.deep <= Duration::zero()) return forget(tag);
    const auto [at, added] = entries_.try_emplace(tag);
    auto& entry = at->second;
    if (added) {
        entry.phase = next_phase_;
        next_phase_ = std::fmod(next_phase_ + kGolden, 1.0);
    }
    if (std::exchange(entry.forgotten, false)) --forgotten_;
    if (!added && entry.intervals == intervals) return;
    idle_.erase({next_of(entry), tag});
    entry.intervals = intervals;
    lay_grid(entry, now);
    queue(tag, entry);
}

void CheckSchedule::forget(const Tag& tag) {
    const auto at = entries_.find(tag);
    if (at == entries_.end() || at->second.forgotten) return;
    if (at->second.running) {  // it comes to its end first: no second one may begin beside it
        at->second.forgotten = true;
        ++forgotten_;
        return;
    }
    idle_.erase({next_of(at->second), tag});
    entries_.erase(at);
}

std::vector<CheckSchedule::Check> CheckSchedule::due(TimePoint now, std::optional<Duration> limit) {
    std::vector<Check> checks;
    while (running_ < kMaxRunningChecks && !idle_.empty() && idle_.begin()->first <= now) {
        const Tag tag = idle_.begin()->second;
        idle_.erase(idle_.begin());
        auto& entry = entries_.at(tag);
        const auto kind = entry.deep <= now ? CheckKind::deep : CheckKind::quick;
        skip(entry, now, kind == CheckKind::deep);
        entry.running = kind;
        const auto interval = kind == CheckKind::deep ? entry.intervals.deep : entry.intervals.quick;
        entry.deadline = now + limit.value_or(std::max(interval, kLeastCheckLimit));
        deadlines_.emplace(*entry.deadline, tag);
        ++running_;
        checks.push_back({tag, kind});
    }
    return checks;
}

void CheckSchedule::skip(Entry& entry, TimePoint now, bool deep_too) {
    if (entry.quick <= now) entry.quick = slot_after(entry.origin, entry.intervals.quick, now);
    if (deep_too && entry.deep <= now) entry.deep = slot_after(entry.origin, entry.intervals.deep, now);
}

std::vector<CheckSchedule::Check> CheckSchedule::overdue(TimePoint now) {
    std::vector<Check> checks;
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
        auto& entry = entries_.at(deadlines_.begin()->second);
        entry.deadline.reset();
        checks.push_back({deadlines_.begin()->second, *entry.running});
        deadlines_.erase(deadlines_.begin());
    }
    return checks;
}

void CheckSchedule::ended(const Tag& tag, TimePoint now) {
    const auto at = entries_.find(tag);
    assert(at != entries_.end() && at->second.running && "only what runs can end");
    auto& entry = at->second;
    if (entry.deadline) deadlines_.erase({*entry.deadline, tag});
    entry.deadline.reset();
    --running_;
    const bool was_deep = *std::exchange(entry.running, std::nullopt) == CheckKind::deep;
    if (entry.forgotten) {
        --forgotten_;
        entries_.erase(at);
        return;
    }
    skip(entry, now, was_deep);
    queue(tag, entry);
}

void CheckSchedule::soon(const Tag& tag, TimePoint now) {
    const auto at = entries_.find(tag);
    if (at == entries_.end() || at->second.forgotten) return;
    auto& entry = at->second;
    if (!entry.running) idle_.erase({next_of(entry), tag});
    auto& slot = entry.intervals.quick > Duration::zero() ? entry.quick : entry.deep;
    slot = std::min(slot, now);
    queue(tag, entry);
}

void CheckSchedule::skip_missed(TimePoint now) {
    idle_.clear();
    for (auto& [tag, entry] : entries_) {
        skip(entry, now, true);
        queue(tag, entry);
    }
}

std::optional<TimePoint> CheckSchedule::next() const {
    std::optional<TimePoint> soonest;
    if (running_ < kMaxRunningChecks && !idle_.empty()) soonest = idle_.begin()->first;
    if (!deadlines_.empty() && (!soonest || deadlines_.begin()->first < *soonest))
        soonest = deadlines_.begin()->first;
    return soonest;
}

}  // namespace understudy::recovery
