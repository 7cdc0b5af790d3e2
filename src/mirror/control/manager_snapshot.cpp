// Snapshots of several targets' volumes at one moment.
//
//   target                                       source
//   check, make the files
//   snapshot_mark(volumes, number) ------------> check, hooks, freeze the file systems
//                                                hold every volume's writes   (1)
//                                                a marker into every volume's stream
//                                                let the writes go, thaw
//   a volume's snapshot begins with its marker
//   offer them                     <------------ all targets have confirmed
//
// (1) is what makes it one moment across volumes, also for applications without a file system: a write that
// depends on another volume's write, which came after its marker, is held until all markers are queued.

#include "messages/messages.h"
#include "mirror/control/manager.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/control/operation_errors.h"
#include "mirror/control/parameters.h"

#include <algorithm>

namespace understudy::mirror::control {

using runtime::Task;

namespace {

/// The answers of several marks, while their tasks run.
struct Marks {
    explicit Marks(runtime::Tasks& tasks) : done(tasks) {}
    runtime::OneShot<bool> done;
    std::size_t missing = 0;
    Result<> result;
};

Task<> mark_one(std::shared_ptr<Mirror> mirror, std::string peer, std::uint64_t number,
                std::shared_ptr<Marks> marks) {
    Result<> marked = co_await mirror->mark_snapshot(peer, number);
    if (!marked && marks->result) marks->result = fail(marked.error());
    if (--marks->missing == 0) marks->done.set(true);
}

}  // namespace

Result<Manager::Mirrors> Manager::find_all(const std::vector<VolumeId>& volumes) const {
    if (volumes.empty() || volumes.size() > kMostSnapshotVolumes)
        return fail(Code::bad_argument, "a snapshot is of 1 to {} volumes", kMostSnapshotVolumes);
    Mirrors out;
    for (const VolumeId& volume : volumes) {
        auto mirror = find(volume);
        if (!mirror) return fail(Code::not_found, "no volume {} on {}", volume.str(), options_.node);
        if (std::find(out.begin(), out.end(), mirror) != out.end())
            return fail(Code::bad_argument, "volume {} is named twice", volume.str());
        out.push_back(std::move(mirror));
    }
    return out;
}

Result<> Manager::set_snapshot_location(const VolumeId& volume, std::string directory) {
    auto mirror = find(volume);
    if (!mirror) return fail(Code::not_found, "no volume {} on {}", volume.str(), options_.node);
    std::vector<std::string> devices;
    for (const auto& [id, other] : mirrors_) {
        devices.push_back(other->record().device);
        devices.push_back(options_.layout.root + "/dev/understudy/" + id.str());
    }
    return mirror->set_snapshot_location(std::move(directory), devices);
}

// --- target

Task<Result<std::string>> Manager::take_snapshot(std::vector<VolumeId> volumes, bool refresh) {
    auto mirrors = find_all(volumes);
    if (!mirrors) co_return fail(mirrors.error());
    const MirrorRecord& first = mirrors->front()->record();
    for (const auto& mirror : *mirrors) {
        if (mirror->record().role != first.role)
            co_return fail(Code::bad_argument, "volumes {} and {} have different sources", first.volume.str(),
                           mirror->id().str());
        if (first.role == Role::source && mirror->record().peers.size() > 1)
            co_return fail(Code::bad_argument,
                           "volume {} has several targets: take the snapshot on one of them",
                           mirror->id().str());
        if (mirror->record().main().node != first.main().node)  // Spec: REP-313
            co_return fail(Code::bad_argument, "the volumes of a snapshot have one source and one target");
    }
    if (first.role == Role::target) co_return co_await take_checked(*mirrors, refresh);
    PeerRequest ask = mirrors->front()->request(RequestKind::snapshot_take, first.main().node);
    ask.volumes = volumes;
    ask.refresh = refresh;
    const CallLimits limits{.connect = kConnectLimit, .answer = kSnapshotLimit};
    auto reply = co_await call_peer(world_, mirrors->front()->address_of(first.main().node), ask, limits);
    if (!reply) co_return fail(reply.error());
    co_return reply->text;
}

Task<Result<std::string>> Manager::take_checked(Mirrors mirrors, bool refresh) {
    // No role changes meanwhile. Not waiting: two commands over the same volumes must not wait for each
    // other.
    std::vector<OperationLock::Held> locks;
    for (const auto& mirror : mirrors) {
        auto held = mirror->try_lock();
        if (!held)
            co_return fail(Code::failure, "another operation on volume {} is still running; try again",
                           mirror->id().str());
        locks.push_back(std::move(*held));
    }
    for (const auto& mirror : mirrors) {
        auto checked = co_await mirror->check_snapshot(refresh);
        if (!checked) co_return fail(checked.error());
    }
    // Used ones are found before any is dropped, but for what is opened just now.
    for (const auto& mirror : mirrors) {
        auto dropped = co_await mirror->drop_snapshot(false);
        if (!dropped) co_return fail(dropped.error());
    }
    auto begun = co_await begin_snapshots(mirrors);
    std::string text;
    for (std::size_t i = 0; begun && i < mirrors.size(); ++i) {
        auto device = co_await mirrors[i]->open_snapshot();
        if (device)
            text += *device + "\n";
        else
            begun = fail(device.error());
    }
    if (begun) co_return text;
    for (const auto& mirror : mirrors) {
        auto dropped = co_await mirror->drop_snapshot(true);
        if (!dropped) messages::error("{}", dropped.error().text);
    }
    co_return fail(begun.error());
}

Task<Result<>> Manager::begin_snapshots(Mirrors mirrors) {
    std::uint64_t number = 0;
    while (number == 0)
        world_.random.fill(std::as_writable_bytes(std::span(&number, 1)));
    std::uint32_t wait_ms = 0;
    const std::string source = mirrors.front()->record().main().node;
    PeerRequest ask = mirrors.front()->request(RequestKind::snapshot_mark, source);
    ask.snapshot = number;
    for (const auto& mirror : mirrors) {
        auto prepared = co_await mirror->prepare_snapshot(number);
        if (!prepared) co_return fail(prepared.error());
        ask.volumes.push_back(mirror->id());
        std::vector<std::string> problems;
        const auto own =
            parameters_of(options_.settings, mirror->record().main().parameters, mirror->id(), problems);
        wait_ms = std::max(wait_ms, own.quiesce_wait_ms);
    }
    // Spec: REP-325
    const CallLimits limits{.connect = kConnectLimit, .answer = std::chrono::milliseconds(wait_ms)};
    auto reply = co_await call_peer(world_, mirrors.front()->address_of(source), ask, limits);
    if (!reply)
        co_return fail(reply.error().code, "{} did not begin the snapshot: {}", source, reply.error().text);
    co_return Result<>{};
}

Task<PeerReply> Manager::take_for_peer(std::string caller, PeerRequest request) {
    auto mirrors = find_all(request.volumes);
    if (!mirrors) co_return error_reply(mirrors.error());
    for (const auto& mirror : *mirrors)
        if (mirror->record().main().node != caller || mirror->record().role != Role::target)
            co_return error_reply({Code::failure,
                                   fmt::format("volume {} of {} is not the target of {}", mirror->id().str(),
                                               options_.node, caller),
                                   0});
    auto taken = co_await take_checked(*mirrors, request.refresh);
    if (!taken) co_return error_reply(taken.error());
    PeerReply reply;
    reply.text = *taken;
    co_return reply;
}

Task<Result<>> Manager::drop_snapshot(std::vector<VolumeId> volumes, bool forced) {
    auto mirrors = find_all(volumes);
    if (!mirrors) co_return fail(mirrors.error());
    for (const auto& mirror : *mirrors) {
        if (!mirror->has_snapshot())
            co_return fail(Code::not_found, "volume {} has no snapshot on {}", mirror->id().str(),
                           options_.node);
        auto held = mirror->try_lock();
        if (!held)
            co_return fail(Code::failure, "another operation on volume {} is still running; try again",
                           mirror->id().str());
        auto dropped = co_await mirror->drop_snapshot(forced);
        if (!dropped) co_return fail(dropped.error());
    }
    co_return Result<>{};
}

// --- source

Task<PeerReply> Manager::mark_for_peer(std::string caller, PeerRequest request) {
    auto mirrors = find_all(request.volumes);
    if (!mirrors) co_return error_reply(mirrors.error());
    std::vector<QuietVolume> volumes;
    for (const auto& mirror : *mirrors) {
        if (!mirror->record().peer(caller))
            co_return error_reply({Code::failure,
                                   fmt::format("volume {} of {} is not mirrored with {}", mirror->id().str(),
                                               options_.node, caller),
                                   0});
        auto checked = mirror->check_markable(caller);
        if (!checked) co_return error_reply(checked.error());
        volumes.push_back(*checked);
    }
    if (surroundings_.snapshots == nullptr)
        co_return error_reply({Code::failure, "this host takes no snapshots", 0});
    Result<> marked = co_await mark_all(caller, *mirrors, volumes, request.snapshot);
    if (!marked) co_return error_reply(marked.error());
    co_return PeerReply{};
}

Task<Result<>> Manager::mark_all(std::string target, Mirrors mirrors, std::vector<QuietVolume> volumes,
                                 std::uint64_t number) {
    auto quiet = co_await surroundings_.snapshots->quiesce(volumes);
    if (!quiet) co_return fail(quiet.error().code, "the volumes do not become quiet: {}", quiet.error().text);
    auto marks = std::make_shared<Marks>(world_.tasks);
    marks->missing = mirrors.size();
    for (const auto& mirror : mirrors)
        co_await mirror->hold_writes(true);
    for (const auto& mirror : mirrors)
        tasks_.spawn(mark_one(mirror, target, number, marks));
    // Behind the markers on every volume's own thread.
    for (const auto& mirror : mirrors)
        co_await mirror->hold_writes(false);
    Result<> still_quiet = co_await (*quiet)->end();
    // A volume that is removed meanwhile answers nothing.
    const auto timer = world_.tasks.after(kFreezeLimit, [marks] { marks->done.set(false); });
    const bool all = co_await marks->done;
    world_.tasks.cancel(timer);
    if (!all) co_return fail(Code::unreachable, "{} did not confirm in time", target);
    if (!marks->result) co_return marks->result;
    if (!still_quiet)
        co_return fail(still_quiet.error().code, "the volumes did not stay quiet: {}",
                       still_quiet.error().text);
    messages::info("snapshot {:016x} of {} volumes is marked", number, mirrors.size());
    co_return Result<>{};
}

}  // namespace understudy::mirror::control
