#include "mirror/control/manager.h"

#include "messages/messages.h"
#include "mirror/control/log_place.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"

#include <algorithm>

namespace understudy::mirror::control {

using runtime::Task;

Manager::Manager(runtime::World world, ManagerOptions options, DataLinks& links, Devices& devices,
                 MakeHost make_host, ClusterNotes* notes, SnapshotTools* snapshots, FileSystems* file_systems)
    : world_(world),
      options_(std::move(options)),
      records_(world.files, options_.layout.mirrors()),
      devices_(devices),
      make_host_(std::move(make_host)),
      resizes_(world.tasks),
      surroundings_{world,
                    records_,
                    links,
                    options_.node,
                    notes,
                    options_.degrade,
                    options_.settings,
                    options_.offer,
                    options_.layout.bitmaps(),
                    snapshots,
                    file_systems,
                    &devices,
                    {},
                    options_.on_event,
                    &resizes_,
                    options_.dispatch_port,
                    {}},
      server_(world, [this](const std::string& caller, PeerRequest request, PeerServer::Answer answer) {
          tasks_.spawn(serve(caller, std::move(request), std::move(answer)));
      }) {}

Manager::~Manager() {
    tasks_.clear();
}

std::string Manager::log_path(const VolumeId& volume, const std::string& peer) const {
    return log_file(log_place(options_.settings, options_.layout.bitmaps()).directory, volume, peer);
}

std::shared_ptr<Mirror> Manager::add(MirrorRecord record) {
    const VolumeId volume = record.volume;
    auto mirror = std::make_shared<Mirror>(surroundings_, std::move(record));
    mirror->set_host(make_host_(volume, mirror->events()));
    mirrors_[volume] = mirror;
    return mirror;
}

void Manager::forget(const VolumeId& volume) {
    const auto at = mirrors_.find(volume);
    if (at == mirrors_.end()) return;
    // Not on the stack of one of its own coroutines; and not later than this manager.
    graveyard_->push_back(std::move(at->second));
    mirrors_.erase(at);
    std::weak_ptr<Graveyard> weak = graveyard_;
    world_.tasks.post([weak] {
        if (auto graveyard = weak.lock()) graveyard->clear();
    });
}

void Manager::set_settings(config::Settings settings) {
    surroundings_.settings = std::move(settings);
    const auto port = [this](std::string_view key) {
        return static_cast<std::uint16_t>(surroundings_.settings.integer(key));
    };
    surroundings_.links.set_ports(port("TargetPortBase"), port("TargetPortIncr"));
}

void Manager::start() {
    if (auto made = world_.files.make_directories(options_.layout.bitmaps(), 0700); !made)
        messages::error("{}", made.error().text);
    for (auto& loaded : records_.load_all()) {
        if (!loaded.record) {
            messages::error("{}/{}: {}; its volume is not started", options_.layout.mirrors(), loaded.file,
                            loaded.record.error().text);
            damaged_[loaded.file] = loaded.record.error().text;
            continue;
        }
        if (loaded.record->creating && loaded.record->role == Role::source)
            tasks_.spawn(undo_creation(*loaded.record));
        else
            add(*loaded.record)->boot();
    }
}

Result<> Manager::listen(const std::string& address) {
    return server_.listen({address, options_.dispatch_port});
}

Task<> Manager::shut_down() {
    for (const auto& mirror : all())
        co_await mirror->shut_down();
}

std::shared_ptr<Mirror> Manager::find(const VolumeId& volume) const {
    const auto at = mirrors_.find(volume);
    return at == mirrors_.end() ? nullptr : at->second;
}

std::vector<std::shared_ptr<Mirror>> Manager::all() const {
    std::vector<std::shared_ptr<Mirror>> out;
    out.reserve(mirrors_.size());
    for (const auto& [volume, mirror] : mirrors_)
        out.push_back(mirror);
    return out;
}

// --- removal

Task<Result<>> Manager::remove(VolumeId volume, bool force) {
    auto mirror = find(volume);
    if (!mirror) co_return fail(Code::not_found, "no volume {} on {}", volume.str(), options_.node);
    const MirrorRecord record = mirror->record();
    if (record.role == Role::target) {
        for (const PeerRecord& peer : record.peers) {
            PeerRequest query;
            query.kind = RequestKind::query;
            query.volume = volume;
            query.uuid = record.uuid;
            const CallLimits limits{.connect = kConnectLimit, .answer = kQueryLimit};
            auto reply = co_await mirror->call(peer.node, query, limits);
            const bool source = reply && reply->summary.uuid == record.uuid &&
                                (reply->summary.role == Role::source || peer.node == record.origin);
            if (source)
                co_return fail(Code::failure, "{} is target of volume {}: delete it on {}", options_.node,
                               volume.str(), peer.node);
            if (!reply && reply.error().code != Code::unreachable && reply.error().code != Code::not_found &&
                !force)
                co_return fail(reply.error());
        }
    }
    auto removed = co_await mirror->remove(record.role == Role::source, force);
    if (!removed) co_return fail(removed.error());
    forget(volume);
    messages::info("volume {} is not mirrored any more", volume.str());
    if (record.shared && ended_) ended_(volume);
    co_return Result<>{};
}

Task<Result<>> Manager::remove_local(VolumeId volume) {
    auto mirror = find(volume);
    if (!mirror) co_return fail(Code::not_found, "no volume {} on {}", volume.str(), options_.node);
    const bool was_shared = mirror->record().shared;
    auto removed = co_await mirror->remove(false, true);
    if (!removed) co_return fail(removed.error());
    forget(volume);
    messages::info("volume {} is not mirrored any more on {}", volume.str(), options_.node);
    if (was_shared && ended_) ended_(volume);
    co_return Result<>{};
}

Task<PeerReply> Manager::remove_half(PeerRequest request) {
    auto mirror = find(request.volume);
    if (!mirror || mirror->record().uuid != request.uuid)
        co_return error_reply(
            {Code::not_found,
             fmt::format("{} has no such mirror of volume {}", options_.node, request.volume.str()), 0});
    if (mirror->record().role == Role::source)
        co_return error_reply(
            {Code::failure,
             fmt::format("{} is source of volume {} itself", options_.node, request.volume.str()), 0});
    const bool was_shared = mirror->record().shared;
    auto removed = co_await mirror->remove(false, true);
    if (!removed) co_return error_reply(removed.error());
    forget(request.volume);
    if (was_shared && ended_) ended_(request.volume);
    co_return PeerReply{};
}

// --- what peers ask

Task<> Manager::serve(std::string caller, PeerRequest request, PeerServer::Answer answer) {
    if (request.kind == RequestKind::service) {
        if (service_) {
            service_(caller, std::move(request.payload), std::move(answer));
            co_return;
        }
        answer(error_reply({Code::failure, fmt::format("{} serves no commands", options_.node), 0}));
        co_return;
    }
    if (request.kind == RequestKind::create_target) {
        PeerReply reply = co_await create_target(caller, std::move(request));
        answer(reply);
        co_return;
    }
    if (request.kind == RequestKind::snapshot_take || request.kind == RequestKind::snapshot_mark) {
        PeerReply reply;
        if (request.kind == RequestKind::snapshot_mark)
            reply = co_await mark_for_peer(caller, std::move(request));
        else
            reply = co_await take_for_peer(caller, std::move(request));
        answer(reply);
        co_return;
    }
    // Its maker may give up while this half is still being made.
    const auto patience = world_.clock.now() + kCreateLimit;
    while (request.kind == RequestKind::remove && being_made_.contains(request.volume) &&
           world_.clock.now() < patience)
        co_await runtime::sleep_for(world_.tasks, kStatePoll);
    auto mirror = find(request.volume);
    if (!mirror || being_made_.contains(request.volume)) {
        answer(error_reply(
            {Code::not_found, fmt::format("{} knows no volume {}", options_.node, request.volume.str()), 0}));
        co_return;
    }
    const PeerRecord* const known = mirror->record().peer_of_host(caller);
    if (known == nullptr) {
        answer(
            error_reply({Code::failure,
                         fmt::format("volume {} of {} is mirrored with {}, not with {}", request.volume.str(),
                                     options_.node, mirror->record().peer_names(), caller),
                         0}));
        co_return;
    }
    request.host = caller;
    caller = known->node;
    PeerReply reply;
    if (request.kind == RequestKind::remove)
        reply = co_await remove_half(std::move(request));
    else
        reply = co_await mirror->serve(caller, std::move(request));
    answer(reply);
}

}  // namespace understudy::mirror::control
