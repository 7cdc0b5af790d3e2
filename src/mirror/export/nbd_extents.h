#pragma once
// The answer to an NBD client that asks where data is: extents in whole sectors. Pure but for what the source
// of extents does.

#include "mirror/block.h"
#include "mirror/export/nbd_protocol.h"

#include <algorithm>
#include <vector>

namespace understudy::mirror::nbd {

/// For a request that check() has let pass. From its offset on, at least one, kMostExtents at most (then of
/// less than what was asked), one when the client wants one; neighbours differ. A sector that is partly data
/// is data. `source` has extent_at() of BlockBackend.
template <class Source>
std::vector<Extent> extents_of(const Request& request, std::uint32_t sector, const Source& source) {
    const bool one = (request.flags & kFlagOneExtent) != 0;
    const std::uint64_t end = request.offset + request.length;
    std::vector<Extent> out;
    for (std::uint64_t at = request.offset; at < end;) {
        const BlockExtent found = source.extent_at(at, end - at);
        std::uint64_t length = std::min(found.length, end - at);
        bool hole = found.hole;
        if (length % sector != 0)
            length = hole ? length - length % sector : length + sector - length % sector;
        if (length == 0) {
            hole = false;
            length = sector;
        }
        length = std::min(length, end - at);
        if (!out.empty() && out.back().hole == hole)
            out.back().length += static_cast<std::uint32_t>(length);
        else if (out.size() == (one ? 1 : kMostExtents))
            break;
        else
            out.push_back({static_cast<std::uint32_t>(length), hole});
        at += length;
    }
    return out;
}

}  // namespace understudy::mirror::nbd
