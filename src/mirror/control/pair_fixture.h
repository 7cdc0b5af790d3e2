#pragma once
// Two hosts with one mirror; the model of the data path is in test_pair.h.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control::testing_pair {

struct PairTest : testing::Test {
    Pair pair;
    Host& left = pair.left;
    Host& right = pair.right;

    void create(std::map<std::string, std::string> more = {}) {
        const auto made = pair.create(std::move(more));
        ASSERT_EQ(made.exit_code, 0) << made.err;
        ASSERT_TRUE(pair.wait_in_sync());
    }
    void expect_ok(const config::Reply& reply) { EXPECT_EQ(reply.exit_code, 0) << reply.err; }
    void expect_error(const config::Reply& reply, const char* says) {
        EXPECT_NE(reply.exit_code, 0) << reply.out;
        EXPECT_NE(reply.err.find(says), std::string::npos) << reply.err;
    }
    /// As after a loss of the mirror's network only: the cluster sees both nodes.
    void expect_right_refused_as_behind() {
        expect_error(pair.run(right, {"promote", "R"}), "left went on without it at ");
        expect_error(pair.run(right, {"promote", "R"}, {{"peer-dead", ""}}), "promote --force R");
    }
};

}  // namespace understudy::mirror::control::testing_pair
