#pragma once
// The words of a mirror: roles, states, causes and parameters, numbered and named as people see them.

#include "mirror/wire/features.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::mirror {

enum class Role : std::uint8_t { none = 0, source = 1, target = 2 };  // numbers: Spec REP-134
enum class MirrorState : std::int8_t {
    invalid = -1,
    none = 0,
    mirroring = 1,
    resync = 2,
    broken = 3,
    paused = 4,
    pending = 5
};  // numbers: Spec REP-127 to REP-133
enum class MirrorType : std::uint8_t { none = 0, sync = 1, async = 2 };
std::string_view to_string(Role role);          // "source" ...
std::string_view to_string(MirrorState state);  // "mirroring", "resync", "paused", "resync pending" ...
std::string_view to_string(MirrorType type);

/// Parameters with the manual's names, defaults and units. Spec: REP-274 to REP-298.
struct MirrorParameters {
    std::uint32_t bitmap_bytes_per_block = 65536;
    std::uint32_t max_resync_passes = 200;
    std::uint32_t ping_interval_ms = 3000;
    std::uint32_t max_ping_misses = 10;
    std::uint32_t resync_reads = 20;
    std::uint32_t resync_low_water = 150;
    std::uint32_t resync_block_writes_timeout_ms = 15000;
    std::uint32_t write_queue_high_water = 20000;  // requests, 0: unlimited
    std::uint32_t write_queue_byte_limit_mb = 0;   // 0: unlimited
    bool block_writes_on_limit_reached = false;
    bool dont_flush_async_queue = false;
    std::uint32_t auto_resume_delay_ms = 5000;
    std::uint32_t snapshot_block_bytes = 65536;
    std::uint32_t quiesce_wait_ms = 60000;      // of a target, for the marker of its snapshot
    std::uint32_t bandwidth_throttle_kbit = 0;  // thousands of bits a second, 0: unlimited
};

/// A comparison of both ends while they mirror.
struct CompareOptions {
    std::uint64_t bytes_per_second = 64ULL << 20;  // read on each end; at least 1
    bool repair = false;                           // send again what differs
};
struct CompareReport {
    static constexpr std::size_t kMostOffsets = 16;
    bool running = false;
    std::uint64_t compared_bytes = 0, total_bytes = 0;
    std::uint64_t skipped_bytes = 0;     // being sent again already
    std::uint64_t different_blocks = 0;  // of 64 KiB
    std::vector<std::uint64_t> offsets;  // of the first of them, bytes
    std::string stopped;                 // why not all was compared; empty when all was
};

/// A snapshot of a target's volume. Spec: REP-312.
enum class SnapshotState : std::uint8_t {
    none,
    prepared,  // its file is there, its moment has not come
    active,
    invalid,  // its file failed; it can only be dropped
};
std::string_view to_string(SnapshotState state);  // "none", "prepared" ...

enum class ResyncKind { none, partial, full };

/// How two fresh links begin.
struct LinkTerms {
    ResyncKind kind = ResyncKind::partial;
    wire::Features features = 0;  // agreed by both ends
    /// The session whose links broke goes on: nothing is forgotten, `kind` means nothing. Spec: REP-096.
    bool resume = false;
};

/// Blocks of 64 KiB, as they travel between hosts when another becomes source.
struct BlockRange {
    std::uint64_t first = 0, count = 0;
    friend bool operator==(const BlockRange&, const BlockRange&) = default;
};
using BlockRanges = std::vector<BlockRange>;

/// Why a source left mirroring or resync. Spec: REP-137 to REP-147.
enum class PauseCause : std::uint8_t {
    none,
    user,
    link_lost,
    queue_limit,
    resource,
    resync_passes,
    write_block_timeout,
    target_error,
    source_read_error,
    shutdown
};
std::string_view to_string(PauseCause cause);

/// What the controller answers when a source has to go on without its target: true when that is recorded
/// where it must be, false when it could not be and the waiting writes are to fail. Spec: REP-079.
using DegradeAnswer = std::function<void(bool recorded)>;

}  // namespace understudy::mirror
