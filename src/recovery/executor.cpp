#include "recovery/executor.h"

#include "messages/messages.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

using config::State;

double seconds(runtime::Duration duration) {
    return std::chrono::duration<double>(duration).count();
}

}  // namespace

struct Executor::Progress {
    Progress(Plan p, Run r, runtime::Tasks& tasks)
        : plan(std::move(p)), run(std::move(r)), all_ended(tasks), started(plan.steps.size()) {
        outcome.steps.resize(plan.steps.size());
    }
    Plan plan;
    Run run;
    Outcome outcome;
    runtime::OneShot<runtime::Done> all_ended;
    std::vector<bool> started;
    std::size_t ended = 0;
    std::size_t running = 0;
    std::size_t first_open = 0;  // steps before it have been started
    bool starting = false;
    runtime::TaskScope scope;
};

Executor::Executor(runtime::World world, config::Database& database, Scripts& scripts, Jobs& jobs,
                   Reservations& reservations)
    : world_(world), database_(database), scripts_(scripts), jobs_(jobs), reservations_(reservations) {}

runtime::Task<Outcome> Executor::execute(Plan plan, Run run) {
    if (plan.steps.empty()) co_return Outcome{};
    Progress progress(std::move(plan), std::move(run), world_.tasks);
    start_ready(progress);
    const auto all_ended = progress.all_ended;
    co_await all_ended;
    co_return std::move(progress.outcome);
}

void Executor::start_ready(Progress& progress) {
    // A step may end on this very stack and come back here; the outer loop picks up what became ready.
    if (progress.starting) return;
    progress.starting = true;
    bool again = true;
    while (again) {
        again = false;
        const auto count = progress.plan.steps.size();
        while (progress.first_open < count && progress.started[progress.first_open])
            ++progress.first_open;
        for (std::size_t i = progress.first_open; i < count && progress.running < kMaxParallelSteps; ++i) {
            if (progress.started[i]) continue;
            const StepOutcome* broken = nullptr;
            std::size_t broken_at = 0;
            bool ready = true;
            for (const auto need : progress.plan.steps[i].needs) {
                const auto& before = progress.outcome.steps[need];
                if (before.kind == StepOutcome::Kind::not_reached) ready = false;
                if (before.kind == StepOutcome::Kind::failed || before.kind == StepOutcome::Kind::skipped) {
                    broken = &before;
                    broken_at = need;
                }
            }
            if (broken == nullptr && !ready) continue;
            progress.started[i] = true;
            again = true;
            if (broken != nullptr) {
                const auto& need = progress.plan.steps[broken_at];
                skipped(progress, i,
                        {broken->error.code,
                         fmt::format("{} of {} did not succeed", to_string(need.action), need.tag.str())},
                        broken->stopped);
                continue;
            }
            if (progress.run.may_go_on && progress.plan.steps[i].action != Action::leave)
                if (const auto go = progress.run.may_go_on(); !go) {
                    if (progress.outcome.result) progress.outcome.result = fail(go.error());
                    skipped(progress, i, go.error(), true);
                    continue;
                }
            ++progress.running;
            progress.scope.spawn(take(progress, i));
        }
    }
    progress.starting = false;
    if (progress.ended == progress.plan.steps.size()) progress.all_ended.set({});
}

runtime::Task<> Executor::take(Progress& progress, std::size_t index) {
    const Step step = progress.plan.steps[index];
    const auto began = world_.clock.now();
    Result<> result;
    if (step.action == Action::leave) {
        messages::info("{}: left as it is: {}", step.tag.str(), step.why);
    } else if (step.node == database_.self()) {
        result = co_await local(step, progress.run);
    } else {
        result = co_await remote(step, progress.run);
    }
    ended(progress, index, world_.clock.now() - began, std::move(result));
}

void Executor::ended(Progress& progress, std::size_t index, runtime::Duration took, Result<> result) {
    auto& outcome = progress.outcome.steps[index];
    outcome.kind = result ? StepOutcome::Kind::succeeded : StepOutcome::Kind::failed;
    if (!result) {
        outcome.error = result.error();
        if (progress.outcome.result) progress.outcome.result = fail(result.error());
    }
    if (observer_) observer_(progress.run, progress.plan.steps[index], took, outcome);
    ++progress.ended;
    --progress.running;
    start_ready(progress);
}

void Executor::skipped(Progress& progress, std::size_t index, const Error& why, bool stopped) {
    progress.outcome.steps[index] = {StepOutcome::Kind::skipped, why, stopped};
    ++progress.ended;
    const auto& step = progress.plan.steps[index];
    if (observer_) observer_(progress.run, step, {}, progress.outcome.steps[index]);
    messages::warning("{} of {} on {} is not tried: {}", to_string(step.action), step.tag.str(),
                      step.node.str(), why.text);
    if (step.node != database_.self() || step.action != Action::restore) return;
    if (stopped && progress.run.comes_again) return;
    const auto* instance = database_.own().find(step.tag);
    if (instance == nullptr) return;
    // A failing child leaves its parents out of service (Spec: CLU-129). What kept running, or may run,
    // cannot be called so.
    const bool may_run = instance->reason.starts_with(kNotAffirmed);
    // Nothing has failed, and it goes on later (is_half_started()).
    if (stopped && (may_run || is_in_service(instance->state))) return;
    if (instance->state == State::illstate && !may_run)
        database_.set_state(step.tag, State::osu, fmt::format("not started: {}", why.text));
    else if (instance->state == State::illstate || (step.force && is_in_service(instance->state)))
        database_.set_state(step.tag, State::osf, fmt::format("{}: {}", kNotAffirmed, why.text));
}

runtime::Task<Result<>> Executor::remote(Step step, Run run) {
    const auto began = world_.clock.now();
    auto answer = co_await jobs_.run(step.node, std::string(kStepMethod), to_command(step, run));
    const auto took = seconds(world_.clock.now() - began);
    if (!answer) {
        messages::error("{} of {} on {} failed after {:.2f} s: {}", to_string(step.action), step.tag.str(),
                        step.node.str(), took, answer.error().text);
        co_return with_context(answer.error(), fmt::format("{} of {} on {}", to_string(step.action),
                                                           step.tag.str(), step.node.str()));
    }
    messages::info("{} of {} on {} succeeded in {:.2f} s", to_string(step.action), step.tag.str(),
                   step.node.str(), took);
    co_return Result<>{};
}

runtime::Task<Result<>> Executor::local(Step step, Run run) {
    const auto* found = database_.own().find(step.tag);
    if (found == nullptr)
        co_return fail(Code::not_found, "there is no resource \"{}\" on {}", step.tag.str(),
                       database_.self().str());
    const config::Instance instance = *found;
    switch (step.action) {
        case Action::leave:
            co_return Result<>{};
        case Action::set_isp:
            database_.set_state(step.tag, State::isp, step.why);
            co_return Result<>{};
        case Action::set_osu:
            database_.set_state(
                step.tag, State::osu,
                step.yields_to.empty() ? step.why : std::string(kInterrupted) + step.yields_to.str());
            co_return Result<>{};
        case Action::restore:
            if (instance.state == State::isp && !step.force) co_return Result<>{};
            break;
        case Action::remove:
            if (!is_in_service(instance.state) && !step.force) co_return Result<>{};
            break;
    }
    reservations_.begin_use(run.operation);
    const auto working = working_.insert(step.tag);
    auto result = co_await script(step, instance, run);
    working_.erase(working);
    reservations_.end_use(run.operation);
    co_return result;
}

bool Executor::works_near(const Tag& tag) const {
    const auto& own = database_.own();
    return std::any_of(working_.begin(), working_.end(), [&](const Tag& other) {
        return other == tag || own.reaches(other, tag) || own.reaches(tag, other);
    });
}

runtime::Task<Result<>> Executor::script(Step step, config::Instance instance, Run run) {
    const bool up = step.action == Action::restore;
    const std::string action(to_string(step.action));
    const auto where = fmt::format("{} of {} on {}", action, step.tag.str(), database_.self().str());
    const auto path = scripts_.find(instance.app, instance.type, action);
    const auto began = world_.clock.now();
    Result<> result;
    if (up && !scripts_.enabled(instance.app, instance.type)) {
        result = messages::fail(Code::failure, messages::kit_not_enabled, step.tag.str(),
                                fmt::format("{}/{}", instance.app.str(), instance.type.str()));
    } else if (path.empty()) {
        result = fail(Code::failure, "{}: the kit of {}/{} has no {} script", where, instance.app.str(),
                      instance.type.str(), action);
    } else {
        std::vector<std::string> arguments{"-t", step.tag.str(), "-i", instance.id.str()};
        arguments.insert(arguments.end(), run.arguments.begin(), run.arguments.end());
        messages::info("{} begins: {}", where, step.why);
        auto ran = co_await scripts_.run(step.tag, action, path, std::move(arguments));
        if (!ran)
            result = fail(ran.error());
        else if (ran->exit_code != 0)
            result = fail(Code::failure, "{} failed with exit code {}{}{}", where, ran->exit_code,
                          ran->last_lines.empty() ? "" : ": ", ran->last_lines);
    }
    const auto took = seconds(world_.clock.now() - began);
    if (run.reserved && reservations_.held_by_other(step.tag, run.operation)) {
        // The reservation was broken meanwhile: what the tag's state is now is the other operation's
        // business.
        messages::warning("{} ended after its reservation was broken; its result is not recorded", where);
        co_return fail(Code::failure, "{}: the reservation was broken by another operation", where);
    }
    if (database_.own().find(step.tag) == nullptr)
        co_return fail(Code::not_found, "{}: the resource was deleted meanwhile", where);
    const auto text = result ? fmt::format("{} succeeded in {:.2f} s", action, took)
                             : fmt::format("{} after {:.2f} s", result.error().text, took);
    if (result)
        messages::info("{}", fmt::format("{} succeeded in {:.2f} s", where, took));
    else
        messages::error("{}", text);
    // That this node cannot run it must stay visible; only what may be left of it is gone.
    const bool failed = instance.state == State::osf && result && !up;
    if (failed && instance.reason.starts_with(kRestoreFailed))
        database_.set_state(step.tag, State::osf, std::string(kFailedAndTakenDown));
    else if (failed && instance.reason.starts_with(kCheckFailed))
        database_.set_state(step.tag, State::osf, std::string(kCheckFailedAndTakenDown));
    else if (result && !up && !run.taken_for.empty())
        database_.set_state(step.tag, State::osu, std::string(kTakenFor) + run.taken_for.str());
    else if (result && !up && !step.yields_to.empty())
        database_.set_state(step.tag, State::osu, std::string(kInterrupted) + step.yields_to.str());
    else
        database_.set_state(step.tag, result ? (up ? State::isp : State::osu) : State::osf,
                            std::string(result ? (up ? kRestoreSucceeded : kRemoveSucceeded)
                                               : (up ? kRestoreFailed : kRemoveFailed)));
    database_.journal(0, "resource", step.tag.str(), text);
    co_return result;
}

config::Command to_command(const Step& step, const Executor::Run& run) {
    config::Command command;
    command.name = kStepMethod;
    command.options = {{"operation", run.operation}, {"tag", step.tag.str()}, {"why", step.why}};
    command.options["action"] = to_string(step.action);
    if (step.force) command.options["force"] = "";
    if (!run.reserved) command.options["n"] = "";
    command.arguments = run.arguments;
    return command;
}

Result<std::pair<Step, Executor::Run>> step_of(const NodeName& self, const config::Command& command) {
    // A peer takes away; it never starts anything here. Spec: CMD-118.
    if (command.get("action") != to_string(Action::remove))
        return fail(Code::internal, "a peer asked for a \"{}\" step", command.get("action"));
    Step step{self, Tag(command.get("tag")), Action::remove, command.get("why"), {}, command.has("force")};
    Executor::Run run{command.get("operation"), !command.has("n"), command.arguments, {}};
    return std::pair(std::move(step), std::move(run));
}

}  // namespace understudy::recovery
