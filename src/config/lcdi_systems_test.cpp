// Systems, communication paths and flags: output, order and exit codes to the letter.

#include "config/lcdi.h"
#include "config/test_support.h"

#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using testing::equivalency;
using testing::instance;
using testing::Shell;

class Systems : public ::testing::Test {
  protected:
    Shell shell;
    Reply expect(const std::string& line, int code, const std::string& out = "") {
        const auto before = shell.database->own();
        auto reply = shell(line);
        EXPECT_EQ(reply.exit_code, code) << line << ": " << reply.err;
        EXPECT_EQ(reply.out, out) << line;
        if (code != 0) {
            EXPECT_EQ(shell.database->own(), before) << line;
            EXPECT_EQ(reply.err.empty(), line.starts_with("flg_test")) << line;
        }
        return reply;
    }
};

// Spec: CMD-092, CMD-095
TEST_F(Systems, AreListedWithThisOne) {
    expect("sys_list", 0, "nodeA\n");
    expect("sys_create -s nodeB", 0);
    expect("sys_list", 0, "nodeA\nnodeB\n");
    expect("sys_create -s nodeB", 4);
    expect("sys_create -s nodeA", 4);
    expect("sys_create -s a/b", 5);
    expect("sys_create", 2);
}

// Spec: CMD-094, CMD-093, CLU-100
TEST_F(Systems, StateAndItsReasonComeFromTheLiveView) {
    expect("sys_create -s nodeB", 0);
    expect("sys_getst -s nodeA", 0, "ALIVE\n");
    expect("sys_getst -s nodeB", 0, "UNKNOWN\n");
    shell.live.node_state = [](const NodeName& node) {
        return node == NodeName("nodeB") ? "DEAD" : "UNKNOWN";
    };
    expect("sys_getst -s nodeB", 0, "DEAD\n");
    expect("sys_getst -s nodeA", 0, "ALIVE\n");
    expect("sys_getst -s nodeX", 7);
    expect("sys_getst", 2);
    expect("sys_getds -s nodeB", 0, "no communication path is defined\n");
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 1", 0);
    expect("net_create -s nodeB -D TCP:1510 -n TLI -r 10.1.0.2 -l 10.1.0.1 -p 2", 0);
    shell.live.path_state = [](const std::string& device) {
        return std::pair(std::string(device == "TCP:1500" ? "ALIVE" : "DEAD"), 1);
    };
    expect("sys_getds -s nodeB", 0, "1 of 2 communication paths ALIVE\n");
    shell.live.node_reason = [](const NodeName& node) { return node.str() + " is silent"; };
    expect("sys_getds -s nodeB", 0, "1 of 2 communication paths ALIVE; nodeB is silent\n");
    expect("sys_getds -s nodeA", 0, "this is the local system\n");
    expect("sys_getds -s nodeX", 7);
}

// Acceptance scenario 30. Spec: CMD-096, CMD-097
TEST_F(Systems, ARemovedSystemHasNoEquivalenciesAndLosesItsPaths) {
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 1", 0);
    expect("net_create -s nodeC -D TCP:1510 -n TLI -r 10.0.0.3 -l 10.0.0.1 -p 1", 0);
    const auto refused = expect("sys_remove -s nodeA", 5);
    EXPECT_EQ(refused.message_number, 424);
    expect("sys_remove -s nodeX", 7);
    shell.database->commit({PutInstance{instance("t")}, PutEquivalency{equivalency("t", "nodeB", 1, 10)}});
    expect("sys_remove -s nodeB", 8);
    shell.database->commit({DropEquivalency{Tag("t"), NodeName("nodeB"), Tag("t")}});
    const auto removed = expect("sys_remove -s nodeB", 0);
    EXPECT_NE(removed.err.find("TCP:1500"), std::string::npos);
    expect("sys_list", 0, "nodeA\nnodeC\n");
    ASSERT_EQ(shell.database->own().paths.size(), 1U);
    EXPECT_EQ(shell.database->own().paths[0].device, "TCP:1510");
}

// Spec: CLU-055, CMD-134
TEST_F(Systems, PathsAreListedWithNineteenFields) {
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r 172.31.27.23 -l 172.31.58.101 -p 1", 0);
    expect("net_create -s nodeC -D TCP:1510 -n TLI -r 172.31.39.191 -l 172.31.58.101 -p 2 -h 15 -c 99", 0);
    shell.live.path_state = [](const std::string& device) {
        return device == "TCP:1500" ? std::pair<std::string, int>("ALIVE", 0)
                                    : std::pair<std::string, int>("DEAD", 1);
    };
    expect("net_list -f|", 0,
           "nodeB|TCP:1500|TLI|0|0|0|ALIVE|1|6|5|0|0|0|0|0|0|0|172.31.27.23|172.31.58.101\n"
           "nodeC|TCP:1510|TLI|0|0|0|DEAD|2|15|99|1|0|0|0|0|0|0|172.31.39.191|172.31.58.101\n");
    const auto out = shell("net_list").out;
    EXPECT_EQ(std::count(out.begin(), out.end(), '\x01'), 2 * 18);
}

// Spec: CLU-272, MOP-156
TEST_F(Systems, WhatALostSystemSharesGoesWithItAndWithNoOther) {
    shell.add_hierarchy();
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 1", 0);
    expect("sys_create -s nodeC", 0);
    shell.database->commit({PutEquivalency{testing::equivalency("Vol.E", "nodeB", 1, 10)},
                            PutEquivalency{testing::equivalency("ip.0", "nodeB", 1, 10)},
                            PutEquivalency{testing::equivalency("Vol.E", "nodeC", 1, 20)}});
    expect("delallsys -f nodeB", 0,
           "Removing equivalency Vol.E -> Vol.E on nodeB...\n"
           "Removing equivalency ip.0 -> ip.0 on nodeB...\n"
           "Removing network comm path(s) 10.0.0.1 -> 10.0.0.2...\n");
    const auto& own = shell.database->own();
    EXPECT_EQ(own.equivalencies.size(), 1U);
    EXPECT_EQ(own.equivalencies.front().other_node, NodeName("nodeC"));
    EXPECT_EQ(own.instances.size(), 4U) << "what runs here stays";
    EXPECT_TRUE(own.paths.empty());
}

// Spec: CMD-135, CMD-097
TEST_F(Systems, ALostSystemGoesWithItsPathsAndEquivalencies) {
    expect("lcduname", 0, "nodeA\n");
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 1", 0);
    expect("net_create -s nodeC -D TCP:1510 -n TLI -r 10.0.0.3 -l 10.0.0.1 -p 1", 0);
    expect("delallsys -f nodeB", 0, "Removing network comm path(s) 10.0.0.1 -> 10.0.0.2...\n");
    expect("sys_list", 0, "nodeA\nnodeC\n");
    expect("delallsys -f nodeB", 7);
    expect("delallsys -f nodeA", 5);
    expect("delallsys", 2);
}

// Spec: CLU-056, CLU-057, CLU-100
TEST_F(Systems, TheFirstPathMakesASystemKnownAndRemovalKeepsIt) {
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 1", 0);
    expect("sys_list", 0, "nodeA\nnodeB\n");
    expect("net_remove -D TCP:1501", 7);
    expect("net_remove", 2);
    expect("net_remove -D TCP:1500", 0);
    expect("net_list", 0, "");
    expect("sys_list", 0, "nodeA\nnodeB\n");
}

// Spec: CLU-059, CLU-048, CLU-066, CLU-034, CLU-013, AS-01
TEST_F(Systems, APathWithAWrongValueIsRefused) {
    using Options = std::map<std::string, std::string>;
    const Options good{{"s", "nodeB"},    {"D", "TCP:1500"}, {"n", "TLI"}, {"r", "10.0.0.2"},
                       {"l", "10.0.0.1"}, {"p", "1"},        {"h", "6"},   {"c", "5"}};
    const auto run = [&](const std::string& key, const std::string& value) {
        auto options = good;
        if (value == "(absent)")
            options.erase(key);
        else
            options[key] = value;
        const auto before = shell.database->own();
        const auto reply = *run_lcdi(*shell.database, shell.live, Command{"net_create", options, {}, 0, 0});
        if (reply.exit_code != 0) {
            EXPECT_EQ(shell.database->own(), before);
            EXPECT_NE(reply.err, "");
        } else {
            shell("net_remove -D " + options["D"]);
        }
        return reply.exit_code;
    };
    struct Case {
        std::string key;
        std::string value;
        int code;
    };
    const std::vector<Case> cases{{"p", "1", 0},
                                  {"p", "99", 0},
                                  {"p", "0", 5},
                                  {"p", "100", 5},
                                  {"p", "x", 5},
                                  {"h", "4", 0},
                                  {"h", "15", 0},
                                  {"h", "15s", 0},
                                  {"h", "4000ms", 0},
                                  {"h", "3", 5},
                                  {"h", "16", 5},
                                  {"h", "200ms", 5},
                                  {"h", "", 5},
                                  {"h", "-6", 5},
                                  {"h", "6m", 5},
                                  {"h", "99999999999999999999", 5},
                                  {"c", "3", 0},
                                  {"c", "99", 0},
                                  {"c", "2", 5},
                                  {"c", "100", 5},
                                  {"D", "TCP:1500", 0},
                                  {"D", "TCP:9998", 0},
                                  {"D", "TCP:1499", 5},
                                  {"D", "TCP:10001", 5},
                                  {"D", "TCP:3278", 5},
                                  {"D", "TCP:3279", 5},
                                  {"D", "TCP:9999", 5},
                                  {"D", "TCP:10000", 5},
                                  {"D", "TCP:", 5},
                                  {"D", "TCP:x", 5},
                                  {"D", "1500", 5},
                                  {"D", "TTY:1", 5},
                                  {"D", "DISK:/dev/x", 5},  // needs -n DISK
                                  {"n", "DISK", 5},
                                  {"n", "tli", 5},
                                  {"n", "", 5},
                                  {"r", "169.254.1.1", 5},
                                  {"l", "169.254.1.1", 5},
                                  {"r", "fe80::1", 5},
                                  {"r", "fd00::1", 5},  // not of the other's family
                                  {"r", "host", 5},
                                  {"r", "", 5},
                                  {"r", "10.0.0.1", 5},
                                  {"l", "0.0.0.0", 5},
                                  {"r", "224.0.0.1", 5},
                                  {"s", "nodeA", 5},
                                  {"s", "", 5},
                                  {"s", "a b", 5},
                                  {"s", "(absent)", 2},
                                  {"D", "(absent)", 2},
                                  {"n", "(absent)", 2},
                                  {"r", "(absent)", 2},
                                  {"l", "(absent)", 2},
                                  {"p", "(absent)", 2},
                                  {"h", "(absent)", 0},
                                  {"c", "(absent)", 0}};
    for (const auto& each : cases)
        EXPECT_EQ(run(each.key, each.value), each.code) << "-" << each.key << " " << each.value;

    shell.live.allow_fast_heartbeats = true;
    EXPECT_EQ(run("h", "100ms"), 0);
    EXPECT_EQ(run("h", "1"), 0);
    EXPECT_EQ(run("h", "99ms"), 5);
    EXPECT_EQ(run("h", "15001ms"), 5);
}

TEST_F(Systems, APortServesOnePath) {
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 1", 0);
    expect("net_create -s nodeC -D TCP:1500 -n TLI -r 10.0.0.3 -l 10.0.0.1 -p 1", 4);
    expect("net_create -s nodeC -D TCP:01500 -n TLI -r 10.0.0.3 -l 10.0.0.1 -p 1", 4);
}

TEST_F(Systems, AFastHeartbeatIsListedAsAFractionOfASecond) {
    shell.live.allow_fast_heartbeats = true;
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r fd00::2 -l fd00::1 -p 1 -h 200ms -c 3", 0);
    expect("net_list -f|", 0, "nodeB|TCP:1500|TLI|0|0|0|DEAD|1|0.2|3|0|0|0|0|0|0|0|fd00::2|fd00::1\n");
    EXPECT_EQ(shell.database->own().paths[0].interval_ms, 200);
}

// Spec: CLU-046, CLU-053
TEST_F(Systems, ADiskPathIsTheOnlyOneBetweenTwoSystems) {
    expect("net_create -s nodeB -D DISK:/dev/disk/by-id/x -n DISK -p 61", 0);
    expect("net_create -s nodeB -D DISK:/dev/disk/by-id/y -n DISK -p 62", 5);
    expect("net_create -s nodeB -D DISK:/dev/disk/by-id/x -n DISK -p 61", 4);
    expect("net_create -s nodeB -D DISK: -n DISK -p 61", 5);
    expect("net_create -s nodeB -D DISK:/dev/z -n DISK -p 61 -r 10.0.0.2", 2);
    expect("net_create -s nodeC -D DISK:/dev/z -n DISK -p 61", 5);  // three systems
}

// Spec: CLU-046, CLU-053
TEST_F(Systems, NoThirdSystemComesWhileThereIsADiskPath) {
    expect("net_create -s nodeB -D DISK:/dev/disk/by-id/x -n DISK -p 61", 0);
    const auto refused = expect("net_create -s nodeC -D TCP:1500 -n TLI -r 10.0.0.3 -l 10.0.0.1 -p 1", 5);
    EXPECT_NE(refused.err.find("DISK:/dev/disk/by-id/x to nodeB"), std::string::npos) << refused.err;
    expect("sys_create -s nodeC", 5);
    expect("net_create -s nodeB -D TCP:1500 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 1", 0);
    expect("net_remove -D DISK:/dev/disk/by-id/x", 0);
    expect("net_create -s nodeC -D TCP:1510 -n TLI -r 10.0.0.3 -l 10.0.0.1 -p 1", 0);
}

// Spec: CLU-049
TEST_F(Systems, ASecondPathOverTheSameNetworkIsWarnedOf) {
    EXPECT_EQ(expect("net_create -s nodeB -D TCP:1500 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 1", 0).err, "");
    const auto same = expect("net_create -s nodeB -D TCP:1510 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 2", 0);
    EXPECT_NE(same.err.find("TCP:1510 uses the same addresses as TCP:1500"), std::string::npos) << same.err;
    EXPECT_EQ(expect("net_create -s nodeB -D TCP:1520 -n TLI -r 10.1.0.2 -l 10.1.0.1 -p 2", 0).err, "");
}

// Spec: CLU-047, CLU-059
TEST_F(Systems, ThereAreTwoKindsOfPathsAndNoSerialOne) {
    expect("net_create -s nodeB -D TTY:/dev/ttyS0 -n TTY -p 31", 5);
    expect("net_create -s nodeB -D TTY:/dev/ttyS0 -n TLI -r 10.0.0.2 -l 10.0.0.1 -p 31", 5);
    expect("net_list", 0, "");
}

// Spec: CMD-098, CMD-099
TEST_F(Systems, FlagsAreCreatedTestedListedAndRemoved) {
    expect("flg_list", 0, "");
    expect("flg_test -f F1", 7);
    EXPECT_EQ(expect("flg_create -f F1", 0).err, "");
    expect("flg_test -f F1", 0);
    expect("flg_create -f F1", 4);
    EXPECT_NE(expect("flg_create -f !nofailover!nodeB", 0).err, "");
    expect("flg_list", 0, "!nofailover!nodeB\nF1\n");
    expect("flg_remove -f F1", 0);
    expect("flg_remove -f F1", 7);
    expect("flg_test -f F1", 7);
    expect("flg_list", 0, "!nofailover!nodeB\n");
}

TEST_F(Systems, AFlagsNameHasOneTo256BytesOfOneField) {
    const auto code = [&](const std::string& command, const std::string& flag) {
        return run_lcdi(*shell.database, shell.live, Command{command, {{"f", flag}}, {}, 0, 0})->exit_code;
    };
    EXPECT_EQ(code("flg_create", ""), 5);
    EXPECT_EQ(code("flg_create",
                   "a\x01"
                   "b"),
              5);
    EXPECT_EQ(code("flg_create", "a\nb"), 5);
    EXPECT_EQ(code("flg_create", std::string(257, 'a')), 5);
    EXPECT_EQ(code("flg_create", std::string(256, 'a')), 0);
    EXPECT_EQ(code("flg_create", "with blank"), 0);
    EXPECT_EQ(code("flg_remove", ""), 5);
    EXPECT_EQ(code("flg_test", ""), 7);  // 0 or 7 only
    EXPECT_EQ(code("flg_test", std::string(300, 'a')), 7);
}

}  // namespace
}  // namespace understudy::config
