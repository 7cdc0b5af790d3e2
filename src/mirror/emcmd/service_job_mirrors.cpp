// Mirrors that are made, extended and ended together with the job that they are in, and whom that is not open
// to. Spec: MOP-022, MOP-030, MOP-034, MOP-036, MOP-049, MOP-078, MOP-112.

#include "base/text.h"
#include "messages/messages.h"
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

constexpr runtime::Duration kFactsLimit = std::chrono::seconds(5);

}  // namespace

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

/// The job that is meant by a name or an id, or a new one. Error: several jobs have the name.
Result<Service::JobChoice> Service::job_for(const std::string& name, const std::string& description) {
    JobChoice out;
    for (Job& job : jobs_.all()) {
        if (job.name != name && job.id != name) continue;
        if (out.known) return fail(Code::bad_argument, "several jobs have the name {}: give the id", name);
        out.known = true;
        out.job = std::move(job);
    }
    if (out.known) return out;
    out.job.id = new_job_id();
    out.job.name = name;
    out.job.description = description;
    return out;
}

/// The pairs of the volume's hosts become the job's, on all its systems or on none. `some_away`: systems that
/// cannot be reached are told when they are back. Spec: MOP-049
Task<Result<>> Service::put_into_job(JobChoice choice, VolumeId volume, bool some_away) {
    const MirrorPtr mirror = manager_.find(volume);
    if (!mirror) co_return fail(Code::not_found, "no volume {} on {}", volume.str(), options_.node);
    Job job = choice.job;
    for (JobPair& pair : pairs_of_hosts(mirror->record()))
        put_pair(job, std::move(pair));
    if (const std::string problem = problem_of(job); !problem.empty())
        co_return fail(Code::failure, "{}", problem);
    const Answer stored = co_await store_everywhere(job);
    if (stored.status == Status::success) co_return Result<>{};
    if (some_away && stored.status == Status::bad_network_path) co_return Result<>{};
    // What could be stored is taken back.
    Job back = choice.job;
    if (!choice.known) back.pairs.clear();
    const std::string nobody;
    const Answer taken = co_await store_or_remove(job, std::move(back), nobody);
    if (taken.status != Status::success) messages::warning("job {}: {}", choice.job.name, taken.err);
    co_return fail(Code::failure, "{}", text::trim(stored.err));
}

/// The mirror and its pairs in a job, or neither. Spec: MOP-022, MOP-034, MOP-049, EMC-311
Task<Reply> Service::run_create(Command command) {
    if (!command.has("job")) co_return co_await commands_->create(std::move(command));
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror create needs root", 0});
    auto choice = job_for(command.get("job"), command.get("description"));
    if (!choice) co_return config::failure(choice.error());
    const VolumeId volume(command.arguments.empty() ? std::string() : command.arguments.front());
    Reply made = co_await commands_->create(std::move(command));
    if (made.exit_code != 0) co_return made;
    const std::string name = choice->job.name;
    const Result<> stored = co_await put_into_job(std::move(*choice), volume, false);
    if (stored) co_return made;
    const Result<> undone = co_await manager_.remove(volume, true);
    if (!undone) messages::error("volume {}: {}", volume.str(), undone.error().text);
    co_return config::failure({Code::failure,
                               fmt::format("volume {} is not mirrored: job {} cannot take it: {}",
                                           volume.str(), name, stored.error().text),
                               0});
}

/// One target more: its pairs with all others are the job's too, which is the one that the volume is in, else
/// the one that is named. Spec: MOP-049, MOP-070, MOP-071, KIT-068
Task<Reply> Service::run_add(Command command) {
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror add needs root", 0});
    const VolumeId volume(command.arguments.empty() ? std::string() : command.arguments.front());
    std::optional<JobChoice> choice;
    for (Job& job : jobs_.all()) {
        if (choice || !contains(job, options_.node, volume)) continue;
        choice = JobChoice{std::move(job), true};
    }
    if (!choice && command.has("job")) {
        auto named = job_for(command.get("job"), command.get("description"));
        if (!named) co_return config::failure(named.error());
        choice = std::move(*named);
    }
    const std::string node = command.get("target");
    const std::string verb = "add";
    Reply added = co_await commands_->on_volume(verb, std::move(command));
    if (added.exit_code != 0 || !choice) co_return added;
    const std::string name = choice->job.name;
    const Result<> stored = co_await put_into_job(std::move(*choice), volume, true);
    if (stored) co_return added;
    const Result<> undone = co_await manager_.remove_target(volume, node, true);
    if (!undone) messages::error("volume {}: {}", volume.str(), undone.error().text);
    co_return config::failure({Code::failure,
                               fmt::format("volume {} is not mirrored to {}: job {} cannot take it: {}",
                                           volume.str(), node, name, stored.error().text),
                               0});
}

/// The jobs of this node whose pair with `node` is another one after `change`. Error: one would not be legal.
Result<std::vector<Job>> Service::jobs_with(
    const VolumeId& volume, const std::string& node,
    const std::function<void(JobEnd& here, JobEnd& there, char& type)>& change) const {
    std::vector<Job> out;
    for (Job& job : jobs_.all()) {
        const JobPair* const found = find_pair(job, options_.node, node, volume);
        if (found == nullptr || found->type == 'D') continue;
        JobPair& pair = job.pairs[static_cast<std::size_t>(found - job.pairs.data())];
        const JobPair before = pair;
        const bool first_here = same_system(pair.first.system, options_.node);
        change(first_here ? pair.first : pair.second, first_here ? pair.second : pair.first, pair.type);
        if (pair == before) continue;
        if (const std::string problem = problem_of(job); !problem.empty())
            return fail(Code::bad_argument, "job {} cannot take that: {}", job.name, problem);
        out.push_back(std::move(job));
    }
    return out;
}

/// What could not be told, a line each.
Task<std::string> Service::store_all(std::vector<Job> jobs) {
    std::string told;
    for (Job& job : jobs) {
        const std::string name = job.name;
        const Answer stored = co_await store_everywhere(std::move(job));
        if (stored.status != Status::success)
            told += fmt::format("job {}: not stored on {}\n", name, text::trim(stored.err));
    }
    co_return told;
}

/// A mirror's addresses, and those of its pair in the job. Spec: MOP-117, EMC-095
Task<Reply> Service::run_endpoints(Command command) {
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror endpoints needs root", 0});
    const VolumeId volume(command.arguments.empty() ? std::string() : command.arguments.front());
    if (command.has("source") || has_sharers(volume))
        co_return co_await readdress_sharers(std::move(command));
    const std::string node = command.get("target");
    const std::string mine = command.get("source-address"), other = command.get("target-address");
    auto jobs = jobs_with(volume, node, [&](JobEnd& here, JobEnd& there, char&) {
        here.address = mine;
        there.address = other;
    });
    if (!jobs) co_return config::failure(jobs.error());
    const std::string verb = "endpoints";
    Reply done = co_await commands_->on_volume(verb, std::move(command));
    // One that cannot be told is told later, and here the change stays. Spec: EMC-109
    if (done.exit_code != 0 && done.exit_code != static_cast<int>(Code::unreachable)) co_return done;
    const std::string told = co_await store_all(std::move(*jobs));
    if (done.exit_code == 0) done.err = text::trim(told);  // else the same has been said already
    co_return done;
}

/// A mirror's type, and that of its pair in the job. Spec: MOP-116, EMC-110
Task<Reply> Service::run_type(Command command) {
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror type needs root", 0});
    const VolumeId volume(command.arguments.empty() ? std::string() : command.arguments.front());
    const std::string target = command.get("target");
    const std::string verb = "type";
    Reply done = co_await commands_->on_volume(verb, std::move(command));
    const MirrorPtr mirror = manager_.find(volume);
    if (done.exit_code != 0 || !mirror) co_return done;
    const control::MirrorRecord record = mirror->record();
    std::string untold;
    for (const PeerRecord& peer : record.peers) {
        if (!target.empty() && peer.node != target) continue;
        const char type = peer.type == MirrorType::async ? 'A' : 'S';
        auto jobs = jobs_with(volume, peer.node, [type](JobEnd&, JobEnd&, char& now) { now = type; });
        if (!jobs) continue;  // nothing but the type is another one: it is legal
        const std::string told = co_await store_all(std::move(*jobs));
        untold += told;
    }
    done.err = text::trim(untold);
    co_return done;
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

/// Why the volume's mirrors are not switched or ended by hand, by its attributes on this node; empty when
/// they may be. Spec: MOP-078, KIT-084
std::string Service::protection(const VolumeId& volume) const {
    const auto settings = settings_.get(volume);
    if (!settings || (settings->attributes & kClusterProtected) == 0) return {};
    return fmt::format("the cluster protects volume {} on {}", volume.str(), options_.node);
}

/// Who becomes source is the cluster's business; a loss that a person accepts is not. Spec: MOP-078
Task<Reply> Service::run_promote(Command command) {
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror promote needs root", 0});
    const VolumeId volume(command.arguments.empty() ? std::string() : command.arguments.front());
    const bool said = command.has("cluster") || command.has("force") || command.has("peer-dead");
    if (const std::string why = protection(volume); !said && !why.empty())
        co_return config::failure(
            {Code::failure,
             fmt::format("{}: bring its resource in service here instead (perform_action -a restore, or "
                         "understudy switchover)",
                         why),
             0});
    const std::string verb = "promote";
    co_return co_await commands_->on_volume(verb, std::move(command));
}

/// The first of the job's volumes that the cluster protects on one of its systems, as a reason. Spec: MOP-078
Task<std::string> Service::protection_of(Job job) {
    for (const std::string& system : systems_of(job)) {
        for (const VolumeId& volume : volumes_of(job)) {
            if (!contains(job, system, volume)) continue;
            if (is_this(system)) {
                if (std::string why = protection(volume); !why.empty()) co_return why;
                continue;
            }
            Json request{{"do", "facts"}, {"volume", volume.str()}};
            const std::string known = emcmd::address_of(job, system);
            auto reply = co_await ask(known.empty() ? system : known, std::move(request), kFactsLimit);
            if (reply && reply->value("protected", false))
                co_return fmt::format("the cluster protects volume {} on {}", volume.str(), system);
        }
    }
    co_return std::string();
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

/// Ends a mirror as the console does: its pairs leave the job, and a job without pairs goes. Not what the
/// cluster protects. Spec: MOP-078, MOP-111, MOP-112
Task<Reply> Service::run_delete(Command command) {
    if (command.uid != 0) co_return config::failure({Code::failure, "mirror delete needs root", 0});
    if (command.arguments.size() != 1)
        co_return config::failure({Code::syntax, "mirror delete takes a volume", 0});
    const VolumeId volume(command.arguments.front());
    const std::string target = command.get("target");
    if (const std::string why = protection(volume); !command.has("cluster") && !why.empty())
        co_return config::failure(
            {Code::failure, fmt::format("{}: delete its resource first (understudy resource delete)", why),
             0});
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
