// A host of the model: its disk and what its daemon keeps.

#include "mirror/core/model_world.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace understudy::mirror::model {

// --- disk

std::vector<std::byte> Disk::data_of(const BlockRequest& request) {
    if (request.op == BlockOp::write) return {request.data, request.data + request.length};
    return std::vector<std::byte>(request.length);
}

void Disk::submit(BlockRequest& request) {
    Pending pending{&request, volatile_base_ + volatile_.size(), {}};
    if (request.op == BlockOp::read)
        pending.snapshot.assign(
            content_.begin() + static_cast<std::ptrdiff_t>(request.offset),
            content_.begin() + static_cast<std::ptrdiff_t>(request.offset + request.length));
    pending_.push_back(std::move(pending));
}

void Disk::complete_one() {
    const std::size_t index = dice_.below(pending_.size());
    Pending pending = std::move(pending_[index]);
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(index));
    BlockRequest& request = *pending.request;
    request.result = 0;
    switch (request.op) {
        case BlockOp::read:
            if (dice_.below(100) < fail_reads) {
                request.result = -EIO;
                break;
            }
            // Each sector as it was at some moment between submission and completion.
            for (std::uint32_t at = 0; at < request.length; at += kCell) {
                const bool early = dice_.chance(50);
                std::memcpy(request.data + at,
                            early ? pending.snapshot.data() + at : content_.data() + request.offset + at,
                            kCell);
            }
            break;
        case BlockOp::write:
        case BlockOp::write_zeroes:
        case BlockOp::discard: {
            if (dice_.below(100) < fail_writes) {
                request.result = -EIO;
                break;
            }
            std::vector<std::byte> data = data_of(request);
            std::memcpy(content_.data() + request.offset, data.data(), data.size());
            volatile_.push_back({request.offset, std::move(data), request.fua});
            if (request.fua) {
                // Durable at once: later than everything volatile on the same sectors.
                const Volatile& last = volatile_.back();
                std::memcpy(durable_.data() + last.offset, last.data.data(), last.data.size());
            }
            break;
        }
        case BlockOp::flush:
            if (fail_flushes > 0 && dice_.below(100) < fail_flushes) {
                ++failed_flushes_;
                lose_cache(pending.volatile_before);
                request.result = -EIO;
                break;
            }
            while (!volatile_.empty() && volatile_base_ < pending.volatile_before) {
                const Volatile& first = volatile_.front();
                if (!first.data.empty())
                    std::memcpy(durable_.data() + first.offset, first.data.data(), first.data.size());
                volatile_.pop_front();
                ++volatile_base_;
            }
            break;
    }
    request.done(request);
}

/// A flush has failed: some of what it was for is gone, and the next flush knows nothing of it.
void Disk::lose_cache(std::size_t before) {
    for (std::size_t i = 0; i < volatile_.size(); ++i) {
        const bool covered = volatile_base_ + i < before;
        if (covered && !volatile_[i].fua && dice_.chance(50)) volatile_[i].data.clear();
    }
    content_ = durable_;
    for (const Volatile& write : volatile_)
        if (!write.data.empty())
            std::memcpy(content_.data() + write.offset, write.data.data(), write.data.size());
}

void Disk::crash() {
    // Volatile writes survive sector by sector, and so do writes that were under way.
    std::vector<std::byte> result = durable_;
    const auto survive = [&](std::uint64_t offset, const std::vector<std::byte>& data) {
        const unsigned share = static_cast<unsigned>(dice_.below(101));
        for (std::uint64_t at = 0; at < data.size(); at += kCell)
            if (dice_.chance(share)) std::memcpy(result.data() + offset + at, data.data() + at, kCell);
    };
    for (const Volatile& write : volatile_)
        survive(write.offset, write.data);
    for (const Pending& pending : pending_) {
        const BlockRequest& request = *pending.request;
        if (request.op != BlockOp::read && request.op != BlockOp::flush)
            survive(request.offset, data_of(request));
    }
    volatile_base_ += volatile_.size();
    volatile_.clear();
    content_ = result;
    durable_ = std::move(result);
}

void Disk::abort_all() {
    while (!pending_.empty()) {
        BlockRequest& request = *pending_.back().request;
        pending_.pop_back();
        request.result = -EIO;
        request.done(request);
    }
}

// --- node

Node::Node(World& world_, Dice& dice_, int number_)
    : world(world_), dice(dice_), number(number_), disk(dice_), file(kWordsPerPage, 0) {}

void Node::start_log() {
    log = std::make_unique<IntentLog>(kVolume, world.parameters.bitmap_bytes_per_block);
    log->load(0, file);
}

void Node::become_source(MirrorState state) {
    target.reset();
    log->forget_epochs();
    source = std::make_unique<Source>(*device, *log, *this, world.type, world.parameters, world.now,
                                      world.copy_bytes);
    source->begin(state, PauseCause::none);
}

void Node::become_target() {
    source.reset();
    log->forget_epochs();
    target = std::make_unique<Target>(disk, *log, *this, world.parameters, true, true, world.now);
}

void Node::crash() {
    lose_power();
    restart_after_power_loss();
}

void Node::lose_power() {
    // What is on the platters first, then the program's end.
    if (log->committing()) {
        const auto* image = reinterpret_cast<const std::uint64_t*>(log->image().data());
        for (std::uint64_t word = 0; word < kWordsPerPage; word += kCell / 8)
            if (dice.chance(50))
                std::copy(image + word, image + word + kCell / 8,
                          file.begin() + static_cast<std::ptrdiff_t>(word));
    }
    if (mark && dice.chance(50)) file_consistent = mark->consistent;
    disk.crash();
    dead = true;
    if (source) source->detach();
    if (target) target->detach();
    data.drop_queue();
    resync.drop_queue();
}

void Node::restart_after_power_loss() {
    disk.abort_all();
    data.drop_queue();
    resync.drop_queue();
    source.reset();
    target.reset();
    log.reset();
    mark.reset();
    release = nullptr;
    commit_wanted = false;
    dead = false;
    start_log();
}

void Node::close_links(const std::string&) {
    data.drop_queue();
    resync.drop_queue();
    link_open = false;
}

void Node::state_changed(MirrorState, MirrorState, PauseCause) {}

void Node::degraded(DegradeAnswer function) {
    if (dead) return;
    release = std::move(function);
}

void Node::in_sync() {
    if (dead) return;
    ++synced;
    if (source) world.out_of_date = false;
}

void Node::mark_consistent(bool consistent, std::uint64_t serial) {
    if (dead) return;
    if (consistent) log->collect(0);
    commit_wanted = true;
    mark = Mark{consistent, serial};
}

void Node::start_commit() {
    commit_wanted = false;
    if (log->wants_commit()) {
        log->start_commit();
    } else if (!log->committing() && source) {
        source->log_committed();
    }
}

void Node::finish_commit() {
    const auto* image = reinterpret_cast<const std::uint64_t*>(log->image().data());
    std::copy(image, image + kWordsPerPage, file.begin());
    log->finish_commit(true);
    if (source) source->log_committed();
    if (log->wants_commit()) commit_wanted = true;
}

void Node::finish_mark() {
    const Mark done = *std::exchange(mark, std::nullopt);
    file_consistent = done.consistent;
    if (target) target->marked(done.serial, true);
}

}  // namespace understudy::mirror::model
