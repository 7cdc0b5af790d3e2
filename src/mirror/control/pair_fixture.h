#pragma once
// Hosts with a mirror between them; the model of the data path is in test_pair.h.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace understudy::mirror::control::testing_pair {

/// Hosts, and what a test says to them.
struct HostsTest : testing::Test {
    explicit HostsTest(std::size_t hosts = 2) : pair(1, hosts) {}
    Pair pair;
    Host& left = pair.left;
    Host& right = pair.right;
    Host& third = pair.third;

    void expect_ok(const config::Reply& reply) { EXPECT_EQ(reply.exit_code, 0) << reply.err; }
    void expect_error(const config::Reply& reply, const char* says) {
        EXPECT_NE(reply.exit_code, 0) << reply.out;
        EXPECT_NE(reply.err.find(says), std::string::npos) << reply.err;
    }
    void ok(Host& host, std::vector<std::string> words) { expect_ok(pair.run(host, std::move(words))); }
    void refused(Host& host, std::vector<std::string> words, const char* says) {
        expect_error(pair.run(host, std::move(words)), says);
    }
    /// How often a host's daemons told it.
    static std::size_t times(const Host& host, Event event, std::string_view says = {}) {
        return static_cast<std::size_t>(
            std::count_if(host.events.begin(), host.events.end(), [&](const MirrorEvent& one) {
                return one.event == event && one.text.find(says) != std::string::npos;
            }));
    }
};

struct PairTest : HostsTest {
    using HostsTest::HostsTest;
    void create(std::map<std::string, std::string> more = {}) {
        const auto made = pair.create(std::move(more));
        ASSERT_EQ(made.exit_code, 0) << made.err;
        ASSERT_TRUE(pair.wait_in_sync());
    }
    /// As after a loss of the mirror's network only: the cluster sees both nodes.
    void expect_right_refused_as_behind() {
        expect_error(pair.run(right, {"promote", "R"}), "left went on without it at ");
        expect_error(pair.run(right, {"promote", "R"}, {{"peer-dead", ""}}), "promote --force R");
    }
};

}  // namespace understudy::mirror::control::testing_pair
