// Views of the cluster, and operations: plan, reserve, plan again if anything may have changed, execute,
// release.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"
#include "recovery/view_part.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

// First byte of an answer to recovery.view.
constexpr char kConfiguration = 'c';
constexpr char kBusy = 'b';
// First byte of a question; the asker's life follows.
constexpr char kInitialising = 'i';  // a takeover that is being decided comes first
constexpr char kReserved = 'r';      // it holds its reservations here: what is being decided waits for it
constexpr char kOperating = 'o';

/// A disk that takes longer does not hold up a takeover.
constexpr auto kNoteLimit = std::chrono::seconds(10);

/// Whether it ended before its end, and no restore of this node failed: then whatever it took out of service
/// on other nodes belongs there. A restore that failed is the business of whoever wanted it.
bool given_up(const OperationResult& result, const NodeName& self) {
    if (result.outcome.result) return false;
    for (std::size_t i = 0; i < result.outcome.steps.size(); ++i)
        if (result.plan.steps[i].node == self && result.plan.steps[i].action == Action::restore &&
            result.outcome.steps[i].kind == StepOutcome::Kind::failed)
            return false;
    return true;
}

/// What it has taken out of service on other nodes, without what needed something else of it taken before.
std::map<NodeName, std::vector<Tag>> tops_taken(const OperationResult& result, const NodeName& self) {
    std::map<NodeName, std::vector<Tag>> tops;
    const auto took = [&](std::size_t i, const NodeName& node) {
        const auto& step = result.plan.steps[i];
        return step.node == node && step.action == Action::remove && i < result.outcome.steps.size() &&
               result.outcome.steps[i].kind == StepOutcome::Kind::succeeded;
    };
    for (std::size_t i = 0; i < result.plan.steps.size(); ++i) {
        const auto& step = result.plan.steps[i];
        if (step.node == self || !took(i, step.node)) continue;
        if (std::none_of(step.needs.begin(), step.needs.end(),
                         [&](auto need) { return took(need, step.node); }))
            tops[step.node].push_back(step.tag);
    }
    return tops;
}

bool starts_on(const NodeName& node, const Plan& plan) {
    return std::any_of(plan.steps.begin(), plan.steps.end(),
                       [&](const Step& step) { return step.node == node && step.action == Action::restore; });
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

Tag own_tag(const Plan& part, const NodeName& self) {
    for (const auto& step : part.steps)
        if (step.node == self) return step.tag;
    return {};
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
    job(kRecoverMethod, &Impl::serve_recover);
    globals.serve();
    peers->serve(std::string(kViewMethod),
                 [weak](const NodeName& caller, std::string_view question, auto answer) {
                     if (const auto self = weak.lock()) self->serve_view(caller, question, answer);
                 });
    peers->serve(std::string(kReleaseMethod),
                 [weak](const NodeName&, std::string_view operation, auto answer) {
                     const auto self = weak.lock();
                     if (!self) return;
                     self->reservations.release(std::string(operation));
                     answer(std::string());
                 });
    peers->serve(std::string(kAbandonMethod),
                 [weak](const NodeName&, std::string_view operation, auto answer) {
                     const auto self = weak.lock();
                     if (!self) return;
                     self->reservations.abandon(std::string(operation));
                     answer(std::string());
                 });
    peers->serve(std::string(kStartedMethod), [weak](const NodeName& caller, std::string_view, auto answer) {
        const auto self = weak.lock();
        if (!self) return;
        if (self->database.has_flag(no_failover_flag(caller)))
            self->database.set_flag(no_failover_flag(caller), false);
        answer(std::string());
    });
    // Spec: CLU-021, CLU-061, CLU-219
    peers->serve(std::string(kStoppingMethod), [weak](const NodeName& caller, std::string_view why,
                                                      auto answer) {
        const auto self = weak.lock();
        if (!self) return;
        const std::string what = why == kPathsDeleted ? "has deleted its last path to this node; nothing is "
                                                        "taken over from it until a path is ALIVE again"
                                                      : "is being stopped on purpose; nothing is taken over";
        messages::info("{} {}", caller.str(), what);
        self->database.set_flag(no_failover_flag(caller), true);
        self->journal(Event::none, "node", caller.str(), what);
        self->database.sync([answer](Result<> synced) {
            if (synced)
                answer(std::string());
            else
                answer(fail(synced.error()));
        });
    });
    database.subscribe([weak](const config::Change& change) {
        const auto self = weak.lock();
        if (!self || change.owner != self->database.self()) return;
        for (const auto& edit : change.edits)
            if (const auto* put = std::get_if<config::PutType>(&edit)) self->events.prepare(put->type.type);
        self->checks.changed(change);
    });
    // Whoever writes an exported event into the journal: those who are registered are told.
    database.subscribe_journal([weak](const config::JournalEntry& entry) {
        const auto self = weak.lock();
        if (self && entry.node == self->database.self())
            self->events.raise_exported(entry.event, entry.subject, entry.text);
    });
    peers->on_peer_event([weak](const comm::PeerEvent& event) {
        if (const auto self = weak.lock()) self->on_peer_event(event);
    });
    peers->on_absence([weak](runtime::Duration absent) {
        if (const auto self = weak.lock()) self->on_absence(absent);
    });
}

/// Every other node that is known, without its configuration.
void Engine::Impl::add_peers(ClusterView& to) const {
    const auto& own = database.own();
    std::set<NodeName> names(own.systems);
    for (const auto& pair : own.equivalencies)
        names.insert(pair.other_node);
    for (const auto& [name, config] : database.replicas())
        names.insert(name);
    names.erase(to.self);
    for (const auto& name : names) {
        auto& node = to.nodes[name];
        const auto state = peers->state(name);
        node.alive = state == comm::PeerState::alive;
        // Not heard of within the time that makes a path DEAD is dead (Spec: CLU-067, CLU-127).
        node.known_dead =
            (state == comm::PeerState::dead || (state == comm::PeerState::unknown && peers_had_their_time)) &&
            (guard == nullptr || guard->proven_dead(name));
    }
}

ClusterView Engine::Impl::view() const {
    ClusterView result;
    result.self = database.self();
    auto& self = result.nodes[result.self];
    self.alive = true;
    self.config = database.own();
    add_peers(result);
    for (auto& [name, node] : result.nodes)
        if (const auto* config = database.of(name); config != nullptr && name != result.self)
            node.config = *config;
    return result;
}

ClusterView Engine::Impl::view_of(const Tag& tag, const std::map<NodeName, config::NodeConfig>& fresh) const {
    ClusterView result;
    result.self = database.self();
    result.nodes[result.self].alive = true;
    add_peers(result);
    fill_part(result, tag, [&](const NodeName& name) {
        const auto at = fresh.find(name);
        return at != fresh.end() ? &at->second : database.of(name);
    });
    return result;
}

void Engine::Impl::serve_view(const NodeName& caller, std::string_view question, const Peers::Done& answer) {
    const char kind = question.empty() ? kOperating : question.front();
    reservations.lives_as(caller, std::string(question.substr(std::min<std::size_t>(1, question.size()))));
    // A node that is not ready yet takes nothing over before it has initialised itself.
    const bool decides = deciding.contains(caller) || (ready && !deciding.empty() && kind == kInitialising);
    if (decides && kind != kReserved)
        answer(std::string(1, kBusy));
    else
        answer(kConfiguration + config::encode(database.own()));
}

runtime::Task<Result<config::NodeConfig>> Engine::Impl::ask(NodeName peer, bool reserved) {
    const auto give_up = world.clock.now() + kBusyLimit;
    const auto question = (reserved ? kReserved : ready ? kOperating : kInitialising) + jobs.life();
    while (true) {
        auto answer =
            co_await call(*peers, world.tasks, peer, std::string(kViewMethod), question, kShortCall);
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

runtime::Task<ClusterView> Engine::Impl::ask_everyone(NodeName except, bool reserved, Tag only) {
    // The owner is asked, not the cached copy: it may be a moment old (Spec: CMD-118, CLU-095).
    std::map<NodeName, config::NodeConfig> fresh;
    std::set<NodeName> names;
    for (const auto& pair : database.own().equivalencies)
        names.insert(pair.other_node);
    for (const auto& name : names) {
        if (name == except || !alive(name)) continue;
        auto config = co_await ask(name, reserved);
        if (config)
            fresh[name] = std::move(*config);
        else
            messages::warning("{} does not tell its states: {}", name.str(), config.error().text);
    }
    ClusterView result = only.empty() ? view() : view_of(only, fresh);
    if (!only.empty()) {
        // Who was asked and did not answer is not known, whatever the copy says.
        for (const auto& name : names)
            if (name != except && !fresh.contains(name) && result.nodes.contains(name) &&
                result.nodes.at(name).alive)
                result.nodes.at(name).config = config::NodeConfig{};
        co_return result;
    }
    for (const auto& name : names)
        if (name != except && result.nodes.contains(name) && result.nodes.at(name).alive)
            result.nodes.at(name).config = fresh.contains(name) ? fresh.at(name) : config::NodeConfig{};
    co_return result;
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
    // When the operation is given up in the middle, or ends with the caller's daemon, this is left to this
    // node.
    const auto* found = database.own().find(step.tag);
    const bool takes = step.action == Action::remove && found != nullptr && is_in_service(found->state);
    const OperationOwner owner{run.operation, caller, 0};
    const Tag tag = step.tag;
    if (takes) {
        reservations.takes(owner, tag);
        run.taken_for = caller;
    }
    messages::info("{} asks to take {} out of service: {}", caller.str(), tag.str(), step.why);
    auto result = co_await executor.local(std::move(step), std::move(run));
    // Its reservation was broken while the script ran: the operation takes no further step here.
    if (takes && !reservations.holds(owner.operation)) {
        reservations.takes(owner, tag);
        reservations.abandon(owner.operation);
    }
    if (!result) co_return config::failure(result.error());
    // The caller starts it now. A daemon that found here that it still runs would affirm it beside the
    // caller.
    const auto noted = co_await outlive_kill("what was stopped");
    if (!noted) co_return config::failure(noted.error());
    co_return config::success();
}

runtime::Task<Result<>> Engine::Impl::outlive_kill(std::string what) {
    if (database.outlives_kill()) co_return Result<>{};
    const runtime::OneShot<Result<>> ended(world.tasks);
    database.sync([ended](Result<> synced) { ended.set(std::move(synced)); });
    const auto limit = world.tasks.after(kNoteLimit, [ended] {
        ended.set(fail(Code::failure, "the disk has not answered within {} s", kNoteLimit.count()));
    });
    const auto noted = co_await ended;
    world.tasks.cancel(limit);
    if (noted) co_return Result<>{};
    const auto text =
        fmt::format("{} can note neither in the run directory nor on its disk {} ({}): make room",
                    database.self().str(), what, noted.error().text);
    messages::warning("{}", text);
    co_return fail(Code::failure, "{}", text);
}

runtime::Task<Result<Plan>> Engine::Impl::plan_reserved(std::string& id, Needed& held, Operation& operation) {
    const auto give_up = world.clock.now() + reservation_limit();
    const auto let_go = [&] {
        release(id, std::exchange(held, {}));
        id = jobs.new_id();  // a late release must not meet the new reservation
    };
    std::optional<Plan> made = std::exchange(operation.plan, std::nullopt);
    Error last{Code::failure, "the cluster kept changing; try again", 0};
    for (int attempt = 0; attempt < kMaxPlanAttempts;) {
        if (!made) {
            const auto* initialise = std::get_if<InitialiseRequest>(&operation.request);
            const Tag only = initialise == nullptr ? Tag() : initialise->only;
            ClusterView seen = co_await ask_everyone(operation.dead, !held.empty(), only);
            // A person who starts something without quorum answers for the nodes that cannot be asked.
            for (auto& [name, node] : seen.nodes)
                if (operation.forced && !node.alive) node.known_dead = true;
            auto planned = plan(seen, operation.request);
            if (!planned) co_return fail(planned.error());
            made = std::move(*planned);
        }
        auto needed = needed_for(*made, operation.request);
        if (needed.empty() || !operation.reserve || covers(held, needed)) co_return std::move(*made);
        if (!held.empty()) let_go();
        held = needed;
        const auto reserved = co_await reserve(id, needed, operation, give_up);
        // Nothing can have happened since it was planned.
        if (reserved && *reserved == Waited::no) co_return std::move(*made);
        made.reset();
        if (reserved && *reserved == Waited::in_vain) {
            let_go();
            if (world.clock.now() >= give_up)
                co_return fail(Code::failure, "another operation still works on the same resources");
            continue;
        }
        ++attempt;
        if (reserved) continue;
        // A peer that was lost meanwhile is not asked next time, one that was restarted can answer again.
        if (reserved.error().code != Code::unreachable || world.clock.now() >= give_up)
            co_return fail(reserved.error());
        last = reserved.error();
        let_go();
    }
    co_return fail(last);
}

runtime::Task<OperationResult> Engine::Impl::operate(Operation operation) {
    OperationResult result;
    const auto before = operation.absences.value_or(absences);
    auto id = jobs.new_id();
    Needed held;
    auto planned = co_await plan_reserved(id, held, operation);
    if (!planned) {
        result.outcome.result = with_context(planned.error(), operation.what);
        messages::error("{}", result.outcome.result.error().text);
        release(id, held);
        if (operation.reserved) operation.reserved();
        co_return result;
    }
    result.plan = std::move(*planned);
    mark_own(id, result.plan);
    const auto start = start_of(result.plan, operation);
    starts.push_back(start);
    if (operation.reserved) operation.reserved();
    const bool in_the_log = operation.announced && operation.announced->steps == result.plan.steps;
    if (!in_the_log && !result.plan.does_nothing()) announce(operation.what, result.plan);

    Executor::Run run{id, operation.reserve,     operation.arguments,
                      {}, operation.comes_again, operation.incident};
    const bool must_hold = operation.reserve && held.contains(database.self());
    std::string for_now;  // why it was stopped, when that ends by itself
    std::string unnoted;  // why nothing may be started, whoever wants it
    run.may_go_on = [this, id, start, must_hold, before, &for_now, &unnoted,
                     forced = operation.forced]() -> Result<> {
        look_for_absence();
        if (!start->tags.empty() && absences != before) {
            for_now = "this node stood still";
            return fail(Code::failure,
                        "this node stood still meanwhile and peers may have acted; look at the cluster and "
                        "try again");
        }
        if (must_hold && !reservations.holds(id))
            return fail(Code::failure, "its reservation was broken by another operation");
        if (!start->cancelled.empty()) return fail(Code::failure, "{}", start->cancelled);
        if (start->tags.empty() || forced) return {};
        for_now = unnoted.empty() ? start_refusal() : unnoted;
        if (!for_now.empty()) return fail(Code::failure, "{}", for_now);
        return {};
    };
    watch_absence();
    // Part of its execution: what happens meanwhile stops it as it would during the first script. A peer that
    // has come back meanwhile is heard first, for nothing runs yet that would have to be taken down.
    if (starts_on(database.self(), result.plan)) {
        const auto noted = co_await outlive_kill("what is started now");
        if (!noted) unnoted = noted.error().text;
        co_await hear_returned(start);
    }
    if (operation.prepares_peers) co_await prepare_peers(result.plan);
    result.outcome = co_await executor.execute(result.plan, std::move(run));
    unwatch_absence();
    starts.remove(start);
    if (!for_now.empty()) left_half_started(operation, result, for_now);
    // Without a reservation (perform_action -n) they hear of its end too.
    if (!operation.reserve)
        for (const auto& step : result.plan.steps)
            if (step.node != database.self()) held[step.node];
    release(id, held, given_up(result, database.self()), tops_taken(result, database.self()));
    result.start = *start;
    co_return result;
}

void Engine::Impl::announce(const std::string& what, const Plan& plan) {
    messages::info("{}:\n{}", what, describe(plan));
}

std::shared_ptr<Start> Engine::Impl::start_of(const Plan& plan, const Operation& operation) const {
    auto start = std::make_shared<Start>();
    start->dead = operation.dead;
    start->comes_again = operation.comes_again;
    start->tags = started(plan);
    for (const auto& pair : database.own().equivalencies)
        if (!alive(pair.other_node)) start->absent.insert(pair.other_node);
    return start;
}

runtime::Task<> Engine::Impl::give_back(Tag tag, std::string why) {
    Operation back{fmt::format("giving up {} ({})", tag.str(), why), StopRequest{tag}};
    const auto given = co_await operate(std::move(back));
    if (!given.outcome.result) messages::error("{}", given.outcome.result.error().text);
}

runtime::Task<> Engine::Impl::next_of(std::deque<Operation>& waiting, std::vector<OperationResult>& results,
                                      std::size_t& open, runtime::OneShot<runtime::Done> all_ended) {
    while (!waiting.empty()) {
        const std::size_t index = results.size() - waiting.size();
        Operation operation = std::move(waiting.front());
        waiting.pop_front();
        if (index >= parallel_hierarchies()) operation.plan.reset();  // it waited for others
        results[index] = co_await operate(std::move(operation));
        // What needs no script never waits: heartbeats and commands have their turn between two of them.
        co_await runtime::sleep_for(world.tasks, runtime::Duration::zero());
    }
    if (--open == 0) all_ended.set({});
}

runtime::Task<std::vector<OperationResult>> Engine::Impl::operate_all(std::vector<Operation> operations) {
    std::vector<OperationResult> results(operations.size());
    std::deque<Operation> waiting(std::make_move_iterator(operations.begin()),
                                  std::make_move_iterator(operations.end()));
    if (waiting.empty()) co_return results;
    std::size_t open = std::min(parallel_hierarchies(), waiting.size());
    const std::size_t workers = open;
    const runtime::OneShot<runtime::Done> all_ended(world.tasks);
    runtime::TaskScope workers_scope;
    for (std::size_t i = 0; i < workers; ++i)
        workers_scope.spawn(next_of(waiting, results, open, all_ended));
    co_await all_ended;
    co_return results;
}

}  // namespace understudy::recovery
