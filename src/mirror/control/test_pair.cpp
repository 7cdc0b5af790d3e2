// What surrounds the model: devices, the cluster, the hosts and their power.

#include "mirror/control/test_pair.h"

#include <algorithm>
#include <memory>

namespace understudy::mirror::control::testing_pair {

using namespace std::chrono_literals;
using runtime::Task;

Result<> ModelSnapshotTools::check_location(const std::string& directory,
                                            const std::vector<std::string>& devices) const {
    if (!directory.starts_with('/')) return fail(Code::bad_argument, "not absolute");
    for (const std::string& device : devices)
        if (directory.starts_with(device)) return fail(Code::bad_argument, "on {}", device);
    return {};
}

Task<Result<>> ModelSnapshotTools::create(std::string file, std::uint64_t) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    disk_.snapshot_files.insert(file);
    co_return Result<>{};
}

Task<> ModelSnapshotTools::remove(std::string file) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    disk_.snapshot_files.erase(file);
}

namespace {

class ModelQuiet : public Quiet {
  public:
    explicit ModelQuiet(ModelSnapshotTools& tools) : tools_(tools) { ++tools_.open_quiets; }
    ~ModelQuiet() override { --tools_.open_quiets; }
    Task<Result<>> end() override {
        if (tools_.late) co_return fail(Code::failure, "frozen for too long");
        co_return Result<>{};
    }

  private:
    ModelSnapshotTools& tools_;
};

}  // namespace

Task<Result<std::shared_ptr<Quiet>>> ModelSnapshotTools::quiesce(std::vector<QuietVolume>) {
    co_await runtime::sleep_for(world_.tasks, 5ms);
    if (!refuse.empty()) co_return fail(Code::failure, "{}", refuse);
    ++quiets;
    if (in_quiet) in_quiet();
    co_return std::shared_ptr<Quiet>(std::make_shared<ModelQuiet>(*this));
}

Result<DeviceFacts> ModelDevices::examine(const std::string& device) const {
    if (disk_.missing) return fail(Code::not_found, "cannot use {}: no such file", device);
    if (!disk_.used_by.empty()) return fail(Code::failure, "{} is in use by {}", device, disk_.used_by);
    return DeviceFacts{disk_.size, disk_.sector};
}

// --- the cluster

Task<Result<bool>> ModelNotes::post(BehindNote note, std::vector<std::string> peers) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    Result<bool> out = true;
    if (cluster_.silent.contains(node_)) {
        out = fail(Code::unreachable, "{} is silent", node_);
        co_return out;
    }
    for (const std::string& name : cluster_.members) {
        if (cluster_.dead.contains(name) || (cluster_.apart && name != node_)) {
            if (std::find(peers.begin(), peers.end(), name) != peers.end()) out = false;
            continue;
        }
        if (cluster_.silent.contains(name)) {
            out = fail(Code::unreachable, "{} is silent", name);
            co_return out;
        }
        auto& notes = cluster_.notes[name];
        std::erase_if(notes, [&](const BehindNote& one) { return one.source == note.source; });
        notes.push_back(note);
    }
    ++cluster_.posts;
    co_return out;
}

Task<Result<bool>> ModelNotes::withdraw(VolumeId, std::vector<std::string> peers) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    for (auto& [name, notes] : cluster_.notes)
        if (!cluster_.dead.contains(name) && (!cluster_.apart || name == node_)) notes.clear();
    Result<bool> out = !cluster_.apart;
    for (const std::string& peer : peers)
        if (cluster_.dead.contains(peer)) out = false;
    co_return out;
}

Task<Result<std::vector<BehindNote>>> ModelNotes::read(VolumeId) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    Result<std::vector<BehindNote>> out = cluster_.notes[node_];
    for (const auto& [name, notes] : cluster_.notes) {
        const bool reached =
            !cluster_.dead.contains(name) && !cluster_.silent.contains(name) && !cluster_.apart;
        if (reached && name != node_) out->insert(out->end(), notes.begin(), notes.end());
    }
    if (cluster_.silent.contains(node_)) out = fail(Code::unreachable, "{} is silent", node_);
    co_return out;
}

Task<bool> ModelNotes::is_dead(std::string node) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    ++cluster_.questions;
    co_return !cluster_.silent.contains(node_) &&
        (cluster_.dead.contains(node) || (cluster_.apart && node != node_));
}

Task<bool> ModelNotes::answers() {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    co_return !cluster_.silent.contains(node_);
}

// --- hosts

Task<Result<BlockRanges>> ModelFileSystems::free_blocks(Place place) {
    disk_.asked.push_back(place.exported);
    co_await runtime::sleep_for(world_.tasks, 2ms);
    if (disk_.while_asked) disk_.while_asked();
    Result<BlockRanges> out = fail(Code::failure, "no known file system");
    if (disk_.free) out = *disk_.free;
    co_await runtime::sleep_for(world_.tasks, 2ms);
    co_return out;
}

Task<Result<FileNames>> ModelFileSystems::files(Place, BlockRanges) {
    co_await runtime::sleep_for(world_.tasks, 2ms);
    Result<FileNames> out = fail(Code::failure, "no known file system");
    if (!disk_.files.empty()) {
        FileNames names;
        names.type = "ext4";
        names.names = disk_.files;
        names.found = disk_.files.size();
        out = names;
    }
    co_return out;
}

Daemon::Daemon(runtime::World world_in, Disk& disk, Wire& wire, ModelCluster& cluster,
               const std::string& node, const std::string& end, mirror::wire::Offer offer,
               const std::string& settings, EventListener on_event)
    : world(world_in),
      links(world_in, wire, node),
      devices(disk),
      notes(world_in, cluster, node),
      snapshots(world_in, disk),
      file_systems(world_in, disk),
      manager(
          world_in,
          {config::Layout{},
           node,
           kDispatchPort,
           {},
           *config::Settings::parse(settings),
           offer,
           std::move(on_event)},
          links, devices,
          [this, &disk, &wire, end](const VolumeId& volume, HostEvents& events) {
              const auto other = disk.others.find(volume.str());
              if (other != disk.others.end())
                  return std::make_unique<ModelHost>(world, *other->second, wire, end, events);
              auto made = std::make_unique<ModelHost>(world, disk, wire, end, events);
              host = made.get();
              host->seat = &host;
              return made;
          },
          &notes, &snapshots, &file_systems),
      commands(world_in, manager) {
    manager.start();
    (void)manager.listen("0.0.0.0");
}

Pair::Pair(std::uint64_t seed, std::size_t count) : sim(seed) {
    for (Host* host : {&third, &fourth, &fifth, &sixth}) {
        if (hosts.size() >= count) break;
        hosts.push_back(host);
        cluster.members.push_back(host->name);
    }
    for (Host* host : hosts)
        host->node = &sim.add_node(host->name, {host->address, host->new_address});
    for (Host* host : hosts)
        start(*host);
}

void Pair::start(Host& host) {
    host.node->boot([this, &host](runtime::World world) {
        auto daemon = std::make_shared<Daemon>(
            world, host.own_disk(), wire, cluster, host.name, host.end(), host.offer, host.settings,
            [&host](const MirrorEvent& event) { host.events.push_back(event); });
        host.daemon = daemon.get();
        if (extra) daemon->extra = extra(host, world, *daemon);
        return daemon;
    });
}

void Pair::stop(Host& host) {
    struct Waiter {
        static Task<> wait(Daemon* daemon, std::shared_ptr<bool> done) {
            co_await daemon->manager.shut_down();
            *done = true;
        }
    };
    const auto done = std::make_shared<bool>(false);
    host.daemon->tasks.spawn(Waiter::wait(host.daemon, done));
    until([&] { return *done; });
}

void Pair::kill(Host& host) {
    host.daemon = nullptr;
    host.node->kill_program();
}

void Pair::power_off(Host& host) {
    host.daemon = nullptr;
    host.disk.kept = false;
    host.disk.used_by.clear();
    host.node->power_off();
}

config::Reply Pair::run(Host& host, std::vector<std::string> words,
                        std::map<std::string, std::string> options) {
    config::Command command;
    command.name = "mirror";
    command.arguments = std::move(words);
    command.options = std::move(options);
    command.uid = 0;
    struct Waiter {
        static Task<> wait(Daemon* daemon, config::Command asked,
                           std::shared_ptr<std::optional<config::Reply>> out) {
            config::Reply reply = co_await daemon->commands.run(std::move(asked));
            *out = std::move(reply);
        }
    };
    auto reply = std::make_shared<std::optional<config::Reply>>();
    host.daemon->tasks.spawn(Waiter::wait(host.daemon, std::move(command), reply));
    if (!until([&] { return reply->has_value(); }, 120s))
        return config::failure({Code::internal, "no answer", 0});
    return **reply;
}

config::Reply Pair::create(std::map<std::string, std::string> more) {
    std::map<std::string, std::string> options = {{"device", "/disks/r"},
                                                  {"target", right.name},
                                                  {"target-device", "/disks/r"},
                                                  {"source-address", left.address},
                                                  {"target-address", right.address}};
    for (auto& [key, value] : more)
        options[key] = value;
    return run(left, {"create", "R"}, options);
}

bool Pair::write(Host& host, std::size_t block, int value, runtime::Duration limit) {
    // Outlives a write that is acknowledged late.
    static std::vector<std::unique_ptr<bool>> acknowledgements;
    acknowledgements.push_back(std::make_unique<bool>(false));
    bool* acknowledged = acknowledgements.back().get();
    host.daemon->host->write(block, value, acknowledged);
    return until([&] { return *acknowledged; }, limit);
}

const MirrorRecord& Pair::record(Host& host) {
    return host.daemon->manager.find(VolumeId("R"))->record();
}

bool Pair::until(const std::function<bool()>& condition, runtime::Duration limit) {
    return sim.run_until(
        [&] {
            if (watch) watch();
            return condition();
        },
        limit);
}

std::vector<Host*> Pair::writable() {
    std::vector<Host*> out;
    for (Host* host : hosts)
        if (host->daemon && host->daemon->host && host->daemon->host->writable()) out.push_back(host);
    return out;
}

bool Pair::in_sync() {
    for (Host* host : {&left, &right}) {
        if (!host->daemon) return false;
        const auto mirror = host->daemon->manager.find(VolumeId("R"));
        if (!mirror || mirror->record().peers.front().state != MirrorState::mirroring ||
            !host->daemon->host->linked())
            return false;
        if (!mirror->record().consistent || mirror->record().outdated) return false;
    }
    return record(left).lineage.current == record(right).lineage.current;
}

bool Pair::in_sync(Host& source, std::vector<Host*> targets) {
    const auto found = [](Host& host) {
        return host.daemon ? host.daemon->manager.find(VolumeId("R")) : nullptr;
    };
    const auto from = found(source);
    if (!from || from->record().role != Role::source) return false;
    for (Host* target : targets) {
        const auto mirror = found(*target);
        const PeerRecord* peer = from->record().peer(target->name);
        if (!mirror || !peer || mirror->record().role != Role::target) return false;
        if (peer->state != MirrorState::mirroring || !mirror->record().consistent ||
            mirror->record().outdated || mirror->record().origin != source.name)
            return false;
        if (mirror->record().lineage.current != from->record().lineage.current) return false;
    }
    return true;
}

void Pair::cut() {
    sim.partition(left.name, right.name);
    wire.cut = true;
    for (Host* host : {&left, &right})
        if (host->daemon && host->daemon->host) host->daemon->host->lose_link();
}

void Pair::reset() {
    for (Host* host : hosts)
        if (host->daemon && host->daemon->host) host->daemon->host->break_links();
    wire.sessions.clear();
}

void Pair::reset(Host& one, Host& other) {
    if (one.daemon && one.daemon->host) one.daemon->host->break_links(other.name);
    if (other.daemon && other.daemon->host) other.daemon->host->break_links(one.name);
}

void Pair::cut_off(Host& host) {
    wire.cut_off.insert(host.name);
    for (Host* other : hosts) {
        if (other == &host) continue;
        sim.partition(host.name, other->name);
        if (other->daemon && other->daemon->host) other->daemon->host->lose_link(host.name);
    }
    if (host.daemon && host.daemon->host) host.daemon->host->lose_link();
}

void Pair::heal() {
    wire.cut = false;
    wire.cut_off.clear();
    sim.heal_all();
}

}  // namespace understudy::mirror::control::testing_pair
