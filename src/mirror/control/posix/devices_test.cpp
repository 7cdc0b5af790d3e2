#include "mirror/control/posix/devices.h"

#include "mirror/control/posix/socket_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace understudy::mirror::control {
namespace {

struct Devices : testing::Test {
    std::filesystem::path directory =
        std::filesystem::temp_directory_path() / fmt::format("understudy-devices-{}", getpid());
    LinuxDevices devices;

    void SetUp() override { std::filesystem::create_directories(directory); }
    void TearDown() override { std::filesystem::remove_all(directory); }
    std::string file(std::uint64_t size) {
        const auto path = directory / "disk";
        std::ofstream(path).put('x');
        std::filesystem::resize_file(path, size);
        return path.string();
    }
    void expect_refusal(const std::string& device, const char* says) {
        const auto facts = devices.examine(device);
        ASSERT_FALSE(facts);
        EXPECT_NE(facts.error().text.find(says), std::string::npos) << facts.error().text;
    }
};

// Spec: REP-022
TEST_F(Devices, AFileOfEnoughSizeIsADevice) {
    const auto facts = devices.examine(file(1 << 20));
    ASSERT_TRUE(facts) << facts.error().text;
    EXPECT_EQ(facts->size, 1U << 20);
    EXPECT_TRUE(facts->sector_size == 512 || facts->sector_size == 4096);
    expect_refusal(file(4096), "at least 65536");
}

// Spec: MOP-115
TEST_F(Devices, AFileThatWasReplacedIsAnotherMedium) {
    const std::string path = file(1 << 20);
    const std::string media = devices.media(path);
    EXPECT_TRUE(media.starts_with("file:")) << media;
    EXPECT_EQ(devices.media(file(2 << 20)), media) << "written to and resized";
    std::filesystem::copy_file(path, path + ".copy");
    std::filesystem::rename(path + ".copy", path);
    EXPECT_NE(devices.media(path), media);
    EXPECT_EQ(devices.media((directory / "none").string()), "");
    EXPECT_EQ(devices.media("/dev/null"), "");
}

// Spec: REP-018
TEST_F(Devices, WhatIsNoDiskIsRefused) {
    expect_refusal(directory.string(), "neither a block device nor a file");
    expect_refusal("/dev/null", "neither a block device nor a file");
    expect_refusal((directory / "none").string(), "No such file");
    expect_refusal("disk", "no absolute path");
}

// Spec: REP-026
TEST_F(Devices, AHeldFileNamesItsHolder) {
    const std::string path = file(1 << 20);
    const Socket held(open(path.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(held.valid());
    ASSERT_EQ(flock(held.fd(), LOCK_EX | LOCK_NB), 0);
    expect_refusal(path, fmt::format("(pid {})", getpid()).c_str());
    EXPECT_NE(open_by(path).find(fmt::format("(pid {})", getpid())), std::string::npos);
}

}  // namespace
}  // namespace understudy::mirror::control
