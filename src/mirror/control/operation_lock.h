#pragma once
// One operation at a time on a mirror: operations are coroutines that wait for the peer, the disk and the
// export, and another one must not see the states between. First come, first served, with a limit.
// Threading: the control loop's thread.

#include "runtime/task.h"

#include <deque>
#include <optional>
#include <utility>

namespace understudy::mirror::control {

class OperationLock {
  public:
    explicit OperationLock(runtime::Tasks& tasks) : tasks_(tasks) {}
    OperationLock(const OperationLock&) = delete;
    OperationLock& operator=(const OperationLock&) = delete;

    /// Releases when it goes.
    class Held {
      public:
        explicit Held(OperationLock& lock) : lock_(&lock) {}
        Held(Held&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
        Held& operator=(Held&& other) noexcept {
            if (this != &other) {
                if (lock_) lock_->release();
                lock_ = std::exchange(other.lock_, nullptr);
            }
            return *this;
        }
        ~Held() {
            if (lock_) lock_->release();
        }

      private:
        OperationLock* lock_;
    };

    [[nodiscard]] bool busy() const { return busy_; }

    std::optional<Held> try_acquire() {
        if (busy_) return std::nullopt;
        busy_ = true;
        return std::optional<Held>(std::in_place, *this);
    }

    /// nullopt when the limit passed first.
    runtime::Task<std::optional<Held>> acquire(runtime::Duration limit) {
        if (!busy_) {
            busy_ = true;
            co_return std::optional<Held>(std::in_place, *this);
        }
        runtime::OneShot<bool> turn(tasks_);
        waiters_.push_back(turn);
        const auto timer = tasks_.after(limit, [turn] { turn.set(false); });
        const bool mine = co_await turn;
        tasks_.cancel(timer);
        if (!mine) co_return std::nullopt;
        co_return std::optional<Held>(std::in_place, *this);
    }

  private:
    void release() {
        while (!waiters_.empty()) {
            const runtime::OneShot<bool> next = waiters_.front();
            waiters_.pop_front();
            if (next.ready()) continue;  // gave up
            next.set(true);
            return;
        }
        busy_ = false;
    }

    runtime::Tasks& tasks_;
    bool busy_ = false;
    std::deque<runtime::OneShot<bool>> waiters_;
};

}  // namespace understudy::mirror::control
