#pragma once
// Private to reactor_host*.cpp: what the control loop and the reactor's thread share of one volume.

#include "mirror/control/export_choice.h"
#include "mirror/control/posix/reactor_host.h"
#include "mirror/export/export.h"
#include "mirror/volume_set.h"

#include <map>
#include <memory>
#include <string>
#include <thread>

namespace understudy::mirror::control {

class ReactorHost : public VolumeHost {
  public:
    ReactorHost(runtime::World world, HostPlaces places, VolumeId id, HostEvents& events, bool kept,
                std::unique_ptr<Reactor> reactor);
    ~ReactorHost() override;

    runtime::Task<Result<std::uint64_t>> open(VolumeId id, std::string device, std::uint64_t size) override;

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
    void resume(const std::string& peer) override;
    void break_mirror(const std::string& peer) override;
    void set_type(const std::string& peer, MirrorType type) override;
    void set_parameters(const std::string& peer, const MirrorParameters& parameters) override;
    void watch_writes(const std::string& peer, std::uint64_t number) override;
    void leave_out(const std::string& peer, std::uint64_t number, BlockRanges unused, bool copied) override;
    runtime::Task<Result<CompareReport>> compare(std::string peer, CompareOptions options) override;
    void attach(const std::string& peer, int data_socket, int resync_socket, LinkTerms terms) override;
    void detach(const std::string& peer) override;
    void give_up_links(const std::string& peer, std::string why) override;
    void restart_links(const std::string& peer, std::string why) override;
    void set_gate(GateMode mode) override;
    runtime::Task<VolumeStatus> status(std::string peer) override;
    runtime::Task<std::optional<BlockRanges>> recent_writes(std::string peer) override;
    runtime::Task<BlockRanges> dirty_ranges(std::string peer) override;
    runtime::Task<Result<>> replace_dirty(std::string peer, BlockRanges ranges) override;

    void serve_alone() override;
    runtime::Task<> idle() override;
    runtime::Task<bool> written(runtime::Duration limit) override;

    bool export_kept() const override { return kept_; }
    runtime::Task<Result<std::string>> start_export(ExportKind kind) override;
    runtime::Task<Result<>> stop_export(bool forced) override;
    runtime::Task<Result<>> mark_snapshot(std::string peer, std::uint64_t number) override;
    runtime::Task<Result<>> prepare_snapshot(std::string peer, SnapshotPlan plan) override;
    runtime::Task<Result<std::string>> export_snapshot(std::string peer) override;
    runtime::Task<Result<>> drop_snapshot(std::string peer, bool forced) override;
    runtime::Task<> shutdown() override;

  private:
    /// The events of one peer's volume, on the reactor's thread.
    class PeerEvents : public VolumeEvents {
      public:
        PeerEvents(ReactorHost& host, std::string peer) : host_(host), peer_(std::move(peer)) {}
        void state_changed(MirrorState from, MirrorState to, PauseCause cause) override;
        void link_lost(std::string why) override;
        void link_interrupted(std::string why) override;
        void degraded(DegradeAnswer release) override;
        void in_sync() override;
        void log_failed(std::string why) override;
        void target_silent() override;
        void snapshot_failed(std::string why) override;

        bool source = false;
        std::uint64_t link = 0;  // number of the attached link

      private:
        ReactorHost& host_;
        std::string peer_;
    };

    /// What lives on the reactor's thread.
    struct Seat {
        std::map<std::string, std::unique_ptr<PeerEvents>> events;
        std::unique_ptr<VolumeSet> volume;
        std::unique_ptr<Gate> gate;
        std::unique_ptr<Export> exported;
        std::unique_ptr<Export> snapshot_exported;
    };

    [[nodiscard]] std::string device_directory() const { return places_.layout.root + "/dev/understudy"; }
    /// These two on the reactor's thread.
    [[nodiscard]] ExportAbilities export_abilities() const;
    void make_export(ExportKind way, ExportKind wanted, ExportAbilities abilities, ExportReady ready);
    runtime::Task<Result<>> with_users(Result<> stopped, std::string device);
    [[nodiscard]] Error gone(const std::string& peer) const {
        return {Code::failure,
                fmt::format("the mirror of volume {} with {} is being laid out anew", id_.str(), peer)};
    }

    /// Runs on the reactor's thread.
    template <class Function>
    void run(Function function) {
        reactor_->post(std::move(function));
    }
    /// The same with the volume of `peer`; nothing happens when it has been removed by then.
    template <class Function>
    void with_volume(const std::string& peer, Function function) {
        run([this, peer, function = std::move(function)] {
            if (Volume* volume = seat_.volume->find(peer)) function(*volume);
        });
    }
    /// Runs on the control loop, unless this host is gone by then.
    template <class Function>
    void tell(Function function) {
        std::weak_ptr<int> weak = weak_;
        world_.tasks.post_from_thread([weak, function = std::move(function)] {
            if (weak.lock()) function();
        });
    }
    template <class T>
    void answer(const runtime::OneShot<T>& done, T value) {
        world_.tasks.post_from_thread([done, value = std::move(value)] { done.set(value); });
    }
    /// function(done) runs on the reactor's thread; the control loop goes on with what done() is given.
    template <class Answer = Result<>, class Function>
    runtime::Task<Answer> ask(Function function) {
        runtime::OneShot<Answer> answered(world_.tasks);
        run([this, function = std::move(function), answered] {
            function([this, answered](Answer value) { answer(answered, std::move(value)); });
        });
        Answer result = co_await answered;
        co_return result;
    }

    /// function(volume, done); an error when that of `peer` has been removed by then.
    template <class Answer = Result<>, class Function>
    runtime::Task<Answer> ask_volume(const std::string& peer, Function function) {
        return ask<Answer>([this, peer, function = std::move(function)](auto done) {
            Volume* volume = seat_.volume->find(peer);
            if (volume == nullptr) return done(fail(gone(peer)));
            function(*volume, std::move(done));
        });
    }

    /// Before the control loop knows: no write that the target will not get passes without its consent.
    void close_gate() {
        ++closures_;
        if (seat_.gate && seat_.gate->mode() == GateMode::open) seat_.gate->set(GateMode::hold_writes);
    }

    runtime::World world_;
    HostPlaces places_;
    VolumeId id_;
    HostEvents& events_;
    bool kept_;
    std::map<std::string, std::uint64_t> links_;  // numbers of the links that the control loop means
    std::uint64_t seen_closures_ = 0;             // of the gate by the volume, as far as events told
    GateMode wanted_gate_ = GateMode::hold_all;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
    std::weak_ptr<int> weak_ = alive_;

    // reactor's thread
    std::uint64_t closures_ = 0;
    Seat seat_;

    std::unique_ptr<Reactor> reactor_;
    std::thread thread_;  // last: it uses all of this
};

}  // namespace understudy::mirror::control
