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

class TakeoverTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (const auto why = why_no_devices(); !why.empty()) GTEST_SKIP() << why;
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
        server_ = Program({UNDERSTUDY_EXPORT, place_->file, "--fuse", place_->mount_directory, "--device",
                           place_->device_directory, "--keeper", keeper_socket_});
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

TEST_F(TakeoverTest, AServerKilledUnderLoadTwentyTimesCausesNoErrorAndLosesNoWrite) {
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

TEST_F(TakeoverTest, AnUpgradeUnderLoadHandsOverAndTheOldServerEndsByItself) {
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

TEST_F(TakeoverTest, TheDeviceKeepsItsNumberAndFileSystemAcrossAKill) {
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
    EXPECT_EQ(labelled_loops(place_->device_directory)->size(), 1U);
    ASSERT_EQ(umount(place_->file_system.c_str()), 0);
    EXPECT_EQ(run_program({"e2fsck", "-fn", place_->device()}), 0);
}

TEST_F(TakeoverTest, AKeeperThatWasRestartedIsToldAgainByTheRunningServer) {
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

TEST_F(TakeoverTest, AnOrderlyStopLeavesNothingInTheKeeperAndNoDevice) {
    EXPECT_EQ(*kept_exports(keeper_socket_), std::vector<VolumeId>{VolumeId("volume")});
    server_.send(SIGTERM);
    EXPECT_EQ(server_.wait_for_end(), 0);
    EXPECT_TRUE(kept_exports(keeper_socket_)->empty());
    EXPECT_FALSE(std::filesystem::exists(place_->device()));
    EXPECT_FALSE(mounted_at(place_->mount_directory));
    EXPECT_TRUE(labelled_loops(place_->device_directory)->empty());
}

TEST_F(TakeoverTest, AfterTheMountIsGoneANewDeviceIsMade) {
    server_.kill_now();
    ASSERT_TRUE(unmount_fuse(place_->mount_directory, true));
    start_server();
    const Descriptor device(open(place_->device().c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
    Page page;
    EXPECT_EQ(pread(device.get(), &page, kBlock, 0), static_cast<ssize_t>(kBlock));
    EXPECT_EQ(labelled_loops(place_->device_directory)->size(), 1U);
}

}  // namespace
}  // namespace understudy::mirror
