#include "mirror/emcmd/boot_mounts.h"

#include <gtest/gtest.h>

namespace understudy::mirror::emcmd {
namespace {

// Spec: REP-339
TEST(BootMounts, AMirroredVolumeIsNeitherMountedNorCheckedAtBoot) {
    const std::vector<std::string> devices{"/dev/understudy/data", "/dev/sdb1"};
    const auto problem = [&](std::string_view fstab) { return boot_mount_problem(fstab, devices); };
    EXPECT_EQ(problem(""), "");
    EXPECT_EQ(problem("/dev/sda1 / ext4 defaults 0 1\n# /dev/sdb1 /data ext4 defaults 0 2\n\n/dev/sdb1\n"),
              "");
    EXPECT_EQ(problem("/dev/understudy/data /data xfs noauto,nofail 0 0\n"), "");
    EXPECT_EQ(problem("/dev/understudy/data /data xfs nofail,noauto"), "");
    EXPECT_NE(problem("/dev/sda1 / ext4 defaults 0 1\n/dev/sdb1\t/data ext4 defaults 0 0")
                  .find("mounts /dev/sdb1 at /data"),
              std::string::npos);
    EXPECT_NE(problem("/dev/understudy/data /data xfs noautomount 0 0\n").find("noauto"), std::string::npos);
    EXPECT_NE(problem("/dev/sdb1 /data").find("mounts"), std::string::npos);
    EXPECT_NE(problem("/dev/sdb1 /data ext4 noauto 0 2\n").find("checked"), std::string::npos);
}

}  // namespace
}  // namespace understudy::mirror::emcmd
