#pragma once
// Two hosts with a mirrored volume in the simulated world: real control (manager, mirrors, protocol,
// records), and a model of the data path that keeps every promise of volume.h with a few integers as blocks.

#include "mirror/control/cluster_notes.h"
#include "mirror/control/commands.h"
#include "runtime/simulated/simulated_world.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace understudy::mirror::control::testing_pair {

inline constexpr std::size_t kBlocks = 16;

class ModelHost;

/// What a host's disk and kernel hold; outlives the daemon and, but for the export, the power.
struct Disk {
    std::vector<int> blocks = std::vector<int>(kBlocks, 0);
    std::set<std::size_t> dirty;  // the intent log
    bool log_exists = false;
    bool log_lost = false;  // the next open finds none
    std::string used_by;    // stop_export names it
    std::string snapshot_used_by;
    std::set<std::string> snapshot_files;
    bool kept = false;  // the keeper holds the export
    std::uint64_t size = kBlocks * 65536;
    std::uint32_t sector = 512;
    bool missing = false;
};

/// The data links between the two hosts.
class Wire {
  public:
    struct Session {
        ModelHost* source = nullptr;
        ModelHost* target = nullptr;
        ResyncKind kind = ResyncKind::none;
        mirror::wire::Features features = 0;  // as both ends were told
        bool in_sync = false;
    };
    std::map<int, Session> sessions;
    std::map<std::string, std::pair<int, std::function<void(LinkResult)>>> expected;
    int next = 1;
    bool cut = false;
    bool silent = false;  // a host that dies says nothing: the other's link stays, without answers
    runtime::Duration resync_takes = std::chrono::milliseconds(20);
    std::uint64_t blocks_sent = 0;
};

class ModelLinks : public DataLinks {
  public:
    ModelLinks(runtime::World world, Wire& wire) : world_(world), wire_(wire) {}
    Result<std::uint16_t> expect(const VolumeId&, const std::string&, const SessionId& session,
                                 const SessionKey&, std::function<void(LinkResult)> done) override;
    void forget(const VolumeId&) override;
    runtime::Task<LinkResult> connect(runtime::Endpoint, std::string, SessionId session, SessionKey) override;

  private:
    runtime::World world_;
    Wire& wire_;
    std::string mine_;
};

class ModelHost : public VolumeHost {
  public:
    ModelHost(runtime::World world, Disk& disk, Wire& wire, HostEvents& events)
        : world_(world), disk_(disk), wire_(wire), events_(events) {}
    ~ModelHost() override;

    runtime::Task<Result<VolumeStatus>> open(VolumeOptions, std::uint64_t) override;
    void become_source(MirrorState state, PauseCause cause, bool mark_all_dirty) override;
    void become_target() override;
    runtime::Task<Result<>> drain() override;
    runtime::Task<Result<>> quiesce() override;
    runtime::Task<Result<>> pause() override;
    void resume() override { state_ = MirrorState::pending; }
    void break_mirror() override;
    void set_type(MirrorType type) override { type_ = type; }
    void set_parameters(const MirrorParameters& parameters) override { parameters_ = parameters; }
    runtime::Task<Result<CompareReport>> compare(CompareOptions options) override;
    void attach(int data, int resync, LinkTerms terms) override;
    void detach() override;
    void give_up_links(std::string why) override;
    void set_gate(GateMode mode) override;
    runtime::Task<VolumeStatus> status() override;
    bool export_kept() const override { return disk_.kept; }
    runtime::Task<Result<std::string>> start_export(ExportKind) override;
    runtime::Task<Result<>> stop_export(bool forced) override;
    runtime::Task<BlockRanges> dirty_ranges() override;
    runtime::Task<Result<>> mark_snapshot(std::uint64_t number) override;
    runtime::Task<Result<>> prepare_snapshot(SnapshotPlan plan) override;
    runtime::Task<Result<std::string>> export_snapshot() override;
    runtime::Task<Result<>> drop_snapshot(bool forced) override;
    runtime::Task<> shutdown() override;

    /// The snapshot's file is full.
    void fail_snapshot();
    /// An application's write; `*acknowledged` becomes true when it is done.
    void write(std::size_t block, int value, bool* acknowledged);
    /// The connections break and nothing else does, as this side finds out.
    void break_links();
    /// The link's end, as this side finds out.
    void lose_link();
    /// As the volume does every 300 ms while its target owes answers.
    void miss_answers() { events_.target_silent(); }
    void fail_log() { events_.log_failed("I/O error"); }
    [[nodiscard]] bool exported() const { return exported_; }
    [[nodiscard]] bool linked() const { return session_ != 0; }
    [[nodiscard]] const MirrorParameters& parameters() const { return parameters_; }
    [[nodiscard]] GateMode gate() const { return gate_; }
    struct Snapshot {
        std::uint64_t number = 0;
        bool begun = false;
        bool exported = false;
        std::vector<int> blocks;
    };
    [[nodiscard]] const std::optional<Snapshot>& snapshot() const { return snapshot_; }

  private:
    struct Waiting {
        std::size_t block;
        int value;
        bool* acknowledged;
    };
    void apply(const Waiting& write);
    void synchronise(int session);
    void degrade();
    [[nodiscard]] VolumeStatus now() const;

    runtime::World world_;
    Disk& disk_;
    Wire& wire_;
    HostEvents& events_;
    Role role_ = Role::none;
    MirrorState state_ = MirrorState::none;
    MirrorType type_ = MirrorType::sync;
    MirrorParameters parameters_;
    GateMode gate_ = GateMode::hold_all;
    bool quiesced_ = false;
    bool exported_ = false;
    bool asked_ = false;
    bool created_ = false;
    int session_ = 0;
    std::optional<Snapshot> snapshot_;
    std::string snapshot_problem_;
    bool suspended_ = false, resumable_ = false;  // source; target
    std::vector<Waiting> unacknowledged_;         // of a suspended source
    std::vector<Waiting> waiting_;
    std::vector<bool*> stalled_;  // synchronous writes that wait for the target
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

/// The cluster's notes: what each node's database holds, and who sees whom.
struct ModelCluster {
    std::map<std::string, std::vector<BehindNote>> notes;
    std::set<std::string> dead;    // nodes that the heartbeats have found dead
    bool apart = false;            // each node takes the other for dead
    std::set<std::string> silent;  // nodes whose cluster daemon does not answer
    int posts = 0;
    int questions = 0;  // whether a node is dead
};

class ModelNotes : public ClusterNotes {
  public:
    ModelNotes(runtime::World world, ModelCluster& cluster, std::string node)
        : world_(world), cluster_(cluster), node_(std::move(node)) {}
    runtime::Task<Result<bool>> post(BehindNote note, std::string peer) override;
    runtime::Task<Result<bool>> withdraw(VolumeId volume, std::string peer) override;
    runtime::Task<Result<std::vector<BehindNote>>> read(VolumeId volume) override;
    runtime::Task<bool> is_dead(std::string node) override;

  private:
    runtime::World world_;
    ModelCluster& cluster_;
    std::string node_;
};

class ModelDevices : public Devices {
  public:
    explicit ModelDevices(Disk& disk) : disk_(disk) {}
    [[nodiscard]] Result<DeviceFacts> examine(const std::string& device) const override;

  private:
    Disk& disk_;
};

/// Files in the disk's list; quiet moments that a test can spoil.
class ModelSnapshotTools : public SnapshotTools {
  public:
    ModelSnapshotTools(runtime::World world, Disk& disk) : world_(world), disk_(disk) {}
    [[nodiscard]] Result<> check_location(const std::string& directory,
                                          const std::vector<std::string>& devices) const override;
    runtime::Task<Result<>> create(std::string file, std::uint64_t bytes) override;
    runtime::Task<> remove(std::string file) override;
    runtime::Task<Result<std::shared_ptr<Quiet>>> quiesce(std::vector<QuietVolume> volumes) override;

    std::string refuse;              // why nothing becomes quiet
    bool late = false;               // they went on before they were let go
    std::function<void()> in_quiet;  // runs when all are quiet
    int quiets = 0, open_quiets = 0;

  private:
    runtime::World world_;
    Disk& disk_;
};

/// What runs on a powered host.
struct Daemon {
    Daemon(runtime::World world, Disk& disk, Wire& wire, ModelCluster& cluster, const std::string& node,
           const std::string& address, mirror::wire::Offer offer, const std::string& settings);
    runtime::World world;
    ModelLinks links;
    ModelDevices devices;
    ModelNotes notes;
    ModelSnapshotTools snapshots;
    ModelHost* host = nullptr;
    Manager manager;
    CommandService commands;
    runtime::TaskScope tasks;
};

struct Host {
    std::string name, address;
    Disk disk;
    runtime::SimulatedNode* node = nullptr;
    Daemon* daemon = nullptr;
    mirror::wire::Offer offer = mirror::wire::offer_of_this_build();  // of its next start
    std::string settings;                                             // the same
};

class Pair {
  public:
    explicit Pair(std::uint64_t seed = 1);

    void start(Host& host);
    /// The clean end of mirrord; its start is the caller's.
    void stop(Host& host);
    /// kill -9 of mirrord: the keeper holds the export.
    void kill(Host& host);
    void power_off(Host& host);
    /// Runs a command to its end.
    config::Reply run(Host& host, std::vector<std::string> words,
                      std::map<std::string, std::string> options = {});
    config::Reply create(std::map<std::string, std::string> more = {});
    /// Writes and waits; false when it is not acknowledged within `limit`.
    bool write(Host& host, std::size_t block, int value, runtime::Duration limit = std::chrono::seconds(8));
    [[nodiscard]] const MirrorRecord& record(Host& host);
    bool until(const std::function<bool()>& condition, runtime::Duration limit = std::chrono::seconds(30));
    [[nodiscard]] bool in_sync();
    bool wait_in_sync() {
        return until([this] { return in_sync(); });
    }
    /// Both ways, data and control; each side finds out. The cluster's own paths are another network.
    void cut();
    void heal();
    /// The mirror's connections break; network and hosts are well.
    void reset();

    Wire wire;
    ModelCluster cluster;
    Host left{"left", "10.0.0.1", {}, nullptr, nullptr};
    Host right{"right", "10.0.0.2", {}, nullptr, nullptr};
    runtime::Simulation sim;  // last: the programs in it use the rest
};

}  // namespace understudy::mirror::control::testing_pair
