#pragma once
// One volume on one host: its record, its role, and the mirror with each of the volume's other hosts.
//
//              promote                 peer promoted meanwhile (hello), or administrator
//   target ------------> source        source ------------> target
//     ^                    | demote: device given up, still source by record until the peer is promoted
//     '-- hello of the new source takes its place
//
// The source calls: it sends hello to each target's mirrord, learns the data port, connects, and the two
// volumes go on by themselves. When a link goes, it records that it is alone (a new generation), tells the
// targets that it still has, and then the cluster, before a write that the target lacks is let through, and
// calls again. Every transition is on disk before it is reported. Threading: the control loop's thread.
// Functions that are coroutines hold the mirror's operation lock.

#include "config/settings.h"
#include "mirror/control/cluster_notes.h"
#include "mirror/control/counters.h"
#include "mirror/control/events.h"
#include "mirror/control/file_systems.h"
#include "mirror/control/operation_lock.h"
#include "mirror/control/peer_call.h"
#include "mirror/control/resize.h"
#include "mirror/control/snapshot_tools.h"
#include "mirror/control/split_view.h"
#include "mirror/control/volume_host.h"
#include "runtime/world.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

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
    std::string bitmaps{};                // where intent logs are kept by default
    SnapshotTools* snapshots = nullptr;   // nullptr: none can be taken
    FileSystems* file_systems = nullptr;  // nullptr: none is known
    const Devices* devices = nullptr;     // nullptr: nothing tells media apart
    /// Told of each change of a record, after it is durable; must return quickly.
    std::function<void(const MirrorRecord& before, const MirrorRecord& now)> changed{};
    EventListener on_event{};
    OperationLock* resizes = nullptr;  // of the host's volumes one at a time is laid out anew. Spec: MOP-243
    std::uint16_t dispatch_port = kDispatchPort;  // of this host
    /// Where a shared volume's log of one peer more lies, a path of log_region.h. Error: there is no room.
    std::function<runtime::Task<Result<std::string>>(MirrorRecord record)> new_log{};
};

struct PromoteOptions {
    bool force = false;      // accept that this copy is known to lack writes
    bool peer_dead = false;  // the cluster has declared the peer's node dead: ask it only briefly
};

/// For status output.
struct PeerView {
    PeerRecord record;
    VolumeStatus volume;
    std::vector<Counter> counters;
    bool linked = false;
    std::uint64_t device_size = 0;  // of a target, as it said last; 0: it has not
    std::string problem;
};
struct MirrorView {
    MirrorRecord record;
    bool open = false;  // the device and the logs are in our hands
    bool exporting = false;
    bool writes_held = false;
    std::string device_path;            // of the export
    std::uint64_t device_size = 0;      // of the lower device, bytes
    std::string problem;                // of the volume, or the first of a peer
    std::string snapshot_device;        // of the snapshot's export
    std::string snapshot_problem;       // why the last one ended by itself
    std::int64_t snapshot_taken_s = 0;  // seconds since 1970
    std::vector<PeerView> peers;
    /// The one that stands for the volume: of a target its source, of a source the first that does not
    /// mirror.
    std::size_t main = 0;
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

    /// Opens the volume as the record says and plays its role; a source first asks its peers. Spec: REP-237.
    /// What does not work is told as a problem and tried again.
    void boot();
    /// First start of a new mirror: errors instead of further attempts. The record is written by it.
    runtime::Task<Result<>> start_new(bool mark_all_dirty);

    // Operations on one peer's mirror take the peer's name; empty: on each.
    runtime::Task<Result<std::string>> promote(PromoteOptions options);  // gives the device's path
    runtime::Task<Result<>> demote();
    runtime::Task<Result<>> pause(std::string peer = {});
    runtime::Task<Result<>> resume(std::string peer = {});
    runtime::Task<Result<>> set_type(std::string peer, MirrorType type);
    // mirror_lock.cpp
    /// Opens a target to local use and gives its device's path; of a source nothing changes. What is written
    /// is tracked and overwritten later. Code::has_dependents: a resync has not finished. Spec: REP-202.
    runtime::Task<Result<std::string>> unlock();
    /// Error when the device is in use, naming who holds it.
    runtime::Task<Result<>> lock_target();
    /// Stops sending for good: what follows is a full resync. Spec: REP-161.
    runtime::Task<Result<>> break_mirror(std::string peer = {});
    runtime::Task<Result<>> resync(std::string peer = {});  // in full
    /// Source: the volume takes all of its device, as large as that is now; every mirror waits to be
    /// continued then. Target: the device's size is looked at. Gives what is now, as text. Spec: REP-306.
    runtime::Task<Result<std::string>> resize();
    /// Looks whether the device has another size now, and does what is to be done then. Spec: EMC-264.
    runtime::Task<> look_at_size();
    /// Compares both ends while they mirror; with `repair`, until what differed has been sent again. Empty:
    /// with the only peer; error when there are several.
    runtime::Task<Result<CompareReport>> compare(std::string peer, CompareOptions options);
    /// Of this end alone, "KEY=value"; durable, and in effect when this returns. See parameters.h.
    Result<> set_parameters(const std::string& peer, std::span<const std::string> changes);
    [[nodiscard]] Result<std::string> parameters(const std::string& peer) const;
    /// Split brain: this end's changes may be overwritten. Spec: REP-228.
    runtime::Task<Result<>> yield_to_peer();
    /// Source: one target more, whose half exists already; a full resync follows. Spec: MOP-069.
    /// `equal`: the caller warrants that the new target holds what this end holds, and holds its writes.
    runtime::Task<Result<>> add_peer(PeerRecord peer, bool equal = false);
    /// Forgets the peer's log and addresses; its own half is not asked. Error: the last one.
    runtime::Task<Result<>> drop_peer(std::string peer);
    // mirror_sharers.cpp
    /// The hosts of this end are these pairs' from here on, by peer; the peers are told. `added`: every one
    /// of them must have taken it before, else only the source that a target has. Spec: MOP-161 to MOP-164.
    using PairsOf = std::map<std::string, std::vector<EndpointPair>>;
    runtime::Task<Result<>> set_pairs(PairsOf pairs, bool added);
    /// Whether every end that answers can be told that hosts share a disk of another one. Error: which
    /// cannot, being of an older release. Spec: MOP-020.
    runtime::Task<Result<>> check_ends();
    // mirror_endpoints.cpp
    /// New addresses of this end and the peer for each other, told to the peer as well. Where hosts share the
    /// disk of either end: those of one pair of them, `peer` being a host of the other end and `host` one of
    /// this end (empty: this one). Errors besides those of the call: the mirror runs over them, an address is
    /// another host's; nothing has changed then. unreachable, on the source: changed here, and the target is
    /// told with the next session. Again the same tells the peer again. Spec: EMC-095 to EMC-109.
    runtime::Task<Result<>> change_endpoints(std::string peer, std::string local_address, std::string address,
                                             std::string host = {});
    /// What this end keeps of the peer: blocks of 64 KiB that the two may differ in. Spec: EMC-195.
    runtime::Task<Result<BlockRanges>> dirty_ranges(std::string peer);
    /// Source: new connections to every target, with no change of state where both builds can resume. Spec:
    /// EMC-197.
    runtime::Task<Result<>> restart_links();
    // mirror_probe.cpp: whether new links could be made beside those that there are
    /// Target: the data port takes one session with this key within kSessionLimit, which comes to nothing.
    /// Gives the port. Error: there are no links.
    Result<std::uint16_t> expect_probe(const std::string& peer, const SessionId& session,
                                       const SessionKey& key);
    /// Source: makes that session. Error: what keeps it from there.
    runtime::Task<Result<>> reach_probe(std::string peer, std::uint16_t port, SessionId session,
                                        SessionKey key);
    // mirror_shared.cpp: volumes that hosts share at either end
    /// This host's part in a shared volume's mirror is over: device and export are let go, the record stays
    /// for the next owner. `lost`: another host may own it already; users get I/O errors, and nothing is
    /// recorded any more. Error, not when it is lost: the device is in use, by whom; nothing has changed
    /// then.
    runtime::Task<Result<>> lay_down(bool lost);
    /// In effect when this returns; for good.
    void refuse_writes();
    /// Asks the peer: of hosts that share a disk, the one that serves it. Errors as of call_peer(); that none
    /// of them serves the volume is as if none answered.
    runtime::Task<Result<PeerReply>> call(std::string peer, PeerRequest request, CallLimits limits);
    /// Gives the device back and forgets logs and record. `peers_too`: the peers forget their halves first.
    runtime::Task<Result<>> remove(bool peers_too, bool even_if_peer_fails);
    runtime::Task<Result<>> wait_in_sync(std::string peer, runtime::Duration limit);
    runtime::Task<MirrorView> view();
    /// Clean end of the daemon: nothing is lost, an open export stays with the keeper. Spec: REP-184.
    runtime::Task<> shut_down();

    /// A request of a peer's mirrord.
    runtime::Task<PeerReply> serve(std::string caller, PeerRequest request);

    /// This end's changes since both were equal, and the peer's, which must answer; in mirror_split.cpp.
    /// Text, or JSON. Spec: MOP-096.
    runtime::Task<Result<std::string>> split_view(std::string peer, bool json);

    // --- snapshots, in mirror_snapshot.cpp. Several volumes together are the manager's business.
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
    /// Source: whether it can be marked for `peer` now; what is to be quiet.
    [[nodiscard]] Result<QuietVolume> check_markable(const std::string& peer) const;
    /// Source: writes wait until each `hold` is let go; in effect when this returns.
    runtime::Task<> hold_writes(bool hold);
    runtime::Task<Result<>> mark_snapshot(std::string peer, std::uint64_t number);
    [[nodiscard]] PeerAddress address_of(const std::string& peer) const;
    [[nodiscard]] PeerRequest request(RequestKind kind, const std::string& peer) const;
    [[nodiscard]] std::optional<OperationLock::Held> try_lock() { return lock_.try_acquire(); }

  private:
    using Held = OperationLock::Held;

    /// The mirror with one peer, as far as it is not on record.
    struct Leg {
        MirrorState state = MirrorState::none;
        bool linked = false;
        bool interrupted =
            false;  // a source's links broke: the session may go on over new ones. Spec: REP-096
        SessionId links_session{};  // of the links attached last
        bool synced = false;        // the session has come into sync
        ResyncKind session_kind = ResyncKind::none;
        std::uint64_t session = 0;
        /// Source: for a copy of all of the volume, which blocks its file system does not use.
        enum class FreeSpace { unknown, asked, told } free_space = FreeSpace::unknown;
        GenerationId told = 0;  // source: the newest id that the target of this session knows
        bool log_lost = false;  // the log cannot be written, or is in memory alone: nothing outlives a crash
        bool log_in_memory = false;
        bool hold = false;  // writes wait for a session under way, to start it with equal ends
        bool connecting = false;
        bool answered = false;  // source: the last attempt was refused, so somebody is there
        bool asking = false;    // ask_whether_target_died() runs
        std::optional<runtime::TimerId> connect_timer, hold_timer;
        runtime::Duration backoff{};
        std::string problem;            // passing: peer unreachable
        std::uint64_t device_size = 0;  // source: the target's, as it said last
        // Target: what it adopts at the end of the session
        GenerationId source_current = 0;
        std::vector<GenerationId> source_history;
        std::uint64_t source_epoch = 0;
        bool source_left_out = false;  // free space was left out of this copy

        /// Writes are the target's too, now or when the links have been replaced.
        [[nodiscard]] bool in_session() const { return linked || interrupted; }
        /// The session is over on this end, and so is what interrupted it.
        void unlink() { linked = interrupted = false; }
    };
    /// What a promotion learnt from the peers.
    struct Handover {
        std::string giver;  // the old source, when it answered
        bool gave_up = false;
        std::vector<PeerFacts> facts;  // what it knows of the other targets
    };

    // HostEvents
    void state_changed(const std::string& peer, MirrorState from, MirrorState to, PauseCause cause) override;
    void link_lost(const std::string& peer, std::string why) override;
    void link_interrupted(const std::string& peer, std::string why) override;
    void degraded(const std::string& peer, DegradeAnswer release) override;
    void in_sync(const std::string& peer) override;
    void log_failed(const std::string& peer, std::string why) override;
    void first_write() override;
    void target_silent(const std::string& peer) override;
    void snapshot_failed(std::string why) override;

    // mirror.cpp: record and state
    Result<> commit(MirrorRecord next);
    runtime::Task<> boot_task();
    runtime::Task<Result<>> open_volume();
    void become_source(const std::string& peer);
    runtime::Task<EndSummary> summary(std::string peer);
    runtime::Task<Result<>> start_export();
    void serve_without_targets();
    void update_gate();
    void set_gate(GateMode mode);
    [[nodiscard]] bool source() const { return record_.role == Role::source; }
    [[nodiscard]] bool serving() const;
    [[nodiscard]] MirrorParameters own_parameters(const std::string& peer) const;
    [[nodiscard]] bool holds_for_session() const;
    [[nodiscard]] std::vector<std::string> names() const;
    /// The names that an operation on `peer` means. Error: no such peer.
    [[nodiscard]] Result<std::vector<std::string>> named(const std::string& peer) const;
    [[nodiscard]] Leg* find(const std::string& peer);
    /// What commands of a source have in common: nobody else's operation runs, and the peers are known.
    struct Operation {
        Held held;
        std::vector<std::string> peers;
    };
    /// `verb`: of the error that a target gives, which names its source.
    runtime::Task<Result<Operation>> begin_on_source(std::string peer, std::string verb);
    void stop_timers(Leg& leg);
    GenerationId fresh_id();
    void alarm(std::string text);
    void alarm(const std::string& peer, std::string text);
    /// Logs an event under its number, and tells it.
    void tell(Event event, const std::string& peer, const std::string& text);
    /// Tells one that is logged already.
    void note(Event event, const std::string& peer, const std::string& text);

    // mirror_alone.cpp: a source without a target
    [[nodiscard]] std::string mirror_hex() const;
    void begin_alone(MirrorRecord& record);
    Result<> go_alone();
    [[nodiscard]] bool must_go_alone() const;
    [[nodiscard]] bool targets_know() const;
    [[nodiscard]] bool may_write() const;
    /// Then sets the gate. The answer, when there is one, comes once.
    void go_alone_until_recorded(DegradeAnswer answer);
    void answer_alone_waiters(bool recorded);
    runtime::Task<> record_alone();
    runtime::Task<> tell_targets();
    void tell_alone_problem(std::string text);
    void give_up_on_note(const std::string& why);
    void give_way();
    runtime::Task<Result<std::string>> promoted_meanwhile();
    runtime::Task<Result<>> post_note();
    void schedule_notes();
    runtime::Task<> keep_notes();
    [[nodiscard]] bool all_mirror() const;
    [[nodiscard]] std::vector<std::string> behind() const;
    runtime::Task<Result<>> check_not_behind();
    runtime::Task<> ask_whether_target_died(std::string peer, std::uint64_t session);
    runtime::Task<PeerReply> on_advance(std::string caller, PeerRequest request);

    // mirror_split.cpp
    runtime::Task<SideChanges> changes(std::string peer);
    runtime::Task<> name_files(SideChanges& side, BlockRanges ranges);

    // mirror_free_space.cpp: what a full copy leaves out
    /// nullptr: nothing can be asked, or must not be. A virtual machine's disk holds what somebody else has
    /// made there, which the host's kernel had better not read.
    [[nodiscard]] FileSystems* file_systems() const {
        return record_.export_kind == ExportKind::nbd ? nullptr : around_.file_systems;
    }
    bool learns_free_space_first(const std::string& peer, const Decision& decision, const EndSummary& self);
    runtime::Task<> learn_free_space(std::string peer);
    runtime::Task<> learn_free_space_of_new();
    void leave_out(const std::string& peer, std::uint64_t number, Result<BlockRanges> unused);
    runtime::Task<Result<BlockRanges>> unused_blocks(std::string peer);
    runtime::Task<> leave_out_of_comparison(std::string peer);

    // mirror_snapshot.cpp
    [[nodiscard]] std::string snapshot_file() const;
    runtime::Task<> drop_failed_snapshot();
    runtime::Task<> forget_old_snapshot();

    // mirror_link.cpp: source and target meet
    [[nodiscard]] std::vector<PeerFacts> others(const std::string& peer) const;
    [[nodiscard]] bool wants_link(const std::string& peer);
    void schedule_connect(const std::string& peer, runtime::Duration delay);
    void schedule_connects(runtime::Duration delay);
    void retry_connect(const std::string& peer);
    runtime::Task<> connect_task(std::string peer);
    runtime::Task<bool> connect_once(std::string peer, runtime::Duration connect_limit);
    runtime::Task<bool> resume_session(std::string peer);
    runtime::Task<bool> can_resume(std::string peer, SessionId session);
    runtime::Task<bool> join_target(std::string peer, EndSummary self, PeerReply reply);
    Result<wire::Agreement> agree_with(const std::string& peer, const wire::Offer& offer);
    void hold_for_session(const std::string& peer);
    void tell_session(const std::string& peer, const Decision& decision, std::uint64_t dirty_blocks);
    [[nodiscard]] static bool receives(const Leg& leg);
    void drop_link(Leg& leg, const std::string& peer);
    runtime::Task<> notify_task(std::string peer, PeerRequest request);
    runtime::Task<PeerReply> on_hello(std::string caller, PeerRequest request);
    runtime::Task<Result<>> follow(std::string peer);
    Result<PeerReply> begin_session(const std::string& peer, const EndSummary& source,
                                    const LinkTerms& terms);
    void links_ready(const std::string& peer, std::uint64_t session, LinkResult links, const LinkTerms& terms,
                     const SessionId& id);
    runtime::Task<> step_down(std::string peer, std::string why);
    void enter_split_brain(const std::string& peer, const std::string& why);
    void refuse_peer(const std::string& peer, const std::string& why);

    // mirror_roles.cpp: who is source
    /// nullopt: this end became target of its promoted peer and has to be synchronised first.
    using Promotion = Result<std::optional<std::string>>;
    runtime::Task<Result<std::string>> promote_to_end(PromoteOptions options);
    runtime::Task<Promotion> promote_once(PromoteOptions options);
    runtime::Task<Promotion> serve_again(PromoteOptions options);
    runtime::Task<Promotion> take_over(PromoteOptions options);
    runtime::Task<Result<>> check_promotable(PromoteOptions options, Handover* out);
    runtime::Task<runtime::Duration> probe_limit(std::string peer, bool all_dead);
    runtime::Task<MirrorRecord> take_logs_over(Handover handover);
    runtime::Task<Result<>> give_up_device();
    void accept_requests_again();
    runtime::Task<PeerReply> on_demote(std::string caller, PeerRequest request);
    runtime::Task<PeerReply> on_serve_again(std::string caller);
    runtime::Task<Result<>> take_down_export(bool forced);

    // mirror_pause.cpp
    runtime::Task<Result<>> pause_one(std::string peer);
    runtime::Task<PeerReply> on_pause_notice(std::string caller, PeerRequest request);
    runtime::Task<PeerReply> on_set_type(std::string caller, PeerRequest request);

    // mirror_log.cpp
    runtime::Task<> find_log_directory();
    Result<> place_log(const std::string& peer, const std::string& directory);
    runtime::Task<Result<>> open_log(std::string peer, bool expected, bool in_memory = false);
    [[nodiscard]] std::string log_path(const std::string& peer) const;
    runtime::Task<Result<std::string>> new_log(std::string peer);

    // mirror_peers.cpp: the hosts of the volume
    runtime::Task<> tell_peers();
    /// `pairs`: of this end and the source's; none: not told.
    runtime::Task<Result<>> adopt_peers(std::string source, std::vector<PeerFacts> peers,
                                        std::vector<EndpointPair> pairs);
    [[nodiscard]] std::vector<PeerFacts> by_names_here(std::vector<PeerFacts> peers) const;
    // mirror_sharers.cpp: which hosts share an end's disk
    Result<> adopt_pairs(const std::string& peer, std::vector<EndpointPair> pairs);
    [[nodiscard]] PeerRequest pairs_request(RequestKind kind, const std::string& peer,
                                            const std::vector<EndpointPair>& pairs) const;
    runtime::Task<Result<>> tell_pairs(std::string peer, std::vector<EndpointPair> pairs);
    runtime::Task<PeerReply> on_set_pairs(std::string caller, PeerRequest request);
    runtime::Task<PeerReply> on_set_peers(std::string caller, PeerRequest request);
    // mirror_endpoints.cpp: addresses of hosts for each other
    runtime::Task<PeerReply> on_change_address(std::string caller, PeerRequest request);
    [[nodiscard]] bool uses(const std::string& peer, const EndpointPair& pair) const;
    [[nodiscard]] Result<> check_pair(const std::string& peer, const EndpointPair& pair) const;
    Result<> record_pair(const std::string& peer, const EndpointPair& pair);
    runtime::Task<Result<>> change_pair(std::string peer, EndpointPair pair);
    Result<> take_pairs(const std::string& peer, const std::vector<EndpointPair>& pairs);
    runtime::Task<Result<>> forget_peer(std::string peer);

    // mirror_resize.cpp: devices that have grown or shrunk
    runtime::Task<> watch_size();
    runtime::Task<Result<std::uint64_t>> measure();
    runtime::Task<> size_noticed(std::uint64_t found);
    [[nodiscard]] Sizes sizes() const;
    void hold_for_size(const std::string& peer, int event);
    Result<> size_at_start();
    runtime::Task<Result<>> settle_size(bool whole);
    runtime::Task<Result<>> lay_out(std::uint64_t size, std::uint64_t stayed);
    Result<> record_size_as(std::uint64_t size, std::uint64_t device_size);
    runtime::Task<Result<>> open_logs(std::uint64_t size);
    runtime::Task<Result<>> open_what_there_is_room_for(std::uint64_t size);
    runtime::Task<Result<>> go_on_without_log(std::string peer);
    [[nodiscard]] bool has_all_logs() const;
    runtime::Task<Result<>> fit_source(std::uint64_t size);
    runtime::Task<> no_bitmaps(std::string peer, std::string why);

    // mirror_media.cpp: another medium under the volume's device
    Result<> look_at_media();
    void look_at_name();
    [[nodiscard]] bool wants_full_resync(const EndSummary& source) const;
    runtime::Task<> break_for_a_person(std::string peer, std::string text);

    void meet(const std::string& peer, const std::string& host);
    [[nodiscard]] std::vector<std::string> hosts_of(const std::vector<std::string>& peers) const;
    [[nodiscard]] Result<> check_host(const std::string& peer, const PeerRequest& request) const;

    // mirror_lock.cpp: targets opened to local use
    runtime::Task<Result<>> serve_unlocked();
    runtime::Task<Result<>> break_locked(std::string peer, std::string cause);
    void become_target();
    void become_unlocked();

    Surroundings& around_;
    runtime::World world_;
    MirrorRecord record_;
    std::map<std::string, Leg> legs_;  // one for each peer on record
    std::unique_ptr<VolumeHost> host_;
    OperationLock lock_;

    bool open_ = false;
    bool closing_ = false;
    bool lost_ = false;  // another host may own the shared volume: no write passes any more
    bool exporting_ = false;
    std::uint64_t device_size_ = 0;  // as it was seen last, bytes
    std::uint64_t volume_size_ = 0;  // that the logs are laid out for, at most the device's
    bool resizing_ = false;          // logs are being laid out: every request waits
    bool adding_ = false;            // a target is being added: the same
    bool device_gone_ = false;       // told already
    std::string device_path_;
    std::string log_problem_;   // until the next start
    std::string problem_;       // passing: device missing
    std::string name_problem_;  // while the device's name means something else

    GateMode gate_ = GateMode::hold_all;
    bool role_checked_ = false;  // a source has asked its peers since it started
    bool following_ = false;     // became target of a promoted peer and has not been in sync with it

    bool alone_wanted_ = false;     // a link went: a generation of its own before the next write
    bool recording_alone_ = false;  // record_alone() runs
    bool writes_refused_ = false;   // the cluster could not be told in time
    std::string alone_problem_;     // why writes wait or fail meanwhile
    std::string taken_over_by_;     // a node that became source while this one could not hear of it
    bool peers_noted_ = false;      // the nodes of all that are behind have the current note
    bool notes_left_ = true;        // somewhere may be a note; after a start nobody knows
    std::vector<DegradeAnswer> alone_waiters_;  // at most a few: one for each loss of a link
    std::optional<runtime::TimerId> note_timer_;
    OperationLock notes_lock_;  // a note and its withdrawal never overtake each other

    std::uint64_t watches_ = 0;  // calls of VolumeHost::watch_writes()

    SnapshotState snapshot_ = SnapshotState::none;
    std::string snapshot_peer_;  // whose mirror it is of
    std::string snapshot_device_, snapshot_problem_;
    std::int64_t snapshot_taken_s_ = 0;
    int write_holds_ = 0;  // writes wait: for a marker, for a target that is said to be equal

    runtime::TaskScope tasks_;  // last: what runs in it uses the rest
};

}  // namespace understudy::mirror::control
