// What every export that is a block device does, whichever way the kernel offers it.

#include "mirror/export/device_export_testing.h"

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/utsname.h>

#include <cstdio>
#include <cstring>

namespace understudy::mirror {
namespace {

using namespace testing_support;

class DeviceExportTest : public DeviceExportFixture, public ::testing::WithParamInterface<DeviceKind> {
  protected:
    DeviceKind kind() const override { return GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Kinds, DeviceExportTest, ::testing::Values(DeviceKind::fuse, DeviceKind::ublk),
                         name_of);

TEST_P(DeviceExportTest, IsABlockDeviceOfTheBackendsSizeAndSectorSize) {
    const auto made = make();
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
    EXPECT_EQ(size, kDeviceSize);
    EXPECT_EQ(static_cast<std::uint32_t>(sector), backend_->sector_size());
}

TEST_P(DeviceExportTest, WhatIsWrittenToTheDeviceIsInTheBackend) {
    ASSERT_TRUE(make());
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

bool kernel_is_older_than(int version, int patch_level) {
    utsname about{};
    int have = 0, have_level = 0;
    EXPECT_EQ(uname(&about), 0);
    EXPECT_EQ(std::sscanf(about.release, "%d.%d", &have, &have_level), 2);
    return have < version || (have == version && have_level < patch_level);
}

// Spec: REP-304, REP-305
TEST_P(DeviceExportTest, GrowsAndShrinksWhileItIsOpen) {
    ASSERT_TRUE(make());
    const Descriptor device = open_device();
    ASSERT_TRUE(device.valid());
    const auto size = [&device] {
        std::uint64_t bytes = 0;
        return ioctl(device.get(), BLKGETSIZE64, &bytes) == 0 ? bytes : 0;
    };
    std::vector<Page> page(1), back(1);
    for (const std::uint64_t bytes : {2 * std::uint64_t{kDeviceSize}, std::uint64_t{kDeviceSize} / 2}) {
        std::filesystem::resize_file(place_->file, bytes);
        ASSERT_EQ(on_reactor([this] { return backend_->measure(); }), bytes);
        auto done = std::make_shared<std::promise<Result<>>>();
        reactor_->post([this, bytes, done] {
            export_->resize(bytes, [done](Result<> result) { done->set_value(std::move(result)); });
        });
        const Result<> resized = done->get_future().get();
        if (kind() == DeviceKind::ublk && !resized) {
            EXPECT_EQ(size(), kDeviceSize);
            EXPECT_TRUE(kernel_is_older_than(6, 16)) << "this kernel can";
            EXPECT_NE(resized.error().text.find("6.16"), std::string::npos) << resized.error().text;
            return;
        }
        ASSERT_TRUE(resized) << resized.error().text;
        EXPECT_EQ(size(), bytes);
        page[0].bytes.fill(std::byte{0x5a});
        const auto last = static_cast<off_t>(bytes - sizeof(Page));
        ASSERT_EQ(pwrite(device.get(), page.data(), sizeof(Page), last), static_cast<ssize_t>(sizeof(Page)));
        ASSERT_EQ(pread(device.get(), back.data(), sizeof(Page), last), static_cast<ssize_t>(sizeof(Page)));
        EXPECT_EQ(std::memcmp(page.data(), back.data(), sizeof(Page)), 0);
        EXPECT_NE(pwrite(device.get(), page.data(), sizeof(Page), static_cast<off_t>(bytes)),
                  static_cast<ssize_t>(sizeof(Page)));
    }
}

TEST_P(DeviceExportTest, ZeroesARangeAndGivesTheSpaceOfADiscardBack) {
    ASSERT_TRUE(make());
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

TEST_P(DeviceExportTest, CarriesAFileSystemAndRefusesToStopWhileItIsMounted) {
    ASSERT_TRUE(make());
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
    EXPECT_TRUE(all_gone());

    ASSERT_TRUE(make());
    ASSERT_EQ(mount(place_->device().c_str(), place_->file_system.c_str(), "ext4", 0, nullptr), 0);
    EXPECT_TRUE(std::filesystem::exists(name));
    ASSERT_EQ(umount(place_->file_system.c_str()), 0);
}

TEST_P(DeviceExportTest, AnOpenDeviceThatIsNotMountedKeepsWorkingAfterARefusedStop) {
    ASSERT_TRUE(make());
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

TEST_P(DeviceExportTest, AForcedStopGivesUsersErrorsAndTakesEverythingAway) {
    ASSERT_TRUE(make());
    Descriptor device = open_device();
    ASSERT_TRUE(stop(StopMode::forced));
    Page page;
    // A deleted disk has no content, a detached loop device gives an error.
    EXPECT_LE(pread(device.get(), &page, sizeof page, 0), 0);
    EXPECT_EQ(pwrite(device.get(), &page, sizeof page, 0), -1);
    device.reset();
    EXPECT_TRUE(wait_until([this] { return all_gone(); }));
}

TEST_P(DeviceExportTest, SuspendedRequestsWaitAndGoOnAfterResume) {
    ASSERT_TRUE(make());
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

TEST_P(DeviceExportTest, RefusedRequestsFailUntilABackendIsServedAgain) {
    ASSERT_TRUE(make());
    const Descriptor device = open_device();
    on_reactor([this] {
        export_->refuse(-EACCES);
        return true;
    });
    Page page;
    // A deleted disk has no content, a detached loop device gives an error.
    EXPECT_LE(pread(device.get(), &page, sizeof page, 0), 0);
    EXPECT_EQ(pwrite(device.get(), &page, sizeof page, 0), -1);
    EXPECT_TRUE(on_reactor([this] { return export_->serve(*backend_).has_value(); }));
    EXPECT_EQ(pread(device.get(), &page, sizeof page, 0), static_cast<ssize_t>(sizeof page));
}

TEST_P(DeviceExportTest, AReadOnlyExportRefusesWrites) {
    open_backend(true);
    ASSERT_TRUE(make(true));
    const Descriptor reader = open_device(O_RDONLY | O_DIRECT);
    Page page;
    EXPECT_EQ(pread(reader.get(), &page, sizeof page, 0), static_cast<ssize_t>(sizeof page));
    const Descriptor writer = open_device();
    EXPECT_TRUE(!writer.valid() || pwrite(writer.get(), &page, sizeof page, 0) < 0);
}

}  // namespace
}  // namespace understudy::mirror
