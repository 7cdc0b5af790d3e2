#include "recovery/global_scripts.h"

#include "messages/messages.h"

namespace understudy::recovery {
namespace {

constexpr std::string_view kMethod = "recovery.global";

Result<> check_action(const std::string& action) {
    if (action == "restore" || action == "remove" || action == "delete") return {};
    return fail(Code::syntax, "lcdrecover: \"{}\" is not restore, remove or delete", action);
}

}  // namespace

FlagName global_flag(const std::string& action) {
    return FlagName("!" + action);
}

FlagName global_flag(const std::string& action, const NodeName& peer) {
    return FlagName(fmt::format("!{}!{}", action, peer.str()));
}

GlobalScripts::GlobalScripts(runtime::World world, config::Database& database, Scripts& scripts, Jobs& jobs)
    : database_(database), scripts_(scripts), jobs_(jobs), tasks_(world.tasks) {}

void GlobalScripts::serve() {
    jobs_.serve(std::string(kMethod), [this](NodeName caller, config::Command command) {
        return serve_request(std::move(caller), std::move(command));
    });
}

runtime::Task<Result<bool>> GlobalScripts::run_all(std::string name, Arguments arguments) {
    const auto paths = scripts_.global(name);
    Result<> first;
    for (const auto& path : paths) {
        auto ran = co_await scripts_.run(Tag("global"), name, path, arguments);
        if (ran && ran->exit_code == 0) continue;
        const auto text = ran ? fmt::format("{} failed with exit code {}{}{}", path, ran->exit_code,
                                            ran->last_lines.empty() ? "" : ": ", ran->last_lines)
                              : ran.error().text;
        messages::error("{}", text);
        if (first) first = fail(Code::failure, "{}", text);
    }
    if (!first) co_return fail(first.error());
    co_return !paths.empty();
}

runtime::Task<Result<bool>> GlobalScripts::run_post(std::string action, Arguments arguments) {
    const bool locked =
        action == "restore" && lock_ && (arguments.empty() || arguments.front() != kInsideLock);
    Release release;
    if (locked) {
        const runtime::OneShot<Result<Release>> granted(tasks_);
        lock_([granted](Result<Release> result) { granted.set(std::move(result)); });
        auto got = co_await granted;
        if (!got) co_return with_context(got.error(), "the global postrestore scripts did not run");
        release = std::move(*got);
    }
    auto ran = co_await run_all("post" + action, std::move(arguments));
    if (release) release();
    co_return ran;
}

runtime::Task<Result<bool>> GlobalScripts::before(std::string action, Arguments arguments) {
    ++open_[action];
    // Before the scripts, so that a crash in the middle of them leaves it to be seen.
    database_.set_flag(global_flag(action), true);
    auto ran = co_await run_all("pre" + action, std::move(arguments));
    co_return ran;
}

runtime::Task<Result<>> GlobalScripts::after(std::string action, Arguments arguments) {
    auto ran = co_await run_post(action, std::move(arguments));
    // Operations on several hierarchies may run at once: the last one clears the flag.
    if (--open_[action] == 0) database_.set_flag(global_flag(action), false);
    if (!ran) co_return fail(ran.error());
    co_return Result<>{};
}

std::vector<NodeName> GlobalScripts::owed(const std::string& action) const {
    const auto prefix = fmt::format("!{}!", action);
    std::vector<NodeName> peers;
    for (const auto& flag : database_.own().flags)
        if (flag.str().starts_with(prefix)) peers.emplace_back(flag.str().substr(prefix.size()));
    return peers;
}

runtime::Task<Result<>> GlobalScripts::before_on(NodeName peer, std::string action) {
    database_.set_flag(global_flag(action, peer), true);
    config::Command request;
    request.name = kMethod;
    request.options = {{"what", "before"}, {"action", action}};
    auto done = co_await jobs_.run(peer, std::string(kMethod), std::move(request));
    if (!done) co_return with_context(done.error(), fmt::format("pre{} scripts of {}", action, peer.str()));
    co_return Result<>{};
}

runtime::Task<Result<>> GlobalScripts::after_on_peers(std::string action, Arguments arguments) {
    Result<> first;
    for (const auto& peer : owed(action)) {
        config::Command request;
        request.name = kMethod;
        request.options = {{"what", "after"}, {"action", action}};
        request.arguments = arguments;
        auto done = co_await jobs_.run(peer, std::string(kMethod), std::move(request));
        // Unreachable: they are still owed. Failed: they have run, and trying again helps nobody.
        if (done || done.error().code != Code::unreachable)
            database_.set_flag(global_flag(action, peer), false);
        if (!done && first)
            first = with_context(done.error(), fmt::format("post{} scripts of {}", action, peer.str()));
    }
    co_return first;
}

runtime::Task<Result<>> GlobalScripts::repair(std::string action, Arguments arguments, bool on_peers) {
    // Nothing ran before it, so nothing is to follow. Spec: CMD-035.
    const bool nothing_owed = !on_peers || owed(action).empty();
    if (!database_.has_flag(global_flag(action)) && nothing_owed) co_return Result<>{};
    auto ran = co_await run_post(action, arguments);
    database_.set_flag(global_flag(action), false);
    Result<> first;
    if (!ran) first = fail(ran.error());
    if (!on_peers) co_return first;
    auto elsewhere = co_await after_on_peers(action, std::move(arguments));
    if (first && !elsewhere) first = fail(elsewhere.error());
    co_return first;
}

runtime::Task<config::Reply> GlobalScripts::run_command(bool pre, std::string action, Arguments arguments,
                                                        bool on_peers) {
    if (auto known = check_action(action); !known) co_return config::failure(known.error());
    if (pre) {
        database_.set_flag(global_flag(action), true);
        auto ran = co_await run_all("pre" + action, std::move(arguments));
        co_return ran ? config::success() : config::failure(ran.error());
    }
    auto done = co_await repair(action, std::move(arguments), on_peers);
    co_return done ? config::success() : config::failure(done.error());
}

runtime::Task<config::Reply> GlobalScripts::serve_request(NodeName caller, config::Command command) {
    const auto action = command.get("action");
    const bool before_it = command.get("what") == "before";
    messages::info("{} asks for the {}{} scripts", caller.str(), before_it ? "pre" : "post", action);
    // Only this node's own: what it owes to peers is asked for by its next operation. Two nodes that owe each
    // other would ask in turn for ever.
    const bool on_peers = false;
    auto reply = co_await run_command(before_it, action, std::move(command.arguments), on_peers);
    co_return reply;
}

runtime::Task<config::Reply> GlobalScripts::lcdrecover(config::Command command) {
    const bool before_it = command.has("g");
    if (before_it == command.has("G"))
        co_return config::failure({Code::syntax, "lcdrecover: give one of -g and -G", 0});
    const auto action = command.get(before_it ? "g" : "G");
    const bool on_peers = true;
    auto reply = co_await run_command(before_it, action, std::move(command.arguments), on_peers);
    co_return reply;
}

}  // namespace understudy::recovery
