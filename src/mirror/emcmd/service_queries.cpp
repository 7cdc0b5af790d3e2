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

Task<VolumeFacts> Service::facts_of(VolumeId volume, Depth depth) {
    VolumeFacts out;
    out.volume = volume;
    out.system = options_.node;
    if (const auto settings = settings_.get(volume)) out.attributes = settings->attributes;
    const auto changed = changed_.find(volume);
    out.modified = changed == changed_.end() ? started_ : changed->second;
    const std::string device = device_of(volume);
    if (!device.empty()) {
        const DeviceLook look = co_await look_at(device);
        out.file_system = look.file_system.type;
        out.label = look.file_system.label;
        out.size = look.size;
    }
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror) co_return out;
    MirrorView view;
    if (depth == Depth::data_path) {
        view = co_await mirror->view();
    } else {
        view.record = mirror->record();
        for (const control::PeerRecord& peer : view.record.peers)
            view.peers.emplace_back().record = peer;
    }
    const control::MirrorRecord& record = view.record;
    if (record.peers.empty()) co_return out;  // served, and not mirrored yet. Spec: KIT-068
    out.role = record.role;
    out.local_address = record.main().local_address;
    // Of the device, as it is now: what is compared before a mirror goes on with a larger volume. Spec:
    // REP-306
    if (record.role == Role::source) out.size = view.open ? view.device_size : record.size;
    // A locked target's size is nobody's business. Spec: EMC-211
    if (record.role == Role::target && !record.unlocked) out.size.reset();
    for (const control::PeerView& peer : view.peers) {
        // A target has a mirror with its source only; of the others it has endpoints. Spec: EMC-194
        if (record.role == Role::source || peer.record.node == record.main().node)
            out.remotes.push_back(remote_of(view, peer));
    }
    co_return out;
}

Remote Service::remote_of(const MirrorView& view, const control::PeerView& peer) const {
    const control::MirrorRecord& record = view.record;
    Remote out;
    out.node = peer.record.node;
    out.address = peer.record.address;
    out.volume = record.volume;
    out.type = peer.record.type;
    // The data path's own state, where it has one; a target whose link went keeps what it knew last.
    out.state = record.role == Role::source && view.open ? peer.volume.state : peer.record.state;
    out.user_requested = peer.record.user_requested;
    out.dirty_blocks = peer.volume.dirty_blocks;
    out.blocks = (record.size + kBlockBytes - 1) / kBlockBytes;
    out.pass = peer.volume.resync_pass;
    if (out.state == MirrorState::resync)
        out.current_block = out.blocks - std::min<std::uint64_t>(out.blocks, out.dirty_blocks);
    out.new_writes = peer.volume.writes;
    const auto at = resyncs_.find({record.volume, peer.record.node});
    out.resync_started = at == resyncs_.end() || at->second.started == 0 ? started_ : at->second.started;
    out.resync_last = at == resyncs_.end() || at->second.last == 0 ? started_ : at->second.last;
    if (out.state == MirrorState::resync) out.resync_last = host_.now_s();
    return out;
}

Task<std::vector<VolumeFacts>> Service::all_facts(Depth depth) {
    std::vector<VolumeFacts> out;
    for (const VolumeId& volume : known_volumes()) {
        VolumeFacts facts = co_await facts_of(volume, depth);
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
    out["protected"] = settings && (settings->attributes & kClusterProtected) != 0;
    out["switchover"] = settings_.switchover_flag(volume);
    if (shared_ != nullptr && shared_->is_open(volume)) {
        out["hosts"] = Json::array();
        for (const NodeName& host : shared_->hosts(volume))
            out["hosts"].push_back(host.str());
    }
    out["role"] = 0;
    out["unlocked"] = false;
    out["targets"] = Json::array();
    if (const auto look = looks_.find(device_of(volume)); look != looks_.end())
        out["file_system"] = look->second.file_system.type;
    if (const MirrorPtr mirror = manager_.find(volume)) {
        const MirrorView view = co_await mirror->view();
        const control::MirrorRecord& record = view.record;
        out["role"] = static_cast<int>(record.role);
        out["unlocked"] = record.unlocked;
        out["consistent"] = record.consistent;
        out["yielded"] = record.yielded;
        out["state"] = static_cast<int>(record.main().state);
        out["peer"] = record.main().node;
        out["targets"] = targets_of(*mirror, view);
        out["peers"] = Json::array();
        for (const control::PeerView& peer : view.peers) {
            out["peers"].push_back(peer.record.node);
            if (record.role == Role::target && peer.linked) out["follows"] = peer.record.node;
        }
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
            const auto all = co_await all_facts(Depth::records);
            co_return printed(complete_volume_list(all));
        }
        case Verb::get_source_mirrored_volumes: {
            const auto all = co_await all_facts(Depth::records);
            co_return printed(source_mirrored_volumes(all));
        }
        case Verb::get_target_mirrored_volumes: {
            const auto all = co_await all_facts(Depth::records);
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
    const VolumeFacts facts = co_await facts_of(volume, Depth::data_path);
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
