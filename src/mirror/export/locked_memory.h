#pragma once
// Memory for requests' data: locked, resident, and not shared by fork. The kernel copies to and from it in
// the middle of a request, and must neither sleep for it nor find it changed under a child.

#include <sys/mman.h>

#include <cstddef>
#include <span>

namespace understudy::mirror {

class LockedMemory {
  public:
    explicit LockedMemory(std::size_t size) : size_(size) {
        void* at =
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (at == MAP_FAILED) return;
        data_ = static_cast<std::byte*>(at);
        madvise(at, size, MADV_DONTFORK);
        mlock(at, size);  // best effort: without the right to lock, it is at least resident now
    }
    LockedMemory(const LockedMemory&) = delete;
    LockedMemory& operator=(const LockedMemory&) = delete;
    ~LockedMemory() {
        if (data_ != nullptr) munmap(data_, size_);
    }
    /// Null when there was no memory.
    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] std::span<std::byte> all() const { return {data_, data_ == nullptr ? 0 : size_}; }

  private:
    std::size_t size_;
    std::byte* data_ = nullptr;
};

}  // namespace understudy::mirror
