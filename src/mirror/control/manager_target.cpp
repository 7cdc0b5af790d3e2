// New mirrors: the part of the target, which the source asks.

#include "messages/messages.h"
#include "mirror/control/log_place.h"
#include "mirror/control/manager.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"
#include "mirror/control/peer_facts.h"

#include <algorithm>

namespace understudy::mirror::control {

using runtime::Task;

Task<PeerReply> Manager::create_target(std::string caller, PeerRequest request) {
    // What an interrupted creation of the same node left here gives way.
    if (auto old = find(request.volume); old && old->record().creating &&
                                         old->record().role == Role::target &&
                                         old->record().origin == caller) {
        const bool was_shared = old->record().shared;
        auto removed = co_await old->remove(false, true);
        if (!removed) co_return error_reply(removed.error());
        forget(request.volume);
        if (was_shared && ended_) ended_(request.volume);
    }
    auto checked = check_new(request.volume, request.create.device);
    if (checked && target_check_) checked = target_check_(request.volume);
    if (!checked) co_return error_reply(checked.error());
    std::string shared_log;
    if (lend_) {
        auto lent = co_await lend_(request.volume);
        if (!lent) co_return error_reply(lent.error());
        shared_log = *lent;
    }
    const VolumeId volume = request.volume;
    const bool shared = !shared_log.empty();
    PeerReply reply = co_await make_target(std::move(caller), std::move(request), std::move(shared_log));
    if (shared && !find(volume) && ended_) ended_(volume);
    co_return reply;
}

/// The device is free.
Task<PeerReply> Manager::make_target(std::string caller, PeerRequest request, std::string shared_log) {
    const EndSummary& source = request.summary;
    auto facts = devices_.examine(request.create.device);
    if (!facts)
        co_return error_reply(
            {facts.error().code, fmt::format("{}: {}", options_.node, facts.error().text), 0});
    if (facts->sector_size != source.sector_size)  // Spec: REP-023
        co_return error_reply(
            {Code::bad_argument,
             fmt::format("sector sizes differ: {} bytes on {}, {} bytes on {} ({})", source.sector_size,
                         caller, facts->sector_size, options_.node, request.create.device),
             0});
    if (facts->size < source.size)  // Spec: REP-021
        co_return error_reply({Code::bad_argument,
                               fmt::format("target {} on {} has {} bytes, less than the source's {}",
                                           request.create.device, options_.node, facts->size, source.size),
                               0});

    MirrorRecord record;
    record.volume = request.volume;
    record.uuid = request.uuid;
    record.device = request.create.device;
    record.size = source.size;
    record.sector_size = source.sector_size;
    record.export_kind = request.create.export_kind;
    record.role = Role::target;
    record.role_epoch = source.role_epoch;
    record.origin = caller;
    record.creating = true;
    PeerRecord peer;
    peer.node = caller;
    peer.local_address = request.create.local_address;
    peer.address = request.create.remote_address;
    peer.port = request.create.remote_port;
    peer.type = request.create.type;
    peer.state = MirrorState::pending;
    record.shared = !shared_log.empty();
    peer.log_path = record.shared ? shared_log : log_path(request.volume, caller);
    peer.pairs = request.create.pairs;
    record.peers.push_back(peer);
    record.lineage.peers[caller] = {};
    for (const PeerFacts& other : request.create.peers) {
        if (other.node == options_.node || record.peer_of_host(other.node)) continue;
        PeerRecord one = record_of(other, options_.node);
        one.log_path = log_path(request.volume, other.node);
        if (record.shared && surroundings_.new_log) {
            MirrorRecord so_far = record;
            auto log = co_await surroundings_.new_log(std::move(so_far));
            if (!log) co_return error_reply(log.error());
            one.log_path = *log;
        }
        record.lineage.peers[other.node] = {};
        record.peers.push_back(std::move(one));
    }
    if (request.create.equal)
        record.lineage.adopt(caller, source.generations.current, source.generations.history);
    else
        record.consistent = false;

    being_made_.insert(request.volume);
    Result<> started;
    for (const PeerRecord& one : record.peers)
        if (auto old_log = world_.files.remove(one.log_path); !old_log && started)
            started = fail(old_log.error());
    auto mirror = add(record);
    if (started) started = co_await mirror->start_new(false);
    being_made_.erase(request.volume);
    if (!started) {
        auto removed = co_await mirror->remove(false, true);
        if (!removed) messages::error("{}", removed.error().text);
        forget(request.volume);
        co_return error_reply(started.error());
    }
    PeerRequest query;
    query.kind = RequestKind::query;
    PeerReply reply = co_await mirror->serve(caller, query);
    reply.pairs_taken = mirror->record().peers.front().pairs.size();
    co_return reply;
}

}  // namespace understudy::mirror::control
