#include "mirror/export/request_gate.h"

#include <cassert>
#include <cerrno>
#include <utility>

namespace understudy::mirror {

RequestGate::RequestGate(Reactor& reactor) : reactor_(reactor) {
    timer_.owner = this;
    timer_.done = [](IoOperation& op, int) {
        auto& self = *static_cast<RequestGate*>(op.owner);
        if (self.closed_) return self.stop_timer();
        if (self.mode_ != Mode::holding) return;
        // suspend() may have been called again meanwhile: the timer then stands for an older deadline.
        const auto left = self.deadline_ - self.reactor_.now();
        if (left > std::chrono::nanoseconds(0))
            self.reactor_.timeout(self.timer_, left);
        else
            self.refuse(-EIO);
    };
}

void RequestGate::serve(BlockBackend& backend) {
    backend_ = &backend;
    let_through();
}

void RequestGate::suspend(std::chrono::milliseconds limit) {
    mode_ = Mode::holding;
    deadline_ = std::chrono::steady_clock::now() + limit;
    // A timer that already runs is kept only if it fires in time: arming again at its end costs nothing,
    // firing late would break the limit.
    if (timer_.in_flight)
        reactor_.cancel(timer_);
    else
        reactor_.timeout(timer_, limit);
}

void RequestGate::resume() {
    if (backend_ != nullptr) let_through();
}

void RequestGate::let_through() {
    mode_ = Mode::open;
    reactor_.cancel(timer_);
    BlockRequest* request = std::exchange(first_, nullptr);
    last_ = nullptr;
    waiting_ = 0;
    while (request != nullptr) {
        BlockRequest* next = std::exchange(request->next, nullptr);
        submit(*request);  // the mode may change in between: then the rest waits again, in order
        request = next;
    }
}

void RequestGate::refuse(int error) {
    assert(error < 0);
    mode_ = Mode::refusing;
    error_ = error;
    reactor_.cancel(timer_);
    answer_waiting(error);
}

void RequestGate::answer_waiting(int error) {
    BlockRequest* request = std::exchange(first_, nullptr);
    last_ = nullptr;
    while (request != nullptr) {
        BlockRequest* next = std::exchange(request->next, nullptr);
        --waiting_;
        ++in_backend_;
        request->result = error;
        request->done(*request);
        request = next;
    }
}

void RequestGate::submit(BlockRequest& request) {
    switch (mode_) {
        case Mode::open:
            ++in_backend_;
            backend_->submit(request);
            return;
        case Mode::holding:
            request.next = nullptr;
            (last_ != nullptr ? last_->next : first_) = &request;
            last_ = &request;
            ++waiting_;
            return;
        case Mode::refusing:
            ++in_backend_;
            request.result = error_;
            request.done(request);
            return;
    }
}

void RequestGate::completed() {
    assert(in_backend_ > 0);
    if (--in_backend_ == 0) tell_when_quiet();
}

void RequestGate::when_quiet(std::function<void()> done) {
    when_quiet_ = std::move(done);
    if (in_backend_ == 0) tell_when_quiet();
}

/// Posted: the completion that made it quiet is still on the stack.
void RequestGate::tell_when_quiet() {
    if (when_quiet_) reactor_.post(std::exchange(when_quiet_, {}));
}

void RequestGate::close(std::function<void()> done) {
    closed_ = true;
    mode_ = Mode::holding;
    first_ = last_ = nullptr;
    waiting_ = 0;
    when_closed_ = std::move(done);
    if (timer_.in_flight)
        reactor_.cancel(timer_);
    else
        stop_timer();
}

void RequestGate::stop_timer() {
    if (when_closed_) reactor_.post(std::exchange(when_closed_, {}));
}

}  // namespace understudy::mirror
