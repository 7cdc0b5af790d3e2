// What operations of other nodes left half-done here. A node that brings something in service takes it out of
// service on the node that has it, step by step. When its daemon ends in the middle nobody goes on: its next
// life knows nothing of the operation, and leaves the hierarchy to the node that has a part of it. So the
// node from which it was taken decides, as soon as it can ask the other. Spec: CLU-107, CLU-132, CLU-200.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

/// While the other node cannot be asked, or is not finished itself.
constexpr auto kLookAgain = std::chrono::seconds(10);

}  // namespace

void Engine::Impl::interrupted(const OperationOwner& owner, const std::set<Tag>& taken) {
    if (stopping) return;
    std::vector<std::string> tags;
    std::vector<config::Edit> edits;
    for (const auto& tag : taken) {
        const auto* instance = database.own().find(tag);
        if (instance == nullptr || instance->state != config::State::osu ||
            instance->reason != kRemoveSucceeded)
            continue;
        auto changed = *instance;
        changed.reason = std::string(kInterrupted) + owner.node.str();
        edits.emplace_back(config::PutInstance{std::move(changed)});
        tags.push_back(tag.str());
    }
    if (edits.empty()) return;
    database.commit(std::move(edits));
    const auto list = text::join(tags, ", ");
    const auto what = fmt::format("was taken out of service for an operation of {}, which was interrupted",
                                  owner.node.str());
    messages::warning("{} {}", list, what);
    journal(Event::none, "resource", list, what);
    scope.spawn(restore_interrupted());
}

bool Engine::Impl::has_interrupted() const {
    const auto& instances = database.own().instances;
    return std::any_of(instances.begin(), instances.end(),
                       [](const auto& entry) { return !interrupted_on(entry.second).empty(); });
}

bool Engine::Impl::can_decide_interrupted() const {
    const auto& instances = database.own().instances;
    return std::any_of(instances.begin(), instances.end(), [this](const auto& entry) {
        const auto mover = interrupted_on(entry.second);
        return !mover.empty() && alive(mover);
    });
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
    const auto before = absences;
    co_await judge("COMM_UP", NodeName());
    const ClusterView seen = co_await ask_everyone(NodeName());
    if (stopping || absences != before || !start_refusal().empty()) co_return;
    const auto planned = plan(seen, InterruptedRequest{});
    if (!planned) {
        messages::error("what an interrupted operation left: {}", planned.error().text);
        co_return;
    }
    if (planned->steps.empty()) co_return;
    if (const auto text = describe(*planned); std::exchange(told, text) != text)
        announce("what an interrupted operation left", *planned);
    std::vector<Operation> operations;
    std::vector<Tag> tags;
    for (auto& part : by_hierarchy(seen, *planned)) {
        if (part.does_nothing()) continue;
        tags.push_back(own_tag(part, database.self()));
        Operation operation{"what an interrupted operation left", InterruptedRequest{tags.back()}};
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
        if (!result.outcome.result)
            journal(Event::none, "resource", tags[i].str(),
                    "not in service here again after an interrupted operation: " +
                        result.outcome.result.error().text);
    }
}

}  // namespace understudy::recovery
