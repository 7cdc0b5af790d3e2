// A volume as a block device: FUSE connection, mount, loop device and keeper put together.

#include "mirror/export/descriptor.h"
#include "mirror/export/device_export.h"
#include "mirror/export/fuse_export_state.h"
#include "mirror/export/fuse_session.h"
#include "mirror/export/keeper/keeper_client.h"
#include "mirror/export/loop_device.h"

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

class FuseLoopExport final : public DeviceExport {
  public:
    FuseLoopExport(Reactor& reactor, const FuseLoopOptions& options)
        : DeviceExport(reactor, options.lost),
          options_(options),
          place_{options_.volume.str(), options_.mount_directory, options_.device_directory} {
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
    /// Undoes an unfinished create() or take_over(), then `done`.
    void give_up(std::function<void()> done);

    [[nodiscard]] std::string device_path() const override { return loop_node(place_); }
    void resize(std::uint64_t size, std::function<void(Result<>)> done) override;
    void stop(StopMode mode, std::function<void(Result<>)> done) override;
    void release(std::function<void()> done) override;

  private:
    static FuseLoopExport& self(IoOperation& op) { return *static_cast<FuseLoopExport*>(op.owner); }

    [[nodiscard]] std::uint32_t sector_size() const override { return state_.volume.sector_size; }
    [[nodiscard]] std::uint64_t device_size() const override { return state_.volume.size; }
    void resized_in_setup(std::uint64_t size) override { describe(size); }
    [[nodiscard]] const ExportStatistics* counted() const override {
        return session_ ? &session_->statistics() : nullptr;
    }
    void setup_done(Result<> result) override;
    void end_session(std::function<void()> done) override;
    [[nodiscard]] bool busy() const override;

    Result<> open_and_mount(BlockBackend& backend);
    void attach();
    void describe(std::uint64_t size);
    void setup_timed_out(int result);
    void connection_lost();
    Result<> keep();
    void watch_keeper();
    void keeper_gone();
    void keep_again();
    [[nodiscard]] std::string entry_name() const { return std::string(kEntryPrefix) + place_.volume; }

    FuseLoopOptions options_;
    LoopPlace place_;
    std::unique_ptr<FuseSession> session_;
    FuseExportState state_;
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
    step(
        kAttachLimit,
        [place = place_, volume = state_.volume]() -> Number {
            UNDERSTUDY_TRY(const int number, attach_loop(place, volume.sector_size, volume.read_only));
            UNDERSTUDY_CHECK(resize_loop(place, volume.size));  // one that was there may have another
            return number;
        },
        [this](std::int64_t) { setup_done({}); });
}

void FuseLoopExport::setup_timed_out(int result) {
    if (closing_) return finish_closing();
    if (result == 0)
        setup_done(fail(Code::failure, "the kernel did not finish the export of {} within {} s",
                        place_.volume, std::chrono::seconds(kAttachLimit).count()));
}

void FuseLoopExport::setup_done(Result<> result) {
    reactor_.cancel(setup_timer_);
    DeviceExport::setup_done(std::move(result));
}

void FuseLoopExport::connection_lost() {
    device_lost({Code::failure, fmt::format("the FUSE connection of {} has ended", place_.volume), 0});
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
    resize_in_helper(
        kAttachLimit,
        [place = place_, size]() -> Number {
            UNDERSTUDY_CHECK(resize_loop(place, size));
            return 0;
        },
        std::move(done));
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
    in_helper(
        kDetachLimit,
        [place = place_, forced]() -> Number {
            UNDERSTUDY_CHECK(detach_loop(place, forced, kUserGoneLimit));
            // Lazily: with the loop device gone, only somebody who looks at the mount itself can hold it.
            UNDERSTUDY_CHECK(unmount_fuse(place.mount_directory, true));
            return 0;
        },
        [this, mode, done = std::move(done)](const Number& result) {
            if (!goes_on_after(result, mode)) return done(fail(result.error()));
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

void FuseLoopExport::end_session(std::function<void()> done) {
    for (auto* op : {&setup_timer_, &keeper_watch_, &keeper_timer_})
        reactor_.cancel(*op);
    if (session_)
        session_->close(std::move(done));
    else
        done();
}

bool FuseLoopExport::busy() const {
    return setup_timer_.in_flight || keeper_watch_.in_flight || keeper_timer_.in_flight;
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
    UNDERSTUDY_CHECK(check_volume_name(options.volume));
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
