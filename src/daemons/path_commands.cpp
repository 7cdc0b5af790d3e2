#include "daemons/path_commands.h"

#include "base/text.h"
#include "daemons/path_advice.h"
#include "messages/messages.h"
#include "recovery/peers.h"
#include "recovery/plan.h"

namespace understudy::daemons {
namespace {

using config::Command;
using config::Path;
using config::Reply;

constexpr auto kOtherEndLimit = std::chrono::seconds(30);  // a DISK path's device is looked at
constexpr auto kTellLimit = std::chrono::seconds(5);
constexpr auto kAddressesLimit = std::chrono::seconds(2);

Command without(Command command, const std::string& option) {
    command.options.erase(option);
    return command;
}

Command other_end(const Command& command, const Path& path, const NodeName& self) {
    Command there;
    there.name = command.name;
    there.options = {
        {"s", self.str()}, {"D", path.device}, {"n", path.transport}, {"p", std::to_string(path.priority)}};
    for (const auto* same : {"h", "c"})
        if (command.has(same)) there.options[same] = command.get(same);
    if (path.port() != 0) {
        there.options["r"] = path.local_address;
        there.options["l"] = path.remote_address;
    }
    return there;
}

}  // namespace

bool PathCommands::run(const Command& command, const Done& done) {
    if (command.name == "net_create" && command.has("both")) {
        tasks_.spawn(create_both(command, done));
        return true;
    }
    if (command.name == "net_create" && command.get("n") == "TLI") {
        tasks_.spawn(create(command, done));
        return true;
    }
    if (command.name != "net_remove" || !command.has("last")) return false;
    const auto* path = database_.own().find_path(command.get("D"));
    if (path == nullptr || !config::is_last_path(database_.own(), *path)) return false;
    tasks_.spawn(remove_last(command, path->remote, done));
    return true;
}

runtime::Task<std::string> PathCommands::addresses() {
    const runtime::OneShot<std::string> said(world_.tasks);
    runtime::ProcessSpec ip;
    ip.path = "/usr/bin/env";
    ip.arguments = {"ip", "-json", "address", "show"};
    ip.environment = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}, {"LC_ALL", "C.UTF-8"}};
    ip.limit = kAddressesLimit;
    ip.separate_errors = true;
    world_.processes.start(ip, {}, [said](const Result<runtime::ProcessResult>& ended) {
        said.set(ended && ended->exit_code == 0 ? ended->output : std::string());
    });
    auto text = co_await said;
    co_return text;
}

runtime::Task<> PathCommands::create(Command command, Done done) {
    auto reply = *config::run_lcdi(database_, live_(), command);
    const auto* path = reply.exit_code == 0 ? database_.own().find_path(command.get("D")) : nullptr;
    if (path != nullptr) {
        const Path made = *path;
        const auto text = co_await addresses();
        for (const auto& advice : path_advice(text, database_.own(), made))
            reply.err += fmt::format("{}*WARNING* {}", reply.err.empty() ? "" : "\n", advice);
        if (const auto blocked = co_await firewall_.warning(); !blocked.empty())
            reply.err += fmt::format("{}*WARNING* {}", reply.err.empty() ? "" : "\n", blocked);
    }
    done(reply);
}

runtime::Task<Result<Reply>> PathCommands::run_on(NodeName node, Command command) {
    const auto answer =
        co_await cluster_.call(node, std::string("command"), config::encode(command), kOtherEndLimit);
    if (!answer) co_return fail(answer.error());
    auto reply = config::decode_reply(*answer);
    co_return reply;
}

runtime::Task<Reply> PathCommands::run_here(Command command) {
    const runtime::OneShot<Reply> ended(world_.tasks);
    run_(command, [ended](const Reply& reply) { ended.set(reply); });
    auto reply = co_await ended;
    co_return reply;
}

bool PathCommands::has_end(const Path& ours) const {
    const auto* theirs = database_.of(ours.remote);
    const auto* end = theirs == nullptr ? nullptr : theirs->find_path(ours.device);
    return end != nullptr && end->remote == database_.self() && end->local_address == ours.remote_address &&
           end->remote_address == ours.local_address;
}

runtime::Task<> PathCommands::create_both(Command command, Done done) {
    const auto here = without(command, "both");
    const auto path = config::new_path(database_, live_(), here);
    if (!path) {
        done(config::failure(path.error()));
        co_return;
    }
    const NodeName peer = path->remote;
    if (!cluster_.carries_calls(peer)) {
        done(config::failure(
            {Code::unreachable,
             fmt::format(
                 "--both asks {} to make its end, over a TCP path that is ALIVE, and there is none: make "
                 "each end where it is, or let the new system join (understudy join)",
                 peer.str()),
             0}));
        co_return;
    }
    const bool there_already = has_end(*path);
    if (!there_already) {
        const auto wanted = other_end(here, *path, database_.self());
        const auto made = co_await run_on(peer, wanted);
        if (!made || made->exit_code != 0) {
            done(config::failure({made ? static_cast<Code>(made->exit_code) : made.error().code,
                                  fmt::format("{} does not make its end: {}", peer.str(),
                                              made ? made->err : made.error().text),
                                  0}));
            co_return;
        }
    }
    auto reply = co_await run_here(here);
    if (reply.exit_code != 0 && !there_already) {
        Command back;
        back.name = "net_remove";
        back.options = {{"D", path->device}};
        const auto removed = co_await run_on(peer, back);
        if (!removed || removed->exit_code != 0)
            reply.err +=
                fmt::format("; {} keeps its end: run net_remove -D {} there", peer.str(), path->device);
    }
    done(reply);
}

runtime::Task<> PathCommands::remove_last(Command command, NodeName peer, Done done) {
    const auto told = co_await cluster_.call(peer, std::string(recovery::kStoppingMethod),
                                             std::string(recovery::kPathsDeleted), kTellLimit);
    if (!told && cluster_.carries_calls(peer)) {
        done(config::failure(
            {Code::unreachable,
             fmt::format("{} is ALIVE and could not be told that the silence to come is no failure of "
                         "this node ({}); try again",
                         peer.str(), told.error().text),
             0}));
        co_return;
    }
    auto reply = *config::run_lcdi(database_, live_(), command);
    if (reply.exit_code == 0) {
        const auto text = fmt::format("the last communication path to {} was deleted", peer.str());
        messages::warning("{}", text);
        database_.journal(0, "path", command.get("D"), text);
        if (!told)
            reply.err = fmt::format(
                "*WARNING* {} could not be told. If it lives it takes over what is in service here when it "
                "misses "
                "this node: delete its end too, or run there: flg_create -f '{}'",
                peer.str(), recovery::no_failover_flag(database_.self()).str());
    }
    done(reply);
}

}  // namespace understudy::daemons
