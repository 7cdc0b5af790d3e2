#include "runtime/removed_nodes.h"

#include <gmock/gmock.h>

namespace understudy::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const NodeName kB("B");
const NodeName kC("C");

PeerIdentity peer(const std::string& name, std::uint32_t issue) {
    PeerIdentity out;
    out.common_name = name;
    out.issue = issue;
    return out;
}

// Spec: CLU-099
TEST(RemovedNodes, ARemovedCertificateIsVoidAndALaterOneOfTheNameIsNot) {
    RemovedNodes set;
    EXPECT_EQ(set.next_issue(kB), 1U);
    EXPECT_EQ(set.why_not(peer("B", 1)), "");
    set.remove(kB, 1000, "A");
    EXPECT_EQ(set.why_not(peer("B", 1)), "B was removed from the cluster on A");
    EXPECT_EQ(set.why_not(peer("C", 1)), "");
    EXPECT_EQ(set.next_issue(kB), 2U);
    EXPECT_EQ(set.why_not(peer("B", 2)), "") << "it joined anew";
    set.remove(kB, 2000, "C");
    EXPECT_NE(set.why_not(peer("B", 2)), "");
    EXPECT_NE(set.why_not(peer("B", 1)), "");
    EXPECT_EQ(set.why_not(peer("B", 3)), "");
}

TEST(RemovedNodes, TwoSetsThatMeetAreTheSameInAnyOrder) {
    RemovedNodes one;
    one.remove(kB, 1000, "A");
    one.remove(kB, 1500, "A");
    RemovedNodes other;
    other.remove(kB, 3000, "D");
    other.remove(kC, 2000, "D");
    auto forth = one;
    EXPECT_THAT(forth.merge(other), ElementsAre(kC)) << "it knows a later removal of B itself";
    auto back = other;
    EXPECT_THAT(back.merge(one), ElementsAre(kB));
    EXPECT_EQ(forth, back);
    EXPECT_THAT(forth.merge(back), IsEmpty());
    RemovedNodes same_time;
    same_time.remove(kC, 2001, "E");
    auto left = other;
    left.merge(same_time);
    same_time.merge(other);
    EXPECT_EQ(left, same_time) << "removed by two at once";
}

TEST(RemovedNodes, TheTextIsReadBackAndDamageIsAnError) {
    RemovedNodes set;
    set.remove(kB, 1000, "A");
    set.remove(kC, -5, "A");
    EXPECT_EQ(set.text(), "B 1 1000 A\nC 1 -5 A\n");
    EXPECT_EQ(RemovedNodes::parse(set.text()).value(), set);
    EXPECT_EQ(RemovedNodes::parse("").value(), RemovedNodes());
    for (const auto* bad : {"B", "B 0 1 A", "B x 1 A", "B 1 1", " 1 1 A", "B 5000000000 1 A"})
        EXPECT_FALSE(RemovedNodes::parse(bad)) << bad;
}

}  // namespace
}  // namespace understudy::runtime
