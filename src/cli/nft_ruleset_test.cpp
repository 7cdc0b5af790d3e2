#include "cli/nft_ruleset.h"

#include "cli/nft_ruleset_examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::cli {
namespace {

using config::Transport;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

NftRuleset parsed(std::string_view json) {
    auto rules = NftRuleset::parse(json);
    EXPECT_TRUE(rules) << (rules ? "" : rules.error().text);
    return std::move(rules.value());
}

/// One chain at the hook of incoming packets, with these rules as nft prints their expressions.
NftRuleset with(const std::string& policy, const std::vector<std::string>& rules) {
    std::string json =
        R"({"nftables": [{"chain": {"family": "inet", "table": "t", "name": "in", "hook": "input",)";
    json += R"("prio": 0, "policy": ")" + policy + "\"}}";
    for (const auto& rule : rules)
        json += R"(, {"rule": {"family": "inet", "table": "t", "chain": "in", "expr": [)" + rule + "]}}";
    return parsed(json + "]}");
}

bool admits(const NftRuleset& rules, std::uint16_t port, const std::string& source = "10.0.0.2",
            Transport transport = Transport::tcp) {
    return rules.incoming({transport, source, port}).accepted;
}

// Spec: DEP-102
TEST(NftRuleset, SaysWhatAnotherFirewallDropsAndWhere) {
    const auto rules = parsed(examples::kSomebodys);
    EXPECT_FALSE(admits(rules, 1500));
    EXPECT_EQ(rules.incoming({Transport::tcp, "10.0.0.2", 1500}).by,
              "the policy of chain input in table inet filter");
    EXPECT_EQ(rules.incoming({Transport::tcp, "10.0.0.2", 23}).by,
              "a rule of chain checks in table inet filter");
    EXPECT_TRUE(admits(rules, 8000) && admits(rules, 8010)) << "a range";
    EXPECT_FALSE(admits(rules, 8011));
    EXPECT_TRUE(admits(rules, 8005, "fd00::2"));
    EXPECT_TRUE(admits(rules, 22, "10.9.3.4")) << "in a named set of networks";
    EXPECT_FALSE(admits(rules, 22, "10.10.0.1"));
    EXPECT_FALSE(admits(rules, 22, "10.9.3.4", Transport::udp));
    EXPECT_EQ(rules.incoming({Transport::tcp, "10.66.6.6", 8000}).by, "a rule of chain pre in table ip raw");
    EXPECT_FALSE(admits(rules, 0, "10.0.0.2", Transport::icmp)) << "only so many a second: not certain";
    EXPECT_FALSE(rules.has_our_table());
    EXPECT_FALSE(rules.has_firewalld());
    const auto chains = rules.dropping_chains();
    ASSERT_THAT(chains, SizeIs(1)) << "what is not at the hook of incoming packets needs nothing of ours";
    EXPECT_EQ(chains[0].text(), "inet filter input");
    EXPECT_THAT(chains[0].ours, IsEmpty());
}

// Spec: DEP-102
TEST(NftRuleset, OurMarkPassesTheOtherChains) {
    const auto rules = parsed(examples::kWithOurs);
    for (const auto* peer : {"10.0.0.2", "10.0.0.3", "fd00::2"})
        for (const std::uint16_t port : {1500, 3278, 9999, 10000, 10026}) {
            const auto verdict = rules.incoming({Transport::tcp, peer, port});
            EXPECT_TRUE(verdict.accepted && verdict.ours) << peer << " " << port << " " << verdict.by;
        }
    EXPECT_TRUE(admits(rules, 0, "10.0.0.2", Transport::icmp));
    EXPECT_FALSE(admits(rules, 0, "10.0.0.9", Transport::icmp));
    EXPECT_FALSE(admits(rules, 1500, "10.0.0.9")) << "nobody else";
    EXPECT_TRUE(admits(rules, 81, "10.0.0.9")) << "from anywhere";
    EXPECT_FALSE(admits(rules, 22)) << "no other port";
    const auto theirs = rules.incoming({Transport::tcp, "10.0.0.9", 8000});
    EXPECT_TRUE(theirs.accepted && !theirs.ours);
    EXPECT_EQ(rules.our_version(), "63cd2697");
    ASSERT_THAT(rules.dropping_chains(), SizeIs(1));
    EXPECT_THAT(rules.dropping_chains()[0].ours, SizeIs(1));
    EXPECT_TRUE(rules.dropping_chains()[0].ours_first);
}

TEST(NftRuleset, RulesAreWalkedThroughAsTheKernelDoes) {
    const std::string accept = R"({"accept": null})";
    const std::string drop = R"({"drop": null})";
    const std::string port =
        R"({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},)"
        R"("right": {"set": [1500, {"range": [2000, 2010]}]}}})";
    const std::string other =
        R"({"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}},)"
        R"("right": 1500}})";
    EXPECT_TRUE(admits(with("accept", {}), 1500));
    EXPECT_FALSE(admits(with("drop", {}), 1500));
    EXPECT_TRUE(admits(with("drop", {port + "," + accept}), 2005));
    EXPECT_FALSE(admits(with("drop", {port + "," + accept}), 2011));
    EXPECT_FALSE(admits(with("accept", {drop, accept}), 1500)) << "the first one that fits decides";
    EXPECT_FALSE(admits(with("accept", {other + R"(,{"reject": {"type": "tcp reset"}})"}), 80));
    EXPECT_TRUE(admits(with("accept", {other + R"(,{"reject": {"type": "tcp reset"}})"}), 1500));
    EXPECT_TRUE(admits(with("drop", {R"({"counter": {"packets": 1, "bytes": 2}},)" + accept}), 1500));
    EXPECT_FALSE(admits(with("drop", {R"({"xt": {"type": "match", "name": "hashlimit"}},)" + accept}), 1500))
        << "what is not known holds for nobody";
    EXPECT_TRUE(admits(with("accept", {R"({"xt": {"type": "match", "name": "hashlimit"}},)" + drop}), 1500));
    EXPECT_FALSE(admits(with("drop", {R"({"return": null})", accept}), 1500));
    const std::string map =
        R"({"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set":)"
        R"([[22, {"accept": null}], [1500, {"drop": null}]]}}})";
    EXPECT_TRUE(admits(with("accept", {map}), 80));
    EXPECT_FALSE(admits(with("accept", {map}), 1500));
    EXPECT_TRUE(admits(with("drop", {map}), 22));
}

TEST(NftRuleset, WhatIsNoListOfRulesIsRefused) {
    for (const auto* wrong : {"", "[]", "{}", R"({"nftables": 3})"})
        EXPECT_FALSE(NftRuleset::parse(wrong)) << wrong;
    // Entries of another kind are passed over.
    const auto rules =
        parsed(R"({"nftables": [1, {"rule": {"expr": [1, {}, {"match": 3}, {"vmap": 1}, {"mangle": 0}]}},
        {"chain": {"name": "x", "hook": "input", "family": "inet", "prio": "raw"}}, {"flowtable": {}}]})");
    EXPECT_TRUE(admits(rules, 1500));
}

}  // namespace
}  // namespace understudy::cli
