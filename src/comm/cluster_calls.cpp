// The driver's calls: over the best path, moved to the next one when a path dies.

#include "comm/cluster_impl.h"
#include "messages/messages.h"

namespace understudy::comm {
namespace {

using Done = std::function<void(Result<std::string>)>;

// Makes the answer function of a served call: only its first use counts, and a method that drops it without
// answering has failed, it does not leave the caller waiting.
Cluster::Answer answer_once(std::string method, Done done) {
    struct Once {
        std::string method;
        Done done;
        ~Once() {
            if (done) done(fail(Code::internal, "method \"{}\" ended without an answer", method));
        }
    };
    auto once = std::make_shared<Once>(std::move(method), std::move(done));
    return [once](Result<std::string> result) {
        if (const auto first = std::exchange(once->done, {})) first(std::move(result));
    };
}

std::string too_large(std::string_view what, std::string_view method, std::size_t size) {
    return fmt::format("the {} of \"{}\" has {} bytes, at most {} can be sent", what, method, size,
                       wire::kMaxPayloadBytes);
}

}  // namespace

void Cluster::Impl::call(const NodeName& name, std::string_view method, std::string payload,
                         runtime::Duration deadline, Done done) {
    const auto answer_later = [&](Error why) {
        world.tasks.post(
            [done = std::move(done), why = std::move(why)] { done(tl::unexpected<Error>(why)); });
    };
    if (method.size() > wire::kMaxNameBytes || payload.size() > wire::kMaxPayloadBytes)
        return answer_later(Error{Code::failure, too_large("request", method.substr(0, 64), payload.size())});
    if (name == options.self)
        return call_self(std::string(method), std::move(payload), deadline, std::move(done));

    const auto at = peers.find(name);
    if (at == peers.end())
        return answer_later(Error{
            Code::unreachable,
            fmt::format("no communication path to {} is defined on {}", name.str(), options.self.str())});
    auto& peer = at->second;
    if (peer.membership.state() != PeerState::alive)
        return answer_later(
            Error{Code::unreachable, fmt::format("no communication path to {} is ALIVE", name.str())});
    if (!carries_calls(name))
        return answer_later(
            Error{Code::unreachable,
                  fmt::format(
                      "{} is ALIVE, but by its DISK path only, which carries no commands: no TCP path to it "
                      "is ALIVE",
                      name.str())});
    if (peer.calls.size() >= options.max_calls_in_flight)
        return answer_later(Error{Code::failure, fmt::format("{} calls to {} are in flight already",
                                                             peer.calls.size(), name.str())});
    const auto id = next_call++;
    peer.calls.add(id, std::string(method), std::move(payload), now() + deadline, deadline, std::move(done));
    const auto expire = guarded([name, id](Impl& self) {
        const auto late = self.peers.find(name);
        if (late == self.peers.end()) return;
        if (auto call = late->second.calls.take(id)) {
            call->timer.reset();
            auto why =
                fail(Code::unreachable, "{} did not answer \"{}\" within {} ms", name.str(), call->method,
                     std::chrono::duration_cast<std::chrono::milliseconds>(call->limit).count());
            self.finish(std::move(*call), std::move(why));
        }
    });
    peer.calls.set_timer(id, world.tasks.after(std::max(deadline, runtime::Duration(0)), expire));
    pump(name);
}

void Cluster::Impl::call_self(std::string method, std::string payload, runtime::Duration deadline,
                              Done done) {
    struct Open {
        Done done;
        std::optional<runtime::TimerId> timer;
    };
    auto open = std::make_shared<Open>(std::move(done));
    const auto settle = [open](Impl& self, Result<std::string> result) {
        const auto first = std::exchange(open->done, {});
        if (!first) return;
        if (open->timer) self.world.tasks.cancel(*open->timer);
        self.world.tasks.post([first, result = std::move(result)] { first(result); });
    };
    open->timer =
        world.tasks.after(deadline, guarded([settle, method](Impl& self) {
                              settle(self, fail(Code::unreachable, "{} did not answer \"{}\" in time",
                                                self.options.self.str(), method));
                          }));
    world.tasks.post(guarded([settle, method, payload = std::move(payload)](Impl& self) {
        const auto at = self.methods.find(method);
        if (at == self.methods.end())
            return settle(self,
                          fail(Code::not_found, "{} serves no \"{}\"", self.options.self.str(), method));
        const auto handler = at->second;
        handler(self.options.self, payload,
                answer_once(method, self.guarded([settle](Impl& then, Result<std::string> result) {
                    settle(then, std::move(result));
                })));
    }));
}

void Cluster::Impl::notify(const NodeName& name, std::string_view method, std::string payload) {
    if (method.size() > wire::kMaxNameBytes || payload.size() > wire::kMaxPayloadBytes)
        return messages::warning("not sent: {}", too_large("notice", method.substr(0, 64), payload.size()));
    if (name == options.self) {
        world.tasks.post(guarded([method = std::string(method), payload = std::move(payload)](Impl& self) {
            self.on_notice(self.options.self, wire::Notice{method, payload});
        }));
        return;
    }
    if (auto* connection = best_connection(name))
        connection->send(wire::Notice{std::string(method), std::move(payload)});
}

bool Cluster::Impl::carries_calls(const NodeName& peer) const {
    return std::any_of(paths.begin(), paths.end(), [&](const auto& entry) {
        const auto& path = entry.second;
        return path.config.remote == peer && !path.disk && path.monitor.state() == PathState::alive;
    });
}

bool Cluster::Impl::is_only_carrier(const PathEnd& path) const {
    return std::none_of(paths.begin(), paths.end(), [&](const auto& entry) {
        const auto& other = entry.second;
        return other.id != path.id && other.config.remote == path.config.remote && !other.disk &&
               other.monitor.state() == PathState::alive;
    });
}

Connection* Cluster::Impl::best_connection(const NodeName& peer) {
    const auto known = peers.find(peer);
    if (known == peers.end()) return nullptr;
    const PathEnd* best = nullptr;
    for (const auto& [id, path] : paths) {
        if (path.config.remote != peer || path.monitor.state() != PathState::alive) continue;
        const auto* connection = connection_of(path);
        // What a peer's earlier life has left of a path leads to nobody: a call on it would be lost.
        if (connection == nullptr || connection->greeting->incarnation != known->second.incarnation) continue;
        if (best == nullptr || path.config.priority < best->config.priority) best = &path;
    }
    return best == nullptr ? nullptr : connection_of(*best);
}

void Cluster::Impl::pump(const NodeName& name) {
    const auto at = peers.find(name);
    if (at == peers.end() || at->second.calls.size() == 0) return;
    auto& calls = at->second.calls;
    for (const auto id : calls.unsent()) {
        auto* connection = best_connection(name);
        if (connection == nullptr) return;  // until a path is back, the peer is dead, or the deadline passes
        if (connection->send(calls.send(id, connection->id, connection->greeting->incarnation, now())))
            continue;
        calls.unsend(id);  // its queue is full
        return;
    }
}

void Cluster::Impl::finish(OutgoingCalls::Finished finished, Result<std::string> result) {
    if (finished.timer) world.tasks.cancel(*finished.timer);
    world.tasks.post([done = std::move(finished.done), result = std::move(result)] { done(result); });
}

void Cluster::Impl::finish_all(std::vector<OutgoingCalls::Finished> finished, const Error& why) {
    for (auto& call : finished) {
        auto error = why;
        error.text = fmt::format("call \"{}\": {}", call.method, why.text);
        finish(std::move(call), fail(std::move(error)));
    }
}

void Cluster::Impl::on_call(const NodeName& caller, std::uint64_t caller_incarnation,
                            std::uint64_t connection, wire::Call call) {
    auto decision = served[caller].on_call(caller_incarnation, call, connection);
    const auto refuse_call = [&](Code code, std::string text) {
        connections.at(connection).send(wire::Answer{call.id, code, 0, std::move(text), {}});
    };
    switch (decision.verdict) {
        case ServedCalls::Verdict::running:
            return;
        case ServedCalls::Verdict::answered:
            connections.at(connection).send_encoded(decision.answer);
            return;
        case ServedCalls::Verdict::forgotten:
            return refuse_call(Code::unreachable,
                               fmt::format("{} no longer knows whether it ran this call of \"{}\"",
                                           options.self.str(), call.method));
        case ServedCalls::Verdict::busy:
            return refuse_call(Code::failure,
                               fmt::format("{} runs too many calls of {}", options.self.str(), caller.str()));
        case ServedCalls::Verdict::run:
            break;
    }
    const auto at = methods.find(call.method);
    if (at == methods.end())
        return answered(caller, caller_incarnation, call.id,
                        fail(Code::not_found, "{} (software {}) does not support \"{}\"", options.self.str(),
                             options.software_version, call.method));
    const auto handler = at->second;
    handler(caller, call.payload,
            answer_once(call.method, guarded([caller, caller_incarnation, id = call.id](
                                                 Impl& self, Result<std::string> result) {
                            self.answered(caller, caller_incarnation, id, std::move(result));
                        })));
}

void Cluster::Impl::answered(const NodeName& caller, std::uint64_t caller_incarnation, std::uint64_t id,
                             Result<std::string> result) {
    if (result && result->size() > wire::kMaxPayloadBytes)
        result = fail(Code::failure, "{}", too_large("answer", "call", result->size()));
    wire::Answer answer;
    answer.id = id;
    if (result) {
        answer.payload = std::move(*result);
    } else {
        // An error is told by a code that is not ok, whatever the method put there.
        answer.code = result.error().code == Code::ok ? Code::internal : result.error().code;
        answer.number = result.error().number;
        answer.text = std::move(result.error().text);
    }
    const auto peer_now = peers.find(caller);
    auto bytes = wire::encode(answer, peer_now == peers.end() || !peer_now->second.agreed
                                          ? options.protocol.lowest
                                          : peer_now->second.agreed->version);
    // Remembered first: if it does not get through, the repeated call finds it.
    const auto asked_on = served[caller].on_answer(caller_incarnation, id, bytes);
    if (!asked_on) return;
    const auto same = connections.find(*asked_on);
    auto* connection = same != connections.end() ? &same->second : best_connection(caller);
    if (connection != nullptr) connection->send_encoded(bytes);
}

void Cluster::Impl::on_answer(const NodeName& callee, wire::Answer answer) {
    auto call = peers.at(callee).calls.take(answer.id);
    if (!call) return;  // its deadline has passed, or the answer came over two paths
    if (answer.code == Code::ok) return finish(std::move(*call), std::move(answer.payload));
    finish(std::move(*call), fail(Error{answer.code, std::move(answer.text), answer.number}));
}

void Cluster::Impl::on_notice(const NodeName& caller, wire::Notice notice) {
    const auto at = methods.find(notice.method);
    if (at == methods.end())
        return messages::info("{} sent a notice \"{}\" that nothing serves", caller.str(), notice.method);
    const auto handler = at->second;
    handler(caller, notice.payload, [](const Result<std::string>&) {});
}

}  // namespace understudy::comm
