#pragma once
// The calls between mirrord daemons on the dispatch port: one request and one reply a channel (TLS, both
// sides prove their node's name). Plain values here, protobuf inside protocol.cpp. Spec: REP-041.

#include "base/result.h"
#include "mirror/control/record.h"
#include "mirror/control/session.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace understudy::mirror::control {

inline constexpr std::uint32_t kProtocolVersion = 1;
/// Small, but for the blocks that the logs of a volume with several targets hold.
inline constexpr std::size_t kMaxMessageBytes = 1UL << 20;

enum class RequestKind : std::uint32_t {
    query = 1,          // your summary, nothing changes
    hello = 2,          // source: start a session with me
    create_target = 3,  // make the target's half of a new mirror
    remove = 4,         // forget your half of the mirror
    pause_notice = 5,   // source: I go on alone
    demote = 6,         // target: give up your device, I take over
    serve_again = 7,    // target: I did not take over, go on
    set_type = 8,
    advance = 9,          // source: another target was lost; my content is of this generation from here on
    set_peers = 10,       // source: these are the volume's other hosts
    change_address = 11,  // the sender's and the receiver's addresses for each other, or those of `pairs`
    set_pairs = 12,       // these are the hosts of my end of the mirror now, in `pairs`
    // A command for this node's service of commands (mirror/emcmd), in `payload`; of no volume in particular.
    service = 64,
    snapshot_take = 20,  // to the target: take a snapshot of your volumes
    snapshot_mark = 21,  // to the source: quiesce and mark `volumes` for my snapshot
    changes = 22,        // what your intent log says you changed; nothing happens
};

/// Volumes of one snapshot, at most.
inline constexpr std::size_t kMostSnapshotVolumes = 64;

/// Another host of a volume, as the sender knows it.
struct PeerFacts {
    std::string node;
    std::string address;        // where the receiver reaches it; empty: not told
    std::string local_address;  // and from where
    std::uint16_t port = kDispatchPort;
    MirrorType type = MirrorType::sync;
    bool user_requested = false;
    bool log_valid = false;
    GenerationId sync_base = 0, offered = 0;
    std::optional<BlockRanges> dirty;  // what the sender's log of it holds
    /// When hosts share the disk of either end: as the receiver's record has them.
    std::vector<EndpointPair> pairs;

    friend bool operator==(const PeerFacts&, const PeerFacts&) = default;
};
/// Ranges that travel; a log more scattered than that is not worth it.
inline constexpr std::size_t kMostRanges = 65536;

struct CreateTarget {
    std::string device;
    std::string local_address;   // of the target
    std::string remote_address;  // of the source
    std::uint16_t remote_port = kDispatchPort;
    MirrorType type = MirrorType::sync;
    ExportKind export_kind = ExportKind::automatic;
    bool equal = false;
    std::vector<PeerFacts> peers;
    std::vector<EndpointPair> pairs;  // as the target's record has them
};

struct PeerRequest {
    RequestKind kind = RequestKind::query;
    VolumeId volume;
    MirrorUuid uuid{};
    EndSummary summary;   // of the asking end
    CreateTarget create;  // create_target only
    MirrorType type = MirrorType::none;
    mirror::wire::Offer offer;  // of the asking end, for the data links
    std::string payload;        // service only
    std::vector<PeerFacts> peers;
    // hello, set_peers, set_pairs, change_address: as the receiver's record has them
    std::vector<EndpointPair> pairs;
    std::vector<VolumeId> volumes;  // of a snapshot
    std::uint64_t snapshot = 0;     // its number
    bool refresh = false;           // snapshot_take: in the place of an earlier one
    std::string host;               // not sent: of an end that hosts share, the one that asks
    SessionId resumes{};            // hello: the session whose links broke; zeros: a new one
};

/// Answer to hello: the target fits, but cannot make the bitmaps that the source's size needs. Spec: REP-176.
inline constexpr Code kNoBitmaps = Code::out_of_range;
/// The same: another medium lies under the target, and the source would send only what changed. Spec:
/// MOP-115.
inline constexpr Code kMediaReplaced = Code::exists;

struct PeerReply {
    Code code = Code::ok;
    std::string error;
    EndSummary summary;  // of the answering end, after what it did
    ResyncKind resync = ResyncKind::none;
    std::uint16_t port = 0;  // hello: the data port; 0 when no session was made
    SessionId session{};
    SessionKey key{};
    bool was_serving = false;  // demote
    MirrorState state = MirrorState::none;
    mirror::wire::Offer offer;     // of the answering end
    std::string payload;           // service only
    std::vector<PeerFacts> peers;  // demote: the source's other targets
    std::string text;              // snapshot_take: the devices, a line each; changes: see split_view.h
    // create_target, set_pairs, change_address: so many pairs are on record now
    std::size_t pairs_taken = 0;
    bool resumed = false;  // hello: the session goes on over the links of this one
};

std::string encode(const PeerRequest& request);
std::string encode(const PeerReply& reply);
/// Errors: malformed, too long, a value outside its range, or another protocol version (named in the text).
Result<PeerRequest> decode_request(std::span<const std::byte> frame);
Result<PeerReply> decode_reply(std::span<const std::byte> frame);

}  // namespace understudy::mirror::control
