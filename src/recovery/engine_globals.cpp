// Operations between their global pre and post scripts. Spec: CMD-034 to CMD-038, CMD-116 to CMD-120.

#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

bool runs_scripts(const Plan& plan) {
    return std::any_of(plan.steps.begin(), plan.steps.end(), [](const Step& step) {
        return step.action == Action::restore || step.action == Action::remove;
    });
}

}  // namespace

runtime::Task<OperationResult> Engine::Impl::operate_with_globals(Operation operation) {
    // Nothing to do: no global script either (Spec: CMD-117). The operation itself plans anew, after its
    // reservations: the pre-scripts may have changed something.
    const auto expected = plan(view(), operation.request);
    const bool waits = operation.reserve && !contested(operation.request).empty();
    const bool around = !operation.global.empty() && expected && (waits || runs_scripts(*expected));
    const auto action = operation.global;
    const auto arguments = operation.arguments;
    // What a script does wrong is in the log; the operation goes on all the same.
    if (around) {
        (void)co_await globals.before(action, arguments);
        operation.prepares_peers = true;
    }
    auto result = co_await operate(std::move(operation));
    if (around) {
        (void)co_await globals.after(action, arguments);
        const auto elsewhere = co_await globals.after_on_peers("remove", {});
        if (!elsewhere) messages::warning("{}", elsewhere.error().text);
    }
    co_return result;
}

runtime::Task<> Engine::Impl::prepare_peers(Plan plan) {
    std::set<NodeName> touched;  // Spec: CMD-118
    for (const auto& step : plan.steps)
        if (step.node != database.self() && step.action == Action::remove) touched.insert(step.node);
    for (const auto& peer : touched) {
        const auto ran = co_await globals.before_on(peer, "remove");
        if (!ran) messages::warning("{}", ran.error().text);
    }
}

}  // namespace understudy::recovery
