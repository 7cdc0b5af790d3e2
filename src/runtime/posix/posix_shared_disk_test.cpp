#include "runtime/posix/posix_shared_disk.h"

#include "runtime/posix/event_loop.h"
#include "runtime/posix/test_support.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace understudy::runtime {
namespace {

using namespace std::chrono_literals;

class SharedDiskTest : public ::testing::Test {
  protected:
    SharedDiskTest() {
        // Not in /tmp, which may be a tmpfs without O_DIRECT.
        std::string name = std::filesystem::current_path() / "shared-disk-XXXXXX";
        EXPECT_NE(::mkdtemp(name.data()), nullptr);
        directory = name;
    }
    ~SharedDiskTest() override { std::filesystem::remove_all(directory); }

    [[nodiscard]] std::string file(std::size_t size) const {
        const auto path = directory + "/disk";
        std::ofstream(path) << std::string(size, 'x');
        return path;
    }
    template <class T>
    std::optional<Result<T>> wait(const std::function<void(std::function<void(Result<T>)>)>& start) {
        std::optional<Result<T>> result;
        start([&](Result<T> done) {
            result = std::move(done);
            loop.stop();
        });
        loop.after(10s, [&] { loop.stop(); });
        loop.run();
        return result;
    }
    Result<std::string> read(SharedDisk& disk, std::uint64_t offset, std::size_t bytes) {
        return wait<std::string>([&](auto done) { disk.read(offset, bytes, done); })
            .value_or(fail(Code::internal, "no answer"));
    }
    Result<> write(SharedDisk& disk, std::uint64_t offset, std::string bytes) {
        return wait<void>([&](auto done) { disk.write(offset, std::move(bytes), done); })
            .value_or(fail(Code::internal, "no answer"));
    }

    EventLoop loop;
    std::string directory;
};

// Spec: CLU-053
TEST_F(SharedDiskTest, WhatOneWritesTheOtherReads) {
    PosixSharedDisks disks(loop, true);
    const auto path = file(128 << 10);
    const auto one = disks.open(path, SharedDisks::Use::setup);
    const auto other = disks.open(path, SharedDisks::Use::heartbeats);
    EXPECT_EQ(read(*other, 0, 128 << 10).value_or(""), std::string(128 << 10, 'x'));
    ASSERT_TRUE(write(*one, kSharedDiskBlock, std::string(2 * kSharedDiskBlock, 'y')));
    const auto text = read(*other, 0, 4 * kSharedDiskBlock).value_or("");
    EXPECT_EQ(text.substr(kSharedDiskBlock, 2 * kSharedDiskBlock), std::string(2 * kSharedDiskBlock, 'y'));
    EXPECT_EQ(text[kSharedDiskBlock - 1], 'x');
    EXPECT_EQ(text[3 * kSharedDiskBlock], 'x');
}

// Spec: CLU-053
TEST_F(SharedDiskTest, WhatIsNoSharedDiskIsRefusedWithItsReason) {
    PosixSharedDisks disks(loop);
    const auto problem = [&](const std::string& path) {
        const auto disk = disks.open(path, SharedDisks::Use::setup);
        const auto result = read(*disk, 0, kSharedDiskBlock);
        return result ? std::string("none") : result.error().text;
    };
    const auto path = file(128 << 10);
    EXPECT_EQ(problem(path), path + " is no block device");
    EXPECT_EQ(problem("/dev/null"), "/dev/null is no block device");
    EXPECT_EQ(problem(directory + "/missing"),
              "cannot open " + directory + "/missing: No such file or directory");
}

TEST_F(SharedDiskTest, ADeviceThatIsTooSmallSaysSo) {
    PosixSharedDisks disks(loop, true);
    const auto disk = disks.open(file(kSharedDiskBlock), SharedDisks::Use::setup);
    const auto result = read(*disk, 0, 4 * kSharedDiskBlock);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().text.find("is too small: it ends at byte 4096"), std::string::npos)
        << result.error().text;
}

TEST_F(SharedDiskTest, ADeviceThatComesBackIsOpenedAgain) {
    PosixSharedDisks disks(loop, true);
    const auto path = file(128 << 10);
    const auto disk = disks.open(directory + "/later", SharedDisks::Use::heartbeats);
    EXPECT_FALSE(read(*disk, 0, kSharedDiskBlock));
    std::filesystem::rename(path, directory + "/later");
    EXPECT_TRUE(read(*disk, 0, kSharedDiskBlock));
}

// The disk goes while its access is anywhere between its start and its answer.
TEST_F(SharedDiskTest, AnAccessThatIsLeftAloneAnswersNobody) {
    PosixSharedDisks disks(loop, true);
    const auto path = file(128 << 10);
    for (int i = 0; i < 200; ++i) {
        auto disk = disks.open(path, SharedDisks::Use::heartbeats);
        disk->read(0, kSharedDiskBlock, [](const Result<std::string>&) { FAIL() << "the disk is gone"; });
        if (i % 2 == 0) ::usleep(100);
        disk.reset();
    }
    loop.after(50ms, [&] { loop.stop(); });
    loop.run();
}

}  // namespace
}  // namespace understudy::runtime
