#include "mirror/control/test_pair.h"

#include "mirror/log/log_region.h"

#include <algorithm>
#include <memory>

namespace understudy::mirror::control::testing_pair {

using namespace std::chrono_literals;
using runtime::Task;

namespace {

constexpr char kLogMark = 'L';

std::string key_of(const SessionId& session) {
    return {reinterpret_cast<const char*>(session.data()), session.size()};
}

}  // namespace

// --- links

Result<std::uint16_t> ModelLinks::expect(const VolumeId& volume, const std::string&, const SessionId& session,
                                         const SessionKey&, std::function<void(LinkResult)> done) {
    forget(volume);
    mine_ = key_of(session);
    wire_.expected[mine_] = {wire_.next++, node_, std::move(done)};
    return std::uint16_t{10000};
}

void ModelLinks::forget(const VolumeId&) {
    wire_.expected.erase(mine_);
    mine_.clear();
}

Task<LinkResult> ModelLinks::connect(runtime::Endpoint, std::string, SessionId session, SessionKey) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    const auto at = wire_.expected.find(key_of(session));
    if (at == wire_.expected.end() || wire_.parted(node_, at->second.node)) {
        LinkResult refused = fail(Code::unreachable, "nobody listens");
        co_return refused;
    }
    const Wire::Expected expected = at->second;
    wire_.expected.erase(at);
    expected.done(std::make_shared<LinkPair>(expected.number, 0));
    LinkResult made = std::make_shared<LinkPair>(expected.number, 0);
    co_return made;
}

// --- volume

ModelHost::~ModelHost() {
    disk_.opened.erase(this);
    if (seat != nullptr && *seat == this) *seat = nullptr;
    for (auto& [number, session] : wire_.sessions) {
        if (session.source != this && session.target != this) continue;
        ModelHost* other = session.source == this ? session.target : session.source;
        session.source = session.target = nullptr;
        if (!other || wire_.silent) continue;
        std::weak_ptr<int> weak = other->alive_;
        other->world_.tasks.after(50ms, [other, weak, number = number, peer = node_] {
            if (weak.lock() && other->legs_.contains(peer) && other->legs_.at(peer).session == number)
                other->lose_link(peer);
        });
    }
}

Task<Result<std::uint64_t>> ModelHost::open(VolumeId, std::string, std::uint64_t size) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    exported_bytes_ = std::min(size, disk_.size);
    Result<std::uint64_t> out = fail(Code::not_found, "no device");
    if (!disk_.missing) out = disk_.size;
    if (std::exchange(disk_.log_lost, false)) disk_.dirty.clear();
    co_return out;
}

Task<Result<VolumeStatus>> ModelHost::add(std::string peer, VolumeOptions options) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    Leg& leg = legs_[peer];
    leg.parameters = options.parameters;
    leg.type = options.type;
    const std::size_t blocks = (options.size + 65535) / 65536;
    if (options.log_in_memory) {
        leg.log_failed = true;
        disk_.dirty[peer].clear();
        disk_.blocks.resize(blocks, node_ == "left" ? -1 : -2);
        Result<VolumeStatus> out = now(peer);
        co_return out;
    }
    if (blocks > disk_.most_log_blocks) {
        legs_.erase(peer);
        if (disk_.no_room) disk_.no_room();
        Result<VolumeStatus> refused = fail(Code::failure, "no space left on device");
        co_return refused;
    }
    if (const auto region = parse_region(options.log_path); region && disk_.log_area) {
        leg.region = region->offset;
        const std::string bits = disk_.log_area->substr(region->offset, 1 + blocks);
        leg.created = bits.front() != kLogMark;
        auto& stored = disk_.dirty[peer];
        stored.clear();
        for (std::size_t block = 0; !leg.created && block < blocks; ++block)
            if (bits[1 + block] != '\0') stored.insert(block);
        store_logs();
        Result<VolumeStatus> out = now(peer);
        co_return out;
    }
    leg.created = !disk_.dirty.contains(peer) || !world_.files.exists(options.log_path);
    (void)world_.files.write_atomic(options.log_path, "bits");
    auto& dirty = disk_.dirty[peer];
    if (leg.created) dirty.clear();
    std::size_t& former = disk_.log_blocks[peer];
    if (leg.created) former = blocks;
    for (std::size_t block = former; block < blocks; ++block)
        dirty.insert(block);
    dirty.erase(dirty.lower_bound(blocks), dirty.end());
    former = blocks;
    // What a device has grown by is whatever was there before.
    disk_.blocks.resize(blocks, node_ == "left" ? -1 : -2);
    Result<VolumeStatus> out = now(peer);
    co_return out;
}

void ModelHost::store_logs() {
    for (const auto& [peer, leg] : legs_) {
        if (!leg.region || disk_.log_area == nullptr) continue;
        std::string bits(1 + disk_.blocks.size(), '\0');
        bits.front() = kLogMark;
        for (const std::size_t block : disk_.dirty.at(peer))
            bits.at(1 + block) = 1;
        disk_.log_area->replace(*leg.region, bits.size(), bits);
    }
}

Task<Result<std::uint64_t>> ModelHost::device_size() {
    co_await runtime::sleep_for(world_.tasks, 10us);
    Result<std::uint64_t> out = disk_.size;
    co_return out;
}

Task<Result<>> ModelHost::resize(std::uint64_t size) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    exported_bytes_ = size;
    co_return Result<>{};
}

Task<> ModelHost::remove(std::string peer) {
    detach(peer);
    legs_.erase(peer);
    co_await runtime::sleep_for(world_.tasks, 1ms);
}

bool ModelHost::linked() const {
    return std::any_of(legs_.begin(), legs_.end(), [](const auto& leg) { return leg.second.session != 0; });
}

bool ModelHost::source() const {
    return std::any_of(legs_.begin(), legs_.end(),
                       [](const auto& leg) { return leg.second.role == Role::source; });
}

VolumeStatus ModelHost::now(const std::string& peer) const {
    VolumeStatus out;
    const auto at = legs_.find(peer);
    if (at == legs_.end()) return out;
    const Leg& leg = at->second;
    out.role = leg.role;
    out.state = leg.state;
    out.type = leg.type;
    out.linked = leg.session != 0;
    out.suspended = leg.suspended;
    out.resumable = leg.resumable;
    out.log_created = leg.created;
    out.log_valid = !leg.log_failed;
    out.size = disk_.size;
    out.sector_size = disk_.sector;
    out.dirty_blocks = disk_.dirty.at(peer).size();
    out.writes = writes_;
    if (snapshot_) out.snapshot = snapshot_->begun ? SnapshotState::active : SnapshotState::prepared;
    return out;
}

Task<VolumeStatus> ModelHost::status(std::string peer) {
    co_await runtime::sleep_for(world_.tasks, 10us);
    co_return now(peer);
}

void ModelHost::become_source(const std::string& peer, MirrorState state, PauseCause, bool mark_all_dirty) {
    Leg& leg = legs_.at(peer);
    leg.written.reset();
    leg.unused.reset();
    leg.role = Role::source;
    leg.state = state;
    quiesced_ = false;
    if (mark_all_dirty)
        for (std::size_t block = 0; block < disk_.blocks.size(); ++block)
            disk_.dirty[peer].insert(block);
}

void ModelHost::become_target(const std::string& peer) {
    legs_.at(peer).role = Role::target;
    legs_.at(peer).written.reset();
    legs_.at(peer).unused.reset();
    legs_.at(peer).state = MirrorState::paused;
    legs_.at(peer).recent.reset();
}

Task<Result<>> ModelHost::drain(std::string) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    co_return Result<>{};
}

Task<Result<>> ModelHost::quiesce() {
    quiesced_ = true;
    co_await runtime::sleep_for(world_.tasks, 1ms);
    co_return Result<>{};
}

Task<Result<>> ModelHost::pause(std::string peer) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    Leg& leg = legs_.at(peer);
    const MirrorState from = std::exchange(leg.state, MirrorState::paused);
    if (gate_ == GateMode::open) gate_ = GateMode::hold_writes;
    events_.state_changed(peer, from, leg.state, PauseCause::user);
    co_return Result<>{};
}

void ModelHost::break_mirror(const std::string& peer) {
    if (!legs_.contains(peer)) return;
    for (std::size_t block = 0; block < disk_.blocks.size(); ++block)
        disk_.dirty[peer].insert(block);
    const MirrorState from = std::exchange(legs_.at(peer).state, MirrorState::broken);
    events_.state_changed(peer, from, MirrorState::broken, PauseCause::user);
}

Task<std::optional<BlockRanges>> ModelHost::recent_writes(std::string peer) {
    co_await runtime::sleep_for(world_.tasks, 10us);
    std::optional<BlockRanges> out;
    if (const auto& recent = legs_.at(peer).recent) {
        out.emplace();
        for (const std::size_t block : *recent)
            out->push_back({block, 1});
    }
    co_return out;
}

Task<BlockRanges> ModelHost::dirty_ranges(std::string peer) {
    co_await runtime::sleep_for(world_.tasks, 10us);
    BlockRanges out;
    for (const std::size_t block : disk_.dirty.at(peer))
        out.push_back({block, 1});
    co_return out;
}

Task<Result<>> ModelHost::replace_dirty(std::string peer, BlockRanges ranges) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    auto& dirty = disk_.dirty.at(peer);
    dirty.clear();
    for (const BlockRange& range : ranges)
        for (std::uint64_t block = range.first; block < range.first + range.count; ++block)
            dirty.insert(block);
    legs_.at(peer).role = Role::none;
    co_return Result<>{};
}

void ModelHost::watch_writes(const std::string& peer, std::uint64_t number) {
    if (!legs_.contains(peer)) return;
    Leg& leg = legs_.at(peer);
    leg.watch = number;
    leg.written.emplace();
    leg.unused.reset();
}

void ModelHost::leave_out(const std::string& peer, std::uint64_t number, BlockRanges unused, bool copied) {
    if (!legs_.contains(peer)) return;
    Leg& leg = legs_.at(peer);
    if (number == leg.watch && leg.written && !copied) leg.unused = std::move(unused);
}

Task<Result<CompareReport>> ModelHost::compare(std::string peer, CompareOptions options) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    const auto at = wire_.sessions.find(legs_.at(peer).session);
    if (at == wire_.sessions.end() || !at->second.in_sync || !at->second.target) {
        Result<CompareReport> refused =
            fail(Code::failure, "both ends can be compared only while they mirror");
        co_return refused;
    }
    CompareReport report;
    report.total_bytes = report.compared_bytes = disk_.size;
    for (std::size_t block = 0; block < disk_.blocks.size(); ++block) {
        int& there = at->second.target->disk_.blocks[block];
        if (there == disk_.blocks[block]) continue;
        ++report.different_blocks;
        report.offsets.push_back(block * 65536);
        if (options.repair) there = disk_.blocks[block];
    }
    Result<CompareReport> out = report;
    co_return out;
}

void ModelHost::attach(const std::string& peer, int data, int, LinkTerms terms) {
    Leg& leg = legs_.at(peer);
    leg.session = data;
    Wire::Session& session = wire_.sessions[data];
    (leg.role == Role::source ? session.source : session.target) = this;
    session.kind = terms.kind;
    session.features = terms.features;
    if (!terms.resume) {
        leg.recent.reset();
        leg.resumable = false;
    }
    if (!session.source || !session.target) {
        // The other end may be gone by now, or go before it has attached: its connection closes.
        std::weak_ptr<int> mine = alive_;
        world_.tasks.after(50ms, [this, mine, peer, data] {
            if (!mine.lock() || !legs_.contains(peer) || legs_.at(peer).session != data) return;
            const auto at = wire_.sessions.find(data);
            if (at == wire_.sessions.end() || !at->second.source || !at->second.target) lose_link(peer);
        });
        return;
    }
    ModelHost* source = session.source;
    ModelHost* target = session.target;
    if (terms.resume) {
        session.in_sync = true;
        target->legs_.at(source->node_).resumable = false;
        return source->resend(target->node_, *target);
    }
    source->legs_.at(target->node_).state = target->legs_.at(source->node_).state = MirrorState::resync;
    auto& dirty = source->disk_.dirty[target->node_];
    Leg& begun = source->legs_.at(target->node_);
    const auto unused = std::exchange(begun.unused, std::nullopt);
    if (terms.kind == ResyncKind::full || unused)
        for (std::size_t block = 0; block < source->disk_.blocks.size(); ++block)
            dirty.insert(block);
    const auto& theirs = target->disk_.dirty[source->node_];
    dirty.insert(theirs.begin(), theirs.end());
    for (const BlockRange& range : unused.value_or(BlockRanges()))
        for (std::uint64_t block = range.first; block < range.first + range.count; ++block)
            if (!begun.written->contains(block)) dirty.erase(block);
    std::weak_ptr<int> weak = source->alive_;
    source->world_.tasks.after(wire_.resync_takes, [source, data, weak, name = target->node_] {
        if (weak.lock() && source->legs_.contains(name) && source->legs_.at(name).session == data)
            source->synchronise(name, data);
    });
}

void ModelHost::synchronise(const std::string& peer, int number) {
    Wire::Session& session = wire_.sessions[number];
    ModelHost* target = session.target;
    if (!target || wire_.parted(node_, peer)) return;
    auto& dirty = disk_.dirty[peer];
    for (const std::size_t block : dirty) {
        target->disk_.blocks.at(block) = disk_.blocks.at(block);
        ++wire_.blocks_sent;
    }
    dirty.clear();
    target->disk_.dirty[node_].clear();
    session.in_sync = true;
    Leg& theirs = target->legs_.at(node_);
    legs_.at(peer).state = theirs.state = MirrorState::mirroring;
    theirs.recent.emplace();
    target->events_.state_changed(node_, MirrorState::resync, MirrorState::mirroring, PauseCause::none);
    target->events_.in_sync(node_);
    events_.state_changed(peer, MirrorState::resync, MirrorState::mirroring, PauseCause::none);
    events_.in_sync(peer);
}

void ModelHost::break_links() {
    std::vector<std::string> peers;
    for (const auto& [peer, leg] : legs_)
        peers.push_back(peer);
    for (const std::string& peer : peers)
        break_links(peer);
}

void ModelHost::break_links(const std::string& peer) {
    if (!legs_.contains(peer)) return;
    Leg& leg = legs_.at(peer);
    const int number = std::exchange(leg.session, 0);
    if (number == 0) return;
    const Wire::Session session = wire_.sessions[number];
    const bool resends = session.in_sync && (session.features & mirror::wire::kFeatureResend) != 0;
    if (leg.role == Role::target) {
        leg.resumable = leg.resumable || resends;
        return events_.link_lost(peer, "reset");
    }
    if (!resends) {
        leg.session = number;
        return lose_link(peer);
    }
    leg.suspended = true;
    events_.link_interrupted(peer, "reset");
    std::weak_ptr<int> weak = alive_;
    world_.tasks.after(30s, [this, weak, peer, which = ++leg.suspensions] {
        if (weak.lock() && legs_.contains(peer) && legs_.at(peer).suspensions == which)
            give_up_links(peer, "no answer for 30 s");
    });
}

void ModelHost::give_up_links(const std::string& peer, std::string) {
    if (!legs_.contains(peer) || !legs_.at(peer).suspended) return;
    legs_.at(peer).session = -1;
    lose_link(peer);
}

void ModelHost::restart_links(const std::string& peer, std::string) {
    const auto leg = legs_.find(peer);
    if (leg == legs_.end() || leg->second.session == 0) return;
    const auto session = wire_.sessions.find(leg->second.session);
    ModelHost* const other = session == wire_.sessions.end() ? nullptr : session->second.target;
    if (other != nullptr) other->break_links(node_);
    break_links(peer);
}

/// What the target has not answered is sent again.
void ModelHost::resend(const std::string& peer, ModelHost& target) {
    legs_.at(peer).suspended = false;
    std::erase_if(stalled_, [&](Stalled& one) {
        if (one.peers.erase(peer) == 0) return false;
        target.disk_.blocks[one.write.block] = one.write.value;
        disk_.dirty[peer].erase(one.write.block);
        if (!one.peers.empty()) return false;
        *one.write.acknowledged = !one.failed;
        return true;
    });
}

void ModelHost::detach(const std::string& peer) {
    if (!legs_.contains(peer)) return;
    Leg& leg = legs_.at(peer);
    leg.suspended = false;
    const int number = std::exchange(leg.session, 0);
    const MirrorState from = leg.state;
    if (leg.state == MirrorState::mirroring || leg.state == MirrorState::resync)
        leg.state = MirrorState::paused;
    if (leg.role == Role::source && from == MirrorState::mirroring && !quiesced_) {
        events_.state_changed(peer, from, leg.state, PauseCause::link_lost);
        degrade(peer);
    }
    const auto at = wire_.sessions.find(number);
    if (at == wire_.sessions.end()) return;
    ModelHost* other = at->second.source == this ? at->second.target : at->second.source;
    wire_.sessions.erase(at);
    if (!other) return;
    std::weak_ptr<int> weak = other->alive_;
    other->world_.tasks.after(1ms, [other, weak, number, name = node_] {
        if (weak.lock() && other->legs_.contains(name) && other->legs_.at(name).session == number)
            other->lose_link(name);
    });
}

void ModelHost::lose_link() {
    std::vector<std::string> peers;
    for (const auto& [peer, leg] : legs_)
        peers.push_back(peer);
    for (const std::string& peer : peers)
        lose_link(peer);
}

void ModelHost::lose_link(const std::string& peer) {
    if (!legs_.contains(peer)) return;
    Leg& leg = legs_.at(peer);
    const int number = std::exchange(leg.session, 0);
    if (number == 0) return;
    wire_.sessions.erase(number);
    leg.suspended = false;
    const MirrorState from = leg.state;
    if (leg.role == Role::target) return events_.link_lost(peer, "cut");
    leg.state = MirrorState::paused;
    if (gate_ == GateMode::open) gate_ = GateMode::hold_writes;
    events_.state_changed(peer, from, leg.state, PauseCause::link_lost);
    if (from == MirrorState::mirroring && !quiesced_) degrade(peer);
    events_.link_lost(peer, "cut");
}

/// Writes that wait for this target alone are completed when the controller says so.
void ModelHost::degrade(const std::string& peer) {
    std::weak_ptr<int> weak = alive_;
    events_.degraded(peer, [this, weak, peer](bool recorded) {
        if (!weak.lock()) return;
        std::erase_if(stalled_, [&](Stalled& write) {
            if (write.peers.erase(peer) > 0 && !recorded) write.failed = true;
            if (!write.peers.empty()) return false;
            *write.write.acknowledged = !write.failed;
            return true;
        });
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
    if (!source() || quiesced_) return;  // an I/O error
    disk_.blocks[write.block] = write.value;
    ++writes_;
    Stalled stalled{{}, write};
    std::vector<ModelHost*> got;
    for (auto& [peer, leg] : legs_) {
        disk_.dirty[peer].insert(write.block);
        store_logs();
        if (leg.written) leg.written->insert(write.block);
        if (leg.suspended) {
            stalled.peers.insert(peer);
            continue;
        }
        const auto at = wire_.sessions.find(leg.session);
        if (at == wire_.sessions.end() || !at->second.in_sync) continue;
        // Synchronous: not acknowledged while a target does not answer.
        if (wire_.parted(node_, peer) || !at->second.target) {
            stalled.peers.insert(peer);
            continue;
        }
        at->second.target->disk_.blocks[write.block] = write.value;
        disk_.dirty[peer].erase(write.block);
        got.push_back(at->second.target);
    }
    if (!stalled.peers.empty()) {
        for (ModelHost* target : got)
            if (auto& recent = target->legs_.at(node_).recent) recent->insert(write.block);
        return stalled_.push_back(stalled);
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

// --- snapshots

/// The marker is queued in the order of the calls; its confirmation takes a while.
Task<Result<>> ModelHost::mark_snapshot(std::string peer, std::uint64_t number) {
    Result<> marked;
    const auto at = wire_.sessions.find(legs_.at(peer).session);
    if (at == wire_.sessions.end() || !at->second.in_sync || !at->second.target ||
        wire_.parted(node_, peer)) {
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

Task<Result<>> ModelHost::prepare_snapshot(std::string, SnapshotPlan plan) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    if (snapshot_) co_return fail(Code::exists, "there is one");
    if (!disk_.snapshot_files.contains(plan.file)) co_return fail(Code::not_found, "no file {}", plan.file);
    snapshot_ = Snapshot{plan.number, false, false, {}};
    snapshot_problem_.clear();
    co_return Result<>{};
}

Task<Result<std::string>> ModelHost::export_snapshot(std::string) {
    co_await runtime::sleep_for(world_.tasks, 1ms);
    snapshot_->exported = true;
    co_return Result<std::string>("/dev/understudy/R.snapshot");
}

Task<Result<>> ModelHost::drop_snapshot(std::string, bool forced) {
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
    std::vector<std::string> peers;
    for (const auto& [peer, leg] : legs_)
        peers.push_back(peer);
    for (const std::string& peer : peers)
        detach(peer);
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
          [this, &disk, &wire, end](const VolumeId&, HostEvents& events) {
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
    if (count > 2) {
        hosts.push_back(&third);
        cluster.members.push_back(third.name);
    }
    if (count > 3) {
        hosts.push_back(&fourth);
        cluster.members.push_back(fourth.name);
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
