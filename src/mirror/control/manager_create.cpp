// New mirrors, and one target more or less: the source's part. All or nothing.

#include "config/address.h"
#include "messages/messages.h"
#include "mirror/control/log_place.h"
#include "mirror/control/manager.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"
#include "mirror/control/peer_facts.h"

#include <algorithm>

namespace understudy::mirror::control {

using runtime::Task;

namespace {

// Attempts to reach a peer that refuses go on for so long; one that took the request is not asked again.
constexpr runtime::Duration kJoinedRecently = std::chrono::seconds(2);

}  // namespace

Result<> Manager::check_new(const VolumeId& volume, const std::string& device) const {
    if (const LogPlace place = log_place(options_.settings, options_.layout.bitmaps());
        !world_.files.exists(place.directory))
        return fail(Code::not_found, "the directory of the intent logs, BitmapBaseDir={}, is not there on {}",
                    place.directory, options_.node);
    if (const auto problem = volume_id_problem(volume); !problem.empty())
        return fail(Code::bad_argument, "\"{}\" is no volume name: {}", volume.str(), problem);
    if (mirrors_.contains(volume) || being_made_.contains(volume))
        return fail(Code::exists, "volume {} exists already on {}", volume.str(), options_.node);
    if (records_.exists(volume))
        return fail(Code::exists, "volume {} has a record on {} that cannot be read; see mirror status",
                    volume.str(), options_.node);
    for (const auto& [other, mirror] : mirrors_)
        if (mirror->record().device == device)
            return fail(Code::failure, "{} on {} belongs to volume {}", device, options_.node, other.str());
    return {};
}

/// `taken`: hosts of the volume already. Spec: REP-037, MOP-014.
Result<> Manager::check_target(const VolumeId& volume, const TargetOptions& target,
                               const std::vector<std::string>& taken) const {
    if (target.node == options_.node)
        return fail(Code::bad_argument, "source and target of volume {} are the same node {}", volume.str(),
                    options_.node);
    if (std::find(taken.begin(), taken.end(), target.node) != taken.end())
        return fail(Code::exists, "{} is a target of volume {} already", target.node, volume.str());
    if (taken.size() >= kMaxTargets)
        return fail(Code::failure, "volume {} has {} targets; more are not supported", volume.str(),
                    taken.size());
    if (target.source_address == target.address)
        return fail(Code::bad_argument, "source and target have the same address {}", target.source_address);
    if (config::is_v6(target.source_address) != config::is_v6(target.address))
        return fail(Code::bad_argument, "{} and {} are of different address families", target.source_address,
                    target.address);
    return {};
}

Task<Result<std::string>> Manager::create(CreateOptions options) {
    if (options.targets.empty() && !options.shared_log.empty())
        co_return fail(Code::bad_argument, "volume {} needs a target", options.volume.str());
    const bool sharing =
        !options.shared_log.empty() || (!options.targets.empty() && !options.targets.front().pairs.empty());
    if (sharing && options.targets.size() > 1)
        co_return fail(Code::failure,
                       "hosts share the disk of volume {} at one end: make its mirrors one by one",
                       options.volume.str());
    std::vector<std::string> taken;
    for (const TargetOptions& target : options.targets) {
        auto fits = check_target(options.volume, target, taken);
        if (!fits) co_return fail(fits.error());
        taken.push_back(target.node);
    }
    auto checked = check_new(options.volume, options.device);
    if (!checked) co_return fail(checked.error());
    const VolumeId volume = options.volume;
    being_made_.insert(volume);
    auto made = co_await create_checked(std::move(options));
    being_made_.erase(volume);
    co_return made;
}

/// A target's half of the mirror.
Task<Result<>> Manager::make_half(const MirrorRecord& record, TargetOptions target,
                                  std::vector<PeerFacts> others, bool equal) {
    PeerRequest request;
    request.kind = RequestKind::create_target;
    request.volume = record.volume;
    request.uuid = record.uuid;
    request.summary.node = options_.node;
    request.summary.volume = record.volume;
    request.summary.uuid = record.uuid;
    request.summary.role = Role::source;
    request.summary.role_epoch = record.role_epoch;
    request.summary.generations = record.generations(target.node);
    request.summary.size = record.size;
    request.summary.sector_size = record.sector_size;
    request.create.device = target.device;
    request.create.local_address = target.address;
    request.create.remote_address = target.source_address;
    request.create.remote_port = options_.dispatch_port;
    request.create.type = target.type;
    request.create.export_kind = record.export_kind;
    request.create.equal = equal;
    request.create.peers = std::move(others);
    request.create.pairs = flipped(target.pairs, options_.dispatch_port);
    const PeerAddress peer{target.node, target.address, options_.dispatch_port, target.source_address};
    // A node that has just joined serves peers as soon as its mirrord has seen the certificate.
    const auto patience = world_.clock.now() + kJoinedRecently;
    const CallLimits limits{.connect = kConnectLimit, .answer = kCreateLimit};
    auto reply = co_await call_peer(world_, peer, request, limits);
    while (!reply && reply.error().code == Code::unreachable && world_.clock.now() < patience) {
        co_await runtime::sleep_for(world_.tasks, kStatePoll);
        reply = co_await call_peer(world_, peer, request, limits);
    }
    if (reply && reply->pairs_taken == target.pairs.size()) co_return Result<>{};
    if (reply) {
        // It would take no other host of this end for its source.
        reply = fail(Code::failure,
                     "{} runs a release that does not know shared volumes: install the same on both",
                     target.node);
        PeerRequest undo = request;
        undo.kind = RequestKind::remove;
        auto undone = co_await call_peer(world_, peer, undo, limits);
        (void)undone;  // a half that stays is provisional: the next creation replaces it
        co_return fail(reply.error());
    }
    if (reply.error().code == Code::unreachable) {
        // Without an answer the peer may have made its half: it is asked to forget it.
        PeerRequest undo = request;
        undo.kind = RequestKind::remove;
        auto undone =
            co_await call_peer(world_, peer, undo, {.connect = kTakeoverProbe, .answer = kNotifyLimit});
        (void)undone;  // a half that stays is provisional: the next creation replaces it
    }
    co_return fail(reply.error());
}

Task<> Manager::forget_half(MirrorRecord record, std::string peer) {
    PeerRequest request;
    request.kind = RequestKind::remove;
    request.volume = record.volume;
    request.uuid = record.uuid;
    const PeerRecord one = *record.peer(peer);
    const PeerAddress address{one.node, one.address, one.port, one.local_address};
    auto reply =
        co_await call_peer(world_, address, request, {.connect = kConnectLimit, .answer = kHelloLimit});
    (void)reply;  // a half that stays is provisional
}

Task<Result<std::string>> Manager::create_checked(CreateOptions options) {
    auto facts = devices_.examine(options.device);
    if (!facts) co_return fail(facts.error());

    MirrorRecord record;
    record.volume = options.volume;
    world_.random.fill(std::as_writable_bytes(std::span(record.uuid)));
    record.device = options.device;
    record.size = facts->size;
    record.sector_size = facts->sector_size;
    record.export_kind = options.export_kind;
    record.role = Role::source;
    record.role_epoch = 1;
    while (record.lineage.current == 0)
        world_.random.fill(std::as_writable_bytes(std::span(&record.lineage.current, 1)));
    record.creating = true;
    record.shared = !options.shared_log.empty();
    for (const TargetOptions& target : options.targets) {
        PeerRecord peer;
        peer.node = target.node;
        peer.local_address = target.source_address;
        peer.address = target.address;
        peer.port = options_.dispatch_port;
        peer.type = target.type;
        peer.state = MirrorState::pending;
        peer.log_path = record.shared ? options.shared_log : log_path(options.volume, target.node);
        peer.pairs = target.pairs;
        PeerBase& base = record.lineage.peers[target.node];
        base.may_hold_current = true;
        base.offered = record.lineage.current;
        if (!options.resync) base.sync_base = record.lineage.current;
        record.peers.push_back(std::move(peer));
    }

    // A crash from here on is undone at the next start.
    auto saved = records_.save(record);
    if (!saved) co_return fail(saved.error());
    Result<> made;
    for (const PeerRecord& peer : record.peers)
        if (auto old_log = world_.files.remove(peer.log_path); !old_log && made) made = fail(old_log.error());
    std::vector<std::string> halves;
    for (const TargetOptions& target : options.targets) {
        if (!made) break;
        made = co_await make_half(record, target, others_of(record, target), !options.resync);
        if (made) halves.push_back(target.node);
    }
    if (!made) {
        const std::string text = fmt::format("its target's half was not made: {}", made.error().text);
        messages::log_text(
            severity_of(Event::target_half_failed),
            fmt::format("volume {}: {}", record.volume.str(), numbered(Event::target_half_failed, text)));
        if (options_.on_event) options_.on_event({Event::target_half_failed, record.volume, {}, text});
        for (const std::string& half : halves)
            co_await forget_half(record, half);
        (void)records_.remove(record);
        co_return fail(made.error());
    }

    auto mirror = add(record);
    auto started = co_await mirror->start_new(options.resync);
    if (!started) {
        auto removed = co_await mirror->remove(true, true);
        if (!removed) messages::error("{}", removed.error().text);
        forget(record.volume);
        co_return fail(started.error());
    }
    if (!record.peers.empty())
        messages::info("volume {} is mirrored to {}", record.volume.str(), record.peer_names());
    MirrorView view = co_await mirror->view();
    co_return view.device_path;
}

Task<Result<>> Manager::add_target(VolumeId volume, TargetOptions target, bool equal) {
    auto mirror = find(volume);
    if (!mirror) co_return fail(Code::not_found, "no volume {} on {}", volume.str(), options_.node);
    const MirrorRecord record = mirror->record();
    if (record.role != Role::source)
        co_return fail(Code::failure, "{} is not source of volume {}: add the target on {}", options_.node,
                       volume.str(), record.origin);
    std::vector<std::string> taken;
    taken.reserve(record.peers.size());
    for (const PeerRecord& peer : record.peers)
        taken.push_back(peer.node);
    for (const EndpointPair& pair : target.pairs)
        if (const PeerRecord* known = record.peer_of_host(pair.there))
            co_return fail(Code::exists, "{} is a host of the target {} of volume {} already", pair.there,
                           known->node, volume.str());
    auto fits = check_target(volume, target, taken);
    if (!fits) co_return fail(fits.error());
    const bool disks_are_shared =
        !target.pairs.empty() || std::any_of(record.peers.begin(), record.peers.end(),
                                             [](const PeerRecord& peer) { return !peer.pairs.empty(); });
    if (disks_are_shared) {
        auto known = co_await mirror->check_ends();
        if (!known) co_return known;
    }
    // From the moment at which the target takes itself for equal until its log notes what it lacks.
    if (equal) co_await mirror->hold_writes(true);
    auto joined = co_await join_target(mirror, std::move(target), equal);
    if (equal) co_await mirror->hold_writes(false);
    co_return joined;
}

/// The volume's other targets, as the new one is told of them.
std::vector<PeerFacts> Manager::others_of(const MirrorRecord& record, const TargetOptions& target) const {
    std::vector<PeerFacts> out;
    PeerRecord receiver;
    receiver.node = target.node;
    receiver.address = target.address;
    receiver.pairs = target.pairs;
    for (const PeerRecord& peer : record.peers)
        if (peer.node != target.node) out.push_back(facts_of(peer, receiver, options_.node));
    return out;
}

Task<Result<>> Manager::remake_target(VolumeId volume, std::string node, std::string device) {
    auto mirror = find(volume);
    if (!mirror || mirror->record().role != Role::source || !mirror->record().peer(node))
        co_return fail(Code::not_found, "{} has no mirror of volume {} to {}", options_.node, volume.str(),
                       node);
    const MirrorRecord record = mirror->record();
    const PeerRecord& peer = *record.peer(node);
    TargetOptions target;
    target.node = node;
    target.device = std::move(device);
    target.source_address = peer.local_address;
    target.address = peer.address;
    target.type = peer.type;
    target.pairs = peer.pairs;
    auto half = co_await make_half(record, target, others_of(record, target), false);
    co_return half;
}

Task<Result<>> Manager::join_target(std::shared_ptr<Mirror> mirror, TargetOptions target, bool equal) {
    const MirrorRecord record = mirror->record();
    auto half = co_await make_half(record, target, others_of(record, target), equal);
    if (!half) co_return fail(half.error());
    PeerRecord peer;
    peer.node = target.node;
    peer.local_address = target.source_address;
    peer.address = target.address;
    peer.port = options_.dispatch_port;
    peer.type = target.type;
    peer.pairs = target.pairs;
    MirrorRecord with = record;
    with.peers.push_back(peer);
    Result<> added;
    if (equal && mirror->record().lineage.current != record.lineage.current)
        added = fail(Code::failure, "volume {} has gone on without a target meanwhile: try again",
                     record.volume.str());
    else
        added = co_await mirror->add_peer(std::move(peer), equal);
    if (!added) {
        co_await forget_half(with, target.node);
        co_return fail(added.error());
    }
    co_return Result<>{};
}

Task<Result<>> Manager::remove_target(VolumeId volume, std::string node, bool force) {
    auto mirror = find(volume);
    if (!mirror) co_return fail(Code::not_found, "no volume {} on {}", volume.str(), options_.node);
    const MirrorRecord record = mirror->record();
    // The last one of a shared volume is deleted with the mirror.
    if (record.role == Role::source && record.peer(node) && (record.peers.size() > 1 || !record.shared)) {
        PeerRequest request;
        request.kind = RequestKind::remove;
        request.volume = volume;
        request.uuid = record.uuid;
        auto reply = co_await mirror->call(node, request, {.connect = kConnectLimit, .answer = kHelloLimit});
        if (!reply && reply.error().code != Code::not_found && !force)
            co_return fail(reply.error().code, "{}; --force removes it from this volume all the same",
                           reply.error().text);
    }
    auto dropped = co_await mirror->drop_peer(std::move(node));
    co_return dropped;
}

/// The daemon died while it made this mirror: nobody was told that it exists.
Task<> Manager::undo_creation(MirrorRecord record) {
    messages::warning("the creation of volume {} was interrupted; it is undone", record.volume.str());
    for (const PeerRecord& peer : record.peers) {
        co_await forget_half(record, peer.node);
        auto log_gone = world_.files.remove(peer.log_path);
        if (!log_gone) messages::warning("{}", log_gone.error().text);
    }
    auto gone = records_.remove(record);
    if (!gone) messages::error("{}", gone.error().text);
}

}  // namespace understudy::mirror::control
