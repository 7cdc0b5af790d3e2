#pragma once
// One mirror on one host: its record, its volume, and what it does about its peer.
//
//              promote                 peer promoted meanwhile (hello), or administrator
//   target ------------> source        source ------------> target
//     ^                    | demote: device given up, still source by record until the peer is promoted
//     '-- hello of the new source takes its place
//
// The source calls: it sends hello to the target's mirrord, learns the data port, connects, and the two
// volumes go on by themselves. When the link goes, it records that it is alone (a new generation) before a
// write that the target lacks is let through, and calls again. Every transition is on disk before it is
// reported. Threading: the control loop's thread. Functions that are coroutines hold the mirror's operation
// lock.

#include "config/settings.h"
#include "mirror/control/cluster_notes.h"
#include "mirror/control/counters.h"
#include "mirror/control/operation_lock.h"
#include "mirror/control/peer_call.h"
#include "mirror/control/snapshot_tools.h"
#include "mirror/control/split_view.h"
#include "mirror/control/volume_host.h"
#include "runtime/world.h"

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace understudy::mirror::control {

/// What a synchronous source does when the cluster cannot be told that its target is behind. Spec: REP-079.
struct DegradeOptions {
    runtime::Duration limit = std::chrono::milliseconds(30000);  // NDLGTimeoutMs
    bool refuse_writes = true;                                   // BlockWritesOnNDLGTimeoutReached
};

/// What all mirrors of a host share. The owner outlives them.
struct Surroundings {
    runtime::World world;
    RecordStore& records;
    DataLinks& links;
    std::string node;               // this node's name
    ClusterNotes* notes = nullptr;  // nullptr: no cluster manager protects this host's volumes
    DegradeOptions degrade{};
    config::Settings settings{};  // of the data path; see parameters.h
    wire::Offer offer = wire::offer_of_this_build();
    std::string bitmaps{};               // where intent logs are kept by default
    SnapshotTools* snapshots = nullptr;  // nullptr: none can be taken
    /// Told of each change of a record, after it is durable; must return quickly.
    std::function<void(const MirrorRecord& before, const MirrorRecord& now)> changed{};
};

struct PromoteOptions {
    bool force = false;      // accept that this copy is known to lack writes
    bool peer_dead = false;  // the cluster has declared the peer's node dead: ask it only briefly
};

/// For status output.
struct MirrorView {
    MirrorRecord record;
    VolumeStatus volume;
    std::vector<Counter> counters;
    bool open = false;  // the device and the log are in our hands
    bool exporting = false;
    bool linked = false;
    bool writes_held = false;
    std::string device_path;  // of the export
    std::string problem;
    std::string snapshot_device;        // of the snapshot's export
    std::string snapshot_problem;       // why the last one ended by itself
    std::int64_t snapshot_taken_s = 0;  // seconds since 1970
};

class Mirror : private HostEvents {
  public:
    Mirror(Surroundings& surroundings, MirrorRecord record);
    Mirror(const Mirror&) = delete;
    Mirror& operator=(const Mirror&) = delete;
    ~Mirror() override;
    /// Before anything else; the host is made with events().
    void set_host(std::unique_ptr<VolumeHost> host) { host_ = std::move(host); }
    HostEvents& events() { return *this; }

    [[nodiscard]] const MirrorRecord& record() const { return record_; }
    [[nodiscard]] const VolumeId& id() const { return record_.volume; }

    /// Opens the volume as the record says and plays its role; a source first asks its peer. Spec: REP-237.
    /// What does not work is told as a problem and tried again.
    void boot();
    /// First start of a new mirror: errors instead of further attempts. The record is written by it.
    runtime::Task<Result<>> start_new(bool mark_all_dirty);

    runtime::Task<Result<std::string>> promote(PromoteOptions options);  // gives the device's path
    runtime::Task<Result<>> demote();
    runtime::Task<Result<>> pause();
    runtime::Task<Result<>> resume();
    runtime::Task<Result<>> set_type(MirrorType type);
    // mirror_lock.cpp
    /// Opens a target to local use and gives its device's path; of a source nothing changes. What is written
    /// is tracked and overwritten later. Code::has_dependents: a resync has not finished. Spec: REP-202.
    runtime::Task<Result<std::string>> unlock();
    /// Error when the device is in use, naming who holds it.
    runtime::Task<Result<>> lock_target();
    /// Stops sending for good: what follows is a full resync. Spec: REP-161.
    runtime::Task<Result<>> break_mirror();
    runtime::Task<Result<>> resync();  // in full
    /// Compares both ends while they mirror; with `repair`, until what differed has been sent again.
    runtime::Task<Result<CompareReport>> compare(CompareOptions options);
    /// Of this end alone, "KEY=value"; durable, and in effect when this returns. See parameters.h.
    Result<> set_parameters(std::span<const std::string> changes);
    [[nodiscard]] std::string parameters() const;
    /// Split brain: this end's changes may be overwritten. Spec: REP-228.
    runtime::Task<Result<>> yield_to_peer();
    /// Gives the device back and forgets log and record. `peer_too`: the peer forgets its half first.
    runtime::Task<Result<>> remove(bool peer_too, bool even_if_peer_fails);
    runtime::Task<Result<>> wait_in_sync(runtime::Duration limit);
    runtime::Task<MirrorView> view();
    /// Clean end of the daemon: nothing is lost, an open export stays with the keeper. Spec: REP-184.
    runtime::Task<> shut_down();

    /// A request of the peer's mirrord.
    runtime::Task<PeerReply> serve(PeerRequest request);

    /// This end's changes since both were equal, and the peer's, which must answer; in mirror_split.cpp.
    /// Text, or JSON. Spec: MOP-096.
    runtime::Task<Result<std::string>> split_view(bool json);

    /// --- snapshots, in mirror_snapshot.cpp. Several volumes together are the manager's business.
    /// Empty: none any more. `devices`: see SnapshotTools. Errors: a snapshot exists (has_dependents). Spec:
    /// REP-319.
    Result<> set_snapshot_location(std::string directory, const std::vector<std::string>& devices);
    /// Target: whether a snapshot can be taken now; the reason when not. Spec: REP-315.
    runtime::Task<Result<>> check_snapshot(bool refresh);
    /// Target: makes the file; the snapshot begins with the source's marker.
    runtime::Task<Result<>> prepare_snapshot(std::uint64_t number);
    /// Target: offers the snapshot that has begun; gives the device's path.
    runtime::Task<Result<std::string>> open_snapshot();
    /// Target: ends it. Nothing to do when there is none. Spec: REP-333.
    runtime::Task<Result<>> drop_snapshot(bool forced);
    [[nodiscard]] bool has_snapshot() const { return snapshot_ != SnapshotState::none; }
    /// Source: whether it can be marked now; what is to be quiet.
    [[nodiscard]] Result<QuietVolume> check_markable() const;
    /// Source: writes wait while `hold`; in effect when this returns.
    runtime::Task<> hold_for_snapshot(bool hold);
    runtime::Task<Result<>> mark_snapshot(std::uint64_t number);
    [[nodiscard]] PeerAddress peer_address() const;
    [[nodiscard]] PeerRequest request(RequestKind kind) const;
    [[nodiscard]] std::optional<OperationLock::Held> try_lock() { return lock_.try_acquire(); }

  private:
    using Held = OperationLock::Held;

    // HostEvents
    void state_changed(MirrorState from, MirrorState to, PauseCause cause) override;
    void link_lost(std::string why) override;
    void link_interrupted(std::string why) override;
    void degraded(DegradeAnswer release) override;
    void in_sync() override;
    void log_failed(std::string why) override;
    void first_write() override;
    void target_silent() override;
    void snapshot_failed(std::string why) override;

    // mirror.cpp: record and state
    Result<> commit(MirrorRecord next);
    runtime::Task<> boot_task();
    runtime::Task<> find_log_directory();
    Result<> place_log(const std::string& directory);
    runtime::Task<Result<>> open_volume();
    runtime::Task<EndSummary> summary();
    runtime::Task<Result<>> start_export();
    void update_gate();
    void set_gate(GateMode mode);
    [[nodiscard]] bool source() const { return record_.role == Role::source; }
    [[nodiscard]] bool serving() const;
    [[nodiscard]] MirrorParameters own_parameters() const;
    GenerationId fresh_id();
    void alarm(std::string text);

    // mirror_alone.cpp: a source without its target
    [[nodiscard]] std::string mirror_hex() const;
    void begin_alone(MirrorRecord& record);
    Result<> go_alone();
    [[nodiscard]] bool may_write_alone() const;
    /// Then sets the gate. The answer, when there is one, comes once.
    void go_alone_until_recorded(DegradeAnswer answer);
    void answer_alone_waiters(bool recorded);
    runtime::Task<> record_alone();
    void tell_alone_problem(std::string text);
    void give_up_on_note(const std::string& why);
    runtime::Task<Result<>> post_note();
    void schedule_notes();
    runtime::Task<> keep_notes();
    runtime::Task<Result<>> check_not_behind();
    runtime::Task<> ask_whether_target_died(std::uint64_t session);

    runtime::Task<SideChanges> changes();  // mirror_split.cpp

    // mirror_snapshot.cpp
    [[nodiscard]] std::string snapshot_file() const;
    runtime::Task<> drop_failed_snapshot();
    runtime::Task<> forget_old_snapshot();

    // mirror_link.cpp: source and target meet
    [[nodiscard]] bool wants_link() const;
    void schedule_connect(runtime::Duration delay);
    void retry_connect();
    runtime::Task<> connect_task();
    runtime::Task<bool> connect_once(runtime::Duration connect_limit);
    runtime::Task<bool> resume_session();
    runtime::Task<bool> can_resume(SessionId session);
    runtime::Task<bool> join_target(EndSummary self, PeerReply reply);
    Result<wire::Agreement> agree_with(const wire::Offer& peer);
    runtime::Task<> notify_task(PeerRequest request);
    void notify_pause();
    runtime::Task<PeerReply> on_hello(PeerRequest request);
    Result<PeerReply> begin_session(const EndSummary& source, const LinkTerms& terms);
    void links_ready(std::uint64_t session, LinkResult links, const LinkTerms& terms, const SessionId& id);
    runtime::Task<> step_down(std::string why);
    void enter_split_brain(const std::string& why);
    void refuse_peer(const std::string& why);

    // mirror_roles.cpp: who is source
    /// nullopt: this end became target of its promoted peer and has to be synchronised first.
    using Promotion = Result<std::optional<std::string>>;
    runtime::Task<Promotion> promote_once(PromoteOptions options);
    runtime::Task<Promotion> serve_again(PromoteOptions options);
    runtime::Task<Promotion> take_over(PromoteOptions options);
    runtime::Task<Result<>> check_promotable(PromoteOptions options, bool* peer_gave_up, bool* peer_answers);
    runtime::Task<Result<>> give_up_device();
    void accept_requests_again();
    void hold_for_session();
    runtime::Task<PeerReply> on_demote(PeerRequest request);
    runtime::Task<PeerReply> on_serve_again(PeerRequest request);
    runtime::Task<PeerReply> on_pause_notice(PeerRequest request);
    runtime::Task<PeerReply> on_set_type(PeerRequest request);
    runtime::Task<Result<>> take_down_export(bool forced);

    // mirror_lock.cpp: targets opened to local use
    runtime::Task<Result<>> serve_unlocked();
    runtime::Task<Result<>> break_locked();

    Surroundings& around_;
    runtime::World world_;
    MirrorRecord record_;
    std::unique_ptr<VolumeHost> host_;
    OperationLock lock_;

    bool open_ = false;
    bool closing_ = false;
    bool exporting_ = false;
    std::string device_path_;
    std::string log_problem_;  // until the next start
    std::string problem_;      // passing: peer unreachable, device missing

    GateMode gate_ = GateMode::hold_all;
    bool role_checked_ = false;      // a source has asked its peer since it started
    bool hold_for_session_ = false;  // writes wait for a session under way, to start it with equal ends
    MirrorState state_ = MirrorState::none;

    /// The session is over on this end, and so is what interrupted it.
    void unlink() { linked_ = interrupted_ = false; }

    bool linked_ = false;
    bool interrupted_ = false;   // a source's links broke: the session may go on over new ones. Spec: REP-096
    SessionId links_session_{};  // of the links attached last
    ResyncKind session_kind_ = ResyncKind::none;
    std::uint64_t session_ = 0;
    Generations source_generations_;  // target: what it adopts at the end of the session
    std::uint64_t source_epoch_ = 0;
    bool connecting_ = false;
    bool asking_after_target_ = false;  // ask_whether_target_died() runs
    std::optional<runtime::TimerId> connect_timer_;
    std::optional<runtime::TimerId> hold_timer_;
    runtime::Duration backoff_{};

    bool alone_wanted_ = false;     // the link went: a generation of its own before the next write
    bool recording_alone_ = false;  // record_alone() runs
    bool writes_refused_ = false;   // the cluster could not be told in time
    std::string alone_problem_;     // why writes wait or fail meanwhile
    bool peer_noted_ = false;       // the peer's node has the current note
    bool notes_left_ = true;        // somewhere may be a note; after a start nobody knows
    std::vector<DegradeAnswer> alone_waiters_;  // at most a few: one for each loss of a link
    std::optional<runtime::TimerId> note_timer_;
    OperationLock notes_lock_;  // a note and its withdrawal never overtake each other

    SnapshotState snapshot_ = SnapshotState::none;
    std::string snapshot_device_, snapshot_problem_;
    std::int64_t snapshot_taken_s_ = 0;
    bool hold_for_snapshot_ = false;  // writes wait for a marker

    runtime::TaskScope tasks_;  // last: what runs in it uses the rest
};

}  // namespace understudy::mirror::control
