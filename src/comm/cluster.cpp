#include "comm/cluster.h"

#include "comm/cluster_impl.h"
#include "messages/messages.h"

namespace understudy::comm {

namespace {

constexpr std::string_view kDiskDevice = "DISK:";

PathLimits limits_of(const config::Path& path) {
    return {std::chrono::milliseconds(path.interval_ms), path.misses};
}

// What makes it the same path: everything but priority and limits.
bool same_path(const config::Path& a, const config::Path& b) {
    return a.remote == b.remote && a.device == b.device && a.transport == b.transport &&
           a.remote_address == b.remote_address && a.local_address == b.local_address;
}

}  // namespace

Cluster::Impl::Impl(runtime::World w, Options o)
    : world(w), options(std::move(o)), incarnation(world.random.next() | 1U) {}

void Cluster::Impl::stop() {
    stopped = true;
    for (auto& [id, path] : paths)
        if (path.timer) world.tasks.cancel(*path.timer);
    for (auto& [name, peer] : peers)
        for (auto& call : peer.calls.take_all())
            if (call.timer) world.tasks.cancel(*call.timer);
    listeners.clear();
    connections.clear();
    retired.clear();
}

void Cluster::Impl::set_paths(const std::vector<config::Path>& wanted) {
    std::vector<std::uint64_t> gone;
    std::vector<config::Path> added;
    for (const auto& [id, path] : paths)
        if (std::none_of(wanted.begin(), wanted.end(),
                         [&](const auto& want) { return same_path(want, path.config); }))
            gone.push_back(id);
    for (const auto id : gone)
        remove_path(id);

    for (const auto& want : wanted) {
        const auto at = std::find_if(paths.begin(), paths.end(),
                                     [&](const auto& entry) { return same_path(want, entry.second.config); });
        if (at == paths.end()) {
            add_path(want);
            continue;
        }
        auto& path = at->second;
        const bool limits_changed = limits_of(want) != limits_of(path.config);
        path.config = want;
        if (limits_changed) {
            path.monitor.set_limits(limits_of(want), now());
            path.limits_told = false;
            // The greeting carries the limits: a new one tells the peer.
            if (path.connection) {
                retire(*path.connection);
                path.next_attempt = now();
            }
            schedule(path);
        }
    }
    for (auto at = peers.begin(); at != peers.end();) {
        const bool used = std::any_of(paths.begin(), paths.end(), [&](const auto& path) {
            return path.second.config.remote == at->first;
        });
        if (used) {
            ++at;
            continue;
        }
        finish_all(at->second.calls.take_all(),
                   Error{Code::unreachable, fmt::format("the last path to {} was deleted", at->first.str())});
        at = peers.erase(at);
    }
    drop_unused_listeners();
}

void Cluster::Impl::add_path(const config::Path& config) {
    const auto id = next_id++;
    auto& path = paths.emplace(id, PathEnd{id, config, PathMonitor(limits_of(config), now())}).first->second;
    const bool on_disk = config.transport == "DISK";
    if (on_disk && options.disks == nullptr) {
        path.problem = fmt::format("{}: this program has no access to disks", config.device);
    } else if (on_disk && !config.device.starts_with(kDiskDevice)) {
        path.problem = fmt::format("\"{}\" is no disk: use DISK:<block device>", config.device);
    } else if (!on_disk && config.port() == 0) {
        path.problem = fmt::format("\"{}\" is no TCP device: use TCP:<port>", config.device);
    } else if (config.remote == options.self) {
        path.problem = fmt::format("{} is this node itself: a path needs another node", config.remote.str());
    } else {
        path.usable = true;
    }
    if (!path.usable) {
        messages::error("path {} to {}: {}", config.device, config.remote.str(), path.problem);
        return;
    }
    auto& peer = peers.try_emplace(config.remote, options.max_calls_in_flight).first->second;
    peer.membership.on_path(id, PathState::dead);
    path.problem = fmt::format("not connected to {} yet", config.remote.str());
    path.next_attempt = now();
    if (on_disk)
        path.disk =
            std::make_unique<DiskEnd>(DiskEnd{options.disks->open(config.device.substr(kDiskDevice.size()),
                                                                  runtime::SharedDisks::Use::heartbeats),
                                              DiskExchange(options.self, config.remote, incarnation)});
    tick(path);
}

void Cluster::Impl::remove_path(std::uint64_t id) {
    auto& path = paths.at(id);
    if (path.timer) world.tasks.cancel(*path.timer);
    if (path.connection) retire(*path.connection);
    std::vector<std::uint64_t> greeting;
    for (const auto& [connection_id, connection] : connections)
        if (connection.path == id) greeting.push_back(connection_id);
    for (const auto connection : greeting)
        retire(connection);
    const auto remote = path.config.remote;
    if (const auto peer = peers.find(remote); path.usable && peer != peers.end()) {
        const auto before = peer->second.membership.state();
        peer->second.membership.remove_path(id);
        paths.erase(id);
        // Nothing failed, so nothing is declared dead; but nothing can be carried either.
        if (before == PeerState::alive && !carries_calls(remote))
            finish_all(peer->second.calls.take_all(),
                       Error{Code::unreachable,
                             fmt::format("the last working path to {} was deleted", remote.str())});
        else
            pump(remote);
        return;
    }
    paths.erase(id);
}

void Cluster::Impl::emit(PeerEvent::Kind kind, const NodeName& peer, const std::string& device) {
    const auto at = peers.find(peer);
    const auto heard = at != peers.end() && at->second.last_heard ? *at->second.last_heard : TimePoint{};
    events.push_back(PeerEvent{kind, peer, device, heard});
    if (events.size() > 1) return;  // the queue is being emptied already
    world.tasks.post(guarded([](Impl& self) {
        // Handlers may change paths, add handlers and cause further events.
        while (!self.events.empty() && !self.stopped) {
            const auto event = self.events.front();
            for (std::size_t i = 0; i < self.peer_handlers.size() && !self.stopped; ++i) {
                const auto handler = self.peer_handlers[i];
                handler(event);
            }
            if (!self.events.empty()) self.events.pop_front();
        }
    }));
}

void Cluster::Impl::note_late(runtime::Duration late) {
    // Every path notices the same, and an absence tells more.
    if (present_since && now() - late < *present_since) return;
    present_since = now();
    messages::warning("a heartbeat was {} ms late: this host is short of processor time or memory",
                      std::chrono::duration_cast<std::chrono::milliseconds>(late).count());
    world.tasks.post(guarded([late](Impl& self) {
        for (std::size_t i = 0; i < self.late_handlers.size() && !self.stopped; ++i) {
            const auto handler = self.late_handlers[i];
            handler(late);
        }
    }));
}

void Cluster::Impl::note_absence(runtime::Duration absent) {
    // Every path notices the same absence; it is told once.
    if (present_since && now() - absent < *present_since) return;
    present_since = now();
    messages::warning(
        "this process did not run for {} ms; its peers may have declared {} dead. No peer is judged for that "
        "time",
        std::chrono::duration_cast<std::chrono::milliseconds>(absent).count(), options.self.str());
    world.tasks.post(guarded([absent](Impl& self) {
        for (std::size_t i = 0; i < self.absence_handlers.size() && !self.stopped; ++i) {
            const auto handler = self.absence_handlers[i];
            handler(absent);
        }
    }));
}

Cluster::Cluster(runtime::World world, Options options)
    : impl_(std::make_shared<Impl>(world, std::move(options))) {}

Cluster::~Cluster() {
    impl_->stop();
}

void Cluster::set_paths(const std::vector<config::Path>& paths) {
    impl_->set_paths(paths);
}

PeerState Cluster::peer_state(const NodeName& peer) const {
    if (peer == impl_->options.self) return PeerState::alive;
    const auto at = impl_->peers.find(peer);
    return at == impl_->peers.end() ? PeerState::unknown : at->second.membership.state();
}

std::vector<NodeName> Cluster::peers() const {
    std::vector<NodeName> names;
    for (const auto& [name, peer] : impl_->peers)
        names.push_back(name);
    return names;
}

std::vector<NodeName> Cluster::alive_peers() const {
    std::vector<NodeName> names;
    for (const auto& [name, peer] : impl_->peers)
        if (peer.membership.state() == PeerState::alive) names.push_back(name);
    return names;
}

bool Cluster::carries_calls(const NodeName& peer) const {
    return peer == impl_->options.self || impl_->carries_calls(peer);
}

std::vector<PathStatus> Cluster::paths() const {
    std::vector<PathStatus> result;
    for (const auto& [id, path] : impl_->paths) {
        const auto state = path.monitor.state();
        result.push_back(PathStatus{path.config, state, path.monitor.times_down(),
                                    state == PathState::alive ? std::string() : path.problem,
                                    path.monitor.last_heard()});
    }
    return result;
}

Cluster::Limits Cluster::longest_limits() const {
    Limits longest;
    for (const auto& [id, path] : impl_->paths) {
        const runtime::Duration interval = std::chrono::milliseconds(path.config.interval_ms);
        longest.interval = std::max(longest.interval, interval);
        longest.patience = std::max(longest.patience, interval * path.config.misses);
    }
    return longest;
}

bool Cluster::settled() const {
    return std::all_of(impl_->paths.begin(), impl_->paths.end(), [&](const auto& entry) {
        return !entry.second.usable || entry.second.monitor.settled(impl_->now());
    });
}

void Cluster::on_peer_event(PeerHandler handler) {
    impl_->peer_handlers.push_back(std::move(handler));
}

void Cluster::on_absence(AbsenceHandler handler) {
    impl_->absence_handlers.push_back(std::move(handler));
}

void Cluster::on_late_heartbeat(AbsenceHandler handler) {
    impl_->late_handlers.push_back(std::move(handler));
}

void Cluster::call(const NodeName& peer, std::string_view method, std::string payload,
                   runtime::Duration deadline, std::function<void(Result<std::string>)> done) {
    impl_->call(peer, method, std::move(payload), deadline, std::move(done));
}

runtime::Task<Result<std::string>> Cluster::call(NodeName peer, std::string method, std::string payload,
                                                 runtime::Duration deadline) {
    runtime::OneShot<Result<std::string>> answer(impl_->world.tasks);
    call(peer, method, std::move(payload), deadline,
         [answer](Result<std::string> result) { answer.set(std::move(result)); });
    auto result = co_await answer;
    co_return result;
}

void Cluster::notify(const NodeName& peer, std::string_view method, std::string payload) {
    impl_->notify(peer, method, std::move(payload));
}

void Cluster::serve(const std::string& method, Method handler) {
    impl_->methods[method] = std::move(handler);
}

Cluster::Contact Cluster::contact(const NodeName& peer) const {
    const auto at = impl_->peers.find(peer);
    return at == impl_->peers.end() ? Contact{} : Contact{at->second.last_heard, at->second.confirmed};
}

std::optional<runtime::Duration> Cluster::clock_offset(const NodeName& peer) const {
    std::optional<ClockFilter::Sample> best;
    for (const auto& [id, path] : impl_->paths)
        if (path.config.remote == peer && path.monitor.state() == PathState::alive)
            if (const auto sample = path.clock.best();
                sample && (!best || sample->round_trip < best->round_trip))
                best = sample;
    if (!best) return std::nullopt;
    return best->offset;
}

std::optional<ClockEstimate> Cluster::clock_of(const NodeName& peer) const {
    std::optional<ClockFilter::Sample> best;
    for (const auto& [id, path] : impl_->paths)
        if (path.config.remote == peer)
            if (const auto sample = path.clock.best();
                sample && (!best || sample->round_trip < best->round_trip))
                best = sample;
    if (!best) return std::nullopt;
    return ClockEstimate{best->offset, best->round_trip / 2};
}

std::optional<runtime::Duration> Cluster::round_trip(const NodeName& peer) const {
    std::optional<runtime::Duration> best;
    for (const auto& [id, path] : impl_->paths)
        if (path.config.remote == peer && path.monitor.state() == PathState::alive)
            if (const auto sample = path.clock.best(); sample && (!best || sample->round_trip < *best))
                best = sample->round_trip;
    return best;
}

std::optional<Agreed> Cluster::agreed_with(const NodeName& peer) const {
    const auto at = impl_->peers.find(peer);
    return at == impl_->peers.end() ? std::nullopt : at->second.agreed;
}

bool Cluster::has_feature(const NodeName& peer, Feature feature) const {
    const auto agreed = agreed_with(peer);
    return agreed && (agreed->features & static_cast<std::uint64_t>(feature)) != 0;
}

void Cluster::judge_certificates(CertificateJudge judge) {
    impl_->judge = std::move(judge);
}

void Cluster::recheck_certificates() {
    std::vector<std::pair<std::uint64_t, std::string>> refused;
    for (const auto& [id, connection] : impl_->connections)
        if (auto why = impl_->judged(connection.channel->peer()); !why.empty())
            refused.emplace_back(id, std::move(why));
    for (const auto& [id, why] : refused)
        impl_->refuse(id, why);
}

std::string Cluster::software_of(const NodeName& peer) const {
    const auto at = impl_->peers.find(peer);
    return at == impl_->peers.end() ? std::string() : at->second.software;
}

}  // namespace understudy::comm
