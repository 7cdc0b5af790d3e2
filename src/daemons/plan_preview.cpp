#include "daemons/plan_preview.h"

#include "base/text.h"
#include "daemons/gathering.h"
#include "recovery/what_if.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace understudy::daemons {
namespace {

using config::Command;
using config::Reply;
using nlohmann::json;

constexpr auto kCallLimit = std::chrono::seconds(3);
constexpr const char* kMethod = "plan.preview";
constexpr std::string_view kActions = "restore, remove, switchover, failover-of, shutdown, stop and start";

json to_json(const Preview& preview) {
    json steps = json::array();
    for (const auto& step : preview.plan.steps)
        steps.push_back({{"node", step.node.str()},
                         {"tag", step.tag.str()},
                         {"action", recovery::to_string(step.action)},
                         {"why", step.why},
                         {"needs", step.needs}});
    return {{"node", preview.node.str()},
            {"what", preview.what},
            {"steps", std::move(steps)},
            {"text", recovery::describe(preview.plan)}};
}

recovery::Scope scope_of(const Command& command) {
    return command.has("s")   ? recovery::Scope::single
           : command.has("b") ? recovery::Scope::below
                              : recovery::Scope::related;
}

bool acts(const json& part) {
    return std::any_of(part["steps"].begin(), part["steps"].end(),
                       [](const json& step) { return step["action"] != "leave"; });
}

/// Plans that do something first, each node's own in their order.
std::string render(const json& parts) {
    if (parts.size() == 1) return parts[0]["text"].get<std::string>();
    std::string out;
    for (const auto& part : parts)
        out += fmt::format("{}{}, {}:\n{}", out.empty() ? "" : "\n", part["node"].get<std::string>(),
                           part["what"].get<std::string>(), part["text"].get<std::string>());
    return out;
}

}  // namespace

Result<std::vector<Preview>> preview(const recovery::ClusterView& view, const Command& command) {
    if (command.arguments.size() != 2)
        return fail(Code::syntax, "understudy plan takes an action and its object");
    const auto& action = command.arguments[0];
    const auto& object = command.arguments[1];
    const auto& self = view.self;
    const auto one = [&](std::string what, const recovery::ClusterView& seen,
                         const recovery::Request& request) -> Result<std::vector<Preview>> {
        UNDERSTUDY_TRY(auto plan, recovery::plan(seen, request));
        return std::vector<Preview>{{self, std::move(what), std::move(plan)}};
    };
    const auto what = fmt::format("{} of {}", action, object);
    if (action == "restore") return one(what, view, recovery::RestoreRequest{Tag(object), scope_of(command)});
    if (action == "remove") return one(what, view, recovery::RemoveRequest{Tag(object), scope_of(command)});
    if (action == "switchover") {
        UNDERSTUDY_TRY(const auto request,
                       recovery::switchover_request(view, Tag(object), recovery::Scope::moving));
        const auto moved = fmt::format("switchover of {} to {}", object, self.str());
        if (request) return one(moved, view, *request);
        return one(moved, view, recovery::RestoreRequest{Tag(object), recovery::Scope::moving});
    }
    if (action == "failover-of") {
        const NodeName dead(object);
        return one(fmt::format("takeover from {}", object), recovery::if_lost(view, dead),
                   recovery::FailoverRequest{dead, {}, {}});
    }
    if (action == "shutdown") {
        const bool switches =
            view.nodes.at(self).config.flags.contains(FlagName(recovery::kShutdownSwitchoverFlag));
        return one(switches ? fmt::format("shutdown of {}", self.str()) : "stop", view,
                   recovery::ShutdownRequest{});
    }
    if (action == "stop") return one("stop", view, recovery::StopRequest{});
    if (action == "start") {
        const auto starting = recovery::if_starting(view);
        UNDERSTUDY_TRY(auto previews, one("initialisation", starting, recovery::InitialiseRequest{}));
        const auto started = recovery::after(starting, previews.front().plan);
        UNDERSTUDY_TRY(auto back, recovery::plan(started, recovery::SwitchbackRequest{}));
        if (!back.steps.empty()) previews.push_back({self, "automatic switchback", std::move(back)});
        return previews;
    }
    return fail(Code::syntax, "understudy plan knows {}, not \"{}\"", kActions, action);
}

PlanService::PlanService(config::Database& database, comm::Cluster& cluster, const recovery::Engine& engine)
    : database_(database), cluster_(cluster), engine_(engine) {}

PlanService::~PlanService() {
    *alive_ = false;
}

void PlanService::start() {
    cluster_.serve(kMethod, [this](const NodeName&, std::string_view payload, comm::Cluster::Answer answer) {
        const auto command = config::decode_command(payload);
        if (!command) return answer(fail(command.error()));
        answer(planned_as(database_.self(), *command));
    });
}

Result<std::string> PlanService::planned_as(const NodeName& node, const Command& command) const {
    auto view = engine_.view();
    if (node != database_.self()) view = recovery::seen_from(std::move(view), node);
    UNDERSTUDY_TRY(const auto previews, preview(view, command));
    json parts = json::array();
    for (const auto& each : previews)
        parts.push_back(to_json(each));
    return parts.dump();
}

Result<PlanService::Planners> PlanService::planners(const Command& command) const {
    const auto& action = command.arguments.at(0);
    const auto known = [&](const std::string& name) -> Result<NodeName> {
        if (database_.own().systems.contains(NodeName(name))) return NodeName(name);
        return fail(Code::not_found, "no system \"{}\"; sys_list names those that exist", name);
    };
    if (action == "switchover" && !command.has("to"))
        return fail(Code::syntax, "option --to (where the switchover goes) is missing");
    if (action != "switchover" && command.has("to"))
        return fail(Code::syntax, "option --to is for switchover only");
    const bool about_a_node = action == "shutdown" || action == "stop" || action == "start";
    std::string planner = command.get("on", database_.self().str());
    if (action == "switchover") planner = command.get("to");
    if (about_a_node) planner = command.arguments.at(1);
    if (action == "failover-of") {
        UNDERSTUDY_TRY(const auto dead, known(command.arguments.at(1)));
        if (planner == dead.str() && command.has("on"))
            return fail(Code::bad_argument, "{} cannot take over from itself", dead.str());
        if (!command.has("on")) {
            Planners all{{}, true};
            for (const auto& system : database_.own().systems)
                if (system != dead &&
                    (system == database_.self() || cluster_.peer_state(system) == comm::PeerState::alive))
                    all.nodes.push_back(system);
            if (all.nodes.empty())
                return fail(Code::unreachable, "no other node lives that could take over from {}",
                            dead.str());
            return all;
        }
    }
    UNDERSTUDY_TRY(auto node, known(planner));
    const bool lives = node == database_.self() || cluster_.peer_state(node) == comm::PeerState::alive;
    if (!lives && action != "start")
        return fail(Code::unreachable, "{} is {}; only a living node can do that", node.str(),
                    comm::to_string(cluster_.peer_state(node)));
    return Planners{{std::move(node)}, false};
}

void PlanService::ask(const NodeName& node, const Command& command,
                      std::function<void(Result<std::string>)> answer) {
    // One that does not live is planned for here, from its copy: what it will find when it starts.
    if (node == database_.self() || cluster_.peer_state(node) != comm::PeerState::alive)
        return answer(planned_as(node, command));
    cluster_.call(node, kMethod, config::encode(command), kCallLimit, std::move(answer));
}

bool PlanService::run(const Command& command, const Done& done) {
    if (command.name != "understudy plan") return false;
    const auto asked = planners(command);
    if (!asked) {
        done(config::failure(asked.error()));
        return true;
    }
    struct Gathering {
        std::size_t waiting = 0;
        Answers answers;
    };
    const auto gathering = std::make_shared<Gathering>();
    gathering->waiting = asked->nodes.size();
    const auto finish = [done, gathering, all = asked->all, as_json = command.has("json")] {
        json parts = json::array();
        std::string missing;
        for (const auto& [node, answer] : gathering->answers) {
            const auto list = answer ? json::parse(*answer, nullptr, false) : json();
            if (list.is_array())
                parts.insert(parts.end(), list.begin(), list.end());
            else if (!all)
                return done(config::failure(answer ? Error{Code::internal, "an answer makes no sense", 0}
                                                   : answer.error()));
            else
                missing += fmt::format("{}{}: {}", missing.empty() ? "" : "; ", node.str(),
                                       answer ? "makes no sense" : answer.error().text);
        }
        std::stable_sort(parts.begin(), parts.end(),
                         [](const json& a, const json& b) { return acts(a) && !acts(b); });
        Reply reply = config::success(as_json ? json{{"plans", parts}}.dump(2) + "\n" : render(parts));
        if (!missing.empty()) reply.err = "*WARNING* the plans are incomplete: " + missing;
        done(reply);
    };
    for (const auto& node : asked->nodes)
        ask(node, command, [gathering, node, finish, alive = alive_](Result<std::string> answer) {
            gathering->answers.emplace(node, std::move(answer));
            if (--gathering->waiting == 0 && *alive) finish();
        });
    return true;
}

}  // namespace understudy::daemons
