#include "mirror/snapshot/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace understudy::mirror {
namespace {

std::uint64_t blocks_for(std::uint64_t bytes, std::uint32_t block_bytes) {
    return bytes / block_bytes + (bytes % block_bytes != 0 ? 1 : 0);
}

bool all_zero(const std::byte* data, std::size_t length) {
    return data[0] == std::byte{0} && std::memcmp(data, data + 1, length - 1) == 0;
}

void complete(BlockRequest& request, int result) {
    request.result = result;
    request.done(request);
}

}  // namespace

std::string snapshot_block_problem(std::uint64_t volume_bytes, std::uint32_t sector_bytes,
                                   std::uint64_t block_bytes) {
    if (block_bytes < sector_bytes || block_bytes % sector_bytes != 0 || block_bytes > kMostSnapshotCopyBytes)
        return fmt::format(
            "a snapshot's blocks are a multiple of the sectors of {} bytes, at most {} bytes, not {}",
            sector_bytes, kMostSnapshotCopyBytes, block_bytes);
    if (blocks_for(volume_bytes, static_cast<std::uint32_t>(block_bytes)) > kMostSnapshotBlocks)
        return fmt::format(
            "with blocks of {} bytes the map of a volume of {} bytes is too large; choose larger ones",
            block_bytes, volume_bytes);
    return {};
}

Snapshot::Snapshot(BlockBackend& volume, BlockBackend& store, std::uint32_t block_bytes,
                   std::function<void(std::string)> failed)
    : volume_(volume),
      store_(store),
      block_bytes_(block_bytes),
      size_(volume.size()),
      failed_(std::move(failed)),
      present_(blocks_for(volume.size(), block_bytes)),
      buffers_(kMostSnapshotCopies * kMostSnapshotCopyBytes) {
    assert(snapshot_block_problem(size_, volume.sector_size(), block_bytes).empty());
    assert(store.size() >= size_ && store.sector_size() <= volume.sector_size());
}

Snapshot::~Snapshot() {
    assert(idle());
}

Snapshot::Blocks Snapshot::blocks_of_request(const BlockRequest& request) const {
    return {request.offset / block_bytes_, (request.offset + request.length - 1) / block_bytes_};
}

bool Snapshot::being_filled(std::uint64_t first, std::uint64_t last) const {
    return copying_.overlaps(first, last + 1) || filling_.overlaps(first, last + 1);
}

// --- the mirror's side

void Snapshot::submit(BlockRequest& request) {
    const bool changes = request.op != BlockOp::read && request.op != BlockOp::flush && request.length > 0;
    if (!valid_ || !changes) return volume_.submit(request);
    const Blocks blocks = blocks_of_request(request);
    if (present_.all(blocks.first, blocks.last)) return volume_.submit(request);
    Job& job = jobs_.take();
    job = {};
    job.snapshot = this;
    job.request = &request;
    advance(job);
}

/// Called when the job is new and again whenever something that it may wait for has ended.
void Snapshot::advance(Job& job) {
    if (job.local) {
        if (!valid_) return finish(job, -EIO);
        return job.request->op == BlockOp::read ? read_next(job) : advance_local_write(job);
    }
    while (valid_ && !make_present(blocks_of_request(*job.request)))
        if (something_under_way()) return waiting_.push(job);
    BlockRequest& request = *job.request;
    jobs_.give_back(job);
    volume_.submit(request);
}

/// True when all are. Else copies are under way, or start when others end. Also true when the snapshot has
/// become invalid by it.
bool Snapshot::make_present(const Blocks& blocks) {
    bool all = true;
    for (std::uint64_t block = blocks.first; block <= blocks.last && valid_; ++block) {
        if (present_.test(block)) continue;
        all = false;
        if (being_filled(block, block)) continue;
        std::uint64_t last = block;
        while (last < blocks.last && (last + 2 - block) * block_bytes_ <= kMostSnapshotCopyBytes &&
               !present_.test(last + 1) && !being_filled(last + 1, last + 1))
            ++last;
        if (!start_copy(block, last)) break;
        block = last;
    }
    return all || !valid_;
}

/// False when too many are under way; something that ends wakes the waiting.
bool Snapshot::start_copy(std::uint64_t first, std::uint64_t last) {
    if (copies_.out() == kMostSnapshotCopies) return false;
    const std::uint64_t offset = first * block_bytes_;
    const auto length =
        static_cast<std::uint32_t>(std::min((last + 1 - first) * block_bytes_, size_ - offset));
    std::byte* buffer = buffers_.take(length);
    if (buffer == nullptr) {
        if (copies_.out() == 0) invalidate("no memory for a copy");
        return false;
    }
    Copy& copy = copies_.take();
    copy = {};
    copy.snapshot = this;
    copy.buffer = buffer;
    copy.first = first;
    copy.count = last + 1 - first;
    copy.length = length;
    copying_.add(first, last + 1, copy);
    copy.io.op = BlockOp::read;
    copy.io.offset = offset;
    copy.io.length = length;
    copy.io.data = buffer;
    copy.io.owner = &copy;
    copy.io.done = [](BlockRequest& io) {
        Copy& done = *static_cast<Copy*>(io.owner);
        done.snapshot->copy_read(done, io.result);
    };
    volume_.submit(copy.io);
    return true;
}

void Snapshot::copy_read(Copy& copy, int result) {
    if (result < 0 && valid_)
        invalidate(fmt::format("the volume cannot be read: {}", std::strerror(-result)));
    // The store is all holes where nothing was written: zeroes are there already.
    if (result < 0 || !valid_ || all_zero(copy.buffer, copy.length)) return end_copy(copy, result);
    copy.io.op = BlockOp::write;
    copy.io.done = [](BlockRequest& io) {
        Copy& done = *static_cast<Copy*>(io.owner);
        done.snapshot->end_copy(done, io.result);
    };
    store_.submit(copy.io);
}

void Snapshot::end_copy(Copy& copy, int result) {
    copying_.remove(copy);
    buffers_.give_back(copy.buffer, copy.length);
    const std::uint64_t first = copy.first, count = copy.count;
    copies_.give_back(copy);
    if (result < 0 && valid_)
        invalidate(fmt::format("the snapshot's file cannot be written: {}", std::strerror(-result)));
    if (valid_) {
        copied_blocks_ += count;
        mark_present(first, first + count - 1);
    }
    wake();
}

/// The map takes memory where bits are set. Spec: REP-330, REP-332
void Snapshot::mark_present(std::uint64_t first, std::uint64_t last) {
    try {
        for (std::uint64_t block = first; block <= last; ++block)
            present_.set(block);
    } catch (const std::bad_alloc&) {
        invalidate("no memory for the map of its blocks (event 235)");
    }
}

void Snapshot::wake() {
    if (waiting_.empty()) return;
    IntrusiveQueue<Job> waiting = waiting_.take_all();
    while (!waiting.empty())
        advance(waiting.pop());
}

void Snapshot::invalidate(const std::string& why) {
    valid_ = false;
    if (failed_) std::exchange(failed_, nullptr)(why);
}

void Snapshot::drop() {
    failed_ = nullptr;
    valid_ = false;
    // What waits for copies goes when those end; the mirror's writes need not be held longer than that.
    wake();
}

// --- the host's side

void Snapshot::submit_local(BlockRequest& request) {
    if (!valid_) return complete(request, -EIO);
    if (request.op == BlockOp::flush) return complete(request, 0);  // ends with the process: nothing to keep
    const std::uint32_t sector = sector_size();
    if (request.offset > size_ || request.length > size_ - request.offset || request.offset % sector != 0 ||
        request.length % sector != 0)
        return complete(request, -EINVAL);
    if (request.length == 0) return complete(request, 0);
    Job& job = jobs_.take();
    job = {};
    job.snapshot = this;
    job.request = &request;
    job.local = true;
    advance(job);
}

void Snapshot::finish(Job& job, int result) {
    BlockRequest& request = *job.request;
    jobs_.give_back(job);
    complete(request, result);
}

void Snapshot::advance_local_write(Job& job) {
    const BlockRequest& request = *job.request;
    const Blocks blocks = blocks_of_request(request);
    if (being_filled(blocks.first, blocks.last)) return waiting_.push(job);
    const std::uint64_t end = request.offset + request.length;
    const bool first_whole =
        request.offset % block_bytes_ == 0 && (end >= (blocks.first + 1) * block_bytes_ || end == size_);
    const bool last_whole =
        (end % block_bytes_ == 0 || end == size_) && request.offset <= blocks.last * block_bytes_;
    for (bool ready = false; !ready;) {
        ready = first_whole || make_present({blocks.first, blocks.first});
        if (!last_whole && valid_) ready = make_present({blocks.last, blocks.last}) && ready;
        if (!valid_) return finish(job, -EIO);
        if (!ready && something_under_way()) return waiting_.push(job);
    }
    if (!present_.all(blocks.first, blocks.last)) {
        job.fills = true;
        filling_.add(blocks.first, blocks.last + 1, job);
    }
    job.part = {};
    // What is discarded reads as zeroes: the store forgets it, and the block counts as present.
    job.part.op = request.op == BlockOp::write ? BlockOp::write : BlockOp::write_zeroes;
    job.part.punch = true;
    job.part.offset = request.offset;
    job.part.length = request.length;
    job.part.data = request.data;
    job.part.owner = &job;
    job.part.done = [](BlockRequest& io) {
        Job& done = *static_cast<Job*>(io.owner);
        done.snapshot->end_local_write(done, io.result);
    };
    store_.submit(job.part);
}

void Snapshot::end_local_write(Job& job, int result) {
    if (job.fills) filling_.remove(job);
    if (result < 0 && valid_)
        invalidate(fmt::format("the snapshot's file cannot be written: {}", std::strerror(-result)));
    if (!valid_) result = -EIO;
    if (result == 0 && job.fills) {
        const Blocks blocks = blocks_of_request(*job.request);
        mark_present(blocks.first, blocks.last);
        if (!valid_) result = -EIO;
    }
    const bool filled = job.fills;
    finish(job, result);
    if (filled || !valid_) wake();
}

/// One run of blocks after another that are all in the store, or all not.
void Snapshot::read_next(Job& job) {
    const BlockRequest& request = *job.request;
    const std::uint64_t begin = request.offset + job.progress, end = request.offset + request.length;
    if (begin == end) return finish(job, 0);
    std::uint64_t block = begin / block_bytes_;
    const bool here = present_.test(block);
    while ((block + 1) * block_bytes_ < end && present_.test(block + 1) == here)
        ++block;
    job.from_volume = !here;
    job.part = {};
    job.part.op = BlockOp::read;
    job.part.offset = begin;
    job.part.length = static_cast<std::uint32_t>(std::min((block + 1) * block_bytes_, end) - begin);
    job.part.data = request.data + job.progress;
    job.part.owner = &job;
    job.part.done = [](BlockRequest& io) {
        Job& done = *static_cast<Job*>(io.owner);
        done.snapshot->end_read(done, io.result);
    };
    (here ? store_ : volume_).submit(job.part);
}

void Snapshot::end_read(Job& job, int result) {
    if (!valid_) return finish(job, -EIO);
    if (result < 0) return finish(job, result);
    const Blocks blocks = blocks_of_request(job.part);
    // Overtaken, perhaps, by a write of the mirror: that part is read again where the old content is now.
    const bool again = job.from_volume && present_.any(blocks.first, blocks.last);
    if (!again) job.progress += job.part.length;
    read_next(job);
}

}  // namespace understudy::mirror
