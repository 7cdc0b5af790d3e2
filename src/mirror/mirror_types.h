#pragma once
// The words of a mirror: roles, states, causes and parameters, numbered and named as people see them.

#include "mirror/wire/features.h"

#include <array>
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
    std::uint32_t compression_level = 0;        // 0: none, 1 (fastest) to 9 (smallest). Spec: REP-242
    /// What an asynchronous mirror may lose at most, as time and as bytes that the target has not confirmed;
    /// 0: no limit. At the limit writers wait, or the mirror pauses.
    std::uint32_t lag_limit_ms = 0;
    std::uint32_t lag_limit_mb = 0;
    bool block_writes_on_lag_limit = true;
    bool full_resync_on_boot = false, full_resync_on_continue = false;  // Spec: REP-125
    bool copy_free_space = false;  // a full resync also sends what the file system does not use
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
    std::uint64_t skipped_bytes = 0;  // being sent again already
    std::uint64_t unused_bytes = 0;   // never sent: the file system does not use them
    /// Of which only what was written had been sent, since a full resync left them out: sent as a whole now.
    std::uint64_t completed_blocks = 0;
    std::uint64_t different_blocks = 0;  // of 64 KiB
    std::vector<std::uint64_t> offsets;  // of the first of them, bytes
    std::string stopped;                 // why not all was compared; empty when all was
};

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
    shutdown,
    lag_limit,
    resized  // its volume has another size than before. Spec: REP-144
};
inline constexpr std::size_t kPauseCauses = 12;
std::string_view to_string(PauseCause cause);

/// What a source measures, of itself and one target. Zero on a target. Spec: REP-248 to REP-268.
struct SourceCounters {
    /// Upper bounds of the acknowledgement times, microseconds; the last bucket has none.
    static constexpr std::array<std::uint32_t, 11> kLatencyBounds = {
        250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000};
    std::uint64_t mirroring_ms = 0;  // in the mirroring state without a break; 0 in other states
    std::uint64_t queue_age_ms = 0;  // of the oldest write that the target has not acknowledged
    /// What would be missing if the target took over now: since when, how much, in how many writes. While
    /// nothing is sent: since the mirror left its state, and the blocks that differ.
    std::uint64_t lag_ms = 0, lag_bytes = 0, lag_requests = 0;
    std::uint32_t resync_phase = 0;  // 0 unknown, 1 initial, 2 update, 3 done
    std::uint64_t resync_current_block = 0, resync_total_blocks = 0;
    std::uint64_t resync_ms = 0;  // running, or the last one that ended well
    std::uint64_t resync_new_writes = 0;
    std::uint64_t data_bytes = 0;           // of writes and copies sent, as the volume has them
    std::uint64_t data_bytes_on_wire = 0;   // the same as it was sent: compressed, zeroes as none
    std::uint64_t compressed_messages = 0;  // others were not smaller so
    std::uint64_t resumptions = 0;          // broken links replaced without a resync. Spec: REP-096
    std::uint64_t held_writes = 0;          // waiting now, because of a limit or the end of a resync
    std::array<std::uint64_t, kPauseCauses> pauses{};  // by cause
    std::array<std::uint64_t, kLatencyBounds.size() + 1> acknowledged{};
    std::uint64_t acknowledged_us = 0;  // sum of all times
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

/// What the controller answers when a source has to go on without its target: true when that is recorded
/// where it must be, false when it could not be and the waiting writes are to fail. Spec: REP-079.
using DegradeAnswer = std::function<void(bool recorded)>;

}  // namespace understudy::mirror
