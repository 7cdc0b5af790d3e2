#pragma once
// The waits of mirror control, in one place.

#include "mirror/volume.h"
#include "runtime/tasks.h"

#include <chrono>

namespace understudy::mirror::control {

// Reconnection: quick at first, because most losses are short.
inline constexpr runtime::Duration kConnectBackoffStart = std::chrono::milliseconds(100);
inline constexpr runtime::Duration kConnectBackoffMost = std::chrono::seconds(3);
inline constexpr runtime::Duration kConnectLimit = std::chrono::seconds(3);
// Links that broke are replaced within moments or not at all.
inline constexpr runtime::Duration kResumeLimit = std::chrono::seconds(2);
inline constexpr runtime::Duration kHelloLimit = std::chrono::seconds(15);
// A peer that makes its half of a mirror and serves several roots opens devices, which may take a while.
inline constexpr runtime::Duration kCreateLimit = std::chrono::seconds(30);
inline constexpr runtime::Duration kQueryLimit = std::chrono::seconds(2);
// What a side of a split brain has changed, with the names of files, which take time to find.
inline constexpr runtime::Duration kFilesLimit = std::chrono::seconds(15);
// A source that starts asks its peer for so long whether it was promoted; a peer that does not answer counts
// as absent, because a node must be able to start alone. Spec: REP-237.
inline constexpr runtime::Duration kBootCheckLimit = std::chrono::seconds(1);
// A target that is to be promoted looks for a living source for so long; shorter when the cluster knows it
// dead.
inline constexpr runtime::Duration kTakeoverProbe = std::chrono::seconds(1);
inline constexpr runtime::Duration kTakeoverProbeDead = std::chrono::milliseconds(150);
inline constexpr runtime::Duration kDemoteLimit = std::chrono::seconds(30);
// A target records a new generation: a file is written. Writes wait for it.
inline constexpr runtime::Duration kAdvanceLimit = std::chrono::seconds(5);
inline constexpr runtime::Duration kNotifyLimit = std::chrono::seconds(3);
// Writes wait so long for a session that starts with equal ends.
inline constexpr runtime::Duration kHoldForSession = std::chrono::seconds(3);
inline constexpr runtime::Duration kOperationWait = std::chrono::seconds(20);
// Writes wait so long for those before them when a target is added.
inline constexpr runtime::Duration kWrittenWait = std::chrono::seconds(10);
inline constexpr runtime::Duration kDemoteWait = std::chrono::seconds(10);
inline constexpr runtime::Duration kReturnLimit = std::chrono::seconds(60);
inline constexpr runtime::Duration kRepairLimit = std::chrono::minutes(10);
// A source that passes a snapshot's command on to the target waits so long for it.
inline constexpr runtime::Duration kSnapshotLimit = std::chrono::seconds(90);
// How often the size of a volume's device is looked at. Spec: REP-305.
inline constexpr std::uint64_t kLeastDeviceBytes = 65536;  // one bit of the intent log. Spec: REP-022
inline constexpr runtime::Duration kSizeLook = std::chrono::seconds(2);
inline constexpr runtime::Duration kStatePoll = std::chrono::milliseconds(20);
inline constexpr runtime::Duration kRecordRetry = std::chrono::seconds(1);
// Between two attempts to tell the cluster that this end goes on alone, while writes wait; and, when they do
// not, to tell nodes that were dead then.
inline constexpr runtime::Duration kNoteRetry = std::chrono::milliseconds(200);
inline constexpr runtime::Duration kNoteRefresh = std::chrono::seconds(5);
// While this node's own understudyd is absent, writes wait so many times NDLGTimeoutMs for it, that included
// which it then has to tell the others: whoever supervises it starts it again. Spec: REP-219
inline constexpr int kWaitsForEngine = 10;
// Between two complaints about the directory of the intent logs. Spec: REP-061.
inline constexpr runtime::Duration kLogDirectoryTold = std::chrono::minutes(2);
inline constexpr runtime::Duration kOpenRetryStart = std::chrono::milliseconds(500);
inline constexpr runtime::Duration kOpenRetryMost = std::chrono::seconds(5);

/// From a pause that nobody asked for to the next attempt. Spec: REP-136 to REP-143.
inline runtime::Duration retry_delay(PauseCause cause) {
    switch (cause) {
        case PauseCause::queue_limit:
        case PauseCause::lag_limit:
        case PauseCause::resource:
            return std::chrono::milliseconds(MirrorParameters{}.auto_resume_delay_ms);
        case PauseCause::resync_passes:
        case PauseCause::write_block_timeout:
        case PauseCause::target_error:
        case PauseCause::source_read_error:
            return std::chrono::seconds(60);
        case PauseCause::none:
        case PauseCause::user:
        case PauseCause::resized:
        case PauseCause::link_lost:
        case PauseCause::shutdown:
            return kConnectBackoffStart;
    }
    return kConnectBackoffMost;
}

}  // namespace understudy::mirror::control
