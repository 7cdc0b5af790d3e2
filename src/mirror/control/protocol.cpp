#include "mirror/control/protocol.h"

#include "control.pb.h"

#include <cstring>
#include <tuple>

namespace understudy::mirror::control {

namespace {

constexpr std::uint64_t kMostBlocks = std::uint64_t{1} << 47;  // 2^63 bytes

template <class Array>
std::string bytes_of(const Array& array) {
    return {reinterpret_cast<const char*>(array.data()), array.size()};
}

/// False when the lengths differ; an empty field leaves the zeros.
template <class Array>
bool fill(Array& array, const std::string& from) {
    if (from.empty()) return true;
    if (from.size() != array.size()) return false;
    std::memcpy(array.data(), from.data(), from.size());
    return true;
}

/// The plain fields of a summary: the one list from which both directions come.
template <class Value>
struct SummaryField {
    Value EndSummary::*member;
    Value (wire::Summary::*get)() const;
    void (wire::Summary::*set)(Value);
};
template <class Value>
SummaryField(Value EndSummary::*, Value (wire::Summary::*)() const, void (wire::Summary::*)(Value))
    -> SummaryField<Value>;
constexpr auto kSummaryFields = std::tuple{
    SummaryField{&EndSummary::role_epoch, &wire::Summary::role_epoch, &wire::Summary::set_role_epoch},
    SummaryField{&EndSummary::consistent, &wire::Summary::consistent, &wire::Summary::set_consistent},
    SummaryField{&EndSummary::log_valid, &wire::Summary::log_valid, &wire::Summary::set_log_valid},
    SummaryField{&EndSummary::unlocked, &wire::Summary::unlocked, &wire::Summary::set_unlocked},
    SummaryField{&EndSummary::serving, &wire::Summary::serving, &wire::Summary::set_serving},
    SummaryField{&EndSummary::demoted, &wire::Summary::demoted, &wire::Summary::set_demoted},
    SummaryField{&EndSummary::yielded, &wire::Summary::yielded, &wire::Summary::set_yielded},
    SummaryField{&EndSummary::split_brain, &wire::Summary::split_brain, &wire::Summary::set_split_brain},
    SummaryField{&EndSummary::log_complete, &wire::Summary::log_complete, &wire::Summary::set_log_complete},
    SummaryField{&EndSummary::free_left_out, &wire::Summary::free_left_out,
                 &wire::Summary::set_free_left_out},
    SummaryField{&EndSummary::dirty_blocks, &wire::Summary::dirty_blocks, &wire::Summary::set_dirty_blocks},
    SummaryField{&EndSummary::size, &wire::Summary::size, &wire::Summary::set_size},
    SummaryField{&EndSummary::sector_size, &wire::Summary::sector_size, &wire::Summary::set_sector_size},
};

template <class Function>
void for_each_summary_field(Function function) {
    std::apply([&](const auto&... field) { (function(field), ...); }, kSummaryFields);
}

void put(wire::Summary& out, const EndSummary& summary) {
    out.set_node(summary.node);
    out.set_volume(summary.volume.str());
    out.set_uuid(bytes_of(summary.uuid));
    out.set_role(static_cast<std::uint32_t>(summary.role));
    auto& generations = *out.mutable_generations();
    generations.set_current(summary.generations.current);
    for (const GenerationId id : summary.generations.history)
        generations.add_history(id);
    generations.set_sync_base(summary.generations.sync_base);
    generations.set_peer_may_hold_current(summary.generations.peer_may_hold_current);
    for_each_summary_field([&](const auto& field) { (out.*field.set)(summary.*field.member); });
}

bool get(EndSummary& out, const wire::Summary& in) {
    if (in.role() > static_cast<std::uint32_t>(Role::target)) return false;
    if (in.generations().history_size() > static_cast<int>(kMaxGenerationHistory)) return false;
    out.node = in.node();
    out.volume = VolumeId(in.volume());
    out.role = static_cast<Role>(in.role());
    out.generations.current = in.generations().current();
    out.generations.history.assign(in.generations().history().begin(), in.generations().history().end());
    out.generations.sync_base = in.generations().sync_base();
    out.generations.peer_may_hold_current = in.generations().peer_may_hold_current();
    for_each_summary_field([&](const auto& field) { out.*field.member = (in.*field.get)(); });
    return fill(out.uuid, in.uuid());
}

void put(wire::Offer& out, const mirror::wire::Offer& offer) {
    out.set_oldest_version(offer.oldest_version);
    out.set_newest_version(offer.newest_version);
    out.set_features(offer.features);
}

/// False for versions that no build offers.
template <class Message>
bool get_offer(mirror::wire::Offer& out, const Message& in) {
    if (!in.has_offer()) return true;
    out = {in.offer().oldest_version(), in.offer().newest_version(), in.offer().features()};
    return out.oldest_version >= 1 && out.newest_version >= out.oldest_version;
}

template <class List>
void put_pairs(List& out, const std::vector<EndpointPair>& pairs) {
    for (const EndpointPair& pair : pairs) {
        wire::EndpointPair& to = *out.Add();
        to.set_here(pair.here);
        to.set_there(pair.there);
        to.set_local_address(pair.local_address);
        to.set_address(pair.address);
        to.set_port(pair.port);
        to.set_serial(pair.serial);
    }
}

/// False for what no peer says.
template <class List>
bool get_pairs(std::vector<EndpointPair>& out, const List& in) {
    if (in.size() > static_cast<int>(kMostEndpointPairs)) return false;
    for (const wire::EndpointPair& pair : in) {
        if (pair.here().empty() || pair.there().empty() || pair.port() == 0 || pair.port() > 65535)
            return false;
        out.push_back({pair.here(), pair.there(), pair.local_address(), pair.address(),
                       static_cast<std::uint16_t>(pair.port()), pair.serial()});
    }
    return true;
}

template <class List>
void put_peers(List& out, const std::vector<PeerFacts>& peers) {
    for (const PeerFacts& peer : peers) {
        wire::Peer& to = *out.Add();
        to.set_node(peer.node);
        to.set_address(peer.address);
        to.set_local_address(peer.local_address);
        to.set_port(peer.port);
        to.set_type(static_cast<std::uint32_t>(peer.type));
        to.set_user_requested(peer.user_requested);
        to.set_log_valid(peer.log_valid);
        to.set_sync_base(peer.sync_base);
        to.set_offered(peer.offered);
        put_pairs(*to.mutable_pairs(), peer.pairs);
        if (!peer.dirty || peer.dirty->size() > kMostRanges) continue;
        to.set_dirty_known(true);
        std::uint64_t end = 0;
        for (const BlockRange& range : *peer.dirty) {
            to.add_dirty(range.first - end);
            to.add_dirty(range.count);
            end = range.first + range.count;
        }
    }
}

/// False for what no peer says.
template <class List>
bool get_peers(std::vector<PeerFacts>& out, const List& in) {
    if (in.size() > static_cast<int>(kMaxTargets)) return false;
    for (const wire::Peer& from : in) {
        PeerFacts peer;
        peer.node = from.node();
        peer.address = from.address();
        peer.local_address = from.local_address();
        if (peer.node.empty() || from.port() == 0 || from.port() > 65535) return false;
        peer.port = static_cast<std::uint16_t>(from.port());
        if (from.type() != static_cast<std::uint32_t>(MirrorType::sync) &&
            from.type() != static_cast<std::uint32_t>(MirrorType::async))
            return false;
        peer.type = static_cast<MirrorType>(from.type());
        peer.user_requested = from.user_requested();
        peer.log_valid = from.log_valid();
        peer.sync_base = from.sync_base();
        peer.offered = from.offered();
        if (!get_pairs(peer.pairs, from.pairs())) return false;
        if (from.dirty_size() % 2 != 0 || from.dirty_size() > static_cast<int>(2 * kMostRanges)) return false;
        if (from.dirty_known()) {
            BlockRanges ranges;
            std::uint64_t end = 0;
            for (int i = 0; i < from.dirty_size(); i += 2) {
                const BlockRange range{end + from.dirty(i), from.dirty(i + 1)};
                // Blocks beyond any volume's end, sums that wrap: not ours.
                if (range.first > kMostBlocks || range.count > kMostBlocks - range.first) return false;
                ranges.push_back(range);
                end = range.first + range.count;
            }
            peer.dirty = std::move(ranges);
        }
        out.push_back(std::move(peer));
    }
    return true;
}

template <class Message>
Result<Message> parse(std::span<const std::byte> frame, std::string_view what) {
    Message message;
    if (frame.size() > kMaxMessageBytes ||
        !message.ParseFromArray(frame.data(), static_cast<int>(frame.size())))
        return fail(Code::internal, "malformed {} of {} bytes from the peer's mirrord", what, frame.size());
    if (message.version() != kProtocolVersion)
        return fail(
            Code::internal,
            "the peer's mirrord speaks protocol version {}, this one version {}: install the same release on "
            "both nodes",
            message.version(), kProtocolVersion);
    return message;
}

}  // namespace

std::string encode(const PeerRequest& request) {
    wire::Request out;
    out.set_version(kProtocolVersion);
    out.set_kind(static_cast<std::uint32_t>(request.kind));
    out.set_volume(request.volume.str());
    out.set_uuid(bytes_of(request.uuid));
    put(*out.mutable_summary(), request.summary);
    out.set_type(static_cast<std::uint32_t>(request.type));
    put(*out.mutable_offer(), request.offer);
    out.set_payload(request.payload);
    for (const VolumeId& volume : request.volumes)
        out.add_volumes(volume.str());
    out.set_snapshot(request.snapshot);
    out.set_refresh(request.refresh);
    if (request.resumes != SessionId{}) out.set_resumes(bytes_of(request.resumes));
    put_peers(*out.mutable_peers(), request.peers);
    put_pairs(*out.mutable_pairs(), request.pairs);
    if (request.kind == RequestKind::create_target) {
        auto& create = *out.mutable_create();
        create.set_device(request.create.device);
        create.set_local_address(request.create.local_address);
        create.set_remote_address(request.create.remote_address);
        create.set_remote_port(request.create.remote_port);
        create.set_type(static_cast<std::uint32_t>(request.create.type));
        create.set_export_kind(request.create.export_kind == ExportKind::nbd ? 1 : 0);
        create.set_export_wanted(static_cast<std::uint32_t>(request.create.export_kind));
        create.set_equal(request.create.equal);
        put_peers(*create.mutable_peers(), request.create.peers);
        put_pairs(*create.mutable_pairs(), request.create.pairs);
    }
    return out.SerializeAsString();
}

std::string encode(const PeerReply& reply) {
    wire::Reply out;
    out.set_version(kProtocolVersion);
    out.set_code(static_cast<int>(reply.code));
    out.set_error(reply.error);
    put(*out.mutable_summary(), reply.summary);
    out.set_resync(static_cast<std::uint32_t>(reply.resync));
    out.set_port(reply.port);
    out.set_session(bytes_of(reply.session));
    out.set_key(bytes_of(reply.key));
    out.set_was_serving(reply.was_serving);
    out.set_payload(reply.payload);
    // Shifted so that "invalid", -1, stays an unsigned field.
    out.set_state(static_cast<std::uint32_t>(static_cast<int>(reply.state) + 1));
    put(*out.mutable_offer(), reply.offer);
    put_peers(*out.mutable_peers(), reply.peers);
    out.set_text(reply.text);
    out.set_resumed(reply.resumed);
    out.set_pairs_taken(static_cast<std::uint32_t>(reply.pairs_taken));
    return out.SerializeAsString();
}

Result<PeerRequest> decode_request(std::span<const std::byte> frame) {
    UNDERSTUDY_TRY(const wire::Request in, parse<wire::Request>(frame, "request"));
    PeerRequest out;
    out.kind = static_cast<RequestKind>(in.kind());
    out.volume = VolumeId(in.volume());
    const auto bad = [](std::string_view field) {
        return fail(Code::internal, "the peer's request has an illegal {}", field);
    };
    if (out.kind == RequestKind::service) {
        out.payload = in.payload();
        return out;
    }
    const bool snapshot = out.kind == RequestKind::snapshot_take || out.kind == RequestKind::snapshot_mark;
    if (!snapshot && out.kind != RequestKind::changes &&
        (in.kind() < static_cast<std::uint32_t>(RequestKind::query) ||
         in.kind() > static_cast<std::uint32_t>(RequestKind::set_pairs)))
        return bad("kind");
    if (!fill(out.uuid, in.uuid())) return bad("mirror id");
    if (!get(out.summary, in.summary())) return bad("summary");
    if (in.type() > static_cast<std::uint32_t>(MirrorType::async)) return bad("type");
    out.type = static_cast<MirrorType>(in.type());
    if (!get_offer(out.offer, in)) return bad("offer");
    if (!fill(out.resumes, in.resumes())) return bad("session");
    if (!get_peers(out.peers, in.peers())) return bad("list of peers");
    if (!get_pairs(out.pairs, in.pairs())) return bad("list of endpoints");
    if (const auto problem = volume_id_problem(out.volume); !problem.empty()) return bad("volume name");
    if (snapshot) {
        if (in.volumes().empty() || in.volumes_size() > static_cast<int>(kMostSnapshotVolumes))
            return bad("number of volumes");
        for (const auto& name : in.volumes()) {
            out.volumes.emplace_back(name);
            if (!volume_id_problem(out.volumes.back()).empty()) return bad("volume name");
        }
        out.snapshot = in.snapshot();
        out.refresh = in.refresh();
    }
    if (out.kind == RequestKind::create_target) {
        const auto& create = in.create();
        if (create.remote_port() == 0 || create.remote_port() > 65535) return bad("port");
        if (create.type() != static_cast<std::uint32_t>(MirrorType::sync) &&
            create.type() != static_cast<std::uint32_t>(MirrorType::async))
            return bad("type");
        if (create.export_kind() > 1 || create.export_wanted() > static_cast<std::uint32_t>(ExportKind::ublk))
            return bad("export");
        const auto wanted =
            create.export_kind() == 1 ? ExportKind::nbd : static_cast<ExportKind>(create.export_wanted());
        out.create = {create.device(),
                      create.local_address(),
                      create.remote_address(),
                      static_cast<std::uint16_t>(create.remote_port()),
                      static_cast<MirrorType>(create.type()),
                      wanted,
                      create.equal(),
                      {},
                      {}};
        if (!get_peers(out.create.peers, create.peers())) return bad("list of peers");
        if (!get_pairs(out.create.pairs, create.pairs())) return bad("list of endpoints");
    }
    return out;
}

Result<PeerReply> decode_reply(std::span<const std::byte> frame) {
    UNDERSTUDY_TRY(const wire::Reply in, parse<wire::Reply>(frame, "reply"));
    PeerReply out;
    const auto bad = [](std::string_view field) {
        return fail(Code::internal, "the peer's reply has an illegal {}", field);
    };
    if (in.code() < 0 || in.code() > static_cast<int>(Code::unreachable)) return bad("code");
    out.code = static_cast<Code>(in.code());
    out.error = in.error();
    if (!get(out.summary, in.summary())) return bad("summary");
    if (in.resync() > static_cast<std::uint32_t>(ResyncKind::full)) return bad("resync kind");
    out.resync = static_cast<ResyncKind>(in.resync());
    if (in.port() > 65535) return bad("port");
    out.port = static_cast<std::uint16_t>(in.port());
    if (!fill(out.session, in.session())) return bad("session");
    if (!fill(out.key, in.key())) return bad("key");
    out.was_serving = in.was_serving();
    out.payload = in.payload();
    if (in.state() > static_cast<std::uint32_t>(MirrorState::pending) + 1) return bad("state");
    out.state = static_cast<MirrorState>(static_cast<int>(in.state()) - 1);
    if (!get_offer(out.offer, in)) return bad("offer");
    if (!get_peers(out.peers, in.peers())) return bad("list of peers");
    out.text = in.text();
    out.resumed = in.resumed();
    out.pairs_taken = in.pairs_taken();
    return out;
}

}  // namespace understudy::mirror::control
