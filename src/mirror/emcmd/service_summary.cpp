// Jobs and the mirrors in them, seen together: a job's summary, and what both ends of a mirror are set to.
// Spec: MOP-027, MOP-041, MOP-149.

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/emcmd/health.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using config::Command;
using config::Reply;
using control::PeerRecord;
using runtime::Task;

namespace {

using Json = nlohmann::json;

constexpr runtime::Duration kFactsLimit = std::chrono::seconds(5);
constexpr std::uint64_t kBlockBytes = 65536;

Indicator indicator_of(const Json& target) {
    if (target.value("split_brain", false)) return Indicator::error;
    switch (static_cast<MirrorState>(target.value("state", 0))) {
        case MirrorState::mirroring:
            return Indicator::mirroring;
        case MirrorState::resync:
        case MirrorState::pending:
            return Indicator::resync;
        case MirrorState::invalid:
        case MirrorState::none:
        case MirrorState::broken:
        case MirrorState::paused:
            return Indicator::warning;
    }
    return Indicator::warning;
}

std::string compression_text(const std::string& level) {
    return level.empty() || level == "0" ? "None" : level;
}

std::string or_dash(std::string text) {
    return text.empty() ? "-" : text;
}

/// Lines for people: the job, a line for each source volume, a line for each of its mirrors.
std::string print_summary(const Json& summary) {
    std::string out = fmt::format(
        "Summary of {} - {}\nNumber of mirrors: {}\nServers: {}\nJob state: {}\n", summary.value("name", ""),
        summary.value("description", ""), summary["mirrors"].size(),
        text::join(summary["servers"].get<std::vector<std::string>>(), ", "), summary.value("state", ""));
    for (const Json& one : summary["mirrors"])
        out += fmt::format(
            "Source: {} {} {}  Target: {} {} {}  {}, {}, {} to send; {}, {:.2f} GB, compression {}, "
            "{} kbps\n",
            one.value("source", ""), one.value("volume", ""), one.value("source_address", ""),
            one.value("target", ""), one.value("target_volume", ""), one.value("target_address", ""),
            one.value("state_name", ""), one.value("type", ""),
            text::human_bytes(one.value("remaining", std::uint64_t{0})),
            or_dash(one.value("file_system", "")),
            static_cast<double>(one.value("size", std::uint64_t{0})) / 1e9,
            compression_text(one.value("compression", "0")), one.value("bandwidth", "0"));
    for (const Json& silent : summary["silent"])
        out += fmt::format("{} does not answer\n", silent.get<std::string>());
    return out;
}

}  // namespace

/// "KEY=value ..." of a mirror's parameters.
std::string Service::parameter_of(const control::Mirror& mirror, const std::string& peer,
                                  const std::string& key) {
    const auto all = mirror.parameters(peer);
    if (!all) return {};
    const auto at = all->find(key + "=");
    if (at == std::string::npos) return {};
    const auto begin = at + key.size() + 1;
    return all->substr(begin, all->find_first_of(" \n", begin) - begin);
}

/// For describe(): the mirrors of a source.
Service::Json Service::targets_of(const control::Mirror& mirror, const control::MirrorView& view) const {
    Json out = Json::array();
    if (view.record.role != Role::source) return out;
    for (const control::PeerView& peer : view.peers) {
        const Remote remote = remote_of(view, peer);
        out.push_back({{"target", remote.node},
                       {"target_volume", volume_letter(remote.volume)},
                       {"target_address", remote.address},
                       {"source_address", peer.record.local_address},
                       {"state", static_cast<int>(remote.state)},
                       {"state_name", to_string(remote.state)},
                       {"split_brain", peer.record.split_brain},
                       {"type", remote.type == MirrorType::async ? "asynchronous" : "synchronous"},
                       {"remaining", remote.dirty_blocks * kBlockBytes},
                       {"size", view.record.size},
                       {"compression", parameter_of(mirror, remote.node, "CompressionLevel")},
                       {"bandwidth", parameter_of(mirror, remote.node, "BandwidthThrottle")}});
    }
    return out;
}

/// The job's systems are asked; who does not answer is named. Spec: MOP-041, MOP-177
Task<Service::Json> Service::summary_of(Job job) {
    Json out{{"id", job.id},
             {"name", job.name},
             {"description", job.description},
             {"servers", systems_of(job)},
             {"mirrors", Json::array()},
             {"silent", Json::array()}};
    Indicator worst = Indicator::none;
    for (const std::string& system : systems_of(job)) {
        for (const VolumeId& volume : volumes_of(job)) {
            if (!contains(job, system, volume)) continue;
            Json facts;
            if (is_this(system)) {
                facts = co_await describe(volume);
            } else {
                Json request{{"do", "facts"}, {"volume", volume.str()}};
                const std::string known = emcmd::address_of(job, system);
                auto reply = co_await ask(known.empty() ? system : known, std::move(request), kFactsLimit);
                if (!reply) {
                    out["silent"].push_back(system);
                    worst = std::min(worst, Indicator::warning);
                    break;  // its other volumes would be as silent
                }
                facts = *reply;
            }
            for (Json& target : facts["targets"]) {
                target["source"] = facts.value("node", "");
                target["volume"] = volume_letter(volume);
                target["file_system"] = facts.value("file_system", "");
                worst = std::min(worst, indicator_of(target));
                out["mirrors"].push_back(target);
            }
        }
    }
    out["state"] = to_string(worst);
    co_return out;
}

Task<Reply> Service::job_summary(Job job, bool json) {
    const Json summary = co_await summary_of(std::move(job));
    co_return config::success(json ? summary.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"
                                   : print_summary(summary));
}

/// Compression and bandwidth of a mirror are the same on both ends, so that they stay when roles change.
/// Spec: MOP-150, MOP-151, MOP-152
Task<Reply> Service::run_set(Command command) {
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror set needs root", 0});
    if (command.arguments.empty()) co_return config::failure({Code::syntax, "mirror set takes a volume", 0});
    const VolumeId volume(command.arguments.front());
    const std::string target = command.get("target");
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror)
        co_return config::failure(
            {Code::not_found, fmt::format("no volume {} on {}", volume.str(), options_.node), 0});
    if (command.arguments.size() == 1) {
        const auto shown = mirror->parameters(target);
        co_return shown ? config::success(*shown) : config::failure(shown.error());
    }
    const auto changes = std::span(command.arguments).subspan(1);
    Json shared = Json::array();
    for (const std::string& change : changes)
        for (const char* key : {"CompressionLevel=", "BandwidthThrottle="})
            if (change.starts_with(key)) shared.push_back(change);
    const control::MirrorRecord record = mirror->record();
    const bool of_targets = !target.empty() && target != record.main().node;  // Spec: MOP-073
    if (record.role != Role::source && (!shared.empty() || of_targets))
        co_return config::failure({Code::failure,
                                   fmt::format("{} is target of volume {}: set it on its source {}",
                                               options_.node, volume.str(), record.main().node),
                                   0});
    if (const auto set = mirror->set_parameters(target, changes); !set)
        co_return config::failure(set.error());
    Reply reply = config::success();
    if (shared.empty()) co_return reply;
    for (const PeerRecord& peer : record.peers) {
        if (!target.empty() && peer.node != target) continue;
        Json request{{"do", "set"}, {"volume", volume.str()}, {"changes", shared}};
        auto told = co_await ask(peer.address, std::move(request), kFactsLimit);
        std::string why;
        if (!told)
            why = told.error().text;
        else
            why = told->value("err", "");
        if (!why.empty())
            reply.err += fmt::format("{}{} keeps its own: {}", reply.err.empty() ? "" : "\n", peer.node, why);
    }
    co_return reply;
}

}  // namespace understudy::mirror::emcmd
