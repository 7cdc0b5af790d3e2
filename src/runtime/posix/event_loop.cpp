#include "runtime/posix/event_loop.h"

#include <signal.h>
#include <time.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <unordered_map>
#include <utility>

namespace understudy::runtime {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

class AsioWatch final : public Watch {
  public:
    AsioWatch(asio::io_context& context, int fd) : descriptor_(context, fd) {}
    ~AsioWatch() override {
        *alive_ = false;
        descriptor_.release();
    }
    void wait_readable(Tasks::Function ready) override {
        wait(asio::posix::stream_descriptor::wait_read, std::move(ready));
    }
    void wait_writable(Tasks::Function ready) override {
        wait(asio::posix::stream_descriptor::wait_write, std::move(ready));
    }

  private:
    void wait(asio::posix::stream_descriptor::wait_type what, Tasks::Function ready) {
        descriptor_.async_wait(what, [alive = alive_, ready = std::move(ready)](const error_code& error) {
            // An error other than the watch's end is shown by the read or write that follows.
            if (*alive && error != asio::error::operation_aborted) ready();
        });
    }

    asio::posix::stream_descriptor descriptor_;
    // Cancelled waits complete later, when this object may be gone.
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

struct EventLoop::Impl {
    struct Timer {
        Function function;
        TimerId id;
    };
    // Equal times keep the order of insertion (multimap's guarantee).
    using Timers = std::multimap<TimePoint, Timer>;

    Timers timers;
    std::unordered_map<TimerId, Timers::iterator> by_id;
    std::uint64_t last_id = 0;
    bool ending = false;

    asio::io_context context;
    asio::steady_timer alarm{context};
    asio::signal_set signals{context};
    asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
    TimePoint armed_for = TimePoint::max();  // max: not armed
    Function on_terminate;
    bool catches_signals = false;

    ~Impl() {
        // Destroyed callbacks may call us from their destructors (a sleeping coroutine cancels its timer).
        ending = true;
        by_id.clear();
        Timers().swap(timers);
    }

    void arm() {
        if (timers.empty()) return;
        const TimePoint first = timers.begin()->first;
        if (first >= armed_for) return;
        armed_for = first;
        alarm.expires_at(std::chrono::steady_clock::time_point(first.time_since_epoch()));
        alarm.async_wait([this](const error_code& error) {
            if (!error && !ending) ring();
        });
    }

    void ring() {
        armed_for = TimePoint::max();
        // Timers that callbacks add for "now" wait for the next round, so that posts and I/O get their turn.
        const TimePoint until(std::chrono::steady_clock::now().time_since_epoch());
        const auto last_before = last_id;
        while (!timers.empty() && timers.begin()->first <= until) {
            auto first = timers.begin();
            if (static_cast<std::uint64_t>(first->second.id) > last_before) break;
            Function function = std::move(first->second.function);
            by_id.erase(first->second.id);
            timers.erase(first);
            function();
        }
        arm();
    }

    void wait_for_signal() {
        signals.async_wait([this](const error_code& error, int) {
            if (error || ending) return;
            // A copy: the handler may replace itself.
            if (const Function handler = on_terminate) handler();
            wait_for_signal();
        });
    }
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {
    // A peer that closed is reported by the write's result, never by killing the daemon.
    ::signal(SIGPIPE, SIG_IGN);
}

EventLoop::~EventLoop() = default;

TimePoint EventLoop::now() const {
    static_assert(std::chrono::steady_clock::is_steady);
    return TimePoint(std::chrono::steady_clock::now().time_since_epoch());
}

WallTime EventLoop::wall() const {
    return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

void EventLoop::post(Function function) {
    if (!impl_->ending) asio::post(impl_->context, std::move(function));
}

void EventLoop::post_from_thread(Function function) {
    asio::post(impl_->context, std::move(function));
}

TimerId EventLoop::after(Duration delay, Function function) {
    const TimerId id{++impl_->last_id};
    if (impl_->ending) return id;
    // A delay of "for ever" must not overflow into the past.
    const TimePoint from = now();
    const TimePoint due = delay > TimePoint::max() - from ? TimePoint::max() - Duration(1) : from + delay;
    impl_->by_id[id] = impl_->timers.emplace(due, Impl::Timer{std::move(function), id});
    impl_->arm();
    return id;
}

void EventLoop::cancel(TimerId timer) {
    if (impl_->ending) return;
    const auto found = impl_->by_id.find(timer);
    if (found == impl_->by_id.end()) return;
    const auto at = found->second;
    impl_->by_id.erase(found);
    const Function dropped = std::move(at->second.function);  // its destructor may call us again
    impl_->timers.erase(at);
}

bool EventLoop::run_blocking(Function work, Function done) {
    return workers_.run(std::move(work), std::move(done),
                        [this](Function f) { post_from_thread(std::move(f)); });
}

std::unique_ptr<Watch> EventLoop::watch(int fd) {
    return std::make_unique<AsioWatch>(impl_->context, fd);
}

void EventLoop::on_terminate(Function handler) {
    impl_->on_terminate = std::move(handler);
    if (std::exchange(impl_->catches_signals, true)) return;
    impl_->signals.add(SIGTERM);
    impl_->signals.add(SIGINT);
    impl_->wait_for_signal();
}

void EventLoop::run() {
    impl_->context.run();
    impl_->context.restart();
}

void EventLoop::stop() {
    impl_->context.stop();
}

}  // namespace understudy::runtime
