#pragma once
// Aligned buffers for block data, in sizes of powers of two, within a budget. Not thread-safe.

#include <array>
#include <cstddef>
#include <cstdint>

namespace understudy::mirror {

class BufferPool {
  public:
    static constexpr std::size_t kAlignment = 4096;
    static constexpr unsigned kClasses = 14;  // 4 KiB to 32 MiB

    /// At most `budget` bytes are out at a time; one buffer is given even when it alone is larger.
    explicit BufferPool(std::size_t budget) : budget_(budget) {}
    ~BufferPool();
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    /// nullptr when the budget or the memory is used up. 1 to 32 MiB.
    std::byte* take(std::size_t length);
    void give_back(std::byte* buffer, std::size_t length);
    /// Frees what is not out.
    void trim();

    [[nodiscard]] std::size_t out() const { return out_; }
    [[nodiscard]] std::size_t cached() const { return cached_; }

  private:
    struct Free {
        Free* next;
    };
    static unsigned class_of(std::size_t length);

    std::size_t budget_, out_ = 0, cached_ = 0;
    std::array<Free*, kClasses> free_{};
};

}  // namespace understudy::mirror
