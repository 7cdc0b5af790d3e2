// Start, initialisation, loss and return of peers. Spec: sections 7, 12, 17 and 18 of the cluster core.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <fmt/chrono.h>

#include <algorithm>

namespace understudy::recovery {
namespace {

using config::State;

constexpr runtime::Duration kDetectionMargin = std::chrono::seconds(10);

bool is_up(State state) {
    return state == State::isp || state == State::isu;
}

/// Whether an operation on this part of a plan does anything.
bool acts(const Plan& part) {
    return !part.does_nothing();
}

/// A tag of `self` in a part; every part of by_hierarchy() has one.
Tag own_tag(const Plan& part, const NodeName& self) {
    for (const auto& step : part.steps)
        if (step.node == self) return step.tag;
    return {};
}

std::string date(runtime::WallTime now) {
    return fmt::format("{:%a %b %d %H:%M:%S %Y}",
                       fmt::localtime(std::chrono::system_clock::to_time_t(
                           std::chrono::time_point_cast<std::chrono::system_clock::duration>(now))));
}

void append(std::vector<std::string>& to, const std::vector<std::string>& from) {
    to.insert(to.end(), from.begin(), from.end());
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
            changed.state = State::illstate;
            changed.reason = "the engine started";
        } else if (is_up(instance.state)) {
            changed.reason = kKeptRunning;
        } else if (restoring) {
            // How far the script came is unknown; a peer must run remove before it restores this.
            changed.state = State::illstate;
            changed.reason = fmt::format("{}: the daemon ended during its restore", kNotAffirmed);
        }
        if (!(changed == instance)) edits.emplace_back(config::PutInstance{std::move(changed)});
    }
    if (!edits.empty()) database.commit(std::move(edits));
    messages::info("engine start on {}: {}", database.self().str(),
                   options.host_rebooted ? "the host booted"
                   : orderly             ? "after an orderly stop"
                                         : "the daemon was restarted, applications kept running");
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
    } while (absences != before);
    unwatch_absence();
    ready = true;
    journal(Event::start_complete, "engine", database.self().str(), "start complete");
    messages::info("engine start on {} complete", database.self().str());
}

runtime::Task<> Engine::Impl::initialise_once(std::uint64_t before) {
    // What was answered before a peer was lost says nothing of who takes over from it now.
    auto known = losses;
    ClusterView seen = co_await ask_everyone(NodeName());
    while (losses != known) {
        known = losses;
        seen = co_await ask_everyone(NodeName());
    }
    look_for_absence();
    if (absences != before) co_return;
    auto planned = plan(seen, InitialiseRequest{});
    if (!planned) {
        messages::error("initialisation: {}", planned.error().text);
        journal(Event::none, "engine", database.self().str(),
                "initialisation failed: " + planned.error().text);
        co_return;
    }
    std::vector<Operation> operations;
    for (auto& part : by_hierarchy(seen, *planned)) {
        Operation operation{"initialisation", InitialiseRequest{own_tag(part, database.self())}};
        operation.plan = std::move(part);
        operation.absences = before;
        operation.comes_again = true;
        operations.push_back(std::move(operation));
    }
    const auto results = co_await operate_all(std::move(operations));
    for (const auto& result : results)
        if (!result.outcome.result)
            journal(Event::none, "engine", text::join(result.not_restored(database.self()), ", "),
                    "initialisation did not succeed: " + result.outcome.result.error().text);
}

runtime::Task<bool> Engine::Impl::wait_ready(runtime::Duration limit) {
    const auto give_up = world.clock.now() + limit;
    while (!ready && world.clock.now() < give_up)
        co_await runtime::sleep_for(world.tasks, kPoll);
    co_return ready;
}

void Engine::Impl::on_peer_event(const comm::PeerEvent& event) {
    switch (event.kind) {
        case comm::PeerEvent::Kind::path_up:
        case comm::PeerEvent::Kind::path_down:
            return;
        case comm::PeerEvent::Kind::comm_down:
            ++losses;
            reservations.node_died(event.peer);
            if (!stopping) scope.spawn(node_lost(event.peer));
            return;
        case comm::PeerEvent::Kind::comm_up:
            // Seen starting: the mark of its orderly stop has done its service. Spec: CLU-219.
            if (database.has_flag(no_failover_flag(event.peer)))
                database.set_flag(no_failover_flag(event.peer), false);
            scope.spawn(node_returned(event.peer));
            return;
    }
}

void Engine::Impl::on_absence(runtime::Duration absent) {
    last_awake = world.clock.now();  // told once
    ++absences;
    // Peers have probably taken over meanwhile: nothing goes on before membership is known again.
    const auto why =
        fmt::format("this node did not run for {:.1f} s", std::chrono::duration<double>(absent).count());
    messages::warning("{}; takeovers under way are stopped and looked at again", why);
    journal(Event::none, "engine", database.self().str(), why);
    std::set<NodeName> again;
    std::vector<Tag> interrupted;
    for (const auto& takeover : takeovers)
        if (takeover->cancelled.empty() && !takeover->tags.empty()) {
            takeover->cancelled = why;
            again.insert(takeover->dead);
            interrupted.push_back(*takeover->tags.begin());
        }
    for (const auto& [peer, count] : deciding)
        again.insert(peer);
    if (!again.empty()) scope.spawn(reconsider(std::move(again), std::move(interrupted)));
}

bool Engine::Impl::runs_elsewhere(const ClusterView& seen, const Tag& tag) {
    const auto& own = seen.nodes.at(seen.self).config;
    for (const auto& member : hierarchy_of(own, tag))
        for (const auto& pair : own.equivalents(member)) {
            const auto peer = seen.nodes.find(pair.other_node);
            if (peer == seen.nodes.end() || !peer->second.alive) continue;
            const auto at = peer->second.config.instances.find(pair.other_tag);
            if (at != peer->second.config.instances.end() && is_up(at->second.state)) return true;
        }
    return false;
}

runtime::Task<> Engine::Impl::reconsider(std::set<NodeName> dead, std::vector<Tag> interrupted) {
    const auto give_up = world.clock.now() + longest_detection() + kDetectionMargin;
    while (!peers->settled() && world.clock.now() < give_up)
        co_await runtime::sleep_for(world.tasks, kPoll);
    for (const auto& tag : interrupted) {
        const ClusterView seen = co_await ask_everyone(NodeName());
        if (!runs_elsewhere(seen, tag)) continue;
        Operation back{fmt::format("giving up {}, which another node took over", tag.str()),
                       StopRequest{tag}};
        const auto given = co_await operate(std::move(back));
        if (!given.outcome.result)
            messages::error("giving up {}: {}", tag.str(), given.outcome.result.error().text);
    }
    for (const auto& peer : dead)
        if (!alive(peer)) co_await node_lost(peer);
}

runtime::Task<> Engine::Impl::node_lost(NodeName peer) {
    messages::warning("COMM_DOWN: every path to {} is DEAD", peer.str());
    journal(Event::node_failure, "node", peer.str(), "failure detected: every path is DEAD");
    ++deciding[peer];
    const auto open = std::make_shared<bool>(true);
    const std::function<void()> decided = [this, peer, open] {
        if (!std::exchange(*open, false)) return;
        const auto at = deciding.find(peer);
        if (at != deciding.end() && --at->second <= 0) deciding.erase(at);
    };
    co_await take_over(peer, decided);
    decided();
}

runtime::Task<std::string> Engine::Impl::refused_by_gates(NodeName peer) {
    for (auto* gate : gates) {
        const auto verdict = co_await gate->check(peer);
        if (alive(peer)) co_return std::string("it came back");
        if (!verdict.proceed) co_return fmt::format("{}: {}", gate->name(), verdict.why);
    }
    co_return std::string();
}

runtime::Task<> Engine::Impl::take_over(NodeName peer, std::function<void()> decided) {
    auto refused = co_await refused_by_gates(peer);
    const auto expected = plan(view(), FailoverRequest{peer, {}, {}});
    const bool global = refused.empty() && expected && !expected->does_nothing();
    if (global) (void)co_await globals.before("restore", {});
    co_await take_over_now(peer, std::move(decided), std::move(refused));
    if (global) (void)co_await globals.after("restore", {});
}

runtime::Task<> Engine::Impl::take_over_now(NodeName peer, std::function<void()> decided,
                                            std::string refused) {
    const auto ready_limit = longest_detection() + kBusyLimit;
    if (refused.empty()) {
        const bool can = co_await wait_ready(ready_limit);
        if (!can) refused = "this node has not finished its own start";
        if (alive(peer)) refused = "it came back";
        if (stopping) refused = "this node is stopping";
    }
    if (!refused.empty()) {
        messages::warning("nothing is taken over from {}: {}", peer.str(), refused);
        journal(Event::none, "node", peer.str(), "nothing is taken over: " + refused);
        co_return;
    }
    const ClusterView seen = co_await ask_everyone(peer);
    auto planned = plan(seen, FailoverRequest{peer, {}, {}});
    if (!planned) {
        messages::error("no takeover from {}: {}", peer.str(), planned.error().text);
        journal(Event::none, "node", peer.str(), "no takeover: " + planned.error().text);
        co_return;
    }
    if (planned->does_nothing()) {
        if (!planned->steps.empty())
            messages::info("nothing to take over from {}:\n{}", peer.str(), describe(*planned));
        for (const auto& step : planned->steps)
            journal(Event::none, "resource", step.tag.str(),
                    fmt::format("not taken over from {}: {}", peer.str(), step.why));
        co_return;
    }
    std::vector<std::string> recovered;
    std::vector<std::string> failed;
    const std::set<NodeName> nobody_tried;
    co_await take_over_parts(peer, std::move(*planned), nobody_tried, decided, recovered, failed);
    messages::info("FAILOVER RECOVERY OF MACHINE {}", peer.str());
    messages::info("FINISHED AT: {}", date(world.clock.wall()));
    if (!recovered.empty())
        journal(Event::node_recovered, "node", peer.str(), "recovered here: " + text::join(recovered, ", "));
    if (!failed.empty())
        journal(Event::node_recovery_failed, "node", peer.str(),
                "not recovered here: " + text::join(failed, ", "));
}

runtime::Task<> Engine::Impl::take_over_parts(NodeName peer, Plan whole, std::set<NodeName> tried,
                                              std::function<void()> decided,
                                              std::vector<std::string>& recovered,
                                              std::vector<std::string>& failed) {
    std::vector<Operation> operations;
    std::vector<Tag> tags;
    std::vector<std::shared_ptr<Takeover>> tokens;
    auto undecided = std::make_shared<std::size_t>(0);
    for (auto& part : by_hierarchy(view(), whole)) {
        const auto tag = own_tag(part, database.self());
        if (!acts(part)) {
            for (const auto& step : part.steps)
                messages::info("{} is not taken over: {}", step.tag.str(), step.why);
            continue;
        }
        auto token = std::make_shared<Takeover>();
        token->dead = peer;
        for (const auto& member : hierarchy_of(database.own(), tag))
            token->tags.insert(member);
        takeovers.push_back(token);
        tokens.push_back(token);
        tags.push_back(tag);
        Operation operation{fmt::format("takeover from {}", peer.str()), FailoverRequest{peer, tried, tag}};
        operation.plan = std::move(part);
        operation.takeover = token;
        ++*undecided;
        operation.reserved = [undecided, decided] {
            // From here on the database shows what is being restored; the peer may ask again.
            if (--*undecided == 0) decided();
        };
        operations.push_back(std::move(operation));
    }
    const auto results = co_await operate_all(std::move(operations));
    for (const auto& token : tokens)
        takeovers.remove(token);
    for (std::size_t i = 0; i < results.size(); ++i) {
        const auto& result = results[i];
        if (result.outcome.result) {
            append(recovered, result.restored(database.self()));
            continue;
        }
        append(failed, result.not_restored(database.self()));
        if (!tokens[i]->cancelled.empty()) {
            messages::warning("the takeover of {} from {} was stopped: {}", tags[i].str(), peer.str(),
                              tokens[i]->cancelled);
            journal(Event::none, "resource", tags[i].str(), "takeover stopped: " + tokens[i]->cancelled);
            if (tokens[i]->give_back) {
                Operation back{fmt::format("giving {} back to {}", tags[i].str(), peer.str()),
                               StopRequest{tags[i]}};
                const auto given = co_await operate(std::move(back));
                if (!given.outcome.result)
                    messages::error("giving {} back to {}: {}", tags[i].str(), peer.str(),
                                    given.outcome.result.error().text);
            }
            continue;
        }
        journal(Event::recovery_failed, "resource", tags[i].str(),
                "recovery here failed: " + result.outcome.result.error().text);
        const auto handed = co_await hand_over(peer, tags[i], tried);
        if (!handed) messages::error("{} stays out of service: {}", tags[i].str(), handed.error().text);
    }
}

runtime::Task<Result<>> Engine::Impl::hand_over(NodeName dead, Tag tag, std::set<NodeName> tried) {
    // The next candidate tries. Spec: CLU-188.
    tried.insert(database.self());
    const ClusterView seen = co_await ask_everyone(dead);
    const auto next = next_candidate(seen, dead, tag, tried);
    if (!next || *next == database.self())
        co_return fail(Code::failure, "no other living node may take it over");
    Tag theirs;
    for (const auto& pair : database.own().equivalents(tag))
        if (pair.other_node == *next) theirs = pair.other_tag;
    journal(Event::recovery_initiated, "resource", tag.str(),
            fmt::format("{} is asked to recover it", next->str()));
    config::Command command;
    command.name = kTakeoverMethod;
    command.options = {{"dead", dead.str()}, {"tag", theirs.str()}};
    for (const auto& node : tried)
        command.arguments.push_back(node.str());
    auto answer = co_await jobs.run(*next, std::string(kTakeoverMethod), std::move(command));
    if (!answer) co_return with_context(answer.error(), fmt::format("takeover by {}", next->str()));
    co_return Result<>{};
}

runtime::Task<config::Reply> Engine::Impl::serve_takeover(NodeName caller, config::Command command) {
    const NodeName dead(command.get("dead"));
    const Tag tag(command.get("tag"));
    std::set<NodeName> tried;
    for (const auto& node : command.arguments)
        tried.insert(NodeName(node));
    messages::info("{} could not recover {} after the loss of {}; it is tried here", caller.str(), tag.str(),
                   dead.str());
    // The other node may have noticed the loss a little earlier.
    const auto give_up = world.clock.now() + longest_detection() + kDetectionMargin;
    while (alive(dead) && world.clock.now() < give_up)
        co_await runtime::sleep_for(world.tasks, kPoll);
    if (alive(dead))
        co_return config::failure(
            {Code::failure, fmt::format("{} is alive for {}", dead.str(), database.self().str()), 0});
    const auto refused = co_await refused_by_gates(dead);
    if (!refused.empty()) co_return config::failure({Code::failure, refused, 0});
    const ClusterView seen = co_await ask_everyone(dead);
    auto planned = plan(seen, FailoverRequest{dead, tried, tag});
    if (!planned) co_return config::failure(planned.error());
    if (planned->does_nothing()) co_return config::failure({Code::failure, describe(*planned), 0});
    std::vector<std::string> recovered;
    std::vector<std::string> failed;
    const std::function<void()> decided = [] {};
    co_await take_over_parts(dead, std::move(*planned), tried, decided, recovered, failed);
    if (!failed.empty())
        co_return config::failure({Code::failure, "not recovered: " + text::join(failed, ", "), 0});
    journal(Event::recovery_complete, "resource", tag.str(),
            fmt::format("recovered here after {} could not", caller.str()));
    co_return config::success();
}

runtime::Task<> Engine::Impl::node_returned(NodeName peer) {
    messages::info("COMM_UP: {} is reachable", peer.str());
    journal(Event::none, "node", peer.str(), "reachable");
    const auto config = co_await ask(peer);
    if (!config) {
        messages::warning("{} does not tell its states: {}", peer.str(), config.error().text);
        co_return;
    }
    std::vector<std::string> twice;
    for (const auto& pair : database.own().equivalencies) {
        if (pair.other_node != peer) continue;
        const auto theirs = config->instances.find(pair.other_tag);
        if (theirs == config->instances.end() || !is_up(theirs->second.state)) continue;
        // What only kept running there while its daemon was away is taken down by its own initialisation.
        if (theirs->second.reason.starts_with(kKeptRunning)) continue;
        for (const auto& takeover : takeovers)
            if (takeover->dead == peer && takeover->tags.contains(pair.tag) && takeover->cancelled.empty()) {
                takeover->cancelled =
                    fmt::format("{} is alive and still has {} in service", peer.str(), pair.other_tag.str());
                takeover->give_back = true;
            }
        const bool giving_back = std::any_of(takeovers.begin(), takeovers.end(), [&](const auto& takeover) {
            return takeover->tags.contains(pair.tag) && takeover->give_back;
        });
        const auto* ours = database.own().find(pair.tag);
        if (!giving_back && ours != nullptr && is_up(ours->state) && !ours->reason.starts_with(kKeptRunning))
            twice.push_back(pair.tag.str());
    }
    if (twice.empty()) co_return;
    // Spec: CLU-222: nobody but an administrator can tell whose data are wanted.
    const auto list = text::join(twice, ", ");
    messages::error(
        "{} in service on {} and {} at once. Nothing is moved automatically until it is out of service on "
        "one of "
        "them: run perform_action -a remove there.",
        list, database.self().str(), peer.str());
    journal(Event::none, "resource", list,
            fmt::format("in service here and on {} at once; take one side out of service", peer.str()));
}

}  // namespace understudy::recovery
