#include "sim/cluster_sim.h"

#include "config/tail_store.h"
#include "messages/messages.h"

#include <cassert>

namespace understudy::sim {
namespace {

constexpr std::string_view kNames[] = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"};
constexpr int kFirstPort = 1500;
constexpr int kPortsPerNetwork = 100;
constexpr int kPriorityStep = 10;
constexpr int kDiskPriority = 61;
constexpr std::string_view kSharedDevice = "/dev/shared";

std::string address(int network, std::size_t node) {
    return fmt::format("10.{}.0.{}", network, node + 1);
}

Hierarchy hierarchy_number(int number, int resources) {
    const auto tag = [&](const char* kind) { return Tag(fmt::format("{}{}", kind, number)); };
    Hierarchy made{tag("app"), tag("ip"), {tag("ip")}};
    if (resources > 2) made.members.push_back(tag("vol"));
    if (resources > 3) made.members.push_back(tag("db"));
    made.members.push_back(made.root);
    return made;
}

/// Parent and child. What is in the middle needs what is at the bottom, and the root needs that.
std::vector<std::pair<Tag, Tag>> dependencies_of(const Hierarchy& hierarchy) {
    constexpr std::size_t kAtTheBottom = 2;  // address and volume
    std::vector<std::pair<Tag, Tag>> pairs;
    const auto& all = hierarchy.members;
    const bool middle = all.size() > kAtTheBottom + 1;
    for (std::size_t i = 0; i + 1 < all.size(); ++i)
        pairs.emplace_back(middle && i < kAtTheBottom ? all[kAtTheBottom] : hierarchy.root, all[i]);
    return pairs;
}

}  // namespace

/// One life of a node's daemon.
struct SimulatedCluster::Daemon {
    Daemon(SimulatedCluster& owner, const NodeName& name, runtime::World world)
        : cluster(owner),
          member(owner.members_.at(name)),
          store(world, member.disk),
          storage(owner.storage_, name, world.tasks),
          disks(*member.host, world.tasks, {{std::string(kSharedDevice), &owner.shared_disk_}}) {
        member.daemon = this;
    }
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon() { member.daemon = nullptr; }

    SimulatedCluster& cluster;
    Member& member;
    SimulatedStore store;
    std::optional<config::TailStore> tail;
    StorageClient storage;
    runtime::SimulatedDisks disks;
    std::unique_ptr<daemons::Node> node;
};

SimulatedCluster::SimulatedCluster(runtime::Simulation& simulation, ClusterOptions options)
    : simulation_(simulation), options_(options), kits_(simulation) {
    assert(options_.nodes >= 1 && static_cast<std::size_t>(options_.nodes) <= std::size(kNames));
    messages::configure({.process = "simulation",
                         .file = "",
                         .least = options_.log ? messages::Severity::debug : messages::Severity::critical});
    if (options_.disk_path) {
        assert(options_.nodes == 2);
        const auto pair = comm::disk::Pair::of(NodeName(kNames[0]), NodeName(kNames[1]));
        shared_disk_.content().replace(0, comm::disk::kBlockBytes, comm::disk::encode_header(pair, 0));
    }
    for (int i = 0; i < options_.hierarchies; ++i) {
        hierarchies_.push_back(hierarchy_number(i, options_.resources));
        for (const auto& [parent, child] : dependencies_of(hierarchies_.back()))
            kits_.needs(parent, child);
    }
    names_ = node_names(options_.nodes);
    for (std::size_t i = 0; i < names_.size(); ++i) {
        std::vector<std::string> addresses;
        for (int network = 0; network < options_.paths; ++network)
            addresses.push_back(address(network, i));
        auto& member = members_[names_[i]];
        member.host = &simulation_.add_node(names_[i].str(), addresses);
        const config::Layout layout;
        for (const auto& directory : {layout.etc(), layout.state(), layout.run(), layout.log()})
            static_cast<void>(member.host->files().make_directories(directory));
        kits_.attach(*member.host, layout.lkroot());
        member.watchdog = std::make_unique<HostWatchdog>(
            simulation_, *member.host, [this, name = names_[i]](const std::string&) { reset(name); });
        configure_settings(names_[i], options_.settings);
        if (options_.quorum == quorum::Mode::storage) capture_storage(names_[i]);
        configure(i);
    }
}

std::vector<NodeName> node_names(int nodes) {
    return std::vector<NodeName>(std::begin(kNames), std::begin(kNames) + nodes);
}

std::string quorum_settings(quorum::Mode mode, const std::string& more) {
    const std::string quick =
        "QUORUM_QUARANTINE_SECS=20\nQUORUM_STOP_GRACE_SECS=5\nQWK_STORAGE_HBEATTIME=5\n" + more;
    switch (mode) {
        case quorum::Mode::none:
            return more;
        case quorum::Mode::majority:
            return "QUORUM_MODE=majority\nWITNESS_MODE=remote_verify\n" + quick;
        case quorum::Mode::storage:
            return "QUORUM_MODE=storage\nWITNESS_MODE=storage\n" + quick;
    }
    return {};
}

void SimulatedCluster::configure_settings(const NodeName& name, const std::string& text) {
    static_cast<void>(host(name).files().make_directories("/etc/default"));
    static_cast<void>(host(name).files().write_atomic(config::Layout{}.settings(), text));
}

/// As qwk_storage_init leaves it.
void SimulatedCluster::capture_storage(const NodeName& name) {
    quorum::StorageConfiguration captured;
    captured.self = name;
    captured.hbeattime_s = 5;
    for (const auto& node : names_)
        captured.objects[node] = {"/qwk/" + node.str()};
    static_cast<void>(
        host(name).files().write_atomic(config::Layout{}.state() + "/qwk.conf", quorum::encode(captured)));
}

void SimulatedCluster::reset(const NodeName& name) {
    host(name).power_off();
    simulation_.after(options_.boot_takes, [this, name] { power_on(name); });
}

void SimulatedCluster::quarantine(const NodeName& name, runtime::Duration time) {
    ++members_.at(name).quarantines;
    simulation_.note(name.str(), "QUARANTINE");
    const auto boot = host(name).boots();
    host(name).kill_program();
    simulation_.after(time, [this, name, boot] {
        if (host(name).powered() && host(name).boots() == boot) power_on(name);
    });
}

SimulatedCluster::~SimulatedCluster() {
    simulation_.after_each_event(nullptr);
    for (auto& [name, member] : members_)
        member.host->power_off();
}

void SimulatedCluster::add_paths(std::size_t index, config::NodeConfig& config) const {
    int pair = 0;
    for (std::size_t i = 0; i < names_.size(); ++i)
        for (std::size_t j = i + 1; j < names_.size(); ++j, ++pair) {
            if (i != index && j != index) continue;
            const auto other = i == index ? j : i;
            for (int network = 0; network < options_.paths; ++network) {
                config::Path path;
                path.remote = names_[other];
                path.device = fmt::format("TCP:{}", kFirstPort + network * kPortsPerNetwork + pair);
                path.transport = "TLI";
                path.priority = network + 1;
                path.interval_ms = static_cast<int>(options_.interval.count());
                path.misses = options_.misses;
                path.local_address = address(network, index);
                path.remote_address = address(network, other);
                config.paths.push_back(path);
            }
            if (!options_.disk_path) continue;
            config::Path path;
            path.remote = names_[other];
            path.device = fmt::format("DISK:{}", kSharedDevice);
            path.transport = "DISK";
            path.priority = kDiskPriority;
            path.interval_ms = static_cast<int>(options_.interval.count());
            path.misses = options_.misses;
            config.paths.push_back(path);
        }
}

void SimulatedCluster::configure(std::size_t index) {
    auto& config = members_.at(names_[index]).disk.own;
    config.generation = 1;
    config.systems.insert(names_.begin(), names_.end());
    if (options_.shutdown_switchover) config.flags.insert(FlagName(recovery::kShutdownSwitchoverFlag));
    std::uint64_t order = 0;
    const auto priority = [&](std::size_t node, std::size_t hierarchy) {
        const auto rank = (node + names_.size() - hierarchy % names_.size()) % names_.size();
        return Priority{1 + kPriorityStep * static_cast<int>(rank)};
    };
    const auto add_instance = [&](std::size_t hierarchy, const Tag& tag, const char* app, const char* type) {
        config.apps.insert(AppName(app));
        config.types.insert({AppName(app), TypeName(type)});
        config::Instance instance;
        instance.app = AppName(app);
        instance.type = TypeName(type);
        instance.tag = tag;
        instance.id = ResourceId("id-" + tag.str());
        instance.switchback = options_.switchback;
        instance.quick_interval_s = static_cast<int>(options_.check_interval.count());
        instance.deep_interval_s = 3 * instance.quick_interval_s;
        instance.local_recovery = options_.local_recovery;
        instance.order = ++order;
        config.instances[tag] = instance;
        for (std::size_t other = 0; other < names_.size(); ++other)
            if (other != index)
                config.equivalencies.push_back({tag, names_[other], tag, priority(index, hierarchy),
                                                priority(other, hierarchy), ++order});
    };
    for (std::size_t i = 0; i < hierarchies_.size(); ++i) {
        for (const auto& tag : hierarchies_[i].members) {
            const bool address = tag == hierarchies_[i].child;
            add_instance(i, tag, address ? "comm" : "gen", address ? "ip" : "app");
        }
        for (const auto& [parent, child] : dependencies_of(hierarchies_[i]))
            config.dependencies.push_back({parent, child, ++order});
    }
    add_paths(index, config);
    config.reindex();
}

runtime::SimulatedNode& SimulatedCluster::host(const NodeName& name) {
    return *members_.at(name).host;
}

StoreDisk& SimulatedCluster::disk(const NodeName& name) {
    return members_.at(name).disk;
}

void SimulatedCluster::fill_disk(const NodeName& name, bool full, bool run_too) {
    disk(name).full = full;
    host(name).set_disk_full(full);
    host(name).set_run_full(full && run_too);
    members_.at(name).tail.full = full && run_too;
}

bool SimulatedCluster::forgets_when_killed(const NodeName& name) {
    auto* node = daemon(name);
    return node != nullptr && !node->database().outlives_kill();
}

void SimulatedCluster::power_on(const NodeName& name) {
    auto& member = members_.at(name);
    if (member.host->running() || member.kept_off) return;
    member.host->boot([this, name](runtime::World world) {
        auto daemon = std::make_unique<Daemon>(*this, name, world);
        auto& here = members_.at(name);
        daemons::NodeOptions options;
        options.self = name;
        options.quorum_storage = &daemon->storage;
        options.watchdog = options_.watchdog ? here.watchdog.get() : nullptr;
        options.shared_disks = &daemon->disks;
        options.protocol = here.protocol;
        options.host_rebooted = std::exchange(here.boot, here.host->boots()) != here.host->boots();
        if (options.host_rebooted) here.tail.bytes.reset();
        daemon->tail.emplace(
            daemon->store,
            std::make_unique<runtime::SimulatedReservedFile>(here.tail, config::Layout{}.database_tail()),
            !options.host_rebooted, options_.reserved_tail);
        auto opened = daemons::Node::open(world, *daemon->tail, std::move(options));
        if (!opened) {
            simulation_.note(name.str(), "cannot open its node: " + opened.error().text);
            return daemon;
        }
        daemon->node = std::move(*opened);
        // What came with later releases.
        if (here.protocol.features == 0)
            daemon->node->cluster().serve("recovery.abandon", [](const NodeName&, std::string_view,
                                                                 const comm::Cluster::Answer& answer) {
                answer(fail(Code::not_found, "an earlier release does not support it"));
            });
        daemon->node->on_stopped([this, name] { host(name).kill_program(); });
        daemon->node->on_quarantine([this, name](runtime::Duration time) { quarantine(name, time); });
        daemon->node->database().subscribe(
            [this, name](const config::Change& change) { note_change(name, change); });
        daemon->node->cluster().on_peer_event([this, name](const comm::PeerEvent& event) {
            using Kind = comm::PeerEvent::Kind;
            if (event.kind == Kind::comm_up || event.kind == Kind::comm_down)
                simulation_.note(name.str(),
                                 fmt::format("{} {}", event.kind == Kind::comm_up ? "COMM_UP" : "COMM_DOWN",
                                             event.peer.str()));
            if (peer_observer_) peer_observer_(name, event);
        });
        if (daemon_observer_) daemon_observer_(name);
        daemon->node->start();
        return daemon;
    });
}

void SimulatedCluster::keep_off(const NodeName& name) {
    members_.at(name).kept_off = true;
    host(name).power_off();
}

void SimulatedCluster::power_on_all() {
    for (const auto& name : names_)
        power_on(name);
}

void SimulatedCluster::resume_all() {
    for (const auto& name : names_) {
        host(name).resume();
        power_on(name);
    }
}

void SimulatedCluster::note_change(const NodeName& name, const config::Change& change) {
    if (change.owner != name) return;
    for (const auto& edit : change.edits)
        if (const auto* put = std::get_if<config::PutInstance>(&edit))
            simulation_.note(name.str(),
                             fmt::format("records {} {} ({})", put->instance.tag.str(),
                                         config::to_string(put->instance.state), put->instance.reason));
}

daemons::Node* SimulatedCluster::daemon(const NodeName& name) {
    auto& member = members_.at(name);
    return member.host->running() && member.daemon != nullptr ? member.daemon->node.get() : nullptr;
}

std::optional<config::Reply> SimulatedCluster::run(const NodeName& name, const config::Command& command,
                                                   runtime::Duration limit) {
    auto* node = daemon(name);
    if (node == nullptr) return std::nullopt;
    auto reply = std::make_shared<std::optional<config::Reply>>();
    members_.at(name).host->call(
        [&] { node->run(command, [reply](const config::Reply& answer) { *reply = answer; }); });
    simulation_.run_until([&] { return reply->has_value() || daemon(name) != node; }, limit);
    return *reply;
}

void SimulatedCluster::start(const NodeName& name, const config::Command& command) {
    if (auto* node = daemon(name))
        members_.at(name).host->call([&] { node->run(command, [](const config::Reply&) {}); });
}

config::Command SimulatedCluster::switchover(const Tag& tag, const NodeName& to) {
    config::Command command;
    command.name = "understudy switchover";
    command.arguments = {tag.str()};
    command.options["to"] = to.str();
    return command;
}

config::Command SimulatedCluster::system_failover(const NodeName& from, const NodeName& to, bool on) {
    config::Command command;
    command.name = "understudy policy set";
    command.arguments = {from.str()};
    command.options = {{"to", to.str()}, {"system-failover", on ? "on" : "off"}};
    return command;
}

void SimulatedCluster::enable_failover() {
    for (const auto& name : names_)
        if (auto* node = daemon(name))
            for (const auto& from : names_)
                for (const auto& to : names_)
                    if (const auto flag = recovery::no_system_failover_flag(from, to);
                        node->database().has_flag(flag))
                        node->database().set_flag(flag, false);
}

config::Command SimulatedCluster::perform_action(const Tag& tag, const std::string& action) {
    config::Command command;
    command.name = "perform_action";
    command.options = {{"t", tag.str()}, {"a", action}};
    return command;
}

std::optional<config::State> SimulatedCluster::state(const NodeName& name, const Tag& tag) {
    auto* node = daemon(name);
    if (node == nullptr) return std::nullopt;
    const auto* instance = node->database().own().find(tag);
    return instance == nullptr ? std::nullopt : std::optional(instance->state);
}

bool SimulatedCluster::separated(const NodeName& a, const NodeName& b) {
    if (options_.disk_path && shared_disk_.reached(a.str()) && shared_disk_.reached(b.str())) return false;
    const auto& ours = host(a).addresses();
    const auto& theirs = host(b).addresses();
    for (std::size_t i = 0; i < ours.size(); ++i)
        if (!simulation_.is_cut_one_way(ours[i], theirs[i]) &&
            !simulation_.is_cut_one_way(theirs[i], ours[i]))
            return false;
    return true;
}

bool SimulatedCluster::in_service(const Hierarchy& hierarchy) {
    const auto running = kits_.hosts_running(hierarchy.root);
    if (running.size() != 1) return false;
    for (const auto& tag : hierarchy.members)
        if (kits_.hosts_running(tag) != running) return false;
    for (const auto& name : names_) {
        const bool here = name == running.front();
        for (const auto& tag : hierarchy.members) {
            const auto recorded = state(name, tag);
            if (!recorded && !here) continue;
            if ((recorded == config::State::isp) != here) return false;
        }
    }
    return true;
}

bool SimulatedCluster::all_in_service() {
    return std::all_of(hierarchies_.begin(), hierarchies_.end(),
                       [this](const Hierarchy& hierarchy) { return in_service(hierarchy); });
}

bool SimulatedCluster::wait_in_service(runtime::Duration limit) {
    return simulation_.run_until([this] { return all_in_service(); }, limit);
}

}  // namespace understudy::sim
