#pragma once
// Pieces of a volume as blocks of 64 KiB, the unit of the intent log. Pure; any thread.

#include "mirror/mirror_types.h"

#include <cstdint>
#include <vector>

namespace understudy::mirror::filesystem {

/// Bytes [begin, end) of a volume.
struct Piece {
    std::uint64_t begin = 0, end = 0;
    friend bool operator==(const Piece&, const Piece&) = default;
};

/// More ranges than these are not told: the smallest are left out, so that what is called free is free.
inline constexpr std::size_t kMostFreeRanges = 100000;

/// The blocks of which every byte is in one of the pieces, which come in any order and touch or overlap each
/// other. The volume's first block never counts: boot loaders and labels live there, of which no file system
/// knows.
BlockRanges whole_blocks(std::vector<Piece> pieces, std::size_t most = kMostFreeRanges);

/// Whether any of the ranges, which are in order and apart from each other, has a byte of the piece.
bool touches(const BlockRanges& ranges, const Piece& piece);

}  // namespace understudy::mirror::filesystem
