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
        Hello{1, 2, "left", "0.1", "TCP:1500", ~0ULL, 200, 3},
        Refusal{"because"},
        Heartbeat{1, 2, View::silent, 3, 4, 5, 6},
        Call{7, 5, 2, 1000, "recovery.step", blob},
        Answer{7, Code::unreachable, 472, blob, blob},
        Notice{"config.change", blob},
        JoinRequest{
            "SECRET", "right", "PEM", {{"TCP:1500", "TLI", 1, 6000, 5, "10.0.0.2", "10.0.0.1"}}, -5, "0.1"},
        JoinReply{
            Code::ok, "", "PEM", "CA", "cluster", "left", {{"TCP:1500", "TLI", 2, 200, 3, "::1", "::2"}}},
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
              fmt::format("frame of protocol version 9; this node speaks version {}", kProtocolMajor));
}

TEST(Wire, ValuesOutsideTheirRangeAreErrors) {
    auto view = of_version(kProtocolMajor);
    view.mutable_heartbeat()->set_view(3);
    EXPECT_FALSE(decode(bytes(view.SerializeAsString())));

    auto code = of_version(kProtocolMajor);
    code.mutable_answer()->set_code(10);
    EXPECT_FALSE(decode(bytes(code.SerializeAsString())));

    auto name = of_version(kProtocolMajor);
    name.mutable_call()->set_method(std::string(kMaxNameBytes + 1, 'm'));
    EXPECT_FALSE(decode(bytes(name.SerializeAsString())));

    auto paths = of_version(kProtocolMajor);
    for (std::size_t i = 0; i <= kMaxPathsProposed; ++i)
        paths.mutable_join_request()->add_paths();
    EXPECT_FALSE(decode(bytes(paths.SerializeAsString())));

    EXPECT_FALSE(decode(bytes(of_version(kProtocolMajor).SerializeAsString())));
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
