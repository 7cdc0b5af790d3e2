// A volume as a ublk device: the kernel's driver, the session and the gate put together. The kernel itself
// keeps the device when this process dies, so there is nothing for the keeper to hold.

#include "mirror/export/control_process.h"
#include "mirror/export/export.h"
#include "mirror/export/keeper/keeper_protocol.h"
#include "mirror/export/request_gate.h"
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

class UblkExport final : public Export {
  public:
    UblkExport(Reactor& reactor, UblkOptions options)
        : reactor_(reactor),
          options_(std::move(options)),
          place_{options_.volume.str(), options_.device_directory},
          gate_(reactor) {}

    /// Makes a new device. Calls `done` once.
    void create(BlockBackend& backend, std::function<void(Result<>)> done);
    /// Continues with the device of an earlier process. Calls `done` once.
    void take_over(const ublk::Device& device, BlockBackend* backend, std::function<void(Result<>)> done);
    /// Undoes an unfinished create() or take_over(), then `done`.
    void give_up(std::function<void()> done);

    [[nodiscard]] std::string device_path() const override { return ublk::node(place_); }
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

  private:
    using Number = Result<std::int64_t>;

    /// A step of setting up, in a child; `then` on success, the end of setting up otherwise.
    void step(std::function<Number()> work, std::function<void(int)> then);
    Result<> open_session();
    void start_session();
    void setup_done(Result<> result);
    void ended(const Error& why);
    void remove_device(bool forced, std::function<void(Result<>)> done);
    void close_all(std::function<void()> done);
    void finish_closing();

    Reactor& reactor_;
    UblkOptions options_;
    ublk::Place place_;
    ublk::Shape shape_;
    std::optional<int> number_;
    RequestGate gate_;
    std::unique_ptr<ublk::Session> session_;
    std::optional<std::uint64_t> late_size_;  // to be given to a device that is being taken over
    bool resumed_ = false;
    bool stopping_ = false;
    bool lost_ = false;
    bool closing_ = false;
    bool io_closed_ = false;
    unsigned children_ = 0;  // helper processes whose result is to come
    std::function<void(Result<>)> setup_;
    std::function<void()> closed_;
};

// --- setting up

void UblkExport::step(std::function<Number()> work, std::function<void(int)> then) {
    ++children_;
    run_in_child(reactor_, kStartLimit, std::move(work), [this, then = std::move(then)](Number result) {
        --children_;
        if (closing_) return finish_closing();
        if (!result) return setup_done(fail(result.error()));
        then(static_cast<int>(*result));
    });
}

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
        [place = place_, geometry, shape = shape_]() -> Number {
            UNDERSTUDY_TRY(const int number, ublk::add(place, geometry, shape));
            return number;
        },
        [this](int number) {
            number_ = number;
            if (auto opened = open_session(); !opened) return setup_done(opened);
            start_session();
            step(
                [place = place_, number, server = getpid()]() -> Number {
                    UNDERSTUDY_CHECK(ublk::start(place, number, server));
                    return number;
                },
                [this](int) { setup_done({}); });
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
        [number = device.number]() -> Number {
            UNDERSTUDY_CHECK(ublk::begin_recovery(number, kServerGoneLimit));
            return number;
        },
        [this](int number) {
            if (auto opened = open_session(); !opened) return setup_done(opened);
            start_session();
            step(
                [place = place_, number, server = getpid()]() -> Number {
                    UNDERSTUDY_CHECK(ublk::finish_recovery(place, number, server));
                    return number;
                },
                [this](int) { setup_done({}); });
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
    session_->start([this](const Error& why) { ended(why); });
}

void UblkExport::setup_done(Result<> result) {
    if (const auto size = std::exchange(late_size_, std::nullopt); size && result)
        // An old kernel keeps the size: its users are served all the same.
        return resize(*size, [this](const Result<>&) { setup_done({}); });
    if (auto done = std::exchange(setup_, {})) reactor_.post([done, result] { done(result); });
}

void UblkExport::ended(const Error& why) {
    lost_ = true;
    if (setup_) return setup_done(with_context(why, device_path()));
    if (!stopping_ && !closing_ && options_.lost) options_.lost();
}

Result<> UblkExport::serve(BlockBackend& backend) {
    if (backend.sector_size() != shape_.sector_size)
        return fail(Code::bad_argument, "{} was exported in sectors of {} bytes, its volume now has {}",
                    device_path(), shape_.sector_size, backend.sector_size());
    gate_.serve(backend);
    const bool resized = backend.size() != shape_.size;
    shape_.size = backend.size();
    // While it is being taken over, the device gets its size at the end of that.
    if (resized && setup_)
        late_size_ = shape_.size;
    else if (resized)
        resize(shape_.size, [](const Result<>&) {});
    return {};
}

void UblkExport::resize(std::uint64_t size, std::function<void(Result<>)> done) {
    shape_.size = size;
    ++children_;
    run_in_child(
        reactor_, kStartLimit,
        [number = *number_, size]() -> Number {
            UNDERSTUDY_CHECK(ublk::resize(number, size));
            return 0;
        },
        [this, done = std::move(done)](const Number& result) {
            --children_;
            done(result ? Result<>() : Result<>(fail(result.error())));
            if (closing_) finish_closing();
        });
}

// --- the end

void UblkExport::remove_device(bool forced, std::function<void(Result<>)> done) {
    ++children_;
    run_in_child(
        reactor_, kRemoveLimit,
        [place = place_, number = *number_, forced]() -> Number {
            UNDERSTUDY_CHECK(ublk::remove(place, number, forced, kUserGoneLimit));
            return 0;
        },
        [this, done = std::move(done)](const Number& result) {
            --children_;
            done(result ? Result<>() : Result<>(fail(result.error())));
        });
}

void UblkExport::stop(StopMode mode, std::function<void(Result<>)> done) {
    const bool forced = mode == StopMode::forced;
    stopping_ = true;
    // What waits for a backend would make the deletion wait too.
    if (forced) gate_.refuse(-EIO);
    remove_device(forced, [this, forced, done = std::move(done)](Result<> result) {
        if (!result && !forced && !lost_) {
            stopping_ = false;
            return done(std::move(result));
        }
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

void UblkExport::close_all(std::function<void()> done) {
    closing_ = true;
    closed_ = std::move(done);
    gate_.close([this] {
        io_closed_ = true;
        finish_closing();
    });
}

void UblkExport::finish_closing() {
    if (io_closed_ && closed_ && children_ == 0) reactor_.post(std::exchange(closed_, {}));
}

// --- making one

Result<UblkOptions> checked(UblkOptions options) {
    constexpr std::size_t kLongestVolume = 32;
    const std::string& name = options.volume.str();
    if (name.empty() || name.size() > kLongestVolume || !keeper::valid_name(name) || name.front() == '.')
        return fail(Code::bad_argument, "\"{}\" is not a volume's name", name);
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
