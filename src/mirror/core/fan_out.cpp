#include "mirror/core/fan_out.h"

#include <cassert>
#include <utility>

namespace understudy::mirror {

bool FanOut::join(Member& member, FanOutLeg& leg) {
    for (std::size_t i = 0; i < kMaxTargets; ++i) {
        if (legs_[i] != nullptr) continue;
        legs_[i] = &member;
        member.leg_ = &leg;
        member.index_ = i;
        ++count_;
        counting_ = {};
        return true;
    }
    return false;
}

void FanOut::leave(Member& member) {
    if (legs_[member.index_] != &member) return;
    legs_[member.index_] = nullptr;
    --count_;
    counting_ = {};
}

// --- requests

void FanOut::submit(BlockRequest& request) {
    if (count_ == 0) return device_.submit(request);
    if (count_ == 1 && ranges_.empty() && waiting_.empty()) {
        for (Member* member : legs_)
            if (member != nullptr) return member->leg_->submit_part(request);
    }
    Operation& operation = operations_.take();
    operation = {};
    operation.front = this;
    operation.request = &request;
    if (request.op == BlockOp::flush) return give_out(operation);
    assert(request.op != BlockOp::read);
    operation.serial = next_serial_++;
    ++not_written_;
    start(operation);
}

void FanOut::start(Operation& operation) {
    const std::uint64_t begin = operation.request->offset, end = begin + operation.request->length;
    if (ranges_.overlaps(begin, end)) return waiting_.push(operation);
    for (const Operation* earlier = waiting_.front(); earlier != nullptr; earlier = earlier->next)
        if (earlier->request->offset < end && begin < earlier->request->offset + earlier->request->length)
            return waiting_.push(operation);
    ranges_.add(begin, end, operation);
    operation.ranged = true;
    give_out(operation);
}

void FanOut::give_out(Operation& operation) {
    for (std::size_t i = 0; i < kMaxTargets; ++i) {
        if (legs_[i] == nullptr) continue;
        operation.parts[i].member = legs_[i];
        operation.parts[i].operation = &operation;
        ++operation.to_ask;
        ++operation.open;
    }
    ++operation.to_ask;  // both held by this function
    ++operation.open;
    for (Part& part : operation.parts) {
        if (part.member == nullptr) continue;
        part.request.op = operation.request->op;
        part.request.fua = operation.request->fua;
        part.request.punch = operation.request->punch;
        part.request.offset = operation.request->offset;
        part.request.length = operation.request->length;
        part.request.data = operation.request->data;
        part.request.owner = part.request.part = &part;
        part.request.done = [](BlockRequest& request) {
            Part& ended = *static_cast<Part*>(request.owner);
            ended.operation->front->part_done(*ended.operation, ended);
        };
        part.member->leg_->submit_part(part.request);
    }
    if (--operation.to_ask == 0) write_here(operation);
    --operation.open;
    maybe_free(operation);
}

/// A Source has done its part, or refuses it without having asked for the device.
void FanOut::part_done(Operation& operation, Part& part) {
    if (operation.result == 0) operation.result = part.request.result;
    if (!part.asked) {
        part.asked = true;
        if (operation.refused == 0) operation.refused = part.request.result;
        if (--operation.to_ask == 0) write_here(operation);
    }
    --operation.open;
    maybe_free(operation);
}

void FanOut::Member::submit(BlockRequest& request) {
    Part* part = request.op == BlockOp::read ? nullptr : static_cast<Part*>(request.part);
    // What a Source does for itself, what came while there was one leg, and a flush after its write.
    if (part == nullptr || part->asked) return front_.device_.submit(request);
    part->asked = true;
    part->local = &request;
    if (--part->operation->to_ask == 0) front_.write_here(*part->operation);
}

/// Every leg that will ask for it has asked for it.
void FanOut::write_here(Operation& operation) {
    const BlockRequest* like = nullptr;
    for (const Part& part : operation.parts)
        if (part.local != nullptr) like = part.local;
    if (like == nullptr || operation.refused != 0) return written(operation, operation.refused);
    operation.local.op = like->op;
    operation.local.fua = like->fua;
    operation.local.punch = like->punch;
    operation.local.offset = like->offset;
    operation.local.length = like->length;
    operation.local.data = like->data;
    operation.local.owner = &operation;
    operation.local.done = [](BlockRequest& local) {
        Operation& owner = *static_cast<Operation*>(local.owner);
        owner.front->written(owner, local.result);
    };
    device_.submit(operation.local);
}

void FanOut::written(Operation& operation, int result) {
    ++operation.open;  // held by this function
    const bool ranged = std::exchange(operation.ranged, false);
    if (ranged) {
        ranges_.remove(operation);
        --not_written_;
        if (counting_.step == Count::Step::local && operation.serial <= counting_.serial)
            --counting_.under_way;
    }
    for (Part& part : operation.parts) {
        if (part.local == nullptr) continue;
        BlockRequest& local = *std::exchange(part.local, nullptr);
        local.result = result;
        local.done(local);
    }
    --operation.open;
    maybe_free(operation);
    if (ranged) start_waiting();
}

void FanOut::start_waiting() {
    if (waiting_.empty()) return;
    IntrusiveQueue<Operation> again = waiting_.take_all();
    while (!again.empty())
        start(again.pop());
}

void FanOut::maybe_free(Operation& operation) {
    if (operation.open > 0) return;
    BlockRequest& request = *operation.request;
    request.result = operation.result;
    operations_.give_back(operation);
    request.done(request);
}

// --- what all targets have

bool FanOut::take_progress(std::array<FanOutLeg::Progress, kMaxTargets>& into) const {
    bool any = false;
    for (std::size_t i = 0; i < kMaxTargets; ++i) {
        into[i] = {};
        if (legs_[i] == nullptr) continue;
        const auto progress = legs_[i]->leg_->progress();
        if (!progress) continue;
        into[i] = *progress;
        any = true;
    }
    return any;
}

bool FanOut::still_the_same() const {
    for (std::size_t i = 0; i < kMaxTargets; ++i) {
        const auto progress = legs_[i] == nullptr ? std::nullopt : legs_[i]->leg_->progress();
        if (progress.has_value() != counting_.mirrors[i]) return false;
        if (progress && progress->session != counting_.at_first[i].session) return false;
    }
    return true;
}

void FanOut::tick() {
    if (count_ < 2) return;
    if (counting_.step != Count::Step::none && !still_the_same()) counting_.step = Count::Step::none;
    if (counting_.step == Count::Step::none) {
        if (!take_progress(counting_.at_first)) return;
        for (std::size_t i = 0; i < kMaxTargets; ++i)
            counting_.mirrors[i] = legs_[i] != nullptr && legs_[i]->leg_->progress().has_value();
        counting_.serial = next_serial_ - 1;
        counting_.under_way = not_written_;
        counting_.step = Count::Step::local;
    }
    if (counting_.step == Count::Step::local) {
        if (counting_.under_way > 0) return;
        take_progress(counting_.then);
        counting_.step = Count::Step::remote;
    }
    for (std::size_t i = 0; i < kMaxTargets; ++i) {
        if (!counting_.mirrors[i]) continue;
        const auto progress = legs_[i]->leg_->progress();
        // Of two targets one may have been repaired already, and not differ from the source in what both were
        // sent.
        if (progress->repairs || progress->acknowledged < counting_.then[i].sent) return;
    }
    counting_.step = Count::Step::none;
    for (std::size_t i = 0; i < kMaxTargets; ++i)
        if (counting_.mirrors[i]) legs_[i]->leg_->everywhere(counting_.at_first[i].sent);
}

}  // namespace understudy::mirror
