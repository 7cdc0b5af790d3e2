// What the service asks of Linux, on files.

#include "mirror/emcmd/posix/linux_facts.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace understudy::mirror::emcmd {
namespace {

struct LinuxFactsTest : testing::Test {
    std::filesystem::path directory =
        std::filesystem::temp_directory_path() / fmt::format("understudy-facts-{}", getpid());
    LinuxFacts facts;

    void SetUp() override { std::filesystem::create_directories(directory); }
    void TearDown() override { std::filesystem::remove_all(directory); }
    std::string disk(std::size_t at, std::string_view bytes) {
        const auto path = (directory / "disk").string();
        std::ofstream file(path, std::ios::binary);
        file.seekp(static_cast<std::streamoff>(at));
        file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        file.close();
        std::filesystem::resize_file(path, 1 << 20);
        return path;
    }
};

// Spec: EMC-184
TEST_F(LinuxFactsTest, ADiskIsKnownByItsPartitionTable) {
    using namespace std::string_view_literals;
    const auto mbr = facts.look(disk(440, "\xd2\xf0\x41\x8c"sv), directory);
    EXPECT_EQ(mbr.disk.signature, "8c41f0d2-0000-0000-0000-000000000000");
    EXPECT_EQ(mbr.size, 1U << 20);
    EXPECT_TRUE(mbr.eligibility.raw);
    std::string gpt(64 + 16, '\0');
    std::memcpy(gpt.data(), "EFI PART", 8);
    for (std::size_t i = 0; i < 16; ++i)
        gpt[56 + i] = static_cast<char>(i + 1);
    EXPECT_EQ(facts.look(disk(512, gpt), directory).disk.signature, "04030201-0605-0807-090a-0b0c0d0e0f10");
    EXPECT_FALSE(facts.look((directory / "none").string(), directory).eligibility.opened);
}

// Spec: MOP-185, REP-072
TEST_F(LinuxFactsTest, AnInstanceStoreIsFoundBySysfs) {
    const auto put = [this](const char* file, const char* text) {
        const auto path = directory / file;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path) << text;
    };
    const LinuxFacts machine(directory.string());
    put("sys/block/nvme1n1/device/model", "Amazon EC2 NVMe Instance Storage        \n");
    put("sys/block/nvme0n1/device/model", "Amazon Elastic Block Store\n");
    put("sys/block/loop0/size", "0\n");
    EXPECT_TRUE(machine.instance_store().disks.empty()) << "another maker's machine";
    put("sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
    EXPECT_EQ(machine.instance_store().disks, std::vector<std::string>{"nvme1n1"});
    EXPECT_EQ(machine.instance_store().cloud_config, "");
    EXPECT_FALSE(machine.instance_store().service_enabled);
    put("etc/understudy/instance-store", "/dev/nvme1n1 /fast\n");
    put("etc/systemd/system/understudy-mirror.service.wants/understudy-instance-store.service", "");
    put("proc/self/mountinfo", "36 22 259:3 / /fast rw - ext4 /dev/nvme1n1 rw\n");
    EXPECT_TRUE(machine.instance_store().service_enabled);
    EXPECT_EQ(ephemeral_problem(machine.instance_store(), "/fast"), "");
    put("etc/cloud/cloud.cfg", "users:\n");
    put("etc/cloud/cloud.cfg.d/90-fast.cfg", "mounts: [[ephemeral0, /fast]]\n");
    EXPECT_NE(machine.instance_store().cloud_config.find("ephemeral0"), std::string::npos);
    put("etc/fstab", "/dev/nvme1n1 /fast ext4 x-systemd.makefs 0 0\n");
    EXPECT_NE(machine.fstab().find("makefs"), std::string::npos);
}

// Spec: EMC-218, EMC-219
TEST_F(LinuxFactsTest, ADeviceIsHeldUntilItIsReleasedAndItsUsersAreNamed) {
    const auto path = disk(0, "x");
    {
        std::ifstream open(path);
        const auto held = facts.hold(VolumeId("E"), path);
        ASSERT_FALSE(held);
        EXPECT_NE(held.error().text.find(std::to_string(getpid())), std::string::npos) << held.error().text;
    }
    ASSERT_TRUE(facts.hold(VolumeId("E"), path));
    ASSERT_TRUE(facts.hold(VolumeId("E"), path)) << "again";
    EXPECT_TRUE(facts.holds(VolumeId("E")));
    EXPECT_FALSE(facts.hold(VolumeId("F"), path));
    facts.release(VolumeId("E"));
    EXPECT_FALSE(facts.holds(VolumeId("E")));
    EXPECT_EQ(facts.hold(VolumeId("E"), (directory / "none").string()).error().code, Code::not_found);
}

// Spec: EMC-120, EMC-123
TEST_F(LinuxFactsTest, SnapshotsNeedADirectory) {
    EXPECT_EQ(facts.snapshot_directory(directory, {}), Status::success);
    EXPECT_EQ(facts.snapshot_directory(directory / "none", {}), Status::path_not_found);
    EXPECT_EQ(facts.snapshot_directory(disk(0, "x"), {}), Status::path_not_found);
}

// Spec: EMC-007, EMC-147
TEST_F(LinuxFactsTest, AddressesOfThisHost) {
    EXPECT_TRUE(facts.is_local("127.0.0.1"));
    EXPECT_FALSE(facts.is_local("203.0.113.7"));
    EXPECT_FALSE(facts.is_local("localhost"));
    EXPECT_EQ(facts.addresses_beside("127.0.0.9"), std::vector<std::string>{"127.0.0.1"});
    EXPECT_TRUE(facts.addresses_beside("203.0.113.7").empty());
    EXPECT_TRUE(facts.resolve("localhost"));
    EXPECT_FALSE(facts.resolve("no-such-host.invalid"));
}

}  // namespace
}  // namespace understudy::mirror::emcmd
