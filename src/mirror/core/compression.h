#pragma once
// Payloads made smaller for the way to the target, one message at a time: levels 0 to 9 as people know them,
// zstd behind them. Its state is made at the first use and kept, so a mirror with level 0 has none.
// Not thread-safe: one for each state machine. Spec: REP-242, REP-243.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace understudy::mirror {

inline constexpr std::uint32_t kMostCompression = 9;

class Compressor {
  public:
    Compressor() = default;
    Compressor(Compressor&&) = default;
    Compressor& operator=(Compressor&&) = default;

    /// Bytes put into `into`, which is as long as `from`; 0: not smaller, or no memory: send it as it is.
    /// `level` is 1 (fastest) to 9 (smallest).
    std::size_t compress(std::uint32_t level, std::span<const std::byte> from, std::byte* into);
    /// Memory that the state takes now.
    [[nodiscard]] std::size_t memory() const;

  private:
    struct Free {
        void operator()(ZSTD_CCtx_s* context) const;
    };
    std::unique_ptr<ZSTD_CCtx_s, Free> context_;
};

class Decompressor {
  public:
    Decompressor() = default;
    Decompressor(Decompressor&&) = default;
    Decompressor& operator=(Decompressor&&) = default;

    /// False when `from` is not exactly what compress() made of `into`'s length of bytes, or without memory.
    bool decompress(std::span<const std::byte> from, std::span<std::byte> into);

  private:
    struct Free {
        void operator()(ZSTD_DCtx_s* context) const;
    };
    std::unique_ptr<ZSTD_DCtx_s, Free> context_;
};

}  // namespace understudy::mirror
