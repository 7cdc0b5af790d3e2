#include "quorum/guard.h"

#include "messages/sink.h"
#include "quorum/guard_impl.h"

#include <algorithm>

namespace understudy::quorum {

Guard::Impl::Impl(runtime::World w, config::Database& d, comm::Cluster& c, Storage* s, Watchdog* dog,
                  GuardOptions o, Host h)
    : world(w),
      database(d),
      cluster(c),
      storage(s),
      watchdog(dog),
      options(std::move(o)),
      host(std::move(h)),
      started_at(world.clock.now()) {}

void Guard::Impl::start() {
    refresh();
    const std::weak_ptr<Impl> weak = weak_from_this();
    cluster.serve(std::string(kViewMethod),
                  [weak](const NodeName&, std::string_view suspect, const comm::Cluster::Answer& answer) {
                      if (const auto self = weak.lock()) answer(encode(self->view_of(NodeName(suspect))));
                  });
    cluster.serve(std::string(kDownNotice), [weak](const NodeName& caller, std::string_view suspect,
                                                   const comm::Cluster::Answer&) {
        const auto self = weak.lock();
        const NodeName peer(suspect);
        if (!self || self->stopped || !self->refused.contains(peer) || self->alive(peer)) return;
        messages::info("{} has found that {} is down; its loss is judged again", caller.str(), peer.str());
        self->refused.erase(peer);
        self->host.lost_again(peer);
    });
    cluster.on_peer_event([weak](const comm::PeerEvent& event) {
        if (const auto self = weak.lock(); self && !self->stopped) self->on_peer_event(event);
    });
    load_captured();
    listen();
    tick();
}

void Guard::Impl::stop() {
    stopped = true;
    ++round;
    if (timer) world.tasks.cancel(*timer);
    scope.clear();
    clients.clear();
    listener.reset();
}

const Configuration& Guard::Impl::refresh() {
    auto text = world.files.read(options.settings_path).value_or(std::string());
    const auto& systems = database.own().systems;
    const auto nodes = systems.size() + (systems.contains(options.self) ? 0 : 1);
    if (text == settings_text && nodes == settings_nodes) return configuration;
    settings_text = std::move(text);
    settings_nodes = nodes;
    std::vector<std::string> problems;
    settings = config::Settings::parse_leniently(settings_text, problems);
    configuration = configuration_of(settings, nodes, problems);
    if (configuration.error != told_error) {
        told_error = configuration.error;
        if (told_error.empty())
            messages::info("the quorum settings are right again");
        else
            messages::error("quorum settings: {}; nothing is started or taken over", told_error);
    }
    for (const auto& warning : configuration.warnings)
        messages::warning("quorum settings: {}", warning);
    return configuration;
}

std::set<NodeName> Guard::Impl::known() const {
    auto names = database.own().systems;
    names.insert(options.self);
    return {names.begin(), names.end()};
}

std::set<NodeName> Guard::Impl::others() const {
    auto names = known();
    names.erase(options.self);
    return names;
}

runtime::Duration Guard::Impl::patience(const NodeName& peer) const {
    auto longest = cluster.longest_limits().patience;
    if (const auto* theirs = peer.empty() ? nullptr : database.of(peer))
        for (const auto& path : theirs->paths)
            longest = std::max<runtime::Duration>(longest,
                                                  std::chrono::milliseconds(path.interval_ms) * path.misses);
    return longest;
}

runtime::Duration Guard::Impl::longest_interval() const {
    return std::max<runtime::Duration>(kLeastTick, cluster.longest_limits().interval);
}

Quorum Guard::Impl::check() {
    const auto& now = refresh();
    if (!now.error.empty()) return Quorum::config_error;
    switch (now.mode) {
        case Mode::none:
            return Quorum::have;
        case Mode::majority: {
            const auto all = others();
            const auto reachable =
                std::count_if(all.begin(), all.end(), [&](const auto& n) { return alive(n); });
            return majority_check(all.size() + 1, static_cast<std::size_t>(reachable) + 1);
        }
        case Mode::storage:
            break;
    }
    if (!monitor) return Quorum::frozen;
    for (const auto& name : others())
        if (monitor->peer(name) == nullptr) {
            note({Note::Severity::error, 18219,
                  fmt::format("{} is not in the captured configuration: run qwk_storage_exit and "
                              "qwk_storage_init on all nodes",
                              name.str())});
            return Quorum::config_error;
        }
    return monitor->state(world.clock.now()) == Access::success ? Quorum::have : Quorum::lost;
}

// --- proof and watchdog

std::optional<runtime::TimePoint> Guard::Impl::proof() const {
    std::vector<std::optional<runtime::TimePoint>> heard;
    const auto all = others();
    heard.reserve(all.size());
    for (const auto& name : all)
        heard.push_back(cluster.contact(name).confirmed);
    const bool writes = configuration.mode == Mode::storage && monitor != nullptr;
    return proven_until(configuration.mode, heard, all.size() + 1, patience(),
                        writes ? monitor->last_write() : std::nullopt,
                        writes ? monitor->configuration().stale_after() : runtime::Duration{});
}

void Guard::Impl::arm() {
    if (watchdog == nullptr || losing || forced || stopped) return;
    const auto until = proof();
    if (!until) return;  // whatever an earlier life of this daemon has set stays in force
    armed = true;
    watchdog->arm(std::max(*until + configuration.stop_grace - world.clock.now(), runtime::Duration(1)));
}

void Guard::Impl::tick() {
    const auto next = configuration.on() ? std::clamp(patience() / 4, kLeastTick, kMostTick) : kMostTick;
    timer = world.tasks.after(next, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self || self->stopped) return;
        self->timer.reset();
        self->tick();
    });
    refresh();
    const auto now = world.clock.now();
    if (monitor) note(monitor->look(now));
    if (losing) return;
    if (configuration.mode != Mode::none) {
        // With a majority a COMM_UP comes at this moment too; the storage has no such event.
        const bool have = check() == Quorum::have;
        if (!std::exchange(had_quorum, have) && have) host.quorum_returned();
        const auto proven_here = proof();
        if (!have || (configuration.fences() && (!proven_here || *proven_here < now))) proven.clear();
    }
    if (forced && check() == Quorum::have) forced = false;
    const bool frozen = configuration.mode == Mode::storage && !monitor;
    if (!configuration.fences() || frozen || forced || !host.holds_resources()) {
        expired_ticks = 0;
        if (watchdog != nullptr && std::exchange(armed, false)) watchdog->disarm();
        return;
    }
    arm();
    // A proof that has just come may lie unread in a socket after this process stood still: two looks.
    const auto until = proof().value_or(started_at + patience());
    expired_ticks = now > until + longest_interval() ? expired_ticks + 1 : 0;
    if (expired_ticks >= 2) lose("no proof that enough nodes, or the storage, are reached");
}

void Guard::Impl::lose(const std::string& why) {
    if (losing || !host.holds_resources()) return;
    losing = true;
    ++counters.losses;
    const auto now = world.clock.now();
    const auto until = configuration.mode == Mode::none ? std::nullopt : proof();
    // The node's proof may already be older than the peers' patience: then little of the grace is left.
    const auto deadline = std::min(until.value_or(now), now) + configuration.stop_grace;
    messages::error("quorum is lost: {}; everything is taken out of service", why);
    host.journal("quorum is lost: " + why);
    // Without a proof in this life the deadline that the life before has set is the one that counts.
    if (watchdog != nullptr && configuration.fences() && until)
        watchdog->arm(std::max(deadline - now, runtime::Duration(1)));
    host.lose(deadline, why);
}

// --- events

void Guard::Impl::on_peer_event(const comm::PeerEvent& event) {
    // Whoever was found dead by a majority may be let start by another one.
    if (event.kind == comm::PeerEvent::Kind::comm_down && check() != Quorum::have) proven.clear();
    if (event.kind != comm::PeerEvent::Kind::comm_up) return;
    proven.erase(event.peer);
    refused.erase(event.peer);
    if (!refresh().reevaluate || check() != Quorum::have) return;
    // Spec: QUO-072
    for (const auto& peer : std::exchange(refused, {}))
        if (!alive(peer)) host.lost_again(peer);
}

runtime::Task<Guard::Verdict> Guard::Impl::quorum_gate(NodeName peer) {
    refresh();
    proven.erase(peer);
    if (!configuration.on()) co_return Verdict{};
    const auto quorum = check();
    note({Note::Severity::info, 18166,
          fmt::format("quorum_verify COMM_DOWN {}: {}", peer.str(), to_string(quorum))});
    if (quorum == Quorum::have) co_return Verdict{};
    refused.insert(peer);
    const auto why = quorum == Quorum::config_error && !configuration.error.empty()
                         ? fmt::format("quorum: CONFIG ERROR: {}", configuration.error)
                         : fmt::format("quorum: {}", to_string(quorum));
    if (on_comm_down(quorum, std::nullopt, host.holds_resources()) == DownAction::loss_action)
        lose(fmt::format("no quorum when {} was lost", peer.str()));
    co_return Verdict{false, why};
}

std::string Guard::Impl::refusal() {
    const auto quorum = check();
    if (losing) return "this node has lost quorum";
    switch (quorum) {
        case Quorum::have:
            break;
        case Quorum::lost:
            return "no quorum on this node";
        case Quorum::frozen:
            return "storage quorum is not initialised: run qwk_storage_init on all nodes";
        case Quorum::config_error:
            return fmt::format("quorum: CONFIG ERROR: {}", configuration.error.empty()
                                                               ? "initialise storage quorum again"
                                                               : configuration.error);
    }
    if (!configuration.fences()) return {};
    const auto until = proof();
    if (!until || *until < world.clock.now()) return "no fresh proof of quorum on this node";
    arm();
    return {};
}

void Guard::Impl::note(const Note& what) {
    using messages::Severity;
    const auto log = [&](Severity severity) { messages::log_numbered(severity, what.number, what.text); };
    switch (what.severity) {
        case Note::Severity::debug:
            if (configuration.debug) log(Severity::info);
            return;
        case Note::Severity::info:
            return log(Severity::info);
        case Note::Severity::warning:
            return log(Severity::warning);
        case Note::Severity::error:
            return log(Severity::error);
    }
}

Status Guard::Impl::status() {
    Status result;
    result.quorum = check();
    result.configuration = configuration;
    result.known = known().size();
    result.reachable = 1;
    result.storage_ready = monitor != nullptr;
    result.watchdog = watchdog != nullptr && watchdog->present();
    if (monitor) result.sequence = monitor->sequence();
    for (const auto& name : others()) {
        PeerStatus peer{name, cluster.peer_state(name), proven.contains(name), {}, {}};
        if (peer.state == comm::PeerState::alive) ++result.reachable;
        if (const auto* seen = monitor ? monitor->peer(name) : nullptr) {
            peer.sequence = seen->sequence;
            peer.quiet = monitor->quiet(name, world.clock.now());
            peer.writes = peer.quiet && *peer.quiet < monitor->configuration().dead_after();
        }
        result.peers.push_back(std::move(peer));
    }
    return result;
}

// --- public face

Guard::Guard(runtime::World world, config::Database& database, comm::Cluster& cluster, Storage* storage,
             Watchdog* watchdog, GuardOptions options, Host host)
    : impl_(std::make_shared<Impl>(world, database, cluster, storage, watchdog, std::move(options),
                                   std::move(host))) {}
Guard::~Guard() {
    impl_->stop();
}
void Guard::start() {
    impl_->start();
}
Quorum Guard::check() {
    return impl_->check();
}
runtime::Task<Guard::Verdict> Guard::quorum_gate(NodeName peer) {
    return impl_->quorum_gate(std::move(peer));
}
runtime::Task<Guard::Verdict> Guard::witness_gate(NodeName peer) {
    return impl_->witness_gate(std::move(peer));
}
runtime::Task<> Guard::judge(std::string event, std::set<NodeName> silent) {
    return impl_->judge(std::move(event), std::move(silent));
}
std::string Guard::refusal() {
    return impl_->refusal();
}
bool Guard::proven_dead(const NodeName& peer) const {
    return !impl_->refresh().on() || impl_->proven.contains(peer);
}
bool Guard::starts_at_comm_up() {
    return impl_->refresh().mode != Mode::none;
}
void Guard::forced(const std::string& who) {
    const auto text = fmt::format("{} starts resources although this node has no quorum", who);
    messages::warning("{}", text);
    impl_->host.journal(text);
    impl_->forced = true;
}
void Guard::leave() {
    impl_->stop();
    if (impl_->watchdog != nullptr) impl_->watchdog->disarm();
}
bool Guard::losing() const {
    return impl_->losing;
}
Status Guard::status() {
    return impl_->status();
}
Configuration Guard::configuration() {
    return impl_->refresh();
}
const Counters& Guard::counters() const {
    return impl_->counters;
}
void Guard::storage_init(const config::Command& command, std::function<void(std::string)> progress,
                         std::function<void(config::Reply)> done) {
    impl_->scope.spawn(impl_->storage_init(command, std::move(progress), std::move(done)));
}
config::Reply Guard::storage_exit() {
    return impl_->storage_exit();
}

}  // namespace understudy::quorum
