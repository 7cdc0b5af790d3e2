#include "mirror/filesystem/blocks.h"

#include "mirror/core/block_map.h"

#include <algorithm>
#include <functional>

namespace understudy::mirror::filesystem {

namespace {

void add(BlockRanges& out, const Piece& piece) {
    const std::uint64_t first = std::max<std::uint64_t>(blocks_of(piece.begin), 1);
    const std::uint64_t end = piece.end / kBlockBytes;
    if (first < end) out.push_back({first, end - first});
}

}  // namespace

BlockRanges whole_blocks(std::vector<Piece> pieces, std::size_t most) {
    std::sort(pieces.begin(), pieces.end(),
              [](const Piece& one, const Piece& other) { return one.begin < other.begin; });
    BlockRanges out;
    Piece joined;
    for (const Piece& piece : pieces) {
        if (piece.begin >= piece.end) continue;
        if (piece.begin <= joined.end) {
            joined.end = std::max(joined.end, piece.end);
            continue;
        }
        add(out, joined);
        joined = piece;
    }
    add(out, joined);
    if (out.size() <= most) return out;
    if (most == 0) return {};
    std::vector<std::uint64_t> counts;
    counts.reserve(out.size());
    for (const BlockRange& range : out)
        counts.push_back(range.count);
    const auto at = counts.begin() + static_cast<std::ptrdiff_t>(most - 1);
    std::nth_element(counts.begin(), at, counts.end(), std::greater<>());
    const std::uint64_t least = *at;
    // Of several that are just as large, as many as there is room for.
    auto room = most - static_cast<std::size_t>(std::count_if(
                           counts.begin(), counts.end(), [least](std::uint64_t n) { return n > least; }));
    std::erase_if(out, [least, &room](const BlockRange& range) {
        if (range.count != least) return range.count < least;
        if (room == 0) return true;
        --room;
        return false;
    });
    return out;
}

bool touches(const BlockRanges& ranges, const Piece& piece) {
    if (piece.begin >= piece.end) return false;
    const std::uint64_t first = piece.begin / kBlockBytes, last = (piece.end - 1) / kBlockBytes;
    const auto at = std::partition_point(ranges.begin(), ranges.end(), [first](const BlockRange& range) {
        return range.first + range.count <= first;
    });
    return at != ranges.end() && at->first <= last;
}

}  // namespace understudy::mirror::filesystem
