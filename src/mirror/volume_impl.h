#pragma once
// Private to volume*.cpp: the driver that gives the state machines a device, a log file, links and time.

#include "mirror/core/buffers.h"
#include "mirror/core/limits.h"
#include "mirror/core/source.h"
#include "mirror/core/target.h"
#include "mirror/device_slice.h"
#include "mirror/io/link_socket.h"
#include "mirror/io/local_device.h"
#include "mirror/io/raw_backend.h"
#include "mirror/log/intent_log.h"
#include "mirror/log/log_file.h"
#include "mirror/snapshot/snapshot.h"
#include "mirror/volume.h"
#include "mirror/volume_link.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace understudy::mirror {

class VolumeDriver final : public Volume, public SourceDriver, public TargetDriver, public LinkHandler {
  public:
    VolumeDriver(Reactor& reactor, VolumeOptions options, VolumeEvents& events);
    ~VolumeDriver() override;
    Result<> start();

    // BlockBackend
    [[nodiscard]] std::uint64_t size() const override { return slice_->size(); }
    [[nodiscard]] std::uint32_t sector_size() const override { return device_->sector_size(); }
    [[nodiscard]] bool punches() const override { return punches_; }
    void submit(BlockRequest& request) override;

    // Volume
    void become_source(MirrorState state, PauseCause cause, bool mark_all_dirty) override;
    void become_target() override;
    void drain(std::function<void(Result<>)> done) override;
    void quiesce(std::function<void(Result<>)> done) override;
    void attach(int data_socket, int resync_socket, LinkTerms terms) override;
    void detach() override;
    void give_up_links(std::string why) override;
    void restart_links(std::string why) override;
    void pause(std::function<void(Result<>)> done) override;
    void resume() override;
    void break_mirror() override;
    void set_type(MirrorType type) override;
    void set_parameters(const MirrorParameters& parameters) override;
    void watch_writes(std::uint64_t number) override;
    void leave_out(std::uint64_t number, BlockRanges unused, bool copied) override;
    void compare(const CompareOptions& options, std::function<void(Result<CompareReport>)> done) override;
    void mark_snapshot(std::uint64_t number, std::function<void(Result<>)> done) override;
    Result<> prepare_snapshot(const SnapshotPlan& plan) override;
    [[nodiscard]] BlockBackend* snapshot_view() override;
    void drop_snapshot(std::function<void()> done) override;
    [[nodiscard]] VolumeStatus status() const override;
    [[nodiscard]] bool all_written() const override { return !source_ || source_->all_written(); }
    [[nodiscard]] std::optional<FanOutLeg::Progress> progress() const override;
    void everywhere(std::uint64_t through) override;
    [[nodiscard]] std::optional<BlockRanges> recent_writes() const override;
    [[nodiscard]] BlockRanges dirty_ranges() const override;
    void replace_dirty(const BlockRanges& ranges, std::function<void(Result<>)> done) override;
    void shutdown(std::function<void()> done) override;

  private:
    struct PendingAttach {
        LinkSocket data_socket, resync_socket;
        LinkTerms terms;
    };
    struct FlushWait {
        BlockRequest request;
        std::function<void(int)> done;
    };
    struct KeptSnapshot {
        std::uint64_t number = 0;
        std::unique_ptr<RawBackend> store;
        std::unique_ptr<Snapshot> snapshot;  // from the marker on
        std::uint32_t block_bytes = 0;
        std::string problem;
        [[nodiscard]] bool idle() const { return (!snapshot || snapshot->idle()) && store->idle(); }
    };
    enum class Closing { no, quiescing, flushing, clearing, marking, links, timer, done };

    // SourceDriver and TargetDriver
    void send_data(Outgoing& item) override;
    void send_resync(Outgoing& item) override;
    void commit_log() override { commit_wanted_ = true; }
    void close_links(const std::string& said) override;
    void state_changed(MirrorState from, MirrorState to, PauseCause cause) override;
    void link_lost(std::string why) override;
    void link_interrupted(std::string why) override;
    void degraded(DegradeAnswer release) override;
    void in_sync() override;
    void target_silent() override { events_.target_silent(); }
    void mark_consistent(bool consistent, std::uint64_t serial) override;
    void release_data(std::byte* data, std::uint32_t length) override;
    void release_resync(std::byte* data, std::uint32_t length) override;
    bool snapshot_begins(std::uint64_t number) override;

    // LinkHandler
    void on_frame(Link& link, const wire::Frame& frame) override;
    void on_link_end(Link& link, std::string why) override;
    [[nodiscard]] bool may_read(const Link& link) const override;

    void after_batch();
    void tick();
    void arm_timer();
    void flush_data_link();
    void set_throttle();
    void log_finished(int error);
    void log_without_memory();
    void try_attach();
    void limit_full_copy(LinkTerms& terms);
    [[nodiscard]] bool may_attach();
    void flush_device(std::function<void(int)> done);
    void retire_roles();
    void advance_closing();
    [[nodiscard]] bool roles_idle() const;
    [[nodiscard]] BlockBackend& target_device();
    void retire_snapshot();
    void forget_dropped_snapshots();
    void add_snapshot_status(VolumeStatus& status) const;
    [[nodiscard]] bool device_idle() const { return !own_device_ || own_device_->idle(); }

    Reactor& reactor_;
    VolumeOptions options_;
    VolumeEvents& events_;
    std::shared_ptr<VolumeDriver*> alive_;  // the reactor's hooks outlive this object

    std::unique_ptr<RawBackend> own_device_;  // null: shared with other volumes
    BlockBackend* device_ = nullptr;
    std::unique_ptr<BlockBackend> slice_;  // the replicated part of the device
    bool punches_ = false;
    std::unique_ptr<IntentLog> log_;
    std::unique_ptr<LogFile> log_file_;
    bool commit_wanted_ = false;
    bool log_failure_told_ = false;
    std::uint64_t watch_number_ = 0;     // of the last watch_writes()
    std::optional<BlockRanges> unused_;  // the next links begin with a copy of everything else
    bool bits_given_ = false;            // by replace_dirty(): known although the log was new
    std::vector<std::function<void()>> after_commit_;

    Role role_ = Role::none;
    std::unique_ptr<Source> source_;
    std::unique_ptr<Target> target_;
    std::vector<std::unique_ptr<Source>> former_sources_;  // until their last operation has ended
    std::vector<std::unique_ptr<Target>> former_targets_;
    std::optional<KeptSnapshot> snapshot_;                 // of a target
    std::vector<KeptSnapshot> dropped_snapshots_;          // until their last operation has ended
    std::vector<std::function<void()>> snapshots_closed_;  // called when that list is empty
    bool refuses_ = false;                                 // quiesced without a target
    std::function<void(Result<>)> direct_quiesced_;

    BufferPool data_pool_{kMaxReceiveBytes}, resync_pool_{kMaxReceiveBytes};
    Throttle throttle_;  // of both links of a source
    std::unique_ptr<Link> data_link_, resync_link_;
    std::vector<std::unique_ptr<Link>> closing_links_;
    std::optional<PendingAttach> pending_attach_;
    bool fresh_frames_ = false;    // queued on the data link since the last batch
    unsigned waited_batches_ = 0;  // since some were due
    bool draining_ = false;
    bool attached_before_ = false;

    IoOperation timer_;
    std::uint64_t ticks_ = 0;
    std::size_t flushes_ = 0;
    Closing closing_ = Closing::no;
    std::function<void()> closed_;
    Result<> quiesce_result_;

    std::uint64_t reads_ = 0, read_bytes_ = 0, writes_ = 0, write_bytes_ = 0, reconnects_ = 0;
};

}  // namespace understudy::mirror
