#pragma once
// CRC32C (Castagnoli): by SSE4.2 where the processor has it and is quick at it, by tables elsewhere. Pure;
// any thread.

#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy {

/// CRC32C of `data`, continuing from `crc` (0 to start). crc32c(b, crc32c(a)) == crc32c(a + b).
std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t crc = 0);

/// XXH3, 64 bits: tells blocks apart quickly. Not for data that somebody may have made to collide.
std::uint64_t xxh3(std::span<const std::byte> data);

/// The version with tables, for tests and for processors without SSE4.2.
std::uint32_t crc32c_portable(std::span<const std::byte> data, std::uint32_t crc = 0);

}  // namespace understudy
