#pragma once
// Generation ids: which history of writes an end's content belongs to. Pure values; any thread.
//
// All ends equal: all hold the same current id. An end that goes on without another (a source that loses a
// target, a promoted target) takes a new current id before it accepts the first write that the other lacks,
// and tells those that it does not lose:
//
//   A (source) g1 -- B lost --> A g2, history g1, C told: g2     B still g1: A's log of B covers g1..g2,
//   partial A crashes at g1, B is promoted --> B g3, history g1          A comes back with g1: it was down,
//   becomes target both of the above -------------->  A g2 (g1), B g3 (g1)      neither knows the other's:
//   split brain
//
// `sync_base` of a peer is the id at which this end and it were last known equal: the intent log of that peer
// holds everything since then, so a copy whose id is at least as young needs a partial resync only. 0:
// nothing is known.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace understudy::mirror::control {

/// Random and not zero; 0 means that the end never held valid content.
using GenerationId = std::uint64_t;

/// Ids kept; what no peer can hold any more is forgotten first. Enough for the two that each of kMaxTargets
/// may hold.
inline constexpr std::size_t kMaxGenerationHistory = 32;

/// What one end tells another about itself, and about the log it keeps of it.
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

    friend bool operator==(const Generations&, const Generations&) = default;
};

/// What is known of one peer's copy.
struct PeerBase {
    GenerationId sync_base = 0;
    GenerationId offered = 0;  // the newest id that it may have come to hold
    bool may_hold_current = false;

    friend bool operator==(const PeerBase&, const PeerBase&) = default;
};

/// An end's ids, and what it knows of every peer.
struct Lineage {
    GenerationId current = 0;
    std::vector<GenerationId> history;  // newest first, without `current`
    std::map<std::string, PeerBase> peers;

    [[nodiscard]] Generations with(const std::string& peer) const;
    [[nodiscard]] bool knows(GenerationId id) const { return with({}).knows(id); }

    /// This end goes on without all peers but those in session, which are told `fresh`.
    void begin_alone(GenerationId fresh, const std::set<std::string>& in_session);
    /// A session starts with a peer that holds `peer_current`.
    void begin_session(const std::string& peer, GenerationId peer_current);
    /// Source: the peer received everything. `told`: the newest id that it has confirmed to know.
    void in_sync(const std::string& peer, GenerationId told);
    /// Source: a peer that mirrors has recorded `current`.
    void confirmed(const std::string& peer);
    /// Target: its content is the source's at `source_current` now.
    void adopt(const std::string& source, GenerationId source_current,
               const std::vector<GenerationId>& source_history);

    friend bool operator==(const Lineage&, const Lineage&) = default;

  private:
    void prune();
};

}  // namespace understudy::mirror::control
