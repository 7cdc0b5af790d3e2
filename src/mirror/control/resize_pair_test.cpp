// Volumes whose devices grow and shrink, on two hosts and three, in the simulated world.

#include "base/test_seeds.h"
#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kBlock = 65536;
constexpr std::size_t kLarger = 24;
constexpr std::size_t kSmaller = 10;

struct ResizeTest : HostsTest {
    ResizeTest() {
        const auto made = pair.create();
        EXPECT_EQ(made.exit_code, 0) << made.err;
        EXPECT_TRUE(pair.wait_in_sync());
        for (std::size_t block = 0; block < kBlocks; ++block)
            EXPECT_TRUE(pair.write(left, block, static_cast<int>(block) + 100));
        pair.wire.blocks_sent = 0;
    }
    static void resize(Host& host, std::size_t blocks) { host.disk.size = blocks * kBlock; }
    bool waits_for_a_person(const char* event) {
        return pair.until([&] {
            return pair.peer(left).user_requested && pair.peer(left).problem.find(event) != std::string::npos;
        });
    }
    void expect_equal(std::size_t blocks) {
        EXPECT_EQ(pair.record(left).size, blocks * kBlock);
        EXPECT_EQ(pair.record(right).size, blocks * kBlock);
        EXPECT_EQ(left.disk.blocks.size(), blocks);
        EXPECT_EQ(left.disk.blocks, right.disk.blocks);
    }
};

// Spec: REP-144, REP-178, REP-304, REP-305, REP-307, REP-308, MOP-138, MOP-144, EMC-078
TEST_F(ResizeTest, AGrownSourcePausesItselfAndGoesOnWithWhatGrewWhenItsTargetFits) {
    resize(left, kLarger);
    ASSERT_TRUE(waits_for_a_person("event 289"));
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    EXPECT_EQ(pair.peer(left).cause, PauseCause::resized);
    EXPECT_EQ(pair.record(left).size, kBlocks * kBlock) << "until somebody continues";
    EXPECT_TRUE(pair.write(left, 3, 33));  // applications go on

    ok(left, {"continue", "R"});  // the target is too small
    ASSERT_TRUE(waits_for_a_person("event 225"));
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    EXPECT_EQ(pair.wire.blocks_sent, 0U);
    EXPECT_EQ(left.daemon->host->exported_bytes(), kLarger * kBlock);
    EXPECT_TRUE(pair.write(left, kLarger - 1, 7));  // the file system has grown meanwhile

    resize(right, kLarger);
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kLarger);
    EXPECT_EQ(pair.wire.blocks_sent, 1 + kLarger - kBlocks) << "what was written, and what is new";
    EXPECT_EQ(pair.peer(left).problem, "");
}

// Spec: REP-178, REP-305, MOP-147
TEST_F(ResizeTest, GrowthDuringAResyncPausesItAndShrinkingTheSourceAgainLetsItGoOn) {
    ok(left, {"pause", "R"});
    EXPECT_TRUE(pair.write(left, 3, 33));
    pair.wire.resync_takes = 60s;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.until([&] { return left.daemon->host->linked(); }));
    resize(left, kLarger);
    ASSERT_TRUE(pair.until([&] { return !pair.peer(left).problem.empty(); }));
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    EXPECT_TRUE(pair.peer(left).user_requested);
    pair.wire.resync_takes = 20ms;
    resize(left, kBlocks);
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kBlocks);
    EXPECT_EQ(pair.wire.blocks_sent, 1U);
}

// Spec: REP-179, REP-304, REP-306, MOP-137, MOP-139
TEST_F(ResizeTest, AShrunkSourceTakesItsMirrorAlongAndTheTargetMayStayLarger) {
    ok(left, {"pause", "R"});
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_TRUE(pair.write(left, kBlocks - 1, 34));
    resize(left, kSmaller);
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kSmaller);
    EXPECT_EQ(left.daemon->host->exported_bytes(), kSmaller * kBlock);
    EXPECT_EQ(pair.wire.blocks_sent, 1U);
    // Promoted, the larger device still shows the volume's size, and mirrors back.
    ok(right, {"promote", "R"});
    ASSERT_TRUE(pair.until([&] { return pair.record(left).role == Role::target && pair.wait_in_sync(); }));
    EXPECT_EQ(right.daemon->host->exported_bytes(), kSmaller * kBlock);
    EXPECT_FALSE(pair.peer(right).user_requested);
}

// Spec: REP-179, REP-305, EMC-078
TEST_F(ResizeTest, ASourceThatShrinksUnderARunningMirrorPauses) {
    resize(left, kSmaller);
    ASSERT_TRUE(waits_for_a_person("event 291"));
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kSmaller);
}

// Spec: REP-179, REP-307
TEST_F(ResizeTest, WhatWasAwayForATimeIsSentAgain) {
    resize(left, kSmaller);
    ASSERT_TRUE(waits_for_a_person("event 291"));
    for (std::size_t block = kSmaller; block < kBlocks; ++block)
        left.disk.blocks[block] = 0;
    resize(left, kBlocks);
    pair.sim.run_for(10s);
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused) << "a person has to look at it";
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kBlocks);
    EXPECT_EQ(pair.wire.blocks_sent, kBlocks - kSmaller);
}

// Spec: REP-306, MOP-139
TEST_F(ResizeTest, AMirrorThatAPersonHasPausedWaitsForThatPersonOnly) {
    ok(left, {"pause", "R"});
    resize(left, kLarger);
    resize(right, kLarger);
    pair.sim.run_for(10s);
    EXPECT_EQ(pair.peer(left).problem, "");
    EXPECT_EQ(pair.peer(left).cause, PauseCause::user);
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kLarger);
}

// Spec: REP-176, REP-307, MOP-145, MOP-146
TEST_F(ResizeTest, WithoutRoomForTheBitmapsOnTheSourceTheMirrorIsBrokenAndTheVolumeServesOn) {
    resize(left, kLarger);
    resize(right, kLarger);
    left.disk.most_log_blocks = kBlocks;
    ASSERT_TRUE(waits_for_a_person("event 289"));
    refused(left, {"continue", "R"}, "no space");
    EXPECT_EQ(pair.peer(left).state, MirrorState::broken);
    EXPECT_EQ(pair.record(left).size, kBlocks * kBlock);
    EXPECT_TRUE(pair.write(left, 3, 33));
    left.disk.most_log_blocks = kLarger;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kLarger);
    EXPECT_EQ(pair.wire.blocks_sent, kLarger);
}

// Spec: REP-176, REP-307, MOP-145
TEST_F(ResizeTest, WithoutRoomForTheBitmapsOnTheTargetTheMirrorIsBroken) {
    ok(left, {"pause", "R"});
    resize(left, kLarger);
    resize(right, kLarger);
    right.disk.most_log_blocks = kBlocks;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(waits_for_a_person("no space"));
    EXPECT_EQ(pair.peer(left).state, MirrorState::broken);
    EXPECT_TRUE(pair.write(left, kLarger - 1, 33));
    right.disk.most_log_blocks = kLarger;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kLarger);
    EXPECT_EQ(pair.wire.blocks_sent, kLarger);
}

// Spec: REP-176, EMC-076, EMC-135
TEST_F(ResizeTest, WithoutRoomForAnyBitmapsTheVolumeServesOnWithoutALogUntilContinueFindsRoom) {
    resize(left, kLarger);
    resize(right, kLarger);
    ASSERT_TRUE(waits_for_a_person("event 289"));
    left.disk.most_log_blocks = 0;
    left.events.clear();
    refused(left, {"continue", "R"}, "no space");
    EXPECT_EQ(pair.peer(left).state, MirrorState::broken);
    EXPECT_NE(pair.peer(left).problem.find("make room"), std::string::npos) << pair.peer(left).problem;
    EXPECT_FALSE(pair.peer(left).log_valid);
    EXPECT_TRUE(pair.write(left, 3, 33)) << "applications go on";
    const auto alarms = [this] {
        return std::count_if(left.events.begin(), left.events.end(),
                             [](const MirrorEvent& one) { return one.event == Event::log_failed; });
    };
    EXPECT_EQ(alarms(), 1);
    pair.sim.run_for(10min);
    EXPECT_EQ(alarms(), 1) << "said once";
    refused(left, {"continue", "R"}, "no space");
    EXPECT_TRUE(pair.write(left, 4, 44));
    // What a person can do besides making room.
    ok(left, {"break", "R"});
    left.disk.most_log_blocks = kLarger;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kLarger);
    EXPECT_EQ(pair.wire.blocks_sent, kLarger);
    EXPECT_TRUE(pair.peer(left).log_valid);
}

// Spec: REP-064, REP-176
TEST_F(ResizeTest, ACrashWithoutALogNeedsAFullResync) {
    resize(left, kLarger);
    resize(right, kLarger);
    ASSERT_TRUE(waits_for_a_person("event 289"));
    left.disk.most_log_blocks = 0;
    refused(left, {"continue", "R"}, "no space");
    ok(left, {"resync", "R"});  // without bits of its own: everything is sent
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_FALSE(pair.peer(left).log_valid) << "nothing outlives a crash";
    EXPECT_TRUE(pair.write(left, 5, 55));
    pair.power_off(left);
    left.disk.most_log_blocks = kLarger;
    resize(left, kBlocks);  // else it would wait for a person
    pair.wire.blocks_sent = 0;
    pair.start(left);
    ASSERT_TRUE(pair.until([&] { return pair.run(left, {"status", "R"}).exit_code == 0; }));
    ASSERT_TRUE(pair.wait_in_sync());
    EXPECT_GE(pair.wire.blocks_sent, kBlocks);
    EXPECT_EQ(left.disk.blocks, right.disk.blocks);
}

// Spec: REP-176
TEST_F(ResizeTest, WhileTheLossOfTheLogCannotBeRecordedWritesWaitAndGoOnByThemselvesWhenItCan) {
    resize(left, kLarger);
    resize(right, kLarger);
    ASSERT_TRUE(waits_for_a_person("event 289"));
    left.disk.most_log_blocks = 0;
    bool filled = false;
    left.disk.no_room = [&] {
        if (!std::exchange(filled, true)) left.node->set_disk_full(true);
    };
    bool acknowledged = false, waited = false;
    runtime::Tasks& tasks = left.daemon->world.tasks;
    tasks.after(20s, [&] { left.daemon->host->write(3, 33, &acknowledged); });
    tasks.after(60s, [&] {
        waited = !acknowledged;
        left.node->set_disk_full(false);
    });
    refused(left, {"continue", "R"}, "no space");
    EXPECT_TRUE(waited);
    ASSERT_TRUE(pair.until([&] { return acknowledged; }));
    EXPECT_FALSE(pair.peer(left).log_valid);
    left.disk.most_log_blocks = kLarger;
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kLarger);
    EXPECT_EQ(left.disk.blocks[3], 33);
}

// Spec: MOP-136, MOP-243
TEST_F(ResizeTest, AVolumeIsResizedWhenAnotherOfItsHostHasBeen) {
    const auto other = std::make_shared<Disk>();
    left.disk.others["S"] = other;
    expect_ok(pair.run(left, {"create", "S"}, {{"device", "/disks/s"}}));
    const auto size_of_other = [this] { return left.daemon->manager.find(VolumeId("S"))->record().size; };
    resize(left, kLarger);
    resize(right, kLarger);
    other->size = kLarger * kBlock;
    ASSERT_TRUE(waits_for_a_person("event 289"));
    // That of R does not end: there is no room for its logs, nor for saying so.
    left.disk.most_log_blocks = 0;
    bool filled = false;
    left.disk.no_room = [&] {
        if (!std::exchange(filled, true)) left.node->set_disk_full(true);
    };
    struct Asked {
        static runtime::Task<> ask(Daemon* daemon, std::vector<std::string> words,
                                   std::shared_ptr<int> code) {
            config::Command command;
            command.name = "mirror";
            command.arguments = std::move(words);
            command.uid = 0;
            const config::Reply reply = co_await daemon->commands.run(std::move(command));
            *code = reply.exit_code;
        }
    };
    const auto begin = [this](std::vector<std::string> words) {
        auto code = std::make_shared<int>(-1);
        left.daemon->tasks.spawn(Asked::ask(left.daemon, std::move(words), code));
        return code;
    };
    const auto first = begin({"continue", "R"});
    ASSERT_TRUE(pair.until([&] { return filled; }));
    refused(left, {"resize", "S"}, "another volume of this host is being resized");
    EXPECT_EQ(size_of_other(), kBlocks * kBlock);
    // Who comes shortly before the end of the first waits for it.
    const auto second = begin({"resize", "S"});
    pair.sim.run_for(5s);
    EXPECT_EQ(*first, -1);
    EXPECT_EQ(*second, -1);
    EXPECT_EQ(size_of_other(), kBlocks * kBlock);
    left.node->set_disk_full(false);
    ASSERT_TRUE(pair.until([&] { return *first >= 0 && *second >= 0; }));
    EXPECT_NE(*first, 0) << "its logs have no room";
    EXPECT_EQ(*second, 0);
    EXPECT_EQ(size_of_other(), kLarger * kBlock);
}

// Spec: REP-144, REP-308
TEST_F(ResizeTest, ATargetThatShrinksIsGivenUpAndCannotTakeOverUntilItHasEverythingAgain) {
    resize(right, kSmaller);
    ASSERT_TRUE(waits_for_a_person("event 225"));
    EXPECT_EQ(pair.peer(left).state, MirrorState::paused);
    refused(right, {"promote", "R"}, "");
    pair.power_off(left);
    pair.cluster.dead.insert("left");
    refused(right, {"promote", "R"}, "");
    pair.cluster.dead.clear();
    pair.start(left);
    resize(right, kBlocks);
    for (std::size_t block = kSmaller; block < kBlocks; ++block)
        right.disk.blocks[block] = 0;  // what was cut off is gone
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kBlocks);
}

// Spec: REP-144, REP-178, REP-179, MOP-138
TEST_F(ResizeTest, WhatHappenedWhileTheSourceWasDownIsNoticedAtItsStart) {
    pair.power_off(left);
    resize(left, kLarger);
    pair.start(left);
    ASSERT_TRUE(waits_for_a_person("event 289"));
    ASSERT_TRUE(pair.until([&] { return left.daemon->host->exported(); }));
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_EQ(left.daemon->host->exported_bytes(), kBlocks * kBlock);
    resize(right, kLarger);
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kLarger);

    pair.power_off(left);
    resize(left, kSmaller);
    pair.start(left);
    ASSERT_TRUE(waits_for_a_person("event 291"));
    ASSERT_TRUE(pair.until([&] { return left.daemon->host->exported(); }));
    EXPECT_EQ(left.daemon->host->exported_bytes(), kSmaller * kBlock);
    ok(left, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kSmaller);
}

// Spec: REP-306, EMC-264
TEST_F(ResizeTest, TheCommandTakesTheRestOfALargerTargetThatHasBecomeSource) {
    resize(right, kLarger);
    ok(right, {"promote", "R"});
    ASSERT_TRUE(pair.until([&] { return pair.record(left).role == Role::target && pair.wait_in_sync(); }));
    pair.sim.run_for(10s);
    EXPECT_EQ(pair.record(right).size, kBlocks * kBlock);
    EXPECT_FALSE(pair.peer(right).user_requested);
    ok(right, {"resize", "R"});
    EXPECT_EQ(pair.record(right).size, kLarger * kBlock);
    EXPECT_EQ(right.daemon->host->exported_bytes(), kLarger * kBlock);
    EXPECT_TRUE(pair.peer(right).user_requested);
    resize(left, kLarger);
    ok(right, {"continue", "R"});
    ASSERT_TRUE(pair.wait_in_sync());
    expect_equal(kLarger);
    const auto reply = pair.run(right, {"resize", "R"});
    EXPECT_NE(reply.out.find("as the volume has"), std::string::npos) << reply.out << reply.err;
    EXPECT_FALSE(pair.peer(right).user_requested);
}

// Spec: REP-306, MOP-139
TEST(ResizeOfThree, EveryMirrorPausesAndGoesOnByItself) {
    Pair pair(1, 3);
    const auto made = pair.create({{"target", "right,third"}, {"target-address", "10.0.0.2,10.0.0.3"}});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(pair.left, {&pair.right, &pair.third}); }));
    pair.wire.blocks_sent = 0;
    pair.left.disk.size = pair.right.disk.size = kLarger * kBlock;
    ASSERT_TRUE(pair.until([&] {
        const auto& peers = pair.record(pair.left).peers;
        return std::all_of(peers.begin(), peers.end(),
                           [](const PeerRecord& one) { return one.user_requested; });
    }));
    EXPECT_TRUE(pair.write(pair.left, 3, 33));
    EXPECT_EQ(pair.run(pair.left, {"continue", "R"}).exit_code, 0);
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(pair.left, {&pair.right}); }));
    EXPECT_TRUE(pair.write(pair.left, kLarger - 1, 34));
    EXPECT_EQ(pair.right.disk.blocks, pair.left.disk.blocks);
    ASSERT_TRUE(pair.until([&] { return pair.peer(pair.left, pair.third).user_requested; }));
    EXPECT_NE(pair.peer(pair.left, pair.third).problem.find("event 225"), std::string::npos);
    pair.third.disk.size = kLarger * kBlock;
    EXPECT_EQ(pair.run(pair.left, {"continue", "R"}, {{"target", "third"}}).exit_code, 0);
    ASSERT_TRUE(pair.until([&] { return pair.in_sync(pair.left, {&pair.right, &pair.third}); }));
    EXPECT_EQ(pair.third.disk.blocks, pair.left.disk.blocks);
    EXPECT_EQ(pair.wire.blocks_sent, 2 * (1 + kLarger - kBlocks));
}

/// Random resizes, writes, failures and operations; in between, everything is made to fit and has to come
/// into sync with nothing lost that still has a place.
class Life {
  public:
    explicit Life(unsigned seed) : random_(seed), pair_(seed) {}

    std::string live() {
        if (const auto made = pair_.create(); made.exit_code != 0) return made.err;
        if (!pair_.wait_in_sync()) return "the new mirror does not come into sync";
        written_.assign(kBlocks, 0);
        for (int round = 0; round < 12; ++round) {
            for (int i = 0; i < 6; ++i)
                if (std::string wrong = act(); !wrong.empty()) return wrong + history_;
            if (std::string wrong = settle(); !wrong.empty()) return wrong + history_;
        }
        return {};
    }

  private:
    Host& source() { return left_is_source_ ? pair_.left : pair_.right; }
    Host& target() { return left_is_source_ ? pair_.right : pair_.left; }

    std::string act() {
        switch (random_() % 9) {
            case 8: {
                Host& host = random_() % 2 == 0 ? source() : target();
                if (!ready(host)) return "a host does not start";  // for it, as for its disk, it waits
                host.disk.most_log_blocks = random_() % 3 == 0 ? 1000 : random_() % 20;
                history_ += fmt::format(" {}:room for {}", host.name, host.disk.most_log_blocks);
                return {};
            }
            case 0:
                return resize(source());
            case 1:
                return resize(target());
            case 2:
                return command(source(), "pause");
            case 3:
                return command(source(), "continue");
            case 4: {
                Host& host = random_() % 2 == 0 ? source() : target();
                history_ += fmt::format(" {}:killed", host.name);
                pair_.kill(host);
                pair_.sim.run_for(std::chrono::milliseconds(random_() % 3000));
                host.disk.most_log_blocks = 1000;  // else it waits for room
                pair_.start(host);
                return {};
            }
            case 5:
                history_ += " time";
                pair_.sim.run_for(std::chrono::milliseconds(random_() % 6000));
                return {};
            default:
                return write();
        }
    }

    std::string resize(Host& host) {
        const std::size_t blocks = 8 + random_() % 20;
        history_ += fmt::format(" {}:{}", host.name, blocks);
        host.disk.size = blocks * kBlock;
        if (&host == &source())
            known_ = std::min(known_, blocks);  // what is cut off may come back as anything
        return {};
    }

    std::string command(Host& host, const char* verb) {
        history_ += fmt::format(" {}:{}", host.name, verb);
        if (!ready(host)) return {};
        pair_.run(host, {verb, "R"});  // may be refused
        return {};
    }

    bool ready(Host& host) {
        return pair_.until([&] {
            return host.daemon != nullptr && host.daemon->manager.find(VolumeId("R")) != nullptr &&
                   (&host != &source() || host.daemon->host->exported());
        });
    }

    /// Only what has a place on the device now and later counts.
    std::string write() {
        if (!ready(source())) return "the source does not serve";
        const std::size_t blocks =
            std::min<std::uint64_t>(source().disk.size / kBlock, pair_.record(source()).size / kBlock);
        const std::size_t block = random_() % blocks;
        const int value = static_cast<int>(random_() % 1000);
        history_ += fmt::format(" write {}", block);
        if (!pair_.write(source(), block, value, 60s)) return "a write was not answered";
        written_.resize(std::max(written_.size(), block + 1), 0);
        written_[block] = value;
        return {};
    }

    std::string settle() {
        history_ += " settle\n";
        source().disk.most_log_blocks = target().disk.most_log_blocks = 1000;
        target().disk.size = std::max(target().disk.size, source().disk.size);
        if (!ready(source()) || !ready(target())) return "a host does not start";
        const auto equal = [&] {
            return pair_.in_sync() && source().disk.blocks == target().disk.blocks &&
                   pair_.record(source()).size == source().daemon->host->exported_bytes() &&
                   pair_.record(source()).size == pair_.record(target()).size &&
                   pair_.record(source()).size <= source().disk.size;
        };
        for (int attempt = 0; attempt < 3; ++attempt) {
            pair_.run(source(), {"continue", "R"});
            if (pair_.until(equal, 90s)) break;
        }
        if (!equal()) {
            std::string found = "not in sync:";
            for (Host* host : {&source(), &target()})
                found += fmt::format(" {}: device {}, record {}, blocks {}, exported {}; {}", host->name,
                                     host->disk.size / kBlock, pair_.record(*host).size / kBlock,
                                     host->disk.blocks.size(), host->daemon->host->exported_bytes() / kBlock,
                                     pair_.run(*host, {"status", "R"}).out);
            if (source().disk.blocks != target().disk.blocks) found += " content differs";
            return found;
        }
        written_.resize(source().disk.blocks.size(), source().disk.blocks.back());
        for (std::size_t block = 0; block < written_.size(); ++block) {
            if (block < known_ && written_[block] != source().disk.blocks[block])
                return fmt::format("block {} has {}, not {}", block, source().disk.blocks[block],
                                   written_[block]);
        }
        // What has come is whatever was there.
        written_ = source().disk.blocks;
        known_ = written_.size();
        if (random_() % 3 == 0) {
            history_ += " switchover";
            if (const auto reply = pair_.run(target(), {"promote", "R"}); reply.exit_code != 0)
                return reply.err;
            left_is_source_ = !left_is_source_;
            if (!pair_.until([&] { return pair_.in_sync(); })) return "not in sync after a switchover";
        }
        return {};
    }

    std::mt19937 random_;
    Pair pair_;
    bool left_is_source_ = true;
    std::vector<int> written_;
    std::size_t known_ = 0;  // blocks whose content is known
    std::string history_;
};

// Spec: REP-304, REP-307, REP-308, MOP-136
TEST(ResizeLife, RandomSizesEndInSyncWithNothingLost) {
    const auto [first, end] = test_seeds(60);
    for (std::uint64_t seed = first; seed < end; ++seed) {
        const std::string wrong = Life(seed).live();
        ASSERT_EQ(wrong, "") << "UNDERSTUDY_SEED=" << seed;
    }
}

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
