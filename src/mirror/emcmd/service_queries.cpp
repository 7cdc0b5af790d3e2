// What the queries need: this node's volumes and mirrors as plain values.

#include "base/text.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using control::MirrorView;
using runtime::Task;

namespace {

constexpr std::uint64_t kBlockBytes = 65536;

Answer printed(std::string text) {
    return {Status::success, std::move(text), "", false};
}

Answer refused(Status status, std::string why) {
    return {status, "", std::move(why), false};
}

}  // namespace

std::vector<VolumeId> Service::known_volumes() const {
    std::vector<VolumeId> out = settings_.all();
    for (const auto& mirror : manager_.all())
        out.push_back(mirror->id());
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

std::string Service::device_of(const VolumeId& volume) const {
    if (const auto mirror = manager_.find(volume)) return mirror->record().device;
    const auto settings = settings_.get(volume);
    return settings ? settings->device : std::string();
}

/// Looked at once: what a device carries does not change under a mirror without somebody saying so.
Task<DeviceLook> Service::look_at(std::string device) {
    if (const auto known = looks_.find(device); known != looks_.end()) co_return known->second;
    auto found = std::make_shared<DeviceLook>();
    runtime::OneShot<bool> done(world_.tasks);
    const bool asked = world_.tasks.run_blocking(
        [this, device, found] { *found = host_.look(device, options_.layout.bitmaps()); },
        [done] { done.set(true); });
    if (!asked) {
        found->eligibility.readable = false;
        co_return *found;
    }
    co_await done;
    looks_[device] = *found;
    co_return *found;
}

Task<VolumeFacts> Service::facts_of(VolumeId volume) {
    VolumeFacts out;
    out.volume = volume;
    out.system = options_.node;
    if (const auto settings = settings_.get(volume)) out.attributes = settings->attributes;
    const auto at = times_.find(volume);
    const Times times = at == times_.end() ? Times{} : at->second;
    out.modified = times.modified == 0 ? started_ : times.modified;
    const std::string device = device_of(volume);
    if (!device.empty()) {
        const DeviceLook look = co_await look_at(device);
        out.file_system = look.file_system.type;
        out.label = look.file_system.label;
        out.size = look.size;
    }
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror) co_return out;
    const MirrorView view = co_await mirror->view();
    const control::MirrorRecord& record = view.record;
    out.role = record.role;
    out.local_address = record.main().local_address;
    if (record.role == Role::source) out.size = record.size;
    // A locked target's size is nobody's business. Spec: EMC-211
    if (record.role == Role::target && !record.unlocked) out.size.reset();
    Remote remote;
    remote.node = record.main().node;
    remote.address = record.main().address;
    remote.volume = volume;
    remote.type = record.main().type;
    // The data path's own state, where it has one; a target whose link went keeps what it knew last.
    remote.state =
        record.role == Role::source && view.open ? view.main_peer().volume.state : record.main().state;
    remote.user_requested = record.main().user_requested;
    remote.dirty_blocks = view.main_peer().volume.dirty_blocks;
    remote.blocks = (record.size + kBlockBytes - 1) / kBlockBytes;
    remote.pass = view.main_peer().volume.resync_pass;
    remote.current_block = remote.blocks - std::min<std::uint64_t>(remote.blocks, remote.dirty_blocks);
    if (remote.state != MirrorState::resync) remote.current_block = 0;
    remote.new_writes = view.main_peer().volume.writes;
    remote.resync_started = times.resync_started == 0 ? started_ : times.resync_started;
    remote.resync_last = times.resync_last == 0 ? started_ : times.resync_last;
    if (remote.state == MirrorState::resync) remote.resync_last = host_.now_s();
    out.remotes.push_back(std::move(remote));
    co_return out;
}

Task<std::vector<VolumeFacts>> Service::all_facts() {
    std::vector<VolumeFacts> out;
    for (const VolumeId& volume : known_volumes()) {
        VolumeFacts facts = co_await facts_of(volume);
        out.push_back(std::move(facts));
    }
    co_return out;
}

/// For the services of other nodes.
Task<Service::Json> Service::describe(VolumeId volume) {
    remember_device(volume);
    Json out{{"node", options_.node}, {"volume", volume.str()}};
    const auto settings = settings_.get(volume);
    out["device"] = device_of(volume);
    out["block_target"] = settings && settings->block_target;
    out["switchover"] = settings_.switchover_flag(volume);
    out["role"] = 0;
    out["unlocked"] = false;
    if (const MirrorPtr mirror = manager_.find(volume)) {
        out["role"] = static_cast<int>(mirror->record().role);
        out["unlocked"] = mirror->record().unlocked;
        out["state"] = static_cast<int>(mirror->record().main().state);
        out["peer"] = mirror->record().main().node;
    }
    co_return out;
}

Answer Service::service_info() const {
    ServiceFacts facts;
    facts.description = "Understudy Replication Service";
    facts.build_type = options_.build_type;
    facts.version = options_.version;
    facts.build = options_.build;
    for (const VolumeId& volume : known_volumes())
        if (volume_letter(volume).size() == 1) facts.volume_bits |= 1U << (volume.str().front() - 'A');
    facts.started = started_;
    facts.modified = modified_;
    return printed(emcmd::service_info(facts));
}

Task<Answer> Service::query(Call call) {
    const VolumeId volume = call.volume;
    switch (call.spec->verb) {
        case Verb::get_service_info:
            co_return service_info();
        case Verb::get_job_info:
            co_return job_info(call);
        case Verb::get_job_info_for_vol:
            co_return job_info_for_volume(call);
        case Verb::get_complete_volume_list: {
            const auto all = co_await all_facts();
            co_return printed(complete_volume_list(all));
        }
        case Verb::get_source_mirrored_volumes: {
            const auto all = co_await all_facts();
            co_return printed(source_mirrored_volumes(all));
        }
        case Verb::get_target_mirrored_volumes: {
            const auto all = co_await all_facts();
            co_return printed(target_mirrored_volumes(all));
        }
        case Verb::get_block_target:
        case Verb::get_snapshot_location: {
            const auto settings = settings_.get(volume);
            if (!settings) co_return refused(Status::invalid_drive, settings.error().text);
            if (call.spec->verb == Verb::get_block_target)
                co_return printed(settings->block_target ? "TRUE\n" : "FALSE\n");
            const MirrorPtr mirror = manager_.find(volume);
            const std::string directory =
                mirror ? mirror->record().snapshot_location : settings->snapshot_location;
            co_return printed(directory.empty() ? "" : directory + "\n");
        }
        case Verb::is_potential_mirror_vol: {
            const std::string device = device_of(volume);
            Eligibility found;
            found.opened = false;
            if (!device.empty()) {
                looks_.erase(device);
                const DeviceLook look = co_await look_at(device);
                found = look.eligibility;
            }
            Answer out = printed(potential_mirror_vol(found));
            if (out.out != "TRUE\n") out.status = Status::invalid_function;
            out.no_status_line = true;
            co_return out;
        }
        case Verb::get_extended_volume_info: {
            const std::string device = device_of(volume);
            if (device.empty())
                co_return refused(Status::invalid_drive, "Extended volume info not available");
            const DeviceLook look = co_await look_at(device);
            co_return printed(extended_volume_info(look.disk));
        }
        default:
            break;
    }
    const VolumeFacts facts = co_await facts_of(volume);
    if (facts.role == Role::none && device_of(volume).empty() && call.spec->verb != Verb::get_configuration &&
        call.spec->verb != Verb::get_mirror_vol_info && call.spec->verb != Verb::get_mirror_type &&
        call.spec->verb != Verb::get_volume_drv_state && call.spec->verb != Verb::get_resync_status)
        co_return refused(Status::invalid_drive,
                          fmt::format("{} knows no volume {}", options_.node, volume_letter(volume)));
    switch (call.spec->verb) {
        case Verb::get_configuration:
            co_return printed(configuration(facts));
        case Verb::get_mirror_type:
            co_return printed(mirror_type(facts));
        case Verb::get_mirror_vol_info:
            co_return printed(mirror_vol_info(facts));
        case Verb::get_volume_drv_state:
            co_return printed(volume_drv_state(facts));
        case Verb::get_resync_status:
            co_return printed(resync_status(facts));
        case Verb::is_break_user_requested:
            if (facts.role != Role::source)
                co_return refused(
                    Status::invalid_function,
                    fmt::format("{} is not source of volume {}", options_.node, volume_letter(volume)));
            co_return printed(break_user_requested(facts));
        case Verb::get_volume_info: {
            const auto level = text::to_int(call.argument(1));
            if (!level || *level < 1 || *level > 3)
                co_return refused(Status::invalid_parameter, "the level is 1, 2 or 3");
            co_return printed(volume_info(facts, static_cast<int>(*level)));
        }
        default:
            break;
    }
    co_return refused(Status::not_supported, "not a query");
}

}  // namespace understudy::mirror::emcmd
