#pragma once
// The numbers under which the manual's log, and the scripts and people who search it, know what happens to a
// mirror. Each is logged with its number, and told to whoever asked for it (ManagerOptions::on_event).

#include "base/types.h"
#include "messages/messages.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace understudy::mirror::control {

/// Spec: REP-361 to REP-374, and the events that other requirements name.
enum class Event : int {
    started = 1,                  // of the data path: mirrord serves its volumes
    unsupported_system = 2,       // the kernel lacks what the data path needs
    source_state = 16,            // of a source's mirror
    medium_changed = 18,          // under the volume's device; the mirror is broken
    target_state = 20,            // of a target's
    became_target = 21,           // because another node was promoted
    unreachable = 22,             // the target does not answer
    became_source = 23,           // by command
    broken = 35,                  // writes are not mirrored any more
    deleted = 48,                 // the mirror with one peer, or all
    deleted_in_resync = 49,       // the target's content is a mixture
    told_to_take_over = 50,       // promote, switchover
    reconnecting = 69,            // links broke, nothing is lost
    reconnection_failed = 70,     // what was under way is sent by a resync
    reconnected = 71,             // the session goes on
    resync_started = 96,          // 219 or 220 comes with it
    in_sync = 97,                 // its end
    resync_failed = 99,           // it ended before; the next one goes on with what is left
    unclean_end = 128,            // after a crash the log cannot be trusted: a resync follows by itself
    continued_at_start = 133,     // after a clean end
    continued = 134,              // by command
    created = 135,                // a mirror is going to be made
    target_half_failed = 137,     // of a creation
    both_source = 150,            // split brain
    name_lost = 153,              // the device's name means something else; the next start will not find it
    address_changed = 163,        // of this end, as its peer knows it
    other_source = 166,           // the target follows somebody else
    no_unlock_without_log = 169,  // what is written there could not be tracked
    log_not_deleted = 178,        // remove it by hand
    log_failed = 184,             // not used any more
    log_created = 212,            // for a new target, or anew
    switched_over_all = 213,      // of a volume with several targets
    full_resync = 219,
    partial_resync = 220,
    name_gone = 222,  // the device has no name any more
    target_too_small = 225,
    no_targets = 238,        // a source starts without any; a new one gets everything
    cluster_not_told = 265,  // writes wait or fail
    goes_on_untold = 288,    // BlockWritesOnNDLGTimeoutReached=0
    device_missing = 271,    // at the start
    device_gone = 274,       // later
    switchover_started = 275,
    switchover_failed = 276,
    source_grown = 289,
    source_grown_in_resync = 290,
    source_resized = 291,
    log_directory_missing = 292,
    log_directory_given_up = 293,
    log_directory_there = 294,
};

[[nodiscard]] messages::Severity severity_of(Event event);

struct MirrorEvent {
    Event event{};
    VolumeId volume;
    std::string peer;  // empty: of the volume
    std::string text;
};
/// Called on the control loop's thread; must return quickly.
using EventListener = std::function<void(const MirrorEvent&)>;

/// "TEXT (event 96)".
[[nodiscard]] std::string numbered(Event event, std::string_view text);

}  // namespace understudy::mirror::control
