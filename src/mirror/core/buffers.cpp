#include "mirror/core/buffers.h"

#include <bit>
#include <cassert>
#include <cstdlib>
#include <new>

namespace understudy::mirror {

BufferPool::~BufferPool() {
    assert(out_ == 0);
    trim();
}

unsigned BufferPool::class_of(std::size_t length) {
    assert(length > 0 && length <= (kAlignment << (kClasses - 1)));
    return length <= kAlignment ? 0 : static_cast<unsigned>(std::bit_width((length - 1) / kAlignment));
}

std::byte* BufferPool::take(std::size_t length) {
    const unsigned index = class_of(length);
    const std::size_t bytes = kAlignment << index;
    if (out_ > 0 && out_ + bytes > budget_) return nullptr;
    if (Free* buffer = free_[index]; buffer != nullptr) {
        free_[index] = buffer->next;
        cached_ -= bytes;
        out_ += bytes;
        return reinterpret_cast<std::byte*>(buffer);
    }
    // What is cached in other sizes counts too, so that a change of sizes cannot double the memory.
    if (cached_ + out_ + bytes > budget_) trim();
    auto* buffer = static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes));
    if (buffer != nullptr) out_ += bytes;
    return buffer;
}

void BufferPool::give_back(std::byte* buffer, std::size_t length) {
    const unsigned index = class_of(length);
    free_[index] = new (buffer) Free{free_[index]};
    out_ -= kAlignment << index;
    cached_ += kAlignment << index;
}

void BufferPool::trim() {
    for (Free*& head : free_) {
        while (head != nullptr) {
            Free* next = head->next;
            std::free(head);
            head = next;
        }
    }
    cached_ = 0;
}

}  // namespace understudy::mirror
