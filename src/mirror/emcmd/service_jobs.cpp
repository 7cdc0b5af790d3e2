// Jobs: a copy on each of their systems, changed everywhere or said where not.

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

constexpr runtime::Duration kJobLimit = std::chrono::seconds(5);
/// Systems that were away are asked again this often.
constexpr runtime::Duration kTellAgain = std::chrono::seconds(30);
constexpr std::size_t kFieldsOfPair = 7;

Result<std::vector<JobPair>> pairs_of(std::span<const std::string> arguments) {
    if (arguments.size() % kFieldsOfPair != 0)
        return fail(Code::bad_argument, "endpoints come in groups of {} arguments", kFieldsOfPair);
    std::vector<JobPair> out;
    for (std::size_t i = 0; i < arguments.size(); i += kFieldsOfPair) {
        UNDERSTUDY_TRY(JobPair pair, pair_of(arguments.subspan(i, kFieldsOfPair)));
        out.push_back(std::move(pair));
    }
    return out;
}

Answer answer_from(const std::string& system, const Result<nlohmann::json>& reply) {
    if (!reply) return refused(status_of(reply.error()), fmt::format("{}: {}", system, reply.error().text));
    Answer out;
    out.status = static_cast<Status>(reply->value("status", number(Status::no_data)));
    out.err = reply->value("err", "");
    if (out.status != Status::success) out.err = fmt::format("{}: {}", system, out.err);
    return out;
}

}  // namespace

std::string Service::new_job_id() {
    std::array<std::byte, 16> bytes{};
    world_.random.fill(bytes);
    bytes[6] = (bytes[6] & std::byte{0x0F}) | std::byte{0x40};  // a random GUID
    bytes[8] = (bytes[8] & std::byte{0x3F}) | std::byte{0x80};
    std::string id = text::hex(bytes);
    for (const std::size_t at : {8UL, 13UL, 18UL, 23UL})
        id.insert(at, "-");
    return id;
}

/// One request to one of the job's systems.
Task<Answer> Service::ask_system(Job job, std::string system, Json request) {
    const std::string known = emcmd::address_of(job, system);
    const auto reply = co_await ask(known.empty() ? system : known, std::move(request), kJobLimit);
    co_return answer_from(system, reply);
}

/// A system gets the job. One that has a newer copy, of a change that this node has not heard of, keeps it
/// and answers with it: this node takes it over, and tells the others. Spec: EMC-061, EMC-109
Task<Answer> Service::tell_job(Job job, std::string system) {
    const std::string known = emcmd::address_of(job, system);
    Json request{{"do", "job-put"}, {"job", encode(job)}};
    auto reply = co_await ask(known.empty() ? system : known, std::move(request), kJobLimit);
    Answer out = answer_from(system, reply);
    if (!reply || !reply->contains(kNewerJob)) co_return out;
    const auto newer = decode_job(reply->value(kNewerJob, ""));
    if (!newer || newer->id != job.id || !jobs_.put(*newer)) co_return out;
    modified_ = host_.now_s();
    messages::warning("job {}: {} had changed it meanwhile, its copy is taken", job.name, system);
    out.err = fmt::format(
        "{}: it had changed the job meanwhile, and its copy is taken: see GETJOBINFO and repeat what is "
        "missing",
        system);
    for (const std::string& one : systems_of(*newer))
        if (!is_this(one) && !same_system(one, system)) remember_untold(newer->id, one);
    co_return out;
}

/// Here first, then on every system that it names. The first failure is the answer, and the others are told
/// all the same. Spec: EMC-140, MOP-033.
Task<Answer> Service::store_everywhere(Job job) {
    if (const auto known = jobs_.get(job.id)) job.version = known->version + 1;
    const Result<> stored = jobs_.put(job);
    if (!stored) co_return refused(status_of(stored.error()), stored.error().text);
    modified_ = host_.now_s();
    messages::info("job {}: stored on {}", job.name, options_.node);
    Answer first;
    for (const std::string& system : systems_of(job)) {
        if (is_this(system)) continue;
        Answer told = co_await tell_job(job, system);
        if (told.status == Status::success) continue;
        messages::error("job {}: not stored on {}", job.name, told.err);
        if (told.status == Status::bad_network_path) remember_untold(job.id, system);
        if (first.status == Status::success) first = told;
    }
    co_return first;
}

void Service::remember_untold(const std::string& job, const std::string& system) {
    untold_.emplace(job, system);
    if (!telling_) tasks_.spawn(tell_later());
}

/// Whoever was away gets the newest version when it is back. Spec: EMC-109
Task<> Service::tell_later() {
    telling_ = true;
    while (!untold_.empty()) {
        co_await runtime::sleep_for(world_.tasks, kTellAgain);
        const auto now = untold_;
        for (const auto& untold : now) {
            const auto job = jobs_.get(untold.first);
            if (!job || !is_system_of(*job, untold.second)) {
                untold_.erase(untold);
                continue;
            }
            const Answer told = co_await tell_job(*job, untold.second);
            if (told.status == Status::bad_network_path) continue;
            untold_.erase(untold);
            if (told.status != Status::success) messages::warning("job {}: {}", job->name, told.err);
        }
    }
    telling_ = false;
}

/// A job that has lost pairs: whom it names no more forgets it, and without pairs it is deleted. `lost`: a
/// system that is never asked again. Spec: MOP-112, MOP-154, MOP-155, MOP-160
Task<Answer> Service::store_or_remove(Job before, Job job, std::string lost) {
    Answer first;
    for (const std::string& system : systems_of(before)) {
        if (is_this(system) || same_system(system, lost) || is_system_of(job, system)) continue;
        Json request{{"do", "job-remove"}, {"id", job.id}};
        Answer told = co_await ask_system(before, system, std::move(request));
        if (told.status == Status::success) continue;
        messages::warning("job {}: a copy stays on {}", job.name, told.err);
    }
    if (!job.pairs.empty() && is_system_of(job, options_.node)) co_return co_await store_everywhere(job);
    const Result<> gone = job.pairs.empty() ? jobs_.bury(job.id) : jobs_.remove(job.id);
    if (!gone) co_return answer_of(gone);
    modified_ = host_.now_s();
    messages::info("job {}: deleted, it has no pair left here", job.name);
    ++job.version;
    for (const std::string& system : systems_of(job)) {
        Answer told = co_await tell_job(job, system);
        if (told.status != Status::success && first.status == Status::success) first = std::move(told);
    }
    co_return first;
}

Task<Answer> Service::create_job(Call call) {
    Job job;
    job.id = new_job_id();
    job.name = call.argument(0);
    job.description = call.argument(1);
    auto pairs = pairs_of(std::span(call.arguments).subspan(2));
    if (!pairs) co_return refused(Status::invalid_parameter, pairs.error().text);
    job.pairs = std::move(*pairs);
    if (const std::string problem = problem_of(job); !problem.empty())
        co_return refused(Status::invalid_parameter, problem);
    const std::string id = job.id;
    Answer out = co_await store_everywhere(std::move(job));
    out.out = fmt::format("ID = {}\n", id);
    co_return out;
}

Task<Answer> Service::update_job(Call call) {
    const auto before = jobs_.get(call.argument(0));
    if (!before) co_return refused(status_of(before.error()), before.error().text);
    Job job = *before;
    job.name = call.argument(1);
    job.description = call.argument(2);
    auto pairs = pairs_of(std::span(call.arguments).subspan(3));
    if (!pairs) co_return refused(Status::invalid_parameter, pairs.error().text);
    job.pairs = std::move(*pairs);
    if (const std::string problem = problem_of(job); !problem.empty())
        co_return refused(Status::invalid_parameter, problem);
    std::vector<std::string> dropped;
    const auto now = systems_of(job);
    for (const std::string& system : systems_of(*before))
        if (!is_this(system) && std::none_of(now.begin(), now.end(), [&](const std::string& one) {
                return same_system(one, system);
            }))
            dropped.push_back(system);
    // Where a dropped system is, only the old record says.
    for (const std::string& system : dropped) {
        Json request{{"do", "job-remove"}, {"id", job.id}};
        Answer told = co_await ask_system(*before, system, std::move(request));
        if (told.status != Status::success)
            messages::warning("job {}: a copy stays on {}", job.name, told.err);
    }
    co_return co_await store_everywhere(std::move(job));
}

/// On all of its systems, or on none: one that cannot be asked keeps it everywhere. Spec: EMC-157, MOP-033.
Task<Answer> Service::delete_job(std::string id) {
    const auto job = jobs_.get(id);
    if (!job) co_return refused(status_of(job.error()), job.error().text);
    for (const std::string& system : systems_of(*job)) {
        if (is_this(system)) continue;
        Json request{{"do", "ping"}};
        Answer told = co_await ask_system(*job, system, std::move(request));
        if (told.status != Status::success)
            co_return refused(told.status, fmt::format("job {} stays: {}", job->name, told.err));
    }
    for (const std::string& system : systems_of(*job)) {
        if (is_this(system)) continue;
        Json request{{"do", "job-remove"}, {"id", job->id}};
        Answer told = co_await ask_system(*job, system, std::move(request));
        if (told.status != Status::success) co_return told;
    }
    const Result<> removed = jobs_.remove(id);
    if (!removed) co_return refused(status_of(removed.error()), removed.error().text);
    modified_ = host_.now_s();
    messages::info("job {}: deleted", job->name);
    co_return Answer{};
}

Answer Service::job_info(const Call& call) const {
    if (call.arguments.empty()) {
        const auto all = jobs_.all();
        return {Status::success, print(all), "", false};
    }
    const auto job = jobs_.get(call.argument(0));
    if (!job) return refused(status_of(job.error()), job.error().text);
    return {Status::success, print(*job), "", false};
}

Answer Service::job_info_for_volume(const Call& call) const {
    const std::string asked = call.argument(1);
    const std::string system = asked.empty() ? options_.node : asked;
    std::vector<Job> found;
    for (Job& job : jobs_.all())
        if (contains(job, system, call.volume)) found.push_back(std::move(job));
    return {Status::success, print(found), "", false};
}

}  // namespace understudy::mirror::emcmd
