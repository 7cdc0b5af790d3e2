// Shared volumes: LOCKVOLUME and UNLOCKVOLUME of one, and this program's own commands for them.

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using config::Command;
using config::Reply;
using runtime::Task;

namespace {

using Json = nlohmann::json;

/// A volume that is to be locked and is in use is tried again so long, so often.
constexpr runtime::Duration kHoldWait = std::chrono::seconds(30);
constexpr runtime::Duration kHoldLook = std::chrono::milliseconds(500);

Answer refused(const Error& error) {
    // Somebody else has it: as with any volume that is in use.
    return {error.code == Code::exists ? Status::lock_violation : status_of(error), "", error.text, false};
}

Json json_of(const shared::AreaView& view) {
    Json hosts = Json::array();
    for (std::size_t i = 0; i < view.header.hosts.size(); ++i) {
        if (view.header.hosts[i].empty()) continue;  // removed
        const auto& record = view.slots[i].record;
        hosts.push_back({{"host", view.header.hosts[i].str()},
                         {"beat", record ? Json(record->beat) : Json()},
                         {"lease_ms", record ? Json(record->lease_ms) : Json()},
                         {"released", record ? Json(record->released) : Json()},
                         {"damaged", view.slots[i].damaged}});
    }
    return {{"volume", view.header.volume.str()},
            {"area_id", fmt::format("{:016x}", view.header.id)},
            {"generation", view.generation},
            {"owner", view.owner ? Json(view.owner->str()) : Json()},
            {"hosts", hosts}};
}

}  // namespace

void Service::set_shared(shared::SharedVolumes& volumes) {
    shared_ = &volumes;
    // What this host does not own it keeps everybody here from.
    volumes.set_keeper({.let_go = [this](const VolumeId& volume) { host_.release(volume); },
                        .keep = [this](const VolumeId& volume) { hold_again(volume); }});
}

/// It is one as long as it is open, whatever was set meanwhile.
bool Service::is_shared(const VolumeId& volume) const {
    if (shared_ == nullptr) return false;
    if (shared_->is_open(volume)) return true;
    if (manager_.find(volume)) return false;
    const auto settings = settings_.get(volume);
    return settings && (settings->attributes & shared_volume) != 0;
}

void Service::hold_again(const VolumeId& volume) {
    tasks_.spawn(hold_when_free(volume));
}

/// A process that was killed lets its device go only when the kernel has ended what it had under way.
Task<> Service::hold_when_free(VolumeId volume) {
    const auto deadline = world_.clock.now() + kHoldWait;
    for (bool first = true;; first = false) {
        const auto settings = settings_.get(volume);
        const bool shut = settings && (settings->locked || (settings->attributes & shared_volume) != 0);
        if (!shut || settings->device.empty() || manager_.find(volume)) co_return;
        // Whoever opens or closes it sees to this.
        if (!first && shared_ != nullptr && shared_->is_busy(volume)) co_return;
        const auto held = host_.hold(volume, settings->device);
        if (held) co_return;
        if (first) messages::warning("volume {} is not locked yet: {}", volume.str(), held.error().text);
        if (world_.clock.now() >= deadline) {
            messages::error("volume {} is not locked: {}", volume.str(), held.error().text);
            co_return;
        }
        co_await runtime::sleep_for(world_.tasks, kHoldLook);
    }
}

/// A mirror to a disk that this host does not own would take it past the lock that keeps the other hosts from
/// it. Spec: MOP-019
Result<> Service::may_be_target_disk(const VolumeId& volume) const {
    UNDERSTUDY_TRY(const VolumeSettings settings, settings_.get(volume));
    if ((settings.attributes & shared_volume) == 0 || settings.area.empty()) return {};
    if (shared_ != nullptr && shared_->is_open(volume)) return {};
    return fail(Code::failure,
                "volume {} is shared with other hosts, and {} does not own it: unlock it first", volume.str(),
                options_.node);
}

/// How each host of this end reaches each host of the target's, when hosts share the disk of either: the two
/// that make the mirror as it was asked, the others as a job says. `there`: the hosts of the target's end;
/// none: its disk is its own.
/// Spec: MOP-018, MOP-019, MOP-061, MOP-070, EMC-039.
Result<std::vector<control::EndpointPair>> Service::shared_pairs(
    const VolumeId& volume, const control::TargetOptions& target,
    const std::vector<std::string>& there) const {
    std::vector<std::string> here;
    if (is_shared(volume))
        for (const NodeName& host : shared_->hosts(volume))
            here.push_back(host.str());
    std::vector<control::EndpointPair> out;
    if (here.empty() && there.empty()) return out;
    if (here.empty()) here.push_back(options_.node);
    std::vector<std::string> others = there;
    if (others.empty()) others.push_back(target.node);
    std::size_t known = 0;  // of the volume's other targets
    if (const MirrorPtr mirror = manager_.find(volume))
        for (const control::PeerRecord& peer : mirror->record().peers)
            known += peer.pairs.size();
    if (known + here.size() * others.size() > shared::kMostMirrorHosts)
        return fail(
            Code::bad_argument,
            "{} hosts at one end and {} at the other, with {} pairs of other targets, make more than {} "
            "pairs",
            here.size(), others.size(), known, shared::kMostMirrorHosts);
    for (const std::string& one : here) {
        for (const std::string& other : others) {
            if (one == other)
                return fail(Code::bad_argument, "{} shares the disk of volume {}: it cannot be its target",
                            one, volume_letter(volume));
            control::EndpointPair pair{one, other, {}, {}, options_.dispatch_port};
            if (one == options_.node && other == target.node) {
                pair.local_address = target.source_address;
                pair.address = target.address;
            }
            for (const Job& job : jobs_.all()) {
                if (!pair.address.empty()) break;
                const JobPair* found = find_pair(job, one, other, volume);
                if (found == nullptr || found->type == 'D') continue;
                const bool first = same_system(found->first.system, one);
                pair.local_address = (first ? found->first : found->second).address;
                pair.address = (first ? found->second : found->first).address;
            }
            if (pair.address.empty())
                return fail(
                    Code::bad_argument,
                    "volume {} is shared, and no job of {} has the endpoints between {} and {}: create "
                    "the job first",
                    volume_letter(volume), options_.node, one, other);
            out.push_back(std::move(pair));
        }
    }
    return out;
}

/// The device is let go, the lock stays: no other host gets in between.
Task<Result<>> Service::mirror_shared(NewMirror made) {
    control::CreateOptions options;
    options.volume = made.volume;
    options.resync = !made.equal;
    options.targets.push_back(made.target);
    auto path = co_await shared_->mirror(std::move(options));
    if (!path) co_return fail(path.error());
    co_return Result<>{};
}

/// A peer on the same disk may take over at any time; the owner gives the disk up when it lives. Spec:
/// EMC-240, MOP-075.
Task<Answer> Service::switch_over_shared(VolumeId volume) {
    const auto settings = settings_.get(volume);
    if (!settings) co_return refused(settings.error());
    if ((settings->attributes & lifekeeper_protected) != 0)  // Spec: EMC-248
        co_return refused(
            {Code::failure,
             fmt::format("the cluster holds volume {}: switch its resource over", volume_letter(volume)), 0});
    shared::SharedPlace place{volume, settings->device, settings->area};
    const auto role = co_await shared_->role(std::move(place));
    if (!role) co_return refused(role.error());
    if (*role == Role::target)
        co_return refused(Error{Code::bad_argument,
                                fmt::format("volume {} is the target of a mirror on the host that owns its "
                                            "disk: {}, which shares it, cannot become the source",
                                            volume_letter(volume), options_.node),
                                0});
    const auto view = co_await shared_->view(settings->area);
    if (!view) co_return refused(view.error());
    if (view->owner && view->owner->str() != options_.node) {
        const std::string owner = view->owner->str();
        std::vector<std::string> words{owner, "LOCKVOLUME", volume_letter(volume)};
        Answer given = co_await forward(owner, std::move(words), owner, "");
        // One that cannot be asked may be dead: its lease tells.
        if (given.status == Status::lock_violation) co_return given;
        if (given.status != Status::success)
            messages::warning("volume {}: {} does not give it up: {}", volume.str(), owner, given.err);
    }
    co_return co_await unlock_shared(volume);
}

/// Spec: EMC-220, CLU-231.
Task<Answer> Service::lock_shared(VolumeId volume) {
    const Result<> closed = co_await shared_->close(volume);
    if (!closed) co_return refused(closed.error());
    const auto settings = settings_.get(volume);
    if (!settings) co_return refused(settings.error());
    if (!host_.holds(volume)) {
        const Result<> held = host_.hold(volume, settings->device);
        if (!held) co_return refused(held.error());
    }
    co_return update_settings(volume, [](VolumeSettings& s) { s.locked = true; });
}

/// Spec: EMC-262, CLU-231.
Task<Answer> Service::unlock_shared(VolumeId volume) {
    const auto settings = settings_.get(volume);
    if (!settings) co_return refused(settings.error());
    if (settings->area.empty())
        co_return refused(
            {Code::failure,
             fmt::format("volume {} is shared and has no lock area: nothing would keep two hosts from "
                         "writing to it (understudy volume share {} --area PATH)",
                         volume.str(), volume.str()),
             0});
    shared::SharedPlace place{volume, settings->device, settings->area};
    const Result<std::string> opened = co_await shared_->open(std::move(place));
    if (!opened) co_return refused(opened.error());
    if (opened->empty())
        co_return refused({Code::failure,
                           fmt::format("{} has become the target of volume {}, whose source is elsewhere: "
                                       "switch it over to use it here",
                                       options_.node, volume_letter(volume)),
                           0});
    co_return update_settings(volume, [](VolumeSettings& s) { s.locked = false; });
}

/// Spec: CLU-230, CLU-231, MOP-063, MOP-064, MOP-164, EMC-299.
Task<Reply> Service::run_share(Command command) {
    const std::string verb = command.name.substr(command.name.find_last_of(' ') + 1);
    if (command.arguments.size() != 1) co_return config::failure({Code::syntax, "a volume is missing", 0});
    const VolumeId volume(command.arguments.front());
    const auto settings = settings_.get(volume);
    if (!settings) co_return config::failure(settings.error());
    if (verb == "owner") {
        if (settings->area.empty())
            co_return config::failure(
                {Code::not_found,
                 fmt::format("volume {} has no lock area on {}", volume.str(), options_.node), 0});
        const auto view = co_await shared_->view(settings->area);
        if (!view) co_return config::failure(view.error());
        if (command.has("json"))
            co_return config::success(json_of(*view).dump(2, ' ', false, Json::error_handler_t::replace) +
                                      "\n");
        co_return config::success((view->owner ? view->owner->str() : "-") + "\n");
    }
    if (command.uid != 0) co_return config::failure({Code::failure, "volume share needs root", 0});
    if (command.has("add")) co_return co_await add_sharer(volume, command.get("add"), command.get("address"));
    if (command.has("drop")) co_return co_await drop_sharer(volume, command.get("drop"), command.has("yes"));
    if (manager_.find(volume))
        co_return config::failure({Code::failure, fmt::format("volume {} is mirrored", volume.str()), 0});
    if (shared_->is_open(volume))
        co_return config::failure(
            {Code::failure, fmt::format("volume {} is open here: lock it first", volume.str()), 0});
    if (command.has("off")) {
        const Answer done = update_settings(volume, [](VolumeSettings& s) {
            s.attributes &= ~static_cast<unsigned>(shared_volume);
            s.area.clear();
        });
        if (done.status != Status::success) co_return config::failure({Code::failure, done.err, 0});
        co_return config::success();
    }
    if (settings->device.empty())
        co_return config::failure(
            {Code::not_found,
             fmt::format("{} knows no device of volume {}: understudy volume set {} --device PATH",
                         options_.node, volume.str(), volume.str()),
             0});
    const std::string area = command.has("area") ? command.get("area") : settings->area;
    if (area.empty() || area.front() != '/')
        co_return config::failure({Code::bad_argument, "--area: give the path of the lock area's device", 0});
    if (command.has("hosts")) {
        std::vector<NodeName> hosts;
        for (const auto& name : text::split(command.get("hosts"), ','))
            hosts.emplace_back(text::trim(name));
        const Result<> made = co_await shared_->share(area, volume, std::move(hosts));
        if (!made) co_return config::failure(made.error());
    }
    const auto view = co_await shared_->view(area);
    if (!view) co_return config::failure(view.error());
    if (view->header.volume != volume)
        co_return config::failure(
            {Code::bad_argument,
             fmt::format("{} is the lock area of volume {}", area, view->header.volume.str()), 0});
    if (!view->header.slot_of(NodeName(options_.node)))
        co_return config::failure({Code::not_found,
                                   fmt::format("{} is not among the hosts of volume {} in its lock area",
                                               options_.node, volume.str()),
                                   0});
    // From now on nobody here can open the device, which needs no reboot.
    if (!host_.holds(volume)) {
        const Result<> held = host_.hold(volume, settings->device);
        if (!held) co_return config::failure(held.error());
    }
    const Answer done = update_settings(volume, [&area](VolumeSettings& s) {
        s.attributes |= shared_volume;
        s.area = area;
        s.locked = true;
    });
    if (done.status != Status::success) co_return config::failure({Code::failure, done.err, 0});
    co_return config::success();
}

}  // namespace understudy::mirror::emcmd
