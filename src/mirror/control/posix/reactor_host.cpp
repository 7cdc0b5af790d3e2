#include "mirror/control/posix/reactor_host.h"

#include "messages/messages.h"
#include "mirror/control/export_choice.h"
#include "mirror/control/posix/devices.h"
#include "mirror/control/posix/socket_io.h"
#include "mirror/control/posix/thread_place.h"
#include "mirror/export/export.h"
#include "mirror/volume_set.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <thread>

namespace understudy::mirror::control {

namespace {

using runtime::OneShot;
using runtime::Task;

/// A clean end waits so long for the target and the log.
constexpr auto kShutdownLimit = std::chrono::seconds(20);

class ReactorHost;

/// The events of one peer's volume.
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

class ReactorHost : public VolumeHost {
  public:
    ReactorHost(runtime::World world, HostPlaces places, VolumeId id, HostEvents& events, bool kept,
                std::unique_ptr<Reactor> reactor)
        : world_(world),
          places_(std::move(places)),
          id_(std::move(id)),
          events_(events),
          kept_(kept),
          reactor_(std::move(reactor)),
          thread_([this] {
              if (auto placed = place_this_thread(places_.processors); !placed)
                  tell([text = placed.error().text] { messages::warning("{}", text); });
              reactor_->run();
          }) {}

    ~ReactorHost() override {
        alive_.reset();
        reactor_->stop();
        thread_.join();
        // The reactor does not run any more: its operations end with it, and nothing of the seat calls back.
        seat_.snapshot_exported.reset();
        seat_.exported.reset();
        seat_.gate.reset();
        seat_.volume.reset();
    }

    Task<Result<std::uint64_t>> open(VolumeId id, std::string device, std::uint64_t size) override {
        using Answer = Result<std::uint64_t>;
        OneShot<Answer> done(world_.tasks);
        run([this, id, device, size, done] {
            // Of an attempt that got no further than this; it would keep the device from the next one.
            seat_.gate.reset();
            seat_.volume.reset();
            auto volume = VolumeSet::open(*reactor_, id, device);
            if (!volume) return answer<Answer>(done, fail(volume.error()));
            seat_.volume = std::move(*volume);
            const std::uint64_t whole = seat_.volume->size();
            seat_.gate = std::make_unique<Gate>(*seat_.volume, size == 0 ? whole : std::min(size, whole),
                                                [this] { tell([this] { events_.first_write(); }); });
            answer<Answer>(done, seat_.volume->size());
        });
        Answer result = co_await done;
        co_return result;
    }

    Task<Result<VolumeStatus>> add(std::string peer, VolumeOptions options) override {
        using Answer = Result<VolumeStatus>;
        OneShot<Answer> done(world_.tasks);
        run([this, peer, options = std::move(options), done] {
            auto& events = seat_.events[peer];
            if (!events) events = std::make_unique<PeerEvents>(*this, peer);
            auto added = seat_.volume->add(peer, options, *events);
            if (!added) return answer<Answer>(done, fail(added.error()));
            answer<Answer>(done, seat_.volume->find(peer)->status());
        });
        Answer result = co_await done;
        co_return result;
    }
    Task<> remove(std::string peer) override {
        ++links_[peer];
        OneShot<bool> done(world_.tasks);
        run([this, peer, done] { seat_.volume->remove(peer, [this, done] { answer<bool>(done, true); }); });
        co_await done;
    }

    Task<Result<std::uint64_t>> device_size() override {
        using Answer = Result<std::uint64_t>;
        OneShot<Answer> done(world_.tasks);
        run([this, done] {
            answer<Answer>(done, seat_.volume ? seat_.volume->measure()
                                              : Answer(fail(Code::failure, "the device is not open")));
        });
        Answer result = co_await done;
        co_return result;
    }
    Task<Result<>> resize(std::uint64_t size) override {
        return ask([this, size](auto done) {
            seat_.gate->resize(size);
            if (!seat_.exported) return done(Result<>());
            seat_.exported->resize(size, std::move(done));
        });
    }

    void become_source(const std::string& peer, MirrorState state, PauseCause cause,
                       bool mark_all_dirty) override {
        run([this, peer, state, cause, mark_all_dirty] {
            seat_.events.at(peer)->source = true;
            seat_.volume->become_source(peer, state, cause, mark_all_dirty);
        });
    }
    void become_target(const std::string& peer) override {
        run([this, peer] {
            seat_.events.at(peer)->source = false;
            seat_.volume->become_target(peer);
        });
    }
    Task<Result<>> drain(std::string peer) override {
        return ask([this, peer](auto done) {
            Volume* volume = seat_.volume->find(peer);
            if (volume == nullptr) return done(gone(peer));
            volume->drain(std::move(done));
        });
    }
    Task<Result<>> quiesce() override {
        return ask([this](auto done) { seat_.volume->quiesce(std::move(done)); });
    }
    Task<Result<>> pause(std::string peer) override {
        return ask([this, peer](auto done) {
            Volume* volume = seat_.volume->find(peer);
            if (volume == nullptr) return done(gone(peer));
            volume->pause(std::move(done));
        });
    }
    void resume(const std::string& peer) override {
        run([this, peer] {
            if (Volume* volume = seat_.volume->find(peer)) volume->resume();
        });
    }
    void break_mirror(const std::string& peer) override {
        run([this, peer] {
            if (Volume* volume = seat_.volume->find(peer)) volume->break_mirror();
        });
    }
    void set_type(const std::string& peer, MirrorType type) override {
        run([this, peer, type] {
            if (Volume* volume = seat_.volume->find(peer)) volume->set_type(type);
        });
    }
    void set_parameters(const std::string& peer, const MirrorParameters& parameters) override {
        run([this, peer, parameters] {
            if (Volume* volume = seat_.volume->find(peer)) volume->set_parameters(parameters);
        });
    }
    void watch_writes(const std::string& peer, std::uint64_t number) override {
        run([this, peer, number] {
            if (Volume* volume = seat_.volume->find(peer)) volume->watch_writes(number);
        });
    }
    void leave_out(const std::string& peer, std::uint64_t number, BlockRanges unused, bool copied) override {
        run([this, peer, number, unused = std::move(unused), copied] {
            if (Volume* volume = seat_.volume->find(peer)) volume->leave_out(number, unused, copied);
        });
    }
    Task<Result<CompareReport>> compare(std::string peer, CompareOptions options) override {
        using Answer = Result<CompareReport>;
        OneShot<Answer> done(world_.tasks);
        run([this, peer, options, done] {
            Volume* volume = seat_.volume->find(peer);
            if (volume == nullptr) return answer<Answer>(done, fail(gone(peer).error()));
            volume->compare(options,
                            [this, done](Answer report) { answer<Answer>(done, std::move(report)); });
        });
        Answer result = co_await done;
        co_return result;
    }
    void attach(const std::string& peer, int data_socket, int resync_socket, LinkTerms terms) override {
        const std::uint64_t link = ++links_[peer];
        run([this, peer, data_socket, resync_socket, terms, link] {
            Volume* volume = seat_.volume->find(peer);
            if (volume == nullptr) {
                const Socket data(data_socket), resync(resync_socket);  // closed
                return;
            }
            seat_.events.at(peer)->link = link;
            volume->attach(data_socket, resync_socket, terms);
        });
    }
    void detach(const std::string& peer) override {
        ++links_[peer];
        run([this, peer] {
            if (Volume* volume = seat_.volume->find(peer)) volume->detach();
        });
    }
    void give_up_links(const std::string& peer, std::string why) override {
        run([this, peer, why = std::move(why)] {
            if (Volume* volume = seat_.volume->find(peer)) volume->give_up_links(why);
        });
    }
    void restart_links(const std::string& peer, std::string why) override {
        run([this, peer, why = std::move(why)] {
            if (Volume* volume = seat_.volume->find(peer)) volume->restart_links(why);
        });
    }
    void set_gate(GateMode mode) override {
        wanted_gate_ = mode;
        run([this, mode, seen = seen_closures_] {
            // The volume has closed the gate since this was decided; the event that says so is on its way.
            if (mode == GateMode::open && seen != closures_) return;
            seat_.gate->set(mode);
        });
    }
    Task<VolumeStatus> status(std::string peer) override {
        OneShot<VolumeStatus> done(world_.tasks);
        run([this, peer, done] {
            const Volume* volume = seat_.volume ? seat_.volume->find(peer) : nullptr;
            answer<VolumeStatus>(done, volume != nullptr ? volume->status() : VolumeStatus());
        });
        VolumeStatus result = co_await done;
        co_return result;
    }
    Task<std::optional<BlockRanges>> recent_writes(std::string peer) override {
        using Answer = std::optional<BlockRanges>;
        OneShot<Answer> done(world_.tasks);
        run([this, peer, done] {
            const Volume* volume = seat_.volume->find(peer);
            answer<Answer>(done, volume != nullptr ? volume->recent_writes() : std::nullopt);
        });
        Answer result = co_await done;
        co_return result;
    }
    Task<BlockRanges> dirty_ranges(std::string peer) override {
        OneShot<BlockRanges> done(world_.tasks);
        run([this, peer, done] {
            const Volume* volume = seat_.volume->find(peer);
            answer<BlockRanges>(done, volume != nullptr ? volume->dirty_ranges() : BlockRanges());
        });
        BlockRanges result = co_await done;
        co_return result;
    }
    Task<Result<>> replace_dirty(std::string peer, BlockRanges ranges) override {
        return ask([this, peer, ranges = std::move(ranges)](auto done) {
            seat_.volume->replace_dirty(peer, ranges, std::move(done));
        });
    }

    void serve_alone() override {
        run([this] { seat_.volume->serve_alone(); });
    }
    Task<> idle() override {
        OneShot<bool> done(world_.tasks);
        run([this, done] {
            if (!seat_.volume) return answer<bool>(done, true);
            seat_.volume->when_idle([this, done] { answer<bool>(done, true); });
        });
        co_await done;
    }
    Task<bool> written(runtime::Duration limit) override {
        OneShot<bool> done(world_.tasks);
        run([this, limit, done] {
            if (!seat_.volume) return answer<bool>(done, true);
            seat_.volume->when_written(std::chrono::duration_cast<std::chrono::milliseconds>(limit),
                                       [this, done](bool all) { answer<bool>(done, all); });
        });
        const bool all = co_await done;
        co_return all;
    }

    bool export_kept() const override { return kept_; }
    Task<Result<std::string>> start_export(ExportKind kind) override;
    Task<Result<>> stop_export(bool forced) override;
    Task<Result<>> mark_snapshot(std::string peer, std::uint64_t number) override {
        return ask([this, peer, number](auto done) {
            Volume* volume = seat_.volume->find(peer);
            if (volume == nullptr) return done(gone(peer));
            volume->mark_snapshot(number, std::move(done));
        });
    }
    Task<Result<>> prepare_snapshot(std::string peer, SnapshotPlan plan) override {
        return ask([this, peer, plan = std::move(plan)](auto done) {
            done(seat_.volume->find(peer)->prepare_snapshot(plan));
        });
    }
    Task<Result<std::string>> export_snapshot(std::string peer) override;
    Task<Result<>> drop_snapshot(std::string peer, bool forced) override;
    Task<> shutdown() override;

  private:
    [[nodiscard]] std::string device_directory() const { return places_.layout.root + "/dev/understudy"; }
    /// These two on the reactor's thread.
    [[nodiscard]] ExportAbilities export_abilities() const;
    void make_export(ExportKind way, ExportKind wanted, ExportAbilities abilities, ExportReady ready);

    friend class PeerEvents;
    /// Runs on the reactor's thread.
    template <class Function>
    void run(Function function) {
        reactor_->post(std::move(function));
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
    void answer(const OneShot<T>& done, T value) {
        world_.tasks.post_from_thread([done, value = std::move(value)] { done.set(value); });
    }
    Task<Result<>> with_users(Result<> stopped, std::string device);
    [[nodiscard]] Result<> gone(const std::string& peer) const {
        return fail(Code::failure, "the mirror of volume {} with {} is being laid out anew", id_.str(), peer);
    }
    template <class Function>
    Task<Result<>> ask(Function function) {
        OneShot<Result<>> done(world_.tasks);
        run([this, function = std::move(function), done] {
            function([this, done](Result<> result) { answer<Result<>>(done, std::move(result)); });
        });
        Result<> result = co_await done;
        co_return result;
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

// --- on the reactor's thread

void PeerEvents::state_changed(MirrorState from, MirrorState to, PauseCause cause) {
    const bool was_with_target = from == MirrorState::mirroring || from == MirrorState::resync;
    if (source && was_with_target && to == MirrorState::paused) host_.close_gate();
    host_.tell([host = &host_, peer = peer_, from, to, cause, closures = host_.closures_] {
        host->seen_closures_ = closures;
        host->events_.state_changed(peer, from, to, cause);
        host->set_gate(host->wanted_gate_);
    });
}

void PeerEvents::link_lost(std::string why) {
    if (source) host_.close_gate();
    host_.tell(
        [host = &host_, peer = peer_, why = std::move(why), number = link, closures = host_.closures_] {
            host->seen_closures_ = closures;
            if (number == host->links_[peer])
                host->events_.link_lost(peer, why);
            else
                host->set_gate(host->wanted_gate_);
        });
}

void PeerEvents::link_interrupted(std::string why) {
    host_.tell([host = &host_, peer = peer_, why = std::move(why), number = link] {
        if (number == host->links_[peer]) host->events_.link_interrupted(peer, why);
    });
}

void PeerEvents::degraded(DegradeAnswer release) {
    host_.tell([host = &host_, peer = peer_, release = std::move(release)] {
        host->events_.degraded(
            peer, [host, release](bool recorded) { host->run([release, recorded] { release(recorded); }); });
    });
}

void PeerEvents::in_sync() {
    host_.tell([host = &host_, peer = peer_, number = link] {
        if (number == host->links_[peer]) host->events_.in_sync(peer);
    });
}

void PeerEvents::target_silent() {
    host_.tell([host = &host_, peer = peer_, number = link] {
        if (number == host->links_[peer]) host->events_.target_silent(peer);
    });
}

void PeerEvents::snapshot_failed(std::string why) {
    host_.tell([host = &host_, why = std::move(why)] { host->events_.snapshot_failed(why); });
}

void PeerEvents::log_failed(std::string why) {
    host_.tell([host = &host_, peer = peer_, why = std::move(why)] { host->events_.log_failed(peer, why); });
}

ExportAbilities ReactorHost::export_abilities() const {
    const auto holds = [this](const Result<std::vector<VolumeId>>& volumes) {
        return volumes && std::find(volumes->begin(), volumes->end(), id_) != volumes->end();
    };
    ExportAbilities found;
    found.ublk = ublk_available().has_value();
    found.fuse = fuse_loop_available().has_value();
    found.kept_ublk = found.ublk && holds(kept_ublk_exports(device_directory()));
    found.kept_fuse = !places_.keeper_socket.empty() && holds(kept_exports(places_.keeper_socket));
    return found;
}

/// `way` was chosen for a mirror that wants `wanted`. A kernel that cannot do what it says is no reason
/// to leave the volume unavailable: then the next way is tried, unless the device was there before and
/// may have users.
void ReactorHost::make_export(ExportKind way, ExportKind wanted, ExportAbilities abilities,
                              ExportReady ready) {
    if (wanted != ExportKind::automatic && way != wanted)
        messages::warning("volume {}: offered by {}, for this host cannot do {}", id_.str(), to_string(way),
                          to_string(wanted));
    else
        messages::info("volume {} is offered by {}", id_.str(), to_string(way));
    switch (way) {
        case ExportKind::nbd: {
            NbdOptions options;
            options.volume = id_;
            options.socket_path = fmt::format("{}/nbd/{}", places_.layout.run(), id_.str());
            if (places_.nbd_clients != nullptr) options.tcp = places_.nbd_clients->of(id_);
            return make_nbd_export(*reactor_, *seat_.gate, std::move(options), std::move(ready));
        }
        case ExportKind::ublk: {
            UblkOptions options;
            options.volume = id_;
            options.device_directory = device_directory();
            auto or_else = [this, wanted, abilities,
                            ready = std::move(ready)](Result<std::unique_ptr<Export>> made) mutable {
                if (made || abilities.kept_ublk) return ready(std::move(made));
                messages::warning("volume {}: {}", id_.str(), made.error().text);
                abilities.ublk = false;
                make_export(choose_export(wanted, places_.device, abilities), ExportKind::automatic,
                            abilities, std::move(ready));
            };
            return make_ublk_export(*reactor_, seat_.gate.get(), std::move(options), std::move(or_else));
        }
        case ExportKind::automatic:
        case ExportKind::fuse: {
            FuseLoopOptions options;
            options.volume = id_;
            options.mount_directory = fmt::format("{}/volumes/{}", places_.layout.run(), id_.str());
            options.device_directory = device_directory();
            options.keeper_socket = places_.keeper_socket;
            return make_fuse_loop_export(*reactor_, seat_.gate.get(), std::move(options), std::move(ready));
        }
    }
}

Task<Result<std::string>> ReactorHost::start_export(ExportKind kind) {
    using Answer = Result<std::string>;
    OneShot<Answer> done(world_.tasks);
    run([this, kind, done] {
        if (seat_.exported) return answer<Answer>(done, seat_.exported->device_path());
        const auto abilities = export_abilities();
        make_export(choose_export(kind, places_.device, abilities), kind, abilities,
                    [this, done](Result<std::unique_ptr<Export>> made) {
                        if (!made) return answer<Answer>(done, fail(made.error()));
                        seat_.exported = std::move(*made);
                        answer<Answer>(done, seat_.exported->device_path());
                    });
    });
    Answer result = co_await done;
    if (result) kept_ = false;
    co_return result;
}

Task<Result<>> ReactorHost::stop_export(bool forced) {
    using Answer = Result<>;
    OneShot<Answer> done(world_.tasks);
    auto device = std::make_shared<std::string>();
    run([this, forced, done, device] {
        if (!seat_.exported) return answer<Answer>(done, Result<>{});
        *device = seat_.exported->device_path();
        if (forced) seat_.gate->fail_held(-EIO);
        seat_.exported->stop(forced ? StopMode::forced : StopMode::orderly, [this, done](Result<> stopped) {
            if (stopped) seat_.exported.reset();
            answer<Answer>(done, std::move(stopped));
        });
    });
    Answer result = co_await done;
    co_return co_await with_users(std::move(result), *device);
}

/// An error that says who uses the device.
Task<Result<>> ReactorHost::with_users(Result<> stopped, std::string device) {
    if (stopped || device.empty()) co_return stopped;
    OneShot<std::string> named(world_.tasks);
    auto users = std::make_shared<std::string>();
    if (!world_.tasks.run_blocking([users, device] { *users = used_by(device); },
                                   [named, users] { named.set(*users); }))
        named.set(std::string());
    const std::string who = co_await named;
    if (who.empty() || stopped.error().text.find(who) != std::string::npos) co_return stopped;
    co_return fail(stopped.error().code, "{} Held by: {}.", stopped.error().text, who);
}

/// A device beside the volume's, named so that it is never mistaken for it; no volume has a dot in its
/// name. Without the keeper: what it shows ends with this process. Spec: REP-330
Task<Result<std::string>> ReactorHost::export_snapshot(std::string peer) {
    using Answer = Result<std::string>;
    OneShot<Answer> done(world_.tasks);
    run([this, peer, done] {
        BlockBackend* view = seat_.volume->find(peer)->snapshot_view();
        if (view == nullptr) return answer<Answer>(done, fail(Code::not_found, "there is no snapshot"));
        if (seat_.snapshot_exported) return answer<Answer>(done, seat_.snapshot_exported->device_path());
        FuseLoopOptions options;
        options.volume = VolumeId(id_.str() + ".snapshot");
        options.mount_directory = fmt::format("{}/volumes/{}", places_.layout.run(), options.volume.str());
        options.device_directory = places_.layout.root + "/dev/understudy";
        make_fuse_loop_export(*reactor_, view, std::move(options),
                              [this, done](Result<std::unique_ptr<Export>> made) {
                                  if (!made) return answer<Answer>(done, fail(made.error()));
                                  seat_.snapshot_exported = std::move(*made);
                                  answer<Answer>(done, seat_.snapshot_exported->device_path());
                              });
    });
    Answer result = co_await done;
    co_return result;
}

Task<Result<>> ReactorHost::drop_snapshot(std::string peer, bool forced) {
    using Answer = Result<>;
    OneShot<Answer> done(world_.tasks);
    auto device = std::make_shared<std::string>();
    run([this, peer, forced, done, device] {
        const auto drop = [this, peer, done] {
            seat_.volume->find(peer)->drop_snapshot([this, done] { answer<Answer>(done, Result<>{}); });
        };
        if (!seat_.snapshot_exported) return drop();
        *device = seat_.snapshot_exported->device_path();
        seat_.snapshot_exported->stop(forced ? StopMode::forced : StopMode::orderly,
                                      [this, done, drop](Result<> stopped) {
                                          if (!stopped) return answer<Answer>(done, std::move(stopped));
                                          seat_.snapshot_exported.reset();
                                          drop();
                                      });
    });
    Answer result = co_await done;
    co_return co_await with_users(std::move(result), *device);
}

/// An upgrade or a clean end: the export's users wait for the next process.
Task<> ReactorHost::shutdown() {
    OneShot<bool> done(world_.tasks);
    const auto timer = world_.tasks.after(kShutdownLimit, [done] { done.set(false); });
    run([this, done] {
        auto close_volume = [this, done] {
            seat_.volume->shutdown([this, done] { answer<bool>(done, true); });
        };
        if (!seat_.exported) return close_volume();
        // Requests that wait are the next process's; those in the volume are answered first. What the
        // gate holds is not answered at all: the kernel gives it to the next process, as after a crash.
        seat_.exported->suspend(kShutdownLimit);
        if (seat_.gate->held() > 0) return close_volume();
        seat_.exported->release([this, close_volume] {
            seat_.exported.reset();
            close_volume();
        });
    });
    const bool finished = co_await done;
    world_.tasks.cancel(timer);
    if (!finished)
        messages::warning("volume {}: not everything came to its end; the next start does it again",
                          id_.str());
}

}  // namespace

Result<std::unique_ptr<VolumeHost>> make_reactor_host(runtime::World world, HostPlaces places,
                                                      VolumeId volume, HostEvents& events, bool kept) {
    UNDERSTUDY_TRY(auto reactor, Reactor::create());
    return std::make_unique<ReactorHost>(world, std::move(places), std::move(volume), events, kept,
                                         std::move(reactor));
}

}  // namespace understudy::mirror::control
