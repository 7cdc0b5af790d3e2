#include "comm/calls.h"

#include <cassert>

namespace understudy::comm {

OutgoingCalls::Finished OutgoingCalls::finish(Open&& call) {
    return Finished{std::move(call.done), std::move(call.method), call.limit, call.timer};
}

bool OutgoingCalls::add(std::uint64_t id, std::string method, std::string payload, runtime::TimePoint expires,
                        runtime::Duration limit, Done done) {
    if (calls_.size() >= most_) return false;
    assert(calls_.empty() || calls_.rbegin()->first < id);
    auto& call = calls_[id];
    call.method = std::move(method);
    call.payload = std::move(payload);
    call.expires = expires;
    call.limit = limit;
    call.done = std::move(done);
    return true;
}

void OutgoingCalls::set_timer(std::uint64_t id, runtime::TimerId timer) {
    if (const auto at = calls_.find(id); at != calls_.end()) at->second.timer = timer;
}

std::vector<std::uint64_t> OutgoingCalls::unsent() const {
    std::vector<std::uint64_t> ids;
    for (const auto& [id, call] : calls_)
        if (!call.connection) ids.push_back(id);
    return ids;
}

wire::Call OutgoingCalls::send(std::uint64_t id, ConnectionId connection, std::uint64_t incarnation,
                               runtime::TimePoint now) {
    auto& call = calls_.at(id);
    assert(!call.connection);
    assert(!call.incarnation || *call.incarnation == incarnation);
    call.connection = connection;
    call.incarnation = incarnation;
    ++call.attempts;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(call.expires - now);
    return wire::Call{id, calls_.begin()->first, call.attempts, left.count(), call.method, call.payload};
}

void OutgoingCalls::unsend(std::uint64_t id) {
    auto& call = calls_.at(id);
    assert(call.connection && call.attempts > 0);
    call.connection.reset();
    if (--call.attempts == 0) call.incarnation.reset();
}

void OutgoingCalls::connection_lost(ConnectionId connection) {
    for (auto& [id, call] : calls_)
        if (call.connection == connection) call.connection.reset();
}

std::vector<OutgoingCalls::Finished> OutgoingCalls::take_sent_to_others(std::uint64_t incarnation) {
    std::vector<Finished> taken;
    for (auto at = calls_.begin(); at != calls_.end();) {
        if (at->second.incarnation && *at->second.incarnation != incarnation) {
            taken.push_back(finish(std::move(at->second)));
            at = calls_.erase(at);
        } else {
            ++at;
        }
    }
    return taken;
}

std::optional<OutgoingCalls::Finished> OutgoingCalls::take(std::uint64_t id) {
    const auto at = calls_.find(id);
    if (at == calls_.end()) return std::nullopt;
    auto taken = finish(std::move(at->second));
    calls_.erase(at);
    return taken;
}

std::vector<OutgoingCalls::Finished> OutgoingCalls::take_all() {
    std::vector<Finished> taken;
    for (auto& [id, call] : calls_)
        taken.push_back(finish(std::move(call)));
    calls_.clear();
    return taken;
}

void ServedCalls::forget(std::map<std::uint64_t, Entry>::iterator at) {
    assert(at->second.answered);
    --answers_;
    bytes_ -= at->second.answer.size();
    forgotten_up_to_ = std::max(forgotten_up_to_, at->first);
    entries_.erase(at);
}

ServedCalls::Decision ServedCalls::on_call(std::uint64_t incarnation, const wire::Call& call,
                                           std::uint64_t connection) {
    if (incarnation != incarnation_) {
        *this = ServedCalls();
        incarnation_ = incarnation;
    }
    // The caller has settled everything below `oldest`; it never sends one of those again, but a frame of a
    // path that was given up may still come in late.
    settled_below_ = std::max(settled_below_, call.oldest);
    for (auto at = entries_.begin(); at != entries_.end() && at->first < settled_below_;) {
        const auto current = at++;
        if (current->second.answered) forget(current);
    }
    if (const auto at = entries_.find(call.id); at != entries_.end()) {
        at->second.connection = connection;
        if (!at->second.answered) return {Verdict::running, {}};
        return {Verdict::answered, at->second.answer};
    }
    if (call.id < settled_below_ || call.id <= forgotten_up_to_) return {Verdict::forgotten, {}};
    if (running_ >= kMaxRunning) return {Verdict::busy, {}};
    entries_.emplace(call.id, Entry{connection});
    ++running_;
    return {Verdict::run, {}};
}

std::optional<std::uint64_t> ServedCalls::on_answer(std::uint64_t incarnation, std::uint64_t id,
                                                    std::string encoded) {
    if (incarnation != incarnation_) return std::nullopt;
    const auto at = entries_.find(id);
    if (at == entries_.end() || at->second.answered) return std::nullopt;
    at->second.answered = true;
    --running_;
    ++answers_;
    bytes_ += encoded.size();
    at->second.answer = std::move(encoded);
    for (auto old = entries_.begin();
         (answers_ > kMaxAnswers || bytes_ > kMaxAnswerBytes) && old != entries_.end() && old->first != id;) {
        const auto current = old++;
        if (current->second.answered) forget(current);
    }
    return at->second.connection;
}

}  // namespace understudy::comm
