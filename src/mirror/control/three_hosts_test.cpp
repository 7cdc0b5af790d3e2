// What three hosts do with one volume, in the simulated world: two targets, switchover and failover between
// all of them. The model of the data path is in test_pair.h.

#include "mirror/control/pair_fixture.h"

#include <gtest/gtest.h>

#include <map>

namespace understudy::mirror::control::testing_pair {
namespace {

using namespace std::chrono_literals;

struct ThreeHosts : HostsTest {
    ThreeHosts() : HostsTest(3) {}

    void create(std::map<std::string, std::string> more = {}) {
        more["target"] = "right,third";
        more["target-address"] = "10.0.0.2,10.0.0.3";
        const auto made = pair.create(std::move(more));
        ASSERT_EQ(made.exit_code, 0) << made.err;
        ASSERT_TRUE(wait(left, {&right, &third}));
    }
    bool wait(Host& source, std::vector<Host*> targets) {
        return pair.until([&] { return pair.in_sync(source, targets); });
    }
    void power_off(Host& host) {
        pair.power_off(host);
        pair.cluster.dead.insert(host.name);
    }
    void start(Host& host) {
        pair.cluster.dead.erase(host.name);
        pair.start(host);
    }
    /// How many blocks travelled since the last call.
    std::uint64_t sent() {
        const std::uint64_t before = std::exchange(sent_, pair.wire.blocks_sent);
        return pair.wire.blocks_sent - before;
    }
    std::uint64_t sent_ = 0;
};

// Spec: REP-240
TEST_F(ThreeHosts, ATargetThatHasJustBeenRemovedIsNoTargetOfWhoTakesOver) {
    create();
    expect_ok(pair.run(left, {"delete", "R"}, {{"target", "third"}}));
    expect_ok(pair.run(right, {"promote", "R"}));  // before right hears of the removal
    ASSERT_TRUE(wait(right, {&left}));
    EXPECT_EQ(pair.record(right).peer_names(), "left");
    EXPECT_EQ(pair.record(left).peer_names(), "right");
}

// Spec: MOP-016, MOP-070, MOP-071, REP-240
TEST_F(ThreeHosts, AWriteIsOnEveryTargetAndEveryPairHasItsEndpoints) {
    create();
    EXPECT_TRUE(pair.write(left, 3, 33));
    EXPECT_EQ(right.disk.blocks[3], 33);
    EXPECT_EQ(third.disk.blocks[3], 33);
    EXPECT_EQ(pair.peer(right, third).address, "10.0.0.3");
    EXPECT_EQ(pair.peer(right, third).local_address, "10.0.0.2");
    EXPECT_EQ(pair.peer(third, right).address, "10.0.0.2");
    const auto shown = pair.run(left, {"status", "R"}, {{"json", ""}});
    EXPECT_NE(shown.out.find("\"targets\""), std::string::npos);
    EXPECT_NE(shown.out.find("\"peer\": \"third\""), std::string::npos) << shown.out;
}

TEST_F(ThreeHosts, ACreationThatOneTargetRefusesLeavesNoTraceOnAny) {
    third.disk.size = 65536;
    expect_error(pair.create({{"target", "right,third"}, {"target-address", "10.0.0.2,10.0.0.3"}}),
                 "less than the source's");
    for (Host* host : pair.hosts) {
        EXPECT_TRUE(host->daemon->manager.all().empty()) << host->name;
        EXPECT_TRUE(host->node->files().list("/var/lib/understudy/mirrors").empty()) << host->name;
    }
    expect_error(pair.create({{"target", "right,right"}, {"target-address", "10.0.0.2,10.0.0.3"}}),
                 "already");
    expect_error(pair.create({{"target", "right,third"}}), "--target-address for each");
}

// Spec: MOP-016, REP-079, REP-080, REP-126, REP-138
TEST_F(ThreeHosts, ALostTargetPausesAloneAndTheOtherIsToldBeforeTheNextWrite) {
    create();
    const auto before = pair.record(left).lineage.current;
    power_off(right);
    EXPECT_TRUE(pair.write(left, 5, 55));
    EXPECT_NE(pair.record(left).lineage.current, before);
    EXPECT_EQ(pair.record(third).lineage.current, pair.record(left).lineage.current);
    EXPECT_EQ(third.disk.blocks[5], 55);
    EXPECT_EQ(pair.peer(left, right).state, MirrorState::paused);
    EXPECT_EQ(pair.peer(left, third).state, MirrorState::mirroring);
    sent();
    start(right);
    ASSERT_TRUE(wait(left, {&right, &third}));
    EXPECT_EQ(sent(), 1U);
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
    ASSERT_TRUE(pair.until([&] { return pair.cluster.notes["third"].empty(); }));
}

// Spec: MOP-016, REP-096
TEST_F(ThreeHosts, BrokenConnectionsToOneTargetAreReplacedAndNoTargetIsResynced) {
    create();
    const auto lineage = pair.record(left).lineage;
    sent();
    for (int i = 0; i < 5; ++i) {
        pair.reset(left, third);
        if (i % 2 != 0) pair.reset(left, right);
        EXPECT_TRUE(pair.write(left, 4, 50 + i, 2s));
        EXPECT_EQ(right.disk.blocks[4], 50 + i);
        EXPECT_EQ(third.disk.blocks[4], 50 + i);
        ASSERT_TRUE(wait(left, {&right, &third}));
    }
    EXPECT_EQ(sent(), 0U);
    EXPECT_EQ(pair.record(left).lineage, lineage);
    EXPECT_EQ(pair.cluster.posts, 0);
    expect_ok(pair.run(third, {"promote", "R"}));
    ASSERT_TRUE(wait(third, {&left, &right}));
    EXPECT_EQ(left.disk.blocks, third.disk.blocks);
}

// Spec: REP-096, REP-164
TEST_F(ThreeHosts, ATargetWhoseDaemonEndedWithItsConnectionsIsNotWaitedFor) {
    create();
    pair.kill(third);
    pair.reset(left, third);
    EXPECT_TRUE(pair.write(left, 4, 44, 2s)) << "a refusal ends the wait at once";
    EXPECT_EQ(right.disk.blocks[4], 44);
    pair.start(third);
    ASSERT_TRUE(wait(left, {&right, &third}));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: MOP-016, REP-079, REP-096
TEST_F(ThreeHosts, TheLossOfOneTargetWhileTheConnectionsToTheOtherAreBrokenLosesNothing) {
    for (const bool silent : {false, true}) {
        SCOPED_TRACE(silent ? "the other stays silent" : "the other can be reached");
        if (!silent) create();
        if (silent) pair.sim.partition("left", "third");
        pair.reset(left, third);
        power_off(right);
        // Whoever of the two is taken over from has every write that was acknowledged, or is known to lack
        // it.
        EXPECT_TRUE(pair.write(left, 6, silent ? 67 : 66, 20s));
        if (!silent) {
            EXPECT_EQ(third.disk.blocks[6], 66);
            ASSERT_TRUE(wait(left, {&third}));
        }
        EXPECT_EQ(pair.cluster.notes["third"].empty(), false);
        pair.sim.heal_all();
        sent();
        start(right);
        ASSERT_TRUE(wait(left, {&right, &third}));
        EXPECT_LE(sent(), 2U);
        EXPECT_EQ(third.disk.blocks, left.disk.blocks);
        EXPECT_EQ(right.disk.blocks, left.disk.blocks);
        ASSERT_TRUE(pair.until([&] { return pair.cluster.notes["third"].empty(); }));
    }
}

// Spec: REP-125
TEST_F(ThreeHosts, ParametersAndCountersAreOfEachTargetAlone) {
    create();
    expect_ok(pair.run(left, {"set", "R", "AutoResyncOnContinue=2"}, {{"target", "third"}}));
    expect_ok(pair.run(left, {"pause", "R"}));
    sent();
    expect_ok(pair.run(left, {"continue", "R"}));
    ASSERT_TRUE(wait(left, {&right, &third}));
    EXPECT_EQ(sent(), kBlocks);
    expect_ok(pair.run(left, {"pause", "R"}, {{"target", "right"}}));
    const auto shown = pair.run(left, {"status", "R"}, {{"json", ""}});
    EXPECT_NE(shown.out.find("\"repl_mirror_state\": 4.0"), std::string::npos) << shown.out;
    EXPECT_NE(shown.out.find("\"repl_mirror_state\": 1.0"), std::string::npos) << shown.out;
}

// Spec: MOP-075, MOP-076, REP-189, REP-233
TEST_F(ThreeHosts, OnlyATargetThatMirrorsTakesOverAsPlannedAndARefusalChangesNothing) {
    create();
    expect_ok(pair.run(left, {"pause", "R"}, {{"target", "third"}}));
    EXPECT_EQ(pair.peer(left, right).state, MirrorState::mirroring);
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_EQ(right.disk.blocks[1], 11);
    EXPECT_EQ(third.disk.blocks[1], 0);
    pair.sim.run_for(1s);
    const auto lineage = pair.record(left).lineage;
    expect_error(pair.run(third, {"promote", "R"}), "not mirroring");
    EXPECT_EQ(pair.record(left).lineage, lineage);
    EXPECT_TRUE(left.daemon->host->exported());
    expect_error(pair.run(left, {"pause", "R"}, {{"target", "nobody"}}), "has no mirror with nobody");
}

// Spec: MOP-079, REP-235, EMC-242
TEST_F(ThreeHosts, APlannedSwitchoverNeedsNoFullResyncOfAnyTarget) {
    create();
    EXPECT_TRUE(pair.write(left, 4, 44));
    sent();
    expect_ok(pair.run(right, {"promote", "R"}));
    ASSERT_TRUE(wait(right, {&left, &third}));
    EXPECT_EQ(sent(), 0U);
    EXPECT_TRUE(pair.write(right, 6, 66));
    EXPECT_EQ(left.disk.blocks, right.disk.blocks);
    EXPECT_EQ(third.disk.blocks, right.disk.blocks);
    expect_ok(pair.run(third, {"promote", "R"}));
    ASSERT_TRUE(wait(third, {&left, &right}));
    expect_ok(pair.run(left, {"promote", "R"}));
    ASSERT_TRUE(wait(left, {&right, &third}));
    EXPECT_EQ(sent(), 0U);
}

// Spec: MOP-079, REP-235, EMC-242
TEST_F(ThreeHosts, TheOldSourcesLogOfAPausedTargetIsCopiedToTheNewSource) {
    create();
    expect_ok(pair.run(left, {"pause", "R"}, {{"target", "third"}}));
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_TRUE(pair.write(left, 2, 12));
    expect_ok(pair.run(right, {"promote", "R"}));
    ASSERT_TRUE(wait(right, {&left}));
    EXPECT_TRUE(pair.write(right, 3, 13));
    EXPECT_TRUE(pair.peer(right, third).user_requested);  // the pause is carried over
    EXPECT_EQ(third.disk.blocks[1], 0);
    sent();
    expect_ok(pair.run(right, {"continue", "R"}));
    ASSERT_TRUE(wait(right, {&left, &third}));
    EXPECT_EQ(sent(), 3U);
    EXPECT_EQ(third.disk.blocks, right.disk.blocks);
}

// Spec: MOP-080, MOP-082, REP-236, REP-238
TEST_F(ThreeHosts, AfterALossOfTheSourceTheOtherTargetFollowsAndTheOldSourceReturnsBothPartially) {
    create();
    EXPECT_TRUE(pair.write(left, 0, 1));
    // On its way to one target when the power goes.
    pair.wire.cut_off.insert("third");
    EXPECT_FALSE(pair.write(left, 9, 99, 10ms));
    EXPECT_EQ(right.disk.blocks[9], 99);
    power_off(left);
    pair.wire.cut_off.clear();
    sent();
    expect_ok(pair.run(right, {"promote", "R"}));
    ASSERT_TRUE(wait(right, {&third}));
    EXPECT_EQ(sent(), 1U);
    EXPECT_EQ(third.disk.blocks, right.disk.blocks);
    EXPECT_TRUE(pair.write(right, 2, 22));
    EXPECT_EQ(third.disk.blocks[2], 22);
    sent();
    start(left);
    ASSERT_TRUE(wait(right, {&left, &third}));
    EXPECT_LE(sent(), 2U);
    EXPECT_EQ(left.disk.blocks, right.disk.blocks);
    EXPECT_FALSE(left.daemon->host->exported());
}

// Spec: REP-238
TEST_F(ThreeHosts, ATargetWhoseDaemonHasForgottenItsRecentWritesGetsEverything) {
    create();
    pair.kill(third);
    power_off(left);
    pair.start(third);
    pair.sim.run_for(500ms);
    sent();
    const auto promoted = pair.run(right, {"promote", "R"});
    // The lost target was noted, or not yet; either way the one in sync may go on.
    expect_ok(promoted);
    ASSERT_TRUE(wait(right, {&third}));
    EXPECT_EQ(sent(), kBlocks);
    EXPECT_EQ(third.disk.blocks, right.disk.blocks);
}

// Spec: REP-079, MOP-081
TEST_F(ThreeHosts, ATargetThatWasLeftBehindIsNotPromotedWhileTheOtherCan) {
    create();
    pair.cut_off(third);
    EXPECT_TRUE(pair.write(left, 3, 33));
    power_off(left);
    expect_error(pair.run(third, {"promote", "R"}), "out of date");
    pair.heal();
    expect_error(pair.run(third, {"promote", "R"}), "right holds newer data");
    expect_ok(pair.run(right, {"promote", "R"}));
    EXPECT_EQ(right.disk.blocks[3], 33);
    ASSERT_TRUE(wait(right, {&third}));
    EXPECT_EQ(third.disk.blocks, right.disk.blocks);
}

// Spec: REP-237
TEST_F(ThreeHosts, AnOldSourceThatMeetsOnlyAFollowerOfTheNewOneDoesNotServe) {
    create();
    power_off(left);
    expect_ok(pair.run(right, {"promote", "R"}));
    ASSERT_TRUE(wait(right, {&third}));
    EXPECT_TRUE(pair.write(right, 1, 71));
    power_off(right);
    start(left);
    ASSERT_TRUE(pair.until([&] { return pair.record(left).role == Role::target; }));
    EXPECT_FALSE(left.daemon->host->exported());
    expect_ok(pair.run(third, {"promote", "R"}));
    ASSERT_TRUE(wait(third, {&left}));
    EXPECT_EQ(left.disk.blocks[1], 71);
    start(right);
    ASSERT_TRUE(wait(third, {&left, &right}));
}

// Spec: REP-146, REP-224, MOP-092
TEST_F(ThreeHosts, ASplitBrainOfOnePairOverwritesNothingAndEndsByYieldAndContinue) {
    create();
    pair.cluster.apart = true;
    pair.cut_off(right);
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_EQ(third.disk.blocks[1], 11);
    expect_ok(pair.run(right, {"promote", "R"}, {{"force", ""}}));
    EXPECT_TRUE(pair.write(right, 2, 22));
    pair.cluster.apart = false;
    pair.heal();
    ASSERT_TRUE(
        pair.until([&] { return pair.peer(left, right).split_brain && pair.peer(right, left).split_brain; }));
    EXPECT_EQ(pair.peer(left, third).state, MirrorState::mirroring);
    EXPECT_EQ(left.disk.blocks[2], 0);
    EXPECT_EQ(right.disk.blocks[1], 0);
    expect_ok(pair.run(right, {"yield", "R"}));
    expect_ok(pair.run(left, {"continue", "R"}));
    ASSERT_TRUE(wait(left, {&right, &third}));
    EXPECT_EQ(right.disk.blocks, left.disk.blocks);
}

// Spec: MOP-069, MOP-153, MOP-155
TEST_F(ThreeHosts, AHostIsReplacedByRemovingATargetAndAddingAnother) {
    const auto made = pair.create();
    ASSERT_EQ(made.exit_code, 0) << made.err;
    ASSERT_TRUE(wait(left, {&right}));
    EXPECT_TRUE(pair.write(left, 3, 33));
    const std::map<std::string, std::string> target = {{"target", "third"},
                                                       {"target-device", "/disks/r"},
                                                       {"source-address", "10.0.0.1"},
                                                       {"target-address", "10.0.0.3"}};
    expect_error(pair.run(right, {"add", "R"}, target), "add the target on left");
    expect_ok(pair.run(left, {"add", "R"}, target));
    EXPECT_EQ(pair.peer(left, right).state, MirrorState::mirroring);
    ASSERT_TRUE(wait(left, {&right, &third}));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
    EXPECT_EQ(sent(), 2 * kBlocks);
    ASSERT_TRUE(pair.until([&] { return pair.record(right).peer("third") != nullptr; }));
    expect_error(pair.run(left, {"add", "R"}, target), "already");
    // The lost one goes, also from the records of the others.
    power_off(right);
    expect_error(pair.run(left, {"delete", "R"}, {{"target", "right"}}), "--force");
    expect_ok(pair.run(left, {"delete", "R"}, {{"target", "right"}, {"force", ""}}));
    EXPECT_TRUE(pair.write(left, 4, 44));
    ASSERT_TRUE(pair.until([&] { return pair.record(third).peer("right") == nullptr; }));
    // What comes back is no host of the volume any more.
    start(right);
    pair.sim.run_for(5s);
    EXPECT_EQ(right.disk.blocks[4], 0);
    expect_ok(pair.run(third, {"promote", "R"}));
    ASSERT_TRUE(wait(third, {&left}));
}

// Spec: EMC-095, EMC-097, EMC-099, EMC-102, EMC-105, EMC-106, REP-181
TEST_F(ThreeHosts, EndpointsOfOnePairChangeOnBothEnds) {
    create();
    const std::map<std::string, std::string> change = {
        {"target", "third"}, {"source-address", "10.0.0.1"}, {"target-address", "10.0.0.3"}};
    expect_error(pair.run(left, {"endpoints", "R"}, change), "pause it first");
    expect_ok(pair.run(left, {"pause", "R"}, {{"target", "third"}}));
    auto wrong = change;
    wrong["target-address"] = "10.0.0.2";
    expect_error(pair.run(left, {"endpoints", "R"}, wrong), "is an address of right");
    wrong["target-address"] = "::1";
    expect_error(pair.run(left, {"endpoints", "R"}, wrong), "address families");
    expect_ok(pair.run(left, {"endpoints", "R"}, change));
    EXPECT_EQ(pair.peer(third, left).address, "10.0.0.1");
    pair.sim.run_for(5s);
    EXPECT_EQ(pair.peer(left, third).state, MirrorState::paused);  // until continued
    expect_ok(pair.run(left, {"continue", "R"}));
    ASSERT_TRUE(wait(left, {&right, &third}));
    // A pair without a mirror: the addresses only.
    expect_ok(
        pair.run(right, {"endpoints", "R"},
                 {{"target", "third"}, {"source-address", "10.0.0.2"}, {"target-address", "10.0.0.3"}}));
}

// Spec: REP-163
TEST_F(ThreeHosts, DeletionEndsAllHalves) {
    create();
    expect_ok(pair.run(left, {"delete", "R"}));
    for (Host* host : pair.hosts)
        EXPECT_TRUE(host->daemon->manager.all().empty()) << host->name;
}

/// Random lives: each write that was acknowledged is on the source after every switchover and failover, and
/// in the end on every host.
struct RandomRoles : testing::TestWithParam<int> {};

// Spec: REP-235, REP-236, REP-237, REP-238, MOP-075
TEST_P(RandomRoles, NoAcknowledgedWriteIsLostAndAllHostsEndEqual) {
    Pair pair(static_cast<std::uint64_t>(GetParam()), 3);
    ASSERT_EQ(pair.create({{"target", "right,third"}, {"target-address", "10.0.0.2,10.0.0.3"}}).exit_code, 0);
    Host* source = &pair.left;
    const auto others = [&] {
        std::vector<Host*> out;
        for (Host* host : pair.hosts)
            if (host != source && host->daemon) out.push_back(host);
        return out;
    };
    const auto in_sync = [&]() -> testing::AssertionResult {
        if (pair.until([&] { return pair.in_sync(*source, others()); })) return testing::AssertionSuccess();
        auto why = testing::AssertionFailure();
        for (Host* host : pair.hosts)
            if (host->daemon) why << host->name << ": " << pair.run(*host, {"status", "R"}).out;
        return why;
    };
    ASSERT_TRUE(in_sync());
    std::map<std::size_t, int> acknowledged;
    int value = 100;
    const auto write = [&](std::size_t block) {
        if (pair.write(*source, block, ++value)) acknowledged[block] = value;
    };
    for (int step = 0; step < 12; ++step) {
        SCOPED_TRACE(testing::Message() << "step " << step << ", source " << source->name);
        const auto targets = others();
        Host* one = targets[pair.sim.random_below(targets.size())];
        write(pair.sim.random_below(kBlocks));
        switch (pair.sim.random_below(6)) {
            case 0:
                break;
            case 1:  // a target goes and comes
                pair.power_off(*one);
                pair.cluster.dead.insert(one->name);
                write(pair.sim.random_below(kBlocks));
                pair.start(*one);
                pair.cluster.dead.erase(one->name);
                if (pair.sim.random_below(2) == 0) {
                    ASSERT_TRUE(in_sync());
                }
                break;
            case 2:
                pair.kill(*one);
                pair.start(*one);
                break;
            case 3:  // planned
                ASSERT_TRUE(in_sync());
                ASSERT_EQ(pair.run(*one, {"promote", "R"}).exit_code, 0);
                source = one;
                break;
            case 4: {  // the source dies, with a write on its way to some
                ASSERT_TRUE(in_sync());
                const std::size_t last = pair.sim.random_below(kBlocks);  // may arrive or not
                if (pair.sim.random_below(2) == 0) {
                    pair.wire.cut_off.insert(targets[pair.sim.random_below(targets.size())]->name);
                    ASSERT_FALSE(pair.write(*source, last, ++value, 1ms));
                }
                Host* old = source;
                pair.power_off(*old);
                pair.cluster.dead.insert(old->name);
                pair.wire.cut_off.clear();
                const auto promoted = pair.run(*one, {"promote", "R"});
                ASSERT_EQ(promoted.exit_code, 0) << promoted.err;
                source = one;
                if (one->disk.blocks[last] == value) acknowledged[last] = value;
                if (pair.sim.random_below(2) == 0) {
                    ASSERT_TRUE(in_sync());
                }
                write(pair.sim.random_below(kBlocks));
                pair.start(*old);
                pair.cluster.dead.erase(old->name);
                break;
            }
            case 5:  // pause of one, and a planned switchover to the other
                ASSERT_TRUE(in_sync());
                ASSERT_EQ(pair.run(*source, {"pause", "R"}, {{"target", one->name}}).exit_code, 0);
                write(pair.sim.random_below(kBlocks));
                for (Host* other : targets)
                    if (other != one) {
                        const auto promoted = pair.run(*other, {"promote", "R"});
                        ASSERT_EQ(promoted.exit_code, 0) << promoted.err;
                        source = other;
                    }
                write(pair.sim.random_below(kBlocks));
                ASSERT_EQ(pair.run(*source, {"continue", "R"}).exit_code, 0);
                break;
        }
        for (const auto& [block, expected] : acknowledged)
            ASSERT_EQ(source->disk.blocks[block], expected) << "block " << block;
    }
    ASSERT_TRUE(in_sync());
    for (Host* host : pair.hosts) {
        EXPECT_EQ(host->disk.blocks, source->disk.blocks) << host->name;
        for (const PeerRecord& peer : pair.record(*host).peers)
            EXPECT_FALSE(peer.split_brain) << host->name;
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomRoles, testing::Range(1, 41));

}  // namespace
}  // namespace understudy::mirror::control::testing_pair
