// The driver's paths: listen or dial, greet, heartbeats, what the monitor decides.

#include "comm/cluster_impl.h"
#include "messages/messages.h"

namespace understudy::comm {
namespace {

std::int64_t milliseconds(runtime::Duration duration) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

PathLimits limits_of(const wire::Hello& hello) {
    return {std::chrono::milliseconds(hello.interval_ms), static_cast<int>(hello.misses)};
}

Protocol spoken_by(const wire::Hello& hello) {
    return {hello.major, std::max(hello.major, hello.highest), hello.features};
}

}  // namespace

PathEnd* Cluster::Impl::path_of(std::uint64_t id) {
    const auto at = paths.find(id);
    return at == paths.end() ? nullptr : &at->second;
}

Connection* Cluster::Impl::connection_of(const PathEnd& path) {
    if (!path.connection) return nullptr;
    const auto at = connections.find(*path.connection);
    return at == connections.end() ? nullptr : &at->second;
}

void Cluster::Impl::set_problem(PathEnd& path, std::string problem) {
    if (path.problem == problem) return;
    path.problem = std::move(problem);
    if (!path.problem.empty())
        messages::info("path {} to {}: {}", path.config.device, path.config.remote.str(), path.problem);
}

// Time
// -----------------------------------------------------------------------------------------------------------

void Cluster::Impl::tick(PathEnd& path) {
    if (!path.usable) return;
    apply(path, path.monitor.on_tick(now()));
    attempt(path);
    schedule(path);
}

void Cluster::Impl::schedule(PathEnd& path) {
    if (path.timer) world.tasks.cancel(*path.timer);
    auto next = path.monitor.next_tick();
    if (path.disk && !path.disk->busy_since) next = std::min(next, path.disk->next_read);
    const bool waits_to_dial = !path.disk && dials(path) && !path.dialing && !path.connection;
    const bool waits_to_listen = !path.disk && !dials(path) && !listeners.contains(path.local());
    if (waits_to_dial || waits_to_listen) next = std::min(next, path.next_attempt);
    path.timer =
        world.tasks.after(std::max(next - now(), runtime::Duration(0)), guarded([id = path.id](Impl& self) {
                              if (auto* due = self.path_of(id)) {
                                  due->timer.reset();
                                  self.tick(*due);
                              }
                          }));
}

// Spec: CLU-067: the path reconnects once per interval.
void Cluster::Impl::attempt(PathEnd& path) {
    if (path.disk) {
        if (now() >= path.disk->next_read) exchange(path);
        return;
    }
    if (now() < path.next_attempt) return;
    if (!dials(path)) {
        if (!listeners.contains(path.local())) {
            path.next_attempt = now() + path.monitor.limits().interval;
            listen(path);
        }
        return;
    }
    if (path.dialing) return;
    const auto* connection = connection_of(path);
    const auto patience = path.monitor.limits().interval * kSilentIntervals;
    if (connection != nullptr && now() - connection->last_frame <= patience) return;
    path.next_attempt = now() + path.monitor.limits().interval;
    dial(path);
}

// Connections
// ----------------------------------------------------------------------------------------------------

void Cluster::Impl::dial(PathEnd& path) {
    path.dialing = true;
    runtime::ConnectOptions to;
    to.remote = {path.config.remote_address, static_cast<std::uint16_t>(path.config.port())};
    to.local_address = path.config.local_address;
    to.security = runtime::Security::cluster;
    to.timeout = std::clamp<runtime::Duration>(2 * path.monitor.limits().interval, kDialAtLeast, kDialAtMost);
    world.network.connect(
        to, guarded([id = path.id](Impl& self, Result<std::unique_ptr<runtime::Channel>> result) {
            auto* dialed = self.path_of(id);
            if (dialed == nullptr) return;
            dialed->dialing = false;
            if (result)
                self.greet(*dialed, std::move(*result));
            else
                self.set_problem(*dialed, result.error().text);
            if (auto* still = self.path_of(id)) self.schedule(*still);
        }));
}

void Cluster::Impl::listen(PathEnd& path) {
    const auto at = path.local();
    auto listener = world.network.listen(at, runtime::Security::cluster,
                                         guarded([at](Impl& self, std::unique_ptr<runtime::Channel> channel) {
                                             self.accepted(at, std::move(channel));
                                         }));
    if (!listener) return set_problem(path, listener.error().text);
    listeners[at] = std::move(*listener);
    set_problem(path, fmt::format("waiting for {} to connect to {} port {}", path.config.remote.str(),
                                  at.address, at.port));
}

void Cluster::Impl::drop_unused_listeners() {
    std::erase_if(listeners, [&](const auto& entry) {
        return std::none_of(paths.begin(), paths.end(), [&](const auto& path) {
            return path.second.usable && !path.second.disk && !dials(path.second) &&
                   path.second.local() == entry.first;
        });
    });
}

void Cluster::Impl::accepted(const runtime::Endpoint& at, std::unique_ptr<runtime::Channel> channel) {
    const auto greeting = std::count_if(connections.begin(), connections.end(),
                                        [](const auto& entry) { return !entry.second.greeting; });
    if (static_cast<std::size_t>(greeting) >= kMaxGreeting) return channel->close();
    const auto& name = channel->peer().common_name;
    for (auto& [id, path] : paths)
        if (path.usable && !path.disk && !dials(path) && path.config.remote.str() == name &&
            path.local() == at)
            return greet(path, std::move(channel));
    const auto reason = fmt::format("{} has no path to \"{}\" at {} port {}: define both ends",
                                    options.self.str(), name, at.address, at.port);
    messages::warning("connection refused: {}", reason);
    const auto bytes = wire::encode(wire::Refusal{reason});
    channel->send(std::as_bytes(std::span(bytes.data(), bytes.size())));
    retire_channel(std::move(channel));
}

void Cluster::Impl::greet(PathEnd& path, std::unique_ptr<runtime::Channel> channel) {
    const auto id = next_id++;
    auto& connection = connections[id];
    connection.id = id;
    connection.path = path.id;
    connection.channel = std::move(channel);
    connection.last_frame = now();

    const auto& limits = path.monitor.limits();
    const auto& speaks = options.protocol;
    connection.send(wire::Hello{speaks.lowest, kProtocolMinor, options.self.str(), options.software_version,
                                path.config.device, incarnation,
                                static_cast<std::uint32_t>(milliseconds(limits.interval)),
                                static_cast<std::uint32_t>(limits.misses), speaks.highest, speaks.features});
    world.tasks.after(kGreetingLimit, guarded([id](Impl& self) {
                          const auto at = self.connections.find(id);
                          if (at == self.connections.end() || at->second.greeting) return;
                          if (auto* late = self.path_of(at->second.path))
                              self.set_problem(*late,
                                               fmt::format("{} accepted the connection but says nothing",
                                                           late->config.remote.str()));
                          self.retire(id);
                      }));
    connection.channel->start(
        guarded([id](Impl& self, std::span<const std::byte> bytes) { self.on_frame(id, bytes); }),
        guarded([id](Impl& self, const Error& why) { self.on_closed(id, why); }));
}

void Cluster::Impl::refuse(std::uint64_t id, const std::string& reason) {
    const auto at = connections.find(id);
    if (at == connections.end()) return;
    at->second.send(wire::Refusal{reason});
    if (auto* path = path_of(at->second.path)) set_problem(*path, reason);
    retire(id);
}

void Cluster::Impl::retire(std::uint64_t id) {
    const auto at = connections.find(id);
    if (at == connections.end()) return;
    auto channel = std::move(at->second.channel);
    auto* path = path_of(at->second.path);
    connections.erase(at);
    retire_channel(std::move(channel));
    if (path == nullptr || path->connection != id) return;
    path->connection.reset();
    const auto remote = path->config.remote;
    if (const auto peer = peers.find(remote); peer != peers.end()) {
        peer->second.calls.connection_lost(id);
        pump(remote);
    }
}

void Cluster::Impl::retire_channel(std::unique_ptr<runtime::Channel> channel) {
    channel->close();
    retired.emplace_back(now() + kLinger, std::move(channel));
    if (retired.size() > kMaxRetired) retired.pop_front();
    world.tasks.after(kLinger, guarded([](Impl& self) {
                          while (!self.retired.empty() && self.retired.front().first <= self.now())
                              self.retired.pop_front();
                      }));
}

void Cluster::Impl::on_closed(std::uint64_t id, const Error& why) {
    const auto at = connections.find(id);
    if (at == connections.end()) return;
    auto* path = path_of(at->second.path);
    // A refusal that came before says more than the close that follows it.
    if (path != nullptr && (at->second.greeting || path->problem.empty())) set_problem(*path, why.text);
    retire(id);
    if (path == nullptr) return;
    attempt(*path);
    schedule(*path);
}

// Frames
// ---------------------------------------------------------------------------------------------------------

void Cluster::Impl::on_frame(std::uint64_t id, std::span<const std::byte> bytes) {
    const auto at = connections.find(id);
    if (at == connections.end()) return;
    auto& connection = at->second;
    auto* path = path_of(connection.path);
    if (path == nullptr) return retire(id);
    auto frame = wire::decode(bytes, options.protocol.lowest, options.protocol.highest);
    if (!frame) {
        messages::warning("path {} to {}: {}; the connection is closed", path->config.device,
                          path->config.remote.str(), frame.error().text);
        return refuse(id, frame.error().text);
    }
    connection.last_frame = now();
    const auto remote = path->config.remote;

    if (const auto* refusal = std::get_if<wire::Refusal>(&*frame)) {
        set_problem(*path, fmt::format("{} refuses: {}", remote.str(), refusal->reason));
        retire(id);
        return schedule(*path);
    }
    if (const auto* hello = std::get_if<wire::Hello>(&*frame)) return on_hello(connection, *hello);
    if (!connection.greeting)
        return refuse(id, fmt::format("{} sent a frame before its greeting", remote.str()));
    const auto peer_incarnation = connection.greeting->incarnation;

    if (std::holds_alternative<wire::Unknown>(*frame)) {
        if (!std::exchange(connection.told_unknown, true))
            messages::info("{} (software {}) sends frames that this release does not know; they are ignored",
                           remote.str(), connection.greeting->software);
        return;
    }
    if (const auto* heartbeat = std::get_if<wire::Heartbeat>(&*frame)) return on_heartbeat(*path, *heartbeat);
    if (auto* call = std::get_if<wire::Call>(&*frame))
        return on_call(remote, peer_incarnation, id, std::move(*call));
    if (auto* answer = std::get_if<wire::Answer>(&*frame)) return on_answer(remote, std::move(*answer));
    if (auto* notice = std::get_if<wire::Notice>(&*frame)) return on_notice(remote, std::move(*notice));
    refuse(id, fmt::format("{} sent an enrolment message on a path", remote.str()));
}

std::string Cluster::Impl::objection(const PathEnd& path, const Connection& connection,
                                     const wire::Hello& hello) const {
    const auto& certified = connection.channel->peer().common_name;
    if (connection.greeting) return fmt::format("{} greeted twice", certified);
    if (auto why = judged(connection.channel->peer()); !why.empty()) return why;
    if (const auto theirs = spoken_by(hello); !agree(options.protocol, theirs))
        return fmt::format(
            "{} speaks protocol versions {} to {} (software {}), {} versions {} to {} (software {}), and "
            "none "
            "is common: upgrade the older one, by way of a release between the two",
            hello.node, theirs.lowest, theirs.highest, hello.software, options.self.str(),
            options.protocol.lowest, options.protocol.highest, options.software_version);
    if (hello.node != certified)
        return fmt::format("the certificate there is of \"{}\", but the node calls itself \"{}\"", certified,
                           hello.node);
    if (hello.node != path.config.remote.str())
        return fmt::format(
            "path {} of {} is defined to lead to \"{}\", but \"{}\" answers there: correct its address "
            "or its node",
            path.config.device, options.self.str(), path.config.remote.str(), hello.node);
    if (hello.device != path.config.device)
        return fmt::format("the path is {} on {} and {} on {}: define both ends alike", path.config.device,
                           options.self.str(), hello.device, hello.node);
    return {};
}

void Cluster::Impl::on_hello(Connection& connection, const wire::Hello& hello) {
    auto* path = path_of(connection.path);
    if (path == nullptr) return retire(connection.id);
    const auto why_not = objection(*path, connection, hello);
    if (!why_not.empty()) {
        refuse(connection.id, why_not);
        return schedule(*path);
    }
    connection.greeting = hello;
    connection.agreed = *agree(options.protocol, spoken_by(hello));
    if (options.protocol.sends_unknown_frames) connection.send(wire::Unknown{});
    attach(*path, connection);
}

void Cluster::Impl::attach(PathEnd& path, Connection& connection) {
    const auto& hello = *connection.greeting;
    const auto remote = path.config.remote;
    // The dialer replaces a silent connection by a new one; the newest is the one that works.
    if (path.connection && *path.connection != connection.id) retire(*path.connection);
    path.connection = connection.id;
    path.monitor.on_greeting(hello.incarnation, limits_of(hello), now());
    path.clock.reset();

    const auto ours = path.monitor.limits();
    if (ours != limits_of(hello) && !path.limits_told) {
        path.limits_told = true;
        messages::warning(
            "path {} to {}: heartbeats are {} ms x {} here and {} ms x {} there; each end judges by its own "
            "values",
            path.config.device, remote.str(), milliseconds(ours.interval), ours.misses, hello.interval_ms,
            hello.misses);
    }
    auto& peer = peers.at(remote);
    peer.software = hello.software;
    peer.agreed = connection.agreed;
    if (peer.incarnation != hello.incarnation) {
        peer.incarnation = hello.incarnation;
        finish_all(
            peer.calls.take_sent_to_others(hello.incarnation),
            Error{Code::unreachable,
                  fmt::format("{} restarted while it ran a call; its outcome is unknown", remote.str())});
    }
    send_heartbeat(path);
    schedule(path);
    pump(remote);
}

// Heartbeats
// -----------------------------------------------------------------------------------------------------

void Cluster::Impl::send_heartbeat(PathEnd& path) {
    if (path.disk) {
        path.disk->write_due = true;
        return exchange(path);
    }
    if (auto* connection = connection_of(path))
        connection->send(path.monitor.make_heartbeat(now(), world.clock.wall()));
}

void Cluster::Impl::on_heartbeat(PathEnd& path, const wire::Heartbeat& heartbeat) {
    path.clock.on_heartbeat(heartbeat, now(), world.clock.wall());
    const auto outcome = path.monitor.on_heartbeat(heartbeat, now());
    const auto remote = path.config.remote;
    auto& peer = peers.at(remote);
    if (const auto heard = path.monitor.last_heard();
        heard && (!peer.last_heard || *heard > *peer.last_heard))
        peer.last_heard = heard;
    // An echo from the future is none of ours.
    if (const TimePoint echo{runtime::Duration(heartbeat.echo_ns)};
        heartbeat.echo_ns > 0 && echo <= now() && (!peer.confirmed || echo > *peer.confirmed))
        peer.confirmed = echo;
    const bool changed = outcome.changed.has_value() || outcome.absent.has_value();
    apply(path, outcome);
    if (changed) schedule(path);
    pump(remote);  // what found every queue full before
}

void Cluster::Impl::apply(PathEnd& path, const PathMonitor::Outcome& outcome) {
    if (outcome.absent)
        note_absence(*outcome.absent);
    else if (outcome.late)
        note_late(*outcome.late);
    // Also on a path that has just died: over a one-way failure this is how the peer learns of it.
    if (outcome.heartbeat_due || outcome.changed == PathState::dead) send_heartbeat(path);
    const auto remote = path.config.remote;
    const auto device = path.config.device;
    auto& peer = peers.at(remote);

    if (outcome.changed == PathState::alive) {
        path.problem.clear();
        messages::info("path {} to {} is ALIVE", device, remote.str());
        const auto change = peer.membership.on_path(path.id, PathState::alive);
        emit(PeerEvent::Kind::path_up, remote, device);
        if (change == PeerMembership::Change::comm_up) {
            messages::info("COMM_UP: {} is ALIVE", remote.str());
            emit(PeerEvent::Kind::comm_up, remote, {});
        } else if (!path.disk && is_only_carrier(path)) {
            // Until now nothing could be asked of it: whoever waits for its return looks again.
            messages::info("COMM_UP: {} was ALIVE by a DISK path only and can be reached again",
                           remote.str());
            emit(PeerEvent::Kind::comm_up, remote, {});
        }
        pump(remote);
    } else if (outcome.changed == PathState::dead) {
        const auto heard = path.monitor.last_heard();
        const auto silence = heard ? now() - *heard : runtime::Duration{};
        const bool disk_hangs = path.disk && path.disk->busy_since &&
                                now() - *path.disk->busy_since > path.monitor.limits().interval;
        path.problem =
            disk_hangs                                 ? fmt::format("{} does not answer this node", device)
            : path.disk && !path.disk->trouble.empty() ? path.disk->trouble
            : silence > path.monitor.limits().limit()
                ? fmt::format("no heartbeat from {} for {} ms", remote.str(), milliseconds(silence))
                : fmt::format("{} does not hear this node over it", remote.str());
        messages::warning("path {} to {} is DEAD: {}", device, remote.str(), path.problem);
        const auto change = peer.membership.on_path(path.id, PathState::dead);
        emit(PeerEvent::Kind::path_down, remote, device);
        if (change == PeerMembership::Change::comm_down) {
            messages::warning("COMM_DOWN: no path to {} is ALIVE", remote.str());
            emit(PeerEvent::Kind::comm_down, remote, {});
            finish_all(peer.calls.take_all(),
                       Error{Code::unreachable,
                             fmt::format("{} died or became unreachable meanwhile", remote.str())});
        } else if (peer.membership.state() == PeerState::alive && !carries_calls(remote)) {
            messages::warning(
                "{} is ALIVE by a DISK path only: it is not taken over, and nothing can be "
                "asked of it until a TCP path is back",
                remote.str());
            finish_all(peer.calls.take_all(),
                       Error{Code::unreachable,
                             fmt::format("the last TCP path to {} died meanwhile", remote.str())});
        }
        // A connection that carried nothing for so long recovers slowly; a new one starts at once.
        if (path.connection) retire(*path.connection);
    }
    if (outcome.peer_returned && peer.membership.state() == PeerState::alive) {
        messages::warning("{} had declared this node dead while it did not run, and hears it again",
                          remote.str());
        emit(PeerEvent::Kind::comm_up, remote, {});
    }
}

}  // namespace understudy::comm
