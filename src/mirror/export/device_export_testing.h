#pragma once
// The fixture of exports that are block devices.

#include "mirror/export/export_testing.h"
#include "mirror/io/raw_backend.h"

#include <future>
#include <memory>
#include <thread>

namespace understudy::mirror::testing_support {

inline constexpr std::uint64_t kDeviceSize = 32 << 20;

/// An export of a raw file as a block device, on a thread of its own; the test is the one who uses the
/// device.
class DeviceExportFixture : public ::testing::Test {
  protected:
    virtual DeviceKind kind() const = 0;

    void SetUp() override {
        if (const auto why = why_not(kind()); !why.empty()) GTEST_SKIP() << why;
        place_ = std::make_unique<Place>(kDeviceSize);
        open_backend(false);
        thread_ = std::thread([this] { reactor_->run(); });
    }
    void TearDown() override {
        if (!place_) return;
        if (export_) stop(StopMode::forced);
        reactor_->stop();
        thread_.join();
        export_.reset();
        backend_.reset();
        reactor_.reset();
        place_.reset();
    }
    void open_backend(bool read_only) {
        if (!reactor_) reactor_ = std::move(*Reactor::create());
        backend_.reset();
        auto backend = RawBackend::open(*reactor_, {.path = place_->file, .read_only = read_only});
        ASSERT_TRUE(backend) << backend.error().text;
        backend_ = std::move(*backend);
    }
    FuseLoopOptions fuse_options() const {
        FuseLoopOptions result;
        result.volume = VolumeId("volume");
        result.mount_directory = place_->mount_directory;
        result.device_directory = place_->device_directory;
        result.slots = 16;
        return result;
    }
    UblkOptions ublk_options() const {
        UblkOptions result;
        result.volume = VolumeId("volume");
        result.device_directory = place_->device_directory;
        result.slots = 16;
        return result;
    }
    Result<> make(FuseLoopOptions options) {
        return await([this, options](ExportReady ready) {
            make_fuse_loop_export(*reactor_, backend_.get(), options, std::move(ready));
        });
    }
    Result<> make(UblkOptions options) {
        return await([this, options](ExportReady ready) {
            make_ublk_export(*reactor_, backend_.get(), options, std::move(ready));
        });
    }
    Result<> make(bool read_only = false) {
        if (kind() == DeviceKind::ublk) {
            auto options = ublk_options();
            options.read_only = read_only;
            return make(options);
        }
        auto options = fuse_options();
        options.read_only = read_only;
        return make(options);
    }
    /// Nothing of the export is left in the kernel.
    bool all_gone() const {
        return labelled_loops(place_->device_directory)->empty() && !mounted_at(place_->mount_directory) &&
               ublk_devices(*place_) == 0;
    }
    Result<> stop(StopMode mode) {
        auto stopped = std::make_shared<std::promise<Result<>>>();
        reactor_->post([this, mode, stopped] {
            export_->stop(mode, [this, stopped](Result<> result) {
                if (result) reactor_->post([this] { export_.reset(); });
                reactor_->post([stopped, result] { stopped->set_value(result); });
            });
        });
        return stopped->get_future().get();
    }
    template <class F>
    auto on_reactor(F function) {
        std::promise<decltype(function())> done;
        reactor_->post([&] { done.set_value(function()); });
        return done.get_future().get();
    }
    Descriptor open_device(int flags = O_RDWR | O_DIRECT) const {
        return Descriptor(open(place_->device().c_str(), flags | O_CLOEXEC));
    }

    std::unique_ptr<Place> place_;
    std::unique_ptr<Reactor> reactor_;
    std::unique_ptr<RawBackend> backend_;
    std::unique_ptr<Export> export_;
    std::thread thread_;

  private:
    template <class F>
    Result<> await(F make_it) {
        auto ready = std::make_shared<std::promise<Result<>>>();
        reactor_->post([this, make_it, ready] {
            make_it([this, ready](Result<std::unique_ptr<Export>> made) {
                if (made) export_ = std::move(*made);
                ready->set_value(made ? Result<>() : Result<>(fail(made.error())));
            });
        });
        return ready->get_future().get();
    }
};

}  // namespace understudy::mirror::testing_support
