#pragma once
// What the builds at the two ends of a link have in common. Each end says in the dispatch handshake what it
// can do; both compute the same agreement from the two offers before the links are made, and neither sends
// what was not agreed. So an older build at the other end goes on working, without what it does not know.
//
// A new message, flag or meaning gets a bit here. A bit is never given a second meaning; a change that an
// older build could not work with at all gets a new version instead. Pure; any thread.

#include "base/result.h"

#include <algorithm>
#include <cstdint>

namespace understudy::mirror::wire {

using Features = std::uint64_t;
inline constexpr Features kFeatureCompare = 1U << 0;   // compare_block and its answer
inline constexpr Features kFeatureResend = 1U << 1;    // resume, resume_ack
inline constexpr Features kFeatureZstd = 1U << 2;      // flag compressed: the payload is a zstd frame
inline constexpr Features kFeatureSnapshot = 1U << 3;  // flag snapshot of flush
// what this build offers
inline constexpr Features kAllFeatures = kFeatureCompare | kFeatureResend | kFeatureZstd | kFeatureSnapshot;

inline constexpr std::uint32_t kOldestVersion = 1, kNewestVersion = 1;  // of the frames, see wire_format.h

/// What one end can do. A build that says nothing is one from before offers were made: version 1, no feature.
struct Offer {
    std::uint32_t oldest_version = 1, newest_version = 1;
    Features features = 0;

    friend bool operator==(const Offer&, const Offer&) = default;
};
constexpr Offer offer_of_this_build() {
    return {kOldestVersion, kNewestVersion, kAllFeatures};
}

struct Agreement {
    std::uint32_t version = 1;
    Features features = 0;

    friend bool operator==(const Agreement&, const Agreement&) = default;
};

/// The same for both ends. Error: no version in common.
inline Result<Agreement> agree(const Offer& self, const Offer& peer) {
    const std::uint32_t version = std::min(self.newest_version, peer.newest_version);
    if (version < std::max(self.oldest_version, peer.oldest_version))
        return fail(
            Code::failure,
            "the other end speaks versions {} to {} of the data links, this one {} to {}: install the "
            "same release on both nodes",
            peer.oldest_version, peer.newest_version, self.oldest_version, self.newest_version);
    return Agreement{version, self.features & peer.features};
}

}  // namespace understudy::mirror::wire
