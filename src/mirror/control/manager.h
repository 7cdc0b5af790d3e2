#pragma once
// All mirrors of a host: brings them up from their records, makes and removes them, and routes what peers
// ask. Threading: the control loop's thread.

#include "config/layout.h"
#include "config/settings.h"
#include "mirror/control/mirror.h"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace understudy::mirror::control {

struct ManagerOptions {
    config::Layout layout;
    std::string node;
    std::uint16_t dispatch_port = kDispatchPort;  // TargetDispatchPort: ours, and that of new peers
    DegradeOptions degrade{};
    config::Settings settings{};  // the volumes' parameters
    wire::Offer offer = wire::offer_of_this_build();
    EventListener on_event{};  // told of every mirror's events
};

/// One target of a volume, and the addresses of the pair.
struct TargetOptions {
    std::string node;
    std::string device;
    std::string source_address;
    std::string address;
    MirrorType type = MirrorType::sync;
    std::vector<EndpointPair> pairs{};  // when hosts share the disk of either end: each pair of them
};

struct CreateOptions {
    VolumeId volume;
    std::string device;
    std::vector<TargetOptions> targets;  // none: the volume is served, and mirrored once a target is added
    ExportKind export_kind = ExportKind::automatic;
    std::string shared_log{};  // of a shared volume: where the intent log is, a path of log_region.h
    bool resync = true;        // false: the caller warrants that both ends are equal. Spec: REP-154
};

class Manager {
  public:
    using MakeHost = std::function<std::unique_ptr<VolumeHost>(const VolumeId&, HostEvents&)>;

    /// `links`, `devices`, `notes`, `snapshots` and `file_systems` outlive the manager; without `notes` no
    /// cluster protects the volumes, without `snapshots` none can be taken, without `file_systems` everything
    /// is copied.
    Manager(runtime::World world, ManagerOptions options, DataLinks& links, Devices& devices,
            MakeHost make_host, ClusterNotes* notes = nullptr, SnapshotTools* snapshots = nullptr,
            FileSystems* file_systems = nullptr);
    Manager(const Manager&) = delete;
    Manager& operator=(const Manager&) = delete;
    ~Manager();

    /// Brings up every mirror that has a record.
    void start();
    /// Serves peers at `address` on the dispatch port.
    Result<> listen(const std::string& address);
    runtime::Task<> shut_down();

    /// On the future source. Gives the device's path. All or nothing: an error leaves no trace on either
    /// node.
    runtime::Task<Result<std::string>> create(CreateOptions options);
    /// One target more, from the source; it gets everything. Between the targets the addresses that the
    /// source uses for them count, until Mirror::change_endpoints() says otherwise. Spec: MOP-069.
    /// `equal`: the caller warrants that it holds what the source holds; writes wait meanwhile.
    runtime::Task<Result<>> add_target(VolumeId volume, TargetOptions target, bool equal = false);
    /// The half of a target that has lost it, from the source; it gets everything when the mirror is
    /// continued. `device`: the target's. Spec: MOP-118.
    runtime::Task<Result<>> remake_target(VolumeId volume, std::string node, std::string device);
    /// One target less, from the source; without the last one the volume is served as before. `force`: also
    /// when the target does not answer. Spec: MOP-155, KIT-072.
    runtime::Task<Result<>> remove_target(VolumeId volume, std::string node, bool force);
    /// All halves from the source; a target's half alone only when its source is gone. Spec: REP-163,
    /// REP-200.
    runtime::Task<Result<>> remove(VolumeId volume, bool force);

    // --- volumes that several hosts of this end share; see mirror/shared
    void set_shared_records(SharedRecords* records) { records_.set_shared(records); }
    /// Goes on with a mirror as its record says, which another host of this end or an earlier life of this
    /// one has left; this host owns the volume. Gives the device's path, or nothing when it is target.
    runtime::Task<Result<std::string>> take_up(MirrorRecord record);
    /// The end of that; see Mirror::lay_down.
    runtime::Task<Result<>> put_down(VolumeId volume, bool lost);
    /// Its creation was interrupted: nobody was told that it exists.
    runtime::Task<> undo_shared(MirrorRecord record);
    /// Asked before this node becomes target of a new mirror: of a shared volume that is open here its device
    /// is let go, and where the intent log lies is given, a path of log_region.h; empty: it is not shared.
    /// When nothing comes of the mirror, what set_ended() was given is told.
    using Lend = std::function<runtime::Task<Result<std::string>>(VolumeId volume)>;
    void set_lend(Lend lend) { lend_ = std::move(lend); }
    /// See Surroundings::new_log.
    using NewLog = std::function<runtime::Task<Result<std::string>>(MirrorRecord record)>;
    void set_new_log(NewLog new_log) { surroundings_.new_log = std::move(new_log); }
    /// Told when a shared volume is not mirrored any more.
    void set_ended(std::function<void(const VolumeId&)> ended) { ended_ = std::move(ended); }

    /// This node's half alone, whatever the other node has. Spec: EMC-160.
    runtime::Task<Result<>> remove_local(VolumeId volume);

    /// Who answers peers' requests of RequestKind::service; `caller` is the node. Before listen().
    using Service = std::function<void(std::string caller, std::string payload, PeerServer::Answer answer)>;
    void set_service(Service service) { service_ = std::move(service); }
    /// Asked before this node becomes target of a new mirror; an error is the refusal.
    using Observer = std::function<void(const MirrorRecord& before, const MirrorRecord& now)>;
    void set_observer(Observer observer) { surroundings_.changed = std::move(observer); }
    /// What volumes that have no value of their own take from now on, when they are asked to read it, and the
    /// ports of their next connections as targets. Spec: EMC-231.
    void set_settings(config::Settings settings);
    using TargetCheck = std::function<Result<>(const VolumeId& volume)>;
    void set_target_check(TargetCheck check) { target_check_ = std::move(check); }
    // --- snapshots of targets, in manager_snapshot.cpp
    /// Of all these volumes at one moment; gives the devices, a line each. On the target, or on the source,
    /// which asks the target. All or nothing. `refresh`: in the place of snapshots that there are. Spec:
    /// REP-313, REP-324.
    runtime::Task<Result<std::string>> take_snapshot(std::vector<VolumeId> volumes, bool refresh);
    /// Of volumes of this node. `forced`: whoever uses one gets I/O errors. Spec: REP-333.
    runtime::Task<Result<>> drop_snapshot(std::vector<VolumeId> volumes, bool forced);
    /// See Mirror::set_snapshot_location.
    Result<> set_snapshot_location(const VolumeId& volume, std::string directory);

    [[nodiscard]] std::shared_ptr<Mirror> find(const VolumeId& volume) const;
    [[nodiscard]] std::vector<std::shared_ptr<Mirror>> all() const;
    /// Records that could not be read: file name and why.
    [[nodiscard]] const std::map<std::string, std::string>& damaged() const { return damaged_; }
    [[nodiscard]] const ManagerOptions& options() const { return options_; }

  private:
    std::shared_ptr<Mirror> add(MirrorRecord record);
    void forget(const VolumeId& volume);
    [[nodiscard]] Result<> check_new(const VolumeId& volume, const std::string& device) const;
    [[nodiscard]] std::string log_path(const VolumeId& volume, const std::string& peer) const;
    [[nodiscard]] Result<> check_target(const VolumeId& volume, const TargetOptions& target,
                                        const std::vector<std::string>& taken) const;
    runtime::Task<Result<>> make_half(const MirrorRecord& record, TargetOptions target,
                                      std::vector<PeerFacts> others, bool equal);
    runtime::Task<> forget_half(MirrorRecord record, std::string peer);
    runtime::Task<> undo_creation(MirrorRecord record);
    runtime::Task<> serve(std::string caller, PeerRequest request, PeerServer::Answer answer);
    runtime::Task<PeerReply> create_target(std::string caller, PeerRequest request);
    runtime::Task<PeerReply> make_target(std::string caller, PeerRequest request, std::string shared_log);
    runtime::Task<PeerReply> remove_half(PeerRequest request);
    using Mirrors = std::vector<std::shared_ptr<Mirror>>;
    [[nodiscard]] Result<Mirrors> find_all(const std::vector<VolumeId>& volumes) const;
    runtime::Task<Result<std::string>> take_checked(Mirrors mirrors, bool refresh);
    runtime::Task<Result<>> begin_snapshots(Mirrors mirrors);
    runtime::Task<PeerReply> mark_for_peer(std::string caller, PeerRequest request);
    runtime::Task<Result<>> mark_all(std::string target, Mirrors mirrors, std::vector<QuietVolume> volumes,
                                     std::uint64_t number);
    runtime::Task<PeerReply> take_for_peer(std::string caller, PeerRequest request);
    runtime::Task<Result<std::string>> create_checked(CreateOptions options);
    [[nodiscard]] std::vector<PeerFacts> others_of(const MirrorRecord& record,
                                                   const TargetOptions& target) const;
    runtime::Task<Result<>> join_target(std::shared_ptr<Mirror> mirror, TargetOptions target, bool equal);

    runtime::World world_;
    ManagerOptions options_;
    RecordStore records_;
    Devices& devices_;
    MakeHost make_host_;
    OperationLock resizes_;
    Surroundings surroundings_;
    using Graveyard = std::vector<std::shared_ptr<Mirror>>;
    std::shared_ptr<Graveyard> graveyard_ = std::make_shared<Graveyard>();
    std::map<VolumeId, std::shared_ptr<Mirror>> mirrors_;
    std::map<std::string, std::string> damaged_;
    std::set<VolumeId> being_made_;
    Service service_;
    Lend lend_;
    std::function<void(const VolumeId&)> ended_;
    TargetCheck target_check_;
    PeerServer server_;
    runtime::TaskScope tasks_;
};

}  // namespace understudy::mirror::control
