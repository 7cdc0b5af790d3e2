#pragma once
// A replicated volume's data path: local device, intent log, link to the other end. One per volume; lives on
// its reactor's thread. Who plays which role, generation ids and handshakes are decided by mirror/control and
// given to it.
//
//   export -> submit() -> [intent log] -> local device ----------> done
//                     \-> write queue -> data link -> target's Volume -> its device, acknowledgement back
//   resync reads blocks whose bit is set and sends them on a link of its own.

#include "base/types.h"
#include "mirror/block.h"
#include "mirror/core/fan_out.h"
#include "mirror/io/reactor.h"
#include "mirror/mirror_types.h"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace understudy::mirror {

struct VolumeOptions {
    VolumeId id;
    std::string device;                   // file or block device, opened O_DIRECT and exclusively
    std::string log_path;                 // intent log file; created when absent
    bool log_in_memory = false;           // no file: what a crash leaves behind is not known
    std::array<std::uint8_t, 16> uuid{};  // of the mirror; must match the log's
    std::uint64_t size = 0;               // bytes that are replicated; 0: all of the device
    MirrorType type = MirrorType::sync;
    bool has_target = true;  // false: unreplicated, requests go straight to the device
    MirrorParameters parameters;
    /// How long open() waits for an earlier holder of the device to let go (a killed mirrord's last writes).
    std::uint32_t busy_wait_ms = 2000;
    /// One of several targets' volumes on one device: opened by somebody else, who outlives this volume
    /// (volume_set.h). `device` is only its name then.
    BlockBackend* shared_device = nullptr;
};

struct VolumeStatus {
    Role role = Role::none;
    MirrorState state = MirrorState::none;
    MirrorType type = MirrorType::none;
    PauseCause cause = PauseCause::none;
    bool linked = false;
    bool log_valid = true;     // false: the log could not be written or was found invalid; all is dirty
    bool log_created = false;  // the log is new and no role was taken with it yet: nothing is known before it
    bool log_was_clean = false;  // the log was closed by a clean shutdown. Spec: REP-073
    bool consistent =
        true;  // target: false from the start of a resync to its end; not promotable. Spec: REP-118
    std::uint64_t size = 0;
    std::uint32_t sector_size = 512;
    std::uint64_t dirty_blocks = 0;       // 64 KiB each
    std::uint64_t resync_bytes_sent = 0;  // since the last resync began
    std::uint32_t resync_pass = 0;
    std::uint64_t writes = 0, write_bytes = 0, reads = 0, read_bytes = 0;
    std::uint64_t queue_requests = 0, queue_bytes = 0;  // sent or waiting, not acknowledged
    std::uint64_t log_commits = 0;
    std::uint64_t reconnects = 0;
    bool suspended = false;  // source: the links broke, new ones may continue them. Spec: REP-096
    bool resumable = false;  // target: the same
    SourceCounters counters;
    /// Source: it is known which blocks were never sent, and how many these are.
    bool left_out_known = false;
    std::uint64_t left_out_blocks = 0;
    /// Target of several: it knows which blocks the others may lack, so that they can follow it without a
    /// full resync. Soon after a session began it does not yet. Spec: REP-238.
    bool recent_known = false;
    CompareReport comparison;                      // of a source: the one under way, or the last
    SnapshotState snapshot = SnapshotState::none;  // of a target
    std::uint64_t snapshot_bytes = 0;              // that its file holds, holes not counted
    std::string snapshot_problem;                  // why it is invalid
};

/// A snapshot that is to begin at the marker with this number.
struct SnapshotPlan {
    std::uint64_t number = 0;  // not 0
    std::string file;          // exists, at least as large as the volume, all holes
    std::uint32_t block_bytes = 65536;
};

/// What a volume tells its controller; called on the reactor's thread, must return quickly.
class VolumeEvents {
  public:
    virtual ~VolumeEvents() = default;
    virtual void state_changed(MirrorState from, MirrorState to, PauseCause cause) = 0;
    /// The link is gone (both sides); the controller reconnects and attaches new sockets.
    virtual void link_lost(std::string why) = 0;
    /// A source's links broke and nothing is lost yet: attach() with terms.resume, or give_up_links().
    /// Without either link_lost() follows after a detection interval. Spec: REP-096.
    virtual void link_interrupted(std::string why) = 0;
    /// A source that was mirroring must go on alone: make that durable (a new generation id, an out-of-date
    /// record), then call `release` on the reactor's thread. Writes that wait are completed only then. Spec:
    /// REP-079.
    virtual void degraded(DegradeAnswer release) = 0;
    /// A target has received all of a resync, or a source has sent all: both ends are equal from here on.
    virtual void in_sync() = 0;
    /// The intent log could not be written: it is not used any more. Spec: REP-064.
    virtual void log_failed(std::string why) = 0;
    /// A source waits for its target, which has not been heard of for a moment. Repeated while it lasts; see
    /// SourceDriver.
    virtual void target_silent() = 0;
    /// The target's snapshot cannot go on: its view gives errors from now on. Spec: REP-332.
    virtual void snapshot_failed(std::string why) { (void)why; }
};

/// Destroy a volume only after shutdown() has called `done`, and on the reactor's thread.
class Volume : public BlockBackend {
  public:
    /// Errors: device missing, in use (names the holder), not writable; log of another volume; no space for
    /// the log.
    static Result<std::unique_ptr<Volume>> open(Reactor& reactor, VolumeOptions options,
                                                VolumeEvents& events);

    // --- roles

    /// Serves submit(). The log's dirty bits are kept from earlier lives; with `mark_all_dirty` a full resync
    /// follows.
    virtual void become_source(MirrorState state, PauseCause cause, bool mark_all_dirty) = 0;
    /// Refuses submit() with -EACCES. Its own dirty bits are kept for the merge at the next resync (REP-121).
    virtual void become_target() = 0;
    /// Target about to be promoted: waits until everything received is on the device, then `done`.
    virtual void drain(std::function<void(Result<>)> done) = 0;
    /// Source about to step down: refuses new requests (-EROFS), waits for local and remote completion,
    /// `done`.
    virtual void quiesce(std::function<void(Result<>)> done) = 0;

    // --- link

    /// Takes two connected, authenticated sockets (live writes; resync) and starts: a source fetches the
    /// target's dirty bits, merges, resyncs (`terms.kind`: full marks everything dirty first; none warrants
    /// equality) and mirrors.
    virtual void attach(int data_socket, int resync_socket, LinkTerms terms) = 0;
    /// Drops the link without an event.
    virtual void detach() = 0;
    /// An interrupted session will not go on; link_lost() follows.
    virtual void give_up_links(std::string why) = 0;
    /// A source whose links work takes them for broken: link_interrupted() or link_lost() follows.
    virtual void restart_links(std::string why) = 0;

    // --- administration

    virtual void pause(std::function<void(Result<>)> done) = 0;  // Spec: REP-150, REP-159
    virtual void resume() = 0;                                   // paused -> pending; the controller attaches
    virtual void break_mirror() = 0;                             // Spec: REP-161
    virtual void set_type(MirrorType type) = 0;                  // Spec: REP-180
    virtual void set_parameters(const MirrorParameters& parameters) = 0;
    // --- what a full copy leaves out; see log/left_out.h
    /// From here on it is noted what is written; ends an earlier such call and what was left out by it.
    virtual void watch_writes(std::uint64_t number) = 0;
    /// The file system was asked after watch_writes(number), while nothing that it had begun before was
    /// under way. `copied`: the ends have been made equal in everything else already; otherwise the next
    /// links begin with a copy of everything else. Nothing happens after a later watch_writes() or a change
    /// of roles.
    virtual void leave_out(std::uint64_t number, BlockRanges unused, bool copied) = 0;
    /// See Source::compare. Error besides: not a source.
    virtual void compare(const CompareOptions& options, std::function<void(Result<CompareReport>)> done) = 0;
    // --- snapshots; see snapshot/snapshot.h
    /// Source: puts the marker into the stream of writes. See Source::mark_snapshot.
    virtual void mark_snapshot(std::uint64_t number, std::function<void(Result<>)> done) = 0;
    /// Target: opens the file, exclusively; the snapshot begins when the marker arrives. One at a time.
    virtual Result<> prepare_snapshot(const SnapshotPlan& plan) = 0;
    /// Target: what the volume held at the marker; nullptr before it. Valid until drop_snapshot().
    [[nodiscard]] virtual BlockBackend* snapshot_view() = 0;
    /// Forgets the snapshot, in whatever state; `done` when its file is closed. Whoever uses the view must
    /// have gone, or live with errors.
    virtual void drop_snapshot(std::function<void()> done) = 0;

    [[nodiscard]] virtual VolumeStatus status() const = 0;

    // --- several targets; see core/fan_out.h
    /// Of a source: see Source::all_written. Of others true.
    [[nodiscard]] virtual bool all_written() const = 0;
    [[nodiscard]] virtual std::optional<FanOutLeg::Progress> progress() const = 0;
    virtual void everywhere(std::uint64_t through) = 0;
    /// Of a target, also after its link is gone: blocks that the other targets of its source may lack.
    /// nullopt: not known.
    [[nodiscard]] virtual std::optional<BlockRanges> recent_writes() const = 0;
    /// Of a quiesced source: what the log says the target may lack.
    [[nodiscard]] virtual BlockRanges dirty_ranges() const = 0;
    /// Without a link: from here on these are the blocks that may differ, and no others. `done` when that is
    /// durable; error: the log cannot be written.
    virtual void replace_dirty(const BlockRanges& ranges, std::function<void(Result<>)> done) = 0;
    /// Clean shutdown: drains, clears clean bits on disk, marks the log clean. Spec: REP-184.
    virtual void shutdown(std::function<void()> done) = 0;
};

}  // namespace understudy::mirror
