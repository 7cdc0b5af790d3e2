#include "mirror/control/counters.h"

namespace understudy::mirror::control {

std::vector<Counter> counters_of(const VolumeStatus& volume, const MirrorParameters& parameters) {
    if (volume.role != Role::source || volume.state == MirrorState::none) return {};
    constexpr std::uint32_t kLowWater = 150;  // WriteQueueLowWater, without effect. Spec: REP-104
    const SourceCounters& counted = volume.counters;
    const bool resync = volume.state == MirrorState::resync;
    const auto number = [](auto value) { return static_cast<double>(value); };
    return {
        {"repl_mirror_elapsed_seconds", "Time in the mirroring state; 0 in any other",
         number(counted.mirroring_ms / 1000)},
        {"repl_mirror_state", "0 none, 1 mirroring, 2 resync, 3 broken, 4 paused, 5 resync pending",
         number(static_cast<int>(volume.state))},
        {"repl_mirror_type", "0 none, 1 synchronous, 2 asynchronous", number(static_cast<int>(volume.type))},
        {"repl_network_reconnects_total", "Connections to the target made anew", number(volume.reconnects)},
        {"repl_queue_byte_limit", "Bytes that the write queue may hold; 0: any number",
         number(std::uint64_t{parameters.write_queue_byte_limit_mb} << 20)},
        {"repl_queue_age_milliseconds", "Age of the oldest write in the queue", number(counted.queue_age_ms)},
        {"repl_queue_bytes", "Bytes in the write queue", number(volume.queue_bytes)},
        {"repl_queue_length", "Writes in the write queue", number(volume.queue_requests)},
        {"repl_queue_high_water", "Writes that the queue may hold; 0: any number",
         number(parameters.write_queue_high_water)},
        {"repl_queue_low_water", "Without effect", number(kLowWater)},
        {"repl_resync_reads", "Blocks of a resync on their way at a time, at most",
         number(parameters.resync_reads)},
        {"repl_resync_current_block", "The block that a resync has come to; 0 outside of one",
         number(resync ? counted.resync_current_block : 0)},
        {"repl_resync_dirty_blocks", "Blocks of 64 KiB that a resync has still to send; 0 outside of one",
         number(resync ? volume.dirty_blocks : 0)},
        {"repl_resync_elapsed_seconds", "Time of the running resync, or of the last one that ended well",
         number(counted.resync_ms / 1000)},
        {"repl_resync_new_writes", "Writes since the resync began", number(counted.resync_new_writes)},
        {"repl_resync_pass", "Passes of the running resync that have ended",
         number(resync ? volume.resync_pass : 0)},
        {"repl_resync_total_blocks", "Blocks of 64 KiB of the volume", number(counted.resync_total_blocks)},
        {"repl_resync_phase", "0 unknown, 1 initial, 2 update, 3 done", number(counted.resync_phase)},
        {"repl_lag_milliseconds", "How long the target has been behind, by the oldest write it lacks",
         number(counted.lag_ms)},
        {"repl_lag_bytes", "What would be missing if the target took over now", number(counted.lag_bytes)},
        {"repl_lag_writes", "The same in writes in the queue", number(counted.lag_requests)},
        {"repl_data_bytes_total", "Bytes of writes and resync blocks given to the link",
         number(counted.data_bytes)},
        {"repl_data_bytes_on_wire_total", "The same as sent: compressed, without zeroes",
         number(counted.data_bytes_on_wire)},
        {"repl_compressed_messages_total", "Messages that compression made smaller",
         number(counted.compressed_messages)},
        {"repl_resumptions_total", "Broken connections replaced without a resync",
         number(counted.resumptions)},
        {"repl_log_commits_total", "Commits of the intent log", number(volume.log_commits)},
        {"repl_held_writes", "Writes that wait because of a limit or the end of a resync",
         number(counted.held_writes)},
    };
}

}  // namespace understudy::mirror::control
