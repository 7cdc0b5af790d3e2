#pragma once
// Why a hierarchy is never in service twice under quorum: the arithmetic of who must have stopped by when.
// Pure. README ruling 11; QUO-062.
//
// An owner has a proof of its right to run: the newest moment (its own clock) of which it knows that enough
// others heard it. A heartbeat's echo is such a proof: "what you sent at s has reached me". Without a newer
// proof it must have stopped, or is reset, at
//
//     proof + patience + QUORUM_STOP_GRACE_SECS        patience: the longest interval x misses (paths),
//                                                      2 x HBEATTIME (storage)
//
// A survivor starts only when, for a majority, the owner has been silent for longer than that:
//
//     owner   ---s----------------------------| reset or stopped     s: sent, heard by the others at h >= s
//     others  ----h--------------------------------|start            start >= h + patience + grace + margin
//
// Two majorities have a node in common, so the owner cannot have had a newer proof. The clocks of two nodes
// are never compared; only durations are, and kMargin covers their drift. With storage the same holds for the
// owner's writes: a survivor has seen no change for longer than the owner may go on without a new write.

#include "quorum/configuration.h"

#include <optional>
#include <vector>

namespace understudy::quorum {

/// Timers, scheduling, drift of clocks over the whole wait.
inline constexpr runtime::Duration kMargin = std::chrono::seconds(1);

/// The newest moment at which a majority of `known` nodes, this one included, is proven to have heard this
/// node; `heard` has an entry for every other node. Empty: never.
std::optional<runtime::TimePoint> majority_proof(std::vector<std::optional<runtime::TimePoint>> heard,
                                                 std::size_t known);

/// Until when this node may go on with what it has in service, before the grace begins; empty: no proof yet.
/// With storage: while every peer hears it nobody takes over, otherwise while it writes.
std::optional<runtime::TimePoint> proven_until(Mode mode,
                                               const std::vector<std::optional<runtime::TimePoint>>& heard,
                                               std::size_t known, runtime::Duration patience,
                                               std::optional<runtime::TimePoint> last_write,
                                               runtime::Duration write_patience);

/// How long a lost node must have been silent before what it had may be started.
[[nodiscard]] runtime::Duration silence_needed(runtime::Duration patience, runtime::Duration grace);

/// Whether enough nodes, this one included, have not heard the lost one for `needed`. `silences`: of this
/// node and of every node that answered.
[[nodiscard]] bool silent_for_majority(const std::vector<runtime::Duration>& silences, std::size_t known,
                                       runtime::Duration needed);

}  // namespace understudy::quorum
