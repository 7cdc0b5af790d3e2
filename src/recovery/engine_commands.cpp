// perform_action and switchover. Spec: CMD-109 to CMD-124, CLU-143, CLU-144.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>
#include <array>

namespace understudy::recovery {
namespace {

using config::Reply;

// Actions whose scripts get the id too. Spec: CMD-111.
constexpr std::array<std::string_view, 4> kActionsWithId{"delete", "quickchk", "deepchk", "recover"};
constexpr std::array<std::string_view, 7> kOptions{"t", "a", "G", "s", "b", "n", "force"};

Reply refusal(Code code, std::string text) {
    return config::failure({code, std::move(text), 0});
}

Reply no_quorum(const std::string& why) {
    return refusal(Code::failure,
                   fmt::format("not started: {}; --force with perform_action starts it at your "
                               "own risk",
                               why));
}

/// Spec: CLU-052.
Reply disk_only(const NodeName& node) {
    return refusal(
        Code::unreachable,
        fmt::format("{} is ALIVE by a DISK path only: nothing can be asked of it until a TCP path to it "
                    "is back (net_list says why it is not)",
                    node.str()));
}

/// What is wrong with the command line; empty when nothing is. Spec: CMD-109.
std::string misuse(const config::Command& command) {
    for (const auto& [option, value] : command.options)
        if (std::find(kOptions.begin(), kOptions.end(), option) == kOptions.end())
            return fmt::format("unknown option -{}", option);
    if (command.get("t").empty()) return "option -t (tag) is missing";
    if (command.get("a").empty()) return "option -a (action) is missing";
    const auto action = command.get("a");
    const bool restore = action == "restore";
    const bool remove = action == "remove";
    for (const auto* option : {"s", "n"})
        if (command.has(option) && !restore && !remove)
            return fmt::format("option -{} is for restore and remove only", option);
    if (command.has("force") && !restore) return "option --force is for restore only";
    if (command.has("b") && !restore && !remove) return "option -b is for restore only";
    if (command.has("G") && !restore && !remove && action != "delete")
        return "option -G is for restore, remove and delete only";
    return {};
}

}  // namespace

runtime::Task<> Engine::Impl::reply_with(runtime::Task<Reply> work, std::function<void(Reply)> done) {
    auto reply = co_await std::move(work);
    done(std::move(reply));
}

runtime::Task<Reply> Engine::Impl::perform(config::Command command) {
    if (const auto wrong = misuse(command); !wrong.empty())
        co_return refusal(Code::syntax, "perform_action: " + wrong);
    const Tag tag(command.get("t"));
    const auto action = command.get("a");
    const auto* found = database.own().find(tag);
    if (found == nullptr)
        co_return refusal(Code::not_found,
                          fmt::format("there is no resource \"{}\" on {}", tag.str(), database.self().str()));
    if (!is_action_name(action))
        co_return refusal(Code::bad_argument, fmt::format("\"{}\" is not the name of an action", action));
    if (action != "restore" && action != "remove") {
        const config::Instance instance = *found;
        const bool around = action == "delete" && !command.has("G");  // Spec: CMD-109
        if (around) (void)co_await globals.before(action, command.arguments);
        auto reply = co_await run_script(command, instance);
        if (around) (void)co_await globals.after(action, command.arguments);
        co_return reply;
    }
    const auto scope_of = command.has("s") ? Scope::single : command.has("b") ? Scope::below : Scope::related;
    Operation operation{fmt::format("{} of {}", action, tag.str()), RemoveRequest{tag, scope_of}};
    if (action == "restore") operation.request = RestoreRequest{tag, scope_of};
    operation.arguments = command.arguments;
    operation.pid = command.pid;
    operation.reserve = !command.has("n");
    operation.forced = command.has("force");
    if (operation.forced && !start_refusal().empty())
        guard->forced(command.user.empty() ? fmt::format("uid {}", command.uid) : command.user);
    if (!command.has("G")) operation.global = action;  // Spec: CMD-034 to CMD-037
    auto reply = co_await move(std::move(operation), std::string());
    co_return reply;
}

runtime::Task<Reply> Engine::Impl::run_script(config::Command command, config::Instance instance) {
    const auto action = command.get("a");
    const auto path = scripts.find(instance.app, instance.type, action);
    if (path.empty())
        co_return refusal(Code::not_found, fmt::format("the kit of {}/{} has no action \"{}\"",
                                                       instance.app.str(), instance.type.str(), action));
    std::vector<std::string> arguments{"-t", instance.tag.str()};
    if (std::find(kActionsWithId.begin(), kActionsWithId.end(), action) != kActionsWithId.end()) {
        arguments.emplace_back("-i");
        arguments.push_back(instance.id.str());
    }
    arguments.insert(arguments.end(), command.arguments.begin(), command.arguments.end());
    auto ran = co_await scripts.run(instance.tag, action, path, std::move(arguments));
    if (!ran) co_return config::failure(ran.error());
    Reply reply = config::success(ran->output);
    if (ran->exit_code != 0) {
        reply.exit_code = static_cast<int>(Code::failure);
        reply.err =
            fmt::format("{} of {} failed with exit code {}", action, instance.tag.str(), ran->exit_code);
    }
    co_return reply;
}

std::string Engine::Impl::begin_move(const Request& request, const std::string& subject) {
    const auto around = view();
    const auto expected = plan(around, request);
    if (!expected || expected->does_nothing()) return {};
    const auto wanted = fmt::format("wanted in service on {}", database.self().str());
    const bool moves = std::any_of(expected->steps.begin(), expected->steps.end(), [&](const Step& step) {
        return step.node != database.self() && step.action == Action::remove;
    });
    if (!moves) {
        journal(Event::switchover_initiated, "resource", subject, wanted);
        return {};
    }
    auto incident = incidents.begin(IncidentKind::move, subject, {}, wanted,
                                    static_cast<int>(Event::switchover_initiated));
    incidents.decision(incident, around, *expected);
    return incident;
}

runtime::Task<Reply> Engine::Impl::move(Operation operation, std::string done_text) {
    if (stopping) co_return refusal(Code::failure, fmt::format("{} is being stopped", database.self().str()));
    if (operation.reserve) {
        // A script that runs inside initialisation uses -n and must not wait for its end.
        const bool can = co_await wait_ready(reservation_limit());
        if (!can)
            co_return refusal(Code::failure, fmt::format("{} has not finished its start; try again later",
                                                         database.self().str()));
    }
    const auto what = operation.what;
    const bool restoring = std::holds_alternative<RestoreRequest>(operation.request);
    // Before anything is taken down for it. Spec: QUO-044
    if (const auto why = restoring && !operation.forced ? start_refusal() : std::string(); !why.empty())
        co_return no_quorum(why);
    const auto subject = restoring ? std::get<RestoreRequest>(operation.request).tag.str()
                                   : std::get<RemoveRequest>(operation.request).tag.str();
    if (restoring && !operation.forced) co_await judge("INSERVICE", NodeName());
    if (restoring) operation.incident = begin_move(operation.request, subject);
    const auto incident = operation.incident;
    operation.asked_by_person = true;
    auto result = co_await operate_with_globals(std::move(operation));
    if (result.start.give_back) {
        if (result.outcome.result) result.outcome.result = fail(Code::failure, "{}", result.start.cancelled);
        co_await give_back(*result.start.tags.begin(), result.start.cancelled);
    }
    if (restoring && (!result.plan.does_nothing() || !result.outcome.result)) {
        const auto restored = result.restored(database.self());
        const auto missing = result.not_restored(database.self());
        incidents.add(incident, fact::end, subject,
                      {{"recovered", text::join(restored, ", ")}, {"failed", text::join(missing, ", ")}});
        if (!restored.empty())
            journal(Event::switchover_recovered, "resource", subject,
                    "in service here: " + text::join(restored, ", "));
        if (!result.outcome.result)
            journal(Event::switchover_failed, "resource", subject,
                    fmt::format("not in service here: {} ({})", text::join(missing, ", "),
                                result.outcome.result.error().text));
    }
    if (!result.outcome.result) co_return config::failure(result.outcome.result.error());
    co_return config::success(done_text);
}

runtime::Task<Reply> Engine::Impl::switchover(Tag tag, NodeName to, Scope what) {
    const auto& own = database.own();
    if (!own.systems.contains(to) && to != database.self())
        co_return refusal(Code::not_found, fmt::format("there is no node \"{}\" in this cluster", to.str()));
    if (own.find(tag) == nullptr)
        co_return refusal(Code::not_found,
                          fmt::format("there is no resource \"{}\" on {}", tag.str(), database.self().str()));
    if (to == database.self()) {
        auto reply = co_await switchover_here(tag, what);
        co_return reply;
    }
    Tag theirs;
    for (const auto& pair : own.equivalents(tag))
        if (pair.other_node == to) theirs = pair.other_tag;
    if (theirs.empty())
        co_return refusal(Code::not_found, fmt::format("{} is not extended to {}", tag.str(), to.str()));
    if (!alive(to))
        co_return refusal(Code::unreachable, fmt::format("{} is {}; choose a living node", to.str(),
                                                         comm::to_string(peers->state(to))));
    if (!peers->carries_calls(to)) co_return disk_only(to);
    config::Command command;
    command.name = kSwitchoverMethod;
    command.options = {{"tag", theirs.str()}};
    auto answer = co_await jobs.run(to, std::string(kSwitchoverMethod), std::move(command));
    if (!answer) co_return config::failure(answer.error());
    co_return config::success(*answer);
}

runtime::Task<Reply> Engine::Impl::switchover_here(Tag tag, Scope what) {
    const auto self = database.self().str();
    // Whoever may have it must be asked.
    for (const auto& member : hierarchy_of(database.own(), tag))
        for (const auto& pair : database.own().equivalents(member))
            if (alive(pair.other_node) && !peers->carries_calls(pair.other_node))
                co_return disk_only(pair.other_node);
    const ClusterView seen = co_await ask_everyone(NodeName());
    const auto wanted = switchover_request(seen, tag, what);
    if (!wanted) co_return config::failure(wanted.error());
    if (!*wanted) co_return config::success(fmt::format("{} is in service on {} already\n", tag.str(), self));
    Operation operation{fmt::format("switchover of {} to {}", tag.str(), self), **wanted};
    operation.global = "restore";
    auto reply =
        co_await move(std::move(operation), fmt::format("{} is in service on {}\n", tag.str(), self));
    co_return reply;
}

runtime::Task<Reply> Engine::Impl::serve_switchover(NodeName caller, config::Command command) {
    const Tag tag(command.get("tag"));
    messages::info("{} asks for the switchover of {} to this node", caller.str(), tag.str());
    const auto what = command.has(kAsItWas) ? Scope::as_it_was : Scope::moving;
    auto reply = co_await switchover(tag, database.self(), what);
    co_return reply;
}

}  // namespace understudy::recovery
