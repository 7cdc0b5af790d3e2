// This program's own commands over the same things: volumes of this node, jobs.

#include "base/text.h"
#include "mirror/emcmd/service.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace understudy::mirror::emcmd {

using config::Command;
using config::Reply;
using runtime::Task;

namespace {

using Json = nlohmann::json;

Reply wrong(std::string text) {
    return config::failure({Code::syntax, std::move(text), 0});
}

std::string dump(const Json& json) {
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// A status becomes the exit code of the commands that are this program's own.
Reply reply_of(const Answer& answer) {
    if (answer.status == Status::success) return config::success(answer.out);
    Code code = Code::failure;
    if (answer.status == Status::file_not_found) code = Code::not_found;
    if (answer.status == Status::invalid_parameter) code = Code::bad_argument;
    if (answer.status == Status::bad_network_path) code = Code::unreachable;
    Reply reply = config::failure({code, std::string(text::trim(answer.err)), 0});
    reply.out = answer.out;
    return reply;
}

Json json_of(const Job& job) {
    Json pairs = Json::array();
    for (const JobPair& pair : job.pairs) {
        const auto end = [](const JobEnd& one) {
            return Json{{"system", one.system}, {"volume", one.volume.str()}, {"address", one.address}};
        };
        pairs.push_back({{"ends", {end(pair.first), end(pair.second)}}, {"type", std::string(1, pair.type)}});
    }
    return {{"id", job.id},
            {"name", job.name},
            {"description", job.description},
            {"version", job.version},
            {"systems", systems_of(job)},
            {"pairs", pairs},
            {"missing_pairs", missing_pairs(job)}};
}

constexpr std::array<std::string_view, 15> kJobVerbs{
    "list",        "show",   "summary", "create",   "import", "pair",   "rename",    "reassign",
    "remove-node", "delete", "pause",   "continue", "break",  "resync", "switchover"};

/// By id, or by name when only one has it.
Result<Job> find_job(const JobStore& jobs, const std::string& word) {
    if (is_job_id(word)) return jobs.get(word);
    std::vector<Job> found;
    for (Job& job : jobs.all())
        if (job.name == word) found.push_back(std::move(job));
    if (found.empty()) return fail(Code::not_found, "there is no job {}", word);
    if (found.size() > 1)
        return fail(Code::bad_argument, "{} jobs have the name {}: give the id", found.size(), word);
    return found.front();
}

}  // namespace

// --- volumes

/// Spec: EMC-012, EMC-299, EMC-300, MOP-001, MOP-224.
Task<Reply> Service::run_volume(Command command) {
    const std::string verb = command.name.substr(command.name.find_last_of(' ') + 1);
    if (verb == "list") {
        const auto volumes = co_await all_facts(Depth::records);
        Json list = Json::array();
        std::string lines;
        for (const VolumeFacts& facts : volumes) {
            const auto settings = settings_.get(facts.volume);
            const MirrorPtr mirror = manager_.find(facts.volume);
            std::string locked;  // by whom
            if (mirror && facts.role == Role::target && !mirror->record().unlocked) locked = "mirror";
            if (mirror && mirror->record().demoted) locked = "mirror";
            if (!mirror && host_.holds(facts.volume))
                locked =
                    settings && (settings->attributes & lifekeeper_protected) != 0 ? "cluster" : "command";
            if (!mirror && !locked.empty() && is_shared(facts.volume)) locked = "shared";
            if (command.has("locked") && locked.empty()) continue;
            const std::string device = device_of(facts.volume);
            list.push_back(
                {{"volume", facts.volume.str()},
                 {"device", device},
                 {"mount_point", settings ? settings->mount_point : ""},
                 {"role", to_string(facts.role)},
                 {"file_system", facts.file_system},
                 {"label", facts.label},
                 {"size", facts.size ? Json(*facts.size) : Json()},
                 {"attributes", facts.attributes},
                 {"block_target", settings && settings->block_target},
                 {"shared", is_shared(facts.volume)},
                 {"area", settings ? settings->area : ""},
                 {"open", shared_ != nullptr && shared_->is_open(facts.volume) && facts.role != Role::target},
                 {"locked_by", locked}});
            lines += fmt::format("{:<16} {:<7} {:<8} {}\n", facts.volume.str(),
                                 facts.role == Role::none ? "-" : std::string(to_string(facts.role)),
                                 locked.empty() ? "-" : locked, device.empty() ? "-" : device);
        }
        co_return config::success(command.has("json") ? dump({{"node", options_.node}, {"volumes", list}})
                                                      : lines);
    }
    if (command.uid != 0)
        co_return config::failure({Code::failure, fmt::format("volume {} needs root", verb), 0});
    if (command.arguments.size() != 1) co_return wrong("a volume is missing");
    const VolumeId volume(command.arguments.front());
    if (const auto problem = control::volume_id_problem(volume); !problem.empty())
        co_return config::failure({Code::bad_argument, problem, 0});
    Call call;
    call.arguments = {volume_letter(volume)};
    call.system = ".";
    call.volume = volume;
    if (verb == "lock" || verb == "unlock") {
        call.spec = find(verb == "lock" ? "LOCKVOLUME" : "UNLOCKVOLUME");
        call.for_cluster = command.has("cluster");
        const Answer done = co_await execute(std::move(call));
        co_return reply_of(done);
    }
    if (verb == "forget") {
        if (manager_.find(volume))
            co_return config::failure({Code::failure, fmt::format("volume {} is mirrored", volume.str()), 0});
        if (shared_ != nullptr && shared_->is_open(volume))
            co_return config::failure(
                {Code::failure, fmt::format("volume {} is open here: lock it first", volume.str()), 0});
        host_.release(volume);
        if (const auto gone = settings_.remove(volume); !gone) co_return config::failure(gone.error());
        co_return config::success();
    }
    if (verb != "set") co_return wrong(fmt::format("there is no command \"volume {}\"", verb));
    if (!command.has("device") && !command.has("mount-point"))
        co_return wrong("--device or --mount-point is missing");
    const std::string device = command.get("device");
    if (const MirrorPtr mirror = manager_.find(volume);
        mirror && !device.empty() && device != mirror->record().device)
        co_return config::failure({Code::failure,
                                   fmt::format("volume {} is mirrored with {}: delete the mirror first",
                                               volume.str(), mirror->record().device),
                                   0});
    if (!device.empty() && device.front() != '/')
        co_return config::failure({Code::bad_argument, fmt::format("\"{}\" is no absolute path", device), 0});
    const Answer done = update_settings(volume, [&](VolumeSettings& settings) {
        if (!device.empty()) settings.device = device;
        if (command.has("mount-point")) settings.mount_point = command.get("mount-point");
    });
    Reply reply = reply_of(done);
    if (device.empty() || reply.exit_code != 0) co_return reply;
    looks_.erase(device);
    const DeviceLook look = co_await look_at(device);
    // It may come later, as one of a storage network does.
    if (!look.eligibility.opened) reply.err = fmt::format("there is no {} on {} now", device, options_.node);
    co_return reply;
}

// --- jobs

/// Spec: MOP-022, MOP-033 to MOP-038, EMC-159.
Task<Reply> Service::run_job(Command command) {
    auto& words = command.arguments;
    if (words.empty()) co_return wrong(fmt::format("mirror job takes one of {}", fmt::join(kJobVerbs, ", ")));
    const std::string verb = words.front();
    words.erase(words.begin());
    if (std::find(kJobVerbs.begin(), kJobVerbs.end(), verb) == kJobVerbs.end())
        co_return wrong(fmt::format("there is no \"job {}\": {}", verb, fmt::join(kJobVerbs, ", ")));
    if (verb == "list" || verb == "show") {
        std::vector<std::string> damaged;
        std::vector<Job> found = jobs_.all(&damaged);
        if (verb == "show") {
            if (words.size() != 1) co_return wrong("job show takes a job");
            auto one = find_job(jobs_, words.front());
            if (!one) co_return config::failure(one.error());
            found = {std::move(*one)};
        }
        if (!command.has("json")) {
            Reply reply = config::success(print(found));
            reply.err = text::join(damaged, "; ");
            co_return reply;
        }
        Json list = Json::array();
        for (const Job& job : found)
            list.push_back(json_of(job));
        co_return config::success(dump({{"node", options_.node}, {"jobs", list}, {"damaged", damaged}}));
    }
    if (verb == "summary") {
        if (words.size() != 1) co_return wrong("job summary takes a job");
        auto one = find_job(jobs_, words.front());
        if (!one) co_return config::failure(one.error());
        co_return co_await job_summary(std::move(*one), command.has("json"));
    }
    if (command.uid != 0)
        co_return config::failure({Code::failure, fmt::format("job {} needs root", verb), 0});
    if (verb == "import") co_return co_await import_jobs();
    if (words.empty()) co_return wrong(fmt::format("job {} takes a job", verb));
    if (verb == "create") {
        Job job;
        job.name = words.front();
        // A second attempt finds what the first has made. Spec: MOP-040
        if (const auto known = find_job(jobs_, job.name); known)
            job = *known;
        else
            job.id = new_job_id();
        if (command.has("description")) job.description = command.get("description");
        for (std::size_t i = 1; i < words.size(); ++i) {
            auto pair = parse_pair(words[i]);
            if (!pair) co_return config::failure(pair.error());
            put_pair(job, std::move(*pair));
        }
        const std::string id = job.id;
        Answer done = co_await store_everywhere(std::move(job));
        if (jobs_.get(id)) done.out = id + "\n";  // also when another system could not be told
        co_return reply_of(done);
    }
    auto found = find_job(jobs_, words.front());
    if (!found) co_return config::failure(found.error());
    Job job = std::move(*found);
    for (const char* word : {"pause", "continue", "break", "resync"})
        if (verb == word) co_return co_await act_on_job(verb, std::move(job), command.has("unlock"));
    if (verb == "switchover") co_return co_await switch_job_here(std::move(job));
    if (verb == "pair") {
        if (words.size() < 2)
            co_return wrong("job pair takes a job and pairs (system;volume;IP;system;volume;IP;type)");
        for (std::size_t i = 1; i < words.size(); ++i) {
            auto pair = parse_pair(words[i]);
            if (!pair) co_return config::failure(pair.error());
            put_pair(job, std::move(*pair));
        }
        const Answer done = co_await store_everywhere(std::move(job));
        co_return reply_of(done);
    }
    if (verb == "delete") {
        if (command.has("local")) {
            if (const auto gone = jobs_.bury(job.id); !gone) co_return config::failure(gone.error());
            co_return config::success();
        }
        if (const std::string why = co_await protection_of(job); !why.empty())
            co_return config::failure(
                {Code::failure, fmt::format("job {} stays: {}: delete its resource first", job.name, why),
                 0});
        if (command.has("mirrors")) {
            const Answer ended = co_await delete_mirrors_of(job);
            if (ended.status != Status::success) co_return reply_of(ended);
        }
        const Answer done = co_await delete_job(job.id);
        co_return reply_of(done);
    }
    // What follows changes a job on all of its systems or on none. Spec: MOP-038
    for (const std::string& system : systems_of(job)) {
        if (is_this(system) || (verb == "remove-node" && words.size() == 2 && same_system(system, words[1])))
            continue;
        Json ping{{"do", "ping"}};
        const Answer up = co_await ask_system(job, system, std::move(ping));
        if (up.status != Status::success)
            co_return config::failure(
                {Code::unreachable, fmt::format("job {} is not changed: {}", job.name, up.err), 0});
    }
    if (verb == "rename") {
        if (words.size() != 2) co_return wrong("job rename takes a job and its new name");
        job.name = words[1];
        if (command.has("description")) job.description = command.get("description");
        const Answer done = co_await store_everywhere(std::move(job));
        co_return reply_of(done);
    }
    if (verb == "reassign") {
        if (words.size() != 3) co_return wrong("job reassign takes a job, a volume and the other job");
        auto other = find_job(jobs_, words[2]);
        if (!other) {
            Job made;
            made.id = new_job_id();
            made.name = words[2];
            other = std::move(made);
        }
        if (other->id == job.id) co_return wrong("these are the same job");
        Job to = std::move(*other);
        if (auto moved = move_pairs(job, to, VolumeId(words[1])); !moved)
            co_return config::failure(moved.error());
        // First where it is added: a pair in two jobs is found, one in none is lost.
        Answer done = co_await store_everywhere(std::move(to));
        if (done.status != Status::success) co_return reply_of(done);
        if (job.pairs.empty())
            done = co_await delete_job(job.id);
        else
            done = co_await store_everywhere(std::move(job));
        co_return reply_of(done);
    }
    // remove-node
    if (words.size() != 2) co_return wrong("job remove-node takes a job and a node");
    Job before = job;
    if (!remove_system(job, words[1]))
        co_return config::failure(
            {Code::not_found, fmt::format("job {} does not name {}", job.name, words[1]), 0});
    const Answer done = co_await store_or_remove(std::move(before), std::move(job), words[1]);
    co_return reply_of(done);
}

}  // namespace understudy::mirror::emcmd
