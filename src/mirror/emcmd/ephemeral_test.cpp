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

// Spec: MOP-185
TEST(Ephemeral, IsAProblemUntilSomethingMakesItsFileSystemAtBoot) {
    EXPECT_EQ(ephemeral_problem({}, "", ""), "") << "no such disk";
    const std::string problem = ephemeral_problem(kDisks, "", "");
    EXPECT_NE(problem.find("nvme1n1, nvme2n1"), std::string::npos) << problem;
    EXPECT_NE(problem.find("x-systemd.makefs"), std::string::npos) << problem;
    EXPECT_NE(ephemeral_problem(kDisks, "/dev/nvme1n1 /fast ext4 nofail 0 0\n", ""), "")
        << "it is blank then";
    EXPECT_NE(ephemeral_problem(kDisks, "/dev/sdb /fast ext4 nofail,x-systemd.makefs 0 0\n", ""), "");
    EXPECT_NE(ephemeral_problem(kDisks, "#/dev/nvme1n1 /fast ext4 x-systemd.makefs 0 0\n", ""), "");
    EXPECT_NE(ephemeral_problem(kDisks, "", " # - [ephemeral0, /fast]\n"), "");
    EXPECT_EQ(ephemeral_problem(
                  kDisks, "/dev/sda / ext4 x 0 1\n/dev/nvme2n1 /fast ext4 nofail,x-systemd.makefs 0 0", ""),
              "");
    EXPECT_EQ(ephemeral_problem(kDisks,
                                "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1 /fast xfs "
                                "x-systemd.makefs,nofail 0 0\n",
                                ""),
              "");
    EXPECT_EQ(ephemeral_problem(kDisks, "", "mounts:\n - [ephemeral0, /fast, ext4]\n"), "");
}

}  // namespace
}  // namespace understudy::mirror::emcmd
