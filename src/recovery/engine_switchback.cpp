// Automatic switchback, when this node has started or sees a peer again. Spec: CLU-195 to CLU-201.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

/// The node that a part takes something away from; empty when there is none.
NodeName holder_of(const Plan& part, const NodeName& self) {
    for (const auto& step : part.steps)
        if (step.node != self && step.action == Action::remove) return step.node;
    return {};
}

/// What a part takes away with nothing above it: its steps on `holder` that need no other step there.
std::vector<Tag> tops_on(const Plan& part, const NodeName& holder) {
    std::vector<Tag> tops;
    for (const auto& step : part.steps) {
        if (step.node != holder || step.action != Action::remove) continue;
        const bool first = std::none_of(step.needs.begin(), step.needs.end(), [&](std::size_t need) {
            return part.steps[need].node == holder && part.steps[need].action == Action::remove;
        });
        if (first) tops.push_back(step.tag);
    }
    return tops;
}

}  // namespace

runtime::Task<> Engine::Impl::switch_back(NodeName joined) {
    const auto before = absences;
    const ClusterView seen = co_await ask_everyone(NodeName());
    if (stopping) co_return;
    const SwitchbackRequest request{joined, {}};
    auto planned = plan(seen, request);
    if (!planned) {
        messages::error("automatic switchback: {}", planned.error().text);
        co_return;
    }
    if (planned->steps.empty()) co_return;
    announce("automatic switchback", *planned);
    if (planned->does_nothing()) co_return;
    std::vector<Operation> operations;
    std::vector<Plan> parts;
    for (auto& part : by_hierarchy(seen, *planned)) {
        if (part.does_nothing()) continue;
        const auto tag = own_tag(part, database.self());
        Operation operation{"automatic switchback", SwitchbackRequest{joined, tag}};
        operation.plan = part;
        operation.announced = part;
        operation.absences = before;
        operation.prepares_peers = true;
        operations.push_back(std::move(operation));
        journal(Event::switchover_initiated, "resource", tag.str(),
                fmt::format("AUTOMATIC switchback from {}", holder_of(part, database.self()).str()));
        parts.push_back(std::move(part));
    }
    (void)co_await globals.before("restore", {});
    const auto results = co_await operate_all(std::move(operations));
    (void)co_await globals.after("restore", {});
    const auto elsewhere = co_await globals.after_on_peers("remove", {});
    if (!elsewhere) messages::warning("{}", elsewhere.error().text);
    for (std::size_t i = 0; i < results.size(); ++i)
        co_await switched_back(parts[i], results[i]);
}

runtime::Task<> Engine::Impl::switched_back(Plan part, OperationResult result) {
    const auto tag = own_tag(part, database.self());
    if (result.outcome.result && !result.start.give_back) {
        const auto restored = result.restored(database.self());
        if (!restored.empty())
            journal(Event::switchover_recovered, "resource", tag.str(),
                    "in service here: " + text::join(restored, ", "));
        co_return;
    }
    if (result.start.give_back) {
        co_await give_back(tag, result.start.cancelled);
        co_return;
    }
    journal(Event::switchover_failed, "resource", tag.str(),
            "not in service here: " + result.outcome.result.error().text);
    // It ran there and is wanted there again, better than nowhere. Spec: CLU-200.
    const auto holder = holder_of(part, database.self());
    for (const auto& top : tops_on(part, holder)) {
        const auto back = co_await ask_to_take(holder, top);
        if (!back)
            messages::error("{} is not in service on {} again: {}", top.str(), holder.str(),
                            back.error().text);
        journal(Event::none, "resource", tag.str(),
                back ? fmt::format("in service on {} again", holder.str())
                     : fmt::format("not in service on {} again: {}", holder.str(), back.error().text));
    }
}

runtime::Task<Result<std::string>> Engine::Impl::ask_to_take(NodeName node, Tag theirs) {
    config::Command command;
    command.name = kSwitchoverMethod;
    command.options = {{"tag", theirs.str()}, {kAsItWas, ""}};
    auto answer = co_await jobs.run(node, std::string(kSwitchoverMethod), std::move(command));
    co_return answer;
}

}  // namespace understudy::recovery
