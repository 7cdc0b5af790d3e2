#include "recovery/jobs.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

using namespace std::chrono_literals;

constexpr runtime::Duration kStartLimit = 15s;
constexpr runtime::Duration kAnswerRunningAfter = 10s;
constexpr runtime::Duration kOutcomeLimit = 20s;
constexpr runtime::Duration kAskAgainAfter = 200ms;
constexpr int kMaxSilences = 5;  // unanswered questions in a row to a peer that is alive
constexpr std::size_t kMaxAskers = 8;
constexpr std::string_view kOutcomeMethod = "recovery.outcome";
constexpr std::string_view kStarted = "started";
// First byte of an outcome.
constexpr char kRunning = 'r';
constexpr char kEnded = 'e';
constexpr char kUnknown = 'u';

}  // namespace

struct Jobs::Job {
    std::string id;
    std::optional<config::Reply> reply;
    std::deque<Answer> askers;
    void tell(const std::string& what) {
        for (const auto& answer : std::exchange(askers, {}))
            answer(what);
    }
};

Jobs::Jobs(runtime::World world, Peers& peers, NodeName self)
    : world_(world),
      peers_(peers),
      self_(std::move(self)),
      life_(fmt::format("{}/{:x}/", self_.str(), world.random.next())) {
    peers_.serve(std::string(kOutcomeMethod), [this, alive = std::weak_ptr<bool>(alive_)](
                                                  const NodeName&, std::string_view payload, Answer answer) {
        if (!alive.expired()) asked(payload, answer);
    });
}

Jobs::~Jobs() = default;

std::string Jobs::new_id() {
    return fmt::format("{}{}", life_, next_++);
}

void Jobs::serve(const std::string& method, Work work) {
    peers_.serve(method, [this, alive = std::weak_ptr<bool>(alive_), work = std::move(work)](
                             const NodeName& caller, std::string_view payload, Answer answer) {
        if (!alive.expired()) started(caller, payload, work, answer);
    });
}

bool Jobs::make_room() {
    if (jobs_.size() < kMaxJobs) return true;
    for (auto at = order_.begin(); at != order_.end(); ++at) {
        const auto job = jobs_.find(*at);
        if (job != jobs_.end() && !job->second->reply) continue;
        if (job != jobs_.end()) jobs_.erase(job);
        order_.erase(at);
        return true;
    }
    return false;
}

void Jobs::started(const NodeName& caller, std::string_view payload, const Work& work, const Answer& answer) {
    auto command = config::decode_command(payload);
    if (!command) {
        answer(fail(command.error()));
        return;
    }
    const auto id = command->get("job");
    if (id.empty()) {
        answer(fail(Code::internal, "a request of {} carries no job id", caller.str()));
        return;
    }
    if (!jobs_.contains(id)) {
        if (!make_room()) {
            answer(fail(Code::failure, "{} is busy with {} requests already", self_.str(), jobs_.size()));
            return;
        }
        auto job = std::make_shared<Job>();
        job->id = id;
        jobs_[id] = job;
        order_.push_back(id);
        scope_.spawn(work_on(job, work(caller, std::move(*command))));
    }
    answer(std::string(kStarted));
}

runtime::Task<> Jobs::work_on(std::shared_ptr<Job> job, runtime::Task<config::Reply> work) {
    auto reply = co_await std::move(work);
    job->reply = std::move(reply);
    job->tell(kEnded + config::encode(*job->reply));
}

void Jobs::asked(std::string_view payload, const Answer& answer) {
    const auto at = jobs_.find(std::string(payload));
    if (at == jobs_.end()) {
        answer(std::string(1, kUnknown));
        return;
    }
    const auto& job = at->second;
    if (job->reply) {
        answer(kEnded + config::encode(*job->reply));
        return;
    }
    if (job->askers.empty())
        world_.tasks.after(kAnswerRunningAfter, [weak = std::weak_ptr<Job>(job)] {
            if (const auto waiting = weak.lock()) waiting->tell(std::string(1, kRunning));
        });
    job->askers.push_back(answer);
    if (job->askers.size() > kMaxAskers) {
        job->askers.front()(std::string(1, kRunning));
        job->askers.pop_front();
    }
}

runtime::Task<Result<std::string>> Jobs::run(NodeName node, std::string method, config::Command command) {
    const auto id = new_id();
    command.options["job"] = id;
    const auto payload = config::encode(command);
    for (int silences = 0;;) {
        auto answer = co_await call(peers_, world_.tasks, node, method, payload, kStartLimit);
        if (answer) break;
        if (answer.error().code != Code::unreachable) co_return fail(answer.error());
        // Whether it was started is unknown; asking again with the same id is safe while the peer lives.
        if (!peers_.carries_calls(node) || ++silences >= kMaxSilences) co_return fail(answer.error());
        co_await runtime::sleep_for(world_.tasks, kAskAgainAfter);
    }
    auto result = co_await outcome(node, id);
    co_return result;
}

runtime::Task<Result<std::string>> Jobs::outcome(NodeName node, std::string id) {
    for (int silences = 0;;) {
        auto answer =
            co_await call(peers_, world_.tasks, node, std::string(kOutcomeMethod), id, kOutcomeLimit);
        if (!answer) {
            if (!peers_.carries_calls(node) || ++silences >= kMaxSilences)
                co_return fail(Code::unreachable,
                               "{} was lost in the middle of it; what it did is unknown: {}", node.str(),
                               answer.error().text);
            co_await runtime::sleep_for(world_.tasks, kAskAgainAfter);
            continue;
        }
        silences = 0;
        const char kind = answer->empty() ? kUnknown : answer->front();
        if (kind == kRunning) continue;
        if (kind != kEnded)
            co_return fail(Code::unreachable,
                           "the daemon on {} restarted in the middle of it; what it did is unknown",
                           node.str());
        const auto reply = config::decode_reply(std::string_view(*answer).substr(1));
        if (!reply) co_return fail(reply.error());
        if (reply->exit_code == 0) co_return reply->out;
        co_return fail(Error{static_cast<Code>(reply->exit_code), reply->err, reply->message_number});
    }
}

}  // namespace understudy::recovery
