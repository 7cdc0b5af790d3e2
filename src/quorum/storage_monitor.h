#pragma once
// What is known from the shared storage: whether this node reaches it, and when each peer wrote last. A state
// machine without I/O: the driver feeds it the outcome of each cycle (write own object, read all). Spec:
// QUO-040 to QUO-042, QUO-050 to QUO-056, QUO-087, QUO-088.
//
//   start(own object as found) -> sequence to go on from
//   next_object(now) -> the record to write      cycle_ended(outcome, now) -> what to log
//   state(now): SUCCESS while the newest successful cycle is younger than 2 x HBEATTIME
//
// A peer's freshness is the change of its sequence number seen by this node's monotonic clock; clocks of two
// nodes are never compared.

#include "quorum/configuration.h"
#include "quorum/object.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace understudy::quorum {

enum class Access : std::uint8_t { unknown, success, failure };
std::string_view to_string(Access access);  // "SUCCESS", "FAILURE", "UNKNOWN". Spec: QUO-128

struct Note {
    enum class Severity : std::uint8_t { debug, info, warning, error } severity;
    int number;
    std::string text;
    friend bool operator==(const Note&, const Note&) = default;
};

/// One cycle as the storage answered.
struct CycleOutcome {
    Result<> write;
    /// Of every node: valid bytes of its newest object, or why it could not be read.
    std::map<NodeName, Result<std::string>> objects;
    std::vector<Note> notes = {};  // what went wrong without being the outcome: one bucket of two
};

class StorageMonitor {
  public:
    using TimePoint = runtime::TimePoint;
    using Duration = runtime::Duration;

    explicit StorageMonitor(StorageConfiguration configuration);

    /// The own object as found at start; goes on from its sequence, or from 0.
    std::vector<Note> start(const Result<std::string>& own);
    /// The record to write in the cycle that begins now.
    Object next_object(std::string time, const std::map<NodeName, CommStat>& peers);
    /// `began`: when the cycle's write was started by this node's clock. A peer whose object cannot be read
    /// or is damaged missed a heartbeat, nothing more.
    std::vector<Note> cycle_ended(const CycleOutcome& outcome, TimePoint began, TimePoint now);
    /// A cycle that did not end within its time.
    std::vector<Note> cycle_failed(TimePoint began, TimePoint now, const std::string& why);

    [[nodiscard]] Access state(TimePoint now) const;
    /// Logs a change of state(), and that no cycle has ended for too long (18102).
    std::vector<Note> look(TimePoint now);

    struct Peer {
        std::optional<std::uint64_t> sequence;
        TimePoint changed;          // when this node first saw that sequence; start before the first
        int missed = 0;             // checks in a row without a change
        std::uint64_t updates = 0;  // seen since start
        int backwards = 0;          // reads in a row of a lower sequence
        std::uint64_t lower = 0;
        CommStat of_us = CommStat::unknown;
    };
    /// nullptr: not in the captured configuration (18219).
    [[nodiscard]] const Peer* peer(const NodeName& name) const;
    [[nodiscard]] const std::map<NodeName, Peer>& peers() const { return peers_; }
    [[nodiscard]] std::optional<Duration> quiet(const NodeName& name, TimePoint now) const;
    [[nodiscard]] std::uint64_t sequence() const { return sequence_; }
    [[nodiscard]] std::uint64_t cycles() const { return cycles_; }  // that were successful
    /// When the newest successful write was begun.
    [[nodiscard]] std::optional<TimePoint> last_write() const { return last_write_; }
    [[nodiscard]] const StorageConfiguration& configuration() const { return configuration_; }

  private:
    void take(const NodeName& name, const Result<std::string>& bytes, TimePoint now,
              std::vector<Note>& notes);

    StorageConfiguration configuration_;
    std::uint64_t sequence_ = 0;
    std::uint64_t cycles_ = 0;
    std::optional<TimePoint> last_write_;
    std::optional<TimePoint> last_success_;  // end of it
    bool failed_ = false;                    // the newest cycle
    std::map<NodeName, Peer> peers_;
    bool started_ = false;
    Access told_ = Access::unknown;
    bool told_stale_ = false;
};

}  // namespace understudy::quorum
