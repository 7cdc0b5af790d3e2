// Reservations across nodes.
//
// An operation that brings something in service here reserves the hierarchy here and on every living node
// that has an equivalent of it; one that takes something away, where it takes it away. Two operations that
// could start the same thing on two nodes, of which one at least sees the other, thus have a node in common
// where one of them waits, and what it planned before is planned again. Always in the order of the nodes'
// names, so that two operations cannot wait for each other. Spec: CLU-107, CLU-141, CMD-113.

#include "base/text.h"
#include "messages/messages.h"
#include "recovery/engine_impl.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

constexpr std::string_view kInVain = "in vain";

void add(std::vector<Tag>& to, const Tag& tag) {
    if (std::find(to.begin(), to.end(), tag) == to.end()) to.push_back(tag);
}

}  // namespace

std::set<Tag> Engine::Impl::started(const Plan& plan) const {
    std::set<Tag> tags;
    for (const auto& step : plan.steps) {
        if (step.node != database.self()) continue;
        if (step.action != Action::restore && step.action != Action::set_isp) continue;
        const auto members = hierarchy_of(database.own(), step.tag);
        tags.insert(members.begin(), members.end());
    }
    return tags;
}

Tag Engine::Impl::contested(const Request& request) const {
    const auto* restore = std::get_if<RestoreRequest>(&request);
    const auto* remove = std::get_if<RemoveRequest>(&request);
    if (restore == nullptr && remove == nullptr) return {};
    const auto& tag = restore != nullptr ? restore->tag : remove->tag;
    const auto opposite = restore != nullptr ? config::Reservation::remove : config::Reservation::restore;
    const auto* instance = database.own().find(tag);
    return instance != nullptr && instance->reservation == opposite ? tag : Tag();
}

Needed Engine::Impl::needed_for(const Plan& plan, const Request& request) const {
    Needed needed;
    // What is going to be removed on a peer comes first: the peer shows that.
    for (const auto& step : plan.steps) {
        if (step.action == Action::leave) continue;
        add(needed[step.node].tags, step.tag);
        needed[step.node].removed = needed[step.node].tags.size();
    }
    for (const auto& member : started(plan))
        for (const auto& pair : database.own().equivalents(member))
            if (alive(pair.other_node)) add(needed[pair.other_node].tags, pair.other_tag);
    // Nothing to do as long as the other operation has not come to its end: that is waited for.
    if (needed.empty())
        if (auto tag = contested(request); !tag.empty())
            needed[database.self()].tags.push_back(std::move(tag));
    return needed;
}

bool Engine::Impl::covers(const Needed& held, const Needed& needed) {
    return std::all_of(needed.begin(), needed.end(), [&](const auto& entry) {
        const auto at = held.find(entry.first);
        return at != held.end() &&
               std::all_of(entry.second.tags.begin(), entry.second.tags.end(), [&](const Tag& tag) {
                   const auto& tags = at->second.tags;
                   return std::find(tags.begin(), tags.end(), tag) != tags.end();
               });
    });
}

runtime::Task<Result<Waited>> Engine::Impl::reserve(std::string id, Needed needed, Operation operation,
                                                    runtime::TimePoint give_up) {
    auto result = Waited::no;
    for (const auto& [node, at] : needed) {
        const auto left = std::max(give_up - world.clock.now(), runtime::Duration{});
        const auto limit = std::min(left, kReserveAgain);
        const auto breaking = left > kReserveAgain        ? Breaking::nothing
                              : operation.asked_by_person ? Breaking::all
                                                          : Breaking::idle;
        if (node == database.self()) {
            OperationOwner owner{id, node, operation.pid > 0 ? operation.pid : options.pid};
            const auto waited = co_await reservations.acquire(std::move(owner), at.tags, limit, breaking);
            if (!waited) co_return fail(waited.error());
            if (*waited == Waited::in_vain) co_return Waited::in_vain;
            if (*waited == Waited::yes) result = Waited::yes;
            continue;
        }
        result = Waited::yes;
        config::Command command;
        command.name = kReserveMethod;
        command.options = {
            {"operation", id},
            {"pid", std::to_string(operation.pid)},
            {"removed", std::to_string(at.removed)},
            {"limit_ms", std::to_string(std::chrono::ceil<std::chrono::milliseconds>(limit).count())},
            {"breaking", std::to_string(static_cast<int>(breaking))}};
        for (const auto& tag : at.tags)
            command.arguments.push_back(tag.str());
        const auto reserved = co_await jobs.run(node, std::string(kReserveMethod), std::move(command));
        if (!reserved)
            co_return with_context(reserved.error(), fmt::format("reserving resources on {}", node.str()));
        if (*reserved == kInVain) co_return Waited::in_vain;
    }
    co_return result;
}

runtime::Task<config::Reply> Engine::Impl::serve_reserve(NodeName caller, config::Command command) {
    const auto number = [&](const char* option) { return text::to_int(command.get(option)).value_or(0); };
    OperationOwner owner{command.get("operation"), caller, static_cast<int>(number("pid"))};
    const auto id = owner.operation;
    const auto wanted = number("breaking");
    const auto breaking = wanted == static_cast<int>(Breaking::all)    ? Breaking::all
                          : wanted == static_cast<int>(Breaking::idle) ? Breaking::idle
                                                                       : Breaking::nothing;
    const auto limit =
        std::min<runtime::Duration>(std::chrono::milliseconds(number("limit_ms")), kReserveAgain);
    std::vector<Tag> tags;
    for (const auto& tag : command.arguments)
        tags.emplace_back(tag);
    // The caller relies on what this node tells it, and a daemon that is killed now must not tell otherwise
    // later.
    const auto noted = co_await outlive_kill("what it has done");
    if (!noted) co_return config::failure(noted.error());
    // The caller may see this node a moment before it is seen here. Only the loss of a peer that was seen
    // ends its reservations.
    const auto give_up = world.clock.now() + limit;
    while (!alive(caller) && world.clock.now() < give_up)
        co_await runtime::sleep_for(world.tasks, kPoll);
    const auto acquired = co_await reservations.acquire(std::move(owner), tags, limit, breaking);
    if (!acquired) co_return config::failure(acquired.error());
    if (*acquired == Waited::in_vain) co_return config::success(std::string(kInVain));
    if (!alive(caller)) {
        reservations.release(id);
        co_return config::success(std::string(kInVain));
    }
    tags.resize(
        std::min(tags.size(), static_cast<std::size_t>(std::max<std::int64_t>(number("removed"), 0))));
    reservations.mark(id, tags, config::Reservation::remove);
    co_return config::success();
}

void Engine::Impl::release(const std::string& id, const Needed& needed, bool abandoned, const Taken& taken) {
    for (const auto& [node, at] : needed) {
        if (node == database.self()) {
            reservations.release(id);
            continue;
        }
        const auto there = taken.find(node);
        scope.spawn(
            release_on(node, id, abandoned, there == taken.end() ? std::vector<Tag>() : there->second));
    }
}

runtime::Task<> Engine::Impl::release_on(NodeName node, std::string id, bool abandoned,
                                         std::vector<Tag> taken) {
    // Not only while this node sees it: it may have seen this one all the time, by a DISK path for one, and
    // kept the reservation and what was taken out of service there. Until it is told, or no node any more.
    const auto soon = world.clock.now() + reservation_limit();
    bool earlier_release = false;
    while (database.own().systems.contains(node)) {
        const auto method = abandoned ? kAbandonMethod : kReleaseMethod;
        const auto told = co_await call(*peers, world.tasks, node, std::string(method), id, kShortCall);
        if (told) {
            for (const auto& tag : taken)
                if (earlier_release) co_await bring_back_on(node, tag);
            co_return;
        }
        if (abandoned && told.error().code == Code::not_found) {
            // It takes what was taken from it for what is wanted.
            earlier_release = true;
            abandoned = false;
        } else
            co_await runtime::sleep_for(world.tasks,
                                        world.clock.now() < soon ? kReleaseAgain : kReleaseMuchLater);
    }
}

runtime::Task<> Engine::Impl::bring_back_on(NodeName node, Tag theirs) {
    Tag ours;
    for (const auto& pair : database.own().equivalencies)
        if (pair.other_node == node && pair.other_tag == theirs) ours = pair.tag;
    const auto give_up = world.clock.now() + reservation_limit();
    std::string why;
    while (!stopping && world.clock.now() < give_up) {
        const ClusterView seen = co_await ask_everyone(NodeName());
        // Somebody has decided meanwhile; or it was lost, and a takeover decides.
        if (ours.empty() || !in_service_on(seen, ours).empty() || !alive(node)) co_return;
        const auto back = co_await ask_to_take(node, theirs);
        if (back) {
            journal(Event::none, "resource", ours.str(),
                    fmt::format("in service on {} again after an operation that was given up", node.str()));
            co_return;
        }
        why = back.error().text;
        co_await runtime::sleep_for(world.tasks, kReleaseMuchLater);
    }
    messages::error("{} is not in service on {} again after an operation that was given up: {}", theirs.str(),
                    node.str(), why);
    journal(
        Event::none, "resource", ours.str(),
        fmt::format("not in service on {} again after an operation that was given up: {}", node.str(), why));
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

}  // namespace understudy::recovery
