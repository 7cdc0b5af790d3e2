#pragma once
// Where the data of one client's requests lies. Small requests have memory that is resident and registered
// with the reactor, which makes each a little cheaper; large ones have memory that is there once they touch
// it.

#include "mirror/export/locked_memory.h"
#include "mirror/io/reactor.h"

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace understudy::mirror {

class NbdMemory {
  public:
    static constexpr std::uint32_t kSmall = 1 << 16;  // bytes of a request

    NbdMemory(Reactor& reactor, std::size_t slots, std::uint32_t max_request)
        : max_request_(max_request),
          large_size_(slots * max_request),
          small_(slots * kSmall),
          registered_(reactor, small_.all()) {
        void* at = mmap(nullptr, large_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at != MAP_FAILED) large_ = static_cast<std::byte*>(at);
    }
    NbdMemory(const NbdMemory&) = delete;
    NbdMemory& operator=(const NbdMemory&) = delete;
    ~NbdMemory() {
        if (large_ != nullptr) munmap(large_, large_size_);
    }
    /// False when there was not enough.
    [[nodiscard]] bool complete() const { return large_ != nullptr && small_.data() != nullptr; }
    /// Of a slot, for a request of so many bytes.
    [[nodiscard]] std::byte* of(std::size_t slot, std::uint32_t length) const {
        return length <= kSmall ? small_.data() + slot * kSmall : large_ + slot * max_request_;
    }

  private:
    std::uint32_t max_request_;
    std::size_t large_size_;
    std::byte* large_ = nullptr;
    LockedMemory small_;
    RegisteredMemory registered_;
};

}  // namespace understudy::mirror
