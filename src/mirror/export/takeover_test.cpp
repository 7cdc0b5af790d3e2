// A server that is killed or replaced under load: nobody who uses the device sees an error, and everything
// that was acknowledged is there. Real processes, real kernel.

#include "mirror/export/export_testing.h"
#include "mirror/export/keeper/keeper_client.h"

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <random>

namespace understudy::mirror {
namespace {

using namespace testing_support;

constexpr std::uint64_t kSize = 32 << 20;
constexpr std::size_t kBlock = sizeof(Page);
constexpr unsigned kWriters = 8;
constexpr std::uint64_t kBlocksPerWriter = kSize / kBlock / kWriters;

/// Threads that write numbered blocks to the device and remember what was acknowledged.
class Load {
  public:
    explicit Load(const std::string& device) : acknowledged_(kWriters * kBlocksPerWriter) {
        for (unsigned writer = 0; writer < kWriters; ++writer)
            threads_.emplace_back([this, device, writer] { write(device, writer); });
    }
    ~Load() { finish(); }
    void finish() {
        stop_ = true;
        for (auto& thread : threads_)
            if (thread.joinable()) thread.join();
    }
    /// Waits until every writer got `count` more acknowledgements.
    bool progressed(std::uint64_t count) {
        std::array<std::uint64_t, kWriters> goals{};
        for (unsigned i = 0; i < kWriters; ++i)
            goals[i] = counts_[i] + count;
        return wait_until([&] {
            for (unsigned i = 0; i < kWriters; ++i)
                if (counts_[i] < goals[i] && errors_ == 0) return false;
            return true;
        });
    }
    [[nodiscard]] int errors() const { return errors_; }
    /// Blocks whose content is not the last acknowledged write's.
    [[nodiscard]] std::uint64_t wrong_blocks(const std::string& device) const {
        const Descriptor file(open(device.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
        constexpr std::size_t kAtOnce = 256;
        std::vector<Page> pages(kAtOnce);
        std::uint64_t wrong = 0;
        for (std::uint64_t block = 0; block < acknowledged_.size(); ++block) {
            const auto bytes = static_cast<ssize_t>(kAtOnce * kBlock);
            if (block % kAtOnce == 0 && pread(file.get(), pages.data(), kAtOnce * kBlock,
                                              static_cast<off_t>(block * kBlock)) != bytes)
                return acknowledged_.size();
            if (!holds(pages[block % kAtOnce], block, acknowledged_[block])) ++wrong;
        }
        return wrong;
    }

  private:
    static void fill(Page& page, std::uint64_t block, std::uint64_t number) {
        std::array<std::uint64_t, 2> stamp{block, number};
        for (std::size_t at = 0; at < kBlock; at += sizeof stamp)
            std::memcpy(&page.bytes[at], stamp.data(), sizeof stamp);
    }
    static bool holds(const Page& page, std::uint64_t block, std::uint64_t number) {
        Page expected;
        if (number > 0) fill(expected, block, number);
        return std::memcmp(page.bytes.data(), expected.bytes.data(), kBlock) == 0;
    }
    void write(const std::string& device, unsigned writer) {
        const Descriptor file(open(device.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
        std::mt19937_64 random(writer);
        Page page;
        for (std::uint64_t number = 1; !stop_; ++number) {
            const std::uint64_t block = writer * kBlocksPerWriter + random() % kBlocksPerWriter;
            fill(page, block, number);
            if (pwrite(file.get(), &page, kBlock, static_cast<off_t>(block * kBlock)) !=
                    static_cast<ssize_t>(kBlock) ||
                (number % 64 == 0 && fdatasync(file.get()) != 0)) {
                ++errors_;
                return;
            }
            acknowledged_[block] = number;
            ++counts_[writer];
        }
    }

    std::vector<std::uint64_t> acknowledged_;  // by block; each block has one writer
    std::array<std::atomic<std::uint64_t>, kWriters> counts_{};
    std::atomic<int> errors_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

class TakeoverFixture : public ::testing::Test {
  protected:
    virtual DeviceKind kind() const = 0;

    void SetUp() override {
        if (const auto why = why_not(kind()); !why.empty()) GTEST_SKIP() << why;
        place_ = std::make_unique<Place>(kSize);
        keeper_socket_ = place_->root + "/keeper";
        start_keeper();
        start_server();
    }
    void TearDown() override {
        // Without server and keeper the connection ends, which also frees writers that still wait.
        server_.kill_now();
        keeper_.kill_now();
        load_.reset();
        place_.reset();
    }
    void start_keeper() {
        keeper_ = Program({UNDERSTUDY_KEEPER, "--socket", keeper_socket_});
        ASSERT_TRUE(wait_until([this] { return keeper::list(keeper_socket_).has_value(); }));
    }
    void start_server() {
        std::vector<std::string> words{UNDERSTUDY_EXPORT, place_->file, "--device", place_->device_directory};
        if (kind() == DeviceKind::ublk)
            words.emplace_back("--ublk");
        else
            words.insert(words.end(), {"--fuse", place_->mount_directory, "--keeper", keeper_socket_});
        server_ = Program(words);
        ASSERT_EQ(server_.first_line(), place_->device());
    }
    void expect_all_acknowledged_writes() {
        load_->finish();
        EXPECT_EQ(load_->errors(), 0);
        EXPECT_EQ(load_->wrong_blocks(place_->device()), 0U);
        EXPECT_EQ(load_->wrong_blocks(place_->file), 0U);
    }

    std::unique_ptr<Place> place_;
    std::string keeper_socket_;
    Program keeper_, server_;
    std::unique_ptr<Load> load_;
};

class TakeoverTest : public TakeoverFixture, public ::testing::WithParamInterface<DeviceKind> {
  protected:
    DeviceKind kind() const override { return GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Kinds, TakeoverTest, ::testing::Values(DeviceKind::fuse, DeviceKind::ublk), name_of);

class FuseTakeoverTest : public TakeoverFixture {
  protected:
    DeviceKind kind() const override { return DeviceKind::fuse; }
};

class UblkTakeoverTest : public TakeoverFixture {
  protected:
    DeviceKind kind() const override { return DeviceKind::ublk; }
};

TEST_P(TakeoverTest, AServerKilledUnderLoadTwentyTimesCausesNoErrorAndLosesNoWrite) {
    constexpr int kKills = 20;
    load_ = std::make_unique<Load>(place_->device());
    for (int i = 0; i < kKills; ++i) {
        ASSERT_TRUE(load_->progressed(20)) << "after kill " << i;
        server_.kill_now();
        start_server();
    }
    ASSERT_TRUE(load_->progressed(20));
    expect_all_acknowledged_writes();
}

TEST_P(TakeoverTest, AnUpgradeUnderLoadHandsOverAndTheOldServerEndsByItself) {
    load_ = std::make_unique<Load>(place_->device());
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(load_->progressed(20));
        server_.send(SIGUSR2);
        ASSERT_EQ(server_.wait_for_end(), 0);
        start_server();
    }
    ASSERT_TRUE(load_->progressed(20));
    expect_all_acknowledged_writes();
}

TEST_P(TakeoverTest, TheDeviceKeepsItsNumberAndFileSystemAcrossAKill) {
    ASSERT_EQ(run_program({"mkfs.ext4", "-q", place_->device()}), 0);
    ASSERT_EQ(mount(place_->device().c_str(), place_->file_system.c_str(), "ext4", 0, nullptr), 0);
    struct stat before {
    }, after{};
    ASSERT_EQ(stat(place_->device().c_str(), &before), 0);
    server_.kill_now();
    // Dirty data reaches the device only through the next server.
    auto writing = std::thread([this] {
        const Descriptor file(
            open((place_->file_system + "/file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        const std::string content(1 << 20, 'c');
        EXPECT_EQ(write(file.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
        EXPECT_EQ(fsync(file.get()), 0);
    });
    start_server();
    writing.join();
    ASSERT_EQ(stat(place_->device().c_str(), &after), 0);
    EXPECT_EQ(before.st_rdev, after.st_rdev);
    EXPECT_EQ(labelled_loops(place_->device_directory)->size() + ublk_devices(*place_), 1U);
    ASSERT_EQ(umount(place_->file_system.c_str()), 0);
    EXPECT_EQ(run_program({"e2fsck", "-fn", place_->device()}), 0);
}

TEST_F(FuseTakeoverTest, AKeeperThatWasRestartedIsToldAgainByTheRunningServer) {
    load_ = std::make_unique<Load>(place_->device());
    keeper_.kill_now();
    start_keeper();
    ASSERT_TRUE(wait_until([this] { return kept_exports(keeper_socket_)->size() == 1; }));
    ASSERT_TRUE(load_->progressed(10));
    server_.kill_now();
    start_server();
    ASSERT_TRUE(load_->progressed(10));
    expect_all_acknowledged_writes();
}

TEST_F(FuseTakeoverTest, AnOrderlyStopLeavesNothingInTheKeeperAndNoDevice) {
    EXPECT_EQ(*kept_exports(keeper_socket_), std::vector<VolumeId>{VolumeId("volume")});
    server_.send(SIGTERM);
    EXPECT_EQ(server_.wait_for_end(), 0);
    EXPECT_TRUE(kept_exports(keeper_socket_)->empty());
    EXPECT_FALSE(std::filesystem::exists(place_->device()));
    EXPECT_FALSE(mounted_at(place_->mount_directory));
    EXPECT_TRUE(labelled_loops(place_->device_directory)->empty());
}

TEST_F(FuseTakeoverTest, AfterTheMountIsGoneANewDeviceIsMade) {
    server_.kill_now();
    ASSERT_TRUE(unmount_fuse(place_->mount_directory, true));
    start_server();
    const Descriptor device(open(place_->device().c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
    Page page;
    EXPECT_EQ(pread(device.get(), &page, kBlock, 0), static_cast<ssize_t>(kBlock));
    EXPECT_EQ(labelled_loops(place_->device_directory)->size(), 1U);
}

TEST_F(UblkTakeoverTest, RequestsThatAStoppedServerDidNotTakeAreAnsweredByTheNext) {
    constexpr unsigned kMoreThanSlots = 96;
    std::atomic<unsigned> answered{0};
    server_.send(SIGSTOP);
    std::vector<std::thread> writers;
    for (unsigned i = 0; i < kMoreThanSlots; ++i)
        writers.emplace_back([this, i, &answered] {
            const Descriptor device(open(place_->device().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
            Page page;
            if (pwrite(device.get(), &page, kBlock, static_cast<off_t>(i * kBlock)) ==
                static_cast<ssize_t>(kBlock))
                ++answered;
        });
    server_.kill_now();
    start_server();
    for (auto& writer : writers)
        writer.join();
    EXPECT_EQ(answered, kMoreThanSlots);
}

TEST_F(UblkTakeoverTest, ASecondServerIsRefusedWhileTheFirstLives) {
    // Of another file, so that it is the device that is refused.
    const std::string other = place_->root + "/other";
    std::filesystem::copy_file(place_->file, other);
    Program second({UNDERSTUDY_EXPORT, other, "--ublk", "--device", place_->device_directory});
    EXPECT_EQ(second.first_line(), "");
    EXPECT_NE(second.wait_for_end(), 0);
    load_ = std::make_unique<Load>(place_->device());
    ASSERT_TRUE(load_->progressed(10));
    expect_all_acknowledged_writes();
}

TEST_F(UblkTakeoverTest, AnOrderlyStopLeavesNoDevice) {
    EXPECT_EQ(*kept_ublk_exports(place_->device_directory), std::vector<VolumeId>{VolumeId("volume")});
    server_.send(SIGTERM);
    EXPECT_EQ(server_.wait_for_end(), 0);
    EXPECT_FALSE(std::filesystem::exists(place_->device()));
    EXPECT_TRUE(wait_until([this] { return ublk_devices(*place_) == 0; }));
    EXPECT_TRUE(kept_ublk_exports(place_->device_directory)->empty());
}

TEST_F(UblkTakeoverTest, WhatAProgramWroteToThePageCacheIsThereAfterAnOrderlyStop) {
    {
        const Descriptor device(open(place_->device().c_str(), O_RDWR | O_CLOEXEC));
        const std::string content(1 << 20, 'c');
        ASSERT_EQ(write(device.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
    }
    server_.send(SIGTERM);
    ASSERT_EQ(server_.wait_for_end(), 0);
    std::string content(1 << 20, ' ');
    const Descriptor file(open(place_->file.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(pread(file.get(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    EXPECT_EQ(content, std::string(1 << 20, 'c'));
}

TEST_F(UblkTakeoverTest, ADeletedDeviceEndsTheServerWithAnError) {
    const auto device = ublk::find(place_->ublk_place());
    ASSERT_TRUE(device && *device);
    ASSERT_TRUE(ublk::remove(place_->ublk_place(), (*device)->number, true, {}));
    EXPECT_EQ(server_.wait_for_end(), static_cast<int>(Code::failure));
}

}  // namespace
}  // namespace understudy::mirror
