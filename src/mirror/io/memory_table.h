#pragma once
// Memory that a ring's kernel side keeps hold of (io_uring's registered buffers): reading a device into it or
// writing from it does not look for the pages, take hold of them and let go of them each time.
//
// A registration knows pages, not addresses. When memory is unmapped its addresses may come back with other
// pages, and a write would take the old ones. So what is registered is taken out before it is unmapped.

#include <array>
#include <cstddef>
#include <optional>
#include <span>

struct io_uring;

namespace understudy::mirror {

class MemoryTable {
  public:
    static constexpr unsigned kMost = 64;  // ranges; more are used unregistered

    /// Page-aligned anonymous memory. False when the kernel does not take it: it is older than 5.19, or the
    /// process may not lock so much.
    bool add(io_uring& ring, std::span<std::byte> memory);
    /// Operations under way keep their pages. Nothing happens to memory that is not in the table.
    void remove(io_uring& ring, std::span<const std::byte> memory);
    /// The kernel's number of the range that has all of `part`.
    [[nodiscard]] std::optional<unsigned> find(std::span<const std::byte> part) const {
        for (unsigned i = 0; i < used_; ++i) {
            const auto& range = ranges_[i];
            if (part.data() >= range.data() && part.data() + part.size() <= range.data() + range.size())
                return i;
        }
        return std::nullopt;
    }

  private:
    bool made_ = false, refused_ = false;
    unsigned used_ = 0;  // ranges ever used; those that are free again are empty
    std::array<std::span<const std::byte>, kMost> ranges_;
    std::array<bool, kMost> lost_{};  // the kernel did not take them out: never used again
};

}  // namespace understudy::mirror
