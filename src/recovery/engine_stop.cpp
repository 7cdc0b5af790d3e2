// lkstop, and the shutdown of the host. Spec: CMD-050 to CMD-054, CLU-019 to CLU-021, CLU-202 to CLU-206.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {

runtime::Task<> Engine::Impl::tell_stopping(Say say) {
    const auto self = database.self().str();
    const ClusterView around = view();
    for (const auto& [name, node] : around.nodes) {
        if (name == database.self() || !node.alive) continue;
        const NodeName peer = name;
        const auto told =
            co_await call(*peers, world.tasks, peer, std::string(kStoppingMethod), std::string(), kShortCall);
        if (told)
            say(fmt::format("{} knows that {} stops", peer.str(), self));
        else
            say(fmt::format("{} could not be told and may take over: {}", peer.str(), told.error().text));
    }
}

runtime::Task<> Engine::Impl::take_down_all(Say say) {
    const ClusterView seen = view();
    const auto planned = plan(seen, StopRequest{});
    if (!planned || planned->steps.empty()) co_return;
    announce("stop", *planned);
    std::vector<Operation> operations;
    for (auto& part : by_hierarchy(seen, *planned)) {
        for (const auto& step : part.steps)
            if (step.action == Action::remove) say(fmt::format("taking {} out of service", step.tag.str()));
        Operation operation{"stop", StopRequest{part.steps.front().tag}};
        operation.plan = part;
        operation.announced = std::move(part);
        operation.asked_by_person = true;
        operations.push_back(std::move(operation));
    }
    // Once around all of them. Spec: CMD-052
    (void)co_await globals.before("remove", {});
    const auto results = co_await operate_all(std::move(operations));
    (void)co_await globals.after("remove", {});
    for (const auto& result : results)  // a failing remove does not keep the stop from going on
        if (!result.outcome.result) say(fmt::format("{}", result.outcome.result.error().text));
}

/// What may move goes to the backups; they take it, as at a switchover. Spec: CLU-202 to CLU-206.
runtime::Task<> Engine::Impl::move_away(Say say) {
    const ClusterView seen = view();
    const auto planned = plan(seen, ShutdownRequest{});
    if (!planned || planned->steps.empty()) co_return;
    announce(fmt::format("shutdown of {}", database.self().str()), *planned);
    std::deque<Tag> waiting;  // one member of each hierarchy that moves
    for (const auto& part : by_hierarchy(seen, *planned)) {
        const bool moves = std::any_of(part.steps.begin(), part.steps.end(), [&](const Step& step) {
            return step.node != database.self() && step.action == Action::restore;
        });
        if (moves)
            waiting.push_back(own_tag(part, database.self()));
        else
            for (const auto& step : part.steps)
                messages::warning("{} is not switched over: {}", step.tag.str(), step.why);
    }
    if (waiting.empty()) co_return;
    std::size_t open = std::min(parallel_hierarchies(), waiting.size());
    const std::size_t workers = open;
    const runtime::OneShot<runtime::Done> all_ended(world.tasks);
    runtime::TaskScope workers_scope;
    for (std::size_t i = 0; i < workers; ++i)
        workers_scope.spawn(move_away_next(waiting, open, all_ended, say));
    co_await all_ended;
}

runtime::Task<> Engine::Impl::move_away_next(std::deque<Tag>& waiting, std::size_t& open,
                                             runtime::OneShot<runtime::Done> all_ended, Say say) {
    while (!waiting.empty()) {
        const Tag member = waiting.front();
        waiting.pop_front();
        const runtime::OneShot<runtime::Done> over(world.tasks);
        const auto timer = world.tasks.after(shutdown_limit(), [over] { over.set({}); });
        runtime::TaskScope work;
        work.spawn(move_away_one(member, say, over));
        co_await over;
        world.tasks.cancel(timer);
        if (work.running() > 0)
            say(fmt::format("{} is not switched over within {} s", member.str(),
                            std::chrono::floor<std::chrono::seconds>(shutdown_limit()).count()));
    }
    if (--open == 0) all_ended.set({});
}

runtime::Task<> Engine::Impl::move_away_one(Tag member, Say say, runtime::OneShot<runtime::Done> ended) {
    const auto tops = in_service_tops(view(), member);
    std::set<NodeName> tried;
    while (!tops.empty()) {
        const ClusterView seen = co_await ask_everyone(NodeName());
        const auto next = next_candidate(seen, Cause::shutdown, database.self(), tops.front(), tried);
        if (!next) break;
        tried.insert(*next);
        Result<> moved;
        for (const auto& top : tops)
            for (const auto& pair : database.own().equivalents(top)) {
                if (pair.other_node != *next) continue;
                say(fmt::format("switching {} over to {}", top.str(), next->str()));
                const auto answer = co_await ask_to_take(*next, pair.other_tag);
                if (!answer && moved) moved = fail(answer.error());
            }
        if (moved) break;
        say(fmt::format("{} could not take {}: {}", next->str(), tops.front().str(), moved.error().text));
        journal(Event::switchover_failed, "resource", tops.front().str(),
                fmt::format("{} could not take it: {}", next->str(), moved.error().text));
    }
    ended.set({});
}

runtime::Task<> Engine::Impl::stop(StopMode mode, std::function<void(std::string)> progress,
                                   std::function<void(Result<>)> done) {
    const auto self = database.self().str();
    if (stopping) {
        done(fail(Code::failure, "{} is being stopped already", self));
        co_return;
    }
    stopping = true;
    checks.stop();
    const Say say = [&progress](std::string line) {
        messages::info("{}", line);
        progress(std::move(line));
    };
    const std::string how = mode == StopMode::leave_running ? ", resources keep running"
                            : mode == StopMode::shutdown    ? ", the host shuts down"
                                                            : "";
    journal(Event::shutdown_initiated, "engine", self, "stop initiated" + how);
    // The vanishing heartbeat must not look like a failure, whatever happens to the resources (CMD-052).
    co_await tell_stopping(say);
    const bool switches = database.has_flag(FlagName(kShutdownSwitchoverFlag));
    if (mode == StopMode::shutdown && switches) co_await move_away(say);
    if (mode != StopMode::leave_running) {
        co_await take_down_all(say);
        database.set_flag(FlagName(kStoppedFlag), true);
    }
    journal(Event::shutdown_complete, "engine", self, "stop complete");
    const runtime::OneShot<Result<>> synced(world.tasks);
    database.sync([synced](Result<> result) { synced.set(std::move(result)); });
    const Result<> durable = co_await synced;
    say("LIFEKEEPER NOW STOPPED");
    if (durable) {
        done(durable);
        co_return;
    }
    const auto lost = fmt::format(
        "{} has stopped, but its last states and changes are not on the disk: {}. {}: make room, and run "
        "lkstart "
        "and lkstop once more",
        self, durable.error().text,
        database.outlives_kill()
            ? "A start before the next boot finds them in the run directory; a boot loses them"
            : "The next start does not know of them, and may take for running what was stopped");
    messages::error("{}", lost);
    done(fail(durable.error().code, "{}", lost));
}

/// A stop and start within the time that makes a path DEAD is no COMM_UP for the peer, and the mark of the
/// stop would stay there: the next loss of this node would be taken for that stop.
runtime::Task<> Engine::Impl::tell_started(NodeName peer) {
    const auto told =
        co_await call(*peers, world.tasks, peer, std::string(kStartedMethod), std::string(), kShortCall);
    // Lost again meanwhile: its next COMM_UP tells.
    if (!told)
        messages::info("{} was not told that this node has started: {}", peer.str(), told.error().text);
}

}  // namespace understudy::recovery
