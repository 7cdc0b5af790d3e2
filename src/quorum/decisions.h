#pragma once
// The decisions of quorum and witness, as functions without I/O. The driver (guard.h) gathers what they need.
// Spec: sections 4 to 6 of the quorum chapter.

#include "quorum/configuration.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::quorum {

/// The quorum check's answer. Spec: QUO-037.
enum class Quorum : std::uint8_t {
    have,
    lost,
    frozen,        // storage quorum that is not initialised: nothing is started, nothing is stopped
    config_error,  // likewise
};
std::string_view to_string(Quorum quorum);

/// Nodes needed for a majority of `known`, this one included. Spec: QUO-038.
[[nodiscard]] constexpr std::size_t majority_of(std::size_t known) {
    return known / 2 + 1;
}
[[nodiscard]] constexpr Quorum majority_check(std::size_t known, std::size_t reachable) {
    return 2 * reachable > known ? Quorum::have : Quorum::lost;
}

/// Spec: QUO-045.
enum class Witness : std::uint8_t {
    peer_up,      // CR1
    peer_down,    // CR2
    quorum_lost,  // CR3
    no_verdict,   // CR4
};
std::string_view to_string(Witness witness);  // "CR1 peer up" ...

enum class Opinion : std::uint8_t { unknown, alive, dead };  // unknown: no answer, or none worth anything
std::string_view to_string(Opinion opinion);

/// One round of remote_verify: the opinions of the reachable nodes. Empty: ask again after an interval. Spec:
/// QUO-046, QUO-047.
std::optional<Witness> remote_verdict(Quorum quorum, const std::vector<Opinion>& answers,
                                      bool deadline_passed);

/// One look of the storage witness. `base`: the suspect's sequence at its start, empty when it had none.
/// Spec: QUO-050, QUO-054.
struct StorageLook {
    Quorum quorum = Quorum::have;
    std::optional<std::uint64_t> base;
    std::optional<std::uint64_t> sequence;
    runtime::Duration quiet{};
    runtime::Duration dead_after{};
    runtime::Duration waited{};
};
std::optional<Witness> storage_verdict(const StorageLook& look);

enum class DownAction : std::uint8_t {
    take_over,    // the witness confirms, or there is none: safety check, then ordinary failover
    loss_action,  // take everything out of service, quarantine
    nothing,      // this node stays as it is and takes nothing over
};
/// What a node does when it has lost a peer. `witness` is empty when WITNESS_MODE is none. Spec: QUO-057,
/// QUO-074.
DownAction on_comm_down(Quorum quorum, std::optional<Witness> witness, bool has_active_resources);

/// Whether hierarchies may be started at LCM_AVAIL and COMM_UP. Spec: QUO-064, QUO-069.
[[nodiscard]] constexpr bool may_start(Quorum quorum) {
    return quorum == Quorum::have;
}
/// Whether a peer that cannot be reached counts as dead there.
[[nodiscard]] constexpr bool counts_as_dead(std::optional<Witness> witness) {
    return !witness || *witness == Witness::peer_down;
}

}  // namespace understudy::quorum
