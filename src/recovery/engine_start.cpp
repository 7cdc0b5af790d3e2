// Start and initialisation. Spec: sections 7 and 12 of the cluster core.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

constexpr auto kAskLeftOutAgain = std::chrono::seconds(10);

/// Whether an ALIVE peer that shares something was asked in vain: a node's own configuration always has
/// systems.
bool does_not_answer(const ClusterView& seen) {
    const auto& pairs = seen.nodes.at(seen.self).config.equivalencies;
    return std::any_of(pairs.begin(), pairs.end(), [&](const config::Equivalency& pair) {
        const auto peer = seen.nodes.find(pair.other_node);
        return peer != seen.nodes.end() && peer->second.alive && peer->second.config.systems.empty();
    });
}

/// Without what would be started or affirmed.
Plan without_starts(const Plan& part) {
    Plan rest;
    std::vector<std::optional<std::size_t>> place;
    for (const auto& step : part.steps) {
        place.emplace_back();
        if (step.action == Action::restore || step.action == Action::set_isp) continue;
        place.back() = rest.steps.size();
        rest.steps.push_back(step);
        auto& needs = rest.steps.back().needs;
        needs.clear();
        for (const auto need : step.needs)
            if (place[need]) needs.push_back(*place[need]);
    }
    return rest;
}

}  // namespace

void Engine::Impl::start() {
    const FlagName stopped{kStoppedFlag};
    const bool orderly = database.has_flag(stopped);
    const bool anew = options.host_rebooted || orderly;
    std::vector<config::Edit> edits;
    if (orderly) edits.emplace_back(config::DropFlag{stopped});
    for (const auto& [tag, instance] : database.own().instances) {
        auto changed = instance;
        const bool restoring = instance.reservation == config::Reservation::restore;
        changed.reservation = config::Reservation::none;
        changed.reserving_pid = 0;
        if (anew) {
            if (is_in_service(instance.state) || !taken_for(instance).empty() ||
                !interrupted_on(instance).empty())
                had.insert(tag);
            changed.state = config::State::illstate;
            changed.reason = "the engine started";
        } else if (is_in_service(instance.state)) {
            changed.reason = kKeptRunning;
            kept_running.insert(tag);
        } else if (restoring) {
            // How far the script came is unknown; a peer must run remove before it restores this.
            changed.state = config::State::illstate;
            changed.reason = fmt::format("{}: the daemon ended during its restore", kNotAffirmed);
        } else if (const auto taker = taken_for(instance); !taker.empty()) {
            // What it was taken for may have come to its end by now: that is looked at first.
            changed.reason = std::string(kInterrupted) + taker.str();
        }
        if (!(changed == instance)) edits.emplace_back(config::PutInstance{std::move(changed)});
    }
    if (!edits.empty()) database.commit(std::move(edits));
    events.prepare();
    for (const auto& installed : database.own().types)
        events.prepare(installed.type);
    // Before anything that a peer's coming or going causes. Spec: CLU-078
    events.raise({"lifekeeper", "lcm_avail", "LK:lcm", database.self().str(), EventSeverity::informational});
    messages::info("engine start on {}: {}", database.self().str(),
                   options.host_rebooted ? "the host booted"
                   : orderly             ? "after an orderly stop"
                                         : "the daemon was restarted, applications kept running");
    incidents.started(options.host_rebooted ? "boot" : orderly ? "stop" : "daemon");
    scope.spawn(initialise());
}

runtime::Duration Engine::Impl::longest_detection() const {
    runtime::Duration longest{};
    for (const auto& path : database.own().paths)
        longest =
            std::max(longest, runtime::Duration(std::chrono::milliseconds(path.interval_ms)) * path.misses);
    return longest;
}

runtime::Task<> Engine::Impl::wait_for_peers() {
    // A node that just booted must not start what a peer already runs. Spec: CLU-127.
    std::set<NodeName> expected;
    for (const auto& path : database.own().paths)
        expected.insert(path.remote);
    peers_had_their_time = false;
    const auto limit =
        options.init_peer_wait > runtime::Duration{} ? options.init_peer_wait : longest_detection();
    // Only time that this process ran counts: while it stood still it could hear nobody.
    runtime::Duration waited{};
    auto last = world.clock.now();
    auto seen_absences = absences;
    while (true) {
        look_for_absence();
        const auto now = world.clock.now();
        waited += std::min(now - std::exchange(last, now), 2 * kPoll);
        if (std::exchange(seen_absences, absences) != absences) waited = {};
        // After a long one the peers' states mean nothing either until the paths were confirmed or had their
        // time again. Communication learns of it a tick later than this.
        const bool confirmed = absences == 0 || waited >= longest_detection() + kDetectionMargin ||
                               (waited > 2 * kPoll && peers->settled());
        const bool all =
            std::all_of(expected.begin(), expected.end(), [&](const auto& n) { return alive(n); });
        if (confirmed && (all || waited >= limit)) break;
        co_await runtime::sleep_for(world.tasks, kPoll);
    }
    for (const auto& name : expected)
        if (!alive(name))
            messages::warning("{} did not answer within its time and is taken for dead", name.str());
    peers_had_their_time = true;
}

runtime::Task<> Engine::Impl::initialise() {
    watch_absence();
    std::uint64_t before = absences;
    do {
        // Every stand-still lasted longer than a failure takes to be noticed: peers may have acted.
        co_await wait_for_peers();
        before = absences;
        co_await initialise_once(before);
        look_for_absence();
        // Quorum that went meanwhile: what was not started yet stays out of service.
        if (absences == before && !start_refusal().empty()) co_await initialise_once(before);
    } while (absences != before);
    unwatch_absence();
    if (!stopping) end_initialisation();
    ready = true;
    journal(Event::start_complete, "engine", database.self().str(), "start complete");
    messages::info("engine start on {} complete", database.self().str());
    if (stopping) co_return;
    checks.start();
    resume_recoveries();
    if (!starts_at_comm_up()) scope.spawn(watch_left_out());
    if (has_interrupted()) scope.spawn(restore_interrupted());
    co_await switch_back(NodeName());  // Spec: CLU-197
}

runtime::Task<> Engine::Impl::initialise_once(std::uint64_t before) {
    co_await judge("LCM_AVAIL", NodeName());
    // What was answered before a peer was lost says nothing of who takes over from it now.
    auto known = losses;
    ClusterView seen = co_await ask_everyone(NodeName());
    // One that is ALIVE and does not answer will answer or be lost. What it has must be known: what is not
    // started now because of it is started by nobody later.
    const auto give_up = world.clock.now() + longest_detection() + kDetectionMargin;
    while (losses != known || (does_not_answer(seen) && world.clock.now() < give_up)) {
        if (losses == known) co_await runtime::sleep_for(world.tasks, kPoll);
        known = losses;
        seen = co_await ask_everyone(NodeName());
    }
    look_for_absence();
    if (absences != before) co_return;
    const auto refused = start_refusal();
    if (!refused.empty()) {
        // Spec: CLU-126, QUO-064: every instance OSU. What kept running is the loss action's business.
        messages::warning("nothing is started: {}", refused);
        journal(Event::none, "engine", database.self().str(), "nothing is started: " + refused);
        seen = without_peers(std::move(seen));
    }
    auto planned = plan(seen, InitialiseRequest{.only = {}, .left_out = false, .had = had});
    if (!planned) {
        messages::error("initialisation: {}", planned.error().text);
        journal(Event::none, "engine", database.self().str(),
                "initialisation failed: " + planned.error().text);
        co_return;
    }
    if (!planned->does_nothing()) announce("initialisation", *planned);
    std::vector<Operation> operations;
    std::vector<Tag> tags;
    for (auto& part : by_hierarchy(seen, *planned)) {
        if (!refused.empty()) part = without_starts(part);
        if (part.steps.empty()) continue;
        tags.push_back(own_tag(part, database.self()));
        const InitialiseRequest one{.only = tags.back(), .left_out = false, .had = had};
        Operation operation{"initialisation", one};
        operation.plan = part;
        operation.announced = std::move(part);
        operation.absences = before;
        operation.comes_again = true;
        operations.push_back(std::move(operation));
    }
    auto results = co_await operate_all(std::move(operations));
    for (std::size_t i = 0; i < results.size(); ++i) {
        auto& result = results[i];
        if (result.start.give_back) {
            // A peer that was absent lives and has it: now the rule for that case applies.
            const InitialiseRequest one{.only = *result.start.tags.begin(), .left_out = false, .had = had};
            Operation anew{"initialisation", one};
            anew.absences = before;
            anew.comes_again = true;
            result = co_await operate(std::move(anew));
        }
        if (!result.outcome.result)
            journal(Event::none, "engine", tags[i].str(),
                    "initialisation did not succeed: " + result.outcome.result.error().text);
    }
}

// A part of it may be in service here: nothing else would look at the rest.
void Engine::Impl::end_initialisation() {
    const auto refused = start_refusal();
    const auto instances = database.own().instances;
    for (const auto& [tag, instance] : instances) {
        if (instance.state != config::State::illstate || is_half_started(instance)) continue;
        if (instance.init == config::Init::init_osu)
            database.set_state(tag, config::State::osu, std::string(kByHand));
        else
            mark_half_started(tag, refused.empty() ? "this node's start was disturbed" : refused);
    }
}

bool Engine::Impl::has_left_out() const {
    const auto& instances = database.own().instances;
    return std::any_of(instances.begin(), instances.end(), [](const auto& entry) {
        return entry.second.state == config::State::osu &&
               std::string_view(entry.second.reason).ends_with(kNotAsked);
    });
}

runtime::Task<> Engine::Impl::decide_left_out() {
    // One at a time; a peer that comes meanwhile causes another look.
    left_out_again = true;
    if (std::exchange(deciding_left_out, true)) co_return;
    const bool can = co_await wait_ready(longest_detection() + kBusyLimit);
    while (can && !stopping && has_left_out() && std::exchange(left_out_again, false))
        co_await decide_left_out_once();
    deciding_left_out = false;
}

runtime::Task<> Engine::Impl::decide_left_out_once() {
    const auto noted = co_await outlive_kill("what is started now");
    if (!noted) co_return;
    const auto before = absences;
    const ClusterView seen = co_await ask_everyone(NodeName());
    if (stopping || absences != before || !start_refusal().empty()) co_return;
    const auto planned = plan(seen, InitialiseRequest{.only = {}, .left_out = true, .had = had});
    if (!planned) {
        messages::error("what the start left out: {}", planned.error().text);
        co_return;
    }
    if (planned->does_nothing()) co_return;
    announce("what the start left out", *planned);
    std::vector<Operation> operations;
    for (auto& part : by_hierarchy(seen, *planned)) {
        const InitialiseRequest one{.only = own_tag(part, database.self()), .left_out = true, .had = had};
        Operation operation{"what the start left out", one};
        operation.plan = part;
        operation.announced = std::move(part);
        operation.absences = before;
        operations.push_back(std::move(operation));
    }
    const auto results = co_await operate_all(std::move(operations));
    for (const auto& result : results) {
        if (result.start.give_back && !result.start.tags.empty())
            co_await give_back(*result.start.tags.begin(), result.start.cancelled);
        if (!result.outcome.result)
            journal(Event::none, "engine", database.self().str(),
                    "what the start left out was not started: " + result.outcome.result.error().text);
    }
}

// A peer that is ALIVE all the time and only did not answer causes no event when it does again.
runtime::Task<> Engine::Impl::watch_left_out() {
    while (!stopping && has_left_out()) {
        co_await runtime::sleep_for(world.tasks, kAskLeftOutAgain);
        co_await decide_left_out();
    }
}

runtime::Task<bool> Engine::Impl::wait_ready(runtime::Duration limit) {
    const auto give_up = world.clock.now() + limit;
    while (!ready && world.clock.now() < give_up)
        co_await runtime::sleep_for(world.tasks, kPoll);
    co_return ready;
}

}  // namespace understudy::recovery
