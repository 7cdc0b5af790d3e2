#include "cli/firewall_rules.h"

#include "cli/nft_ruleset_examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace understudy::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

FirewallPlan plan(std::vector<std::string> peers, config::PortNeeds needs = {}) {
    return {config::openings(needs), std::move(peers)};
}

FirewallPlan of_example() {
    return plan({"10.0.0.2", "10.0.0.3", "fd00::2"});
}

NftRuleset rules(const char* json) {
    return std::move(NftRuleset::parse(json).value());
}

std::string file(const FirewallPlan& of, const std::string& name) {
    for (const auto& each : firewalld_files(of))
        if (each.path.ends_with("/" + name)) return each.content;
    ADD_FAILURE() << "there is no file " << name;
    return {};
}

// Spec: CLU-033, DEP-102, DEP-103
TEST(FirewallRules, NftHasOneTableAndOneRuleWhereverPacketsMayBeDropped) {
    const auto script = nft_script(of_example(), rules(examples::kSomebodys));
    EXPECT_TRUE(script.starts_with("table inet understudy {")) << script;
    EXPECT_THAT(script, HasSubstr("elements = { 10.0.0.2, 10.0.0.3 }"));
    EXPECT_THAT(script, HasSubstr("elements = { fd00::2 }"));
    EXPECT_THAT(script, HasSubstr("insert rule inet filter input meta mark and 0x2000 == 0x2000 accept"));
    EXPECT_EQ(nft_removal(rules(examples::kSomebodys)), "");

    // Anew: what was ours goes in the same transaction.
    const auto again = nft_script(of_example(), rules(examples::kWithOurs));
    EXPECT_TRUE(again.starts_with("delete rule inet filter input handle ")) << again;
    EXPECT_THAT(again, HasSubstr("\ndelete table inet understudy\ntable inet understudy {"));
    EXPECT_THAT(nft_removal(rules(examples::kWithOurs)), Not(HasSubstr("insert")));

    const auto open = nft_table(plan({}));
    EXPECT_THAT(open, HasSubstr("\t\tjump peers comment")) << "peers that are not known may be anywhere";
    EXPECT_THAT(open, Not(HasSubstr("ip saddr")));
    EXPECT_NE(nft_version(plan({})), nft_version(of_example()));
}

// Spec: DEP-102
TEST(FirewallRules, CheckFindsWhatIsMissingAndWhatDropsBefore) {
    EXPECT_THAT(nft_problems(of_example(), rules(examples::kWithOurs), false), IsEmpty());
    const auto none = nft_problems(of_example(), rules(examples::kSomebodys), false);
    EXPECT_THAT(none, Contains("table inet understudy is missing"));
    EXPECT_THAT(none,
                Contains(HasSubstr("tcp 1500 (LifeKeeper CommPath.1500) from 10.0.0.2, 10.0.0.3, fd00::2 is "
                                   "dropped by the policy of chain input in table inet filter")));

    // A path was made on another port, and a node came.
    config::PortNeeds needs;
    needs.path_ports = {1520};
    EXPECT_THAT(
        nft_problems(plan({"10.0.0.2"}, needs), rules(examples::kWithOurs), true),
        ElementsAre("tcp 1520 (LifeKeeper CommPath) from 10.0.0.2 is dropped by the policy of chain input "
                    "in table inet filter"));
    EXPECT_THAT(nft_problems(plan({"10.0.0.2", "10.0.0.7"}), rules(examples::kWithOurs), false),
                Contains(HasSubstr("ping from 10.0.0.7 is dropped")));

    // Somebody's rule in front of ours.
    std::string before = examples::kWithOurs;
    const std::string mark =
        R"({"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 8192]}, "right": 8192}}, )";
    const auto at = before.find(mark);
    ASSERT_NE(at, std::string::npos);
    const auto rule = before.rfind("{\"rule\"", at);
    before.insert(
        rule, R"({"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 99, "expr": [)"
              R"({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},)"
              R"( "right": 9999}}, {"drop": null}]}},)"
              "\n");
    EXPECT_THAT(
        nft_problems(of_example(), rules(before.c_str()), false),
        ElementsAre("tcp 9999 (DataKeeper Dispatch) from 10.0.0.2, 10.0.0.3, fd00::2 is dropped by a rule of "
                    "chain input in table inet filter"));

    // Where nothing is dropped, rules that are not there are missed only by a full check.
    const auto* nothing = R"({"nftables": []})";
    EXPECT_THAT(nft_problems(of_example(), rules(nothing), true), IsEmpty());
    EXPECT_THAT(nft_problems(of_example(), rules(nothing), false),
                ElementsAre("table inet understudy is missing"));
}

// Spec: DEP-102, DEP-103
TEST(FirewallRules, FirewalldGetsFilesOfItsOwn) {
    const auto some = of_example();
    EXPECT_THAT(file(some, "understudy.xml"), HasSubstr("<port protocol=\"tcp\" port=\"1510\"/>"));
    EXPECT_THAT(file(some, "understudy-mirror.xml"), HasSubstr("port=\"10000-10026\""));
    EXPECT_THAT(file(some, "understudy-clients.xml"), HasSubstr("port=\"81\""));
    EXPECT_EQ(file(some, "understudy-probe.xml"), "") << "no load balancer asks: to be removed";
    EXPECT_THAT(file(some, "understudy6.xml"), HasSubstr("<entry>fd00::2</entry>"));
    std::string policy;
    for (const auto& each : firewalld_files(some))
        if (each.path == "/etc/firewalld/policies/understudy.xml") policy = each.content;
    EXPECT_THAT(policy, HasSubstr("<ingress-zone name=\"ANY\"/>\n  <egress-zone name=\"HOST\"/>"));
    EXPECT_THAT(policy,
                HasSubstr("<source ipset=\"understudy4\"/>\n    <service name=\"understudy-mirror\"/>"));
    EXPECT_THAT(policy, HasSubstr("  <rule>\n    <service name=\"understudy-clients\"/>"));
    EXPECT_EQ(file(plan({"10.0.0.2"}), "understudy6.xml"), "");
}

// Spec: DEP-102, DEP-103
TEST(FirewallRules, UfwGetsProfilesAndARuleForEachSource) {
    config::PortNeeds needs;
    needs.probe_ports = {12345};
    const auto some = plan({"10.0.0.2", "fd00::2"}, needs);
    EXPECT_THAT(ufw_profiles(some), HasSubstr("[Understudy-mirror]\ntitle=understudy-mirror\n"));
    EXPECT_THAT(ufw_profiles(some), HasSubstr("ports=9999,10000:10026/tcp\n"));
    EXPECT_THAT(ufw_rules(some), ElementsAre("allow from 10.0.0.2 to any app Understudy",
                                             "allow from fd00::2 to any app Understudy",
                                             "allow from any to any app Understudy-clients",
                                             "allow from 10.0.0.2 to any app Understudy-mirror",
                                             "allow from fd00::2 to any app Understudy-mirror",
                                             "allow from any to any app Understudy-probe"));
    const std::string added =
        "Added user rules (see 'ufw status' for running firewall):\n"
        "ufw allow from 10.0.0.2 to any app Understudy\n"
        "ufw allow from fd00::2 to any app Understudy\n"
        "ufw allow Understudy-clients\n"
        "ufw allow from 10.0.0.2 to any app Understudy-mirror\n";
    EXPECT_THAT(ufw_problems(some, added),
                ElementsAre("the rule is missing: ufw allow from fd00::2 to any app Understudy-mirror",
                            "the rule is missing: ufw allow from any to any app Understudy-probe"));
    auto denied = added;
    denied.insert(denied.find("ufw allow"),
                  "ufw deny from 10.0.0.2\nufw deny from 10.0.0.9\nufw deny 22/tcp\n");
    EXPECT_THAT(
        ufw_problems(some, denied),
        Contains(
            "\"ufw deny from 10.0.0.2\" comes before \"ufw allow from 10.0.0.2 to any app Understudy\""));
    EXPECT_THAT(ufw_problems(some, denied), SizeIs(4));
    EXPECT_THAT(ufw_problems(some, ""), SizeIs(6));
}

// Spec: DEP-101, DEP-102
TEST(FirewallRules, ASocketThatNoRuleAdmitsIsTold) {
    const std::string sockets =
        "LISTEN 0 4096 10.0.0.1:1500 0.0.0.0:* users:((\"understudyd\",pid=7,fd=9))\n"
        "LISTEN 0 4096 0.0.0.0:4711 0.0.0.0:* users:((\"understudyd\",pid=7,fd=10))\n"
        "LISTEN 0 4096 [::]:10256 [::]:* users:((\"mirrord\",pid=8,fd=3))\n"
        "LISTEN 0 4096 127.0.0.1:6666 0.0.0.0:* users:((\"mirrord\",pid=8,fd=4))\n"
        "LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=9,fd=3))\n"
        "LISTEN 0 128 0.0.0.0:23 0.0.0.0:*\n";
    EXPECT_THAT(strange_listeners(of_example(), sockets),
                ElementsAre("understudyd listens on tcp 4711, which no rule admits",
                            "mirrord listens on tcp 10256, which no rule admits"));
}

// Spec: DEP-102
TEST(FirewallRules, ThePlainListIsForOtherFirewalls) {
    const auto text = plain_rules(of_example());
    EXPECT_THAT(text, HasSubstr("10000-10026  10.0.0.2,10.0.0.3,fd00::2"));
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 9);
    EXPECT_THAT(plain_rules(plan({})), Not(HasSubstr("10.0.0.2")));
}

}  // namespace
}  // namespace understudy::cli
