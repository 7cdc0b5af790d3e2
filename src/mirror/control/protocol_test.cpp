#include "mirror/control/protocol.h"

#include <gtest/gtest.h>

namespace understudy::mirror::control {
namespace {

std::span<const std::byte> frame(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

EndSummary summary() {
    EndSummary made;
    made.node = "left";
    made.volume = VolumeId("R");
    made.uuid[15] = 0xFF;
    made.role = Role::target;
    made.role_epoch = 9;
    made.generations = {~0ULL, {1, 2, 3}, 2, true};
    made.consistent = false;
    made.unlocked = made.yielded = true;
    made.dirty_blocks = 77;
    made.size = 1ULL << 40;
    made.sector_size = 4096;
    return made;
}

PeerFacts other_peer() {
    PeerFacts made;
    made.node = "third";
    made.address = "10.0.0.3";
    made.local_address = "10.0.0.2";
    made.port = 9998;
    made.type = MirrorType::async;
    made.user_requested = made.log_valid = true;
    made.sync_base = 7;
    made.offered = ~0ULL;
    made.dirty = BlockRanges{{0, 1}, {5, 3}, {1 << 20, 9}};
    return made;
}

// Spec: REP-041
TEST(Protocol, ARequestSurvivesTheWire) {
    PeerRequest request;
    request.kind = RequestKind::create_target;
    request.volume = VolumeId("R");
    request.uuid[0] = 1;
    request.summary = summary();
    request.create = {"/dev/sdb",        "10.0.0.2",      "10.0.0.1", 9998,
                      MirrorType::async, ExportKind::nbd, true,       {other_peer()}};
    request.create.pairs = {{"right", "left", "10.0.0.2", "10.0.0.1", 9998}};
    request.peers = {other_peer(), other_peer()};
    request.peers[1].dirty.reset();
    request.offer = {1, 3, 0x8000000000000001};
    request.resumes[7] = std::byte{9};
    const auto read = decode_request(frame(encode(request)));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->kind, request.kind);
    EXPECT_EQ(read->uuid, request.uuid);
    EXPECT_EQ(read->summary, request.summary);
    EXPECT_EQ(read->create.device, "/dev/sdb");
    EXPECT_EQ(read->create.remote_port, 9998);
    EXPECT_EQ(read->create.type, MirrorType::async);
    EXPECT_EQ(read->create.export_kind, ExportKind::nbd);
    EXPECT_TRUE(read->create.equal);
    EXPECT_EQ(read->offer, request.offer);
    EXPECT_EQ(read->resumes, request.resumes);
    EXPECT_EQ(read->create.peers, request.create.peers);
    EXPECT_EQ(read->create.pairs, request.create.pairs);
    request.create.pairs[0].port = 0;
    EXPECT_FALSE(decode_request(frame(encode(request))));
    request.create.pairs.assign(kMostEndpointPairs + 1, {"right", "left", "10.0.0.2", "10.0.0.1", 9998});
    EXPECT_FALSE(decode_request(frame(encode(request))));
    EXPECT_EQ(read->peers, request.peers);
}

// Spec: REP-239
TEST(Protocol, BlocksThatCannotBeAreRefusedAndTooManyRangesAreNotSent) {
    PeerReply reply;
    reply.peers = {other_peer()};
    reply.peers[0].dirty = BlockRanges{{1, std::uint64_t{1} << 60}};
    EXPECT_FALSE(decode_reply(frame(encode(reply))));
    reply.peers[0].dirty = BlockRanges();
    for (std::uint64_t block = 0; block <= kMostRanges; ++block)
        reply.peers[0].dirty->push_back({2 * block, 1});
    auto read = decode_reply(frame(encode(reply)));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_FALSE(read->peers[0].dirty);  // not known: a full resync follows
    reply.peers[0].dirty->pop_back();
    read = decode_reply(frame(encode(reply)));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->peers, reply.peers);
    reply.peers.resize(kMaxTargets + 1, other_peer());
    EXPECT_FALSE(decode_reply(frame(encode(reply))));
}

TEST(Protocol, TheWayThatAMirrorWantsToBeOfferedReachesTheTarget) {
    PeerRequest request;
    request.kind = RequestKind::create_target;
    request.volume = VolumeId("R");
    request.create = {"/d", "a", "b", 1, MirrorType::sync, ExportKind::automatic, false};
    for (const auto kind : {ExportKind::automatic, ExportKind::nbd, ExportKind::fuse, ExportKind::ublk}) {
        request.create.export_kind = kind;
        const auto read = decode_request(frame(encode(request)));
        ASSERT_TRUE(read) << read.error().text;
        EXPECT_EQ(read->create.export_kind, kind);
    }
}

TEST(Protocol, ABuildThatOffersNothingIsOneFromBeforeOffers) {
    // As such a build wrote it: version, kind, volume.
    const std::string request{"\x08\x01\x10\x02\x1a\x01R", 7};
    const auto read = decode_request(frame(request));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->offer, (mirror::wire::Offer{1, 1, 0}));
    const std::string impossible = request + std::string{"\x42\x04\x08\x03\x10\x02", 6};  // versions 3 to 2
    EXPECT_FALSE(decode_request(frame(impossible)));
}

// These bytes are what a build of any release must read and write.
TEST(Protocol, TestVectorOfAnOffer) {
    PeerReply reply;
    reply.offer = {1, 2, 0x85};
    const std::string bytes = encode(reply);
    const std::string offer{"\x5a\x07\x08\x01\x10\x02\x18\x85\x01", 9};
    EXPECT_NE(bytes.find(offer), std::string::npos);
}

// Spec: REP-324
TEST(Protocol, ASnapshotsRequestSurvivesTheWireAndItsVolumesAreChecked) {
    PeerRequest request;
    request.kind = RequestKind::snapshot_mark;
    request.volume = VolumeId("A");
    request.volumes = {VolumeId("A"), VolumeId("B")};
    request.snapshot = 0xFEDC'BA98'7654'3210ULL;
    const auto read = decode_request(frame(encode(request)));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->kind, RequestKind::snapshot_mark);
    EXPECT_EQ(read->volumes, request.volumes);
    EXPECT_EQ(read->snapshot, request.snapshot);
    EXPECT_FALSE(read->refresh);
    request.kind = RequestKind::snapshot_take;
    request.refresh = true;
    EXPECT_TRUE(decode_request(frame(encode(request)))->refresh);
    request.volumes.emplace_back("../etc");
    EXPECT_FALSE(decode_request(frame(encode(request))));
    request.volumes.clear();
    EXPECT_FALSE(decode_request(frame(encode(request))));
    request.volumes.assign(kMostSnapshotVolumes + 1, VolumeId("A"));
    EXPECT_FALSE(decode_request(frame(encode(request))));
}

TEST(Protocol, AReplySurvivesTheWire) {
    PeerReply reply;
    reply.code = Code::not_found;
    reply.error = "no";
    reply.summary = summary();
    reply.resync = ResyncKind::full;
    reply.port = 10261;
    reply.session[3] = std::byte{4};
    reply.key[31] = std::byte{5};
    reply.was_serving = true;
    reply.state = MirrorState::invalid;
    reply.offer = {1, 1, 5};
    reply.peers = {other_peer()};
    reply.text = "/dev/understudy/A.snapshot\n";
    reply.resumed = true;
    const auto read = decode_reply(frame(encode(reply)));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->code, reply.code);
    EXPECT_EQ(read->error, "no");
    EXPECT_EQ(read->summary, reply.summary);
    EXPECT_EQ(read->resync, ResyncKind::full);
    EXPECT_EQ(read->port, 10261);
    EXPECT_EQ(read->session, reply.session);
    EXPECT_EQ(read->key, reply.key);
    EXPECT_TRUE(read->was_serving);
    EXPECT_EQ(read->state, MirrorState::invalid);
    EXPECT_EQ(read->offer, reply.offer);
    EXPECT_EQ(read->peers, reply.peers);
    EXPECT_EQ(read->text, reply.text);
    EXPECT_TRUE(read->resumed);
}

TEST(Protocol, AnotherVersionIsNamed) {
    std::string bytes = encode(PeerReply{});
    ASSERT_EQ(bytes[0], 0x08);  // field 1, the version
    bytes[1] = 2;
    const auto read = decode_reply(frame(bytes));
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().text.find("speaks protocol version 2, this one version 1"), std::string::npos);
}

TEST(Protocol, EveryCutAndEveryFlippedByteIsSurvived) {
    PeerRequest request;
    request.kind = RequestKind::create_target;
    request.volume = VolumeId("R");
    request.summary = summary();
    request.create = {"/d", "a", "b", 1, MirrorType::sync, ExportKind::fuse, false};
    const std::string whole = encode(request);
    ASSERT_FALSE(decode_request(frame(std::string(kMaxMessageBytes + 1, '\n'))));
    std::size_t refused = 0;
    for (std::size_t at = 0; at < whole.size(); ++at) {
        refused += !decode_request(frame(whole.substr(0, at)));
        for (int bit = 0; bit < 8; ++bit) {
            std::string bent = whole;
            bent[at] = static_cast<char>(bent[at] ^ (1 << bit));
            const auto read = decode_request(frame(bent));
            if (!read) {
                ++refused;
                continue;
            }
            EXPECT_TRUE(volume_id_problem(read->volume).empty());
            EXPECT_LE(read->summary.generations.history.size(), kMaxGenerationHistory);
        }
    }
    EXPECT_GT(refused, whole.size());
}

}  // namespace
}  // namespace understudy::mirror::control
