#include "mirror/control/test_pair.h"

#include <memory>

namespace understudy::mirror::control::testing_pair {

using namespace std::chrono_literals;
using runtime::Task;

namespace {

std::string key_of(const SessionId& session) {
    return {reinterpret_cast<const char*>(session.data()), session.size()};
}

}  // namespace

// --- links

Result<std::uint16_t> ModelLinks::expect(const VolumeId& volume, const std::string&, const SessionId& session,
                                         const SessionKey&, std::function<void(LinkResult)> done) {
    forget(volume);
    mine_ = key_of(session);
    wire_.expected[mine_] = {wire_.next++, std::move(done)};
    return std::uint16_t{10000};
}

void ModelLinks::forget(const VolumeId&) {
    wire_.expected.erase(mine_);
    mine_.clear();
}

Task<LinkResult> ModelLinks::connect(runtime::Endpoint, std::string, SessionId session, SessionKey) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    const auto at = wire_.expected.find(key_of(session));
    if (at == wire_.expected.end() || wire_.cut) {
        LinkResult refused = fail(Code::unreachable, "nobody listens");
        co_return refused;
    }
    const auto [number, done] = at->second;
    wire_.expected.erase(at);
    done(std::make_shared<LinkPair>(number, 0));
    LinkResult made = std::make_shared<LinkPair>(number, 0);
    co_return made;
}

// --- volume

ModelHost::~ModelHost() {
    for (auto& [number, session] : wire_.sessions) {
        if (session.source != this && session.target != this) continue;
        ModelHost* other = session.source == this ? session.target : session.source;
        session.source = session.target = nullptr;
        if (!other || wire_.silent) continue;
        std::weak_ptr<int> weak = other->alive_;
        other->world_.tasks.after(50ms, [other, weak, number = number] {
            if (weak.lock() && other->session_ == number) other->lose_link();
        });
    }
}

Task<Result<VolumeStatus>> ModelHost::open(VolumeOptions options, std::uint64_t) {
    parameters_ = options.parameters;
    co_await runtime::sleep_for(world_.tasks, 1ms);
    Result<VolumeStatus> out = fail(Code::not_found, "no device");
    if (!disk_.missing) {
        created_ = !disk_.log_exists || disk_.log_lost || !world_.files.exists(options.log_path);
        (void)world_.files.write_atomic(options.log_path, "bits");
        if (created_) disk_.dirty.clear();
        disk_.log_exists = true;
        disk_.log_lost = false;
        out = now();
    }
    co_return out;
}

VolumeStatus ModelHost::now() const {
    VolumeStatus out;
    out.role = role_;
    out.state = state_;
    out.type = type_;
    out.linked = session_ != 0;
    out.suspended = suspended_;
    out.resumable = resumable_;
    out.log_created = created_;
    out.size = disk_.size;
    out.sector_size = disk_.sector;
    out.dirty_blocks = disk_.dirty.size();
    if (snapshot_) out.snapshot = snapshot_->begun ? SnapshotState::active : SnapshotState::prepared;
    return out;
}

Task<VolumeStatus> ModelHost::status() {
    co_await runtime::sleep_for(world_.tasks, 10us);
    co_return now();
}

void ModelHost::become_source(MirrorState state, PauseCause, bool mark_all_dirty) {
    role_ = Role::source;
    state_ = state;
    quiesced_ = false;
    if (mark_all_dirty)
        for (std::size_t block = 0; block < kBlocks; ++block)
            disk_.dirty.insert(block);
}

void ModelHost::become_target() {
    role_ = Role::target;
    state_ = MirrorState::paused;
}

Task<Result<>> ModelHost::drain() {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    co_return Result<>{};
}

Task<Result<>> ModelHost::quiesce() {
    quiesced_ = true;
    co_await runtime::sleep_for(world_.tasks, 1ms);
    co_return Result<>{};
}

Task<Result<>> ModelHost::pause() {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    const MirrorState from = state_;
    state_ = MirrorState::paused;
    events_.state_changed(from, state_, PauseCause::user);
    co_return Result<>{};
}

void ModelHost::break_mirror() {
    for (std::size_t block = 0; block < kBlocks; ++block)
        disk_.dirty.insert(block);
    const MirrorState from = std::exchange(state_, MirrorState::broken);
    events_.state_changed(from, state_, PauseCause::user);
}

Task<Result<CompareReport>> ModelHost::compare(CompareOptions options) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    const auto at = wire_.sessions.find(session_);
    if (at == wire_.sessions.end() || !at->second.in_sync || !at->second.target) {
        Result<CompareReport> refused =
            fail(Code::failure, "both ends can be compared only while they mirror");
        co_return refused;
    }
    CompareReport report;
    report.total_bytes = report.compared_bytes = disk_.size;
    for (std::size_t block = 0; block < kBlocks; ++block) {
        int& there = at->second.target->disk_.blocks[block];
        if (there == disk_.blocks[block]) continue;
        ++report.different_blocks;
        report.offsets.push_back(block * 65536);
        if (options.repair) there = disk_.blocks[block];
    }
    Result<CompareReport> out = report;
    co_return out;
}

void ModelHost::attach(int data, int, LinkTerms terms) {
    session_ = data;
    Wire::Session& session = wire_.sessions[data];
    (role_ == Role::source ? session.source : session.target) = this;
    session.kind = terms.kind;
    session.features = terms.features;
    if (!session.source || !session.target) return;
    if (terms.resume) {
        session.in_sync = true;
        session.target->resumable_ = false;
        session.source->suspended_ = false;
        for (const Waiting& write : std::exchange(session.source->unacknowledged_, {}))
            session.source->apply(write);
        return;
    }
    ModelHost* source = session.source;
    source->state_ = session.target->state_ = MirrorState::resync;
    if (terms.kind == ResyncKind::full)
        for (std::size_t block = 0; block < kBlocks; ++block)
            source->disk_.dirty.insert(block);
    source->disk_.dirty.insert(session.target->disk_.dirty.begin(), session.target->disk_.dirty.end());
    std::weak_ptr<int> weak = source->alive_;
    source->world_.tasks.after(wire_.resync_takes, [source, data, weak] {
        if (weak.lock() && source->session_ == data) source->synchronise(data);
    });
}

void ModelHost::synchronise(int number) {
    Wire::Session& session = wire_.sessions[number];
    ModelHost* target = session.target;
    if (!target || wire_.cut) return;
    for (const std::size_t block : disk_.dirty) {
        target->disk_.blocks[block] = disk_.blocks[block];
        ++wire_.blocks_sent;
    }
    disk_.dirty.clear();
    target->disk_.dirty.clear();
    session.in_sync = true;
    state_ = target->state_ = MirrorState::mirroring;
    target->events_.state_changed(MirrorState::resync, MirrorState::mirroring, PauseCause::none);
    target->events_.in_sync();
    events_.state_changed(MirrorState::resync, MirrorState::mirroring, PauseCause::none);
    events_.in_sync();
}

void ModelHost::break_links() {
    const int number = std::exchange(session_, 0);
    if (number == 0) return;
    const Wire::Session session = wire_.sessions[number];
    const bool resends = session.in_sync && (session.features & mirror::wire::kFeatureResend) != 0;
    if (role_ == Role::target) {
        resumable_ = resends;
        return events_.link_lost("reset");
    }
    if (!resends) {
        session_ = number;
        return lose_link();
    }
    suspended_ = true;
    events_.link_interrupted("reset");
    std::weak_ptr<int> weak = alive_;
    world_.tasks.after(30s, [this, weak] {
        if (weak.lock()) give_up_links("no answer for 30 s");
    });
}

void ModelHost::give_up_links(std::string) {
    if (!std::exchange(suspended_, false)) return;
    for (const Waiting& write : std::exchange(unacknowledged_, {})) {
        disk_.dirty.insert(write.block);
        stalled_.push_back(write.acknowledged);
    }
    session_ = -1;
    lose_link();
}

void ModelHost::detach() {
    for (const Waiting& write : std::exchange(unacknowledged_, {}))
        stalled_.push_back(write.acknowledged);
    suspended_ = false;
    const int number = std::exchange(session_, 0);
    const MirrorState from = state_;
    if (state_ == MirrorState::mirroring || state_ == MirrorState::resync) state_ = MirrorState::paused;
    if (role_ == Role::source && from == MirrorState::mirroring && !quiesced_) {
        events_.state_changed(from, state_, PauseCause::link_lost);
        degrade();
    }
    const auto at = wire_.sessions.find(number);
    if (at == wire_.sessions.end()) return;
    ModelHost* other = at->second.source == this ? at->second.target : at->second.source;
    wire_.sessions.erase(at);
    if (!other) return;
    std::weak_ptr<int> weak = other->alive_;
    other->world_.tasks.after(1ms, [other, weak, number] {
        if (weak.lock() && other->session_ == number) other->lose_link();
    });
}

void ModelHost::lose_link() {
    const int number = std::exchange(session_, 0);
    if (number == 0) return;
    wire_.sessions.erase(number);
    const MirrorState from = state_;
    if (role_ == Role::target) return events_.link_lost("cut");
    state_ = MirrorState::paused;
    if (gate_ == GateMode::open) gate_ = GateMode::hold_writes;
    events_.state_changed(from, state_, PauseCause::link_lost);
    if (from == MirrorState::mirroring && !quiesced_) degrade();
    events_.link_lost("cut");
}

/// Writes that wait for the target are completed when the controller says so.
void ModelHost::degrade() {
    std::weak_ptr<int> weak = alive_;
    events_.degraded([this, weak](bool recorded) {
        if (!weak.lock()) return;
        for (bool* acknowledged : std::exchange(stalled_, {}))
            *acknowledged = recorded;
    });
}

// --- requests

void ModelHost::set_gate(GateMode mode) {
    gate_ = mode;
    asked_ = false;
    std::vector<Waiting> again;
    again.swap(waiting_);
    for (const Waiting& one : again)
        write(one.block, one.value, one.acknowledged);
}

void ModelHost::write(std::size_t block, int value, bool* acknowledged) {
    if (gate_ == GateMode::open) return apply({block, value, acknowledged});
    if (gate_ == GateMode::refuse_writes) return;  // an I/O error
    waiting_.push_back({block, value, acknowledged});
    if (gate_ == GateMode::first_write && !std::exchange(asked_, true)) events_.first_write();
}

void ModelHost::apply(const Waiting& write) {
    if (role_ != Role::source || quiesced_) return;  // an I/O error
    disk_.blocks[write.block] = write.value;
    if (suspended_) {
        disk_.dirty.insert(write.block);
        return unacknowledged_.push_back(write);
    }
    const auto at = wire_.sessions.find(session_);
    if (at != wire_.sessions.end() && at->second.in_sync) {
        // Synchronous: not acknowledged while the target does not answer.
        disk_.dirty.insert(write.block);
        if (wire_.cut || !at->second.target) return stalled_.push_back(write.acknowledged);
        at->second.target->disk_.blocks[write.block] = write.value;
        disk_.dirty.erase(write.block);
    } else {
        disk_.dirty.insert(write.block);
    }
    *write.acknowledged = true;
}

// --- export

Task<Result<std::string>> ModelHost::start_export(ExportKind) {
    co_await runtime::sleep_for(world_.tasks, 2ms);
    exported_ = true;
    disk_.kept = true;
    co_return Result<std::string>("/dev/understudy/R");
}

Task<Result<>> ModelHost::stop_export(bool forced) {
    co_await runtime::sleep_for(world_.tasks, 2ms);
    Result<> out;
    if (!forced && !disk_.used_by.empty()) {
        out = fail(Code::failure, "/dev/understudy/R is in use by {}", disk_.used_by);
    } else {
        exported_ = false;
        disk_.kept = false;
        waiting_.clear();
    }
    co_return out;
}

Task<BlockRanges> ModelHost::dirty_ranges() {
    co_await runtime::sleep_for(world_.tasks, 10us);
    BlockRanges out;
    for (const std::size_t block : disk_.dirty) {
        if (!out.empty() && out.back().first + out.back().count == block)
            ++out.back().count;
        else
            out.push_back({block, 1});
    }
    co_return out;
}

// --- snapshots

/// The marker is queued in the order of the calls; its confirmation takes a while.
Task<Result<>> ModelHost::mark_snapshot(std::uint64_t number) {
    Result<> marked;
    const auto at = wire_.sessions.find(session_);
    if (at == wire_.sessions.end() || !at->second.in_sync || !at->second.target || wire_.cut) {
        marked = fail(Code::failure, "not mirroring");
    } else if (auto& there = *at->second.target; there.snapshot_ && there.snapshot_->number == number) {
        there.snapshot_->begun = true;
        there.snapshot_->blocks = there.disk_.blocks;
    } else {
        marked = fail(Code::failure, "the target did not begin its snapshot");
    }
    co_await runtime::sleep_for(world_.tasks, 1ms);
    co_return marked;
}

Task<Result<>> ModelHost::prepare_snapshot(SnapshotPlan plan) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    if (snapshot_) co_return fail(Code::exists, "there is one");
    if (!disk_.snapshot_files.contains(plan.file)) co_return fail(Code::not_found, "no file {}", plan.file);
    snapshot_ = Snapshot{plan.number, false, false, {}};
    snapshot_problem_.clear();
    co_return Result<>{};
}

Task<Result<std::string>> ModelHost::export_snapshot() {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    snapshot_->exported = true;
    co_return Result<std::string>("/dev/understudy/R.snapshot");
}

Task<Result<>> ModelHost::drop_snapshot(bool forced) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    if (!forced && !disk_.snapshot_used_by.empty())
        co_return fail(Code::has_dependents, "in use by {}", disk_.snapshot_used_by);
    snapshot_.reset();
    co_return Result<>{};
}

void ModelHost::fail_snapshot() {
    snapshot_problem_ = "No space left on device";
    events_.snapshot_failed(snapshot_problem_);
}

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

Task<> ModelHost::shutdown() {
    co_await runtime::sleep_for(world_.tasks, 2ms);
    quiesced_ = true;
    detach();
}

Result<DeviceFacts> ModelDevices::examine(const std::string& device) const {
    if (disk_.missing) return fail(Code::not_found, "cannot use {}: no such file", device);
    if (!disk_.used_by.empty()) return fail(Code::failure, "{} is in use by {}", device, disk_.used_by);
    return DeviceFacts{disk_.size, disk_.sector};
}

// --- the cluster

Task<Result<bool>> ModelNotes::post(BehindNote note, std::string peer) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    Result<bool> out = true;
    for (const std::string name : {"left", "right"}) {
        if (cluster_.dead.contains(name) || (cluster_.apart && name != node_)) {
            if (name == peer) out = false;
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

Task<Result<bool>> ModelNotes::withdraw(VolumeId, std::string peer) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    for (auto& [name, notes] : cluster_.notes)
        if (!cluster_.dead.contains(name) && (!cluster_.apart || name == node_)) notes.clear();
    Result<bool> out = !cluster_.dead.contains(peer) && !cluster_.apart;
    co_return out;
}

Task<Result<std::vector<BehindNote>>> ModelNotes::read(VolumeId) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    Result<std::vector<BehindNote>> out = cluster_.notes[node_];
    if (cluster_.silent.contains(node_)) out = fail(Code::unreachable, "{} is silent", node_);
    co_return out;
}

Task<bool> ModelNotes::is_dead(std::string node) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    ++cluster_.questions;
    co_return !cluster_.silent.contains(node_) &&
        (cluster_.dead.contains(node) || (cluster_.apart && node != node_));
}

// --- hosts

Daemon::Daemon(runtime::World world_in, Disk& disk, Wire& wire, ModelCluster& cluster,
               const std::string& node, const std::string& address, mirror::wire::Offer offer,
               const std::string& settings)
    : world(world_in),
      links(world_in, wire),
      devices(disk),
      notes(world_in, cluster, node),
      snapshots(world_in, disk),
      manager(
          world_in, {config::Layout{}, node, kDispatchPort, {}, *config::Settings::parse(settings), offer},
          links, devices,
          [this, &disk, &wire](const VolumeId&, HostEvents& events) {
              auto made = std::make_unique<ModelHost>(world, disk, wire, events);
              host = made.get();
              return made;
          },
          &notes, &snapshots),
      commands(world_in, manager) {
    manager.start();
    (void)manager.listen(address);
}

Pair::Pair(std::uint64_t seed) : sim(seed) {
    left.node = &sim.add_node(left.name, {left.address});
    right.node = &sim.add_node(right.name, {right.address});
    start(left);
    start(right);
}

void Pair::start(Host& host) {
    host.node->boot([this, &host](runtime::World world) {
        auto daemon = std::make_shared<Daemon>(world, host.disk, wire, cluster, host.name, host.address,
                                               host.offer, host.settings);
        host.daemon = daemon.get();
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
    return sim.run_until(condition, limit);
}

bool Pair::in_sync() {
    for (Host* host : {&left, &right}) {
        if (!host->daemon) return false;
        const auto mirror = host->daemon->manager.find(VolumeId("R"));
        if (!mirror || mirror->record().state != MirrorState::mirroring || !host->daemon->host->linked())
            return false;
        if (!mirror->record().consistent || mirror->record().outdated) return false;
    }
    return record(left).generations.current == record(right).generations.current;
}

void Pair::cut() {
    sim.partition(left.name, right.name);
    wire.cut = true;
    for (Host* host : {&left, &right})
        if (host->daemon && host->daemon->host) host->daemon->host->lose_link();
}

void Pair::reset() {
    for (Host* host : {&left, &right})
        if (host->daemon && host->daemon->host) host->daemon->host->break_links();
    wire.sessions.clear();
}

void Pair::heal() {
    wire.cut = false;
    sim.heal_all();
}

}  // namespace understudy::mirror::control::testing_pair
