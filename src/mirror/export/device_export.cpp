#include "mirror/export/device_export.h"

#include "mirror/export/control_process.h"
#include "mirror/export/keeper/keeper_protocol.h"

#include <utility>

namespace understudy::mirror {

ExportStatistics DeviceExport::statistics() const {
    ExportStatistics result;
    if (const auto* session = counted(); session != nullptr) result = *session;
    result.waiting = gate_.waiting();
    result.in_backend = gate_.in_backend();
    return result;
}

Result<> DeviceExport::serve(BlockBackend& backend) {
    if (backend.sector_size() != sector_size())
        return fail(Code::bad_argument, "{} was exported in sectors of {} bytes, its volume now has {}",
                    device_path(), sector_size(), backend.sector_size());
    const bool resized = backend.size() != device_size();
    gate_.serve(backend);
    if (resized && setup_) {
        resized_in_setup(backend.size());
    } else if (resized) {
        resize(backend.size(), [](const Result<>&) {});
    }
    return {};
}

void DeviceExport::in_helper(std::chrono::milliseconds limit, Work work, std::function<void(Number)> then) {
    ++helpers_;
    run_in_child(reactor_, limit, std::move(work), [this, then = std::move(then)](Number result) {
        --helpers_;
        then(std::move(result));
    });
}

void DeviceExport::step(std::chrono::milliseconds limit, Work work, std::function<void(std::int64_t)> then) {
    in_helper(limit, std::move(work), [this, then = std::move(then)](const Number& result) {
        if (closing_) return finish_closing();
        if (!result) return setup_done(fail(result.error()));
        then(*result);
    });
}

void DeviceExport::resize_in_helper(std::chrono::milliseconds limit, Work work,
                                    std::function<void(Result<>)> done) {
    in_helper(limit, std::move(work), [this, done = std::move(done)](const Number& result) {
        done(result ? Result<>() : Result<>(fail(result.error())));
        if (closing_) finish_closing();
    });
}

void DeviceExport::setup_done(Result<> result) {
    if (auto done = std::exchange(setup_, {})) reactor_.post([done, result] { done(result); });
}

void DeviceExport::device_lost(const Error& why) {
    lost_ = true;
    if (setup_) return setup_done(fail(why));
    if (!stopping_ && !closing_ && lost_callback_) lost_callback_();
}

bool DeviceExport::goes_on_after(const Number& taken_away, StopMode mode) {
    const bool goes_on = taken_away || mode == StopMode::forced || lost_;
    if (!goes_on) stopping_ = false;
    return goes_on;
}

void DeviceExport::close_all(std::function<void()> done) {
    closing_ = true;
    closed_ = std::move(done);
    end_session([this] {
        gate_.close([this] {
            io_closed_ = true;
            finish_closing();
        });
    });
}

void DeviceExport::finish_closing() {
    if (io_closed_ && closed_ && helpers_ == 0 && !busy()) reactor_.post(std::exchange(closed_, {}));
}

Result<> check_volume_name(const VolumeId& volume) {
    constexpr std::size_t kLongest = 32;
    const std::string& name = volume.str();
    if (name.empty() || name.size() > kLongest || !keeper::valid_name(name) || name.front() == '.')
        return fail(Code::bad_argument, "\"{}\" is not a volume's name", name);
    return {};
}

}  // namespace understudy::mirror
