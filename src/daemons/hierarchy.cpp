#include "daemons/hierarchy.h"

#include "base/text.h"
#include "daemons/gathering.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::ClusterFacts;
using config::Command;
using config::HierarchyPlan;
using config::HierarchyStep;
using config::Reply;
using nlohmann::json;
using runtime::Task;

constexpr auto kAskLimit = std::chrono::seconds(10);
/// A check may look at disks and servers; what takes longer than this hangs.
constexpr auto kCheckLimit = std::chrono::minutes(5);

using Words = std::vector<std::pair<std::string, std::string>>;

/// KEY=VALUE words from the given argument on.
Result<Words> pairs_of(const std::vector<std::string>& arguments, std::size_t from) {
    Words pairs;
    for (auto i = from; i < arguments.size(); ++i) {
        const auto at = arguments[i].find('=');
        if (at == 0 || at == std::string::npos)
            return fail(Code::syntax, "\"{}\" is not KEY=VALUE", arguments[i]);
        pairs.emplace_back(arguments[i].substr(0, at), arguments[i].substr(at + 1));
    }
    return pairs;
}

Result<Priority> priority_of(const Command& command, std::string_view option) {
    const auto value = text::to_int(command.get(option));
    if (!value)
        return fail(Code::bad_argument, "\"{}\" is not a priority; use 1 to 999", command.get(option));
    return Priority{static_cast<int>(std::clamp<std::int64_t>(*value, -1, Priority::kMax + 1))};
}

Result<config::CreateRequest> create_request(const Command& command, const NodeName& self) {
    config::CreateRequest request;
    request.node = NodeName(command.get("on", self.str()));
    request.app = AppName(command.arguments.at(0));
    request.type = TypeName(command.arguments.at(1));
    request.tag = Tag(command.arguments.at(2));
    request.id = ResourceId(command.get("id"));
    request.info = command.get("info");
    request.start = !command.has("out-of-service");
    if (command.has("needs"))
        for (const auto& tag : text::split(command.get("needs"), ','))
            request.needs.emplace_back(tag);
    for (const auto* name : {"initialization", "switchback"})
        if (command.has(name)) request.properties.emplace_back(name, command.get(name));
    UNDERSTUDY_TRY(const auto words, pairs_of(command.arguments, 3));
    for (const auto& [key, value] : words)
        request.properties.emplace_back("info." + key, value);
    return request;
}

Result<config::ExtendRequest> extend_request(const Command& command) {
    config::ExtendRequest request;
    request.tag = Tag(command.arguments.at(0));
    request.to = NodeName(command.get("to"));
    request.from = NodeName(command.get("from"));
    request.new_tag = Tag(command.get("tag"));
    if (command.has("priority")) {
        UNDERSTUDY_TRY(request.priority, priority_of(command, "priority"));
    }
    if (command.has("template-priority")) {
        UNDERSTUDY_TRY(request.template_priority, priority_of(command, "template-priority"));
    }
    UNDERSTUDY_TRY(const auto words, pairs_of(command.arguments, 1));
    for (const auto& [key, value] : words) {
        const auto colon = key.find(':');
        const Tag tag(colon == std::string::npos ? request.tag.str() : key.substr(0, colon));
        request.info[tag].emplace_back(colon == std::string::npos ? key : key.substr(colon + 1), value);
    }
    return request;
}

std::set<NodeName> nodes_in(const std::string& list) {
    std::set<NodeName> nodes;
    if (!list.empty())
        for (const auto& node : text::split(list, ','))
            nodes.emplace(node);
    return nodes;
}

std::string_view kind_of(const HierarchyStep& step) {
    return step.kind == HierarchyStep::Kind::records ? "records" : "script";
}

json to_json(const std::vector<HierarchyStep>& steps) {
    json list = json::array();
    for (const auto& step : steps) {
        json object{{"node", step.node.str()}, {"kind", kind_of(step)}, {"text", step.text}};
        if (!step.action.empty()) object["action"] = step.action;
        if (!step.tag.empty()) object["tag"] = step.tag.str();
        list.push_back(std::move(object));
    }
    return list;
}

std::string line_of(const HierarchyStep& step) {
    return fmt::format("{}: {}", step.node.str(), step.text);
}

}  // namespace

HierarchyService::HierarchyService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                                   TransactionService& transactions, HierarchySteps& steps)
    : world_(world), database_(database), cluster_(cluster), transactions_(transactions), steps_(steps) {}

bool HierarchyService::run(const Command& command, const Progress& progress, const Done& done) {
    if (!command.name.starts_with("understudy resource ") &&
        !command.name.starts_with("understudy dependency "))
        return false;
    auto operation = parse(command);
    if (!operation) {
        done(config::failure(operation.error()));
        return true;
    }
    if (!command.has("json")) (*operation)->progress = progress;
    tasks_.spawn(handle(*operation, done));
    return true;
}

Result<std::shared_ptr<HierarchyService::Operation>> HierarchyService::parse(const Command& command) const {
    const auto operation = std::make_shared<Operation>();
    operation->command = command;
    const auto verb = command.name.substr(command.name.rfind(' ') + 1);
    const auto& arguments = command.arguments;
    const auto least = verb == "create" ? 3U : verb == "set" || verb == "add" || verb == "remove" ? 2U : 1U;
    if (arguments.size() < least) return fail(Code::syntax, "{} needs more arguments", command.name);
    if (verb == "create") {
        UNDERSTUDY_TRY(const auto request, create_request(command, database_.self()));
        operation->lock = "Create_Hierarchy";
        operation->planner = [request](const ClusterFacts& facts) { return plan_create(facts, request); };
    } else if (verb == "extend") {
        UNDERSTUDY_TRY(const auto request, extend_request(command));
        operation->lock = "Extend_Hierarchy";
        operation->planner = [request](const ClusterFacts& facts) { return plan_extend(facts, request); };
    } else if (verb == "unextend") {
        const config::UnextendRequest request{Tag(arguments[0]), NodeName(command.get("from"))};
        operation->lock = "Unextend_Hierarchy";
        operation->planner = [request](const ClusterFacts& facts) { return plan_unextend(facts, request); };
    } else if (verb == "delete") {
        const config::DeleteRequest request{Tag(arguments[0]), nodes_in(command.get("without"))};
        operation->lock = "Delete_Hierarchy";
        operation->planner = [request](const ClusterFacts& facts) { return plan_delete(facts, request); };
    } else if (verb == "set") {
        config::SetRequest request{Tag(arguments[0]), {}, NodeName(command.get("on"))};
        UNDERSTUDY_TRY(request.properties, pairs_of(arguments, 1));
        operation->lock = "Change_Properties";
        operation->planner = [request](const ClusterFacts& facts) { return plan_set(facts, request); };
    } else if (verb == "add" || verb == "remove") {
        const config::DependencyRequest request{Tag(arguments[0]), Tag(arguments[1])};
        operation->lock = verb == "add" ? "Create_Dependency" : "Remove_Dependency";
        if (verb == "add")
            operation->planner = [request](const ClusterFacts& facts) {
                return plan_add_dependency(facts, request);
            };
        else
            operation->planner = [request](const ClusterFacts& facts) {
                return plan_remove_dependency(facts, request);
            };
    } else {
        return fail(Code::syntax, "this daemon does not know the command {}", command.name);
    }
    return operation;
}

void HierarchyService::show(Operation& operation, const std::string& line) {
    operation.done.push_back(line);
    if (operation.progress) operation.progress(line + "\n");
}

/// Asks every node, plans, runs the kits' checks. Nothing is changed.
Task<Result<>> HierarchyService::prepare(std::shared_ptr<Operation> operation) {
    const runtime::OneShot<Answers> gathered(world_.tasks);
    const auto local = [this](const std::function<void(Result<std::string>)>& answer) {
        answer(steps_.facts());
    };
    gather(cluster_, database_.self(), std::string(kHierarchyFacts), {}, kAskLimit, local,
           [gathered](const Answers& answers) { gathered.set(answers); });
    const Answers answers = co_await gathered;
    ClusterFacts cluster;
    cluster.self = database_.self();
    cluster.now_s = std::chrono::floor<std::chrono::seconds>(world_.clock.wall()).time_since_epoch().count();
    // Whoever answers has sent its commits before: the copies here are up to date then.
    for (const auto& [node, answer] : answers) {
        const auto* config = database_.of(node);
        if (!answer || config == nullptr) continue;
        auto facts = decode_facts(*answer);
        if (!facts) co_return fail(facts.error());
        cluster.nodes[node] = config;
        cluster.facts[node] = std::move(*facts);
    }
    auto planned = operation->planner(cluster);
    if (!planned) co_return fail(planned.error());
    operation->plan = std::move(*planned);
    const AskedBy asked{operation->command.user, config::command_line(operation->command)};
    const auto checks = operation->plan.checks;
    for (const auto& step : checks) {
        show(*operation, line_of(step));
        const auto checked = co_await check(step, asked);
        if (!checked)
            co_return fail(checked.error().code, "{}: {}; nothing is changed", line_of(step),
                           checked.error().text);
    }
    co_return Result<>{};
}

Task<Result<>> HierarchyService::check(HierarchyStep step, AskedBy asked) {
    const auto call = to_transaction(step, asked).call;
    const auto answer = co_await cluster_.call(step.node, call.method, call.payload, kCheckLimit);
    if (!answer) co_return fail(answer.error());
    co_return Result<>{};
}

Task<Result<Transaction>> HierarchyService::transaction(std::shared_ptr<Operation> operation) {
    const auto prepared = co_await prepare(operation);
    if (!prepared) co_return fail(prepared.error());
    const auto& plan = operation->plan;
    const AskedBy asked{operation->command.user, config::command_line(operation->command)};
    Transaction transaction;
    transaction.what = plan.what;
    transaction.final_from = plan.final_from;
    for (const auto& step : plan.steps)
        transaction.steps.push_back(to_transaction(step, asked));
    co_return transaction;
}

Task<void> HierarchyService::handle(std::shared_ptr<Operation> operation, Done done) {
    Result<> result;
    if (operation->command.has("dry-run")) {
        result = co_await prepare(operation);
        if (result)
            for (const auto& step : operation->plan.steps)
                show(*operation, line_of(step));
    } else {
        const TransactionService::Prepare prepared = [this, operation] { return transaction(operation); };
        const TransactionService::Progress progress = [operation](const std::string& line) {
            operation->done.emplace_back(text::trim(line));
            if (operation->progress) operation->progress(line);
        };
        result = co_await transactions_.run(operation->lock, prepared, progress);
    }
    done(reply(*operation, result));
}

Reply HierarchyService::reply(const Operation& operation, const Result<>& result) {
    auto reply = result ? config::success() : config::failure(result.error());
    const auto& plan = operation.plan;
    if (operation.command.has("json")) {
        json object{{"what", plan.what},
                    {"dry_run", operation.command.has("dry-run")},
                    {"checks", to_json(plan.checks)},
                    {"steps", to_json(plan.steps)},
                    {"notes", plan.notes},
                    {"lines", operation.done},
                    {"error", result ? json() : json(result.error().text)}};
        reply.out = object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
        return reply;
    }
    // Whoever cannot be told meanwhile is told at the end.
    if (!operation.progress)
        for (const auto& line : operation.done)
            reply.out += line + "\n";
    if (!result) return reply;
    if (operation.done.empty()) reply.out += "nothing to change\n";
    for (const auto& note : plan.notes)
        reply.err += (reply.err.empty() ? "" : "\n") + note;
    return reply;
}

}  // namespace understudy::daemons
