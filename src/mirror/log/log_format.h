#pragma once
// The intent log's file, to the byte. Little-endian.
//
//   offset 0      header, copy 0 (kHeaderBytes used of one 4096-byte page)
//   offset 4096   header, copy 1
//   offset 8192   bitmap: bit n (byte n / 8, bit n % 8) is block n of 65,536 bytes; 1 = may differ
//
// The copy with the higher serial and a right checksum counts; an update overwrites the other one, so a torn
// update leaves the former header in force.

#include <cstddef>
#include <cstdint>

namespace understudy::mirror::log_format {

inline constexpr std::uint64_t kMagic = 0x31474f4c44545355;  // "USTDLOG1"
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kHeaderBytes = 128;
inline constexpr std::uint64_t kHeaderOffset[2] = {0, 4096};
inline constexpr std::uint64_t kBitmapOffset = 8192;

// Flags of the header.
inline constexpr std::uint32_t kClean = 1;         // closed by a clean shutdown
inline constexpr std::uint32_t kValid = 2;         // the bits can be trusted
inline constexpr std::uint32_t kInconsistent = 4;  // this end is the target of an unfinished resync
inline constexpr std::uint32_t kFresh = 8;         // created, and nobody has said yet what the bits are worth

// Offsets inside the header.
inline constexpr std::size_t kAtMagic = 0;        // u64
inline constexpr std::size_t kAtVersion = 8;      // u32
inline constexpr std::size_t kAtFlags = 12;       // u32
inline constexpr std::size_t kAtUuid = 16;        // 16 bytes, of the mirror
inline constexpr std::size_t kAtSize = 32;        // u64, volume bytes
inline constexpr std::size_t kAtBlockBytes = 40;  // u32, 65536
inline constexpr std::size_t kAtGeneration = 48;  // u64, counts how often the log was opened
inline constexpr std::size_t kAtSerial = 56;      // u64, counts header updates
inline constexpr std::size_t kAtChecksum = 124;   // u32, CRC32C of the 124 bytes before

static_assert(kAtChecksum + 4 == kHeaderBytes);
static_assert(kAtSerial + 8 <= kAtChecksum);

}  // namespace understudy::mirror::log_format
