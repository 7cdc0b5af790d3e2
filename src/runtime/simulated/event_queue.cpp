#include "runtime/simulated/event_queue.h"

#include <algorithm>
#include <utility>

namespace understudy::runtime::simulated {
namespace {

// Cancelled events leave their heap entry behind; it is swept when the heap is this many times larger than
// what is really scheduled.
constexpr std::size_t kStaleFactor = 4;
constexpr std::size_t kLeastSweep = 1024;

std::uint32_t slot_of(EventId id) {
    return static_cast<std::uint32_t>(id);
}
std::uint32_t generation_of(EventId id) {
    return static_cast<std::uint32_t>(id >> 32);
}

}  // namespace

EventQueue::Slot* EventQueue::find(EventId id) {
    if (slot_of(id) >= slots_.size()) return nullptr;
    auto& slot = slots_[slot_of(id)];
    return slot.used && slot.generation == generation_of(id) ? &slot : nullptr;
}

Tasks::Function EventQueue::free(EventId id) {
    auto& slot = slots_[slot_of(id)];
    auto function = std::exchange(slot.function, nullptr);
    slot.used = false;
    slot.owner = nullptr;
    if (++slot.generation == 0) slot.generation = 1;
    free_slots_.push_back(slot_of(id));
    return function;
}

void EventQueue::push(TimePoint at, EventId id) {
    if (heap_.size() > kLeastSweep && heap_.size() > kStaleFactor * (slots_.size() - free_slots_.size()))
        drop_stale_entries();
    heap_.push_back({std::max(at, now_), next_sequence_++, id});
    std::push_heap(heap_.begin(), heap_.end());
}

void EventQueue::drop_stale_entries() {
    std::erase_if(heap_, [this](const Entry& entry) { return find(entry.id) == nullptr; });
    std::make_heap(heap_.begin(), heap_.end());
}

EventId EventQueue::schedule(TimePoint at, EventOwner* owner, Tasks::Function function) {
    if (free_slots_.empty()) {
        free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
        slots_.emplace_back();
    }
    const auto index = free_slots_.back();
    free_slots_.pop_back();
    auto& slot = slots_[index];
    slot.function = std::move(function);
    slot.owner = owner;
    slot.used = true;
    const EventId id = (static_cast<EventId>(slot.generation) << 32) | index;
    push(at, id);
    return id;
}

void EventQueue::cancel(EventId id) {
    // The callback's destructor may schedule or cancel: it runs after the queue is consistent again.
    if (find(id) != nullptr) {
        const auto destroyed = free(id);
    }
}

void EventQueue::purge(EventOwner& owner) {
    std::vector<Tasks::Function> destroyed;
    for (std::uint32_t index = 0; index < slots_.size(); ++index) {
        const auto& slot = slots_[index];
        if (slot.used && slot.owner == &owner)
            destroyed.push_back(free((static_cast<EventId>(slot.generation) << 32) | index));
    }
    owner.waiting.clear();
}

void EventQueue::release(EventOwner& owner) {
    owner.held = false;
    for (const auto id : std::exchange(owner.waiting, {}))
        if (find(id) != nullptr) push(now_, id);
}

EventQueue::Event EventQueue::take_next(TimePoint limit) {
    while (!heap_.empty() && heap_.front().at <= limit) {
        std::pop_heap(heap_.begin(), heap_.end());
        const auto entry = heap_.back();
        heap_.pop_back();
        auto* slot = find(entry.id);
        if (slot == nullptr) continue;
        now_ = entry.at;
        if (slot->owner != nullptr && slot->owner->held) {
            slot->owner->waiting.push_back(entry.id);
            continue;
        }
        Event event{nullptr, slot->owner};
        event.function = free(entry.id);
        return event;
    }
    now_ = std::max(now_, limit);
    return {};
}

}  // namespace understudy::runtime::simulated
