// What quorum asks of the engine: starts after COMM_UP, the end of everything when quorum is lost. Spec:
// sections 6.3 and 6.4 of the quorum chapter.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

constexpr int kRemoveAttempts = 2;  // Spec: QUO-078
constexpr auto kNoteAgainAfter = std::chrono::seconds(1);

bool may_run(const config::Instance& instance) {
    if (is_in_service(instance.state) || instance.reservation == config::Reservation::restore) return true;
    if (instance.state == config::State::osf) return !instance.reason.starts_with(kFailedAndTakenDown);
    return instance.state == config::State::illstate && instance.reason.starts_with(kNotAffirmed);
}

}  // namespace

bool Engine::Impl::holds_resources() const {
    const auto& instances = database.own().instances;
    return std::any_of(starts.begin(), starts.end(),
                       [](const auto& start) { return !start->tags.empty(); }) ||
           std::any_of(instances.begin(), instances.end(),
                       [](const auto& entry) { return may_run(entry.second); });
}

std::set<NodeName> Engine::Impl::silent_peers() const {
    std::set<NodeName> names;
    for (const auto& pair : database.own().equivalencies)
        if (!alive(pair.other_node)) names.insert(pair.other_node);
    return names;
}

runtime::Task<> Engine::Impl::judge(std::string event, NodeName except) {
    if (guard == nullptr) co_return;
    auto silent = silent_peers();
    silent.erase(except);
    co_await guard->judge(std::move(event), std::move(silent));
}

ClusterView Engine::Impl::without_peers(ClusterView seen) {
    for (auto& [name, node] : seen.nodes)
        if (name != seen.self) node.alive = node.known_dead = false;
    return seen;
}

runtime::Task<> Engine::Impl::rejoin() {
    // One at a time; a peer that comes meanwhile causes another look.
    rejoin_again = true;
    if (std::exchange(rejoining, true)) co_return;
    const bool can = co_await wait_ready(longest_detection() + kBusyLimit);
    while (can && !stopping && std::exchange(rejoin_again, false))
        co_await rejoin_once();
    rejoining = false;
}

runtime::Task<> Engine::Impl::rejoin_once() {
    const auto before = absences;
    co_await judge("COMM_UP", NodeName());
    if (stopping || absences != before || !start_refusal().empty()) co_return;
    const ClusterView seen = co_await ask_everyone(NodeName());
    auto planned = plan(seen, RejoinRequest{});
    if (!planned) {
        messages::error("start after COMM_UP: {}", planned.error().text);
        co_return;
    }
    std::vector<Operation> operations;
    for (auto& part : by_hierarchy(seen, *planned)) {
        const auto tag = own_tag(part, database.self());
        if (part.does_nothing()) {
            // Spec: QUO-072: what nobody starts is told.
            for (const auto& step : part.steps)
                messages::info("{} is not started after COMM_UP: {}", step.tag.str(), step.why);
            continue;
        }
        Operation operation{"start after COMM_UP", RejoinRequest{tag}};
        operation.plan = std::move(part);
        operation.absences = before;
        operations.push_back(std::move(operation));
    }
    if (operations.empty()) co_return;
    const auto results = co_await operate_all(std::move(operations));
    for (const auto& result : results) {
        if (result.start.give_back && !result.start.tags.empty())
            co_await give_back(*result.start.tags.begin(), result.start.cancelled);
        if (!result.outcome.result)
            journal(Event::none, "engine", database.self().str(),
                    "start after COMM_UP did not succeed: " + result.outcome.result.error().text);
    }
}

// The life after the quarantine knows only what this one leaves it. With a record that says "in service" it
// would take that for its own, affirm it with a restore, and, cut off from the peers that run it now, run it
// beside them. The run directory has the record whatever the disk does (config/tail_store.h); only when it
// takes nothing either does this node not leave before its disk says that everything was stopped. Where there
// is a watchdog the wait ends with the grace: it resets the host, and after a boot nothing is taken for
// running, whatever the record says. Without one the node stays, starts nothing, and waits for its disk.
runtime::Task<> Engine::Impl::note_loss() {
    bool told = false;
    while (!database.outlives_kill()) {
        const runtime::OneShot<Result<>> synced(world.tasks);
        database.sync([synced](Result<> result) { synced.set(std::move(result)); });
        const Result<> durable = co_await synced;
        if (durable) co_return;
        if (!std::exchange(told, true)) {
            const auto text = fmt::format(
                "this node has lost quorum and can note neither on its disk nor in the run directory that it "
                "has "
                "taken everything out of service ({}); it does not return to service before it can: make "
                "room",
                durable.error().text);
            messages::error("{}", text);
            journal(Event::none, "engine", database.self().str(), text);
        }
        co_await runtime::sleep_for(world.tasks, kNoteAgainAfter);
    }
}

runtime::Task<> Engine::Impl::quorum_lost(std::string why, std::function<void()> done) {
    stopping = true;
    for (const auto& start : starts)
        if (start->cancelled.empty() && !start->tags.empty()) start->cancelled = why;
    for (int attempt = 0; attempt < kRemoveAttempts && (attempt == 0 || holds_resources()); ++attempt) {
        const ClusterView seen = view();
        const auto planned = plan(seen, StopRequest{{}, true});
        std::vector<Operation> operations;
        if (planned)
            for (auto& part : by_hierarchy(seen, *planned)) {
                Operation operation{"loss of quorum", StopRequest{part.steps.front().tag, true}};
                operation.plan = std::move(part);
                operation.asked_by_person = true;
                operations.push_back(std::move(operation));
            }
        const auto results = co_await operate_all(std::move(operations));
        for (const auto& result : results)
            if (!result.outcome.result)
                messages::error("loss of quorum: {}", result.outcome.result.error().text);
    }
    // At the next start everything is initialised anew, whatever this node ran.
    if (!holds_resources()) database.set_flag(FlagName(kStoppedFlag), true);
    co_await note_loss();
    done();
}

}  // namespace understudy::recovery
