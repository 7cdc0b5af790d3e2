// lkstop. Spec: CMD-050 to CMD-053, CLU-019 to CLU-021.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

namespace understudy::recovery {

runtime::Task<> Engine::Impl::stop(bool leave_running, std::function<void(std::string)> progress,
                                   std::function<void(Result<>)> done) {
    const auto self = database.self().str();
    if (stopping) {
        done(fail(Code::failure, "{} is being stopped already", self));
        co_return;
    }
    stopping = true;
    const auto say = [&progress](std::string line) {
        messages::info("{}", line);
        progress(std::move(line));
    };
    journal(Event::shutdown_initiated, "engine", self,
            leave_running ? "stop initiated, resources keep running" : "stop initiated");
    // The vanishing heartbeat must not look like a failure, whatever happens to the resources (CMD-052).
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
    if (!leave_running) {
        const ClusterView seen = view();
        const auto planned = plan(seen, StopRequest{});
        std::vector<Operation> operations;
        if (planned)
            for (auto& part : by_hierarchy(seen, *planned)) {
                for (const auto& step : part.steps)
                    if (step.action == Action::remove)
                        say(fmt::format("taking {} out of service", step.tag.str()));
                Operation operation{"stop", StopRequest{part.steps.front().tag}};
                operation.plan = std::move(part);
                operation.asked_by_person = true;
                operations.push_back(std::move(operation));
            }
        // Once around all of them. Spec: CMD-052
        const bool any = !operations.empty();
        if (any) (void)co_await globals.before("remove", {});
        const auto results = co_await operate_all(std::move(operations));
        if (any) (void)co_await globals.after("remove", {});
        for (const auto& result : results)  // a failing remove does not keep the stop from going on
            if (!result.outcome.result) say(fmt::format("{}", result.outcome.result.error().text));
        database.set_flag(FlagName(kStoppedFlag), true);
    }
    journal(Event::shutdown_complete, "engine", self, "stop complete");
    const runtime::OneShot<Result<>> synced(world.tasks);
    database.sync([synced](Result<> result) { synced.set(std::move(result)); });
    const Result<> durable = co_await synced;
    if (!durable) say(fmt::format("the configuration could not be written: {}", durable.error().text));
    say("LIFEKEEPER NOW STOPPED");
    done(durable);
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
