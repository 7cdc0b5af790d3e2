#pragma once
// Small containers of the hot path: no allocation once warm. Not thread-safe.

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace understudy::mirror {

/// Objects with stable addresses that are used again. T has a member `T* next`.
template <class T>
class ObjectPool {
  public:
    T& take() {
        ++out_;
        if (free_ == nullptr) return storage_.emplace_back();
        T& object = *free_;
        free_ = object.next;
        object.next = nullptr;
        return object;
    }
    void give_back(T& object) {
        assert(out_ > 0);
        --out_;
        object.next = free_;
        free_ = &object;
    }
    [[nodiscard]] std::size_t out() const { return out_; }

  private:
    std::deque<T> storage_;
    T* free_ = nullptr;
    std::size_t out_ = 0;
};

/// First in, first out, through T's member `T* next`.
template <class T>
class IntrusiveQueue {
  public:
    void push(T& item) {
        item.next = nullptr;
        (last_ != nullptr ? last_->next : first_) = &item;
        last_ = &item;
        ++size_;
    }
    T& pop() {
        T& item = *first_;
        first_ = item.next;
        if (first_ == nullptr) last_ = nullptr;
        item.next = nullptr;
        --size_;
        return item;
    }
    /// Takes the whole content.
    IntrusiveQueue take_all() {
        IntrusiveQueue all = *this;
        *this = {};
        return all;
    }
    [[nodiscard]] T* front() const { return first_; }
    [[nodiscard]] bool empty() const { return first_ == nullptr; }
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    T* first_ = nullptr;
    T* last_ = nullptr;
    std::size_t size_ = 0;
};

/// Byte ranges under way, for finding overlaps. A plain array: the number in flight is small and a walk over
/// contiguous memory beats a tree. T has a member `std::size_t range_index`.
template <class T>
class RangeSet {
  public:
    void add(std::uint64_t begin, std::uint64_t end, T& owner) {
        owner.range_index = ranges_.size();
        ranges_.push_back({begin, end, &owner});
    }
    void remove(T& owner) {
        const std::size_t index = owner.range_index;
        assert(index < ranges_.size() && ranges_[index].owner == &owner);
        ranges_[index] = ranges_.back();
        ranges_[index].owner->range_index = index;
        ranges_.pop_back();
    }
    [[nodiscard]] bool overlaps(std::uint64_t begin, std::uint64_t end) const {
        for (const Range& range : ranges_)
            if (range.begin < end && begin < range.end) return true;
        return false;
    }
    [[nodiscard]] T* front() const { return ranges_.empty() ? nullptr : ranges_.front().owner; }
    template <class Function>
    void for_each_overlap(std::uint64_t begin, std::uint64_t end, Function&& function) const {
        for (const Range& range : ranges_)
            if (range.begin < end && begin < range.end) function(*range.owner);
    }
    [[nodiscard]] std::size_t size() const { return ranges_.size(); }
    [[nodiscard]] bool empty() const { return ranges_.empty(); }

  private:
    struct Range {
        std::uint64_t begin, end;
        T* owner;
    };
    std::vector<Range> ranges_;
};

/// A window over consecutive sequence numbers, growing as needed. T is a pointer-like value, T{} = empty.
template <class T>
class SequenceWindow {
  public:
    void reset() {
        for (std::uint64_t number = first_; number < end_; ++number)
            at(number) = T{};
        first_ = end_ = 1;
    }
    /// Puts `value` at the next number and returns the number.
    std::uint64_t push(T value) {
        if (end_ - first_ == slots_.size()) grow();
        const std::uint64_t number = end_++;
        at(number) = value;
        return number;
    }
    [[nodiscard]] bool contains(std::uint64_t number) const { return number >= first_ && number < end_; }
    T& at(std::uint64_t number) { return slots_[number & (slots_.size() - 1)]; }
    const T& at(std::uint64_t number) const { return slots_[number & (slots_.size() - 1)]; }
    /// Moves the lower end over empty slots.
    void advance() {
        while (first_ < end_ && at(first_) == T{})
            ++first_;
    }
    /// Everything below is empty.
    [[nodiscard]] std::uint64_t first() const { return first_; }
    /// One past the last number given.
    [[nodiscard]] std::uint64_t end() const { return end_; }
    [[nodiscard]] bool empty() const { return first_ == end_; }

  private:
    void grow() {
        std::vector<T> larger(slots_.size() * 2);
        for (std::uint64_t number = first_; number < end_; ++number)
            larger[number & (larger.size() - 1)] = at(number);
        slots_ = std::move(larger);
    }
    std::vector<T> slots_ = std::vector<T>(64);
    std::uint64_t first_ = 1, end_ = 1;
};

}  // namespace understudy::mirror
