// What the host's own programs say of a neighbour, as "ip" prints it.

#include "recovery/host_probe.h"

#include <gtest/gtest.h>

namespace understudy::recovery {
namespace {

// Spec: CLU-072
TEST(HostProbe, OnlyAddressesOfTheHostsOwnNetworksHaveNeighbours) {
    EXPECT_EQ(device_on_link("10.77.1.11 dev eth0 src 10.77.1.12 uid 0 \\    cache \n"), "eth0");
    EXPECT_EQ(device_on_link("fe80::1 from :: dev eth1 proto kernel src fe80::2 metric 256 pref medium\n"),
              "eth1");
    EXPECT_EQ(device_on_link("10.9.0.1 via 10.77.1.1 dev eth0 src 10.77.1.12 uid 0 \\    cache \n"), "");
    EXPECT_EQ(device_on_link("local 10.77.1.12 dev lo src 10.77.1.12 uid 0 \\    cache <local> \n"), "");
    EXPECT_EQ(device_on_link("RTNETLINK answers: Network is unreachable\n"), "");
    EXPECT_EQ(device_on_link("10.77.1.11 dev"), "");
}

// Spec: CLU-072
TEST(HostProbe, ANeighbourThatAnsweredHasAnEntryWithItsHardwareAddress) {
    EXPECT_TRUE(neighbour_answered("10.77.1.11 lladdr 02:00:00:00:01:0b REACHABLE\n"));
    EXPECT_TRUE(neighbour_answered("10.77.1.11 lladdr 02:00:00:00:01:0b ref 1 used 0/0/0 probes 1 DELAY\n"));
    EXPECT_FALSE(neighbour_answered("10.77.1.11 FAILED\n"));
    EXPECT_FALSE(neighbour_answered("10.77.1.11 INCOMPLETE\n"));
    EXPECT_FALSE(neighbour_answered(""));
    EXPECT_FALSE(neighbour_answered("10.77.1.11 lladdr 02:00:00:00:01:0b PERMANENT\n"));
    EXPECT_TRUE(neighbour_is_set("10.77.1.11 lladdr 02:00:00:00:01:0b PERMANENT\n"));
    EXPECT_FALSE(neighbour_is_set("10.77.1.11 lladdr 02:00:00:00:01:0b STALE\n"));
}

}  // namespace
}  // namespace understudy::recovery
