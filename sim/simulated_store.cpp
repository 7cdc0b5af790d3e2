#include "sim/simulated_store.h"

#include <algorithm>

namespace understudy::sim {

SimulatedStore::~SimulatedStore() {
    for (std::size_t i = 0; i < written_at_crash_; ++i)
        queue_[i].apply(disk_);
}

Result<config::Store::Loaded> SimulatedStore::load(const NodeName& /*self*/) {
    Loaded loaded;
    loaded.own = disk_.own;
    loaded.replicas = disk_.replicas;
    if (!disk_.journal.empty()) loaded.last_journal_id = disk_.journal.back().id;
    if (!disk_.history.empty()) loaded.last_history_id = disk_.history.back().id;
    return loaded;
}

void SimulatedStore::write(const config::Change& change, std::function<void(Result<>)> durable) {
    add({[change, history = std::exchange(unwritten_history_, {})](StoreDisk& disk) {
             disk.history.insert(disk.history.end(), history.begin(), history.end());
             for (const auto& edit : change.edits)
                 config::apply(disk.own, edit);
             disk.own.generation = std::max(disk.own.generation, change.generation);
         },
         std::move(durable)});
}

void SimulatedStore::write_replica(const NodeName& owner, const config::NodeConfig& config) {
    add({[owner, config](StoreDisk& disk) { disk.replicas[owner] = config; }, {}});
}

void SimulatedStore::drop_replica(const NodeName& owner) {
    add({[owner](StoreDisk& disk) { disk.replicas.erase(owner); }, {}});
}

void SimulatedStore::advance_replica(const config::Change& change) {
    add({[change](StoreDisk& disk) {
             auto& replica = disk.replicas[change.owner];
             for (const auto& edit : change.edits)
                 config::apply(replica, edit);
             replica.generation = change.generation;
         },
         {}});
}

void SimulatedStore::append(const config::JournalEntry& entry) {
    disk_.journal.push_back(entry);
}

void SimulatedStore::read_journal(std::size_t limit,
                                  std::function<void(std::vector<config::JournalEntry>)> done) {
    const auto count = static_cast<std::ptrdiff_t>(std::min(limit, disk_.journal.size()));
    world_.tasks.post([entries = std::vector(disk_.journal.end() - count, disk_.journal.end()),
                       done = std::move(done)] { done(entries); });
}

void SimulatedStore::read_history(const config::HistoryQuery& query,
                                  std::function<void(Result<std::vector<config::HistoryEntry>>)> done) {
    // What was committed before the question is part of the answer.
    add({[](StoreDisk&) {},
         [this, query, done = std::move(done)](const Result<>&) {
             std::vector<config::HistoryEntry> found;
             for (const auto& entry : disk_.history)
                 if (config::matches(entry, query)) found.push_back(entry);
             if (found.size() > query.limit)
                 found.erase(found.begin(), found.end() - static_cast<std::ptrdiff_t>(query.limit));
             done(std::move(found));
         }});
}

void SimulatedStore::add(Write write) {
    queue_.push_back(std::move(write));
    if (writing_ == 0) begin();
}

// One group at a time: everything queued so far.
void SimulatedStore::begin() {
    ++groups_;
    writing_ = queue_.size();
    written_at_crash_ = disk_.full ? 0 : world_.random.next() % (writing_ + 1);
    const auto spread =
        std::chrono::duration_cast<std::chrono::microseconds>(disk_.most_write - StoreDisk::kLeastWrite);
    const auto takes =
        StoreDisk::kLeastWrite +
        std::chrono::microseconds(world_.random.next() % static_cast<std::uint64_t>(spread.count()));
    world_.tasks.after(takes, [this] { finish(); });
}

void SimulatedStore::finish() {
    const auto count = std::exchange(writing_, 0);
    written_at_crash_ = 0;
    std::vector<std::function<void(Result<>)>> answers;
    Result<> result;
    if (disk_.full) {
        result = fail(Code::failure, "cannot write the configuration database: no space left on the disk");
        for (std::size_t i = 0; i < count; ++i)
            answers.push_back(std::exchange(queue_[i].durable, nullptr));
    } else {
        for (std::size_t i = 0; i < count; ++i) {
            queue_.front().apply(disk_);
            answers.push_back(std::move(queue_.front().durable));
            queue_.pop_front();
        }
    }
    // Writes that came meanwhile go now; what failed waits for the next write, or for a while.
    if (queue_.size() > (disk_.full ? count : 0))
        begin();
    else if (!queue_.empty())
        retry();
    for (const auto& answer : answers)
        if (answer) answer(result);
}

void SimulatedStore::retry() {
    world_.tasks.after(StoreDisk::kRetry, [this, groups = groups_] {
        if (groups == groups_) begin();
    });
}

}  // namespace understudy::sim
