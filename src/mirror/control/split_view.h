#pragma once
// What each side of a split brain has changed, shown before one of them is given up. Pure; any thread.

#include "base/result.h"
#include "mirror/mirror_types.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror::control {

/// Ranges that travel in one reply; a side that is more scattered tells its number of blocks only.
inline constexpr std::size_t kMostSideRanges = 2048;
/// Names of files that are shown to a person; JSON has all that were told.
inline constexpr std::size_t kMostShownFiles = 20;
/// Names of files that travel in one reply, and how long one may be.
inline constexpr std::size_t kMostSideFiles = 100, kMostNameBytes = 4096;

/// One side. Its blocks, of 64 KiB, are those that its intent log says may differ from what both had last:
/// every one that it changed, and perhaps some that it had just written before.
struct SideChanges {
    std::string node;
    bool known = true;    // false: the log was lost, every block counts
    bool source = false;  // false: it gave up already, or never was
    std::uint64_t blocks = 0;
    std::int64_t since_s = 0;  // seconds since 1970; 0: it has not gone on alone
    bool complete = true;      // `ranges` has all of them
    BlockRanges ranges;        // in order, apart from each other
    /// Files that lie in the changed blocks as this side has them now: some that have not changed share a
    /// block with others, those that were deleted have no name any more.
    std::vector<std::string> files;
    std::uint64_t files_found = 0;  // also those that are not in `files`
    std::string files_note;  // why no files are known, or not all; a peer of an older build says nothing

    friend bool operator==(const SideChanges&, const SideChanges&) = default;
};

/// With complete = false and no ranges when there are too many.
SideChanges side_of(std::string node, BlockRanges ranges);

std::string encode(const SideChanges& side);
/// Errors: not what encode() gives, ranges out of order.
Result<SideChanges> decode_side(std::string_view text);

/// Blocks that both have changed; nothing when one side did not tell which.
std::optional<std::uint64_t> common_blocks(const SideChanges& one, const SideChanges& other);

/// For a person; times in UTC.
std::string describe_split(const std::string& volume, const SideChanges& self, const SideChanges& peer);
std::string split_json(const std::string& volume, const SideChanges& self, const SideChanges& peer);

}  // namespace understudy::mirror::control
