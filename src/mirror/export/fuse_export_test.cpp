#include "mirror/export/export_testing.h"
#include "mirror/export/fuse_export_state.h"
#include "mirror/io/raw_backend.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <cstring>
#include <future>

namespace understudy::mirror {
namespace {

using namespace testing_support;

constexpr std::uint64_t kSize = 32 << 20;

/// An export of a raw file on a thread of its own; the test is the one who uses the device.
class FuseExportTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (const auto why = why_no_devices(); !why.empty()) GTEST_SKIP() << why;
        place_ = std::make_unique<Place>(kSize);
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
    FuseLoopOptions options() const {
        FuseLoopOptions result;
        result.volume = VolumeId("volume");
        result.mount_directory = place_->mount_directory;
        result.device_directory = place_->device_directory;
        result.slots = 16;
        return result;
    }
    Result<> make(FuseLoopOptions options) {
        auto ready = std::make_shared<std::promise<Result<>>>();
        reactor_->post([this, options, ready] {
            make_fuse_loop_export(*reactor_, backend_.get(), options,
                                  [this, ready](Result<std::unique_ptr<Export>> made) {
                                      if (made) export_ = std::move(*made);
                                      ready->set_value(made ? Result<>() : Result<>(fail(made.error())));
                                  });
        });
        return ready->get_future().get();
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
};

TEST_F(FuseExportTest, IsABlockDeviceOfTheBackendsSizeAndSectorSize) {
    const auto made = make(options());
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ(on_reactor([this] { return export_->device_path(); }), place_->device());
    struct stat status {};
    ASSERT_EQ(stat(place_->device().c_str(), &status), 0);
    EXPECT_TRUE(S_ISBLK(status.st_mode));
    const Descriptor device = open_device();
    ASSERT_TRUE(device.valid());
    std::uint64_t size = 0;
    int sector = 0;
    ASSERT_EQ(ioctl(device.get(), BLKGETSIZE64, &size), 0);
    ASSERT_EQ(ioctl(device.get(), BLKSSZGET, &sector), 0);
    EXPECT_EQ(size, kSize);
    EXPECT_EQ(static_cast<std::uint32_t>(sector), backend_->sector_size());
}

TEST_F(FuseExportTest, WhatIsWrittenToTheDeviceIsInTheBackend) {
    ASSERT_TRUE(make(options()));
    std::vector<Page> out(512), back(512);
    for (std::size_t i = 0; i < out.size(); ++i)
        out[i].bytes.fill(static_cast<std::byte>(i));
    const std::size_t bytes = out.size() * sizeof(Page);
    {
        const Descriptor device = open_device();
        ASSERT_EQ(pwrite(device.get(), out.data(), bytes, 1 << 20), static_cast<ssize_t>(bytes));
        ASSERT_EQ(fsync(device.get()), 0);
        ASSERT_EQ(pread(device.get(), back.data(), bytes, 1 << 20), static_cast<ssize_t>(bytes));
        EXPECT_EQ(std::memcmp(out.data(), back.data(), bytes), 0);
    }
    const Descriptor file(open(place_->file.c_str(), O_RDONLY | O_CLOEXEC));
    back.assign(out.size(), Page());
    ASSERT_EQ(pread(file.get(), back.data(), bytes, 1 << 20), static_cast<ssize_t>(bytes));
    EXPECT_EQ(std::memcmp(out.data(), back.data(), bytes), 0);
    const auto statistics = on_reactor([this] { return export_->statistics(); });
    EXPECT_GE(statistics.write_bytes, bytes);
    EXPECT_GE(statistics.flushes, 1U);
    EXPECT_EQ(statistics.errors, 0U);
}

TEST_F(FuseExportTest, ZeroesARangeAndGivesTheSpaceOfADiscardBack) {
    ASSERT_TRUE(make(options()));
    const Descriptor device = open_device();
    std::vector<Page> pages(256);
    for (auto& page : pages)
        page.bytes.fill(std::byte{0xee});
    ASSERT_EQ(pwrite(device.get(), pages.data(), 1 << 20, 0), 1 << 20);
    std::array<std::uint64_t, 2> range{65536, 131072};
    ASSERT_EQ(ioctl(device.get(), BLKZEROOUT, range.data()), 0);
    ASSERT_EQ(pread(device.get(), pages.data(), 1 << 20, 0), 1 << 20);
    EXPECT_EQ(pages[15].bytes[4095], std::byte{0xee});
    for (std::size_t i = 16; i < 48; ++i)
        for (std::byte byte : pages[i].bytes)
            ASSERT_EQ(byte, std::byte{0});
    EXPECT_EQ(pages[48].bytes[0], std::byte{0xee});
    struct stat before {
    }, after{};
    ASSERT_EQ(stat(place_->file.c_str(), &before), 0);
    std::array<std::uint64_t, 2> discarded{262144, 131072};
    ASSERT_EQ(ioctl(device.get(), BLKDISCARD, discarded.data()), 0) << std::strerror(errno);
    ASSERT_EQ(stat(place_->file.c_str(), &after), 0);
    EXPECT_LE(after.st_blocks + 131072 / 512, before.st_blocks);
    ASSERT_EQ(pread(device.get(), pages.data(), 1 << 20, 0), 1 << 20);
    EXPECT_EQ(pages[63].bytes[0], std::byte{0xee});
    for (std::size_t i = 64; i < 96; ++i)
        for (std::byte byte : pages[i].bytes)
            ASSERT_EQ(byte, std::byte{0});
    EXPECT_EQ(pages[96].bytes[0], std::byte{0xee});
}

TEST_F(FuseExportTest, CarriesAFileSystemAndRefusesToStopWhileItIsMounted) {
    ASSERT_TRUE(make(options()));
    ASSERT_EQ(run_program({"mkfs.ext4", "-q", place_->device()}), 0);
    ASSERT_EQ(mount(place_->device().c_str(), place_->file_system.c_str(), "ext4", 0, nullptr), 0)
        << std::strerror(errno);
    const std::string name = place_->file_system + "/file";
    {
        const Descriptor file(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        ASSERT_EQ(write(file.get(), "content", 7), 7);
        ASSERT_EQ(fsync(file.get()), 0);
    }
    const auto refused = stop(StopMode::orderly);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::has_dependents);
    EXPECT_NE(refused.error().text.find(place_->file_system), std::string::npos) << refused.error().text;
    EXPECT_TRUE(std::filesystem::exists(name));

    ASSERT_EQ(umount(place_->file_system.c_str()), 0);
    const auto stopped = stop(StopMode::orderly);
    EXPECT_TRUE(stopped) << stopped.error().text;
    EXPECT_FALSE(std::filesystem::exists(place_->device()));
    EXPECT_FALSE(mounted_at(place_->mount_directory));
    EXPECT_TRUE(labelled_loops(place_->device_directory)->empty());

    ASSERT_TRUE(make(options()));
    ASSERT_EQ(mount(place_->device().c_str(), place_->file_system.c_str(), "ext4", 0, nullptr), 0);
    EXPECT_TRUE(std::filesystem::exists(name));
    ASSERT_EQ(umount(place_->file_system.c_str()), 0);
}

TEST_F(FuseExportTest, AnOpenDeviceThatIsNotMountedKeepsWorkingAfterARefusedStop) {
    ASSERT_TRUE(make(options()));
    Descriptor device = open_device();
    const auto refused = stop(StopMode::orderly);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::has_dependents);
    Page page;
    EXPECT_EQ(pwrite(device.get(), &page, sizeof page, 0), static_cast<ssize_t>(sizeof page));
    device.reset();
    // The refused stop must not have left "detach on last close" behind.
    device = open_device();
    EXPECT_EQ(pread(device.get(), &page, sizeof page, 0), static_cast<ssize_t>(sizeof page));
    device.reset();
    EXPECT_TRUE(stop(StopMode::orderly));
}

TEST_F(FuseExportTest, AForcedStopGivesUsersErrorsAndTakesEverythingAway) {
    ASSERT_TRUE(make(options()));
    Descriptor device = open_device();
    ASSERT_TRUE(stop(StopMode::forced));
    Page page;
    EXPECT_EQ(pread(device.get(), &page, sizeof page, 0), -1);
    EXPECT_FALSE(mounted_at(place_->mount_directory));
    device.reset();
    EXPECT_TRUE(wait_until([this] { return labelled_loops(place_->device_directory)->empty(); }));
}

TEST_F(FuseExportTest, SuspendedRequestsWaitAndGoOnAfterResume) {
    ASSERT_TRUE(make(options()));
    on_reactor([this] {
        export_->suspend(1h);
        return true;
    });
    auto write = std::async(std::launch::async, [this] {
        const Descriptor device = open_device();
        Page page;
        page.bytes.fill(std::byte{7});
        return pwrite(device.get(), &page, sizeof page, 0);
    });
    ASSERT_TRUE(
        wait_until([this] { return on_reactor([this] { return export_->statistics().waiting; }) == 1; }));
    EXPECT_EQ(write.wait_for(0ms), std::future_status::timeout);
    on_reactor([this] {
        export_->resume();
        return true;
    });
    EXPECT_EQ(write.get(), static_cast<ssize_t>(sizeof(Page)));
}

TEST_F(FuseExportTest, RefusedRequestsFailUntilABackendIsServedAgain) {
    ASSERT_TRUE(make(options()));
    const Descriptor device = open_device();
    on_reactor([this] {
        export_->refuse(-EACCES);
        return true;
    });
    Page page;
    EXPECT_EQ(pread(device.get(), &page, sizeof page, 0), -1);
    EXPECT_TRUE(on_reactor([this] { return export_->serve(*backend_).has_value(); }));
    EXPECT_EQ(pread(device.get(), &page, sizeof page, 0), static_cast<ssize_t>(sizeof page));
}

TEST_F(FuseExportTest, AReadOnlyExportRefusesWrites) {
    open_backend(true);
    auto read_only = options();
    read_only.read_only = true;
    ASSERT_TRUE(make(read_only));
    const Descriptor reader = open_device(O_RDONLY | O_DIRECT);
    Page page;
    EXPECT_EQ(pread(reader.get(), &page, sizeof page, 0), static_cast<ssize_t>(sizeof page));
    const Descriptor writer = open_device();
    EXPECT_TRUE(!writer.valid() || pwrite(writer.get(), &page, sizeof page, 0) < 0);
}

TEST_F(FuseExportTest, ShowsOneFileAndRefusesToResizeOrRemoveIt) {
    ASSERT_TRUE(make(options()));
    // In children: a process that asks its own FUSE server must not be the server.
    const std::string file = place_->mount_directory + "/volume";
    EXPECT_EQ(run_program({"ls", "-l", place_->mount_directory}), 0);
    EXPECT_EQ(run_program({"test", "-f", file}), 0);
    EXPECT_NE(run_program({"test", "-e", place_->mount_directory + "/other"}), 0);
    EXPECT_NE(run_program({"truncate", "-s", "1M", file}), 0);
    EXPECT_NE(run_program({"rm", "-f", file}), 0);
    EXPECT_NE(run_program({"mkdir", place_->mount_directory + "/directory"}), 0);
    EXPECT_EQ(run_program({"df", place_->mount_directory}), 0);
    EXPECT_EQ(run_program({"cmp", file, place_->file}), 0);
}

TEST_F(FuseExportTest, TakesTheDeadMountAndLoopDeviceOfACrashedHostAway) {
    ASSERT_TRUE(make(options()));
    const auto before = labelled_loops(place_->device_directory);
    ASSERT_EQ(before->size(), 1U);
    // A crash without a keeper: the descriptor closes, mount and loop device stay, dead.
    auto released = std::make_shared<std::promise<void>>();
    reactor_->post([this, released] {
        export_->release([this, released] {
            reactor_->post([this, released] {
                export_.reset();
                released->set_value();
            });
        });
    });
    released->get_future().wait();
    ASSERT_TRUE(mounted_at(place_->mount_directory));
    ASSERT_EQ(labelled_loops(place_->device_directory)->size(), 1U);

    const auto made = make(options());
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ(labelled_loops(place_->device_directory)->size(), 1U);
    const Descriptor device = open_device();
    Page page;
    EXPECT_EQ(pread(device.get(), &page, sizeof page, 0), static_cast<ssize_t>(sizeof page));
}

TEST_F(FuseExportTest, TellsWhenSomebodyElseEndsTheConnection) {
    auto watched = options();
    auto lost = std::make_shared<std::promise<void>>();
    watched.lost = [lost] { lost->set_value(); };
    ASSERT_TRUE(make(watched));
    ASSERT_EQ(umount2(place_->mount_directory.c_str(), MNT_FORCE | MNT_DETACH), 0) << std::strerror(errno);
    (void)detach_labelled_loops(place_->device_directory);
    EXPECT_EQ(lost->get_future().wait_for(kTestLimit), std::future_status::ready);
}

TEST_F(FuseExportTest, ExplainsWhatIsWrongWithItsOptions) {
    auto bad = options();
    bad.volume = VolumeId("../escape");
    EXPECT_EQ(make(bad).error().code, Code::bad_argument);
    bad = options();
    bad.mount_directory = "relative";
    EXPECT_EQ(make(bad).error().code, Code::bad_argument);
    bad = options();
    bad.keeper_socket = place_->root + "/no-keeper";
    const auto unreachable = make(bad);
    ASSERT_FALSE(unreachable);
    EXPECT_EQ(unreachable.error().code, Code::unreachable);
    EXPECT_NE(unreachable.error().text.find("understudy-keeper"), std::string::npos);
    EXPECT_FALSE(mounted_at(place_->mount_directory));
}

TEST(FuseExportState, IsReadAsItWasWritten) {
    FuseExportState state;
    state.negotiated = {38, 1 << 17, true};
    state.volume = {kSize, 4096, true};
    state.mount_directory = "/run/with space/x";
    const auto back = read_state(write_state(state) + "later=1\n");
    ASSERT_TRUE(back) << back.error().text;
    EXPECT_EQ(back->negotiated, state.negotiated);
    EXPECT_EQ(back->volume.size, kSize);
    EXPECT_EQ(back->volume.sector_size, 4096U);
    EXPECT_TRUE(back->volume.read_only);
    EXPECT_EQ(back->mount_directory, state.mount_directory);
}

TEST(FuseExportState, NonsenseIsRefused) {
    FuseExportState state;
    state.negotiated = {38, 1 << 17, true};
    state.volume = {kSize, 512, false};
    state.mount_directory = "/run/x";
    const std::string good = write_state(state);
    ASSERT_TRUE(read_state(good));
    EXPECT_FALSE(read_state(""));
    EXPECT_FALSE(read_state("format=2" + good.substr(8)));
    EXPECT_FALSE(read_state(good + "size=513\n"));
    EXPECT_FALSE(read_state(good + "max_request=999999999999\n"));
    EXPECT_FALSE(read_state(good + "mount_directory=run\n"));
}

}  // namespace
}  // namespace understudy::mirror
