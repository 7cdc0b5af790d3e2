#include "mirror/control/peer_facts.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

/// A site of two hosts, as left knows it, which shares its own disk with right.
PeerRecord site(const std::string& one, const std::string& other, int subnet) {
    PeerRecord peer;
    peer.node = one;
    const auto address = [subnet](int host) { return fmt::format("10.0.{}.{}", subnet, host); };
    for (const std::string here : {"left", "right"})
        for (int i = 1; i <= 2; ++i)
            peer.pairs.push_back({here, i == 1 ? one : other,
                                  "10.0.0." + std::to_string(here == "left" ? 1 : 2), address(i), 9999});
    peer.use("left", one);
    return peer;
}

// Spec: MOP-020, MOP-070
TEST(PeerFacts, TwoSitesLearnTheAddressesOfEachOthersHosts) {
    const PeerFacts facts = facts_of(site("a1", "a2", 1), site("b1", "b2", 2), "left");
    const std::vector<EndpointPair> expected{{"b1", "a1", "10.0.2.1", "10.0.1.1", 9999},
                                             {"b1", "a2", "10.0.2.1", "10.0.1.2", 9999},
                                             {"b2", "a1", "10.0.2.2", "10.0.1.1", 9999},
                                             {"b2", "a2", "10.0.2.2", "10.0.1.2", 9999}};
    EXPECT_EQ(facts.pairs, expected);
    const PeerRecord at_b2 = record_of(facts, "b2");
    EXPECT_EQ(at_b2.node, "a1");
    EXPECT_EQ(at_b2.host_name(), "a1");
    EXPECT_EQ(at_b2.local_address, "10.0.2.2");
    EXPECT_EQ(at_b2.address, "10.0.1.1");
    EXPECT_FALSE(at_b2.log_valid);
}

// Spec: MOP-020, MOP-070
TEST(PeerFacts, TargetsWithDisksOfTheirOwnHaveNoPairs) {
    PeerRecord one, other;
    one.node = "one";
    one.address = "10.0.1.1";
    other.node = "other";
    other.address = "10.0.2.1";
    const PeerFacts facts = facts_of(one, other, "left");
    EXPECT_TRUE(facts.pairs.empty());
    EXPECT_EQ(facts.local_address, "10.0.2.1");
    EXPECT_EQ(record_of(facts, "other").address, "10.0.1.1");
    // To one that knows it by a site's pairs it is a site of one host.
    EXPECT_EQ(facts_of(one, site("b1", "b2", 2), "left").pairs.size(), 2U);
}

// Spec: MOP-161, MOP-164
TEST(PeerFacts, KnownAddressesStayAndTheHostThatIsGoneIsNotMeantAnyMore) {
    PeerRecord peer = site("a1", "a2", 1);
    std::vector<EndpointPair> told{{"left", "a2", "1.1.1.1", "2.2.2.2", 9999},
                                   {"left", "a3", "10.0.0.1", "10.0.1.3", 9999}};
    told = merged(peer.pairs, std::move(told));
    EXPECT_EQ(told.front().address, "10.0.1.2") << "another one was told here, by its administrator";
    EXPECT_EQ(told.back().address, "10.0.1.3");
    EXPECT_EQ(flipped(flipped(told, 9999), 9999), told);
    ASSERT_TRUE(give_pairs(peer, told, "left"));
    EXPECT_EQ(peer.host_name(), "a2");
    EXPECT_EQ(peer.node, "a1") << "its name at this end";
    EXPECT_FALSE(give_pairs(peer, {{"right", "a2", "10.0.0.2", "10.0.1.2", 9999}}, "left"));
    EXPECT_EQ(peer.pairs, told);
}

// Spec: EMC-095, EMC-104, EMC-109
TEST(PeerFacts, AddressesThatWereChangedSinceCount) {
    const PeerRecord peer = site("a1", "a2", 1);
    std::vector<EndpointPair> told = peer.pairs;
    told.back().address = "10.9.1.2";
    told.back().port = 1;
    told.back().serial = 1;
    const auto taken = merged(peer.pairs, told);
    EXPECT_EQ(taken.front(), peer.pairs.front());
    EXPECT_EQ(taken.back().address, "10.9.1.2");
    EXPECT_EQ(taken.back().port, peer.pairs.back().port);
    // What was told before comes later, and changes nothing.
    EXPECT_EQ(merged(taken, peer.pairs), taken);
}

}  // namespace
}  // namespace understudy::mirror::control
