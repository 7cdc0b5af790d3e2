#pragma once
// The configuration store of a simulated node: writes reach the disk after a while, in order, and a crash
// loses what had not reached it.
//
// StoreDisk is the part that outlives crashes; it belongs to the host. SimulatedStore is one life of the
// daemon on it. What is queued when the store is destroyed is lost, except that the group that was being
// written then may have got through up to any point: never a later write without an earlier one.

#include "config/database.h"
#include "runtime/world.h"

#include <deque>
#include <functional>
#include <map>
#include <vector>

namespace understudy::sim {

/// What is on a node's disk.
class StoreDisk {
  public:
    config::NodeConfig own;
    std::map<NodeName, config::NodeConfig> replicas;
    std::vector<config::JournalEntry> journal;  // kept by every crash
    std::vector<config::HistoryEntry> history;  // each reaches the disk with its commit
    /// While set, writes fail as on a full disk; they are kept and tried again with the next one, or after
    /// kRetry.
    bool full = false;
    static constexpr auto kRetry = std::chrono::seconds(5);
    /// A group of writes takes between these.
    static constexpr auto kLeastWrite = std::chrono::milliseconds(1);
    static constexpr auto kMostWrite = std::chrono::milliseconds(10);
    runtime::Duration most_write = kMostWrite;
};

class SimulatedStore : public config::Store {
  public:
    /// `disk` outlives the store.
    SimulatedStore(runtime::World world, StoreDisk& disk) : world_(world), disk_(disk) {}
    SimulatedStore(const SimulatedStore&) = delete;
    SimulatedStore& operator=(const SimulatedStore&) = delete;
    ~SimulatedStore() override;

    Result<Loaded> load(const NodeName& self) override;
    void write(const config::Change& change, std::function<void(Result<>)> durable) override;
    void write_replica(const NodeName& owner, const config::NodeConfig& config) override;
    void drop_replica(const NodeName& owner) override;
    void advance_replica(const config::Change& change) override;
    void append(const config::JournalEntry& entry) override;
    void read_journal(std::size_t limit,
                      std::function<void(std::vector<config::JournalEntry>)> done) override;
    void append_history(const config::HistoryEntry& entry) override { unwritten_history_.push_back(entry); }
    void read_history(const config::HistoryQuery& query,
                      std::function<void(Result<std::vector<config::HistoryEntry>>)> done) override;

    /// Writes that are not on disk yet.
    [[nodiscard]] std::size_t waiting() const { return queue_.size(); }

  private:
    struct Write {
        std::function<void(StoreDisk&)> apply;
        std::function<void(Result<>)> durable;
    };
    void add(Write write);
    void begin();
    void finish();
    void retry();

    runtime::World world_;
    StoreDisk& disk_;
    std::deque<Write> queue_;
    std::vector<config::HistoryEntry> unwritten_history_;
    std::size_t writing_ = 0;           // the first so many of the queue are on their way
    std::uint64_t groups_ = 0;          // that were begun
    std::size_t written_at_crash_ = 0;  // how many of those a crash now would find on disk
};

}  // namespace understudy::sim
