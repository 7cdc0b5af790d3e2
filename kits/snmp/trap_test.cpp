// Traps as bytes, and what they say. The bytes are those of net-snmp's snmptrap for the same arguments.

#include "kits/snmp/trap.h"

#include <gtest/gtest.h>

namespace understudy::kits::snmp {
namespace {

std::string hex(std::string_view bytes) {
    std::string out;
    for (const char c : bytes)
        out += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return out;
}

// Spec: CMD-149, CMD-151, CMD-154
TEST(Trap, Version2cHasUptimeTrapOidAndVariablesInThisOrder) {
    const auto trap = trap_of(130, "ip.0", "checks fail", "nodeA");
    ASSERT_TRUE(trap);
    Sender sender;
    sender.uptime_cs = 300;
    sender.request_id = 0x51c01b3b;
    EXPECT_EQ(
        hex(encode(*trap, sender, "public")),
        "30819802010104067075626c6963a7818a020451c01b3b020100020100307c300e06082b060102010103004302012c30"
        "19060a2b060106030101040100060b2b06010401b93f01008102303c06092b06010401b93f0101042f4c6966654b6565"
        "706572205265736f75726365205265636f7665727920496e69746961746564206f6e206e6f646541301106092b060104"
        "01b93f0102040469702e30");
}

// Spec: CMD-149, CMD-150, CMD-151, CMD-154
TEST(Trap, Version1NamesTheProductAndTheNumber) {
    const auto trap =
        trap_of(121, "nodeA", "recovered here: ip.0, Vol.E, web.0, db.0, " + std::string(150, 'x'), "nodeB");
    ASSERT_TRUE(trap);
    Sender sender;
    sender.version_1 = true;
    sender.uptime_cs = 70000;
    sender.address = {10, 0, 0, 1};
    EXPECT_EQ(
        hex(encode(*trap, sender, "secret")),
        "308201360201000406736563726574a482012706082b06010401b93f0140040a00000102010602017943030111703082"
        "0108304906092b06010401b93f0101043c4c6966654b6565706572204e6f6465205265636f7665727920436f6d706c65"
        "746520666f72206e6f646541202d207265636f7665726564206c6973743081ba06092b06010401b93f01030481ac6970"
        "2e3020566f6c2e45207765622e302064622e302078787878787878787878787878787878787878787878787878787878"
        "787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878"
        "787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878"
        "7878787878787878787878787878787878787878787878787878");
}

// Spec: CMD-150, CMD-151, CMD-154
TEST(Trap, EachEventHasItsTextAndItsVariable) {
    const auto shown = [](int number, const char* subject, const char* text) {
        const auto trap = trap_of(number, subject, text, "nodeB");
        if (!trap) return std::string("none");
        return trap->message +
               (trap->extra ? fmt::format(" | {} {}", trap->extra->first, trap->extra->second) : "");
    };
    EXPECT_EQ(shown(100, "nodeB", "start complete"), "LifeKeeper Startup Complete on nodeB");
    EXPECT_EQ(shown(101, "nodeB", ""), "LifeKeeper Shutdown Initiated on nodeB");
    EXPECT_EQ(shown(102, "nodeB", ""), "LifeKeeper Shutdown Complete on nodeB");
    EXPECT_EQ(shown(110, "web.0", ""), "LifeKeeper Manual Switchover Initiated on Server nodeB");
    EXPECT_EQ(shown(111, "web.0", "in service here: ip.0, web.0"),
              "LifeKeeper Manual Switchover Complete on nodeB - recovered list | 3 ip.0 web.0");
    EXPECT_EQ(shown(112, "web.0", "not in service here: web.0, db.0 (restore of web.0 failed: exit code 1)"),
              "LifeKeeper Manual Switchover Complete on nodeB - failed list | 4 web.0 db.0");
    EXPECT_EQ(shown(120, "nodeA", "every path is DEAD"), "LifeKeeper Node Failure Detected for nodeA");
    EXPECT_EQ(shown(122, "nodeA", "not recovered here: db.0"),
              "LifeKeeper Node Recovery Complete for nodeA - failed list | 4 db.0");
    EXPECT_EQ(shown(131, "ip.0", "recovery here failed: x"),
              "LifeKeeper Resource Recovery Failed on nodeB | 2 ip.0");
    EXPECT_EQ(shown(132, "ip.0", ""), "LifeKeeper Resource Recovery Complete on nodeB | 2 ip.0");
    EXPECT_EQ(shown(99, "x", ""), "none");
}

// Spec: CMD-150, CMD-152, CMD-153, EMC-042, REP-360
TEST(Trap, MirrorsTellTheirStateAndASplitBrain) {
    const auto shown = [](int number, const char* subject) {
        const auto trap = trap_of(number, subject, "", "nodeB");
        return trap ? trap->message : std::string("none");
    };
    EXPECT_EQ(shown(kMirrorState, "E,4,10.0.0.3"),
              "Mirror state change: volume=E state=4 (paused) target=10.0.0.3");
    EXPECT_EQ(shown(kMirrorState, "E,-1,fd00::3"),
              "Mirror state change: volume=E state=-1 (invalid) target=fd00::3");
    EXPECT_EQ(shown(kMirrorState, "E,5,10.0.0.3"),
              "Mirror state change: volume=E state=5 (resync pending) target=10.0.0.3");
    EXPECT_EQ(shown(kSplitBrain, "data,10.0.0.3"), "Split brain: volume=data target=10.0.0.3");
    for (const char* wrong : {"", "E", "E,6,10.0.0.3", "E,x,10.0.0.3", "E,-2,10.0.0.3"})
        EXPECT_EQ(shown(kMirrorState, wrong), "none") << wrong;
    EXPECT_EQ(shown(kSplitBrain, "E,4,10.0.0.3"), "none");
}

TEST(Trap, ManagersAreHostsWithPortAndCommunity) {
    EXPECT_TRUE(parse_managers("")->empty());
    const auto managers = parse_managers("mgr, 10.0.0.9:1162/secret,[fd00::1]:99/x , [::1]");
    ASSERT_TRUE(managers) << managers.error().text;
    EXPECT_EQ(*managers, (std::vector<Manager>{{"mgr", 162, "public"},
                                               {"10.0.0.9", 1162, "secret"},
                                               {"fd00::1", 99, "x"},
                                               {"::1", 162, "public"}}));
    for (const auto* bad : {":162", "a:0", "a:65536", "a:x", "a/", "[::1", "[::1]162", "a,/x"})
        EXPECT_FALSE(parse_managers(bad)) << bad;
}

TEST(Trap, ObjectIdentifiersAreNumbersWithDots) {
    EXPECT_EQ(*parse_oid(".1.3.6.1.4.1.7359.1"), Sender{}.prefix);
    EXPECT_EQ(*parse_oid("1.3"), (Oid{1, 3}));
    for (const auto* bad : {"", ".", "1", "1..3", "1.40", "3.1", "1.3.-1", "1.3.4294967296", "a.b"})
        EXPECT_FALSE(parse_oid(bad)) << bad;
}

}  // namespace
}  // namespace understudy::kits::snmp
