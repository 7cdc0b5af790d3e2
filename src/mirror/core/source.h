#pragma once
// The source's half of a mirror as a state machine: no sockets, threads or clock. Its driver (volume.cpp, or
// the model test with simulated disks and links) carries out what it asks for and reports what happened.
//
//   submit -> [held] -> [overlap] -> [log commit] -> local device --+
//                                        |                          +-> complete
//                                        +-> window -> data link ---+     (sync: both, async: local)
//   resync: next dirty block -> read here -> resync link -> acknowledged
//
// What makes it right:
// - A write touches the device only when its bits are durable in the intent log (REP-052).
// - Writes get consecutive numbers in the order they start; overlapping writes never run together here, and
//   the target never reorders them. A write carries `depends`, the highest number completed to the caller
//   before it started: the target applies what was in flight together in parallel and nothing earlier.
// - Bits are cleared by epochs: close_epoch() collects what was written so far; when its local writes and
//   resync blocks are done, the local device is flushed and the target acknowledged a flush, the epoch's bits
//   may go (REP-053, REP-078). Anything lost in between makes them dirty again.
// - Resync and live writes of one block: while a block's resync copy is being read or is under way, a live
//   write of it is not sent but makes it dirty again (REP-112; in the mirroring state, where resync only
//   repairs, it waits instead). A resync copy names the last live write before it, and the target applies it
//   after that one. A write that was under way here while the copy was read makes the block dirty again when
//   it ends.
// - A comparison holds its extent like a resync copy does in the mirroring state: it waits for the writes
//   that are under way there, later ones wait for it. The target compares when everything sent before is
//   applied, so both look at the same moment of the extent's history.

#include "mirror/block.h"
#include "mirror/core/buffers.h"
#include "mirror/core/compression.h"
#include "mirror/core/containers.h"
#include "mirror/core/fan_out.h"
#include "mirror/core/limits.h"
#include "mirror/log/intent_log.h"
#include "mirror/mirror_types.h"
#include "mirror/wire/frame.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace understudy::mirror {

using Instant = std::chrono::steady_clock::time_point;

/// Something that waits in a link's send queue: a header, and a payload that stays valid until released.
struct Outgoing {
    wire::HeaderBytes header{};
    const std::byte* payload = nullptr;
    std::uint32_t length = 0;
    /// Nobody waits for it: the link may keep it for a moment, to send it together with others.
    bool may_wait = false;
    /// The link does not need header and payload any more (sent, or given up). May be null.
    void (*released)(Outgoing& item) = nullptr;
    void* owner = nullptr;
    Outgoing* next = nullptr;
};

/// What a source asks of its surroundings. Called from inside the source's functions; calls back only through
/// Outgoing::released and BlockRequest::done, and only the former from inside close_links().
class SourceDriver {
  public:
    virtual ~SourceDriver() = default;
    virtual void send_data(Outgoing& item) = 0;
    virtual void send_resync(Outgoing& item) = 0;
    /// The log wants a commit; log_committed() follows every commit.
    virtual void commit_log() = 0;
    /// Drops both links and everything queued on them. With `said`, a bye with that text goes out first.
    virtual void close_links(const std::string& said) = 0;
    virtual void state_changed(MirrorState from, MirrorState to, PauseCause cause) = 0;
    virtual void link_lost(std::string why) = 0;
    /// The links are closed and the mirror goes on: attach() with `resume` within a detection interval, or
    /// give_up_links() as soon as that is out of the question. link_lost() follows when neither comes.
    virtual void link_interrupted(std::string why) = 0;
    virtual void degraded(DegradeAnswer release) = 0;
    virtual void in_sync() = 0;
    /// The target owes answers and is silent: whoever knows it dead by other means can say so by detach(),
    /// long before the missing pings do. Repeated while it lasts.
    virtual void target_silent() = 0;
};

class Source {
  public:
    /// `device`: the local volume. `copy_bytes`: for asynchronous writes on their way. `log` is shared with
    /// the other roles that this volume may play.
    Source(BlockBackend& device, IntentLog& log, SourceDriver& driver, MirrorType type,
           const MirrorParameters& parameters, Instant now, std::size_t copy_bytes = kMaxCopyBytes);
    ~Source();
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

    /// State and cause to begin with: paused, pending or broken.
    void begin(MirrorState state, PauseCause cause);

    /// Writes, zeroes, discards and flushes; reads do not come here. -EROFS after quiesce().
    void submit(BlockRequest& request);
    /// More precisely than by ticks; before submit() where the driver knows it.
    void tell_time(Instant now) { now_ = now; }

    /// --- links. Both are fresh; sequence numbers start at 1, unless terms.resume (then suspended() holds).
    void attach(const LinkTerms& terms, Instant now);
    void detach(PauseCause cause = PauseCause::link_lost);
    /// The links failed. Where both ends can, they are replaced (Spec: REP-096).
    void link_broken(std::string why);
    void give_up_links(std::string why);
    /// A whole message; payload is only borrowed. An error is the reason to drop the link; the source has
    /// done so already.
    void on_data(const wire::Header& header, const std::byte* payload, Instant now);
    void on_resync(const wire::Header& header, Instant now);

    /// --- one of several targets; see core/fan_out.h
    [[nodiscard]] std::optional<FanOutLeg::Progress> progress() const;
    void everywhere(std::uint64_t through);

    void log_committed();
    void tick(Instant now);

    /// --- administration
    void pause(std::function<void(Result<>)> done);
    void resume();
    void break_mirror();
    void set_type(MirrorType type) { type_ = type; }
    void set_parameters(const MirrorParameters& parameters);
    /// Compares both ends, block by block at a bounded rate, while they mirror. `done` comes once: at the
    /// end, or when the mirror stops mirroring. Error: it is not mirroring, or is being compared already.
    void compare(const CompareOptions& options, std::function<void(Result<CompareReport>)> done);
    /// A target's snapshot begins here, in the order of the writes: every write that was completed before is
    /// in it, none that is submitted later. `done` when the target has it. Error: not mirroring, the target
    /// could not, the link was lost. Spec: REP-324.
    void mark_snapshot(std::uint64_t number, std::function<void(Result<>)> done);
    /// Refuses new requests and waits until both ends have everything durably.
    void quiesce(std::function<void(Result<>)> done);

    [[nodiscard]] MirrorState state() const { return state_; }
    [[nodiscard]] PauseCause cause() const { return cause_; }
    [[nodiscard]] MirrorType type() const { return type_; }
    [[nodiscard]] bool linked() const { return linked_ && !suspended_; }
    /// The links broke and nothing is lost yet.
    [[nodiscard]] bool suspended() const { return suspended_; }
    [[nodiscard]] std::uint64_t resumptions() const { return resumptions_; }
    [[nodiscard]] std::uint64_t dirty_blocks() const { return log_.dirty().count() + resync_blocks_; }
    [[nodiscard]] std::uint64_t resync_bytes_sent() const { return resync_bytes_sent_; }
    [[nodiscard]] std::uint32_t resync_pass() const { return pass_; }
    [[nodiscard]] std::uint64_t queue_requests() const { return window_requests_; }
    [[nodiscard]] std::uint64_t queue_bytes() const { return window_bytes_; }
    /// Spec: REP-248 to REP-268.
    [[nodiscard]] SourceCounters counters(Instant now) const;
    /// The comparison under way, or the last one.
    [[nodiscard]] const CompareReport& comparison() const { return comparison_; }
    /// Nothing of this source is in the hands of device, log or links.
    [[nodiscard]] bool idle() const;
    /// Every write that was submitted has come to its end in the device, whatever the target has of it.
    [[nodiscard]] bool all_written() const { return not_written_ == 0; }
    void trim_memory() { copies_.trim(); }

  private:
    struct Write;
    struct Flush;
    struct Block;
    struct Control;
    enum class FlushKind { caller, epoch_local, epoch_remote, resync_end, snapshot };
    enum class Phase { none, fetch_bits, commit_bits, announce, run, end };
    struct Entry {  // of the window: one of the two
        Write* write = nullptr;
        Flush* flush = nullptr;
        friend bool operator==(const Entry&, const Entry&) = default;
    };
    struct Ending {  // pause or quiesce under way
        bool quiesce = false;
        bool was_mirroring = false;
        Instant deadline;
        std::function<void(Result<>)> done;
    };
    class Scope;  // completes requests when the outermost call ends

    // source.cpp: writes and flushes
    void admit(Write& write);
    void start(Write& write);
    void go(Write& write, bool live);
    bool send_live(Write& write);
    void local_done(Write& write, int result);
    void remote_done(Write& write);
    void release_copy(Write& write);
    void maybe_complete(Write& write);
    void maybe_free(Write& write);
    Flush& new_flush(FlushKind kind, BlockRequest* request);
    void start_caller_flush(BlockRequest& request);
    void flush_here(Flush& flush);
    void flush_there(Flush& flush, wire::Type type);
    void flush_part_done(Flush& flush);
    void complete(BlockRequest& request, int result);
    void release_held();
    void retry_overlapped();
    [[nodiscard]] bool sends_all() const;
    [[nodiscard]] bool holds_writes() const;
    [[nodiscard]] bool queue_full(std::uint64_t more) const;
    void transmit(Outgoing& out, bool& sending);
    enum class Always { no, yes };
    void send_control(wire::Header header, Always always = Always::no);

    // source_link.cpp: states, links, acknowledgements, time
    void set_state(MirrorState state, PauseCause cause);
    void leave(MirrorState state, PauseCause cause);
    void lose_links(std::string why, PauseCause cause, bool tell);
    void raise_barrier();
    [[nodiscard]] bool owes_answers() const;
    void lower_barrier(bool recorded);
    void acknowledge(const wire::Header& header);
    void flush_acknowledged(const wire::Header& header);
    void target_failed();
    void protocol_error(const char* what);
    void forget_epochs();
    void lost_by_device();
    void notice_failed_flushes();
    void abandon_window();
    void maybe_close_epoch();
    void epoch_progress();
    void notice_silence();
    void check_ending();
    void finish_ending(Result<> result);
    void interrupt_resync(PauseCause cause, std::chrono::milliseconds retry_after);
    [[nodiscard]] std::chrono::milliseconds detection_interval() const;

    // source_counters.cpp
    struct Load {
        const std::byte* data = nullptr;
        std::uint32_t length = 0;
        std::uint16_t flags = 0;
    };
    [[nodiscard]] bool compresses() const;
    bool compress(const std::byte* data, std::uint32_t length, std::byte* into, Load& load);
    void count_sent(std::uint32_t length, const wire::Header& header);
    void count_acknowledged(Instant sent_at);
    void count_state(MirrorState from);
    [[nodiscard]] std::optional<Instant> oldest_unacknowledged() const;
    [[nodiscard]] bool lags(std::uint64_t more) const;
    void check_lag();

    // source_resend.cpp
    [[nodiscard]] bool may_resend() const;
    void interrupt_links(std::string why);
    void reattach(Instant now);
    void resume_acknowledged(const wire::Header& header);

    // source_compare.cpp
    void pump_comparison();
    bool compare_next();
    void compared_here(Block& block, int result);
    void compared_there(Block& block, std::uint16_t flags);
    void end_comparison(std::string why);

    // source_resync.cpp
    void no_memory_for_bits();
    void begin_resync(bool fetch_bits);
    void take_bits(const wire::Header& header, const std::byte* payload);
    void commit_bits();
    void announce();
    void run_resync();
    void resync_end_acknowledged();
    void pump();
    bool pick();
    [[nodiscard]] bool may_resync() const;
    void read_block(Block& block);
    void start_waiting_reads();
    void block_read(Block& block, int result);
    void block_acknowledged(Block& block);
    void drop_block(Block& block);
    void check_resync_end();
    [[nodiscard]] bool resync_touches(std::uint64_t offset, std::uint64_t length) const;
    [[nodiscard]] bool waits_for_block(const Write& write) const;
    [[nodiscard]] bool waits_for_write(const Block& block) const;

    BlockBackend& device_;
    IntentLog& log_;
    SourceDriver& driver_;
    MirrorType type_;
    MirrorParameters parameters_;
    Instant now_;
    std::uint64_t size_;

    MirrorState state_ = MirrorState::paused;
    PauseCause cause_ = PauseCause::none;
    bool linked_ = false;     // a session
    bool suspended_ = false;  // without links for now
    std::uint64_t acknowledged_twice_below_ = 0, resumptions_ = 0;
    wire::Features features_ = 0;  // agreed for this link
    std::uint64_t link_generation_ = 0;
    bool quiesced_ = false;
    std::optional<Ending> ending_;
    std::optional<Instant> resume_at_;  // linked and paused: when to resync by itself
    std::chrono::milliseconds resume_delay_{0};

    // Requests on their way
    ObjectPool<Write> writes_;
    ObjectPool<Flush> flushes_;
    ObjectPool<Control> controls_;
    IntrusiveQueue<Write> held_, overlapped_, log_waiters_;
    RangeSet<Write> local_;          // writes in the local device
    std::uint64_t not_written_ = 0;  // submitted, and not yet through it
    std::uint64_t arrivals_ = 0;     // writes that were submitted and blocks that were taken, in one order
    SequenceWindow<Entry> window_;
    std::uint64_t window_requests_ = 0, window_bytes_ = 0;
    std::uint64_t completed_through_ = 0;  // highest number completed to a caller
    std::optional<std::uint64_t> told_everywhere_;
    BufferPool copies_;
    unsigned depth_ = 0;
    IntrusiveQueue<BlockRequest> completions_;

    // Degrade barrier (REP-079)
    bool barrier_ = false;
    std::uint64_t barrier_generation_ = 0;
    std::shared_ptr<Source*> self_;  // for release functions that outlive this object
    IntrusiveQueue<BlockRequest> barred_;

    Compressor compressor_;
    SourceCounters counts_;  // what is counted; the rest is measured when asked for
    std::optional<Instant> mirroring_since_, behind_since_, resync_since_;

    // Epochs
    unsigned epoch_ = 0;  // parity of the recent one
    std::array<std::uint32_t, 2> epoch_local_{}, epoch_blocks_{};
    enum class Closing { none, waiting, flushing } closing_ = Closing::none;
    bool closing_local_started_ = false, closing_local_ok_ = false, closing_remote_sent_ = false,
         closing_remote_ok_ = false;
    std::uint64_t epoch_serial_ = 1;
    std::uint64_t failed_flushes_;  // of the device, as far as known
    Instant epoch_closed_at_, collected_at_, aged_at_;
    unsigned epochs_to_collect_ = 0;  // after a resync: their ends clear its bits on disk
    std::uint64_t commits_at_tick_ = 0;
    bool wrote_since_tick_ = false;
    Instant last_write_at_;

    // Resync
    Phase phase_ = Phase::none;
    ObjectPool<Block> blocks_;
    RangeSet<Block> resyncing_;
    SequenceWindow<Block*> block_window_;  // sent on the resync link, not acknowledged
    BufferPool block_buffers_;
    std::vector<Block*> waiting_reads_;  // for writes under way in their blocks
    std::uint64_t remarked_ = 0;         // local writes that make their blocks dirty again when they end
    std::uint64_t resync_blocks_ = 0;    // taken and not acknowledged
    std::uint64_t pointer_ = 0;
    std::uint32_t pass_ = 0;
    std::uint64_t resync_bytes_sent_ = 0;
    bool endgame_ = false;
    Instant endgame_since_;
    Instant resync_progress_at_;
    std::optional<Instant> repair_at_;  // mirroring: when to try a block again that could not be read

    // Comparison
    CompareOptions compare_options_;
    CompareReport comparison_;
    std::function<void(Result<CompareReport>)> compared_;
    std::uint64_t comparison_serial_ = 0;  // tells late answers of an earlier one
    std::uint64_t compare_at_ = 0;         // bytes
    std::int64_t compare_budget_ = 0;      // bytes that may be read now
    Instant compare_refilled_;
    std::size_t comparing_ = 0;  // extents under way, of earlier comparisons too

    std::function<void(Result<>)> snapshot_marked_;  // a marker is under way

    // Health
    Instant last_heard_, last_ping_, last_tick_, silence_told_;
    std::optional<Instant> owed_since_;  // since when the target owes an answer, by ticks
};

}  // namespace understudy::mirror
