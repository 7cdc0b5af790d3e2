#include "mirror/control/session.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

// Spec: REP-039
TEST(DataPort, FollowsTheVolumesLetter) {
    EXPECT_EQ(data_port(VolumeId("A"), 0), 10000);
    EXPECT_EQ(data_port(VolumeId("E"), 0), 10004);
    EXPECT_EQ(data_port(VolumeId("h"), 0), 10007);
    EXPECT_EQ(data_port(VolumeId("Z"), 0), 10025);
    EXPECT_EQ(data_port(VolumeId("pgdata"), 0), 10026);
    EXPECT_EQ(data_port(VolumeId("7"), 0), 10026);
}

// Spec: REP-040
TEST(DataPort, ABusyPortGrowsByTheIncrement) {
    EXPECT_EQ(data_port(VolumeId("F"), 1), 10261);
    EXPECT_EQ(data_port(VolumeId("F"), 16), 10005 + 16 * 256);
    EXPECT_EQ(data_port(VolumeId("F"), 1, 65500, 256), 0);
}

SessionKey key_of(int value) {
    SessionKey key{};
    key[0] = static_cast<std::byte>(value);
    return key;
}

LinkHello hello_of(LinkKind kind) {
    HelloFields fields;
    fields.kind = kind;
    fields.session[3] = std::byte{9};
    fields.nonce[31] = std::byte{1};
    return make_hello(fields);
}

TEST(LinkHandshake, BothSidesWithTheKeyAgree) {
    const LinkHello hello = hello_of(LinkKind::resync);
    const auto fields = parse_hello(hello);
    ASSERT_TRUE(fields);
    EXPECT_EQ(fields->kind, LinkKind::resync);
    EXPECT_EQ(fields->session[3], std::byte{9});
    const LinkAnswer answer = make_answer(key_of(1), hello, Nonce{});
    const auto proof = make_proof(key_of(1), hello, answer);
    ASSERT_TRUE(proof);
    EXPECT_TRUE(proof_holds(key_of(1), hello, answer, *proof));
}

TEST(LinkHandshake, ATargetWithoutTheKeyIsFoundOut) {
    const LinkHello hello = hello_of(LinkKind::data);
    EXPECT_FALSE(make_proof(key_of(1), hello, make_answer(key_of(2), hello, Nonce{})));
}

TEST(LinkHandshake, ASourceWithoutTheKeyIsFoundOut) {
    const LinkHello hello = hello_of(LinkKind::data);
    const LinkAnswer answer = make_answer(key_of(1), hello, Nonce{});
    EXPECT_FALSE(proof_holds(key_of(1), hello, answer, LinkProof{}));
    // The target's own proof sent back to it, and a proof of the other link.
    LinkProof reflected;
    std::copy(answer.begin() + 32, answer.end(), reflected.begin());
    EXPECT_FALSE(proof_holds(key_of(1), hello, answer, reflected));
    const LinkHello other = hello_of(LinkKind::resync);
    const auto proof = make_proof(key_of(1), other, make_answer(key_of(1), other, Nonce{}));
    ASSERT_TRUE(proof);
    EXPECT_FALSE(proof_holds(key_of(1), hello, answer, *proof));
}

TEST(LinkHandshake, ForeignBytesAreRefused) {
    LinkHello hello = hello_of(LinkKind::data);
    hello[0] = std::byte{'X'};
    EXPECT_FALSE(parse_hello(hello));
    hello = hello_of(LinkKind::data);
    hello[8] = std::byte{2};
    EXPECT_FALSE(parse_hello(hello));
    hello = hello_of(LinkKind::data);
    hello[9] = std::byte{3};
    EXPECT_FALSE(parse_hello(hello));
}

}  // namespace
}  // namespace understudy::mirror::control
