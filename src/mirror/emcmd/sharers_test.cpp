// Hosts that share a disk, added and dropped while it is mirrored.

#include "mirror/emcmd/shared_lab.h"

namespace understudy::mirror::emcmd::testing_lab {
namespace {

/// fourth and sixth could have left's disk, and fifth third's.
struct Sharers : SharedMirror {
    Sharers()
        : SharedMirror(1, 6,
                       {{"right", "left"}, {"fourth", "left"}, {"sixth", "third"}, {"fifth", "third"}}) {}

    config::Reply change(Host& host, std::map<std::string, std::string> options) {
        return own(host, "understudy volume share", {"R"}, std::move(options));
    }
    void connect(Host& host) {
        const auto done = change(host, {{"area", "/dev/area"}});
        EXPECT_EQ(done.exit_code, 0) << done.err;
    }
    std::string job(Host& host) { return own(host, "emcmd", {".", "GETJOBINFOFORVOL", "R"}).out; }
};

// Spec: MOP-161, MOP-162, MOP-165
TEST_F(Sharers, AHostMoreSharesTheSourcesDiskAndGoesOnWithTheMirror) {
    mirror();
    EXPECT_EQ(change(fourth, {{"area", "/dev/area"}}).exit_code, 7) << "it is not named in the area";
    auto done = change(right, {{"add", "fourth"}});
    EXPECT_THAT(done.err, HasSubstr("not open here"));
    done = change(left, {{"add", "fourth"}, {"address", "10.0.0.4"}});
    ASSERT_EQ(done.exit_code, 0) << done.err;
    EXPECT_EQ(change(left, {{"add", "fourth"}, {"address", "10.0.0.4"}}).exit_code, 0)
        << "nothing more to do";
    connect(fourth);
    EXPECT_EQ(record(left).main().pairs.size(), 3U);
    EXPECT_EQ(record(third).main().hosts(), (std::vector<std::string>{"left", "right", "fourth"}));
    for (Host* host : {&left, &third, &fourth}) {
        EXPECT_THAT(job(*host), HasSubstr("fourth;R;10.0.0.4;third;R;10.0.0.3;S")) << host->name;
        EXPECT_THAT(job(*host), HasSubstr("left;R;0.0.0.0;fourth;R;0.0.0.0;D"));
    }
    EXPECT_TRUE(in_sync(left));
    EXPECT_TRUE(pair.write(left, 1, 11));
    power_off(left);
    ok(fourth, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(in_sync(fourth));
    EXPECT_TRUE(pair.write(fourth, 2, 22));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
    EXPECT_LE(sent(), 1U);
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
}

// Spec: MOP-161, MOP-162
TEST_F(Sharers, AHostMoreSharesTheTargetsDiskAndBecomesTheTarget) {
    share(left, right);
    share(third, sixth);
    make_job({{&left, &right}, {&third, &sixth}});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(follows(left, third));
    const auto done = change(third, {{"add", "fifth"}, {"address", "10.0.0.5"}});
    ASSERT_EQ(done.exit_code, 0) << done.err;
    connect(fifth);
    EXPECT_EQ(record(left).main().pairs.size(), 6U);
    EXPECT_EQ(record(third).main().pairs.size(), 6U);
    EXPECT_TRUE(follows(left, third));
    sent();
    ok(third, {".", "LOCKVOLUME", "R"});
    EXPECT_EQ(status(fifth, {".", "UNLOCKVOLUME", "R"}), 1) << error;
    ASSERT_TRUE(follows(left, fifth));
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(follows(right, fifth));
    EXPECT_TRUE(pair.write(right, 4, 44));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
    EXPECT_LE(sent(), 1U);
}

// Spec: MOP-161, MOP-163
TEST_F(Sharers, AHostThatCannotBeReachedOrHasNoAddressThereIsNotAdded) {
    mirror();
    power_off(fourth);
    auto done = change(left, {{"add", "fourth"}, {"address", "10.0.0.4"}});
    EXPECT_THAT(done.err, HasSubstr("fourth cannot be asked for its addresses"));
    start(fourth);
    programs.at("fourth")->facts.networks = {"10.7."};
    done = change(left, {{"add", "fourth"}, {"address", "10.0.0.4"}});
    EXPECT_THAT(done.err, HasSubstr("fourth has no address in the network of third (10.0.0.3)"));
    EXPECT_EQ(change(fourth, {{"area", "/dev/area"}}).exit_code, 7) << "nothing was changed";
    done = change(left, {{"add", "third"}});
    EXPECT_THAT(done.err, HasSubstr("third is a host of the other end"));
    // The target is not told later: it would not take the new host for its source.
    programs.at("fourth")->facts.networks = {""};
    pair.cut_off(third);
    done = change(left, {{"add", "fourth"}, {"address", "10.0.0.4"}});
    EXPECT_THAT(done.err, HasSubstr("third cannot be told"));
    EXPECT_EQ(record(left).main().pairs.size(), 2U);
    pair.heal();
    done = change(left, {{"add", "fourth"}, {"address", "10.0.0.4"}});
    EXPECT_EQ(done.exit_code, 0) << done.err;
    EXPECT_EQ(record(third).main().pairs.size(), 3U);
}

// Spec: MOP-161, MOP-164
TEST_F(Sharers, ADroppedHostKeepsTheVolumeLockedUntilItsFlagIsCleared) {
    mirror();
    auto done = change(left, {{"drop", "right"}});
    EXPECT_THAT(done.err, HasSubstr("two hosts that write to it destroy it"));
    EXPECT_EQ(record(left).main().pairs.size(), 2U);
    done = change(left, {{"drop", "left"}, {"yes", ""}});
    EXPECT_THAT(done.err, HasSubstr("left owns volume R"));
    // The target need not be there: it is told with its next session.
    pair.cut_off(third);
    done = change(left, {{"drop", "right"}, {"yes", ""}});
    ASSERT_EQ(done.exit_code, 0) << done.err;
    EXPECT_EQ(record(left).main().pairs.size(), 1U);
    EXPECT_EQ(record(third).main().pairs.size(), 2U);
    pair.heal();
    ASSERT_TRUE(in_sync(left));
    EXPECT_EQ(record(third).main().pairs.size(), 1U);
    EXPECT_THAT(job(left), testing::Not(HasSubstr("right")));
    EXPECT_NE(status(right, {".", "UNLOCKVOLUME", "R"}), 0);
    EXPECT_THAT(error, HasSubstr("right is not among the hosts of volume R"));
    EXPECT_TRUE(programs.at("right")->facts.holds(VolumeId("R")));
    kill(right);
    pair.start(right);
    EXPECT_TRUE(programs.at("right")->facts.holds(VolumeId("R"))) << "also after a boot";
    EXPECT_EQ(change(right, {{"off", ""}}).exit_code, 0);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    EXPECT_FALSE(programs.at("right")->facts.holds(VolumeId("R")));
    // It is a stranger: only an owner can have it back, in another slot.
    done = change(left, {{"add", "right"}, {"address", "10.0.0.2"}});
    ASSERT_EQ(done.exit_code, 0) << done.err;
    connect(right);
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(in_sync(right));
    EXPECT_TRUE(pair.write(right, 4, 44));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: MOP-161, MOP-164
TEST_F(Sharers, ADroppedHostsSlotIsUsedAgainWhenThereIsNoOther) {
    mirror();
    const std::map<std::string, std::string> add{{"add", "fourth"}, {"address", "10.0.0.4"}};
    const auto slots = [&] {
        return shared::decode_header(area.content().substr(0, 2 * shared::kAreaBlock)).value();
    };
    std::size_t most = 0;
    for (int i = 0; i < 16; ++i) {
        auto done = change(left, add);
        ASSERT_EQ(done.exit_code, 0) << i << ": " << done.err;
        most = std::max(most, slots().hosts.size());
        if (i == 15) break;
        done = change(left, {{"drop", "fourth"}, {"yes", ""}});
        ASSERT_EQ(done.exit_code, 0) << i << ": " << done.err;
    }
    EXPECT_EQ(most, shared::kMostMirrorHosts);
    EXPECT_EQ(slots().members(),
              (std::vector<NodeName>{NodeName("left"), NodeName("right"), NodeName("fourth")}));
    EXPECT_LT(*slots().slot_of(NodeName("fourth")), shared::kMostMirrorHosts);
    connect(fourth);
    EXPECT_TRUE(pair.write(left, 1, 11));
    power_off(left);
    ok(fourth, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(in_sync(fourth));
    EXPECT_TRUE(pair.write(fourth, 2, 22));
    EXPECT_EQ(third.disk.blocks, left.disk.blocks);
}

// Spec: MOP-161, MOP-164
TEST_F(Sharers, OfATargetsHostsOneIsDroppedWhenTheSourceHears) {
    share(left, right);
    share(third, sixth);
    make_job({{&left, &right}, {&third, &sixth}});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ASSERT_TRUE(follows(left, third));
    pair.cut_off(left);
    auto done = change(third, {{"drop", "sixth"}, {"yes", ""}});
    EXPECT_THAT(done.err, HasSubstr("left cannot be told"));
    pair.heal();
    done = change(third, {{"drop", "sixth"}, {"yes", ""}});
    EXPECT_EQ(done.exit_code, 0) << done.err;
    EXPECT_EQ(record(left).main().pairs.size(), 2U);
    ASSERT_TRUE(follows(left, third));
    EXPECT_EQ(record(third).main().pairs.size(), 2U);
    EXPECT_NE(status(sixth, {".", "UNLOCKVOLUME", "R"}), 0);
}

// Spec: MOP-161, MOP-164, MOP-065
TEST_F(Sharers, WithoutAMirrorOnlyTheAreaChanges) {
    share(left, right);
    EXPECT_EQ(change(left, {{"add", "fourth"}}).exit_code, 0);
    connect(fourth);
    EXPECT_EQ(change(left, {{"drop", "right"}, {"yes", ""}}).exit_code, 0);
    ok(left, {".", "LOCKVOLUME", "R"});
    EXPECT_NE(status(right, {".", "UNLOCKVOLUME", "R"}), 0);
    ok(fourth, {".", "UNLOCKVOLUME", "R"});
    EXPECT_TRUE(opened(fourth));
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
