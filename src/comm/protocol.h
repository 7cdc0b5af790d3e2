#pragma once
// Versions of the protocol between nodes, and what two nodes of different releases speak with each other.
//
// Each Hello says the lowest and the highest version that its sender speaks, and a bit for each optional part
// that it knows. Both ends come to the same result: the highest version that both speak, and the parts that
// both know. So a cluster is upgraded node by node: a release that brings version n + 1 goes on speaking n
// until all have it. Within a version, fields and frames that a node does not know are ignored, and calls of
// methods that it does not serve are answered with an error. Pure. Spec: CLU-256, row 23 of cluster-core.

#include <algorithm>
#include <cstdint>
#include <optional>

namespace understudy::comm {

inline constexpr std::uint32_t kLowestProtocol = 1;
inline constexpr std::uint32_t kHighestProtocol = 1;
inline constexpr std::uint32_t kProtocolMinor = 0;

/// Parts that a peer may or may not have. A bit keeps its meaning for ever.
enum class Feature : std::uint64_t {
    credentials = 1U << 0,  // exchanges removed nodes and renewed certificates
};
inline constexpr std::uint64_t kFeatures = static_cast<std::uint64_t>(Feature::credentials);

/// What a node speaks.
struct Protocol {
    std::uint32_t lowest = kLowestProtocol;
    std::uint32_t highest = kHighestProtocol;
    std::uint64_t features = kFeatures;
    /// The simulator's later release: it also sends frames that this one does not know.
    bool sends_unknown_frames = false;
};

struct Agreed {
    std::uint32_t version = 0;
    std::uint64_t features = 0;
    friend bool operator==(const Agreed&, const Agreed&) = default;
};

/// nullopt: there is no version that both speak.
inline std::optional<Agreed> agree(const Protocol& ours, const Protocol& theirs) {
    const auto version = std::min(ours.highest, theirs.highest);
    if (version < std::max(ours.lowest, theirs.lowest)) return std::nullopt;
    return Agreed{version, ours.features & theirs.features};
}

}  // namespace understudy::comm
