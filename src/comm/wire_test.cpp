#include "comm/wire.h"

#include "comm/cluster.pb.h"
#include "comm/protocol.h"

#include <gtest/gtest.h>

namespace understudy::comm::wire {
namespace {

std::span<const std::byte> bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

Result<Frame> reread(const Frame& frame) {
    return decode(bytes(encode(frame)));
}

TEST(Wire, EveryKindOfFrameSurvives) {
    const std::string blob("\0\xff\x80 any", 7);
    const std::vector<Frame> frames{
        Hello{1, 2, "left", "0.1", "TCP:1500", ~0ULL, 200, 3, 4, ~0ULL},
        Refusal{"because"},
        Heartbeat{1, 2, View::silent, 3, 4, 5, 6},
        Call{7, 5, 2, 1000, "recovery.step", blob},
        Answer{7, Code::unreachable, 472, blob, blob},
        Notice{"config.change", blob},
        JoinRequest{
            "SECRET", "right", "PEM", {{"TCP:1500", "TLI", 1, 6000, 5, "10.0.0.2", "10.0.0.1"}}, -5, "0.1"},
        JoinReply{
            Code::ok, "", "PEM", "CA", "cluster", "left", {{"TCP:1500", "TLI", 2, 200, 3, "::1", "::2"}}},
        Unknown{},
    };
    for (const auto& frame : frames) {
        const auto again = reread(frame);
        ASSERT_TRUE(again) << again.error().text;
        EXPECT_EQ(*again, frame);
    }
}

TEST(Wire, GarbageIsAnErrorWithItsSize) {
    const std::string garbage = "\xff\xff\xff garbage";
    const auto frame = decode(bytes(garbage));
    ASSERT_FALSE(frame);
    EXPECT_NE(frame.error().text.find("malformed frame of 11 bytes"), std::string::npos)
        << frame.error().text;
    EXPECT_FALSE(decode({}));
}

pb::Envelope of_version(std::uint32_t major) {
    pb::Envelope envelope;
    envelope.set_major(major);
    return envelope;
}

TEST(Wire, GreetingsAndRefusalsOfOtherVersionsAreUnderstood) {
    auto hello = of_version(9);
    hello.mutable_hello()->set_major(9);
    hello.mutable_hello()->set_node("future");
    const auto frame = decode(bytes(hello.SerializeAsString()));
    ASSERT_TRUE(frame);
    EXPECT_EQ(std::get<Hello>(*frame).major, 9U);

    auto refusal = of_version(9);
    refusal.mutable_refusal()->set_reason("too old");
    EXPECT_EQ(std::get<Refusal>(*decode(bytes(refusal.SerializeAsString()))).reason, "too old");
}

TEST(Wire, OtherFramesOfOtherVersionsAreRefusedWithBothNumbers) {
    auto call = of_version(9);
    call.mutable_call()->set_id(1);
    const auto frame = decode(bytes(call.SerializeAsString()));
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().text,
              fmt::format("frame of protocol version 9; this node speaks versions {} to {}", kLowestProtocol,
                          kHighestProtocol));
    EXPECT_TRUE(decode(bytes(call.SerializeAsString()), 1, 9)) << "when it was agreed on";
}

TEST(Wire, WhatALaterReleaseAddsIsIgnored) {
    // Heartbeat with a field that this release does not know (number 15), then a frame of an unknown kind.
    auto heartbeat = of_version(kLowestProtocol);
    heartbeat.mutable_heartbeat()->set_sequence(7);
    auto bytes_of_it = heartbeat.mutable_heartbeat()->SerializeAsString() + std::string("\x78\x05", 2);
    ASSERT_TRUE(heartbeat.mutable_heartbeat()->ParseFromString(bytes_of_it));
    const auto known = decode(bytes(heartbeat.SerializeAsString()));
    ASSERT_TRUE(known);
    EXPECT_EQ(std::get<Heartbeat>(*known).sequence, 7U);
    const auto unknown = of_version(kLowestProtocol).SerializeAsString() + std::string("\xa2\x06\x03new", 6);
    EXPECT_TRUE(std::holds_alternative<Unknown>(*decode(bytes(unknown))));
}

TEST(Wire, CodesAndViewsOfALaterReleaseAreTakenCarefully) {
    auto view = of_version(kLowestProtocol);
    view.mutable_heartbeat()->set_view(3);
    EXPECT_EQ(std::get<Heartbeat>(*decode(bytes(view.SerializeAsString()))).view, View::unknown);
    auto code = of_version(kLowestProtocol);
    code.mutable_answer()->set_code(10);
    EXPECT_EQ(std::get<Answer>(*decode(bytes(code.SerializeAsString()))).code, Code::failure);
}

TEST(ProtocolVersions, TheHighestThatBothSpeakIsSpoken) {
    const Protocol old{1, 1, 0};
    const Protocol now{1, 2, 0b11};
    const Protocol next{2, 3, 0b110};
    const Protocol far{4, 5, 0};
    EXPECT_EQ(agree(now, old), (Agreed{1, 0}));
    EXPECT_EQ(agree(now, now), (Agreed{2, 0b11}));
    EXPECT_EQ(agree(now, next), (Agreed{2, 0b10}));
    EXPECT_EQ(agree(next, now), agree(now, next)) << "both ends come to the same";
    EXPECT_EQ(agree(old, next), std::nullopt);
    EXPECT_EQ(agree(next, far), std::nullopt);
}

TEST(Wire, ValuesOutsideTheirRangeAreErrors) {
    auto name = of_version(kLowestProtocol);
    name.mutable_call()->set_method(std::string(kMaxNameBytes + 1, 'm'));
    EXPECT_FALSE(decode(bytes(name.SerializeAsString())));

    auto paths = of_version(kLowestProtocol);
    for (std::size_t i = 0; i <= kMaxPathsProposed; ++i)
        paths.mutable_join_request()->add_paths();
    EXPECT_FALSE(decode(bytes(paths.SerializeAsString())));

    EXPECT_FALSE(decode(bytes(of_version(kLowestProtocol).SerializeAsString())));
}

TEST(Wire, TooLongTextsOfOurOwnAreCutNotRefusedByThePeer) {
    const auto frame = reread(Answer{1, Code::failure, 0, std::string(kMaxTextBytes + 5, 'x'), {}});
    ASSERT_TRUE(frame);
    EXPECT_EQ(std::get<Answer>(*frame).text.size(), kMaxTextBytes);
}

TEST(Wire, NodeNamesAreWhatFitsInCertificatesAndFileNames) {
    for (const auto* good : {"left", "A", "node-1.example_x", "9lives"})
        EXPECT_TRUE(is_node_name(good)) << good;
    for (const auto* bad : {"", "-x", ".x", "a b", "a/b", "a\n", "größe"})
        EXPECT_FALSE(is_node_name(bad)) << bad;
    EXPECT_TRUE(is_node_name(std::string(63, 'a')));
    EXPECT_FALSE(is_node_name(std::string(64, 'a')));
}

}  // namespace
}  // namespace understudy::comm::wire
