#include "mirror/control/addresses.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

TEST(Addresses, NumericOnesAreToldFromNames) {
    for (const char* address :
         {"10.77.2.11", "0.0.0.0", "255.255.255.255", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"})
        EXPECT_TRUE(is_numeric_address(address)) << address;
    for (const char* name :
         {"", "right", "10.77.2", "10.77.2.256", "10.77.2.11.", "1.2.3.4.5", "10.77.2.x", "a:b:g", "10..2.1"})
        EXPECT_FALSE(is_numeric_address(name)) << name;
}

}  // namespace
}  // namespace understudy::mirror::control
