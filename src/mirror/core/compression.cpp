#include "mirror/core/compression.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cassert>

namespace understudy::mirror {
namespace {

/// The levels of the manual on zstd's scale. Above 12 one core would send less than a slow line takes.
constexpr std::array<int, kMostCompression + 1> kLevels = {0, -5, -1, 1, 2, 3, 5, 7, 9, 12};

}  // namespace

void Compressor::Free::operator()(ZSTD_CCtx_s* context) const {
    ZSTD_freeCCtx(context);
}

void Decompressor::Free::operator()(ZSTD_DCtx_s* context) const {
    ZSTD_freeDCtx(context);
}

std::size_t Compressor::compress(std::uint32_t level, std::span<const std::byte> from, std::byte* into) {
    assert(level >= 1 && level <= kMostCompression);
    if (from.size() < 2) return 0;
    if (!context_) context_.reset(ZSTD_createCCtx());
    if (!context_) return 0;
    // One byte less than it was is the most that is of use; zstd ends with an error at that limit.
    const std::size_t size = ZSTD_compressCCtx(context_.get(), into, from.size() - 1, from.data(),
                                               from.size(), kLevels[std::min(level, kMostCompression)]);
    return ZSTD_isError(size) != 0U ? 0 : size;
}

std::size_t Compressor::memory() const {
    return context_ ? ZSTD_sizeof_CCtx(context_.get()) : 0;
}

bool Decompressor::decompress(std::span<const std::byte> from, std::span<std::byte> into) {
    if (!context_) context_.reset(ZSTD_createDCtx());
    if (!context_) return false;
    return ZSTD_decompressDCtx(context_.get(), into.data(), into.size(), from.data(), from.size()) ==
           into.size();
}

}  // namespace understudy::mirror
