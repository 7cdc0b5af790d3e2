// After any past, a split brain ends with a partial resync from the side that was chosen, whatever is
// restarted in between.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct SplitBrains : testing::TestWithParam<int> {
    Pair pair{static_cast<std::uint64_t>(GetParam())};
    Host* source = &pair.left;
    Host* target = &pair.right;
    std::string past;  // what was done, for a failure's text
    int value = 100;

    /// All writes go to few blocks, so that a full resync stands out.
    static constexpr std::size_t kWritten = 4;

    std::size_t below(std::size_t limit) { return pair.sim.random_below(limit); }
    void did(const char* what, const Host& host) { past += std::string(what) + " " + host.name + "; "; }
    void expect_ok(const config::Reply& reply) { ASSERT_EQ(reply.exit_code, 0) << reply.err << past; }
    void write(Host& host) { (void)pair.write(host, below(kWritten), ++value); }
    bool in_sync() {
        return pair.until([this] { return pair.in_sync(*source, {target}); });
    }
    std::string status() {
        std::string out = past + "\n";
        for (Host* host : pair.hosts)
            if (host->daemon) out += host->name + ": " + pair.run(*host, {"status", "R"}).out;
        return out;
    }
    void restart(Host& host) {
        switch (below(3)) {
            case 0:
                did("stop", host);
                pair.stop(host);
                pair.kill(host);
                break;
            case 1:
                did("kill", host);
                pair.kill(host);
                break;
            case 2:
                did("power off", host);
                pair.power_off(host);
                break;
        }
        pair.start(host);
        // Its log is open, its role checked as far as it can be.
        pair.until([&] { return pair.run(host, {"status", "R"}).out.find("R") != std::string::npos; });
        pair.sim.run_for(1s);
    }
    void promote(Host& host, std::map<std::string, std::string> options = {}) {
        did(options.empty() ? "promote" : "promote by force", host);
        expect_ok(pair.run(host, {"promote", "R"}, std::move(options)));
    }
    void live() {
        for (std::size_t step = below(4); step > 0; --step) {
            ASSERT_TRUE(in_sync()) << status();
            write(*source);
            switch (below(4)) {
                case 0:
                    restart(*target);
                    write(*source);
                    break;
                case 1:
                    promote(*target);
                    std::swap(source, target);
                    break;
                case 2:
                    expect_ok(pair.run(*source, {"pause", "R"}));
                    did("pause", *source);
                    write(*source);
                    expect_ok(pair.run(*source, {"continue", "R"}));
                    break;
                case 3:
                    pair.cut();
                    did("cut", *source);
                    write(*source);
                    pair.heal();
                    break;
            }
        }
        ASSERT_TRUE(in_sync()) << status();
    }
    /// Both write while they do not see each other.
    void split() {
        pair.cluster.apart = true;
        if (below(2) == 0) {
            pair.cut();
            did("cut", *source);
            if (below(2) == 0) write(*source);
            promote(*target, {{"force", ""}});
            write(*target);
            write(*source);
            if (below(3) == 0) restart(*source);
            if (below(3) == 0) restart(*target);
        } else {
            did("lose", *source);
            pair.power_off(*source);
            pair.cluster.dead.insert(source->name);
            promote(*target, {{"force", ""}});
            write(*target);
            did("lose", *target);
            if (below(2) == 0) pair.stop(*target);
            pair.power_off(*target);
            pair.cluster.dead = {target->name};
            pair.start(*source);
            pair.sim.run_for(2s);
            promote(*source, {{"force", ""}});
            write(*source);
            if (below(3) == 0) restart(*source);
            pair.cluster.dead.clear();
            pair.start(*target);
        }
        pair.cluster.apart = false;
        pair.heal();
    }
};

// Spec: EMC-225, EMC-291, MOP-095, REP-228
TEST_P(SplitBrains, TheLoserGetsWhatDiffersAndNoMore) {
    expect_ok(pair.create());
    ASSERT_TRUE(in_sync());
    live();
    if (HasFatalFailure()) return;
    split();
    if (HasFatalFailure()) return;
    ASSERT_TRUE(pair.until([this] {
        return pair.peer(*source).split_brain && pair.peer(*target).split_brain;
    })) << status();
    if (below(2) == 0) std::swap(source, target);  // source: whose data is kept
    if (below(3) == 0) restart(*target);
    if (below(3) == 0) restart(*source);
    const std::vector<int> kept = source->disk.blocks;
    did("yield", *target);
    expect_ok(pair.run(*target, {"yield", "R"}));
    EXPECT_EQ(pair.record(*target).role, Role::target);
    if (below(3) == 0) restart(*target);
    if (below(3) == 0) restart(*source);
    const std::uint64_t before = pair.wire.blocks_sent;
    did("continue", *source);
    expect_ok(pair.run(*source, {"continue", "R"}));
    ASSERT_TRUE(in_sync()) << status();
    EXPECT_EQ(target->disk.blocks, kept) << past;
    EXPECT_EQ(source->disk.blocks, kept) << past;
    EXPECT_LE(pair.wire.blocks_sent - before, kWritten) << past;
}

/// "since_s" of the side, as the view on `host` has it.
std::int64_t since(Pair& pair, Host& host, const std::string& side) {
    const auto shown = pair.run(host, {"split-brain", "R"}, {{"json", ""}});
    const auto json = nlohmann::json::parse(shown.out, nullptr, false);
    EXPECT_TRUE(json.is_object()) << shown.err;
    if (!json.is_object()) return -1;
    for (const auto& one : json["sides"])
        if (one["node"] == side) return one["since_s"].get<std::int64_t>();
    return -1;
}

// Spec: MOP-096
TEST(SplitView, TheTimeIsOfTheOldestChangeAndOutlivesARestartAndAResyncThatDidNotEnd) {
    Pair pair;
    ASSERT_EQ(pair.create().exit_code, 0);
    ASSERT_TRUE(pair.wait_in_sync());
    const auto now = [&pair] {
        return std::chrono::duration_cast<std::chrono::seconds>(
                   pair.left.daemon->world.clock.wall().time_since_epoch())
            .count();
    };
    pair.sim.run_for(100s);
    const std::int64_t began = now();
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.write(pair.left, 3, 33));
    pair.sim.run_for(100s);
    pair.wire.resync_takes = 60s;
    ASSERT_EQ(pair.run(pair.left, {"continue", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.until([&] { return pair.left.daemon->host->linked(); }));
    pair.sim.run_for(5s);
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}).exit_code, 0);
    EXPECT_NEAR(since(pair, pair.left, "left"), began, 2) << "block 3 has not arrived yet";
    pair.kill(pair.left);
    pair.start(pair.left);
    ASSERT_TRUE(pair.until([&] { return pair.left.daemon->host && pair.left.daemon->host->exported(); }));
    EXPECT_NEAR(since(pair, pair.left, "left"), began, 2);
    EXPECT_NEAR(since(pair, pair.right, "left"), began, 2) << "asked from there";
    EXPECT_EQ(since(pair, pair.left, "right"), 0);

    pair.wire.resync_takes = 20ms;
    ASSERT_EQ(pair.run(pair.left, {"continue", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_EQ(since(pair, pair.left, "left"), 0) << "nothing differs";
    const std::int64_t again = now();
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}).exit_code, 0);
    EXPECT_NEAR(since(pair, pair.left, "left"), again, 2);
}

// Spec: MOP-096
TEST(SplitView, OfSeveralTargetsEachHasItsOwnTime) {
    Pair pair(1, 3);
    ASSERT_EQ(pair.create({{"target", "right,third"}, {"target-address", "10.0.0.2,10.0.0.3"}}).exit_code, 0);
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(pair.left, {&pair.right, &pair.third}); }));
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}, {{"target", "right"}}).exit_code, 0);
    const std::int64_t first = pair.peer(pair.left, pair.right).alone_since_s;
    EXPECT_GT(first, 0);
    EXPECT_EQ(pair.peer(pair.left, pair.third).alone_since_s, 0);
    pair.sim.run_for(100s);
    ASSERT_EQ(pair.run(pair.left, {"pause", "R"}, {{"target", "third"}}).exit_code, 0);
    EXPECT_EQ(pair.peer(pair.left, pair.right).alone_since_s, first);
    EXPECT_GE(pair.peer(pair.left, pair.third).alone_since_s, first + 100);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SplitBrains, testing::Range(1, 301));

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
