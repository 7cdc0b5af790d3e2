// The devices by which a volume and its snapshot are used, and the clean end that leaves them to the next
// process.

#include "messages/messages.h"
#include "mirror/control/posix/devices.h"
#include "mirror/control/posix/reactor_host_impl.h"

#include <algorithm>
#include <cerrno>

namespace understudy::mirror::control {

namespace {

using runtime::OneShot;
using runtime::Task;

/// A clean end waits so long for the target and the log.
constexpr auto kShutdownLimit = std::chrono::seconds(20);

}  // namespace

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
    auto started = ask<Result<std::string>>([this, kind](auto done) {
        if (seat_.exported) return done(seat_.exported->device_path());
        const auto abilities = export_abilities();
        make_export(choose_export(kind, places_.device, abilities), kind, abilities,
                    [this, done](Result<std::unique_ptr<Export>> made) {
                        if (!made) return done(fail(made.error()));
                        seat_.exported = std::move(*made);
                        done(seat_.exported->device_path());
                    });
    });
    auto device = co_await started;
    if (device) kept_ = false;
    co_return device;
}

Task<Result<>> ReactorHost::stop_export(bool forced) {
    auto device = std::make_shared<std::string>();
    auto stopped = ask([this, forced, device](auto done) {
        if (!seat_.exported) return done(Result<>());
        *device = seat_.exported->device_path();
        if (forced) seat_.gate->fail_held(-EIO);
        seat_.exported->stop(forced ? StopMode::forced : StopMode::orderly, [this, done](Result<> result) {
            if (result) seat_.exported.reset();
            done(std::move(result));
        });
    });
    Result<> result = co_await stopped;
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
    co_return fail(stopped.error().code, "{}. Held by: {}.", stopped.error().text, who);
}

/// A device beside the volume's, named so that it is never mistaken for it; no volume has a dot in its
/// name. Without the keeper: what it shows ends with this process. Spec: REP-330
Task<Result<std::string>> ReactorHost::export_snapshot(std::string peer) {
    return ask<Result<std::string>>([this, peer](auto done) {
        BlockBackend* view = seat_.volume->find(peer)->snapshot_view();
        if (view == nullptr) return done(fail(Code::not_found, "there is no snapshot"));
        if (seat_.snapshot_exported) return done(seat_.snapshot_exported->device_path());
        FuseLoopOptions options;
        options.volume = VolumeId(id_.str() + ".snapshot");
        options.mount_directory = fmt::format("{}/volumes/{}", places_.layout.run(), options.volume.str());
        options.device_directory = device_directory();
        make_fuse_loop_export(*reactor_, view, std::move(options),
                              [this, done](Result<std::unique_ptr<Export>> made) {
                                  if (!made) return done(fail(made.error()));
                                  seat_.snapshot_exported = std::move(*made);
                                  done(seat_.snapshot_exported->device_path());
                              });
    });
}

Task<Result<>> ReactorHost::drop_snapshot(std::string peer, bool forced) {
    auto device = std::make_shared<std::string>();
    auto dropped = ask([this, peer, forced, device](auto done) {
        const auto drop = [this, peer, done] {
            seat_.volume->find(peer)->drop_snapshot([done] { done(Result<>()); });
        };
        if (!seat_.snapshot_exported) return drop();
        *device = seat_.snapshot_exported->device_path();
        seat_.snapshot_exported->stop(forced ? StopMode::forced : StopMode::orderly,
                                      [this, done, drop](Result<> stopped) {
                                          if (!stopped) return done(std::move(stopped));
                                          seat_.snapshot_exported.reset();
                                          drop();
                                      });
    });
    Result<> result = co_await dropped;
    co_return co_await with_users(std::move(result), *device);
}

Task<Result<>> ReactorHost::mark_snapshot(std::string peer, std::uint64_t number) {
    return ask_volume(peer,
                      [number](Volume& volume, auto done) { volume.mark_snapshot(number, std::move(done)); });
}

Task<Result<>> ReactorHost::prepare_snapshot(std::string peer, SnapshotPlan plan) {
    return ask([this, peer, plan = std::move(plan)](auto done) {
        done(seat_.volume->find(peer)->prepare_snapshot(plan));
    });
}

/// An upgrade or a clean end: the export's users wait for the next process.
Task<> ReactorHost::shutdown() {
    OneShot<bool> done(world_.tasks);
    const auto timer = world_.tasks.after(kShutdownLimit, [done] { done.set(false); });
    run([this, done] {
        auto close_volume = [this, done] { seat_.volume->shutdown([this, done] { answer(done, true); }); };
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

}  // namespace understudy::mirror::control
