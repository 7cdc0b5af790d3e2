#pragma once
// What two ends of a mirror do when they meet: a pure function of what each says about itself. Both ends
// compute it from the same two summaries and come to complementary results.

#include "mirror/control/generation.h"
#include "mirror/volume.h"

#include <array>
#include <cstdint>
#include <string>

namespace understudy::mirror::control {

using MirrorUuid = std::array<std::uint8_t, 16>;

/// One end, as it presents itself in the dispatch handshake. Spec: REP-041.
struct EndSummary {
    std::string node;
    VolumeId volume;
    MirrorUuid uuid{};
    Role role = Role::none;
    std::uint64_t role_epoch = 0;
    Generations generations;
    bool consistent = true;      // false: target of a resync that has not finished
    bool log_valid = true;       // false: its dirty bits were lost
    bool unlocked = false;       // target opened to local writes
    bool serving = false;        // source: accepts writes now
    bool demoted = false;        // source that has given up its device and waits for the other's promotion
    bool yielded = false;        // target by the administrator's decision in a split brain
    bool split_brain = false;    // source that knows it
    bool log_complete = false;   // source: its log holds what the peer wrote as well
    bool free_left_out = false;  // free space was left out of a copy: there both ends differ
    std::uint64_t dirty_blocks = 0;
    std::uint64_t size = 0;
    std::uint32_t sector_size = 0;

    friend bool operator==(const EndSummary&, const EndSummary&) = default;
};

enum class Verdict {
    attach,         // one source, one target: connect the data links, `resync` says how
    become_target,  // the peer was promoted while this end was down
    wait,           // the peer has to change its role first, or no end is source
    split_brain,    // both accept or accepted writes: nothing is overwritten, both pause, alarm
    refuse,         // they do not fit: this end pauses until a person acts
};
std::string_view to_string(Verdict verdict);

struct Decision {
    Verdict verdict = Verdict::refuse;
    ResyncKind resync = ResyncKind::none;
    std::string why;  // for a person, names both nodes where it matters
};

/// What `self` does about `peer`. Spec: REP-021, REP-023, REP-123, REP-182, REP-183, REP-224, REP-226,
/// REP-237.
Decision decide(const EndSummary& self, const EndSummary& peer);

/// Why this end must not become source, or empty. Spec: REP-118, REP-198.
std::string promotion_problem(const EndSummary& self);

}  // namespace understudy::mirror::control
