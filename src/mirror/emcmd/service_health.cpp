// What the health check looks at on this host.

#include "base/text.h"
#include "config/settings.h"
#include "mirror/emcmd/boot_mounts.h"
#include "mirror/emcmd/health.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace understudy::mirror::emcmd {

using config::Command;
using config::Reply;
using runtime::Task;

namespace {

/// A file with this name in the state directory switches the indicator off on this host. Spec: MOP-180.
constexpr const char* kUpdatesOff = "/indicator-off";

}  // namespace

/// BitmapBaseDir, when it is set.
std::string Service::logs_setting() const {
    const auto text = world_.files.read(options_.layout.settings());
    if (!text) return {};
    std::vector<std::string> told_at_start;
    return config::Settings::parse_leniently(*text, told_at_start).text("BitmapBaseDir");
}

std::vector<std::string> Service::host_problems() const {
    std::vector<std::string> out;
    if (auto problem = ephemeral_problem(host_.instance_store(), logs_setting()); !problem.empty())
        out.push_back(std::move(problem));
    return out;
}

/// Spec: EMC-286, EMC-287, REP-337.
Task<HealthInput> Service::look_at_health(bool ports_too) {
    HealthInput input;
    input.node = options_.node;
    std::vector<std::string> damaged;
    input.jobs = jobs_.all(&damaged);
    for (const auto& [file, why] : manager_.damaged())
        input.damaged.push_back(fmt::format("{}: {}", file, why));
    input.damaged.insert(input.damaged.end(), damaged.begin(), damaged.end());
    const std::string logs = logs_setting();
    input.bitmaps = logs.empty() ? options_.layout.bitmaps() : logs;
    input.bitmaps_missing = !world_.files.exists(input.bitmaps);
    input.logs_elsewhere = !logs.empty();
    input.ephemeral = ephemeral_problem(host_.instance_store(), logs);
    if (ports_too) input.closed_ports = co_await closed_ports();
    input.event_log = options_.layout.log();
    input.event_log_bytes = host_.bytes_left(input.event_log);
    input.updates_disabled = world_.files.exists(options_.layout.state() + kUpdatesOff);
    std::vector<std::string> exports;
    for (const auto& mirror : manager_.all())
        exports.push_back(fmt::format("{}/dev/understudy/{}", options_.layout.root, mirror->id().str()));
    for (const auto& mirror : manager_.all()) {
        const control::MirrorView view = co_await mirror->view();
        const control::MirrorRecord& record = view.record;
        looks_.erase(record.device);  // swap may have been made there since
        const DeviceLook look = co_await look_at(record.device);
        std::string boot_mount = boot_mount_problem(
            host_.fstab(), {record.device, options_.layout.root + "/dev/understudy/" + record.volume.str()});
        const bool no_place = record.role == Role::target && !record.snapshot_location.empty() &&
                              host_.snapshot_directory(record.snapshot_location, exports) != Status::success;
        for (const control::PeerView& peer : view.peers) {
            if (record.role != Role::source && peer.record.node != record.main().node) continue;
            MirrorHealth one;
            one.volume = record.volume;
            one.role = record.role;
            one.state = remote_of(view, peer).state;
            one.peer = peer.record.node;
            one.type = peer.record.type;
            if (peer.record.pairs.empty()) {
                one.address = peer.record.address;
                one.local_address = peer.record.local_address;
            }
            one.split_brain = peer.record.split_brain;
            one.connected = peer.linked;
            one.unlocked = record.unlocked;
            one.problem = peer.problem.empty() ? view.problem : peer.problem;
            one.size = record.size;
            one.peer_size = record.role == Role::source ? peer.device_size : 0;
            one.has_swap = look.eligibility.swap;
            one.boot_mount = std::exchange(boot_mount, {});  // said once
            if (no_place) one.snapshot_location = record.snapshot_location;
            input.mirrors.push_back(std::move(one));
        }
    }
    co_return input;
}

Task<Reply> Service::run_health(Command command) {
    if (command.has("disable") || command.has("enable")) {
        if (command.uid != 0)
            co_return config::failure({Code::failure, "switching the indicator needs root", 0});
        const std::string file = options_.layout.state() + kUpdatesOff;
        const Result<> done =
            command.has("disable") ? world_.files.write_atomic(file, "", 0600) : world_.files.remove(file);
        if (!done) co_return config::failure(done.error());
        co_return config::success();
    }
    const HealthInput input = co_await look_at_health(command.has("ports"));
    const Health health = assess(input);
    if (command.has("verdict")) co_return config::success(fmt::format("{}\n", verdict(health)));
    if (!command.has("json")) co_return config::success(print(health, options_.node));
    Json findings = Json::array();
    for (const Finding& finding : health.findings)
        findings.push_back({{"severity", finding.severity == Severity::error ? "error" : "warning"},
                            {"local_configuration", finding.local_configuration},
                            {"text", finding.text}});
    const Json out{{"node", options_.node},
                   {"state", to_string(health.indicator)},
                   {"counts", health.counts},
                   {"findings", findings}};
    co_return config::success(out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace understudy::mirror::emcmd
