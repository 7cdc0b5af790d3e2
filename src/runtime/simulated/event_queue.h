#pragma once
// Events in order of time, then of scheduling. Each belongs to an owner (a program, a host) or to none; an
// owner can be held back and purged. Cancelled and purged callbacks are destroyed at once, not when their
// time comes.

#include "runtime/tasks.h"

#include <cstdint>
#include <vector>

namespace understudy::runtime::simulated {

/// Slot and generation of a scheduled event; never 0.
using EventId = std::uint64_t;

struct EventOwner {
    bool held = false;             // events that fall due wait in `waiting`
    std::vector<EventId> waiting;  // in the order in which they fell due
    int depth = 0;                 // its callbacks on the stack
};

class EventQueue {
  public:
    struct Event {
        Tasks::Function function;
        EventOwner* owner = nullptr;
    };

    [[nodiscard]] TimePoint now() const { return now_; }

    /// Times before now count as now.
    EventId schedule(TimePoint at, EventOwner* owner, Tasks::Function function);
    /// Harmless when it has run or never existed.
    void cancel(EventId id);
    /// Destroys every callback of the owner, held ones included.
    void purge(EventOwner& owner);
    /// What fell due while the owner was held runs now, in its order.
    void release(EventOwner& owner);

    /// Takes the next event that is due until `limit` and moves the time to it. Without one the time moves to
    /// `limit` and the event is empty.
    Event take_next(TimePoint limit);

  private:
    struct Slot {
        Tasks::Function function;
        EventOwner* owner = nullptr;
        std::uint32_t generation = 1;
        bool used = false;
    };
    struct Entry {
        TimePoint at;
        std::uint64_t sequence;
        EventId id;
        // For std::push_heap, which keeps the largest on top: the earliest is the largest.
        friend bool operator<(const Entry& a, const Entry& b) {
            return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
        }
    };

    Slot* find(EventId id);
    Tasks::Function free(EventId id);
    void push(TimePoint at, EventId id);
    void drop_stale_entries();

    TimePoint now_{};
    std::uint64_t next_sequence_ = 0;
    std::vector<Entry> heap_;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_slots_;
};

}  // namespace understudy::runtime::simulated
