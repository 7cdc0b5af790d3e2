#include "mirror/control/gate.h"

#include <cassert>
#include <cerrno>
#include <utility>

namespace understudy::mirror::control {

Gate::Gate(BlockBackend& below, std::uint64_t size, std::function<void()> on_first_write)
    : below_(below), size_(size), on_first_write_(std::move(on_first_write)) {
    assert(size <= below.size());
}

bool Gate::passes(const BlockRequest& request) const {
    switch (mode_) {
        case GateMode::hold_all:
            return false;
        // A flush may make data durable that was written before: it changes nothing that the peer lacks.
        case GateMode::hold_writes:
        case GateMode::first_write:
        case GateMode::refuse_writes:
            return request.op == BlockOp::read || request.op == BlockOp::flush;
        case GateMode::open:
            return true;
    }
    return false;
}

void Gate::keep(BlockRequest& request) {
    request.next = nullptr;
    (last_ ? last_->next : first_) = &request;
    last_ = &request;
    ++held_;
}

void Gate::submit(BlockRequest& request) {
    if (request.offset > size_ || request.length > size_ - request.offset) {
        request.result = -EINVAL;
        request.done(request);
        return;
    }
    if (passes(request)) return below_.submit(request);
    if (mode_ == GateMode::refuse_writes) {
        request.result = -EIO;
        request.done(request);
        return;
    }
    keep(request);
    if (mode_ == GateMode::first_write && !std::exchange(asked_, true)) on_first_write_();
}

void Gate::resize(std::uint64_t size) {
    assert(size <= below_.size());
    size_ = size;
}

void Gate::set(GateMode mode) {
    mode_ = mode;
    asked_ = false;
    BlockRequest* at = std::exchange(first_, nullptr);
    last_ = nullptr;
    held_ = 0;
    // Completions may call back into submit(): what they bring is queued behind what is left of the old list.
    while (at) {
        BlockRequest* next = at->next;
        submit(*at);
        at = next;
    }
}

void Gate::fail_held(int result) {
    BlockRequest* at = std::exchange(first_, nullptr);
    last_ = nullptr;
    held_ = 0;
    while (at) {
        BlockRequest* next = at->next;
        at->result = result;
        at->done(*at);
        at = next;
    }
}

}  // namespace understudy::mirror::control
