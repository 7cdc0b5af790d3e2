// Views of the cluster, and operations: plan, reserve, plan again if anything may have changed, execute,
// release.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

// First byte of an answer to recovery.view.
constexpr char kConfiguration = 'c';
constexpr char kBusy = 'b';
// Question of a node that initialises: a takeover that is being decided comes first.
constexpr std::string_view kInitialising = "i";

/// What a plan touches, by node. A record-only step of this node counts too.
std::map<NodeName, std::vector<Tag>> touched(const Plan& plan) {
    std::map<NodeName, std::vector<Tag>> result;
    for (const auto& step : plan.steps)
        if (step.action != Action::leave) result[step.node].push_back(step.tag);
    return result;
}

}  // namespace

std::vector<std::string> OperationResult::restored(const NodeName& self) const {
    std::vector<std::string> tags;
    for (std::size_t i = 0; i < outcome.steps.size(); ++i)
        if (plan.steps[i].node == self && plan.steps[i].action == Action::restore &&
            outcome.steps[i].kind == StepOutcome::Kind::succeeded)
            tags.push_back(plan.steps[i].tag.str());
    return tags;
}

std::vector<std::string> OperationResult::not_restored(const NodeName& self) const {
    std::vector<std::string> tags;
    for (std::size_t i = 0; i < plan.steps.size(); ++i)
        if (plan.steps[i].node == self && plan.steps[i].action == Action::restore &&
            (i >= outcome.steps.size() || outcome.steps[i].kind != StepOutcome::Kind::succeeded))
            tags.push_back(plan.steps[i].tag.str());
    return tags;
}

void Engine::Impl::serve() {
    const std::weak_ptr<Impl> weak = weak_from_this();
    const auto job = [&](std::string_view method, auto member) {
        jobs.serve(std::string(method), [this, member](NodeName caller, config::Command command) {
            return (this->*member)(std::move(caller), std::move(command));
        });
    };
    job(kReserveMethod, &Impl::serve_reserve);
    job(kStepMethod, &Impl::serve_step);
    job(kSwitchoverMethod, &Impl::serve_switchover);
    job(kTakeoverMethod, &Impl::serve_takeover);
    globals.serve();
    peers->serve(std::string(kViewMethod),
                 [weak](const NodeName& caller, std::string_view asked, auto answer) {
                     const auto self = weak.lock();
                     if (!self) return;
                     // A node that is not ready yet takes nothing over before it has initialised itself.
                     const bool takes_over = self->ready && !self->deciding.empty();
                     if (self->deciding.contains(caller) || (takes_over && asked == kInitialising))
                         answer(std::string(1, kBusy));
                     else
                         answer(kConfiguration + config::encode(self->database.own()));
                 });
    peers->serve(std::string(kReleaseMethod),
                 [weak](const NodeName&, std::string_view operation, auto answer) {
                     const auto self = weak.lock();
                     if (!self) return;
                     self->reservations.release(std::string(operation));
                     answer(std::string());
                 });
    // Spec: CLU-021, CLU-219
    peers->serve(std::string(kStoppingMethod), [weak](const NodeName& caller, std::string_view, auto answer) {
        const auto self = weak.lock();
        if (!self) return;
        messages::info("{} is being stopped; its resources are not taken over", caller.str());
        self->database.set_flag(no_failover_flag(caller), true);
        self->journal(Event::none, "node", caller.str(),
                      "is being stopped on purpose; nothing is taken over");
        self->database.sync([answer](Result<> synced) {
            if (synced)
                answer(std::string());
            else
                answer(fail(synced.error()));
        });
    });
    peers->on_peer_event([weak](const comm::PeerEvent& event) {
        if (const auto self = weak.lock()) self->on_peer_event(event);
    });
    peers->on_absence([weak](runtime::Duration absent) {
        if (const auto self = weak.lock()) self->on_absence(absent);
    });
}

ClusterView Engine::Impl::view() const {
    ClusterView result;
    result.self = database.self();
    const auto& own = database.own();
    auto& self = result.nodes[result.self];
    self.alive = true;
    self.config = own;
    std::set<NodeName> names(own.systems);
    for (const auto& pair : own.equivalencies)
        names.insert(pair.other_node);
    for (const auto& [name, config] : database.replicas())
        names.insert(name);
    names.erase(result.self);
    for (const auto& name : names) {
        auto& node = result.nodes[name];
        const auto state = peers->state(name);
        node.alive = state == comm::PeerState::alive;
        // Not heard of within the time that makes a path DEAD is dead (Spec: CLU-067, CLU-127).
        node.known_dead =
            state == comm::PeerState::dead || (state == comm::PeerState::unknown && peers_had_their_time);
        if (const auto* config = database.of(name)) node.config = *config;
    }
    return result;
}

runtime::Task<Result<config::NodeConfig>> Engine::Impl::ask(NodeName peer) {
    const auto give_up = world.clock.now() + kBusyLimit;
    while (true) {
        auto answer = co_await call(*peers, world.tasks, peer, std::string(kViewMethod),
                                    std::string(ready ? std::string_view() : kInitialising), kShortCall);
        if (!answer) co_return fail(answer.error());
        const char kind = answer->empty() ? '\0' : answer->front();
        if (kind == kConfiguration) {
            auto config = config::decode_config(std::string_view(*answer).substr(1));
            co_return config;
        }
        if (kind != kBusy)
            co_return fail(Code::internal, "{} answered a question for its states with nonsense", peer.str());
        if (world.clock.now() >= give_up)
            co_return fail(Code::unreachable, "{} has been deciding about a takeover for too long",
                           peer.str());
        co_await runtime::sleep_for(world.tasks, kPoll);
    }
}

runtime::Task<ClusterView> Engine::Impl::ask_everyone(NodeName except) {
    // The owner is asked, not the cached copy: it may be a moment old (Spec: CMD-118, CLU-095).
    std::map<NodeName, config::NodeConfig> fresh;
    std::set<NodeName> names;
    for (const auto& pair : database.own().equivalencies)
        names.insert(pair.other_node);
    for (const auto& name : names) {
        if (name == except || !alive(name)) continue;
        auto config = co_await ask(name);
        if (config)
            fresh[name] = std::move(*config);
        else
            messages::warning("{} does not tell its states: {}", name.str(), config.error().text);
    }
    ClusterView result = view();
    for (const auto& name : names)
        if (name != except && result.nodes.contains(name) && result.nodes.at(name).alive)
            result.nodes.at(name).config = fresh.contains(name) ? fresh.at(name) : config::NodeConfig{};
    co_return result;
}

runtime::Task<Result<bool>> Engine::Impl::reserve(std::string id, Needed needed, Operation operation) {
    // In the order of the nodes' names everywhere, so that two operations cannot wait for each other.
    bool may_have_changed = false;
    for (const auto& [node, tags] : needed) {
        if (node == database.self()) {
            OperationOwner owner{id, node, operation.pid > 0 ? operation.pid : options.pid};
            auto waited = co_await reservations.acquire(std::move(owner), tags, reservation_limit());
            if (!waited) co_return fail(waited.error());
            may_have_changed = may_have_changed || *waited;
            continue;
        }
        may_have_changed = true;
        config::Command command;
        command.name = kReserveMethod;
        command.options = {{"operation", id}, {"pid", std::to_string(operation.pid)}};
        for (const auto& tag : tags)
            command.arguments.push_back(tag.str());
        auto reserved = co_await jobs.run(node, std::string(kReserveMethod), std::move(command));
        if (!reserved)
            co_return with_context(reserved.error(), fmt::format("reserving resources on {}", node.str()));
    }
    co_return may_have_changed;
}

void Engine::Impl::release(const std::string& id, const Needed& needed) {
    for (const auto& [node, tags] : needed) {
        if (node == database.self())
            reservations.release(id);
        else
            scope.spawn(release_on(node, id));
    }
}

runtime::Task<> Engine::Impl::release_on(NodeName node, std::string id) {
    constexpr int kTries = 3;
    for (int i = 0; i < kTries && alive(node); ++i) {
        const auto released =
            co_await call(*peers, world.tasks, node, std::string(kReleaseMethod), id, kShortCall);
        if (released) co_return;
    }
    if (alive(node)) messages::warning("{} may keep the reservation of {} until its limit", node.str(), id);
}

runtime::Task<config::Reply> Engine::Impl::serve_reserve(NodeName caller, config::Command command) {
    const auto pid = text::to_int(command.get("pid")).value_or(0);
    OperationOwner owner{command.get("operation"), caller, static_cast<int>(pid)};
    const auto id = owner.operation;
    std::vector<Tag> tags;
    for (const auto& tag : command.arguments)
        tags.emplace_back(tag);
    auto acquired = co_await reservations.acquire(std::move(owner), tags, reservation_limit());
    if (!acquired) co_return config::failure(acquired.error());
    if (!alive(caller)) {
        reservations.release(id);
        co_return config::failure({Code::unreachable, fmt::format("{} was lost", caller.str()), 0});
    }
    reservations.mark(id, tags, config::Reservation::remove);
    co_return config::success();
}

runtime::Task<config::Reply> Engine::Impl::serve_step(NodeName caller, config::Command command) {
    auto asked = step_of(database.self(), command);
    if (!asked) co_return config::failure(asked.error());
    Step step = std::move(asked->first);
    Executor::Run run = std::move(asked->second);
    if (run.reserved && !reservations.holds(run.operation))
        co_return config::failure({Code::failure,
                                   fmt::format("the reservation of {} on {} was broken by another operation",
                                               step.tag.str(), database.self().str()),
                                   0});
    messages::info("{} asks to take {} out of service: {}", caller.str(), step.tag.str(), step.why);
    auto result = co_await executor.local(std::move(step), std::move(run));
    if (!result) co_return config::failure(result.error());
    co_return config::success();
}

void Engine::Impl::mark_own(const std::string& id, const Plan& plan) {
    std::map<config::Reservation, std::vector<Tag>> marks;
    for (const auto& step : plan.steps) {
        if (step.node != database.self()) continue;
        if (step.action == Action::restore) marks[config::Reservation::restore].push_back(step.tag);
        if (step.action == Action::remove) marks[config::Reservation::remove].push_back(step.tag);
    }
    for (const auto& [kind, tags] : marks)
        reservations.mark(id, tags, kind);
}

std::optional<runtime::Duration> Engine::Impl::overslept() const {
    runtime::Duration shortest = runtime::Duration::max();
    for (const auto& path : database.own().paths)
        shortest =
            std::min(shortest, runtime::Duration(std::chrono::milliseconds(path.interval_ms)) * path.misses);
    const auto gap = world.clock.now() - last_awake;
    if (!watching || gap <= shortest) return std::nullopt;
    return gap;
}

void Engine::Impl::look_for_absence() {
    if (const auto gap = overslept()) on_absence(*gap);
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

runtime::Task<OperationResult> Engine::Impl::operate(Operation operation) {
    OperationResult result;
    const auto before = operation.absences.value_or(absences);
    auto id = jobs.new_id();
    const auto except = operation.takeover ? operation.takeover->dead : NodeName();
    Needed held;
    bool settled = false;
    std::optional<Plan> made = std::exchange(operation.plan, std::nullopt);
    for (int attempt = 0; attempt < kMaxPlanAttempts && !settled; ++attempt) {
        if (!made) {
            const ClusterView seen = co_await ask_everyone(except);
            auto planned = plan(seen, operation.request);
            if (!planned) {
                result.outcome.result = fail(planned.error());
                break;
            }
            made = std::move(*planned);
        }
        result.plan = std::move(*made);
        made.reset();
        auto needed = touched(result.plan);
        if (needed.empty() || !operation.reserve) {
            settled = true;
            break;
        }
        const bool covered = std::all_of(needed.begin(), needed.end(), [&](const auto& entry) {
            const auto at = held.find(entry.first);
            return at != held.end() &&
                   std::all_of(entry.second.begin(), entry.second.end(), [&](const Tag& tag) {
                       return std::find(at->second.begin(), at->second.end(), tag) != at->second.end();
                   });
        });
        if (covered) {
            settled = true;
            break;
        }
        if (!held.empty()) {
            release(id, held);
            id = jobs.new_id();  // a late release must not meet the new reservation
        }
        held = needed;
        const auto reserved = co_await reserve(id, needed, operation);
        if (!reserved) {
            result.outcome.result = fail(reserved.error());
            break;
        }
        settled = !*reserved;  // nothing can have happened since it was planned
    }
    if (!settled && result.outcome.result)
        result.outcome.result =
            fail(Code::failure, "{}: the cluster kept changing; try again", operation.what);
    if (!result.outcome.result) {
        messages::error("{}: {}", operation.what, result.outcome.result.error().text);
        release(id, held);
        if (operation.reserved) operation.reserved();
        co_return result;
    }
    mark_own(id, result.plan);
    if (operation.reserved) operation.reserved();
    if (!result.plan.does_nothing()) messages::info("{}:\n{}", operation.what, describe(result.plan));

    Executor::Run run{id, operation.reserve, operation.arguments, {}, operation.comes_again};
    const auto takeover = operation.takeover;
    const bool must_hold = operation.reserve && held.contains(database.self());
    const bool starts = !result.not_restored(database.self()).empty();
    run.may_go_on = [this, id, takeover, must_hold, starts, before]() -> Result<> {
        look_for_absence();  // cancels takeovers before their next step
        if (starts && !takeover && absences != before)
            return fail(Code::failure,
                        "this node stood still meanwhile and peers may have acted; look at the cluster and "
                        "try again");
        if (must_hold && !reservations.holds(id))
            return fail(Code::failure, "its reservation was broken by another operation");
        if (takeover && !takeover->cancelled.empty()) return fail(Code::failure, "{}", takeover->cancelled);
        return {};
    };
    run.prepared = operation.prepared;
    watch_absence();
    result.outcome = co_await executor.execute(result.plan, std::move(run));
    unwatch_absence();
    release(id, held);
    co_return result;
}

runtime::Task<> Engine::Impl::next_of(std::deque<Operation>& waiting, std::vector<OperationResult>& results,
                                      std::size_t& open, runtime::OneShot<runtime::Done> all_ended) {
    while (!waiting.empty()) {
        const std::size_t index = results.size() - waiting.size();
        Operation operation = std::move(waiting.front());
        waiting.pop_front();
        results[index] = co_await operate(std::move(operation));
    }
    if (--open == 0) all_ended.set({});
}

runtime::Task<std::vector<OperationResult>> Engine::Impl::operate_all(std::vector<Operation> operations) {
    std::vector<OperationResult> results(operations.size());
    std::deque<Operation> waiting(std::make_move_iterator(operations.begin()),
                                  std::make_move_iterator(operations.end()));
    if (waiting.empty()) co_return results;
    std::size_t open = std::min(kMaxParallelHierarchies, waiting.size());
    const std::size_t workers = open;
    const runtime::OneShot<runtime::Done> all_ended(world.tasks);
    runtime::TaskScope workers_scope;
    for (std::size_t i = 0; i < workers; ++i)
        workers_scope.spawn(next_of(waiting, results, open, all_ended));
    co_await all_ended;
    co_return results;
}

}  // namespace understudy::recovery
