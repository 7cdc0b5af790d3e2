#include "daemons/path_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::daemons {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kTwoInterfaces = R"([
  {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
  {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.1.1", "prefixlen": 24},
                                   {"family": "inet6", "local": "fe80::1", "prefixlen": 64}]},
  {"ifname": "eth1", "addr_info": [{"family": "inet", "local": "10.0.2.1", "prefixlen": 24}]}])";

config::Path path(const std::string& local, int priority = 1) {
    config::Path path;
    path.remote = NodeName("beta");
    path.device = fmt::format("TCP:{}", 1500 + priority);
    path.local_address = local;
    path.priority = priority;
    return path;
}

// Spec: CLU-035
TEST(PathAdvice, AnAddressOfThisSystemThatStaysIsRight) {
    const config::NodeConfig own;
    EXPECT_THAT(path_advice(kTwoInterfaces, own, path("10.0.1.1")), IsEmpty());
    EXPECT_THAT(path_advice(kTwoInterfaces, own, path("10.0.3.1")),
                ElementsAre(HasSubstr("no address of this system")));
    const auto dynamic =
        R"([{"ifname": "eth0", "addr_info": [{"local": "10.0.1.1", "prefixlen": 24, "dynamic": true}]}])";
    EXPECT_THAT(path_advice(dynamic, own, path("10.0.1.1")), ElementsAre(HasSubstr("assigned for a time")));
}

// Spec: CLU-035
TEST(PathAdvice, EachInterfaceHasASubnetOfItsOwn) {
    const config::NodeConfig own;
    const auto both = [&](const std::string& first, const std::string& second, int prefix) {
        return path_advice(
            fmt::format(R"([{{"ifname": "eth0", "addr_info": [{{"local": "{}", "prefixlen": {}}}]}},
                                           {{"ifname": "eth1", "addr_info": [{{"local": "{}", "prefixlen": {}}}]}}])",
                        first, prefix, second, prefix),
            own, path(first));
    };
    EXPECT_THAT(both("10.0.1.1", "10.0.1.2", 24),
                ElementsAre(HasSubstr("eth0 and eth1 are in the same subnet")));
    EXPECT_THAT(both("10.0.1.1", "10.0.1.130", 25), IsEmpty());
    EXPECT_THAT(both("fd00::1", "fd00::2", 64), ElementsAre(HasSubstr("the same subnet")));
    EXPECT_THAT(both("fd00:0:0:1::1", "fd00::2", 64), IsEmpty());
}

// Spec: CLU-036
TEST(PathAdvice, NoAddressMovesWhereThePathOfTheHighestPriorityIs) {
    config::NodeConfig own;
    config::Instance address;
    address.app = AppName("comm");
    address.type = TypeName("ip");
    address.tag = Tag("10.0.1.100");
    address.info = "device=eth0 prefix=24";
    own.instances[address.tag] = address;
    EXPECT_THAT(path_advice(kTwoInterfaces, own, path("10.0.1.1")),
                ElementsAre(HasSubstr("10.0.1.100 moves on eth0 too")));
    EXPECT_THAT(path_advice(kTwoInterfaces, own, path("10.0.2.1")), IsEmpty());
    own.paths.push_back(path("10.0.2.1", 1));
    EXPECT_THAT(path_advice(kTwoInterfaces, own, path("10.0.1.1", 2)), IsEmpty()) << "the second network";
}

TEST(PathAdvice, WhatIsNotUnderstoodIsNotJudged) {
    const config::NodeConfig own;
    for (const auto* text :
         {"", "[", "{}", "[1, {\"addr_info\": []}]", R"([{"ifname": "x", "addr_info": [{"local": "y"}]}])"})
        EXPECT_THAT(path_advice(text, own, path("10.0.1.1")), IsEmpty()) << text;
}

}  // namespace
}  // namespace understudy::daemons
