// A volume as a block device: FUSE connection, mount, loop device and keeper put together.

#include "mirror/export/control_process.h"
#include "mirror/export/descriptor.h"
#include "mirror/export/export.h"
#include "mirror/export/fuse_export_state.h"
#include "mirror/export/fuse_session.h"
#include "mirror/export/keeper/keeper_client.h"
#include "mirror/export/keeper/keeper_protocol.h"
#include "mirror/export/loop_device.h"
#include "mirror/export/request_gate.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

namespace understudy::mirror {
namespace {

using namespace std::chrono_literals;

constexpr char kFuseDevice[] = "/dev/fuse";
constexpr std::string_view kEntryPrefix = "fuse:";  // of names in the keeper
// Attaching a loop device makes the kernel flush the file, and that is a flush of the volume: its device, and
// the target's of a synchronous mirror, first write out what they have. On busy disks that takes as long as
// any flush may, and giving up earlier helps nobody: the volume is not served then.
constexpr auto kAttachLimit = 30s;
constexpr auto kDetachLimit = 30s;   // likewise
constexpr auto kUserGoneLimit = 2s;  // for a device that is still open, but not mounted, when it is stopped
constexpr auto kKeeperRetry = 500ms;

class FuseLoopExport final : public Export {
  public:
    FuseLoopExport(Reactor& reactor, FuseLoopOptions options)
        : reactor_(reactor),
          options_(std::move(options)),
          place_{options_.volume.str(), options_.mount_directory, options_.device_directory},
          gate_(reactor) {
        for (auto* op : {&setup_timer_, &keeper_watch_, &keeper_timer_})
            op->owner = this;
        setup_timer_.done = [](IoOperation& op, int result) { self(op).setup_timed_out(result); };
        keeper_watch_.done = [](IoOperation& op, int) { self(op).keeper_gone(); };
        keeper_timer_.done = [](IoOperation& op, int) { self(op).keep_again(); };
    }

    /// Makes a new device. Calls `done` once.
    void create(BlockBackend& backend, std::function<void(Result<>)> done);
    /// Continues with what the keeper held. Calls `done` once.
    void take_over(keeper::Kept kept, BlockBackend* backend, std::function<void(Result<>)> done);

    [[nodiscard]] std::string device_path() const override { return loop_node(place_); }
    [[nodiscard]] bool resumed() const override { return resumed_; }
    [[nodiscard]] ExportStatistics statistics() const override {
        ExportStatistics result;
        if (session_) session_->add_statistics(result);
        result.waiting = gate_.waiting();
        result.in_backend = gate_.in_backend();
        return result;
    }

    Result<> serve(BlockBackend& backend) override;
    void suspend(std::chrono::milliseconds limit) override { gate_.suspend(limit); }
    void resume() override { gate_.resume(); }
    void refuse(int error) override { gate_.refuse(error); }
    void when_quiet(std::function<void()> done) override { gate_.when_quiet(std::move(done)); }
    void resize(std::uint64_t size, std::function<void(Result<>)> done) override;
    void stop(StopMode mode, std::function<void(Result<>)> done) override;
    void release(std::function<void()> done) override;

    /// Undoes an unfinished create() or take_over(), then `done`.
    void give_up(std::function<void()> done);

  private:
    static FuseLoopExport& self(IoOperation& op) { return *static_cast<FuseLoopExport*>(op.owner); }

    Result<> open_and_mount(BlockBackend& backend);
    void attach();
    void describe(std::uint64_t size);
    void setup_done(Result<> result);
    void setup_timed_out(int result);
    void connection_lost();
    Result<> keep();
    void watch_keeper();
    void keeper_gone();
    void keep_again();
    void close_all(std::function<void()> done);
    void finish_closing();
    [[nodiscard]] std::string entry_name() const { return std::string(kEntryPrefix) + place_.volume; }

    Reactor& reactor_;
    FuseLoopOptions options_;
    LoopPlace place_;
    RequestGate gate_;
    std::unique_ptr<FuseSession> session_;
    FuseExportState state_;
    bool resumed_ = false;
    bool stopping_ = false;
    bool lost_ = false;
    bool closing_ = false;
    bool io_closed_ = false;
    unsigned children_ = 0;  // helper processes whose result is to come
    std::function<void(Result<>)> setup_;
    std::function<void()> closed_;
    IoOperation setup_timer_, keeper_watch_, keeper_timer_;
    Descriptor keeper_connection_;
};

Result<> FuseLoopExport::open_and_mount(BlockBackend& backend) {
    state_.volume = {backend.size(), backend.sector_size(), options_.read_only};
    state_.mount_directory = options_.mount_directory;
    std::error_code error;
    std::filesystem::create_directories(options_.device_directory, error);
    if (error) return fail(Code::failure, "cannot make {}: {}", options_.device_directory, error.message());
    Descriptor fuse(open(kFuseDevice, O_RDWR | O_CLOEXEC));
    if (!fuse.valid())
        return fail(Code::failure, "cannot open {}: {}; the fuse module and root's rights are needed",
                    kFuseDevice, std::strerror(errno));
    UNDERSTUDY_CHECK(mount_fuse(fuse.get(), options_.mount_directory));
    auto session = FuseSession::create(reactor_, gate_, fuse.release(),
                                       {state_.volume, options_.slots, options_.max_request});
    if (!session) {
        (void)unmount_fuse(options_.mount_directory, true);
        return fail(session.error());
    }
    session_ = std::move(*session);
    return {};
}

void FuseLoopExport::create(BlockBackend& backend, std::function<void(Result<>)> done) {
    setup_ = std::move(done);
    if (auto mounted = open_and_mount(backend); !mounted) return setup_done(mounted);
    gate_.serve(backend);
    reactor_.timeout(setup_timer_, kAttachLimit);
    session_->start(
        [this](FuseNegotiated negotiated) {
            state_.negotiated = negotiated;
            // From here on the device survives this process; before, there is nothing that would miss it.
            if (auto kept = keep(); !kept) return setup_done(kept);
            attach();
        },
        [this] { connection_lost(); });
}

void FuseLoopExport::take_over(keeper::Kept kept, BlockBackend* backend, std::function<void(Result<>)> done) {
    setup_ = std::move(done);
    resumed_ = true;
    auto state = read_state(kept.state);
    if (!state) return setup_done(fail(state.error()));
    if (kept.descriptors.size() != 1)
        return setup_done(fail(Code::internal, "the keeper has {} descriptors of {}, not one",
                               kept.descriptors.size(), entry_name()));
    state_ = std::move(*state);
    place_.mount_directory = state_.mount_directory;
    if (!mounted_at(place_.mount_directory))
        return setup_done(fail(Code::not_found, "{} is not mounted any more", place_.mount_directory));
    auto session = FuseSession::create(
        reactor_, gate_, kept.descriptors.front().release(),
        {state_.volume, options_.slots, std::max(options_.max_request, state_.negotiated.max_request)});
    if (!session) return setup_done(fail(session.error()));
    session_ = std::move(*session);
    gate_.suspend(options_.wait_for_backend);
    if (backend != nullptr)
        if (auto served = serve(*backend); !served) return setup_done(served);
    reactor_.timeout(setup_timer_, kAttachLimit);
    if (auto taken = session_->take_over(state_.negotiated, [this] { connection_lost(); }); !taken)
        return setup_done(taken);
    watch_keeper();
    attach();
}

void FuseLoopExport::attach() {
    reactor_.cancel(setup_timer_);  // the child has a limit of its own
    ++children_;
    run_in_child(
        reactor_, kAttachLimit,
        [place = place_, volume = state_.volume]() -> Result<std::int64_t> {
            UNDERSTUDY_TRY(const int number, attach_loop(place, volume.sector_size, volume.read_only));
            UNDERSTUDY_CHECK(resize_loop(place, volume.size));  // one that was there may have another
            return number;
        },
        [this](Result<std::int64_t> result) {
            --children_;
            if (closing_) return finish_closing();
            if (!result) return setup_done(fail(result.error()));
            setup_done({});
        });
}

void FuseLoopExport::setup_timed_out(int result) {
    if (closing_) return finish_closing();
    if (result == 0)
        setup_done(fail(Code::failure, "the kernel did not finish the export of {} within {} s",
                        place_.volume, std::chrono::seconds(kAttachLimit).count()));
}

void FuseLoopExport::setup_done(Result<> result) {
    reactor_.cancel(setup_timer_);
    if (auto done = std::exchange(setup_, {})) reactor_.post([done, result] { done(result); });
}

void FuseLoopExport::connection_lost() {
    lost_ = true;
    if (setup_) return setup_done(fail(Code::failure, "the FUSE connection of {} has ended", place_.volume));
    if (!stopping_ && !closing_ && options_.lost) options_.lost();
}

Result<> FuseLoopExport::serve(BlockBackend& backend) {
    if (backend.sector_size() != state_.volume.sector_size)
        return fail(Code::bad_argument, "{} was exported in sectors of {} bytes, its volume now has {}",
                    device_path(), state_.volume.sector_size, backend.sector_size());
    const bool resized = backend.size() != state_.volume.size;
    gate_.serve(backend);
    // While it is being set up, the device gets its size at the end of that.
    if (resized && setup_) {
        describe(backend.size());
    } else if (resized) {
        resize(backend.size(), [](const Result<>&) {});
    }
    return {};
}

/// The session's and the keeper's idea of the size.
void FuseLoopExport::describe(std::uint64_t size) {
    state_.volume.size = size;
    session_->resize(size);
    if (options_.keeper_socket.empty()) return;
    // A keeper that cannot be told now is told when it is there again.
    const int fd = session_->descriptor();
    (void)keeper::put(options_.keeper_socket, entry_name(), write_state(state_), {&fd, 1});
}

void FuseLoopExport::resize(std::uint64_t size, std::function<void(Result<>)> done) {
    describe(size);
    ++children_;
    run_in_child(
        reactor_, kAttachLimit,
        [place = place_, size]() -> Result<std::int64_t> {
            UNDERSTUDY_CHECK(resize_loop(place, size));
            return 0;
        },
        [this, done = std::move(done)](const Result<std::int64_t>& result) {
            --children_;
            done(result ? Result<>() : Result<>(fail(result.error())));
            if (closing_) finish_closing();
        });
}

// --- keeper

Result<> FuseLoopExport::keep() {
    if (options_.keeper_socket.empty()) return {};
    const int fd = session_->descriptor();
    UNDERSTUDY_CHECK(keeper::put(options_.keeper_socket, entry_name(), write_state(state_), {&fd, 1}));
    watch_keeper();
    return {};
}

/// A keeper that was restarted has nothing: it is told again as soon as it is there.
void FuseLoopExport::watch_keeper() {
    if (options_.keeper_socket.empty()) return;
    auto connection = keeper::connect(options_.keeper_socket);
    if (!connection) return reactor_.timeout(keeper_timer_, kKeeperRetry);
    keeper_connection_ = std::move(*connection);
    reactor_.poll_in(keeper_watch_, keeper_connection_.get());
}

void FuseLoopExport::keeper_gone() {
    if (closing_) return finish_closing();
    keeper_connection_.reset();
    reactor_.timeout(keeper_timer_, kKeeperRetry);
}

void FuseLoopExport::keep_again() {
    if (closing_) return finish_closing();
    if (!keep()) reactor_.timeout(keeper_timer_, kKeeperRetry);
}

// --- the end

void FuseLoopExport::stop(StopMode mode, std::function<void(Result<>)> done) {
    const bool forced = mode == StopMode::forced;
    stopping_ = true;
    // What waits for a backend would make the detaching wait too.
    if (forced) gate_.refuse(-EIO);
    ++children_;
    run_in_child(
        reactor_, kDetachLimit,
        [place = place_, forced]() -> Result<std::int64_t> {
            UNDERSTUDY_CHECK(detach_loop(place, forced, kUserGoneLimit));
            // Lazily: with the loop device gone, only somebody who looks at the mount itself can hold it.
            UNDERSTUDY_CHECK(unmount_fuse(place.mount_directory, true));
            return 0;
        },
        [this, forced, done = std::move(done)](Result<std::int64_t> result) {
            --children_;
            if (!result && !forced && !lost_) {
                stopping_ = false;
                return done(fail(result.error()));
            }
            // A keeper that does not answer may keep the descriptor of a connection that is over: taking it
            // over then fails for want of the mount, and a new device is made.
            if (!options_.keeper_socket.empty()) (void)keeper::drop(options_.keeper_socket, entry_name());
            close_all([done] { done({}); });
        });
}

void FuseLoopExport::release(std::function<void()> done) {
    stopping_ = true;
    close_all(std::move(done));
}

void FuseLoopExport::give_up(std::function<void()> done) {
    // What was taken over stays in the keeper: the next attempt, or a person, may still save it.
    if (resumed_ || !session_) return close_all(std::move(done));
    stop(StopMode::forced, [done = std::move(done)](const Result<>&) { done(); });
}

void FuseLoopExport::close_all(std::function<void()> done) {
    closing_ = true;
    closed_ = std::move(done);
    for (auto* op : {&setup_timer_, &keeper_watch_, &keeper_timer_})
        reactor_.cancel(*op);
    auto close_gate = [this] {
        gate_.close([this] {
            io_closed_ = true;
            finish_closing();
        });
    };
    if (session_)
        session_->close(close_gate);
    else
        close_gate();
}

void FuseLoopExport::finish_closing() {
    if (!io_closed_ || !closed_ || children_ > 0) return;
    for (const auto* op : {&setup_timer_, &keeper_watch_, &keeper_timer_})
        if (op->in_flight) return;
    reactor_.post(std::exchange(closed_, {}));
}

// --- making one

/// Absolute, without links, but without looking at the directory itself: a dead mount there answers nothing.
Result<std::string> normalized(const std::string& directory) {
    if (!directory.starts_with('/'))
        return fail(Code::bad_argument, "\"{}\" is not an absolute directory", directory);
    std::filesystem::path path = std::filesystem::path(directory).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    std::error_code error;
    const auto parent = std::filesystem::weakly_canonical(path.parent_path(), error);
    if (error) return fail(Code::failure, "cannot resolve {}: {}", directory, error.message());
    return (parent / path.filename()).string();
}

Result<FuseLoopOptions> checked(FuseLoopOptions options) {
    constexpr std::size_t kLongestVolume = 32;
    const std::string& name = options.volume.str();
    if (name.empty() || name.size() > kLongestVolume || !keeper::valid_name(name) || name.front() == '.')
        return fail(Code::bad_argument, "\"{}\" is not a volume's name", name);
    UNDERSTUDY_TRY(options.mount_directory, normalized(options.mount_directory));
    UNDERSTUDY_TRY(options.device_directory, normalized(options.device_directory));
    return options;
}

}  // namespace

Result<> fuse_loop_available() {
    for (const char* device : {kFuseDevice, kLoopControl})
        if (access(device, R_OK | W_OK) != 0)
            return fail(Code::failure, "cannot use {}: {}", device, std::strerror(errno));
    return {};
}

void make_fuse_loop_export(Reactor& reactor, BlockBackend* backend, FuseLoopOptions wanted,
                           ExportReady ready) {
    auto options = checked(std::move(wanted));
    if (!options) return reactor.post([ready, error = options.error()] { ready(fail(error)); });

    std::optional<keeper::Kept> kept;
    if (!options->keeper_socket.empty()) {
        auto found = keeper::get(options->keeper_socket, std::string(kEntryPrefix) + options->volume.str());
        if (found)
            kept = std::move(*found);
        else if (found.error().code != Code::not_found)
            return reactor.post([ready, error = found.error()] { ready(fail(error)); });
    }
    if (!kept && backend == nullptr)
        return reactor.post([ready, name = options->volume.str()] {
            ready(fail(Code::not_found, "no export of {} is kept from an earlier process", name));
        });

    // Owned by its own callback until it is ready.
    auto made = std::make_shared<std::unique_ptr<FuseLoopExport>>(
        std::make_unique<FuseLoopExport>(reactor, *options));
    auto& fresh = **made;
    auto done = [&reactor, backend, made, ready, options = *options,
                 was_kept = kept.has_value()](Result<> result) {
        if (result) return ready(std::unique_ptr<Export>(std::move(*made)));
        auto& failed = **made;
        failed.give_up([&reactor, backend, made, ready, options, was_kept, error = result.error()] {
            made->reset();
            // The mount is gone, and with it everybody who could wait for an answer: begin anew.
            if (was_kept && backend != nullptr && error.code == Code::not_found &&
                keeper::drop(options.keeper_socket, std::string(kEntryPrefix) + options.volume.str()))
                return make_fuse_loop_export(reactor, backend, options, ready);
            ready(fail(error));
        });
    };
    if (kept)
        fresh.take_over(std::move(*kept), backend, std::move(done));
    else
        fresh.create(*backend, std::move(done));
}

Result<std::vector<VolumeId>> kept_exports(const std::string& keeper_socket) {
    UNDERSTUDY_TRY(const std::vector<std::string> names, keeper::list(keeper_socket));
    std::vector<VolumeId> volumes;
    for (const auto& name : names)
        if (name.starts_with(kEntryPrefix)) volumes.emplace_back(name.substr(kEntryPrefix.size()));
    return volumes;
}

Result<unsigned> clean_up_exports(const std::string& device_directory) {
    return detach_labelled_loops(device_directory);
}

}  // namespace understudy::mirror
