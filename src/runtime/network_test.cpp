#include "runtime/network.h"

#include <gtest/gtest.h>

namespace understudy::runtime {
namespace {

TEST(Endpoint, PrintsAsPeopleWriteIt) {
    EXPECT_EQ(to_string(Endpoint{"10.0.0.1", 1500}), "10.0.0.1:1500");
    EXPECT_EQ(to_string(Endpoint{"fe80::1%eth0", 1500}), "[fe80::1%eth0]:1500");
    EXPECT_EQ(to_string(Endpoint{"/run/understudy/api.sock", 0}), "/run/understudy/api.sock");
}

TEST(Endpoint, IsAUnixSocketWhenItsAddressIsAPath) {
    EXPECT_TRUE((Endpoint{"/run/x", 0}.is_unix()));
    EXPECT_FALSE((Endpoint{"::1", 1}.is_unix()));
}

}  // namespace
}  // namespace understudy::runtime
