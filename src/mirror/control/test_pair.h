#pragma once
// Two or three hosts with a mirrored volume in the simulated world: real control (manager, mirrors, protocol,
// records), and a model of the data path that keeps every promise of volume.h with a few integers as blocks.

#include "mirror/control/cluster_notes.h"
#include "mirror/control/commands.h"
#include "runtime/simulated/simulated_world.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace understudy::mirror::control::testing_pair {

inline constexpr std::size_t kBlocks = 16;

class ModelHost;

/// What a host's disk and kernel hold; outlives the daemon and, but for the export, the power.
struct Disk {
    std::vector<int> blocks = std::vector<int>(kBlocks, 0);
    std::map<std::string, std::set<std::size_t>> dirty;  // the intent log of each peer; absent: none yet
    bool log_lost = false;                               // the next start finds none
    std::string used_by;                                 // stop_export names it
    std::string snapshot_used_by;
    std::set<std::string> snapshot_files;
    bool kept = false;                              // the keeper holds the export
    std::map<std::string, std::size_t> log_blocks;  // of each log
    std::size_t most_log_blocks = 1000;             // there is room for logs of so many
    std::function<void()> no_room;                  // told when there is not
    std::uint64_t size = kBlocks * 65536;           // of the device; `blocks` is the replicated part
    std::uint32_t sector = 512;
    bool missing = false;
    bool slow = false;  // writes stay in the device until finish_slow()
    std::string media = "serial:1";
    std::string* log_area = nullptr;  // where logs are that lie on a device (log_region.h)
    std::set<ModelHost*> opened;      // who has it in use
    std::map<std::string, std::shared_ptr<Disk>> others;  // those of the host's volumes besides R, by name
    // The file system on it, as far as it tells.
    std::optional<BlockRanges> free;  // nullopt: none that is known
    std::vector<std::string> files;   // that lie in whatever is asked about
    std::function<void()> while_asked;
    std::vector<std::string> asked;  // the device of the export each time; empty: it was not offered
};

/// The data links between the hosts.
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
    struct Expected {
        int number;
        std::string node;
        std::function<void(LinkResult)> done;
    };
    std::map<std::string, Expected> expected;
    /// Whether nothing passes between the two.
    [[nodiscard]] bool parted(const std::string& one, const std::string& other) const {
        return cut || cut_off.contains(one) || cut_off.contains(other);
    }
    std::set<std::string> cut_off;  // nodes whose mirror network is gone
    int next = 1;
    bool cut = false;
    bool silent = false;  // a host that dies says nothing: the other's link stays, without answers
    runtime::Duration resync_takes = std::chrono::milliseconds(20);
    std::uint64_t blocks_sent = 0;
};

class ModelLinks : public DataLinks {
  public:
    ModelLinks(runtime::World world, Wire& wire, std::string node)
        : world_(world), wire_(wire), node_(std::move(node)) {}
    Result<std::uint16_t> expect(const VolumeId&, const std::string&, const SessionId& session,
                                 const SessionKey&, std::function<void(LinkResult)> done) override;
    void forget(const VolumeId&) override;
    void set_ports(std::uint16_t, std::uint16_t) override {}  // nothing listens
    runtime::Task<LinkResult> connect(runtime::Endpoint, std::string, SessionId session, SessionKey) override;

  private:
    runtime::World world_;
    Wire& wire_;
    std::string node_;
    std::string mine_;
};

class ModelHost : public VolumeHost {
  public:
    /// `node`: by which the other end knows this one.
    ModelHost(runtime::World world, Disk& disk, Wire& wire, std::string node, HostEvents& events)
        : world_(world), disk_(disk), wire_(wire), node_(std::move(node)), events_(events) {
        disk_.opened.insert(this);
    }
    ~ModelHost() override;

    runtime::Task<Result<std::uint64_t>> open(VolumeId, std::string, std::uint64_t) override;
    runtime::Task<Result<VolumeStatus>> add(std::string peer, VolumeOptions options) override;
    runtime::Task<> remove(std::string peer) override;
    runtime::Task<Result<std::uint64_t>> device_size() override;
    runtime::Task<Result<>> resize(std::uint64_t size) override;
    void become_source(const std::string& peer, MirrorState state, PauseCause cause,
                       bool mark_all_dirty) override;
    void become_target(const std::string& peer) override;
    runtime::Task<Result<>> drain(std::string peer) override;
    runtime::Task<Result<>> quiesce() override;
    runtime::Task<Result<>> pause(std::string peer) override;
    void resume(const std::string& peer) override {
        if (legs_.contains(peer)) legs_.at(peer).state = MirrorState::pending;
    }
    void break_mirror(const std::string& peer) override;
    void set_type(const std::string& peer, MirrorType type) override {
        if (legs_.contains(peer)) legs_.at(peer).type = type;
    }
    void set_parameters(const std::string& peer, const MirrorParameters& parameters) override {
        if (legs_.contains(peer)) legs_.at(peer).parameters = parameters;
    }
    void watch_writes(const std::string& peer, std::uint64_t number) override;
    void leave_out(const std::string& peer, std::uint64_t number, BlockRanges unused, bool copied) override;
    runtime::Task<Result<CompareReport>> compare(std::string peer, CompareOptions options) override;
    void attach(const std::string& peer, int data, int resync, LinkTerms terms) override;
    void detach(const std::string& peer) override;
    void give_up_links(const std::string& peer, std::string why) override;
    void restart_links(const std::string& peer, std::string why) override;
    void set_gate(GateMode mode) override;
    runtime::Task<VolumeStatus> status(std::string peer) override;
    runtime::Task<std::optional<BlockRanges>> recent_writes(std::string peer) override;
    runtime::Task<BlockRanges> dirty_ranges(std::string peer) override;
    runtime::Task<Result<>> replace_dirty(std::string peer, BlockRanges ranges) override;
    runtime::Task<bool> written(runtime::Duration limit) override;
    /// The device's writes that `disk.slow` has kept are done.
    void finish_slow();
    void serve_alone() override {
        alone_ = true;
        quiesced_ = false;
    }
    bool export_kept() const override { return disk_.kept; }
    runtime::Task<Result<std::string>> start_export(ExportKind) override;
    runtime::Task<Result<>> stop_export(bool forced) override;
    runtime::Task<Result<>> mark_snapshot(std::string peer, std::uint64_t number) override;
    runtime::Task<Result<>> prepare_snapshot(std::string peer, SnapshotPlan plan) override;
    runtime::Task<Result<std::string>> export_snapshot(std::string peer) override;
    runtime::Task<Result<>> drop_snapshot(std::string peer, bool forced) override;
    runtime::Task<> shutdown() override;

    ModelHost** seat = nullptr;  // who points to it, until it is destroyed
    /// What its logs hold that lie on a device is written there.
    void store_logs();
    /// The snapshot's file is full.
    void fail_snapshot();
    /// An application's write; `*acknowledged` becomes true when it is done.
    void write(std::size_t block, int value, bool* acknowledged);
    /// The connections break and nothing else does, as this side finds out.
    void break_links();
    void break_links(const std::string& peer);
    /// The links' ends, as this side finds out; with one peer.
    void lose_link();
    void lose_link(const std::string& peer);
    /// As the volume does every 300 ms while its target owes answers.
    void miss_answers() {
        for (const auto& [peer, leg] : legs_)
            if (leg.session != 0 || leg.suspended) events_.target_silent(peer);
    }
    void fail_log() {
        for (auto& [peer, leg] : legs_) {
            leg.log_failed = true;
            events_.log_failed(peer, "I/O error");
        }
    }
    [[nodiscard]] bool exported() const { return exported_; }
    /// Whether a write to the device would change the disk now.
    [[nodiscard]] bool writable() const {
        return exported_ && gate_ == GateMode::open && source() && !quiesced_;
    }
    /// Bytes that users of the device see.
    [[nodiscard]] std::uint64_t exported_bytes() const { return exported_bytes_; }
    [[nodiscard]] bool linked() const;
    /// Of the only peer, or the first.
    [[nodiscard]] const MirrorParameters& parameters() const { return legs_.begin()->second.parameters; }
    [[nodiscard]] GateMode gate() const { return gate_; }
    struct Snapshot {
        std::uint64_t number = 0;
        bool begun = false;
        bool exported = false;
        std::vector<int> blocks;
    };
    [[nodiscard]] const std::optional<Snapshot>& snapshot() const { return snapshot_; }

  private:
    struct Leg {
        Role role = Role::none;
        MirrorState state = MirrorState::none;
        MirrorType type = MirrorType::sync;
        MirrorParameters parameters;
        bool created = false;
        bool log_failed = false;
        std::optional<std::uint64_t> region;  // the log's offset on its device
        int session = 0;
        bool suspended = false, resumable = false;  // source; target
        int suspensions = 0;
        std::uint64_t watch = 0;
        std::optional<std::set<std::size_t>> written;  // since watch_writes()
        std::optional<BlockRanges> unused;
        std::optional<std::set<std::size_t>> recent;  // received and not known to be on every target
    };
    struct Waiting {
        std::size_t block;
        int value;
        bool* acknowledged;
        std::optional<std::set<std::string>> legs = {};  // whom it was given to; none: who is there
    };
    /// A write that some targets have not answered.
    struct Stalled {
        std::set<std::string> peers;
        Waiting write;
        bool failed = false;
    };
    void apply(const Waiting& write);
    void synchronise(const std::string& peer, int session);
    void resend(const std::string& peer, ModelHost& target);
    void degrade(const std::string& peer);
    [[nodiscard]] bool source() const;
    [[nodiscard]] VolumeStatus now(const std::string& peer) const;

    runtime::World world_;
    Disk& disk_;
    Wire& wire_;
    std::string node_;
    HostEvents& events_;
    std::map<std::string, Leg> legs_;
    GateMode gate_ = GateMode::hold_all;
    bool quiesced_ = false;
    bool alone_ = false;  // serves without a target
    bool exported_ = false;
    std::uint64_t exported_bytes_ = 0;
    bool asked_ = false;
    std::optional<Snapshot> snapshot_;
    std::string snapshot_problem_;
    std::uint64_t writes_ = 0;
    std::vector<Waiting> waiting_, slow_;
    std::vector<Stalled> stalled_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

/// The cluster's notes: what each node's database holds, and who sees whom.
struct ModelCluster {
    std::vector<std::string> members{"left", "right"};
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
    runtime::Task<Result<bool>> post(BehindNote note, std::vector<std::string> peers) override;
    runtime::Task<Result<bool>> withdraw(VolumeId volume, std::vector<std::string> peers) override;
    runtime::Task<Result<std::vector<BehindNote>>> read(VolumeId volume) override;
    runtime::Task<bool> is_dead(std::string node) override;
    runtime::Task<bool> answers() override;

  private:
    runtime::World world_;
    ModelCluster& cluster_;
    std::string node_;
};

class ModelDevices : public Devices {
  public:
    explicit ModelDevices(Disk& disk) : disk_(disk) {}
    [[nodiscard]] Result<DeviceFacts> examine(const std::string& device) const override;
    [[nodiscard]] std::string media(const std::string&) const override { return disk_.media; }

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

class ModelFileSystems : public FileSystems {
  public:
    ModelFileSystems(runtime::World world, Disk& disk) : world_(world), disk_(disk) {}
    runtime::Task<Result<BlockRanges>> free_blocks(Place place) override;
    runtime::Task<Result<FileNames>> files(Place place, BlockRanges blocks) override;

  private:
    runtime::World world_;
    Disk& disk_;
};

/// What runs on a powered host.
struct Daemon {
    Daemon(runtime::World world, Disk& disk, Wire& wire, ModelCluster& cluster, const std::string& node,
           const std::string& end, mirror::wire::Offer offer, const std::string& settings,
           EventListener on_event = {});
    runtime::World world;
    ModelLinks links;
    ModelDevices devices;
    ModelNotes notes;
    ModelSnapshotTools snapshots;
    ModelFileSystems file_systems;
    ModelHost* host = nullptr;
    Manager manager;
    CommandService commands;
    runtime::TaskScope tasks;
    std::shared_ptr<void> extra;  // what a test runs beside it; it goes first
};

struct Host {
    std::string name, address;
    std::string new_address;  // another one that it has
    Disk disk;
    runtime::SimulatedNode* node = nullptr;
    Daemon* daemon = nullptr;
    mirror::wire::Offer offer = mirror::wire::offer_of_this_build();  // of its next start
    std::string settings;                                             // the same
    std::vector<MirrorEvent> events;                                  // that its daemons told
    Host* shares_with = nullptr;  // another host, whose disk this one has, and by whose name its end goes
    [[nodiscard]] Disk& own_disk() { return shares_with ? shares_with->disk : disk; }
    [[nodiscard]] const std::string& end() const { return shares_with ? shares_with->name : name; }
};

class Pair {
  public:
    /// `hosts`: 2, 3 with `third`, 4 with `fourth`, and so on to 6.
    explicit Pair(std::uint64_t seed = 1, std::size_t hosts = 2);

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
    /// What more runs on a host, made beside its daemon.
    std::function<std::shared_ptr<void>(Host&, runtime::World, Daemon&)> extra;
    /// Writes and waits; false when it is not acknowledged within `limit`.
    bool write(Host& host, std::size_t block, int value, runtime::Duration limit = std::chrono::seconds(8));
    [[nodiscard]] const MirrorRecord& record(Host& host);
    /// The mirror of `host` with another; the only or first one.
    [[nodiscard]] const PeerRecord& peer(Host& host) { return record(host).peers.front(); }
    [[nodiscard]] const PeerRecord& peer(Host& host, const Host& other) {
        return *record(host).peer(other.name);
    }
    /// Its ids towards the only or first one.
    [[nodiscard]] Generations generations(Host& host) {
        return record(host).generations(record(host).peers.front().node);
    }
    bool until(const std::function<bool()>& condition, runtime::Duration limit = std::chrono::seconds(30));
    /// Looked at after every event while something is waited for.
    std::function<void()> watch;
    /// The hosts whose users could write now.
    [[nodiscard]] std::vector<Host*> writable();
    [[nodiscard]] bool in_sync();
    /// Of three: `source` mirrors to both others, or to those given.
    [[nodiscard]] bool in_sync(Host& source, std::vector<Host*> targets);
    bool wait_in_sync() {
        return until([this] { return in_sync(); });
    }
    /// Both ways, data and control; each side finds out. The cluster's own paths are another network.
    void cut();
    /// The mirror network of one of three hosts.
    void cut_off(Host& host);
    void heal();
    /// The mirror's connections break; network and hosts are well. All, or those between two hosts.
    void reset();
    void reset(Host& one, Host& other);

    Wire wire;
    ModelCluster cluster;
    Host left{"left", "10.0.0.1", "10.9.0.1", {}, nullptr, nullptr};
    Host right{"right", "10.0.0.2", "10.9.0.2", {}, nullptr, nullptr};
    Host third{"third", "10.0.0.3", "10.9.0.3", {}, nullptr, nullptr};
    Host fourth{"fourth", "10.0.0.4", "10.9.0.4", {}, nullptr, nullptr};
    Host fifth{"fifth", "10.0.0.5", "10.9.0.5", {}, nullptr, nullptr};
    Host sixth{"sixth", "10.0.0.6", "10.9.0.6", {}, nullptr, nullptr};
    std::vector<Host*> hosts{&left, &right};
    runtime::Simulation sim;  // last: the programs in it use the rest
};

}  // namespace understudy::mirror::control::testing_pair
