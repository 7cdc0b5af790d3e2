#include "base/checksum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace understudy {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // CRC32C, reflected

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
        table[i] = crc;
    }
    return table;
}

/// By how many bytes of zero follow the byte: eight bytes are taken in at a time.
using SliceTable = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr SliceTable make_slice_table() {
    SliceTable slices{make_table()};
    for (std::size_t slice = 1; slice < slices.size(); ++slice)
        for (std::size_t i = 0; i < 256; ++i) {
            const std::uint32_t before = slices[slice - 1][i];
            slices[slice][i] = (before >> 8) ^ slices[0][before & 0xFF];
        }
    return slices;
}

constexpr SliceTable kSlices = make_slice_table();
constexpr auto& kTable = kSlices[0];

#if defined(__x86_64__)
// The processor's instruction takes a word each cycle but gives its result three cycles later. So three runs
// of this many bytes go side by side; three of them are nearly 4096, the most frequent size.
constexpr std::size_t kRun = 1360;
static_assert(kRun % 8 == 0);

using ShiftTable = std::array<std::array<std::uint32_t, 256>, 4>;

/// What a state becomes when kRun bytes of zero follow, by each of its four bytes. Checksums are linear: the
/// state after "ab" is the state after "a" followed by zeroes, xor that of "b" from zero.
constexpr ShiftTable make_shift_table() {
    std::array<std::uint32_t, 32> of_bit{};
    for (unsigned bit = 0; bit < 32; ++bit) {
        std::uint32_t state = std::uint32_t{1} << bit;
        for (std::size_t i = 0; i < kRun; ++i)
            state = (state >> 8) ^ kTable[state & 0xFF];
        of_bit[bit] = state;
    }
    ShiftTable table{};
    for (unsigned byte = 0; byte < 4; ++byte)
        for (unsigned value = 0; value < 256; ++value)
            for (unsigned bit = 0; bit < 8; ++bit)
                if ((value >> bit & 1) != 0) table[byte][value] ^= of_bit[byte * 8 + bit];
    return table;
}

constexpr auto kShift = make_shift_table();

std::uint32_t shifted(std::uint32_t state) {
    return kShift[0][state & 0xFF] ^ kShift[1][state >> 8 & 0xFF] ^ kShift[2][state >> 16 & 0xFF] ^
           kShift[3][state >> 24];
}

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(std::span<const std::byte> data,
                                                             std::uint32_t crc) {
    std::uint64_t state = static_cast<std::uint32_t>(~crc);
    const auto* at = data.data();
    auto left = data.size();
    for (; left >= 3 * kRun; left -= 3 * kRun, at += 3 * kRun) {
        std::uint64_t second = 0, third = 0;
        for (std::size_t i = 0; i < kRun; i += 8) {
            std::array<std::uint64_t, 3> words;
            std::memcpy(&words[0], at + i, 8);
            std::memcpy(&words[1], at + kRun + i, 8);
            std::memcpy(&words[2], at + 2 * kRun + i, 8);
            state = _mm_crc32_u64(state, words[0]);
            second = _mm_crc32_u64(second, words[1]);
            third = _mm_crc32_u64(third, words[2]);
        }
        state = shifted(static_cast<std::uint32_t>(state)) ^ second;
        state = shifted(static_cast<std::uint32_t>(state)) ^ third;
    }
    while (left >= 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, at, 8);
        state = _mm_crc32_u64(state, word);
        at += 8;
        left -= 8;
    }
    auto narrow = static_cast<std::uint32_t>(state);
    for (; left > 0; --left)
        narrow = _mm_crc32_u8(narrow, std::to_integer<unsigned char>(*at++));
    return ~narrow;
}

/// An emulated processor has the instruction too, and goes through it bit by bit: then the table is several
/// times as fast. A processor of its own is never so close to the table that a disturbed measurement decides.
bool instruction_is_faster() {
    using Clock = std::chrono::steady_clock;
    constexpr int kTurns = 4;  // the first of each fills caches, and translates the code of an emulated one
    const std::array<std::byte, 3 * kRun> data{};
    auto instruction = Clock::duration::max(), table = Clock::duration::max();
    std::uint32_t crc = 0;
    for (int turn = 0; turn < kTurns; ++turn) {
        const auto begin = Clock::now();
        crc = crc32c_sse42(data, crc);
        const auto between = Clock::now();
        crc = crc32c_portable(data, crc);
        instruction = std::min(instruction, between - begin);
        table = std::min(table, Clock::now() - between);
    }
    [[maybe_unused]] volatile std::uint32_t kept = crc;  // or there would be nothing to compute
    return instruction < table;
}
#endif

}  // namespace

std::uint64_t xxh3(std::span<const std::byte> data) {
    return XXH3_64bits(data.data(), data.size());
}

std::uint32_t crc32c_portable(std::span<const std::byte> data, std::uint32_t crc) {
    crc = ~crc;
    const auto* at = data.data();
    auto left = data.size();
    if constexpr (std::endian::native == std::endian::little) {
        for (; left >= 8; left -= 8, at += 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, at, 8);
            word ^= crc;
            crc = kSlices[7][word & 0xFF] ^ kSlices[6][word >> 8 & 0xFF] ^ kSlices[5][word >> 16 & 0xFF] ^
                  kSlices[4][word >> 24 & 0xFF] ^ kSlices[3][word >> 32 & 0xFF] ^
                  kSlices[2][word >> 40 & 0xFF] ^ kSlices[1][word >> 48 & 0xFF] ^ kSlices[0][word >> 56];
        }
    }
    for (; left > 0; --left)
        crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<std::uint32_t>(*at++)) & 0xFF];
    return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t crc) {
#if defined(__x86_64__)
    static const bool kInstruction = __builtin_cpu_supports("sse4.2") != 0 && instruction_is_faster();
    if (kInstruction) return crc32c_sse42(data, crc);
#endif
    return crc32c_portable(data, crc);
}

}  // namespace understudy
