// What operations of other nodes left half-done here. A node that brings something in service takes it out of
// service on the node that has it, step by step. When the operation ends in the middle nobody goes on: it was
// stopped (quorum, a stand-still, a broken reservation), or a node did not answer, or it ended with its
// daemon, whose next life knows nothing of it and leaves the hierarchy to the node that has a part of it. So
// the node from which it was taken decides, as soon as it can ask the other. Its next daemon does the same:
// the reason of what was taken says so from the remove on. Spec: CLU-107, CLU-132, CLU-200.
//
// And what starts of this node left half-done, because quorum was away for a moment or this process stood
// still: with a part of the hierarchy in service here, nothing else would ever look at the rest
// (is_half_started()).

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

/// While the other node cannot be asked, or is not finished itself.
constexpr auto kLookAgain = std::chrono::seconds(10);

std::vector<std::string> names(const std::set<Tag>& tags) {
    std::vector<std::string> result;
    result.reserve(tags.size());
    for (const auto& tag : tags)
        result.push_back(tag.str());
    return result;
}

/// The first resource whose restore script failed here; empty: none did.
Tag failed_restore(const OperationResult& result, const NodeName& self) {
    for (std::size_t i = 0; i < result.outcome.steps.size(); ++i) {
        const auto& step = result.plan.steps[i];
        if (step.node == self && step.action == Action::restore &&
            result.outcome.steps[i].kind == StepOutcome::Kind::failed)
            return step.tag;
    }
    return {};
}

/// Of its hierarchy, what was in service here before operations of other nodes took it, and what is.
std::set<Tag> ran_before(const config::NodeConfig& own, const Tag& tag) {
    std::set<Tag> ran;
    for (const auto& member : hierarchy_of(own, tag)) {
        const auto& instance = own.instances.at(member);
        if (is_in_service(instance.state) || !interrupted_on(instance).empty() || is_half_started(instance))
            ran.insert(member);
    }
    return ran;
}

}  // namespace

void Engine::Impl::interrupted(const OperationOwner& owner, const std::set<Tag>& left) {
    const auto list = text::join(names(left), ", ");
    const auto what = fmt::format("was taken out of service for an operation of {}, which was interrupted",
                                  owner.node.str());
    messages::warning("{} {}", list, what);
    journal(Event::none, "resource", list, what);
    if (!stopping) scope.spawn(restore_interrupted());
}

void Engine::Impl::mark_half_started(const Tag& tag, const std::string& why) {
    database.set_state(tag, config::State::osu, std::string(kStartStopped) + why);
}

void Engine::Impl::left_half_started(const Operation& operation, const OperationResult& result,
                                     const std::string& why) {
    // The caller looks at it again; a person answers for what was forced.
    if (operation.comes_again || operation.forced) return;
    const auto& steps = result.plan.steps;
    bool begun = false;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        if (result.outcome.steps[i].kind != StepOutcome::Kind::succeeded) continue;
        // Where it was taken from it is brought back, unless that node forgets it with its power: obstacle()
        // asks.
        if (steps[i].node != database.self()) continue;
        if (steps[i].action == Action::restore) begun = true;
    }
    // What nobody had begun is left to whoever wanted it, unless that is an event, which does not come again.
    const bool once = std::holds_alternative<FailoverRequest>(operation.request) ||
                      std::holds_alternative<ResourceFailoverRequest>(operation.request) ||
                      std::holds_alternative<RejoinRequest>(operation.request);
    if (!begun && !once) return;
    std::set<Tag> left;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const auto& outcome = result.outcome.steps[i];
        if (steps[i].node != database.self() || steps[i].action != Action::restore || !outcome.stopped)
            continue;
        const auto* instance = database.own().find(steps[i].tag);
        if (instance == nullptr || instance->state != config::State::osu ||
            !interrupted_on(*instance).empty())
            continue;
        mark_half_started(steps[i].tag, why);
        left.insert(steps[i].tag);
    }
    if (left.empty()) return;
    journal(Event::none, "resource", text::join(names(left), ", "),
            fmt::format("{} was stopped before their turn, and goes on when it may", operation.what));
    if (!stopping) scope.spawn(restore_interrupted());
}

bool Engine::Impl::has_interrupted() const {
    const auto& instances = database.own().instances;
    return std::any_of(instances.begin(), instances.end(), [](const auto& entry) {
        return !interrupted_on(entry.second).empty() || is_half_started(entry.second);
    });
}

bool Engine::Impl::can_decide_interrupted() const {
    const auto& instances = database.own().instances;
    return std::any_of(instances.begin(), instances.end(), [this](const auto& entry) {
        const auto mover = interrupted_on(entry.second);
        return is_half_started(entry.second) || (!mover.empty() && (alive(mover) || never_heard(mover)));
    });
}

bool Engine::Impl::never_heard(const NodeName& peer) const {
    return peers->state(peer) == comm::PeerState::unknown && peers_had_their_time && starts_at_comm_up();
}

runtime::Task<> Engine::Impl::restore_interrupted() {
    // One at a time; what is interrupted meanwhile causes another look.
    interrupted_again = true;
    if (std::exchange(restoring_interrupted, true)) co_return;
    // Not on the stack of whoever ended the operation.
    co_await runtime::sleep_for(world.tasks, runtime::Duration::zero());
    std::string told;
    while (!stopping && has_interrupted()) {
        const bool can = co_await wait_ready(longest_detection() + kBusyLimit);
        interrupted_again = false;
        if (can && can_decide_interrupted()) co_await restore_interrupted_once(told);
        if (!interrupted_again && has_interrupted()) co_await runtime::sleep_for(world.tasks, kLookAgain);
    }
    restoring_interrupted = false;
}

runtime::Task<> Engine::Impl::restore_interrupted_once(std::string& told) {
    // Before anything is committed for it, which would be one thing more that nothing takes.
    const auto noted = co_await outlive_kill("what is started now");
    if (!noted) co_return;
    const auto before = absences;
    co_await judge("COMM_UP", NodeName());
    const ClusterView seen = co_await ask_everyone(NodeName());
    if (stopping || absences != before || !start_refusal().empty()) co_return;
    InterruptedRequest request;
    for (const auto& [tag, instance] : database.own().instances)
        if (const auto mover = interrupted_on(instance);
            !mover.empty() && never_heard(mover) && guard->proven_dead(mover))
            request.never_heard.insert(mover);
    const auto planned = plan(seen, request);
    if (!planned) {
        messages::error("what an interrupted operation left: {}", planned.error().text);
        co_return;
    }
    if (planned->steps.empty()) co_return;
    if (const auto text = describe(*planned); std::exchange(told, text) != text)
        announce("what an interrupted operation left", *planned);
    std::vector<Operation> operations;
    std::vector<Tag> tags;
    const auto before_it = database.own();
    for (auto& part : by_hierarchy(seen, *planned)) {
        if (part.does_nothing()) continue;
        tags.push_back(own_tag(part, database.self()));
        request.only = tags.back();
        Operation operation{"what an interrupted operation left", request};
        operation.plan = part;
        operation.announced = std::move(part);
        operation.absences = before;
        operations.push_back(std::move(operation));
    }
    const auto results = co_await operate_all(std::move(operations));
    for (std::size_t i = 0; i < results.size(); ++i) {
        const auto& result = results[i];
        if (result.start.give_back) co_await give_back(tags[i], result.start.cancelled);
        const auto restored = result.restored(database.self());
        if (!restored.empty())
            journal(Event::none, "resource", tags[i].str(),
                    "in service here again after an interrupted operation: " + text::join(restored, ", "));
        if (result.outcome.result) continue;
        const auto why =
            "not in service here again after an interrupted operation: " + result.outcome.result.error().text;
        journal(Event::none, "resource", tags[i].str(), why);
        // It ran here, and fails here now: another node may have it. Spec: CLU-176
        const auto failed = failed_restore(result, database.self());
        if (!failed.empty() && hindered(failed).empty())
            scope.spawn(resume_recovery(failed, ran_before(before_it, failed), why));
    }
}

}  // namespace understudy::recovery
