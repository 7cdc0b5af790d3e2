#pragma once
// Coroutines for long sequences (restore a hierarchy, join a cluster), independent of any event loop.
//
//   Task<Result<int>> f(Tasks& tasks) { co_await sleep_for(tasks, 1s); co_return 42; }
//   scope.spawn(f(tasks));
//
// A Task starts when it is awaited or spawned. A TaskScope owns what was spawned in it and destroys what has
// not finished when it goes: a node that crashes in the simulator loses its sequences at once. OneShot<T>
// joins the callback world and the coroutine world; setting it after the waiter has gone is harmless.
// Threading: everything on the loop's thread.
//
// Rule for authors: a coroutine takes its arguments by value or by reference to something that outlives it;
// never write a coroutine as a lambda with captures (the captures die with the lambda object).

#include "runtime/tasks.h"

#include <cassert>
#include <coroutine>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <utility>

namespace understudy::runtime {

template <class T>
class Task;

namespace detail {

struct FinalAwaiter {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) const noexcept {
        auto next = done.promise().continuation;
        return next ? next : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
};

struct PromiseBase {
    std::coroutine_handle<> continuation;
    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }
    // Errors are values here; an exception in a sequence is a defect.
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
    std::optional<T> value;
    Task<T> get_return_object();
    template <class U>
    void return_value(U&& result) {
        value.emplace(std::forward<U>(result));
    }
};

template <>
struct Promise<void> : PromiseBase {
    Task<void> get_return_object();
    void return_void() const noexcept {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
  public:
    using promise_type = detail::Promise<T>;
    using Handle = std::coroutine_handle<promise_type>;

    explicit Task(Handle handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            if (handle_) handle_.destroy();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() {
        if (handle_) handle_.destroy();
    }

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) noexcept {
        handle_.promise().continuation = waiter;
        return handle_;
    }
    T await_resume() {  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): it has come to its end
        if constexpr (!std::is_void_v<T>) return std::move(*handle_.promise().value);
    }

  private:
    Handle handle_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() {
    return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
    return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace detail

/// Owns spawned tasks. Destroying the scope destroys the unfinished ones where they stand.
class TaskScope {
  public:
    TaskScope() = default;
    TaskScope(const TaskScope&) = delete;
    TaskScope& operator=(const TaskScope&) = delete;
    ~TaskScope() { clear(); }

    /// Starts `task` now, on this stack, up to its first suspension.
    void spawn(Task<void> task) {
        roots_.emplace_back();
        auto at = std::prev(roots_.end());
        Root root = run(std::move(task), this, at);
        *at = root.handle;
        root.handle.resume();
    }
    void clear() {
        while (!roots_.empty()) {
            auto handle = roots_.front();
            roots_.pop_front();
            if (handle) handle.destroy();
        }
    }
    [[nodiscard]] std::size_t running() const { return roots_.size(); }

  private:
    using Roots = std::list<std::coroutine_handle<>>;
    struct Root {
        struct promise_type {
            Root get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
            [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
            [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }  // frees itself
            void return_void() const noexcept {}
            [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
        };
        std::coroutine_handle<promise_type> handle;
    };
    static Root run(Task<void> task, TaskScope* scope, Roots::iterator at) {
        co_await std::move(task);
        scope->roots_.erase(at);
    }

    Roots roots_;
};

/// A value that arrives once. Copies share it. `set` resumes the waiter through Tasks::post, never on the
/// setter's stack; a second `set` is ignored.
template <class T>
class OneShot {
    struct State;

  public:
    explicit OneShot(Tasks& tasks) : state_(std::make_shared<State>()) { state_->tasks = &tasks; }

    void set(T value) const {
        if (state_->value) return;
        state_->value.emplace(std::move(value));
        if (state_->waiter)
            state_->tasks->post([state = state_] {
                if (auto waiter = std::exchange(state->waiter, {})) waiter.resume();
            });
    }
    [[nodiscard]] bool ready() const { return state_->value.has_value(); }

    /// Awaits the value; one waiter at most. The value stays readable after it.
    struct Awaiter {
        std::shared_ptr<State> state;
        explicit Awaiter(std::shared_ptr<State> s) : state(std::move(s)) {}
        Awaiter(const Awaiter&) = delete;
        Awaiter& operator=(const Awaiter&) = delete;
        ~Awaiter() { state->waiter = {}; }  // the waiter was destroyed: a later set must not resume it
        [[nodiscard]] bool await_ready() const noexcept { return state->value.has_value(); }
        void await_suspend(std::coroutine_handle<> waiter) noexcept {
            assert(!state->waiter);
            state->waiter = waiter;
        }
        T await_resume() { return *state->value; }  // NOLINT(bugprone-unchecked-optional-access): it is set
    };
    [[nodiscard]] Awaiter operator co_await() const { return Awaiter(state_); }

  private:
    struct State {
        Tasks* tasks = nullptr;
        std::optional<T> value;
        std::coroutine_handle<> waiter;
    };
    std::shared_ptr<State> state_;
};

struct Done {};

/// Suspends for `duration`. The timer is cancelled when the coroutine is destroyed while it sleeps.
class SleepAwaiter {
  public:
    SleepAwaiter(Tasks& tasks, Duration duration) : tasks_(tasks), duration_(duration) {}
    SleepAwaiter(const SleepAwaiter&) = delete;
    SleepAwaiter& operator=(const SleepAwaiter&) = delete;
    ~SleepAwaiter() {
        if (timer_) tasks_.cancel(*timer_);
    }
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiter) {
        timer_ = tasks_.after(duration_, [this, waiter] {
            timer_.reset();
            waiter.resume();
        });
    }
    void await_resume() const noexcept {}

  private:
    Tasks& tasks_;
    Duration duration_;
    std::optional<TimerId> timer_;
};
[[nodiscard]] inline SleepAwaiter sleep_for(Tasks& tasks, Duration duration) {
    return {tasks, duration};
}

}  // namespace understudy::runtime
