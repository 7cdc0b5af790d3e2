// Loss and return of peers. Spec: sections 7, 17 and 18 of the cluster core.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <tuple>

namespace understudy::recovery {
namespace {

/// Whether an operation on this part of a plan does anything.
bool acts(const Plan& part) {
    return !part.does_nothing();
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
            incidents.node_returned(event.peer);
            if (!stopping) scope.spawn(tell_started(event.peer));
            scope.spawn(node_returned(event.peer));
            scope.spawn(starts_at_comm_up() ? rejoin() : decide_left_out());
            return;
    }
}

runtime::Task<> Engine::Impl::node_lost(NodeName peer) {
    messages::warning("COMM_DOWN: every path to {} is DEAD", peer.str());
    events.raise({"lifekeeper", "comm_down", "LK:lcm", peer.str()});
    const auto incident = incidents.node_lost(peer, static_cast<int>(Event::node_failure));
    ++deciding[peer];
    const auto open = std::make_shared<bool>(true);
    const std::function<void()> decided = [this, peer, open] {
        if (!std::exchange(*open, false)) return;
        const auto at = deciding.find(peer);
        if (at != deciding.end() && --at->second <= 0) deciding.erase(at);
    };
    co_await take_over(peer, incident, decided);
    decided();
}

runtime::Task<std::string> Engine::Impl::refused_by_gates(NodeName peer, std::string incident) {
    for (auto* gate : gates) {
        const auto asked = world.clock.now();
        const auto verdict = co_await gate->check(peer);
        incidents.gate(incident, gate->name(), verdict, world.clock.now() - asked);
        if (alive(peer)) co_return std::string("it came back");
        if (!verdict.proceed) co_return fmt::format("{}: {}", gate->name(), verdict.why);
    }
    co_return std::string();
}

runtime::Task<> Engine::Impl::take_over(NodeName peer, std::string incident, std::function<void()> decided) {
    auto refused = co_await refused_by_gates(peer, incident);
    const auto expected = plan(view(), FailoverRequest{peer, {}, {}});
    const bool global = refused.empty() && expected && !expected->does_nothing();
    GlobalScripts::Arguments waits_for_no_lock;  // Spec: CLU-214
    waits_for_no_lock.emplace_back(kInsideLock);
    if (global) (void)co_await globals.before("restore", waits_for_no_lock);
    co_await take_over_now(peer, std::move(incident), std::move(decided), std::move(refused));
    if (global) (void)co_await globals.after("restore", waits_for_no_lock);
}

runtime::Task<> Engine::Impl::take_over_now(NodeName peer, std::string incident,
                                            std::function<void()> decided, std::string refused) {
    const auto before = absences;
    const auto ready_limit = longest_detection() + kBusyLimit;
    if (refused.empty()) {
        const bool can = co_await wait_ready(ready_limit);
        if (!can) refused = "this node has not finished its own start";
        if (alive(peer)) refused = "it came back";
        if (stopping) refused = "this node is stopping";
    }
    if (!refused.empty()) {
        messages::warning("nothing is taken over from {}: {}", peer.str(), refused);
        incidents.add(incident, fact::refused, peer.str(), {{"why", refused}},
                      "nothing is taken over: " + refused);
        co_return;
    }
    co_await judge("COMM_DOWN", peer);
    const ClusterView seen = co_await ask_everyone(peer);
    auto planned = plan(seen, FailoverRequest{peer, {}, {}});
    if (!planned) {
        messages::error("no takeover from {}: {}", peer.str(), planned.error().text);
        incidents.add(incident, fact::refused, peer.str(), {{"why", planned.error().text}},
                      "no takeover: " + planned.error().text);
        co_return;
    }
    incidents.decision(incident, seen, *planned);
    if (planned->does_nothing()) {
        if (!planned->steps.empty())
            messages::info("nothing to take over from {}:\n{}", peer.str(), describe(*planned));
        for (const auto& step : planned->steps)
            journal(Event::none, "resource", step.tag.str(),
                    fmt::format("not taken over from {}: {}", peer.str(), step.why));
        co_return;
    }
    announce(fmt::format("takeover from {}", peer.str()), *planned);
    std::vector<std::string> recovered;
    std::vector<std::string> failed;
    const std::set<NodeName> nobody_tried;
    co_await take_over_parts(peer, incident, std::move(*planned), before, nobody_tried, decided, recovered,
                             failed);
    incidents.add(incident, fact::end, peer.str(),
                  {{"recovered", text::join(recovered, ", ")}, {"failed", text::join(failed, ", ")}});
    messages::info("FAILOVER RECOVERY OF MACHINE {}", peer.str());
    messages::info("FINISHED AT: {}", date(world.clock.wall()));
    if (!recovered.empty())
        journal(Event::node_recovered, "node", peer.str(), "recovered here: " + text::join(recovered, ", "));
    if (!failed.empty())
        journal(Event::node_recovery_failed, "node", peer.str(),
                "not recovered here: " + text::join(failed, ", "));
}

runtime::Task<> Engine::Impl::take_over_parts(NodeName peer, std::string incident, Plan whole,
                                              std::uint64_t before, std::set<NodeName> tried,
                                              std::function<void()> decided,
                                              std::vector<std::string>& recovered,
                                              std::vector<std::string>& failed) {
    std::vector<Operation> operations;
    std::vector<Tag> tags;
    auto undecided = std::make_shared<std::size_t>(0);
    for (auto& part : by_hierarchy(view(), whole)) {
        const auto tag = own_tag(part, database.self());
        if (!acts(part)) continue;
        tags.push_back(tag);
        Operation operation{fmt::format("takeover from {}", peer.str()), FailoverRequest{peer, tried, tag}};
        operation.plan = part;
        operation.announced = std::move(part);
        operation.dead = peer;
        operation.absences = before;
        operation.incident = incident;
        ++*undecided;
        operation.reserved = [undecided, decided] {
            // From here on the database shows what is being restored; the peer may ask again.
            if (--*undecided == 0) decided();
        };
        operations.push_back(std::move(operation));
    }
    const auto results = co_await operate_all(std::move(operations));
    for (std::size_t i = 0; i < results.size(); ++i) {
        const auto& result = results[i];
        const auto& cancelled = result.start.cancelled;
        if (result.outcome.result && !result.start.give_back) {
            append(recovered, result.restored(database.self()));
            continue;
        }
        append(failed, result.not_restored(database.self()));
        if (!cancelled.empty()) {
            messages::warning("the takeover of {} from {} was stopped: {}", tags[i].str(), peer.str(),
                              cancelled);
            journal(Event::none, "resource", tags[i].str(), "takeover stopped: " + cancelled);
            if (result.start.give_back) co_await give_back(tags[i], cancelled);
            continue;
        }
        journal(Event::recovery_failed, "resource", tags[i].str(),
                "recovery here failed: " + result.outcome.result.error().text);
        const auto handed = co_await hand_over(peer, incident, tags[i], tried);
        if (!handed) messages::error("{} stays out of service: {}", tags[i].str(), handed.error().text);
    }
}

runtime::Task<Result<>> Engine::Impl::hand_over(NodeName dead, std::string incident, Tag tag,
                                                std::set<NodeName> tried) {
    // The next candidate tries. Spec: CLU-188.
    tried.insert(database.self());
    const ClusterView seen = co_await ask_everyone(dead);
    const auto next = next_candidate(seen, Cause::node_lost, dead, tag, tried);
    if (!next || *next == database.self())
        co_return fail(Code::failure, "no other living node may take it over");
    Tag theirs;
    for (const auto& pair : database.own().equivalents(tag))
        if (pair.other_node == *next) theirs = pair.other_tag;
    incidents.add(incident, fact::asked, tag.str(), {{"node", next->str()}},
                  fmt::format("{} is asked to recover it", next->str()),
                  static_cast<int>(Event::recovery_initiated));
    config::Command command;
    command.name = kTakeoverMethod;
    command.options = {{"dead", dead.str()}, {"tag", theirs.str()}, {"incident", incident}};
    for (const auto& node : tried)
        command.arguments.push_back(node.str());
    auto answer = co_await jobs.run(*next, std::string(kTakeoverMethod), std::move(command));
    if (!answer) co_return with_context(answer.error(), fmt::format("takeover by {}", next->str()));
    co_return Result<>{};
}

runtime::Task<config::Reply> Engine::Impl::serve_takeover(NodeName caller, config::Command command) {
    const NodeName dead(command.get("dead"));
    const Tag tag(command.get("tag"));
    const auto incident = command.get("incident");
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
    const auto refused = co_await refused_by_gates(dead, incident);
    if (!refused.empty()) co_return config::failure({Code::failure, refused, 0});
    const auto before = absences;
    const ClusterView seen = co_await ask_everyone(dead);
    auto planned = plan(seen, FailoverRequest{dead, tried, tag});
    if (!planned) co_return config::failure(planned.error());
    incidents.decision(incident, seen, *planned);
    if (planned->does_nothing()) co_return config::failure({Code::failure, describe(*planned), 0});
    announce(fmt::format("takeover from {}", dead.str()), *planned);
    std::vector<std::string> recovered;
    std::vector<std::string> failed;
    const std::function<void()> decided = [] {};
    co_await take_over_parts(dead, incident, std::move(*planned), before, tried, decided, recovered, failed);
    incidents.add(incident, fact::end, tag.str(),
                  {{"recovered", text::join(recovered, ", ")}, {"failed", text::join(failed, ", ")}});
    if (!failed.empty())
        co_return config::failure({Code::failure, "not recovered: " + text::join(failed, ", "), 0});
    journal(Event::recovery_complete, "resource", tag.str(),
            fmt::format("recovered here after {} could not", caller.str()));
    co_return config::success();
}

bool Engine::Impl::keeps(const config::Equivalency& pair, const config::NodeConfig& theirs) const {
    const auto* instance = theirs.find(pair.other_tag);
    // What only kept running there while its daemon was away is taken down by its own initialisation.
    if (instance == nullptr || !is_in_service(instance->state) || instance->reason.starts_with(kKeptRunning))
        return false;
    // When both are starting it, the better one goes on and the other gives up.
    const auto members = hierarchy_of(theirs, pair.other_tag);
    const bool starting = std::any_of(members.begin(), members.end(), [&](const Tag& member) {
        const auto* other = theirs.find(member);
        return other != nullptr && other->reservation == config::Reservation::restore;
    });
    return !starting ||
           std::tie(pair.other_priority, pair.other_node) < std::tie(pair.priority, database.self());
}

bool Engine::Impl::gives_back(const config::Equivalency& pair) {
    bool found = false;
    for (const auto& start : starts) {
        if (!start->absent.contains(pair.other_node) || !start->tags.contains(pair.tag)) continue;
        found = true;
        if (!start->cancelled.empty()) continue;
        start->cancelled =
            fmt::format("{} is alive and has {} in service", pair.other_node.str(), pair.other_tag.str());
        start->give_back = true;
    }
    return found;
}

runtime::Task<> Engine::Impl::hear_returned(std::shared_ptr<Start> start) {
    if (start->tags.empty()) co_return;
    for (const auto& peer : start->absent) {
        if (!alive(peer) || !start->cancelled.empty()) continue;
        const auto config = co_await ask(peer);
        if (!config) continue;
        for (const auto& pair : database.own().equivalencies)
            if (pair.other_node == peer && keeps(pair, *config)) gives_back(pair);
    }
}

runtime::Task<> Engine::Impl::node_returned(NodeName peer) {
    messages::info("COMM_UP: {} is reachable", peer.str());
    events.raise({"lifekeeper", "comm_up", "LK:lcm", peer.str(), EventSeverity::informational});
    journal(Event::none, "node", peer.str(), "reachable");
    const auto config = co_await ask(peer);
    if (!config) {
        messages::warning("{} does not tell its states: {}", peer.str(), config.error().text);
        co_return;
    }
    std::vector<std::string> twice;
    for (const auto& pair : database.own().equivalencies) {
        if (pair.other_node != peer || !keeps(pair, *config)) continue;
        const bool giving_back = gives_back(pair);
        const auto* ours = database.own().find(pair.tag);
        if (!giving_back && ours != nullptr && is_in_service(ours->state) &&
            !ours->reason.starts_with(kKeptRunning))
            twice.push_back(pair.tag.str());
    }
    if (twice.empty()) {
        // At this node's own start its initialisation comes first. Spec: CLU-197.
        if (ready && !stopping) co_await switch_back(peer);
        co_return;
    }
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
