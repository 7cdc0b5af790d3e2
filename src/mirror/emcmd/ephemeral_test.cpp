// Whether a machine's instance store is prepared at each boot.

#include "mirror/emcmd/ephemeral.h"

#include <gtest/gtest.h>

#include <vector>

namespace understudy::mirror::emcmd {
namespace {

const std::vector<std::string> kDisks{"nvme1n1", "nvme2n1"};

// Spec: MOP-185
TEST(Ephemeral, OnlyAnInstanceStoreOfTheCloudIsOne) {
    EXPECT_TRUE(is_ephemeral("Amazon EC2", "Amazon EC2 NVMe Instance Storage"));
    EXPECT_FALSE(is_ephemeral("Amazon EC2", "Amazon Elastic Block Store"));
    EXPECT_FALSE(is_ephemeral("QEMU", "Amazon EC2 NVMe Instance Storage"));
    EXPECT_FALSE(is_ephemeral("", ""));
}

std::string problem(const std::vector<std::string>& disks, const std::string& fstab,
                    const std::string& cloud) {
    return ephemeral_problem({.disks = disks, .fstab = fstab, .cloud_config = cloud}, "");
}

// Spec: MOP-185, REP-072
TEST(Ephemeral, IsAProblemUntilSomethingMakesItsFileSystemAtBoot) {
    EXPECT_EQ(problem({}, "", ""), "") << "no such disk";
    const std::string said = problem(kDisks, "", "");
    EXPECT_NE(said.find("nvme1n1, nvme2n1"), std::string::npos) << said;
    EXPECT_NE(said.find("x-systemd.makefs"), std::string::npos) << said;
    EXPECT_NE(said.find("understudy-instance-store.service"), std::string::npos) << said;
    EXPECT_NE(problem(kDisks, "/dev/nvme1n1 /fast ext4 nofail 0 0\n", ""), "") << "it is blank then";
    EXPECT_NE(problem(kDisks, "/dev/sdb /fast ext4 nofail,x-systemd.makefs 0 0\n", ""), "");
    EXPECT_NE(problem(kDisks, "#/dev/nvme1n1 /fast ext4 x-systemd.makefs 0 0\n", ""), "");
    EXPECT_NE(problem(kDisks, "", " # - [ephemeral0, /fast]\n"), "");
    EXPECT_EQ(
        problem(kDisks, "/dev/sda / ext4 x 0 1\n/dev/nvme2n1 /fast ext4 nofail,x-systemd.makefs 0 0", ""),
        "");
    EXPECT_EQ(problem(kDisks,
                      "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1 /fast xfs "
                      "x-systemd.makefs,nofail 0 0\n",
                      ""),
              "");
    EXPECT_EQ(problem(kDisks, "", "mounts:\n - [ephemeral0, /fast, ext4]\n"), "");
}

// Spec: REP-072
TEST(Ephemeral, OurOwnServiceCountsWhenItIsEnabledAndNamesTheDisk) {
    InstanceStore store{.disks = kDisks, .settings = "# device directory\n/dev/nvme1n1 /fast\n"};
    EXPECT_NE(ephemeral_problem(store, "").find("systemctl enable"), std::string::npos);
    store.service_enabled = true;
    EXPECT_EQ(ephemeral_problem(store, ""), "");
    store.settings = "/dev/sdb /fast\n";
    EXPECT_NE(ephemeral_problem(store, ""), "");
}

// Spec: REP-071, REP-072
TEST(Ephemeral, TheLogsMustBeWhereItIsMountedAndItMustBeThere) {
    const std::string root = "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n";
    const std::string fast = "36 22 259:3 / /fast rw - ext4 /dev/nvme1n1 rw\n";
    InstanceStore store{.disks = kDisks,
                        .fstab = "/dev/nvme1n1 /fast ext4 nofail,x-systemd.makefs 0 0\n",
                        .mounts = root + fast};
    EXPECT_EQ(ephemeral_problem(store, ""), "");
    EXPECT_EQ(ephemeral_problem(store, "/fast"), "");
    EXPECT_EQ(ephemeral_problem(store, "/fast/logs"), "");
    store.mounts = root;
    const std::string missing = ephemeral_problem(store, "/fast/logs");
    EXPECT_NE(missing.find("not mounted on /fast"), std::string::npos) << missing;
    const std::string elsewhere = ephemeral_problem(store, "/faster/logs");
    EXPECT_NE(elsewhere.find("BitmapBaseDir=/faster/logs is not on the instance store"), std::string::npos)
        << elsewhere;
    store.mounts = root + fast + "37 22 259:4 / /var/logs rw - xfs /dev/sdb rw\n";
    EXPECT_EQ(ephemeral_problem(store, "/var/logs/understudy"), "") << "on a disk that stays";
}

}  // namespace
}  // namespace understudy::mirror::emcmd
