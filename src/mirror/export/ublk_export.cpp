// A volume as a ublk device: the kernel's driver, the session and the gate put together. The kernel itself
// keeps the device when this process dies, so there is nothing for the keeper to hold.

#include "mirror/export/device_export.h"
#include "mirror/export/ublk_device.h"
#include "mirror/export/ublk_session.h"

#include <unistd.h>

#include <filesystem>
#include <optional>
#include <utility>

namespace understudy::mirror {
namespace {

using namespace std::chrono_literals;

// A new device's partition table is read, a removed one's writes are waited for: on busy disks that takes as
// long as any request may, and giving up earlier helps nobody.
constexpr auto kStartLimit = 30s;
constexpr auto kRemoveLimit = 30s;
constexpr auto kUserGoneLimit = 2s;    // for a device that is still open, but not mounted, when it is stopped
constexpr auto kServerGoneLimit = 6s;  // an earlier server that was killed: its last I/O may take its time
static_assert(kServerGoneLimit < kStartLimit && kUserGoneLimit < kRemoveLimit);

class UblkExport final : public DeviceExport {
  public:
    UblkExport(Reactor& reactor, const UblkOptions& options)
        : DeviceExport(reactor, options.lost),
          options_(options),
          place_{options_.volume.str(), options_.device_directory} {}

    /// Makes a new device. Calls `done` once.
    void create(BlockBackend& backend, std::function<void(Result<>)> done);
    /// Continues with the device of an earlier process. Calls `done` once.
    void take_over(const ublk::Device& device, BlockBackend* backend, std::function<void(Result<>)> done);
    /// Undoes an unfinished create() or take_over(), then `done`.
    void give_up(std::function<void()> done);

    [[nodiscard]] std::string device_path() const override { return ublk::node(place_); }
    void resize(std::uint64_t size, std::function<void(Result<>)> done) override;
    void stop(StopMode mode, std::function<void(Result<>)> done) override;
    void release(std::function<void()> done) override;

  private:
    [[nodiscard]] std::uint32_t sector_size() const override { return shape_.sector_size; }
    [[nodiscard]] std::uint64_t device_size() const override { return shape_.size; }
    void resized_in_setup(std::uint64_t size) override { late_size_ = shape_.size = size; }
    [[nodiscard]] const ExportStatistics* counted() const override {
        return session_ ? &session_->statistics() : nullptr;
    }
    void setup_done(Result<> result) override;

    Result<> open_session();
    void start_session();

    UblkOptions options_;
    ublk::Place place_;
    ublk::Shape shape_;
    std::optional<int> number_;
    std::unique_ptr<ublk::Session> session_;
    std::optional<std::uint64_t> late_size_;  // to be given to a device that is being taken over
};

// --- setting up

void UblkExport::create(BlockBackend& backend, std::function<void(Result<>)> done) {
    setup_ = std::move(done);
    shape_ = {backend.size(), backend.sector_size(), options_.max_request, options_.read_only,
              backend.punches()};
    gate_.serve(backend);
    std::error_code error;
    std::filesystem::create_directories(options_.device_directory, error);
    if (error)
        return setup_done(
            fail(Code::failure, "cannot make {}: {}", options_.device_directory, error.message()));
    const ublk::Geometry geometry{static_cast<std::uint16_t>(options_.queues),
                                  static_cast<std::uint16_t>(options_.slots), options_.max_request};
    step(
        kStartLimit,
        [place = place_, geometry, shape = shape_]() -> Number {
            UNDERSTUDY_TRY(const int number, ublk::add(place, geometry, shape));
            return number;
        },
        [this](std::int64_t made) {
            const int number = static_cast<int>(made);
            number_ = number;
            if (auto opened = open_session(); !opened) return setup_done(opened);
            start_session();
            step(
                kStartLimit,
                [place = place_, number, server = getpid()]() -> Number {
                    UNDERSTUDY_CHECK(ublk::start(place, number, server));
                    return number;
                },
                [this](std::int64_t) { setup_done({}); });
        });
}

void UblkExport::take_over(const ublk::Device& device, BlockBackend* backend,
                           std::function<void(Result<>)> done) {
    setup_ = std::move(done);
    resumed_ = true;
    number_ = device.number;
    auto shape = ublk::shape(device.number);
    if (!shape) return setup_done(fail(shape.error()));
    shape_ = *shape;
    gate_.suspend(options_.wait_for_backend);
    if (backend != nullptr)
        if (auto served = serve(*backend); !served) return setup_done(served);
    step(
        kStartLimit,
        [number = device.number]() -> Number {
            UNDERSTUDY_CHECK(ublk::begin_recovery(number, kServerGoneLimit));
            return number;
        },
        [this, number = device.number](std::int64_t) {
            if (auto opened = open_session(); !opened) return setup_done(opened);
            start_session();
            step(
                kStartLimit,
                [place = place_, number, server = getpid()]() -> Number {
                    UNDERSTUDY_CHECK(ublk::finish_recovery(place, number, server));
                    return number;
                },
                [this](std::int64_t) { setup_done({}); });
        });
}

Result<> UblkExport::open_session() {
    // The kernel may have given fewer queues than were asked for.
    UNDERSTUDY_TRY(const auto device, ublk::inspect(*number_));
    UNDERSTUDY_TRY(auto server_side, ublk::open_server_side(place_, *number_));
    UNDERSTUDY_TRY(session_, ublk::Session::create(reactor_, gate_, std::move(server_side), device.geometry));
    return {};
}

void UblkExport::start_session() {
    session_->start([this](const Error& why) { device_lost(with_context(why, device_path()).value()); });
}

void UblkExport::setup_done(Result<> result) {
    if (const auto size = std::exchange(late_size_, std::nullopt); size && result)
        // An old kernel keeps the size: its users are served all the same.
        return resize(*size, [this](const Result<>&) { setup_done({}); });
    DeviceExport::setup_done(std::move(result));
}

void UblkExport::resize(std::uint64_t size, std::function<void(Result<>)> done) {
    shape_.size = size;
    resize_in_helper(
        kStartLimit,
        [number = *number_, size]() -> Number {
            UNDERSTUDY_CHECK(ublk::resize(number, size));
            return 0;
        },
        std::move(done));
}

// --- the end

void UblkExport::stop(StopMode mode, std::function<void(Result<>)> done) {
    const bool forced = mode == StopMode::forced;
    stopping_ = true;
    // What waits for a backend would make the deletion wait too.
    if (forced) gate_.refuse(-EIO);
    in_helper(
        kRemoveLimit,
        [place = place_, number = *number_, forced]() -> Number {
            UNDERSTUDY_CHECK(ublk::remove(place, number, forced, kUserGoneLimit));
            return 0;
        },
        [this, mode, done = std::move(done)](const Number& result) {
            if (!goes_on_after(result, mode)) return done(fail(result.error()));
            auto close = [this, done] { close_all([done] { done({}); }); };
            // Without a deletion nothing ends the session, and the kernel takes it back with this process.
            if (!result || !session_) return close();
            session_->await_end(close);
        });
}

void UblkExport::release(std::function<void()> done) {
    stopping_ = true;
    if (!session_) return close_all(std::move(done));
    session_->release([this, done = std::move(done)]() mutable { close_all(std::move(done)); });
}

void UblkExport::give_up(std::function<void()> done) {
    // What was taken over stays as it is: the next attempt, or a person, may still save it.
    if (resumed_ || !number_) return release(std::move(done));
    stop(StopMode::forced, [done = std::move(done)](const Result<>&) { done(); });
}

// --- making one

Result<UblkOptions> checked(UblkOptions options) {
    UNDERSTUDY_CHECK(check_volume_name(options.volume));
    if (!options.device_directory.starts_with('/'))
        return fail(Code::bad_argument, "\"{}\" is not an absolute directory", options.device_directory);
    if (options.slots < ublk::Session::kMinDepth || options.queues < 1 ||
        options.slots * options.queues > ublk::Session::kMaxSlots)
        return fail(Code::bad_argument, "a ublk export with {} queues of {} requests", options.queues,
                    options.slots);
    std::error_code error;
    options.device_directory = std::filesystem::weakly_canonical(options.device_directory, error).string();
    if (error) return fail(Code::failure, "cannot resolve {}: {}", options.device_directory, error.message());
    return options;
}

}  // namespace

void make_ublk_export(Reactor& reactor, BlockBackend* backend, UblkOptions wanted, ExportReady ready) {
    auto refuse = [&reactor, &ready](const Error& error) {
        reactor.post([ready, error] { ready(fail(error)); });
    };
    auto options = checked(std::move(wanted));
    if (!options) return refuse(options.error());
    if (auto usable = ublk::available(); !usable) return refuse(usable.error());
    const ublk::Place place{options->volume.str(), options->device_directory};
    Result<std::optional<ublk::Device>> found = std::optional<ublk::Device>();
    if (std::filesystem::exists(options->device_directory)) found = ublk::find(place);
    if (!found) return refuse(found.error());
    if (*found && !(*found)->started) {
        // Its maker died while it made it: nobody has used it.
        if (auto gone = ublk::remove(place, (*found)->number, true, {}); !gone) return refuse(gone.error());
        found->reset();
    }
    if (!*found && backend == nullptr)
        return refuse({Code::not_found,
                       fmt::format("no export of {} is kept from an earlier process", options->volume.str()),
                       0});

    // Owned by its own callback until it is ready.
    auto made =
        std::make_shared<std::unique_ptr<UblkExport>>(std::make_unique<UblkExport>(reactor, *options));
    auto& fresh = **made;
    auto done = [made, ready](Result<> result) {
        if (result) return ready(std::unique_ptr<Export>(std::move(*made)));
        auto& failed = **made;
        failed.give_up([made, ready, error = result.error()] {
            made->reset();
            ready(fail(error));
        });
    };
    if (*found)
        fresh.take_over(**found, backend, std::move(done));
    else
        fresh.create(*backend, std::move(done));
}

Result<> ublk_available() {
    return ublk::available();
}

Result<std::vector<VolumeId>> kept_ublk_exports(const std::string& device_directory) {
    std::vector<VolumeId> volumes;
    if (!ublk_available()) return volumes;
    UNDERSTUDY_TRY(const std::vector<std::string> names, ublk::kept(device_directory));
    for (const auto& name : names)
        volumes.emplace_back(name);
    return volumes;
}

}  // namespace understudy::mirror
