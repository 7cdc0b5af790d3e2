// Connections: frames, ends, cuts.

#include "runtime/simulated/network_core.h"

#include "base/checksum.h"
#include "runtime/simulated/simulated_world.h"

namespace understudy::runtime::simulated {
namespace {

// A half-open connection is found at the latest this long after its peer can be asked again.
constexpr Duration kProbeInterval = std::chrono::seconds(1);

}  // namespace

void NetworkCore::set_delay(Duration least, Duration most) {
    assert(Duration::zero() <= least && least <= most);
    least_delay_ = least;
    most_delay_ = most;
}

bool NetworkCore::send(Connection& connection, int from, std::span<const std::byte> bytes) {
    auto& ours = connection.ends[static_cast<std::size_t>(from)];
    auto& theirs = connection.ends[static_cast<std::size_t>(1 - from)];
    if (!ours.open || ours.program->dead()) return false;
    if (bytes.size() > kMaxFrameBytes || theirs.queued_bytes + bytes.size() > kMaxQueuedBytes) return false;
    if (!connection.local && random_.chance(loss_)) {
        if (trace_) trace_(ours.host->name, fmt::format("loses connection {}", connection.id));
        losses_.push_back({queue_.now(), ours.host, theirs.host});
        if (losses_.size() > kLossesKept) losses_.pop_front();
        break_now(connection);
        return true;  // as with real TCP the sender learns it later
    }
    if (!theirs.open) return true;  // the reset is on its way
    auto at = queue_.now() + delay(connection.local);
    if (!theirs.queue.empty()) at = std::max(at, theirs.queue.back().at);
    theirs.queue.push_back({at, {bytes.begin(), bytes.end()}, false, {}});
    theirs.queued_bytes += bytes.size();
    schedule_pump(connection, 1 - from);
    return true;
}

int NetworkCore::losses(const NetworkHost& a, const NetworkHost& b, TimePoint from, TimePoint to) const {
    return static_cast<int>(std::ranges::count_if(losses_, [&](const Loss& loss) {
        return from <= loss.at && loss.at <= to &&
               ((loss.one == &a && loss.other == &b) || (loss.one == &b && loss.other == &a));
    }));
}

void NetworkCore::schedule_pump(Connection& connection, int to) {
    auto& end = connection.ends[static_cast<std::size_t>(to)];
    if (!end.open || end.handlers == nullptr || end.blocked || end.queue.empty() || end.pump_event != 0)
        return;
    end.pump_event = end.program->schedule(
        end.queue.front().at, [this, self = connection.shared_from_this(), to] { pump(self, to); });
}

// Delivers one frame; a handler may close the channel, break it or kill the program.
void NetworkCore::pump(const std::shared_ptr<Connection>& connection, int to) {
    auto& end = connection->ends[static_cast<std::size_t>(to)];
    end.pump_event = 0;
    if (!end.open || end.blocked || end.queue.empty()) return;
    if (end.queue.front().at > queue_.now()) return schedule_pump(*connection, to);
    const auto frame = std::move(end.queue.front());
    end.queue.pop_front();
    end.queued_bytes -= frame.bytes.size();
    const auto handlers = end.handlers;
    if (frame.last) {
        end.open = false;
        end.handlers.reset();
        queue_.cancel(end.give_up_event);
        if (trace_) trace_(end.host->name, fmt::format("sees connection {} {}", connection->id, frame.why));
        forget(*connection);
        if (handlers->on_close)
            handlers->on_close(Error{Code::unreachable, fmt::format("connection {}", frame.why), 0});
        return;
    }
    if (trace_)
        trace_(end.host->name, fmt::format("gets {} bytes {:08x} on connection {}", frame.bytes.size(),
                                           crc32c(frame.bytes), connection->id));
    schedule_pump(*connection, to);
    if (handlers->on_frame) handlers->on_frame(frame.bytes);
}

// The end's own program closes it; the peer sees it after what was sent before.
void NetworkCore::close_end(Connection& connection, int side, std::string_view what_peer_sees) {
    auto& ours = connection.ends[static_cast<std::size_t>(side)];
    auto& theirs = connection.ends[static_cast<std::size_t>(1 - side)];
    if (!ours.open) return;
    ours.open = false;
    queue_.cancel(ours.pump_event);
    queue_.cancel(ours.give_up_event);
    ours.pump_event = ours.give_up_event = 0;
    ours.queue.clear();
    ours.queued_bytes = 0;
    const auto destroyed = std::exchange(ours.handlers, nullptr);
    if (theirs.open) {
        auto at = queue_.now() + delay(connection.local);
        if (!theirs.queue.empty()) at = std::max(at, theirs.queue.back().at);
        theirs.queue.push_back({at, {}, true, std::string(what_peer_sees)});
        schedule_pump(connection, 1 - side);
    }
    forget(connection);
}

// Both ends see the connection closed, each after its own delay; what was on the way is lost.
void NetworkCore::break_now(Connection& connection) {
    for (int side = 0; side < 2; ++side) {
        auto& end = connection.ends[static_cast<std::size_t>(side)];
        if (!end.open) continue;
        queue_.cancel(end.pump_event);
        end.pump_event = 0;
        end.queue.clear();
        end.queued_bytes = 0;
        end.queue.push_back({queue_.now() + delay(connection.local), {}, true, "reset by the network"});
        schedule_pump(connection, side);
    }
}

void NetworkCore::break_connections(const NetworkHost& a, const NetworkHost& b) {
    for (const auto& connection : std::vector(connections_)) {
        const auto* client = connection->ends[0].host;
        const auto* server = connection->ends[1].host;
        if ((client == &a && server == &b) || (client == &b && server == &a)) break_now(*connection);
    }
}

void NetworkCore::give_up(const std::shared_ptr<Connection>& connection, int side) {
    auto& end = connection->ends[static_cast<std::size_t>(side)];
    end.give_up_event = 0;
    if (!end.open) return;
    // What this end had sent and the peer has not got is gone with it.
    auto& theirs = connection->ends[static_cast<std::size_t>(1 - side)];
    theirs.queue.clear();
    theirs.queued_bytes = 0;
    const auto handlers = end.handlers;
    if (trace_) trace_(end.host->name, fmt::format("gives up connection {}", connection->id));
    close_end(*connection, side, "reset by the peer");
    if (handlers && handlers->on_close)
        handlers->on_close(Error{Code::unreachable, "connection timed out: the peer does not answer", 0});
}

void NetworkCore::program_died(const Incarnation& program, bool host_is_up) {
    std::erase_if(listeners_, [&](const auto& entry) { return entry.second.program.get() == &program; });
    for (const auto& connection : std::vector(connections_)) {
        for (int side = 0; side < 2; ++side) {
            auto& end = connection->ends[static_cast<std::size_t>(side)];
            if (end.program.get() != &program || !end.open) continue;
            if (host_is_up) {
                close_end(*connection, side, "closed by the peer");
                continue;
            }
            end.open = false;
            end.pump_event = end.give_up_event = 0;  // purged with the program
            end.queue.clear();
            end.queued_bytes = 0;
            const auto destroyed = std::exchange(end.handlers, nullptr);
            forget(*connection);
        }
    }
}

void NetworkCore::forget(const Connection& connection) {
    if (connection.ends[0].open || connection.ends[1].open) return;
    std::erase_if(connections_, [&](const auto& other) { return other.get() == &connection; });
}

void NetworkCore::cut(const std::string& from, const std::string& to) {
    if (cuts_.insert({from, to}).second) reassess();
}

void NetworkCore::heal(const std::string& from, const std::string& to) {
    if (cuts_.erase({from, to}) != 0) reassess();
}

void NetworkCore::heal_all() {
    if (cuts_.empty()) return;
    cuts_.clear();
    reassess();
}

void NetworkCore::reassess() {
    for (const auto& connection : std::vector(connections_))
        reassess(*connection);
}

void NetworkCore::reassess(Connection& connection) {
    if (connection.local) return;
    auto& [a, b] = connection.ends;
    a.blocked = !a.host->answers() || is_cut(b.local.address, a.local.address);
    b.blocked = !b.host->answers() || is_cut(a.local.address, b.local.address);
    const bool trouble = a.blocked || b.blocked;
    const bool was_in_trouble = std::exchange(connection.trouble, trouble);
    const auto self = connection.shared_from_this();
    for (int side = 0; side < 2; ++side) {
        auto& end = connection.ends[static_cast<std::size_t>(side)];
        const auto& other = connection.ends[static_cast<std::size_t>(1 - side)];
        if (!end.open) continue;
        if (trouble && !was_in_trouble) {
            const auto limit =
                kConnectionTimeout +
                Duration(random_.below(static_cast<std::uint64_t>(kConnectionTimeout.count()) / 5));
            end.give_up_event =
                end.program->schedule(queue_.now() + limit, [this, self, side] { give_up(self, side); });
        }
        if (!trouble && was_in_trouble) {
            queue_.cancel(end.give_up_event);
            end.give_up_event = 0;
            const bool told = !end.queue.empty() && end.queue.back().last;
            if (!other.open && !told) {
                const auto probe =
                    Duration(random_.below(static_cast<std::uint64_t>(kProbeInterval.count())));
                auto at = queue_.now() + probe;
                if (!end.queue.empty()) at = std::max(at, end.queue.back().at);
                end.queue.push_back({at, {}, true, "reset by the peer"});
            }
        }
        if (!end.blocked) {
            // What waited is repeated now; the order stays.
            if (was_in_trouble) {
                const auto at = queue_.now() + delay(false);
                for (auto& frame : end.queue)
                    frame.at = std::max(frame.at, at);
            }
            schedule_pump(connection, side);
        }
    }
}

}  // namespace understudy::runtime::simulated
