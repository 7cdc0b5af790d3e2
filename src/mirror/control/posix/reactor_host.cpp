#include "mirror/control/posix/reactor_host.h"

#include "messages/messages.h"
#include "mirror/control/posix/reactor_host_impl.h"
#include "mirror/control/posix/socket_io.h"
#include "mirror/control/posix/thread_place.h"

#include <algorithm>

namespace understudy::mirror::control {

using runtime::Task;

ReactorHost::ReactorHost(runtime::World world, HostPlaces places, VolumeId id, HostEvents& events, bool kept,
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

ReactorHost::~ReactorHost() {
    alive_.reset();
    reactor_->stop();
    thread_.join();
    // The reactor does not run any more: its operations end with it, and nothing of the seat calls back.
    seat_.snapshot_exported.reset();
    seat_.exported.reset();
    seat_.gate.reset();
    seat_.volume.reset();
}

Task<Result<std::uint64_t>> ReactorHost::open(VolumeId id, std::string device, std::uint64_t size) {
    return ask<Result<std::uint64_t>>([this, id, device, size](auto done) {
        // Of an attempt that got no further than this; it would keep the device from the next one.
        seat_.gate.reset();
        seat_.volume.reset();
        auto volume = VolumeSet::open(*reactor_, id, device);
        if (!volume) return done(fail(volume.error()));
        seat_.volume = std::move(*volume);
        const std::uint64_t whole = seat_.volume->size();
        seat_.gate = std::make_unique<Gate>(*seat_.volume, size == 0 ? whole : std::min(size, whole),
                                            [this] { tell([this] { events_.first_write(); }); });
        done(seat_.volume->size());
    });
}

Task<Result<VolumeStatus>> ReactorHost::add(std::string peer, VolumeOptions options) {
    return ask<Result<VolumeStatus>>([this, peer, options = std::move(options)](auto done) {
        auto& events = seat_.events[peer];
        if (!events) events = std::make_unique<PeerEvents>(*this, peer);
        auto added = seat_.volume->add(peer, options, *events);
        if (!added) return done(fail(added.error()));
        done(seat_.volume->find(peer)->status());
    });
}

Task<> ReactorHost::remove(std::string peer) {
    ++links_[peer];
    auto removed = ask<bool>([this, peer](auto done) { seat_.volume->remove(peer, [done] { done(true); }); });
    co_await removed;
}

Task<Result<std::uint64_t>> ReactorHost::device_size() {
    using Answer = Result<std::uint64_t>;
    return ask<Answer>([this](auto done) {
        done(seat_.volume ? seat_.volume->measure() : Answer(fail(Code::failure, "the device is not open")));
    });
}

Task<Result<>> ReactorHost::resize(std::uint64_t size) {
    return ask([this, size](auto done) {
        seat_.gate->resize(size);
        if (!seat_.exported) return done(Result<>());
        seat_.exported->resize(size, std::move(done));
    });
}

void ReactorHost::become_source(const std::string& peer, MirrorState state, PauseCause cause,
                                bool mark_all_dirty) {
    run([this, peer, state, cause, mark_all_dirty] {
        seat_.events.at(peer)->source = true;
        seat_.volume->become_source(peer, state, cause, mark_all_dirty);
    });
}

void ReactorHost::become_target(const std::string& peer) {
    run([this, peer] {
        seat_.events.at(peer)->source = false;
        seat_.volume->become_target(peer);
    });
}

Task<Result<>> ReactorHost::drain(std::string peer) {
    return ask_volume(peer, [](Volume& volume, auto done) { volume.drain(std::move(done)); });
}

Task<Result<>> ReactorHost::quiesce() {
    return ask([this](auto done) { seat_.volume->quiesce(std::move(done)); });
}

Task<Result<>> ReactorHost::pause(std::string peer) {
    return ask_volume(peer, [](Volume& volume, auto done) { volume.pause(std::move(done)); });
}

void ReactorHost::resume(const std::string& peer) {
    with_volume(peer, [](Volume& volume) { volume.resume(); });
}

void ReactorHost::break_mirror(const std::string& peer) {
    with_volume(peer, [](Volume& volume) { volume.break_mirror(); });
}

void ReactorHost::set_type(const std::string& peer, MirrorType type) {
    with_volume(peer, [type](Volume& volume) { volume.set_type(type); });
}

void ReactorHost::set_parameters(const std::string& peer, const MirrorParameters& parameters) {
    with_volume(peer, [parameters](Volume& volume) { volume.set_parameters(parameters); });
}

void ReactorHost::watch_writes(const std::string& peer, std::uint64_t number) {
    with_volume(peer, [number](Volume& volume) { volume.watch_writes(number); });
}

void ReactorHost::leave_out(const std::string& peer, std::uint64_t number, BlockRanges unused, bool copied) {
    with_volume(peer, [number, unused = std::move(unused), copied](Volume& volume) {
        volume.leave_out(number, unused, copied);
    });
}

Task<Result<CompareReport>> ReactorHost::compare(std::string peer, CompareOptions options) {
    return ask_volume<Result<CompareReport>>(
        peer, [options](Volume& volume, auto done) { volume.compare(options, std::move(done)); });
}

void ReactorHost::attach(const std::string& peer, int data_socket, int resync_socket, LinkTerms terms) {
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

void ReactorHost::detach(const std::string& peer) {
    ++links_[peer];
    with_volume(peer, [](Volume& volume) { volume.detach(); });
}

void ReactorHost::give_up_links(const std::string& peer, std::string why) {
    with_volume(peer, [why = std::move(why)](Volume& volume) { volume.give_up_links(why); });
}

void ReactorHost::restart_links(const std::string& peer, std::string why) {
    with_volume(peer, [why = std::move(why)](Volume& volume) { volume.restart_links(why); });
}

void ReactorHost::set_gate(GateMode mode) {
    wanted_gate_ = mode;
    run([this, mode, seen = seen_closures_] {
        // The volume has closed the gate since this was decided; the event that says so is on its way.
        if (mode == GateMode::open && seen != closures_) return;
        seat_.gate->set(mode);
    });
}

Task<VolumeStatus> ReactorHost::status(std::string peer) {
    return ask<VolumeStatus>([this, peer](auto done) {
        const Volume* volume = seat_.volume ? seat_.volume->find(peer) : nullptr;
        done(volume != nullptr ? volume->status() : VolumeStatus());
    });
}

Task<std::optional<BlockRanges>> ReactorHost::recent_writes(std::string peer) {
    return ask<std::optional<BlockRanges>>([this, peer](auto done) {
        const Volume* volume = seat_.volume->find(peer);
        done(volume != nullptr ? volume->recent_writes() : std::nullopt);
    });
}

Task<BlockRanges> ReactorHost::dirty_ranges(std::string peer) {
    return ask<BlockRanges>([this, peer](auto done) {
        const Volume* volume = seat_.volume->find(peer);
        done(volume != nullptr ? volume->dirty_ranges() : BlockRanges());
    });
}

Task<Result<>> ReactorHost::replace_dirty(std::string peer, BlockRanges ranges) {
    return ask([this, peer, ranges = std::move(ranges)](auto done) {
        seat_.volume->replace_dirty(peer, ranges, std::move(done));
    });
}

void ReactorHost::serve_alone() {
    run([this] { seat_.volume->serve_alone(); });
}

Task<> ReactorHost::idle() {
    auto became_idle = ask<bool>([this](auto done) {
        if (!seat_.volume) return done(true);
        seat_.volume->when_idle([done] { done(true); });
    });
    co_await became_idle;
}

Task<bool> ReactorHost::written(runtime::Duration limit) {
    return ask<bool>([this, limit](auto done) {
        if (!seat_.volume) return done(true);
        seat_.volume->when_written(std::chrono::duration_cast<std::chrono::milliseconds>(limit),
                                   std::move(done));
    });
}

Result<std::unique_ptr<VolumeHost>> make_reactor_host(runtime::World world, HostPlaces places,
                                                      VolumeId volume, HostEvents& events, bool kept) {
    UNDERSTUDY_TRY(auto reactor, Reactor::create());
    return std::make_unique<ReactorHost>(world, std::move(places), std::move(volume), events, kept,
                                         std::move(reactor));
}

}  // namespace understudy::mirror::control
