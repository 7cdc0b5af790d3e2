#include "config/maintenance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::config {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

NodeConfig apply_to(NodeConfig config, const std::vector<Edit>& edits) {
    for (const auto& edit : edits) {
        if (const auto* put = std::get_if<PutFlag>(&edit)) config.flags.insert(put->flag);
        if (const auto* drop = std::get_if<DropFlag>(&edit)) config.flags.erase(drop->flag);
    }
    return config;
}

Maintenance of_tag(const std::string& tag) {
    return {false, tag, 1'700'000'000, 1'700'007'200, "root@left", "fsck!"};
}

// Spec: CLU-170, CLU-171
TEST(Maintenance, TheFlagIsTheManualsAndConcernsItsTagOnly) {
    const auto config = apply_to({}, begin_maintenance({}, of_tag("Vol.F"), {Tag("Vol.F")}));
    EXPECT_TRUE(config.flags.contains(FlagName("Maintenance_Vol.F")));
    EXPECT_TRUE(in_maintenance(config, NodeName("left"), Tag("Vol.F")));
    EXPECT_FALSE(in_maintenance(config, NodeName("left"), Tag("Vol")));
    EXPECT_FALSE(node_in_maintenance(config, NodeName("Vol.F")));
}

TEST(Maintenance, AReasonSurvivesWhateverItsBytes) {
    auto wanted = of_tag("a!b%c d");
    wanted.why = "50% done!\n\xc3\xa9t\xc3\xa9";
    const auto flag = reason_flag(wanted);
    EXPECT_EQ(maintenance_of(flag), wanted);
    for (const char c : flag.str())
        EXPECT_GT(static_cast<unsigned char>(c), 0x20);
}

TEST(Maintenance, ALongReasonIsCutBetweenCharacters) {
    auto wanted = of_tag("t");
    wanted.why = std::string(kMaxMaintenanceReason - 1, 'x') + "\xc3\xa9";
    EXPECT_EQ(maintenance_of(reason_flag(wanted))->why, std::string(kMaxMaintenanceReason - 1, 'x'));
}

TEST(Maintenance, OtherFlagsAreNoReasons) {
    for (const auto* flag :
         {"Maintenance_F", "!maintenance!node!left", "!maintenance!why!", "!maintenance!why!x!a!1!2!w!y",
          "!maintenance!why!t!a!one!2!w!y", "!maintenance!why!t!a!1!2!w!y!z"})
        EXPECT_FALSE(maintenance_of(FlagName(flag))) << flag;
}

TEST(Maintenance, BeginningItAgainReplacesTheReason) {
    auto config = apply_to({}, begin_maintenance({}, of_tag("web.0"), {Tag("web.0"), Tag("ip.0")}));
    auto again = of_tag("web.0");
    again.why = "something else";
    config = apply_to(config, begin_maintenance(config, again, {Tag("web.0"), Tag("ip.0")}));
    auto other = again;
    other.subject = "ip.0";
    EXPECT_THAT(maintenances(config), ElementsAre(other, again));
    EXPECT_EQ(config.flags.size(), 4U);
}

TEST(Maintenance, EndingItLeavesNothingAndNothingElseIsTouched) {
    NodeConfig before;
    before.flags = {FlagName("Maintenance_other"), FlagName("!nofailover!x")};
    auto config = apply_to(before, begin_maintenance(before, of_tag("web.0"), {Tag("web.0"), Tag("ip.0")}));
    config = apply_to(config, end_maintenance(config, false, "web.0", {Tag("web.0"), Tag("ip.0")}));
    EXPECT_EQ(config.flags, before.flags);
    EXPECT_THAT(end_maintenance(before, false, "web.0", {Tag("web.0")}), IsEmpty());
}

TEST(Maintenance, ANodeInMaintenanceSuspendsAllOfItsResources) {
    const Maintenance wanted{true, "left", 1, 0, "root@right", ""};
    auto config = apply_to({}, begin_maintenance({}, wanted, {}));
    EXPECT_TRUE(node_in_maintenance(config, NodeName("left")));
    EXPECT_TRUE(in_maintenance(config, NodeName("left"), Tag("any")));
    EXPECT_FALSE(in_maintenance(config, NodeName("right"), Tag("any")));
    EXPECT_THAT(maintenances(config), ElementsAre(wanted));
    config = apply_to(config, end_maintenance(config, true, "left", {}));
    EXPECT_TRUE(config.flags.empty());
}

TEST(Maintenance, AFlagMadeByHandNamesNobody) {
    NodeConfig config;
    config.flags = {FlagName("Maintenance_F")};
    ASSERT_EQ(maintenances(config).size(), 1U);
    EXPECT_EQ(maintenances(config)[0].subject, "F");
    EXPECT_EQ(maintenances(config)[0].who, "");
}

}  // namespace
}  // namespace understudy::config
