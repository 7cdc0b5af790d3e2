#include "mirror/io/memory_table.h"

#include <liburing.h>

#include <cassert>

namespace understudy::mirror {
namespace {

bool update(io_uring& ring, unsigned number, iovec range) {
    const __u64 tag = 0;
    return io_uring_register_buffers_update_tag(&ring, number, &range, &tag, 1) == 1;
}

}  // namespace

bool MemoryTable::add(io_uring& ring, std::span<std::byte> memory) {
    assert(!memory.empty() && !find(memory.first(1)));
    if (!made_ && !refused_) {
        made_ = io_uring_register_buffers_sparse(&ring, kMost) == 0;
        refused_ = !made_;
    }
    if (!made_) return false;
    unsigned number = 0;
    while (number < kMost && (!ranges_[number].empty() || lost_[number]))
        ++number;
    if (number == kMost || !update(ring, number, {memory.data(), memory.size()})) return false;
    ranges_[number] = memory;
    if (number >= used_) used_ = number + 1;
    return true;
}

void MemoryTable::remove(io_uring& ring, std::span<const std::byte> memory) {
    for (unsigned number = 0; number < used_; ++number) {
        if (ranges_[number].data() != memory.data()) continue;
        ranges_[number] = {};
        lost_[number] = !update(ring, number, {nullptr, 0});
        return;
    }
}

}  // namespace understudy::mirror
