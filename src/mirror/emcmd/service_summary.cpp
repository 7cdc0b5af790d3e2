// Jobs and the mirrors in them, seen together: a job's summary, jobs for mirrors that have none, and the end
// of a mirror as its job sees it. Spec: MOP-027, MOP-030, MOP-041, MOP-112, MOP-149.

#include "base/text.h"
#include "messages/messages.h"
#include "mirror/emcmd/health.h"
#include "mirror/emcmd/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace understudy::mirror::emcmd {

using config::Command;
using config::Reply;
using control::PeerRecord;
using runtime::Task;

namespace {

using Json = nlohmann::json;

constexpr runtime::Duration kFactsLimit = std::chrono::seconds(5);
constexpr std::uint64_t kBlockBytes = 65536;

std::set<VolumeId> volumes_of(const Job& job) {
    std::set<VolumeId> out;
    for (const JobPair& pair : job.pairs)
        for (const JobEnd* end : {&pair.first, &pair.second})
            out.insert(end->volume);
    return out;
}

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
            text::human_bytes(one.value("remaining", std::uint64_t{0})), one.value("file_system", "-"),
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

/// Every two of the volume's hosts, as this source knows them. Spec: MOP-070
std::vector<JobPair> Service::pairs_of_hosts(const control::MirrorRecord& record) const {
    std::vector<JobPair> out;
    for (std::size_t i = 0; i < record.peers.size(); ++i) {
        const PeerRecord& peer = record.peers[i];
        const char type = peer.type == MirrorType::async ? 'A' : 'S';
        const JobEnd end{peer.node, record.volume, peer.address};
        out.push_back({{options_.node, record.volume, peer.local_address}, end, type});
        for (std::size_t j = i + 1; j < record.peers.size(); ++j)
            out.push_back({end, {record.peers[j].node, record.volume, record.peers[j].address}, type});
    }
    return out;
}

/// The mirror and its pairs in a job, or neither. Spec: MOP-022, MOP-034, MOP-049
Task<Reply> Service::run_create(Command command) {
    if (!command.has("job")) co_return co_await commands_->create(std::move(command));
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror create needs root", 0});
    const std::string name = command.get("job");
    Job job;
    std::size_t found = 0;
    for (Job& one : jobs_.all())
        if ((one.name == name || one.id == name) && ++found == 1) job = std::move(one);
    if (found > 1)
        co_return config::failure(
            {Code::bad_argument, fmt::format("{} jobs have the name {}: give the id", found, name), 0});
    if (found == 0) {
        job.id = new_job_id();
        job.name = name;
        job.description = command.get("description");
    }
    const VolumeId volume(command.arguments.empty() ? std::string() : command.arguments.front());
    Reply made = co_await commands_->create(std::move(command));
    if (made.exit_code != 0) co_return made;
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror) co_return made;
    const Job before = job;
    for (JobPair& pair : pairs_of_hosts(mirror->record()))
        put_pair(job, std::move(pair));
    Answer stored;
    if (const std::string problem = problem_of(job); !problem.empty()) {
        stored = refused(Status::invalid_parameter, problem);
    } else {
        stored = co_await store_everywhere(job);
        if (stored.status == Status::success) co_return made;
        // What could be stored is taken back, and the mirror with it.
        Job back = before;
        if (found == 0) back.pairs.clear();
        const std::string nobody;
        const Answer taken = co_await store_or_remove(job, std::move(back), nobody);
        if (taken.status != Status::success) messages::warning("job {}: {}", name, taken.err);
    }
    const Result<> undone = co_await manager_.remove(volume, true);
    if (!undone) messages::error("volume {}: {}", volume.str(), undone.error().text);
    co_return config::failure({Code::failure,
                               fmt::format("volume {} is not mirrored: job {} cannot take it: {}",
                                           volume.str(), name, text::trim(stored.err)),
                               0});
}

/// A job for each volume that this node is source of and that no job has, with every pair of its hosts. Spec:
/// MOP-030
Task<Reply> Service::import_jobs() {
    std::string made;
    for (const auto& mirror : manager_.all()) {
        const control::MirrorRecord record = mirror->record();
        if (record.role != Role::source) continue;
        const auto jobs = jobs_.all();
        if (std::any_of(jobs.begin(), jobs.end(),
                        [&](const Job& job) { return contains(job, options_.node, record.volume); }))
            continue;
        Job job;
        job.id = new_job_id();
        job.name = "Volume " + volume_letter(record.volume);
        job.description = "made for a mirror without a job";
        job.pairs = pairs_of_hosts(record);
        made += fmt::format("{} {}\n", job.id, job.name);
        const Answer stored = co_await store_everywhere(std::move(job));
        if (stored.status != Status::success)
            co_return config::failure({Code::failure, std::string(text::trim(stored.err)), 0});
    }
    co_return config::success(made);
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

/// The mirrors of the job's volumes, at their sources. The first failure ends it. Spec: MOP-036
Task<Answer> Service::delete_mirrors_of(Job job) {
    const Json summary = co_await summary_of(job);
    std::set<std::pair<std::string, std::string>> done;  // source and volume
    for (const Json& one : summary["mirrors"]) {
        const std::string source = one.value("source", "");
        const std::string volume = one.value("volume", "");
        if (!done.emplace(source, volume).second) continue;
        std::vector<std::string> words{".", "DELETEMIRROR", volume};
        Answer deleted;
        if (is_this(source))
            deleted = co_await answer_words(std::move(words), ".");
        else
            deleted = co_await forward(source, std::move(words), ".", source);
        if (deleted.status != Status::success) co_return deleted;
    }
    co_return Answer{};
}

/// Ends a mirror as the console does: its pairs leave the job, and a job without pairs goes. Spec: MOP-111,
/// MOP-112
Task<Reply> Service::run_delete(Command command) {
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror delete needs root", 0});
    if (command.arguments.size() != 1)
        co_return config::failure({Code::syntax, "mirror delete takes a volume", 0});
    const VolumeId volume(command.arguments.front());
    const std::string target = command.get("target");
    const MirrorPtr mirror = manager_.find(volume);
    std::vector<std::string> gone;  // hosts that the volume has no longer
    if (mirror) {
        for (const PeerRecord& peer : mirror->record().peers)
            if (target.empty() || peer.node == target) gone.push_back(peer.node);
        remember_device(volume);
        for (const std::string& peer : gone)
            (void)co_await peer_facts(mirror, peer);  // the other end remembers its device too
    }
    const Result<> done = co_await remove_mirrors(volume, target, command.has("force"));
    if (!done) co_return config::failure(done.error());
    std::string told;
    for (Job& job : jobs_.all()) {
        const Job before = job;
        std::erase_if(job.pairs, [&](const JobPair& pair) {
            const bool of_volume = pair.first.volume == volume && pair.second.volume == volume;
            return of_volume && std::any_of(gone.begin(), gone.end(), [&](const std::string& node) {
                       return same_system(pair.first.system, node) || same_system(pair.second.system, node);
                   });
        });
        if (job.pairs.size() == before.pairs.size()) continue;
        const std::string nobody;
        const Answer stored = co_await store_or_remove(before, std::move(job), nobody);
        if (stored.status != Status::success) told += stored.err + "\n";
    }
    Reply reply = config::success();
    reply.err = std::string(text::trim(told));  // the mirror is gone all the same
    co_return reply;
}

}  // namespace understudy::mirror::emcmd
