// After any past, a split brain ends with a partial resync from the side that was chosen, whatever is
// restarted in between.

#include "mirror/control/test_pair.h"

#include <gtest/gtest.h>

#include <map>

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

INSTANTIATE_TEST_SUITE_P(Seeds, SplitBrains, testing::Range(1, 301));

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
