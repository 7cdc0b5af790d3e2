// Commands that change something: the preconditions of the manual, then the operation of mirror/control.

#include "base/text.h"
#include "config/settings.h"
#include "messages/messages.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using control::CreateOptions;
using control::Mirror;
using control::MirrorRecord;
using runtime::Task;

namespace {

constexpr runtime::Duration kFactsLimit = std::chrono::seconds(5);
/// A mirror that is made has its data connections within this, or they are blocked. Spec: EMC-303.
constexpr runtime::Duration kDataPortLimit = std::chrono::seconds(12);

/// CREATEMIRROR's options. Spec: EMC-055.
enum CreateOption : unsigned { no_resync = 1, do_not_wait = 2, boot_rule = 4 };
constexpr unsigned kAllCreateOptions = no_resync | do_not_wait | boot_rule;
/// CHANGEMIRRORENDPOINTS knows volumes of at most so many systems. Spec: EMC-098, MOP-242.
constexpr std::size_t kMostSystemsOfEndpoints = 3;

Answer refused(Status status, std::string why) {
    return {status, "", std::move(why), false};
}

Answer answer_of(const Result<>& result) {
    if (result) return {};
    return refused(status_of(result.error()), result.error().text);
}

/// Whether the record is a mirror with this address at the other end.
bool is_with(const MirrorRecord& record, const std::string& address) {
    return std::any_of(record.peers.begin(), record.peers.end(),
                       [&](const control::PeerRecord& peer) { return text::iequals(peer.address, address); });
}

bool is_v6(const std::string& address) {
    return address.find(':') != std::string::npos;
}

}  // namespace

Answer Service::update_settings(const VolumeId& volume, const std::function<void(VolumeSettings&)>& change) {
    auto settings = settings_.get(volume);
    if (!settings) return refused(Status::invalid_drive, settings.error().text);
    change(*settings);
    return answer_of(settings_.put(volume, *settings));
}

/// A mirror's device is known here also when the mirror is no more, so that it can be made again.
void Service::remember_device(const VolumeId& volume) {
    const auto mirror = manager_.find(volume);
    if (!mirror) return;
    auto settings = settings_.get(volume);
    if (!settings || settings->device == mirror->record().device) return;
    settings->device = mirror->record().device;
    if (const auto kept = settings_.put(volume, *settings); !kept)
        messages::warning("volume {}: {}", volume.str(), kept.error().text);
}

/// What the other end's service says; null when it says nothing.
Task<Service::Json> Service::peer_facts(MirrorPtr mirror) {
    Json request{{"do", "facts"}, {"volume", mirror->id().str()}};
    auto reply = co_await ask(mirror->record().main().address, std::move(request), kFactsLimit);
    if (!reply) co_return Json();
    co_return *reply;
}

Task<Answer> Service::change(Call call) {
    const VolumeId volume = call.volume;
    const MirrorPtr mirror = call.spec->has_volume ? manager_.find(volume) : nullptr;
    const auto no_mirror = [&] {
        return refused(Status::file_not_found,
                       fmt::format("{} has no mirror of volume {}", options_.node, volume_letter(volume)));
    };
    switch (call.spec->verb) {
        case Verb::create_mirror:
            co_return co_await create(std::move(call));
        case Verb::create_job:
            co_return co_await create_job(std::move(call));
        case Verb::update_job:
            co_return co_await update_job(std::move(call));
        case Verb::delete_job:
            co_return co_await delete_job(call.argument(0));
        case Verb::change_mirror_type:
            co_return co_await change_type(std::move(call));
        case Verb::change_mirror_endpoints:
            co_return co_await change_endpoints(std::move(call));
        case Verb::lock_volume:
            co_return co_await lock(std::move(call));
        case Verb::unlock_volume:
            co_return co_await unlock(std::move(call));
        case Verb::take_snapshot:
        case Verb::drop_snapshot:
            co_return co_await take_snapshot(std::move(call));
        case Verb::set_configuration:
            co_return set_configuration(call);
        case Verb::set_snapshot_location:
            co_return set_snapshot_location(call);
        case Verb::clear_snapshot_location:
            co_return set_snapshot_location(volume, "");
        case Verb::set_block_target:
            co_return update_settings(volume, [](VolumeSettings& s) { s.block_target = true; });
        case Verb::clear_block_target:
            co_return update_settings(volume, [](VolumeSettings& s) { s.block_target = false; });
        case Verb::clear_switchover:
            co_return answer_of(settings_.set_switchover_flag(volume, false));
        case Verb::stop_service:
            // The process is the data path too: it stays, and so does replication. Spec: EMC-018, EMC-237
            stopped_ = true;
            messages::warning("emcmd: the service is stopped until mirrord's next start");
            co_return refused(Status::service_marked_for_delete, "");
        case Verb::update_volume_info:
            looks_.erase(device_of(volume));
            remember_device(volume);
            if (device_of(volume).empty())
                co_return refused(
                    Status::invalid_drive,
                    fmt::format("Unable to update the volume information. {} knows no volume {}.",
                                options_.node, volume_letter(volume)));
            co_return Answer{};
        case Verb::register_cluster_volume:
        case Verb::restart_volume_pipe:
        case Verb::get_remote_bitmap:
            co_return refused(Status::not_supported,
                              fmt::format("{} is not there on this system", call.spec->name));
        default:
            break;
    }
    if (!mirror) co_return no_mirror();
    const MirrorRecord& record = mirror->record();
    const bool several = call.spec->most == 2;  // those take a target's address
    if (several && !call.argument(1).empty() &&
        (record.role != Role::source || !is_with(record, call.argument(1))))
        if (call.spec->verb != Verb::delete_local_mirror_only || !is_with(record, call.argument(1)))
            co_return refused(Status::file_not_found,
                              fmt::format("{} is no target of volume {} on {}", call.argument(1),
                                          volume_letter(volume), options_.node));
    const bool source = record.role == Role::source;
    switch (call.spec->verb) {
        case Verb::pause_mirror:
            co_return co_await pause(std::move(call), mirror);
        case Verb::continue_mirror:
            co_return co_await resume(std::move(call), mirror);
        case Verb::resync_mirror:
            co_return co_await resync(std::move(call), mirror);
        case Verb::delete_mirror:
            co_return co_await remove(std::move(call), mirror);
        case Verb::delete_local_mirror_only:
            co_return co_await remove_local(std::move(call), mirror);
        case Verb::break_mirror: {
            if (!source)
                co_return refused(Status::invalid_function,
                                  fmt::format("{} is target of volume {}: break it on its source {}",
                                              options_.node, volume_letter(volume), record.main().node));
            const Result<> done = co_await mirror->break_mirror();
            co_return answer_of(done);
        }
        case Verb::prepare_to_become_target: {
            if (!source)
                co_return refused(
                    Status::invalid_function,
                    fmt::format("{} is not source of volume {}", options_.node, volume_letter(volume)));
            const Result<> done = co_await mirror->yield_to_peer();
            co_return answer_of(done);
        }
        case Verb::read_registry:
            co_return read_registry(call);
        case Verb::merge_target_bitmap:
            // Every session begins with it: the source takes over the bits of the target's log. Spec: REP-121
            if (!source || !is_with(record, call.argument(1)))
                co_return refused(Status::file_not_found,
                                  fmt::format("{} is no target of volume {} on {}", call.argument(1),
                                              volume_letter(volume), options_.node));
            co_return Answer{};
        default:
            break;
    }
    co_return refused(Status::not_supported, fmt::format("{} is not there", call.spec->name));
}

// --- pause, continue, resync

Task<Answer> Service::pause(Call, MirrorPtr mirror) {
    const MirrorRecord& record = mirror->record();
    // On a target the command has no effect, and that is no error. Spec: EMC-221
    if (record.role != Role::source) co_return Answer{};
    if (record.main().state == MirrorState::broken)
        co_return refused(Status::invalid_function,
                          fmt::format("volume {} is broken, there is nothing to pause", mirror->id().str()));
    if (record.main().state == MirrorState::paused && record.main().user_requested) co_return Answer{};
    messages::info("emcmd: pausing the mirror of volume {} to {}", mirror->id().str(), record.main().address);
    const Result<> done = co_await mirror->pause();
    co_return answer_of(done);
}

Task<Answer> Service::resume(Call, MirrorPtr mirror) {
    const MirrorRecord before = mirror->record();
    const std::string name = volume_letter(mirror->id());
    if (before.role != Role::source)
        co_return refused(Status::invalid_function,
                          fmt::format("{} is target of volume {}: continue it on its source {}",
                                      options_.node, name, before.main().node));
    const bool stopped = before.main().user_requested || before.main().state == MirrorState::paused ||
                         before.main().state == MirrorState::broken;
    if (!stopped) co_return Answer{};  // Spec: EMC-067
    const Json peer = co_await peer_facts(mirror);
    if (peer.is_object()) {
        // It does not lock the target: that is to be done first. Spec: EMC-131
        if (peer.value("unlocked", false))
            co_return refused(
                Status::lock_violation,
                fmt::format("volume {} is unlocked on {}: lock it there first", name, before.main().node));
        if (peer.value("role", 0) == static_cast<int>(Role::source) &&
            peer.value("peer", "") == options_.node)
            co_return refused(Status::invalid_function,
                              fmt::format("{} and {} are both source of volume {}: choose whose changes go, "
                                          "and run PREPARETOBECOMETARGET there first",
                                          options_.node, before.main().node, name));
    }
    messages::info("emcmd: continuing the mirror of volume {} to {}", mirror->id().str(),
                   before.main().address);
    const Result<> done = co_await mirror->resume();
    co_return answer_of(done);
}

Task<Answer> Service::resync(Call, MirrorPtr mirror) {
    const MirrorRecord before = mirror->record();
    const std::string name = volume_letter(mirror->id());
    if (before.role != Role::source)
        co_return refused(Status::invalid_function,
                          fmt::format("{} is target of volume {}: resync it on its source {}", options_.node,
                                      name, before.main().node));
    // It overwrites all of the target, and so locks it. Spec: EMC-236
    const Json peer = co_await peer_facts(mirror);
    if (peer.is_object() && peer.value("unlocked", false)) {
        std::vector<std::string> words{".", "LOCKVOLUME", name};
        Answer locked = co_await forward(before.main().address, std::move(words), ".", before.main().node);
        if (locked.status != Status::success) co_return locked;
    }
    const Result<> done = co_await mirror->resync();
    co_return answer_of(done);
}

// --- removal

Task<Answer> Service::remove(Call, MirrorPtr mirror) {
    const MirrorRecord before = mirror->record();
    const VolumeId volume = mirror->id();
    remember_device(volume);
    (void)co_await peer_facts(mirror);  // the other end remembers its device too
    if (before.role == Role::source && before.main().state == MirrorState::resync)
        messages::warning("volume {}: deleted in the middle of a resync; {} may hold a mixture of blocks",
                          volume.str(), before.main().node);
    Result<> done = co_await manager_.remove(volume, false);
    if (!done && done.error().code == Code::unreachable && before.role == Role::source) {
        // What cannot be reached is left over, and that is no failure. Spec: EMC-166
        messages::warning("volume {}: {}; its half is left over there", volume.str(), done.error().text);
        done = co_await manager_.remove(volume, true);
    }
    co_return answer_of(done);
}

Task<Answer> Service::remove_local(Call, MirrorPtr mirror) {
    const bool was_target = mirror->record().role == Role::target;
    const VolumeId volume = mirror->id();
    remember_device(volume);
    const Result<> done = co_await manager_.remove_local(volume);
    if (done && was_target)
        co_return answer_of(settings_.set_switchover_flag(volume, true));  // Spec: EMC-162
    co_return answer_of(done);
}

// --- creation

Task<Answer> Service::create(Call call) {
    const VolumeId volume = call.volume;
    const std::string name = volume_letter(volume);
    const std::string target = call.argument(1);
    const auto type = type_of(call.argument(2));
    const auto bits = text::to_int(call.argument(3).empty() ? "0" : call.argument(3));
    if (!type) co_return refused(Status::invalid_parameter, "the type is A or S");
    if (!bits || *bits < 0 || *bits > kAllCreateOptions)
        co_return refused(Status::invalid_parameter, "the options are a sum of 1, 2 and 4");
    const auto options = static_cast<unsigned>(*bits);

    std::string source = call.system;
    // An address that brought the request here is this host's, whatever its interfaces say.
    if (source.find_first_not_of("0123456789.") != std::string::npos && !is_v6(source)) source = ".";
    if (source == ".") {  // "." or a name: one address must be meant. Spec: EMC-147
        const auto beside = host_.addresses_beside(target);
        if (beside.size() != 1)
            co_return refused(Status::invalid_parameter,
                              fmt::format("{} has {} addresses in the network of {}: give the one to use as "
                                          "<system>",
                                          options_.node, beside.size(), target));
        source = beside.front();
    }
    if (is_v6(source) != is_v6(target))  // Spec: EMC-146
        co_return refused(Status::invalid_parameter,
                          fmt::format("{} and {} are of different address families", source, target));
    if (host_.is_local(target))  // Spec: EMC-156
        co_return refused(Status::invalid_parameter, "source and target are the same system");
    if (manager_.find(volume))
        co_return refused(Status::invalid_function,
                          fmt::format("volume {} has a mirror on {}", name, options_.node));
    const std::string device = device_of(volume);
    if (device.empty())
        co_return refused(
            Status::invalid_drive,
            fmt::format("{} knows no device of volume {}: understudy volume set {} --device PATH",
                        options_.node, name, name));

    Json request{{"do", "facts"}, {"volume", volume.str()}};
    auto peer = co_await ask(target, std::move(request), kFactsLimit);
    if (!peer) {
        const bool no_service = peer.error().text.find("refused") != std::string::npos;
        co_return refused(no_service ? Status::file_not_found : status_of(peer.error()), peer.error().text);
    }
    const std::string node = peer->value("node", "");
    if (peer->value("role", 0) == static_cast<int>(Role::source))  // Spec: EMC-151
        co_return refused(Status::invalid_function,
                          fmt::format("{} is source of volume {} already", node, name));
    if (peer->value("role", 0) != 0)
        co_return refused(Status::invalid_function,
                          fmt::format("{} is target of volume {} already", node, name));
    if (peer->value("block_target", false))
        co_return refused(
            Status::invalid_function,
            fmt::format("{} is ineligible to become a target of volume {} (SETBLOCKTARGET)", node, name));
    if (peer->value("switchover", false))
        co_return refused(
            Status::connection_refused,
            fmt::format("the switchover flag of volume {} is set on {} (CLEARSWITCHOVER)", name, node));
    if (peer->value("device", "").empty())
        co_return refused(Status::invalid_drive, fmt::format("{} knows no device of volume {}", node, name));

    const DeviceLook look = co_await look_at(device);
    if (look.eligibility.bitmaps)
        co_return refused(Status::invalid_function,
                          fmt::format("{} holds the intent logs and cannot be mirrored", device));
    CreateOptions made;
    made.volume = volume;
    made.device = device;
    control::TargetOptions half;
    half.node = node;
    half.device = peer->value("device", "");
    half.source_address = source;
    half.address = target;
    half.type = *type;
    made.targets.push_back(std::move(half));
    made.resync = (options & no_resync) == 0;
    host_.release(volume);
    if ((options & do_not_wait) != 0) {
        tasks_.spawn(create_task(std::move(made)));
        co_return Answer{};
    }
    co_return co_await create_now(std::move(made), true);
}

Task<Answer> Service::create_now(CreateOptions options, bool wait_for_data) {
    const VolumeId volume = options.volume;
    auto made = co_await manager_.create(std::move(options));
    if (!made) co_return refused(status_of(made.error()), made.error().text);
    remember_device(volume);
    if (!wait_for_data) co_return Answer{};
    const auto deadline = world_.clock.now() + kDataPortLimit;
    std::string problem;
    while (world_.clock.now() < deadline) {
        const MirrorPtr mirror = manager_.find(volume);
        if (!mirror) break;
        const control::MirrorView view = co_await mirror->view();
        if (view.main_peer().linked) co_return Answer{};
        problem = view.problem;
        co_await runtime::sleep_for(world_.tasks, control::kStatePoll);
    }
    // Spec: EMC-148, EMC-303. All or nothing.
    const Result<> undone = co_await manager_.remove(volume, true);
    if (!undone) messages::error("volume {}: {}", volume.str(), undone.error().text);
    co_return refused(
        Status::operation_aborted,
        fmt::format("the data connections of volume {} cannot be made: {}", volume_letter(volume), problem));
}

Task<> Service::create_task(CreateOptions options) {
    const VolumeId volume = options.volume;
    const Answer done = co_await create_now(std::move(options), false);
    if (done.status != Status::success) messages::error("volume {}: {}", volume.str(), done.err);
}

// --- type and endpoints

Task<Answer> Service::change_type(Call call) {
    const auto type = type_of(call.argument(2));
    if (!type) co_return refused(Status::invalid_parameter, "the type is A or S");
    const VolumeId volume = call.volume;
    const std::string other = call.argument(1);
    bool found = false;
    if (const MirrorPtr mirror = manager_.find(volume); mirror && is_with(mirror->record(), other)) {
        const Result<> done =
            co_await mirror->set_type(std::string(), *type);  // refuses in a split brain. Spec: EMC-113
        if (!done) co_return answer_of(done);
        found = true;
    }
    for (Job& job : jobs_.all()) {
        const JobPair* pair = find_pair(job, options_.node, other, volume);
        if (pair == nullptr || pair->type == 'D') continue;
        JobPair changed = *pair;
        changed.type = *type == MirrorType::async ? 'A' : 'S';
        put_pair(job, changed);
        Answer stored = co_await store_everywhere(std::move(job));
        if (stored.status != Status::success) co_return stored;
        found = true;
    }
    if (!found)
        co_return refused(Status::file_not_found,
                          fmt::format("no mirror and no job of {} joins volume {} with {}", options_.node,
                                      volume_letter(volume), other));
    co_return Answer{};
}

Task<Answer> Service::change_endpoints(Call call) {
    const VolumeId volume = call.volume;
    const std::string old_target = call.argument(1);
    const std::string new_source = call.argument(2);
    const std::string new_target = call.argument(3);
    if (is_v6(new_source) != is_v6(new_target) || is_v6(old_target) != is_v6(new_target))  // Spec: EMC-105
        co_return refused(Status::invalid_parameter, "the addresses are of different families");
    Job changed;
    for (const Job& job : jobs_.all())
        if (find_pair(job, options_.node, old_target, volume) != nullptr) changed = job;
    if (systems_of(changed).size() > kMostSystemsOfEndpoints)
        co_return refused(
            Status::not_supported,
            fmt::format("job {} has more than {} systems: delete the mirrors and create them anew",
                        changed.name, kMostSystemsOfEndpoints));
    const MirrorPtr mirror = manager_.find(volume);
    const bool active = mirror && is_with(mirror->record(), old_target);
    if (active) {
        const MirrorState state = mirror->record().main().state;
        if (state == MirrorState::mirroring || state == MirrorState::resync)  // Spec: EMC-099
            co_return refused(
                Status::invalid_parameter,
                fmt::format("volume {} is {}: pause it first", volume_letter(volume), to_string(state)));
        co_return refused(Status::not_supported,
                          "the addresses of a mirror that exists cannot be changed: delete it and create it "
                          "with the new ones");
    }
    if (changed.id.empty())
        co_return refused(Status::file_not_found,
                          fmt::format("no mirror and no job of {} joins volume {} with {}", options_.node,
                                      volume_letter(volume), old_target));
    JobPair* pair = nullptr;
    for (JobPair& one : changed.pairs)
        if (&one == find_pair(changed, options_.node, old_target, volume)) pair = &one;
    if (pair == nullptr) co_return refused(Status::file_not_found, "there is no such pair");
    const bool first_is_source = same_system(pair->first.system, options_.node);
    (first_is_source ? pair->first : pair->second).address = new_source;
    (first_is_source ? pair->second : pair->first).address = new_target;
    if (const std::string problem = problem_of(changed); !problem.empty())
        co_return refused(Status::invalid_parameter, problem);
    co_return co_await store_everywhere(std::move(changed));
}

// --- switchover

Task<Answer> Service::switch_over(Call call) {
    const VolumeId volume = call.volume;
    if (const auto running = switchovers_.find(volume); running != switchovers_.end()) {
        runtime::OneShot<Answer> same(world_.tasks);
        running->second.push_back(same);
        Answer saved = co_await same;
        co_return saved;
    }
    switchovers_[volume];
    Answer done = co_await switch_over_now(std::move(call));
    const auto waiting = switchovers_.extract(volume);
    for (const auto& one : waiting.mapped())
        one.set(done);
    co_return done;
}

Task<Answer> Service::switch_over_now(Call call) {
    const std::string flag = call.argument(1);
    if (!flag.empty() && !text::iequals(flag, "-f"))
        co_return refused(Status::invalid_parameter, fmt::format("\"{}\" is not -f", flag));
    const bool fast = !flag.empty();
    const VolumeId volume = call.volume;
    const std::string name = volume_letter(volume);
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror)
        co_return refused(Status::file_not_found,
                          fmt::format("{} has no mirror of volume {}", options_.node, name));
    const MirrorRecord before = mirror->record();
    if (before.role == Role::source && !before.demoted)
        co_return refused(Status::invalid_function,
                          fmt::format("{} is source of volume {} already", options_.node, name));
    if (before.role == Role::target &&
        before.main().state != MirrorState::mirroring)  // Spec: EMC-240, EMC-246
        co_return refused(
            Status::invalid_parameter,
            fmt::format("volume {} is {} on {}: only a target that is mirroring can become source", name,
                        to_string(before.main().state), options_.node));
    if (before.role == Role::target && !fast) {
        // A host that lives and whose service does not answer may be in use as source. Spec: EMC-244
        Json request{{"do", "ping"}};
        auto peer = co_await ask(before.main().address, std::move(request), kFactsLimit);
        if (!peer && peer.error().text.find("refused") != std::string::npos)
            co_return refused(
                Status::invalid_function,
                fmt::format("{} lives, but its service does not answer: it may still be source. "
                            "When its state is certain, use -f",
                            before.main().node));
    }
    control::PromoteOptions options;
    options.peer_dead = fast;
    auto promoted = co_await mirror->promote(options);
    if (!promoted) {
        // The old source says that its mirror to this target is not mirroring. Spec: EMC-065, EMC-241
        const Status status = status_of(promoted.error());
        const bool not_in_sync = before.role == Role::target && status == Status::invalid_function;
        co_return refused(not_in_sync ? Status::invalid_parameter : status, promoted.error().text);
    }
    // Spec: EMC-118: whoever was source may be target.
    const auto settings = settings_.get(volume);
    if (settings && settings->block_target)
        co_return update_settings(volume, [](VolumeSettings& s) { s.block_target = false; });
    co_return Answer{};
}

// --- locks

Task<Answer> Service::lock(Call call) {
    const VolumeId volume = call.volume;
    if (const MirrorPtr mirror = manager_.find(volume)) {
        Result<> done;
        if (mirror->record().role == Role::source)
            done = co_await mirror->demote();
        else
            done = co_await mirror->lock_target();
        if (done) co_return Answer{};
        co_return refused(is_in_use(done.error()) ? Status::lock_violation : status_of(done.error()),
                          done.error().text);
    }
    const auto settings = settings_.get(volume);
    if (!settings) co_return refused(Status::invalid_drive, settings.error().text);
    if (settings->device.empty())
        co_return refused(Status::invalid_drive, fmt::format("{} knows no device of volume {}", options_.node,
                                                             volume_letter(volume)));
    if (!host_.holds(volume)) {
        const Result<> held = host_.hold(volume, settings->device);
        if (!held) co_return refused(status_of(held.error()), held.error().text);
    }
    co_return update_settings(volume, [](VolumeSettings& s) { s.locked = true; });
}

Task<Answer> Service::unlock(Call call) {
    const VolumeId volume = call.volume;
    if (const MirrorPtr mirror = manager_.find(volume)) {
        if (mirror->record().role == Role::source && mirror->record().demoted) {
            control::PromoteOptions options;
            const auto served = co_await mirror->promote(options);
            if (!served) co_return refused(status_of(served.error()), served.error().text);
            co_return Answer{};
        }
        const auto opened = co_await mirror->unlock();
        if (!opened) co_return refused(status_of(opened.error()), opened.error().text);
        co_return Answer{};
    }
    const auto settings = settings_.get(volume);
    if (!settings) co_return refused(Status::invalid_drive, settings.error().text);
    if (settings->device.empty())
        co_return refused(Status::invalid_drive, fmt::format("{} knows no device of volume {}", options_.node,
                                                             volume_letter(volume)));
    if ((settings->attributes & lifekeeper_protected) != 0)  // Spec: EMC-263, EMC-300
        co_return refused(Status::access_denied,
                          fmt::format("the cluster holds volume {} (SETCONFIGURATION {} 0 ends that)",
                                      volume_letter(volume), volume_letter(volume)));
    host_.release(volume);
    co_return update_settings(volume, [](VolumeSettings& s) { s.locked = false; });
}

// --- settings

Answer Service::set_configuration(const Call& call) {
    const auto mask = mask_of(call.arguments.size() > 1 ? call.argument(1) : "0");
    if (!mask)
        return refused(Status::invalid_parameter, "the mask is a decimal sum of the attributes, up to 1023");
    const Answer done = update_settings(call.volume, [&mask](VolumeSettings& s) { s.attributes = *mask; });
    messages::info("emcmd: attributes of volume {}: \"{}\"", call.volume.str(), *mask);
    return done;
}

/// Of the mirror, when there is one, and of the volume: it is there for the next mirror too.
Answer Service::set_snapshot_location(const VolumeId& volume, const std::string& directory) {
    if (manager_.find(volume)) {
        if (const Result<> set = manager_.set_snapshot_location(volume, directory); !set) {
            const bool exists = set.error().code == Code::has_dependents;
            return refused(exists ? Status::lock_violation : status_of(set.error()), set.error().text);
        }
    }
    return update_settings(volume, [&directory](VolumeSettings& s) { s.snapshot_location = directory; });
}

Answer Service::set_snapshot_location(const Call& call) {
    const std::string directory = call.argument(1);
    std::vector<std::string> devices;
    for (const auto& mirror : manager_.all())
        devices.push_back(fmt::format("{}/dev/understudy/{}", options_.layout.root, mirror->id().str()));
    const Status fit = directory.empty() || directory.front() != '/'
                           ? Status::invalid_parameter
                           : host_.snapshot_directory(directory, devices);
    if (fit != Status::success)
        return refused(fit, fmt::format("\"{}\" cannot hold snapshots: it must be an absolute path of a "
                                        "directory that can be written and is on no mirrored volume",
                                        directory));
    return set_snapshot_location(call.volume, directory);
}

/// The settings file is the registry: what it says is taken without a restart. Spec: EMC-229 to EMC-233.
Answer Service::read_registry(const Call& call) {
    if (const auto text = world_.files.read(options_.layout.settings())) {
        std::vector<std::string> problems;
        manager_.set_settings(config::Settings::parse_leniently(*text, problems));
        for (const std::string& problem : problems)
            messages::warning("{}: {}", options_.layout.settings(), problem);
    }
    const MirrorPtr mirror = manager_.find(call.volume);
    if (!mirror) return refused(Status::file_not_found, "no such mirror");
    return answer_of(mirror->set_parameters(std::string(), {}));
}

Task<Answer> Service::take_snapshot(Call call) {
    std::vector<VolumeId> volumes;
    for (const std::string& argument : call.arguments) {
        const auto volume = volume_of(argument);
        if (!volume)
            co_return refused(Status::invalid_parameter, fmt::format("\"{}\" is no volume", argument));
        volumes.push_back(*volume);
    }
    std::string source;
    for (const VolumeId& volume : volumes) {
        const MirrorPtr mirror = manager_.find(volume);
        if (!mirror || mirror->record().role != Role::target)
            co_return refused(Status::file_not_found, fmt::format("{} is not target of volume {}",
                                                                  options_.node, volume_letter(volume)));
        if (call.spec->verb == Verb::drop_snapshot) continue;
        const auto settings = settings_.get(volume);
        if (!settings || settings->snapshot_location.empty())
            co_return refused(Status::path_not_found,
                              fmt::format("volume {} has no snapshot location", volume_letter(volume)));
        if (!source.empty() && source != mirror->record().main().node)
            co_return refused(Status::invalid_parameter, "the volumes have different sources");
        source = mirror->record().main().node;
        const auto jobs = jobs_.all();
        if (std::none_of(jobs.begin(), jobs.end(),
                         [&](const Job& job) { return contains(job, options_.node, volume); }))
            co_return refused(Status::file_not_found,
                              fmt::format("volume {} belongs to no job", volume_letter(volume)));
        if (mirror->record().main().state != MirrorState::mirroring)
            co_return refused(Status::invalid_parameter,
                              fmt::format("volume {} is {}", volume_letter(volume),
                                          to_string(mirror->record().main().state)));
    }
    if (call.spec->verb == Verb::drop_snapshot) {
        const Result<> dropped = co_await manager_.drop_snapshot(std::move(volumes), false);
        co_return answer_of(dropped);
    }
    for (const VolumeId& volume : volumes) {  // a mirror made after its location was set
        const auto settings = settings_.get(volume);
        const MirrorPtr mirror = manager_.find(volume);
        if (!mirror || !settings || mirror->record().snapshot_location == settings->snapshot_location)
            continue;
        const Answer set = set_snapshot_location(volume, settings->snapshot_location);
        if (set.status != Status::success) co_return set;
    }
    const auto taken = co_await manager_.take_snapshot(std::move(volumes), false);
    if (!taken) co_return refused(status_of(taken.error()), taken.error().text);
    co_return Answer{};
}

}  // namespace understudy::mirror::emcmd
