#include "quorum/storage_monitor.h"

#include "quorum/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::quorum {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::Field;
using testing::IsEmpty;

const NodeName kAlpha("ALPHA");
const NodeName kBeta("BETA");

auto number(int wanted) {
    return Contains(Field(&Note::number, wanted));
}

/// Replaces a part of a record and keeps its size.
std::string changed(std::string bytes, const std::string& from, const std::string& to) {
    bytes.replace(bytes.find(from), from.size(), to);
    bytes.resize(kObjectBytes, '\0');
    return bytes;
}

/// The same with a checksum that fits.
std::string forged(std::string bytes, const std::string& from, const std::string& to) {
    bytes.replace(bytes.find(from), from.size(), to);
    bytes.resize(bytes.find("checksum="));
    bytes += fmt::format("checksum={}\n", checksum(bytes));
    bytes.resize(kObjectBytes, '\0');
    return bytes;
}

Object example() {
    return {kAlpha, "2024-05-01T10:00:06Z", 1207, {{kBeta, CommStat::up}}};
}

// Spec: QUO-081, QUO-084, QUO-085
TEST(QwkObject, IsTheRecordOfTheManualPaddedTo4096Bytes) {
    const auto bytes = encode(example());
    ASSERT_EQ(bytes.size(), 4096U);
    EXPECT_TRUE(
        bytes.starts_with("signature=lifekeeper_qwk_object\nlocal_node=ALPHA\ntime=2024-05-01T10:00:06Z\n"
                          "sequence=1207\nnode=BETA\ncommstat=UP\nchecksum="));
    EXPECT_EQ(bytes.back(), '\0');
    EXPECT_EQ(decode_object(bytes, kAlpha), example());
    EXPECT_EQ(checksum("a"), 0xaf63dc4c8601ec8cULL) << "FNV-1a, 64 bit";
}

// Spec: QUO-084, QUO-086, QUO-129
TEST(QwkObject, EachDefectHasItsMessage) {
    const auto bytes = encode(example());
    const auto error = [](const std::string& data) {
        const auto decoded = decode_object(data, kAlpha);
        return decoded ? 0 : decoded.error().number;
    };
    EXPECT_EQ(error(std::string(kObjectBytes, '\0')), 18135);
    EXPECT_EQ(error(forged(bytes, "lifekeeper_qwk_object", "another_object")), 18136);
    EXPECT_EQ(error(forged(bytes, "local_node=ALPHA\n", "")), 18137);
    EXPECT_EQ(error(forged(bytes, "local_node=ALPHA", "local_node=GAMMA")), 18138);
    EXPECT_EQ(error(forged(bytes, "time=2024-05-01T10:00:06Z\n", "")), 18139);
    EXPECT_EQ(error(forged(bytes, "sequence=1207\n", "")), 18140);
    EXPECT_EQ(error(forged(bytes, "sequence=1207", "sequence=12o7")), 18141);
    EXPECT_EQ(error(forged(bytes, "commstat=UP\n", "")), 18143);
    EXPECT_EQ(error(changed(bytes, "checksum=", "chocksum=")), 18144);
    EXPECT_EQ(error(changed(bytes, "checksum=", "checksum=x")), 18145);
    EXPECT_EQ(error(changed(bytes, "sequence=1207", "sequence=1208")), 18146);
    EXPECT_EQ(error(bytes.substr(0, 60)), 18139) << "torn";
    EXPECT_EQ(error(bytes + "x"), 18133);
}

// Spec: QUO-086: no torn mixture of two records is ever taken for one.
TEST(QwkObject, NoTornRecordIsAccepted) {
    auto next = example();
    next.sequence = 1208;
    next.time = "2024-05-01T10:00:12Z";
    next.peers[0].second = CommStat::down;
    const auto before = encode(example());
    const auto after = encode(next);
    for (std::size_t torn = 1; torn < 200; ++torn) {
        const auto mixed = after.substr(0, torn) + before.substr(torn);
        const auto decoded = decode_object(mixed, kAlpha);
        if (mixed == before || mixed == after) continue;
        EXPECT_FALSE(decoded) << "torn at " << torn;
    }
}

class Monitor : public testing::Test {
  protected:
    static StorageConfiguration two_nodes() {
        StorageConfiguration configuration;
        configuration.self = kAlpha;
        configuration.objects = {{kAlpha, {"/qwk/A"}}, {kBeta, {"/qwk/B"}}};
        return configuration;
    }
    static runtime::TimePoint at(runtime::Duration when) { return runtime::TimePoint(when); }
    static std::string of_beta(std::uint64_t sequence) {
        return encode(Object{kBeta, "", sequence, {{kAlpha, CommStat::up}}});
    }
    std::vector<Note> good(std::uint64_t beta, runtime::Duration when) {
        const auto own = encode(monitor.next_object("", {}));
        CycleOutcome outcome;
        outcome.objects.emplace(kAlpha, own);
        outcome.objects.emplace(kBeta, of_beta(beta));
        return monitor.cycle_ended(outcome, at(when), at(when + 100ms));
    }
    StorageMonitor monitor{two_nodes()};
};

// Spec: QUO-087
TEST_F(Monitor, GoesOnFromItsOwnObjectAsItFindsIt) {
    EXPECT_THAT(monitor.start(fail(Code::not_found, "none")), number(18149));
    EXPECT_EQ(monitor.next_object("", {}).sequence, 1U);
    EXPECT_THAT(StorageMonitor(two_nodes()).start(std::string("garbage")), number(18148));
    StorageMonitor again(two_nodes());
    EXPECT_THAT(again.start(encode(Object{kAlpha, "", 41, {}})), number(18147));
    EXPECT_EQ(again.next_object("", {}).sequence, 42U);
}

// Spec: QUO-082, QUO-055
TEST_F(Monitor, WritesItsOwnObjectWithHowItSeesThePeers) {
    const auto object = monitor.next_object("now", {{kBeta, CommStat::down}});
    EXPECT_EQ(object.owner, kAlpha);
    EXPECT_EQ(object.peers, (std::vector<std::pair<NodeName, CommStat>>{{kBeta, CommStat::down}}));
}

// Spec: QUO-040, QUO-024, QUO-042
TEST_F(Monitor, QuorumIsThereWhileACycleIsYoungerThanTwoIntervals) {
    EXPECT_EQ(monitor.state(at(0s)), Access::unknown);
    EXPECT_THAT(good(1, 10s), number(18212)) << "the change is logged";
    EXPECT_EQ(monitor.state(at(22s)), Access::success);
    EXPECT_EQ(monitor.state(at(22s + 200ms)), Access::failure);
    EXPECT_THAT(monitor.look(at(23s)), number(18102));
    EXPECT_THAT(monitor.look(at(24s)), IsEmpty()) << "told once";
    EXPECT_THAT(good(2, 30s), number(18212));
}

// Spec: QUO-041
TEST_F(Monitor, APeersBadObjectIsAFactAboutThatPeer) {
    good(1, 0s);
    CycleOutcome outcome;
    outcome.objects.emplace(kAlpha, encode(monitor.next_object("", {})));
    outcome.objects.emplace(kBeta, changed(of_beta(2), "sequence=2", "sequence=3"));
    EXPECT_THAT(monitor.cycle_ended(outcome, at(6s), at(6s)), number(18146));
    EXPECT_EQ(monitor.state(at(6s)), Access::success);
    EXPECT_EQ(monitor.peer(kBeta)->missed, 1);
    CycleOutcome blind;
    blind.objects.emplace(kAlpha, fail(Code::failure, "no"));
    blind.objects.emplace(kBeta, fail(Code::failure, "no"));
    monitor.cycle_ended(blind, at(12s), at(12s));
    EXPECT_EQ(monitor.state(at(12s)), Access::failure) << "nothing can be read back";
    EXPECT_EQ(monitor.last_write(), at(6s)) << "no proof of anything";
}

// Spec: QUO-051
TEST_F(Monitor, OneUpdateResetsTheCountOfMissedChecks) {
    good(7, 0s);
    for (int i = 1; i <= 3; ++i)
        good(7, i * 6s);
    EXPECT_EQ(monitor.peer(kBeta)->missed, 3);
    EXPECT_EQ(monitor.quiet(kBeta, at(18s)), 18s - 100ms);
    good(8, 24s);
    EXPECT_EQ(monitor.peer(kBeta)->missed, 0);
    EXPECT_EQ(monitor.quiet(kBeta, at(24s + 100ms)), 0s);
}

// Spec: QUO-056
TEST_F(Monitor, SequenceThatGoesBackwardsIsNoUpdateUnlessItGrows) {
    good(100, 0s);
    EXPECT_THAT(good(5, 6s), number(18154));
    for (int i = 2; i <= 8; ++i)
        good(5, i * 6s);
    EXPECT_EQ(monitor.peer(kBeta)->sequence, 100U) << "an old copy that stays";
    for (std::uint64_t i = 0; i < 4; ++i)
        good(6 + i, 60s + std::chrono::seconds(6 * i));
    EXPECT_LT(*monitor.peer(kBeta)->sequence, 100U) << "a peer that was initialised anew";
}

// Spec: QUO-094: an access that does not end is a failed one.
TEST_F(Monitor, CycleWithoutAnAnswerIsAFailedAccess) {
    good(1, 0s);
    EXPECT_THAT(monitor.cycle_failed(at(6s), at(12s), "no answer"), number(18213));
    EXPECT_EQ(monitor.state(at(12s)), Access::failure);
}

// Spec: QUO-108
TEST_F(Monitor, NodeThatWasNotCapturedIsUnknown) {
    EXPECT_EQ(monitor.peer(NodeName("GAMMA")), nullptr);
    EXPECT_EQ(monitor.quiet(NodeName("GAMMA"), at(0s)), std::nullopt);
}

// Spec: QUO-128
TEST(Words, AreThoseOfTheCatalogue) {
    EXPECT_EQ(to_string(Access::success), "SUCCESS");
    EXPECT_EQ(to_string(Access::failure), "FAILURE");
    EXPECT_EQ(to_string(Access::unknown), "UNKNOWN");
    EXPECT_EQ(to_string(CommStat::up), "UP");
    EXPECT_EQ(to_string(CommStat::down), "DOWN");
    EXPECT_EQ(to_string(CommStat::unknown), "UNKNOWN");
}

// Spec: QUO-125, QUO-126
TEST(Requests, AreCheckedAndTheirDefectsNumbered) {
    const std::set<NodeName> known{kAlpha, kBeta};
    const auto error = [&](std::string_view text) {
        const auto request = decode_request(text, known);
        return request ? 0 : request.error().number;
    };
    const auto verify =
        decode_request("command=witness_verify\nlkevent=COMM_DOWN\ntarget_node=BETA\n", known);
    ASSERT_TRUE(verify);
    EXPECT_EQ(verify->kind, Request::Kind::witness_verify);
    EXPECT_EQ(verify->target, kBeta);
    EXPECT_EQ(error("command=quorum_verify\nlkevent=COMM_UP\n"), 0);
    EXPECT_EQ(error("command=terminate\n"), 0);
    EXPECT_EQ(error("nonsense"), 18171);
    EXPECT_EQ(error("command=quorum_verify\n"), 18172);
    EXPECT_EQ(error("command=witness_verify\n"), 18173);
    EXPECT_EQ(error("command=witness_verify\nlkevent=COMM_UP\n"), 18174);
    EXPECT_EQ(error("command=dance\n"), 18175);
    EXPECT_EQ(error("command=quorum_verify\nlkevent=NOON\n"), 18207);
    EXPECT_EQ(error("command=witness_verify\nlkevent=COMM_UP\ntarget_node=GAMMA\n"), 18167);
    EXPECT_EQ(error("x=" + std::string(kMaxRequestBytes, 'y')), 18178);
}

}  // namespace
}  // namespace understudy::quorum
