#include "recovery/reservations.h"

#include "messages/messages.h"
#include "recovery/plan.h"

#include <algorithm>

namespace understudy::recovery {
namespace {

constexpr runtime::Duration kLookEvery = std::chrono::seconds(1);  // Spec: CMD-114

bool overlap(const std::set<Tag>& a, const std::set<Tag>& b) {
    return std::any_of(a.begin(), a.end(), [&](const Tag& tag) { return b.contains(tag); });
}

}  // namespace

Reservations::Reservations(runtime::World world, config::Database& database)
    : world_(world), database_(database) {}

Reservations::~Reservations() {
    if (timer_) world_.tasks.cancel(*timer_);
}

runtime::Task<Result<Waited>> Reservations::acquire(OperationOwner owner, std::vector<Tag> tags,
                                                    runtime::Duration limit, Breaking breaking) {
    if (waiters_.size() >= kMaxWaitingOperations)
        co_return fail(Code::failure,
                       "{} operations are waiting for resources of {} already; try again later",
                       waiters_.size(), database_.self().str());
    auto waiter = std::make_shared<Waiter>(world_.tasks);
    for (const auto& tag : tags) {
        if (waiter->tags.contains(tag)) continue;
        const auto members = hierarchy_of(database_.own(), tag);
        waiter->tags.insert(members.begin(), members.end());
    }
    waiter->owner = std::move(owner);
    waiter->breaking = breaking;
    waiter->give_up = world_.clock.now() + limit;
    waiters_.push_back(waiter);
    grant();
    if (waiter->granted.ready()) co_return Waited::no;
    tick();  // what is in the way may belong to the dead
    const auto blockers = in_the_way(*waiter);
    if (!blockers.empty())
        messages::info("{} waits for {}, which works on the same resources", waiter->owner.operation,
                       blockers.front());
    const runtime::OneShot<Result<Waited>> granted = waiter->granted;
    auto result = co_await granted;
    co_return result;
}

std::vector<std::string> Reservations::in_the_way(const Waiter& waiter) const {
    std::vector<std::string> result;
    for (const auto& [operation, holder] : holders_)
        if (operation != waiter.owner.operation && overlap(holder.tags, waiter.tags))
            result.push_back(operation);
    return result;
}

void Reservations::grant() {
    std::set<Tag> wanted_earlier;  // first come, first served
    for (auto at = waiters_.begin(); at != waiters_.end();) {
        const auto& waiter = *at;
        if (overlap(waiter->tags, wanted_earlier) || !in_the_way(*waiter).empty()) {
            wanted_earlier.insert(waiter->tags.begin(), waiter->tags.end());
            ++at;
            continue;
        }
        auto& holder = holders_[waiter->owner.operation];
        holder.owner = waiter->owner;
        holder.tags.insert(waiter->tags.begin(), waiter->tags.end());
        waiter->granted.set(Waited::yes);
        at = waiters_.erase(at);
    }
    arm();
}

void Reservations::arm() {
    if (waiters_.empty()) {
        if (timer_) world_.tasks.cancel(*timer_);
        timer_.reset();
        return;
    }
    if (timer_) return;
    timer_ = world_.tasks.after(kLookEvery, [this] {
        timer_.reset();
        tick();
    });
}

void Reservations::tick() {
    const auto now = world_.clock.now();
    const auto waiters = waiters_;  // breaking one grants others
    for (const auto& waiter : waiters) {
        if (waiter->granted.ready() || break_what_is_in_the_way(*waiter) || now < waiter->give_up) continue;
        waiters_.remove(waiter);
        waiter->granted.set(Waited::in_vain);
    }
    grant();
}

bool Reservations::break_what_is_in_the_way(const Waiter& waiter) {
    const bool expired = world_.clock.now() >= waiter.give_up;
    bool free = true;
    for (const auto& operation : in_the_way(waiter)) {
        const auto& holder = holders_.at(operation);
        const auto& owner = holder.owner;
        const bool gone =
            owner.node == database_.self() && owner.pid > 0 && !world_.processes.alive(owner.pid);
        const bool may_break =
            waiter.breaking == Breaking::all || (waiter.breaking == Breaking::idle && holder.in_use == 0);
        if (!gone && !(expired && may_break)) {
            free = false;
            continue;
        }
        messages::warning("breaking the reservation of {} (pid {} on {}): {}", operation, owner.pid,
                          owner.node.str(), gone ? "its process is gone" : "it was held for too long");
        holders_.at(operation).interrupted = true;
        drop(operation);
    }
    return free;
}

void Reservations::mark(const std::string& operation, const std::vector<Tag>& tags,
                        config::Reservation kind) {
    const auto at = holders_.find(operation);
    if (at == holders_.end()) return;
    std::vector<config::Edit> edits;
    for (const auto& tag : tags) {
        const auto* instance = database_.own().find(tag);
        if (instance == nullptr || !at->second.tags.contains(tag)) continue;
        auto changed = *instance;
        changed.reservation = kind;
        changed.reserving_pid = at->second.owner.pid;
        at->second.marked.insert(tag);
        edits.emplace_back(config::PutInstance{std::move(changed)});
    }
    if (!edits.empty()) database_.commit(std::move(edits));
}

bool Reservations::holds(const std::string& operation) const {
    return holders_.contains(operation);
}

bool Reservations::held_by_other(const Tag& tag, const std::string& operation) const {
    return std::any_of(holders_.begin(), holders_.end(), [&](const auto& entry) {
        return entry.first != operation && entry.second.tags.contains(tag);
    });
}

void Reservations::begin_use(const std::string& operation) {
    if (const auto at = holders_.find(operation); at != holders_.end()) ++at->second.in_use;
}

void Reservations::end_use(const std::string& operation) {
    const auto at = holders_.find(operation);
    if (at == holders_.end() || at->second.in_use == 0) return;
    if (--at->second.in_use == 0 && at->second.release_wanted) release(operation);
}

void Reservations::takes(const OperationOwner& owner, const Tag& tag) {
    auto& holder = holders_[owner.operation];
    if (holder.owner.operation.empty()) holder.owner = owner;
    holder.taken.insert(tag);
}

void Reservations::abandon(const std::string& operation) {
    if (const auto at = holders_.find(operation); at != holders_.end()) at->second.interrupted = true;
    release(operation);
}

void Reservations::release(const std::string& operation) {
    waiters_.remove_if([&](const auto& waiter) {
        if (waiter->owner.operation != operation) return false;
        waiter->granted.set(fail(Code::failure, "the operation was given up"));
        return true;
    });
    const auto at = holders_.find(operation);
    if (at == holders_.end()) return;
    if (at->second.in_use > 0) {
        at->second.release_wanted = true;
        return;
    }
    drop(operation);
    grant();
}

void Reservations::node_died(const NodeName& node) {
    end_where([&](const OperationOwner& owner) { return owner.node == node; },
              fmt::format("{} died", node.str()));
}

void Reservations::lives_as(const NodeName& node, const std::string& life) {
    end_where(
        [&](const OperationOwner& owner) { return owner.node == node && !owner.operation.starts_with(life); },
        fmt::format("the daemon of {} was restarted", node.str()));
}

void Reservations::end_where(const std::function<bool(const OperationOwner&)>& over, const std::string& why) {
    std::vector<std::string> ended;
    for (const auto& [operation, holder] : holders_)
        if (over(holder.owner)) ended.push_back(operation);
    waiters_.remove_if([&](const auto& waiter) {
        if (!over(waiter->owner)) return false;
        waiter->granted.set(fail(Code::unreachable, "{}", why));
        return true;
    });
    for (const auto& operation : ended)
        abandon(operation);
    grant();
}

void Reservations::drop(const std::string& operation) {
    const auto at = holders_.find(operation);
    if (at == holders_.end()) return;
    const Holder ended = std::move(at->second);
    holders_.erase(at);
    const auto from = std::string(kTakenFor) + ended.owner.node.str();
    auto touched = ended.marked;
    touched.insert(ended.taken.begin(), ended.taken.end());
    std::vector<config::Edit> edits;
    std::set<Tag> left;
    for (const auto& tag : touched) {
        const auto* instance = database_.own().find(tag);
        if (instance == nullptr) continue;
        auto changed = *instance;
        if (ended.marked.contains(tag)) {
            changed.reservation = config::Reservation::none;
            changed.reserving_pid = 0;
        }
        // Not what happened to it since.
        if (ended.taken.contains(tag) && instance->state == config::State::osu && instance->reason == from) {
            changed.reason = ended.interrupted ? std::string(kInterrupted) + ended.owner.node.str()
                                               : std::string(kRemoveSucceeded);
            if (ended.interrupted) left.insert(tag);
        }
        edits.emplace_back(config::PutInstance{std::move(changed)});
    }
    if (!edits.empty()) database_.commit(std::move(edits));
    if (!left.empty() && interrupted_) interrupted_(ended.owner, left);
}

}  // namespace understudy::recovery
