#include "config/database.h"

#include "messages/messages.h"

#include <algorithm>
#include <cassert>

namespace understudy::config {
namespace {

/// A subscriber that answers every change with a change would never end.
[[maybe_unused]] constexpr std::size_t kMaxUntold = 100'000;

std::uint64_t largest_order(const NodeConfig& config) {
    std::uint64_t largest = 0;
    for (const auto& [tag, instance] : config.instances)
        largest = std::max(largest, instance.order);
    for (const auto& dependency : config.dependencies)
        largest = std::max(largest, dependency.order);
    for (const auto& equivalency : config.equivalencies)
        largest = std::max(largest, equivalency.order);
    return largest;
}

/// What was read from a file or the wire has its index; a config with records has a digest then.
void make_index(NodeConfig& config) {
    if (config.index.digest == 0) config.reindex();
}

}  // namespace

Database::Database(runtime::World world, Store& store, NodeName self)
    : world_(world), store_(store), self_(std::move(self)) {}

Database::~Database() {
    *alive_ = false;
}

Result<std::unique_ptr<Database>> Database::open(runtime::World world, Store& store, NodeName self) {
    if (self.empty()) return fail(Code::internal, "a configuration database needs its node's name");
    UNDERSTUDY_TRY(auto loaded, store.load(self));
    std::unique_ptr<Database> database(new Database(world, store, std::move(self)));
    database->own_ = std::move(loaded.own);
    make_index(database->own_);
    database->replicas_ = std::move(loaded.replicas);
    for (auto& [owner, config] : database->replicas_)
        make_index(config);
    database->damage_ = std::move(loaded.damage);
    database->next_order_ = largest_order(database->own_) + 1;
    database->next_journal_id_ = loaded.last_journal_id + 1;
    database->next_history_id_ = loaded.last_history_id + 1;
    if (!database->damage_.empty()) {
        messages::error("{}", database->damage_);
        database->journal(0, "engine", database->self_.str(), database->damage_);
    }
    if (!database->own_.systems.contains(database->self_)) database->commit({PutSystem{database->self_}});
    return database;
}

const NodeConfig* Database::of(const NodeName& node) const {
    if (node == self_) return &own_;
    const auto at = replicas_.find(node);
    return at == replicas_.end() ? nullptr : &at->second;
}

void Database::assign_orders(std::vector<Edit>& edits) {
    const auto assign = [this](std::uint64_t& order, std::uint64_t existing) {
        if (order == 0) order = existing;
        if (order == 0) order = next_order_++;
        next_order_ = std::max(next_order_, order + 1);
    };
    for (auto& edit : edits) {
        if (auto* put = std::get_if<PutInstance>(&edit)) {
            const auto* existing = own_.find(put->instance.tag);
            assign(put->instance.order, existing == nullptr ? 0 : existing->order);
        } else if (auto* dependency = std::get_if<PutDependency>(&edit)) {
            const auto& record = dependency->dependency;
            const auto children = own_.children(record.parent);
            std::uint64_t existing = 0;
            if (std::find(children.begin(), children.end(), record.child) != children.end())
                for (const auto& each : own_.dependencies)
                    if (each.parent == record.parent && each.child == record.child) existing = each.order;
            assign(dependency->dependency.order, existing);
        } else if (auto* equivalency = std::get_if<PutEquivalency>(&edit)) {
            const auto& record = equivalency->equivalency;
            std::uint64_t existing = 0;
            for (const auto& each : own_.equivalents(record.tag))
                if (each.other_node == record.other_node && each.other_tag == record.other_tag)
                    existing = each.order;
            assign(equivalency->equivalency.order, existing);
        }
    }
}

void Database::commit(std::vector<Edit> edits) {
    if (edits.empty()) return;
    assign_orders(edits);
    remember(edits);
    for (const auto& edit : edits)
        config::apply(own_, edit);
    Change change{self_, ++own_.generation, std::move(edits)};
    write(change);
    tell(std::move(change));
}

Database::Attribution Database::attribute(Origin origin) {
    return {*this, std::move(origin)};
}

void Database::attribute_by(std::function<Origin(const std::vector<Edit>&)> finder) {
    origin_finder_ = std::move(finder);
}

void Database::remember(const std::vector<Edit>& edits) {
    auto items = describe_changes(own_, edits);
    if (items.empty()) return;
    HistoryEntry entry;
    entry.id = next_history_id_++;
    entry.wall_us = world_.clock.wall().time_since_epoch().count();
    entry.node = self_;
    entry.generation = own_.generation + 1;
    if (origin_)
        entry.origin = *origin_;
    else if (origin_finder_)
        entry.origin = origin_finder_(edits);
    if (entry.origin.node.empty()) entry.origin.node = self_;
    if (items.size() > kMaxHistoryItems) {
        entry.omitted = items.size() - kMaxHistoryItems;
        items.resize(kMaxHistoryItems);
    }
    entry.items = std::move(items);
    store_.append_history(entry);
}

void Database::read_history(const HistoryQuery& query,
                            std::function<void(Result<std::vector<HistoryEntry>>)> done) {
    store_.read_history(query, [alive = alive_, tasks = &world_.tasks,
                                done = std::move(done)](Result<std::vector<HistoryEntry>> entries) {
        if (!*alive) return;
        tasks->post([alive, done, entries = std::move(entries)] {
            if (*alive) done(entries);
        });
    });
}

void Database::write(const Change& change) {
    if (writes_ - answers_ >= kMaxUnconfirmedCommits && !change.edits.empty()) {
        unanswered_ = true;
        store_.write(change, {});
        return;
    }
    unanswered_ = false;
    const auto sequence = ++writes_;
    store_.write(change, [this, alive = alive_, sequence](Result<> result) {
        if (*alive) written(sequence, result);
    });
}

void Database::written(std::uint64_t sequence, const Result<>& result) {
    assert(sequence == answers_ + 1 && "a store answers in order");
    answers_ = sequence;
    if (!result && store_error_) messages::error("configuration is not on disk: {}", result.error().text);
    if (result && !store_error_) messages::info("configuration is on disk again");
    store_error_ = result;
    while (!sync_waiters_.empty() && sync_waiters_.front().through <= sequence) {
        const auto waiter = std::move(sync_waiters_.front());
        sync_waiters_.pop_front();
        waiter.done(result);
    }
    if (unanswered_ && answers_ == writes_) write(Change{self_, own_.generation, {}});
}

void Database::sync(std::function<void(Result<>)> done) {
    if (sync_waiters_.size() >= kMaxSyncWaiters) {
        world_.tasks.post([done = std::move(done)] {
            done(fail(Code::failure, "{} callers already wait for the disk; try again later",
                      kMaxSyncWaiters));
        });
        return;
    }
    if (unanswered_ || (answers_ == writes_ && !store_error_)) write(Change{self_, own_.generation, {}});
    if (answers_ == writes_) {
        world_.tasks.post([result = store_error_, done = std::move(done)] { done(result); });
        return;
    }
    sync_waiters_.push_back({writes_, std::move(done)});
}

bool Database::apply_replica(const Change& change) {
    // The owner is the sole authority, and nobody else speaks for this node. Spec: CLU-095.
    if (change.owner == self_) return true;
    const auto at = replicas_.find(change.owner);
    if (at == replicas_.end() || change.generation != at->second.generation + 1) return false;
    for (const auto& edit : change.edits)
        config::apply(at->second, edit);
    at->second.generation = change.generation;
    store_.advance_replica(change);
    tell(change);
    return true;
}

void Database::replace_replica(const NodeName& owner, NodeConfig config) {
    if (owner == self_) return;
    make_index(config);
    auto& copy = replicas_[owner];
    copy = std::move(config);
    store_.write_replica(owner, copy);
    tell(Change{owner, copy.generation, {}});
}

void Database::drop_replica(const NodeName& owner) {
    if (replicas_.erase(owner) == 0) return;
    store_.drop_replica(owner);
    tell(Change{owner, 0, {}});
}

void Database::subscribe(Subscriber subscriber) {
    subscribers_.push_back(std::move(subscriber));
}

void Database::tell(Change change) {
    untold_.push_back(std::move(change));
    assert(untold_.size() <= kMaxUntold && "subscribers must not answer every change with a change");
    if (telling_) return;
    telling_ = true;
    const auto alive = alive_;
    while (!untold_.empty()) {
        const auto next = std::move(untold_.front());
        untold_.pop_front();
        for (std::size_t i = 0; i < subscribers_.size(); ++i) {
            subscribers_[i](next);
            if (!*alive) return;
        }
    }
    telling_ = false;
}

void Database::subscribe_journal(JournalSubscriber subscriber) {
    journal_subscribers_.push_back(std::move(subscriber));
}

void Database::journal(int event, std::string kind, std::string subject, std::string text) {
    JournalEntry entry;
    entry.event = event;
    entry.kind = std::move(kind);
    entry.subject = std::move(subject);
    entry.text = std::move(text);
    journal(std::move(entry));
}

void Database::journal(JournalEntry entry) {
    entry.id = next_journal_id_++;
    entry.wall_us = world_.clock.wall().time_since_epoch().count();
    entry.node = self_;
    store_.append(entry);
    for (std::size_t i = 0; i < journal_subscribers_.size(); ++i)
        journal_subscribers_[i](entry);
}

void Database::read_journal(std::size_t limit, std::function<void(std::vector<JournalEntry>)> done) {
    store_.read_journal(limit, [alive = alive_, done = std::move(done)](std::vector<JournalEntry> entries) {
        if (*alive) done(std::move(entries));
    });
}

void Database::set_state(const Tag& tag, State state, std::string reason) {
    const auto* instance = own_.find(tag);
    if (instance == nullptr || (instance->state == state && instance->reason == reason)) return;
    auto changed = *instance;
    changed.state = state;
    changed.reason = std::move(reason);
    commit({PutInstance{std::move(changed)}});
}

void Database::set_reservation(const Tag& tag, Reservation reservation, int pid) {
    const auto* instance = own_.find(tag);
    if (instance == nullptr || (instance->reservation == reservation && instance->reserving_pid == pid))
        return;
    auto changed = *instance;
    changed.reservation = reservation;
    changed.reserving_pid = pid;
    commit({PutInstance{std::move(changed)}});
}

void Database::set_flag(const FlagName& flag, bool present) {
    if (own_.flags.contains(flag) == present) return;
    if (present)
        commit({PutFlag{flag}});
    else
        commit({DropFlag{flag}});
}

}  // namespace understudy::config
