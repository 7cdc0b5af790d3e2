// Several targets, of which each may be a host or a site of two that share a disk; the source, too.

#include "base/test_seeds.h"
#include "mirror/emcmd/shared_lab.h"

#include <array>
#include <random>

namespace understudy::mirror::emcmd::testing_lab {
namespace {

struct Sites : SharedMirror {
    explicit Sites(std::uint64_t seed = 1) : SharedMirror(seed, 6) {}

    void mirror_three_sites() {
        share(left, right);
        share(third, fourth);
        share(fifth, sixth);
        make_job({{&left, &right}, {&third, &fourth}, {&fifth, &sixth}});
        ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
        ASSERT_TRUE(follows(left, third));
        ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.5", "S"});
        ASSERT_TRUE(follows(left, third));
        ASSERT_TRUE(follows(left, fifth));
        sent();
    }
    void target_moves(Host& from, Host& to) {
        ok(from, {".", "LOCKVOLUME", "R"});
        EXPECT_EQ(status(to, {".", "UNLOCKVOLUME", "R"}), 1) << error;
    }
    void equal() {
        EXPECT_EQ(third.disk.blocks, left.disk.blocks);
        EXPECT_EQ(fifth.disk.blocks, left.disk.blocks);
    }
};

// Spec: MOP-020, MOP-016, MOP-069, MOP-070
TEST_F(Sites, TwoSitesFollowAThirdWhoseOwnerChanges) {
    mirror_three_sites();
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_EQ(third.disk.blocks[1], 11);
    EXPECT_EQ(fifth.disk.blocks[1], 11);
    for (Host* host : {&left, &third, &fifth})
        for (const control::PeerRecord& peer : record(*host).peers)
            EXPECT_EQ(peer.pairs.size(), 4U) << host->name << " of " << peer.node;
    // Each of the three logs of a host has a place of its own.
    EXPECT_NE(record(left).peers[0].log_path, record(left).peers[1].log_path);
    EXPECT_NE(record(third).peers[0].log_path, record(third).peers[1].log_path);
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(follows(right, third));
    ASSERT_TRUE(follows(right, fifth));
    EXPECT_EQ(sent(), 0U);
    EXPECT_TRUE(pair.write(right, 2, 22));
    target_moves(fifth, sixth);
    ASSERT_TRUE(follows(right, sixth));
    ASSERT_TRUE(follows(right, third));
    EXPECT_TRUE(pair.write(right, 3, 33));
    equal();
    EXPECT_LT(sent(), kBlocks) << "partial";
}

// Spec: MOP-020, MOP-067, REP-058, REP-235, EMC-243
TEST_F(Sites, ASiteTakesOverAsPlannedAndTheOthersFollowIt) {
    mirror_three_sites();
    EXPECT_TRUE(pair.write(left, 1, 11));
    target_moves(third, fourth);
    ASSERT_TRUE(follows(left, fourth));
    ok(fourth, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(follows(fourth, left));
    ASSERT_TRUE(follows(fourth, fifth));
    EXPECT_TRUE(pair.write(fourth, 2, 22));
    equal();
    EXPECT_LT(sent(), kBlocks) << "partial";
    // Whichever host has the former source's disk follows.
    target_moves(left, right);
    ASSERT_TRUE(follows(fourth, right));
    ok(third, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(follows(third, right));
    ASSERT_TRUE(follows(third, fifth));
    EXPECT_TRUE(pair.write(third, 3, 33));
    equal();
    ok(right, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(follows(right, third));
    ASSERT_TRUE(follows(right, fifth));
    EXPECT_TRUE(pair.write(right, 4, 44));
    equal();
    EXPECT_LT(sent(), kBlocks) << "partial";
}

// Spec: MOP-020, MOP-067, REP-058, EMC-243
TEST_F(Sites, OfADeadSiteAnotherTakesOverAndTheLastFollows) {
    mirror_three_sites();
    EXPECT_TRUE(pair.write(left, 1, 11));
    power_off(right);
    power_off(left);
    ok(third, {".", "SWITCHOVERVOLUME", "R", "-f"});
    EXPECT_TRUE(pair.write(third, 2, 22, 60s));
    ASSERT_TRUE(follows(third, fifth));
    EXPECT_EQ(fifth.disk.blocks[2], 22);
    start(right);
    EXPECT_EQ(status(right, {".", "UNLOCKVOLUME", "R"}), 1) << error;
    ASSERT_TRUE(follows(third, right));
    equal();
    EXPECT_LT(sent(), kBlocks) << "partial";
}

// Spec: MOP-155, MOP-118, EMC-161
TEST_F(Sites, OneSiteLessIsSharedAsBefore) {
    mirror_three_sites();
    ok(left, {".", "DELETEMIRROR", "R", "10.0.0.6"});
    ASSERT_TRUE(pair.until(
        [&] { return opened(fifth) && !programs.at("fifth")->volumes.is_mirrored(VolumeId("R")); }, 10s));
    ASSERT_TRUE(follows(left, third));
    EXPECT_EQ(record(left).peers.size(), 1U);
    ASSERT_TRUE(pair.until([&] { return record(third).peers.size() == 1; }, 10s));
    ok(fifth, {".", "LOCKVOLUME", "R"});
    ok(sixth, {".", "UNLOCKVOLUME", "R"});
    // And again.
    ok(sixth, {".", "LOCKVOLUME", "R"});
    ok(fifth, {".", "UNLOCKVOLUME", "R"});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.5", "S"});
    ASSERT_TRUE(follows(left, fifth));
    EXPECT_TRUE(pair.write(left, 5, 55));
    equal();
}

// Spec: MOP-016, MOP-018, MOP-069, MOP-067
TEST_F(Sites, ASharedDiskHasTwoTargetsWithDisksOfTheirOwn) {
    share(left, right);
    make_job({{&left, &right}, {&third}, {&fifth}});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.3", "S"});
    ok(left, {"10.0.0.1", "CREATEMIRROR", "R", "10.0.0.5", "S"});
    ASSERT_TRUE(follows(left, third));
    ASSERT_TRUE(follows(left, fifth));
    sent();
    // What one of them lacks, the next owner sends to that one.
    ok(left, {".", "PAUSEMIRROR", "R", "10.0.0.5"});
    EXPECT_TRUE(pair.write(left, 1, 11));
    EXPECT_EQ(third.disk.blocks[1], 11);
    EXPECT_EQ(fifth.disk.blocks[1], 0);
    power_off(left);
    ok(right, {".", "UNLOCKVOLUME", "R"});
    ASSERT_TRUE(follows(right, third));
    ok(right, {".", "CONTINUEMIRROR", "R", "10.0.0.5"});
    ASSERT_TRUE(follows(right, fifth));
    EXPECT_LE(sent(), 1U);
    equal();
    ok(fifth, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(follows(fifth, third));
    ASSERT_TRUE(follows(fifth, right));
    EXPECT_TRUE(pair.write(fifth, 2, 22));
    equal();
}

// Spec: MOP-020, MOP-069
TEST_F(Sites, ASiteIsOneOfTheTargetsOfAHostWithADiskOfItsOwn) {
    share(left, right);
    make_job({{&third}, {&fifth}, {&left, &right}});
    ok(third, {"10.0.0.3", "CREATEMIRROR", "R", "10.0.0.5", "S"});
    ASSERT_TRUE(follows(third, fifth));
    ok(third, {"10.0.0.3", "CREATEMIRROR", "R", "10.0.0.1", "S"});
    ASSERT_TRUE(follows(third, left));
    EXPECT_EQ(record(third).peer("fifth")->pairs.size(), 0U);
    EXPECT_EQ(record(third).peer("left")->pairs.size(), 2U);
    ASSERT_TRUE(pair.until([&] { return record(fifth).peer("left") != nullptr; }, 10s));
    EXPECT_EQ(record(fifth).peer("left")->pairs.size(), 2U);
    EXPECT_TRUE(pair.write(third, 1, 11));
    target_moves(left, right);
    ASSERT_TRUE(follows(third, right));
    ok(fifth, {".", "SWITCHOVERVOLUME", "R"});
    ASSERT_TRUE(follows(fifth, right));
    ASSERT_TRUE(follows(fifth, third));
    EXPECT_TRUE(pair.write(fifth, 2, 22));
    equal();
}

/// Lives of three sites by seed: owners move and die, sites are cut off and take over as planned. What was
/// acknowledged is on the disk of the source, and in the end on all.
struct Life : Sites {
    explicit Life(std::uint64_t seed) : Sites(seed), random(seed), acknowledged(kBlocks, 0) {}
    void TestBody() override {}

    using Site = std::array<Host*, 2>;
    Host* owner(const Site& site) {
        for (Host* host : site)
            if (opened(*host) && host->daemon->manager.find(VolumeId("R"))) return host;
        return nullptr;
    }
    Host& other(const Site& site) { return *site[owner(site) == site[0] ? 1 : 0]; }
    Site& source() { return sites[source_at]; }
    Site& target() { return sites[(source_at + 1 + random() % 2) % 3]; }
    void up(Host& host) {
        if (!host.daemon) start(host);
    }
    void take(Host& host, bool as_target) {
        up(host);
        EXPECT_EQ(status(host, {".", "UNLOCKVOLUME", "R"}), as_target ? 1 : 0) << host.name << ": " << error;
    }
    void write() {
        for (int i = 0; i < 3; ++i) {
            Host* const from = owner(source());
            if (!from || !from->daemon->host) return;
            const std::size_t block = random() % kBlocks;
            acknowledged[block] = -1;
            if (pair.write(*from, block, ++value, 3s)) acknowledged[block] = value;
        }
    }
    /// A site in sync takes over as planned.
    void switch_site() {
        const std::size_t next = (source_at + 1 + random() % 2) % 3;
        Host* const from = owner(source());
        Host* const to = owner(sites[next]);
        if (!from || !to || !follows(*from, *to, 1s)) return;
        if (status(*to, {".", "SWITCHOVERVOLUME", "R"}) != 0) return;
        const std::size_t before = std::exchange(source_at, next);
        if (!owner(sites[before])) take(*sites[before][0], true);
        EXPECT_TRUE(follows(*to, *owner(sites[before]), 120s)) << "the former source";
    }
    void step() {
        switch (random() % 9) {
            case 0:
            case 1:
            case 2:
                return write();
            case 3:
                up(other(source()));
                (void)status(other(source()), {".", "SWITCHOVERVOLUME", "R"});
                return;
            case 4: {
                Host& next = other(source());
                if (Host* const from = owner(source())) power_off(*from);
                return take(next, false);
            }
            case 5: {
                Site& site = target();
                Host& next = other(site);
                Host* const from = owner(site);
                if (from && status(*from, {".", "LOCKVOLUME", "R"}) == 0) take(next, true);
                return;
            }
            case 6:
                // Its neighbour follows by itself, if it is there.
                if (Host* const from = owner(target())) power_off(*from);
                return;
            case 7: {
                if (random() % 2 == 0) return pair.heal();
                const Site& site = target();
                for (Host* host : site)
                    pair.cut_off(*host);
                return pair.sim.heal(site[0]->name, site[1]->name);
            }
            case 8:
                if (random() % 3 == 0) return switch_site();
                return pair.sim.run_for(std::chrono::milliseconds(random() % 4000));
        }
    }
    void end() {
        pair.heal();
        for (Host* host : pair.hosts)
            up(*host);
        pair.sim.run_for(20s);
        for (std::size_t i = 0; i < 3; ++i)
            if (!owner(sites[i])) take(*sites[i][0], i != source_at);
        for (std::size_t i = 0; i < 3; ++i) {
            if (i == source_at) continue;
            ASSERT_TRUE(owner(source()) && owner(sites[i]));
            ASSERT_TRUE(follows(*owner(source()), *owner(sites[i]), 120s)) << "site " << i;
        }
        equal();
        for (std::size_t block = 0; block < kBlocks; ++block) {
            if (acknowledged[block] >= 0) {
                EXPECT_EQ(left.disk.blocks[block], acknowledged[block]) << "block " << block;
            }
        }
    }

    std::mt19937_64 random;
    std::vector<int> acknowledged;  // -1: may be there or not
    int value = 0;
    std::array<Site, 3> sites{Site{&left, &right}, Site{&third, &fourth}, Site{&fifth, &sixth}};
    std::size_t source_at = 0;
};

// Spec: MOP-020, MOP-067, REP-058
TEST(SitesLives, NoAcknowledgedWriteIsMissingOnAnySite) {
    const auto [first, end] = test_seeds(20, 4);
    for (std::uint64_t seed = first; seed < end && !::testing::Test::HasFailure(); ++seed) {
        SCOPED_TRACE("UNDERSTUDY_SEED=" + std::to_string(seed));
        Life life(seed);
        life.mirror_three_sites();
        for (int i = 0; i < 40 && !::testing::Test::HasFailure(); ++i)
            life.step();
        if (!::testing::Test::HasFailure()) life.end();
    }
}

}  // namespace
}  // namespace understudy::mirror::emcmd::testing_lab
