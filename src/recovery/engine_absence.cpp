// Stand-stills of this process (SIGSTOP, a frozen machine): peers have probably acted meanwhile, so nothing
// that is under way goes on before this node has looked again. Spec: CLU-107.

#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {

void Engine::Impl::look_for_absence() {
    if (!watching) return;
    runtime::Duration shortest = runtime::Duration::max();
    for (const auto& path : database.own().paths)
        shortest =
            std::min(shortest, runtime::Duration(std::chrono::milliseconds(path.interval_ms)) * path.misses);
    const auto gap = world.clock.now() - last_awake;
    if (gap > shortest) on_absence(gap);
}

void Engine::Impl::watch_absence() {
    ++under_way;
    if (std::exchange(watching, true)) return;
    last_awake = world.clock.now();
    scope.spawn(keep_awake());
}

void Engine::Impl::unwatch_absence() {
    --under_way;
}

runtime::Task<> Engine::Impl::keep_awake() {
    while (under_way > 0) {
        last_awake = world.clock.now();
        co_await runtime::sleep_for(world.tasks, kPoll);
        look_for_absence();
    }
    watching = false;
}

void Engine::Impl::on_absence(runtime::Duration absent) {
    last_awake = world.clock.now();  // told once
    ++absences;
    // Peers have probably taken over meanwhile: nothing goes on before membership is known again.
    const auto why =
        fmt::format("this node did not run for {:.1f} s", std::chrono::duration<double>(absent).count());
    messages::warning("{}; what is being started is stopped and looked at again", why);
    journal(Event::none, "engine", database.self().str(), why);
    checks.stood_still();
    scope.spawn(look_again());
    std::set<NodeName> again;
    std::vector<Tag> interrupted;
    for (const auto& start : starts) {
        if (start->comes_again || !start->cancelled.empty() || start->tags.empty()) continue;
        start->cancelled = why;
        if (!start->dead.empty()) again.insert(start->dead);
        interrupted.push_back(*start->tags.begin());
    }
    for (const auto& [peer, count] : deciding)
        again.insert(peer);
    if (!again.empty() || !interrupted.empty())
        scope.spawn(reconsider(std::move(again), std::move(interrupted)));
}

bool Engine::Impl::runs_elsewhere(const ClusterView& seen, const Tag& tag) {
    const auto& own = seen.nodes.at(seen.self).config;
    for (const auto& member : hierarchy_of(own, tag))
        for (const auto& pair : own.equivalents(member)) {
            const auto peer = seen.nodes.find(pair.other_node);
            if (peer == seen.nodes.end() || !peer->second.alive) continue;
            const auto at = peer->second.config.instances.find(pair.other_tag);
            if (at != peer->second.config.instances.end() && is_in_service(at->second.state)) return true;
        }
    return false;
}

runtime::Task<> Engine::Impl::reconsider(std::set<NodeName> dead, std::vector<Tag> interrupted) {
    const auto give_up = world.clock.now() + longest_detection() + kDetectionMargin;
    while (!peers->settled() && world.clock.now() < give_up)
        co_await runtime::sleep_for(world.tasks, kPoll);
    for (const auto& tag : interrupted) {
        const ClusterView seen = co_await ask_everyone(NodeName());
        if (runs_elsewhere(seen, tag)) co_await give_back(tag, "another node took it over");
    }
    for (const auto& peer : dead)
        if (!alive(peer)) co_await node_lost(peer);
}

}  // namespace understudy::recovery
