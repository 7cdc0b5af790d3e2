#pragma once
// Generation ids: which history of writes an end's content belongs to. Pure values; any thread.
//
// Both ends equal: both hold the same current id. An end that goes on without the other (a source that loses
// its target, a promoted target) takes a new current id before it accepts the first write that the other
// lacks:
//
//   A (source) g1 ---- link lost ----> A g2, history g1         B still g1: A's log covers g1..g2, partial
//   resync A crashes at g1, B is promoted --> B g3, history g1         A comes back with g1: it was down,
//   becomes target both of the above -------------->  A g2 (g1), B g3 (g1)     neither knows the other's:
//   split brain
//
// `sync_base` is the id at which the ends were last known equal: the intent log holds everything since then,
// so a target whose id is at least as young needs a partial resync only.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace understudy::mirror::control {

/// Random and not zero; 0 means that the end never held valid content.
using GenerationId = std::uint64_t;

/// Ids kept; older ones are forgotten, a target that old needs a full resync.
inline constexpr std::size_t kMaxGenerationHistory = 32;

struct Generations {
    GenerationId current = 0;
    std::vector<GenerationId> history;  // newest first, without `current`
    GenerationId sync_base = 0;
    /// The peer holds `current` or may come to hold it at the end of a running resync. While this is set the
    /// end may not accept writes that the peer will not get.
    bool peer_may_hold_current = false;

    /// 0 for `current`, 1 for history.front(), ...; nullopt when unknown.
    [[nodiscard]] std::optional<std::size_t> age_of(GenerationId id) const;
    [[nodiscard]] bool knows(GenerationId id) const { return age_of(id).has_value(); }
    /// Whether the intent log covers every difference to an end that holds `id`.
    [[nodiscard]] bool log_covers(GenerationId id) const;

    /// This end goes on without the other.
    void begin_alone(GenerationId fresh);
    /// A session starts with a peer that holds `peer_current`: ids that no end can hold any more are dropped.
    void begin_session(GenerationId peer_current);
    /// Source: the peer received everything.
    void in_sync();
    /// Target: its content is the source's at `source_current` now.
    void adopt(GenerationId source_current, const std::vector<GenerationId>& source_history);

    friend bool operator==(const Generations&, const Generations&) = default;
};

}  // namespace understudy::mirror::control
