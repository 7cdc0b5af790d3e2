#pragma once
// What the control loop needs of one volume and of the host it lives on, as interfaces: the real ones run the
// volume, its reactor thread and its export (posix/), tests bring their own.
// Threading: everything here is called, and calls back, on the control loop's thread.

#include "mirror/control/gate.h"
#include "mirror/control/record.h"
#include "mirror/control/session.h"
#include "mirror/volume.h"
#include "runtime/network.h"
#include "runtime/task.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::mirror::control {

/// VolumeEvents of each peer's mirror on the control loop, and the gate's question.
class HostEvents {
  public:
    virtual ~HostEvents() = default;
    virtual void state_changed(const std::string& peer, MirrorState from, MirrorState to,
                               PauseCause cause) = 0;
    /// The gate holds writes since the moment the link went.
    virtual void link_lost(const std::string& peer, std::string why) = 0;
    /// See VolumeEvents::link_interrupted.
    virtual void link_interrupted(const std::string& peer, std::string why) = 0;
    /// See VolumeEvents::degraded; `release` may be called on the control loop.
    virtual void degraded(const std::string& peer, DegradeAnswer release) = 0;
    virtual void in_sync(const std::string& peer) = 0;
    virtual void log_failed(const std::string& peer, std::string why) = 0;
    /// A write waits at the gate in first_write; set_gate(open) lets it pass.
    virtual void first_write() = 0;
    /// See VolumeEvents::target_silent.
    virtual void target_silent(const std::string& peer) = 0;
    /// See VolumeEvents::snapshot_failed.
    virtual void snapshot_failed(std::string why) { (void)why; }
};

/// One volume with its reactor thread, gate and export, and the mirror with each of its peers. Calls without
/// a result take effect in their order. `peer` was given to add(); for one that was removed since, what has
/// no result does nothing.
class VolumeHost {
  public:
    virtual ~VolumeHost() = default;

    /// `size`: bytes of the replicated volume; 0 takes the device's, which is given. A device that has less
    /// makes the volume smaller.
    virtual runtime::Task<Result<std::uint64_t>> open(VolumeId id, std::string device,
                                                      std::uint64_t size) = 0;
    virtual runtime::Task<Result<VolumeStatus>> add(std::string peer, VolumeOptions options) = 0;
    /// Ends one mirror; the others go on.
    virtual runtime::Task<> remove(std::string peer) = 0;
    /// The device's size now, in bytes. Error: it cannot be asked.
    virtual runtime::Task<Result<std::uint64_t>> device_size() = 0;
    /// Gate and export have `size` bytes from here on, at most what the device has. No peer is there
    /// meanwhile, or none that serves. Error: see Export::resize.
    virtual runtime::Task<Result<>> resize(std::uint64_t size) = 0;
    virtual void become_source(const std::string& peer, MirrorState state, PauseCause cause,
                               bool mark_all_dirty) = 0;
    virtual void become_target(const std::string& peer) = 0;
    virtual runtime::Task<Result<>> drain(std::string peer) = 0;
    /// All mirrors of a source.
    virtual runtime::Task<Result<>> quiesce() = 0;
    virtual runtime::Task<Result<>> pause(std::string peer) = 0;
    virtual void resume(const std::string& peer) = 0;
    virtual void break_mirror(const std::string& peer) = 0;
    virtual void set_type(const std::string& peer, MirrorType type) = 0;
    virtual void set_parameters(const std::string& peer, const MirrorParameters& parameters) = 0;
    /// See Volume, of the same names.
    virtual void watch_writes(const std::string& peer, std::uint64_t number) = 0;
    virtual void leave_out(const std::string& peer, std::uint64_t number, BlockRanges unused,
                           bool copied) = 0;
    virtual runtime::Task<Result<CompareReport>> compare(std::string peer, CompareOptions options) = 0;
    /// Takes the sockets.
    virtual void attach(const std::string& peer, int data_socket, int resync_socket, LinkTerms terms) = 0;
    virtual void detach(const std::string& peer) = 0;
    virtual void give_up_links(const std::string& peer, std::string why) = 0;
    virtual void restart_links(const std::string& peer, std::string why) = 0;
    virtual void set_gate(GateMode mode) = 0;
    virtual runtime::Task<VolumeStatus> status(std::string peer) = 0;
    /// See Volume, of the same names.
    virtual runtime::Task<std::optional<BlockRanges>> recent_writes(std::string peer) = 0;
    virtual runtime::Task<BlockRanges> dirty_ranges(std::string peer) = 0;
    virtual runtime::Task<Result<>> replace_dirty(std::string peer, BlockRanges ranges) = 0;

    /// Requests that pass the gate go to the device while the volume has no peer; see VolumeSet::serve_alone.
    virtual void serve_alone() {}
    /// Nothing is in the device any more. Waits as long as the device takes.
    virtual runtime::Task<> idle() { co_return; }
    /// Whether every write that passed the gate is through the device within `limit`; see
    /// VolumeSet::when_written.
    virtual runtime::Task<bool> written(runtime::Duration limit) = 0;

    /// Whether an earlier life of the daemon left this volume's export open.
    [[nodiscard]] virtual bool export_kept() const = 0;
    /// Offers the volume; gives the device's (or socket's) path. Takes over what an earlier life left.
    virtual runtime::Task<Result<std::string>> start_export(ExportKind kind) = 0;
    /// Error when the device is in use, naming who holds it; `forced` gives its users I/O errors instead.
    virtual runtime::Task<Result<>> stop_export(bool forced) = 0;
    /// See Volume::mark_snapshot and Volume::prepare_snapshot.
    virtual runtime::Task<Result<>> mark_snapshot(std::string peer, std::uint64_t number) = 0;
    virtual runtime::Task<Result<>> prepare_snapshot(std::string peer, SnapshotPlan plan) = 0;
    /// Offers what the snapshot holds, readable and writable; gives the device's path. It ends with the
    /// process.
    virtual runtime::Task<Result<std::string>> export_snapshot(std::string peer) = 0;
    /// Takes that device away and forgets the snapshot, in whatever state. Error when the device is in use,
    /// naming who holds it; `forced` gives its users I/O errors instead.
    virtual runtime::Task<Result<>> drop_snapshot(std::string peer, bool forced) = 0;
    /// Clean end: the logs are closed as clean; an export that is open stays with the keeper.
    virtual runtime::Task<> shutdown() = 0;
};

/// Two connected, authenticated sockets, closed unless taken.
class LinkPair {
  public:
    LinkPair() = default;
    LinkPair(int data, int resync) : data_(data), resync_(resync) {}
    LinkPair(const LinkPair&) = delete;
    LinkPair& operator=(const LinkPair&) = delete;
    virtual ~LinkPair() = default;
    /// The caller owns them from here on.
    virtual std::pair<int, int> take() { return {std::exchange(data_, -1), std::exchange(resync_, -1)}; }

  protected:
    int data_ = -1;
    int resync_ = -1;
};
using LinkResult = Result<std::shared_ptr<LinkPair>>;

/// Data links between two nodes.
class DataLinks {
  public:
    virtual ~DataLinks() = default;
    /// Listens for one session on the volume's port at `address` and gives the port at once; `done` comes
    /// once, within kSessionLimit. A newer call for the same volume ends the older one.
    virtual Result<std::uint16_t> expect(const VolumeId& volume, const std::string& address,
                                         const SessionId& session, const SessionKey& key,
                                         std::function<void(LinkResult)> done) = 0;
    virtual void forget(const VolumeId& volume) = 0;
    /// Where expect() listens from its next call on; see data_port(). Spec: EMC-231.
    virtual void set_ports(std::uint16_t base, std::uint16_t increment) = 0;
    virtual runtime::Task<LinkResult> connect(runtime::Endpoint remote, std::string local_address,
                                              SessionId session, SessionKey key) = 0;
};
inline constexpr auto kSessionLimit = std::chrono::seconds(10);

struct DeviceFacts {
    std::uint64_t size = 0;         // bytes
    std::uint32_t sector_size = 0;  // bytes, logical
};

/// What a host knows about its devices.
class Devices {
  public:
    virtual ~Devices() = default;
    /// Whether the device may be an end of a mirror, and its size. Spec: REP-018, REP-026.
    virtual Result<DeviceFacts> examine(const std::string& device) const = 0;
    /// What tells the medium from another one under the same name: "KIND:VALUE", the same at every start.
    /// Empty: nothing does. Only values of one kind can be compared. Spec: MOP-115.
    [[nodiscard]] virtual std::string media(const std::string& device) const = 0;
};

}  // namespace understudy::mirror::control
