// Commands that change something: the preconditions of the manual, then the operation of mirror/control.

#include "base/text.h"
#include "config/settings.h"
#include "messages/messages.h"
#include "mirror/control/mirror_limits.h"
#include "mirror/emcmd/service.h"
#include "runtime/certificate_refusal.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using control::MirrorRecord;
using runtime::Task;

namespace {

constexpr runtime::Duration kPingLimit = std::chrono::seconds(5);
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
            messages::warning("emcmd: the service is stopped until mirrord's next start (message 39)");
            co_return refused(Status::service_marked_for_delete, "");
        case Verb::update_volume_info:
            co_return co_await update_volume(volume);
        case Verb::register_cluster_volume:
            co_return co_await register_volume(volume);
        default:
            break;
    }
    if (!mirror) co_return no_mirror();
    switch (call.spec->verb) {
        case Verb::pause_mirror:
        case Verb::continue_mirror:
        case Verb::break_mirror:
        case Verb::resync_mirror:
            co_return co_await on_targets(std::move(call), mirror);
        case Verb::delete_mirror:
            co_return co_await remove(std::move(call), mirror);
        case Verb::delete_local_mirror_only:
            co_return co_await remove_local(std::move(call), mirror);
        case Verb::prepare_to_become_target: {
            // Of a target only one that has followed a loser. Spec: EMC-225, EMC-227
            const bool source = mirror->record().role == Role::source;
            const Result<> done = co_await mirror->yield_to_peer();
            if (done || source) co_return answer_of(done);
            co_return refused(Status::invalid_function, done.error().text);
        }
        case Verb::read_registry:
            co_return read_registry(call);
        case Verb::merge_target_bitmap:
            // Every session begins with it: the source takes over the bits of the target's log. Spec: REP-121
            if (mirror->record().role != Role::source || !peer_with(mirror->record(), call.argument(1)))
                co_return refused(Status::file_not_found,
                                  fmt::format("{} is no target of volume {} on {}", call.argument(1),
                                              volume_letter(volume), options_.node));
            co_return Answer{};
        case Verb::get_remote_bitmap:
            co_return co_await get_bitmap(std::move(call), mirror);
        case Verb::restart_volume_pipe:
            co_return co_await restart_pipe(mirror);
        default:
            break;
    }
    co_return refused(Status::not_supported, fmt::format("{} is not there", call.spec->name));
}

/// Looks again at the device; sizes and states come from the data path in any case. Spec: EMC-264, EMC-267
Task<Answer> Service::update_volume(VolumeId volume) {
    looks_.erase(device_of(volume));
    remember_device(volume);
    if (const MirrorPtr mirror = manager_.find(volume)) co_await mirror->look_at_size();
    const std::string device = device_of(volume);
    DeviceLook look;
    look.eligibility.opened = false;
    if (!device.empty()) look = co_await look_at(device);
    if (look.eligibility.opened && look.eligibility.readable) co_return Answer{};
    co_return refused(Status::invalid_drive,
                      "Unable to update the volume information. The volume may be locked by another process "
                      "or may not be formatted as a supported file system.");
}

// --- switchover; Spec: REP-234, REP-241

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
    if (!mirror && is_shared(volume) && !shared_->is_open(volume))
        co_return co_await switch_over_shared(volume);
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
        auto peer = co_await ask(before.main().address, std::move(request), kPingLimit);
        // Nor may one that is asked by a host that it does not know. Spec: EMC-249
        if (!peer && runtime::is_certificate_refusal(peer.error()))
            co_return refused(
                Status::downgrade_detected,
                fmt::format("{} and {} do not accept each other: {}. When it is certain that {} "
                            "is not source, use -f",
                            before.main().node, options_.node, peer.error().text, before.main().node));
        if (!peer && peer.error().text.find("refused") != std::string::npos) {
            const std::string why = fmt::format(
                "{} lives, but its service does not answer: it may still be source. "
                "When its state is certain, use -f",
                before.main().node);
            messages::error("volume {}: {}", name, control::numbered(control::Event::switchover_failed, why));
            if (const auto& tell = manager_.options().on_event)
                tell({control::Event::switchover_failed, volume, before.main().node, why});
            co_return refused(Status::invalid_function, why);
        }
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
    if (is_shared(volume)) co_return co_await lock_shared(volume);
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
    if ((settings->attributes & lifekeeper_protected) != 0 && !call.for_cluster)  // Spec: EMC-263, EMC-300
        co_return refused(Status::access_denied,
                          fmt::format("the cluster holds volume {} (SETCONFIGURATION {} 0 ends that)",
                                      volume_letter(volume), volume_letter(volume)));
    if (is_shared(volume)) co_return co_await unlock_shared(volume);
    host_.release(volume);
    co_return update_settings(volume, [](VolumeSettings& s) { s.locked = false; });
}

// --- settings

Answer Service::set_configuration(const Call& call) {
    const auto mask = mask_of(call.arguments.size() > 1 ? call.argument(1) : "0");
    if (!mask)
        return refused(Status::invalid_parameter, "the mask is a decimal sum of the attributes, up to 1023");
    unsigned before = *mask;
    const Answer done = update_settings(call.volume, [&](VolumeSettings& s) {
        before = s.attributes;
        s.attributes = *mask;
    });
    const std::string& name = call.volume.str();
    if (done.status == Status::success) {
        messages::info("emcmd: attributes of volume {}: \"{}\" (message 40)", name, *mask);
        return done;
    }
    messages::error("emcmd: attributes of volume {} cannot be set: {} (messages 41 and 242)", name, done.err);
    if (((before ^ *mask) & shared_volume) != 0) {  // whether it is locked at boot. Spec: EMC-053, EMC-054
        const bool on = (*mask & shared_volume) != 0;
        messages::error("emcmd: volume {} is {} (message {})", name, on ? "not shared yet" : "still shared",
                        on ? 261 : 262);
    }
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
        if (settings && (settings->attributes & shared_volume) != 0)  // Spec: MOP-190
            co_return refused(Status::not_supported,
                              fmt::format("volume {} is shared: no snapshots", volume_letter(volume)));
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
