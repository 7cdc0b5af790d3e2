#pragma once
// The target's half of a mirror as a state machine: no sockets, threads or clock.
//
//   data link   -> queue (in order) -> local device, in parallel where allowed -> acknowledgements
//   resync link -> queue (in order) ---^
//
// Order on the data link: the head of the queue starts when everything up to its `depends` is applied and it
// overlaps nothing under way; nothing behind it starts before it. `depends` is the highest number that was
// complete at the source when this one started, so what ran together there runs together here, and what
// waited for something there waits for it here: after any cut, what is applied once the received part has
// drained is an exact prefix of the source's history. A flush starts when everything before it is applied,
// and is itself a number that later writes depend on. Spec: REP-082.

#include "mirror/block.h"
#include "mirror/core/buffers.h"
#include "mirror/core/compression.h"
#include "mirror/core/containers.h"
#include "mirror/core/recent_writes.h"
#include "mirror/core/source.h"  // Outgoing, Instant
#include "mirror/log/intent_log.h"
#include "mirror/mirror_types.h"
#include "mirror/wire/frame.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace understudy::mirror {

/// What a target asks of its surroundings; the same rules of calling back as for SourceDriver.
class TargetDriver {
  public:
    virtual ~TargetDriver() = default;
    virtual void send_data(Outgoing& item) = 0;
    virtual void send_resync(Outgoing& item) = 0;
    virtual void close_links(const std::string& said) = 0;
    /// Records durably whether this end is inconsistent (REP-118), and the log's bits as they are now when it
    /// is consistent again; then calls marked(serial, ok).
    virtual void mark_consistent(bool consistent, std::uint64_t serial) = 0;
    /// The payload of an operation is not needed any more.
    virtual void release_data(std::byte* data, std::uint32_t length) = 0;
    virtual void release_resync(std::byte* data, std::uint32_t length) = 0;
    virtual void state_changed(MirrorState from, MirrorState to, PauseCause cause) = 0;
    virtual void link_lost(std::string why) = 0;
    virtual void in_sync() = 0;
    /// Everything that the source sent before the marker is in the device and nothing is under way: snapshot
    /// `number` begins here. False when nobody has asked for it.
    virtual bool snapshot_begins(std::uint64_t number) = 0;
};

class Target {
  public:
    /// `punches`: the device can forget ranges and then reads zeroes there.
    Target(BlockBackend& device, IntentLog& log, TargetDriver& driver, const MirrorParameters& parameters,
           bool bits_known, bool punches, Instant now);
    ~Target();
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    void begin(MirrorState state) { set_state(state, PauseCause::none); }
    void set_parameters(const MirrorParameters& parameters) { parameters_ = parameters; }
    /// Where operations go that start from here on: the volume, or a snapshot in front of it.
    void set_device(BlockBackend& device) { device_ = &device; }

    /// Fresh links; only when applied() (what came over the last links must be on the device). With
    /// terms.resume and resumable() the last session goes on instead, applied or not.
    void attach(const LinkTerms& terms, Instant now);
    /// What was received stays and is applied.
    void detach();
    void link_broken(std::string why);
    /// Takes over header and payload; the payload comes back through release_*.
    void on_data(const wire::Header& header, std::byte* payload, Instant now);
    void on_resync(const wire::Header& header, std::byte* payload, Instant now);
    /// Sends acknowledgements that were collected; call once after each batch.
    void flush_acknowledgements();
    void marked(std::uint64_t serial, bool ok);
    void tick(Instant now);
    /// Calls `done` when everything received is applied and durable. The links must be at their end.
    void drain(std::function<void(Result<>)> done);

    [[nodiscard]] bool linked() const { return linked_; }
    /// The links are gone, and nothing that came over them: the source may go on where it was. Spec: REP-096.
    [[nodiscard]] bool resumable() const { return resumable_ && !linked_ && !stopped_; }
    [[nodiscard]] MirrorState state() const { return state_; }
    [[nodiscard]] PauseCause cause() const { return cause_; }
    /// Too much is unapplied: do not read more from the links for now.
    [[nodiscard]] bool full() const { return unapplied_ >= kMaxUnappliedOperations; }
    /// Nothing received is unapplied and nothing sent is in the links' hands.
    [[nodiscard]] bool idle() const { return unapplied_ == 0 && !final_flush_ && replies_.out() == 0; }
    [[nodiscard]] bool applied() const { return unapplied_ == 0; }
    /// What the other targets of the same source may lack; kept when the link goes.
    [[nodiscard]] const RecentWrites& recent() const { return recent_; }
    [[nodiscard]] std::uint64_t writes() const { return writes_; }
    [[nodiscard]] std::uint64_t write_bytes() const { return write_bytes_; }
    [[nodiscard]] std::uint64_t resync_bytes() const { return resync_bytes_; }

  private:
    static constexpr std::size_t kMaxUnappliedOperations = 8192;
    struct Operation;
    struct Reply;

    void enqueue(const wire::Header& header, std::byte* payload, bool resync);
    void pump();
    void start(Operation& operation);
    [[nodiscard]] bool has_room(Operation& operation);
    void finished(Operation& operation, int result);
    void end_of_resync(Operation& operation);
    void done_with(Operation& operation);
    void acknowledge(std::uint64_t sequence, bool failed);
    void send_reply(wire::Header header, bool resync, std::span<const std::byte> payload = {});
    void send_bits();
    void send_more_bits();
    void reattach();
    void resume(const wire::Header& header);
    void drop_waiting_copies();
    void protocol_error(const std::string& what);
    void lose_links(std::string why, bool tell, bool say);
    void set_state(MirrorState state, PauseCause cause);
    void check_drained();

    BlockBackend* device_;
    IntentLog& log_;
    TargetDriver& driver_;
    MirrorParameters parameters_;
    bool bits_known_, punches_;
    std::uint64_t size_;

    MirrorState state_ = MirrorState::pending;
    PauseCause cause_ = PauseCause::none;
    bool linked_ = false;
    wire::Features features_ = 0;        // agreed for this link
    std::uint64_t link_generation_ = 0;  // of live messages; survives a resumption
    std::uint64_t copy_generation_ = 0;  // of the resync link
    bool resumable_ = false;
    bool resuming_ = false;  // new links, and the source has not said yet where it goes on
    bool stopped_ = false;   // a write failed: nothing is applied until the next resync. Spec: REP-199

    ObjectPool<Operation> operations_;
    ObjectPool<Reply> replies_;
    IntrusiveQueue<Operation> data_, resync_;
    RangeSet<Operation> applying_;
    SequenceWindow<Operation*> window_;  // received on the data link, not applied
    std::size_t unapplied_ = 0;
    std::size_t comparing_ = 0;  // comparisons among them
    RecentWrites recent_;
    BufferPool compare_buffers_;
    BufferPool unpacked_;  // contents of compressed payloads
    Decompressor decompressor_;
    std::uint64_t bits_page_ = BlockMap::kNone;  // the next page for the source; kNone: it asks for none
    std::size_t bits_queued_ = 0;                // in the link's hands
    bool pumping_ = false;

    std::uint64_t ack_first_ = 0, ack_count_ = 0;
    std::uint64_t mark_serial_ = 0;
    enum class Marking { none, begin, end } marking_ = Marking::none;
    Operation* ending_ = nullptr;  // the resync_end that waits for its mark

    std::function<void(Result<>)> drained_;
    bool final_flush_ = false;
    BlockRequest final_flush_request_;
    bool drain_failed_ = false;

    Instant last_heard_, last_tick_, last_ping_;
    std::uint64_t writes_ = 0, write_bytes_ = 0, resync_bytes_ = 0;
};

}  // namespace understudy::mirror
