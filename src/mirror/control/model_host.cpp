// The model of the data path: what a host keeps and answers.

#include "mirror/control/test_pair.h"
#include "mirror/log/log_region.h"

#include <algorithm>
#include <memory>

namespace understudy::mirror::control::testing_pair {

using namespace std::chrono_literals;
using runtime::Task;

namespace {

constexpr char kLogMark = 'L';

}  // namespace

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
        std::size_t& former = disk_.log_blocks[peer];
        for (std::size_t block = former; former > 0 && block < blocks; ++block)
            stored.insert(block);
        former = blocks;
        disk_.blocks.resize(blocks, node_ == "left" ? -1 : -2);
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
    // With targets their logs make the device's content follow.
    if (legs_.empty()) disk_.blocks.resize(size / 65536, 0);
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
    return alone_ || std::any_of(legs_.begin(), legs_.end(),
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
    quiesced_ = alone_ = false;
    if (mark_all_dirty)
        for (std::size_t block = 0; block < disk_.blocks.size(); ++block)
            disk_.dirty[peer].insert(block);
}

void ModelHost::become_target(const std::string& peer) {
    alone_ = false;
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
    if (gate_ == GateMode::open && disk_.slow) {
        std::set<std::string> legs;
        for (const auto& [peer, leg] : legs_)
            if (leg.role == Role::source) legs.insert(peer);
        return slow_.push_back({block, value, acknowledged, std::move(legs)});
    }
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
        if (write.legs && !write.legs->contains(peer)) continue;
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

Task<bool> ModelHost::written(runtime::Duration limit) {
    const auto until = world_.clock.now() + limit;
    while (!slow_.empty() && world_.clock.now() < until)
        co_await runtime::sleep_for(world_.tasks, 1ms);
    co_return slow_.empty();
}

void ModelHost::finish_slow() {
    disk_.slow = false;
    for (const Waiting& write : std::exchange(slow_, {}))
        apply(write);
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

Task<> ModelHost::shutdown() {
    co_await runtime::sleep_for(world_.tasks, 2ms);
    quiesced_ = true;
    std::vector<std::string> peers;
    for (const auto& [peer, leg] : legs_)
        peers.push_back(peer);
    for (const std::string& peer : peers)
        detach(peer);
}

}  // namespace understudy::mirror::control::testing_pair
