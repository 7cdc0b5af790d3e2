#pragma once
// The configuration database of one node: what it owns, and cached copies of what its peers own.
//
//   Every change is one Transaction = one generation = one Change to subscribers and to the store.
//   The owner is the sole authority (Spec: CLU-095); a peer's copy is replaced or moved forward, never
//   edited.
//
// Threading: loop thread only. The store writes on a worker; commit() changes memory at once, sync() tells
// when the disk has it (Spec: CLU-089, CMD-045).

#include "base/result.h"
#include "config/edit.h"
#include "config/history.h"
#include "runtime/world.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace understudy::config {

/// What one commit did. `generation` is the owner's generation after it.
struct Change {
    NodeName owner;
    std::uint64_t generation = 0;
    std::vector<Edit> edits;
};

/// An entry of the journal: what happened, for `understudy events` and for incident reports. Spec: CLU-122,
/// CLU-082.
struct JournalEntry {
    std::uint64_t id = 0;      // ascending on a node
    std::int64_t wall_us = 0;  // microseconds since 1970, the node's wall clock
    NodeName node;
    int event = 0;        // exported event number (120, 121, ...), 0 when none. Spec: CLU-082
    std::string kind;     // "path", "node", "resource", "mirror", "command", "engine"
    std::string subject;  // tag, node, path or volume
    std::string text;     // one sentence for a person; empty: no event, a fact of an incident only
    // What an incident report is made of (recovery/incident.h); empty in most entries.
    std::string incident = {};                        // its id
    std::string fact = {};                            // what kind of fact this entry is
    std::map<std::string, std::string> details = {};  // of the fact

    friend bool operator==(const JournalEntry&, const JournalEntry&) = default;
};

/// Where commits are kept. Implementations: SQLite (config/sqlite_store.h) and memory with crashes
/// (simulator).
class Store {
  public:
    virtual ~Store() = default;
    struct Loaded {
        NodeConfig own;
        std::map<NodeName, NodeConfig> replicas;
        std::string damage;  // empty, or what was found damaged and what was used instead (Spec: CLU-090)
        std::uint64_t last_journal_id = 0;  // of the newest entry kept; ids go on from there
        std::uint64_t last_history_id = 0;
    };
    virtual Result<Loaded> load(const NodeName& self) = 0;
    /// Queues a commit; `durable` runs on the loop when it is on disk or could not be written. In order. What
    /// could not be written is kept and goes with the next write: a success means that everything before it
    /// is on disk too. A change without edits is legal and serves as such a second try. `durable` may be
    /// empty.
    virtual void write(const Change& change, std::function<void(Result<>)> durable) = 0;
    /// Whether load() would find everything written so far if this process were killed now, whatever the disk
    /// does.
    [[nodiscard]] virtual bool outlives_kill() const { return false; }
    /// Replaces a peer's cached copy. No durability is promised.
    virtual void write_replica(const NodeName& owner, const NodeConfig& config) = 0;
    virtual void drop_replica(const NodeName& owner) = 0;
    /// Moves a peer's cached copy forward by one change. A store that leaves this out has older copies after
    /// a restart, which are pulled again.
    virtual void advance_replica(const Change& /*change*/) {}
    virtual void append(const JournalEntry& entry) = 0;
    /// Keeps what the next write() changes; the two reach the disk together or not at all. A store that
    /// leaves these out has no history.
    virtual void append_history(const HistoryEntry& /*entry*/) {}
    virtual void read_history(const HistoryQuery& /*query*/,  // NOLINTNEXTLINE(performance-*): stores keep it
                              std::function<void(Result<std::vector<HistoryEntry>>)> done) {
        done(std::vector<HistoryEntry>{});
    }
    /// The newest `limit` entries, oldest first.
    virtual void read_journal(std::size_t limit, std::function<void(std::vector<JournalEntry>)> done) = 0;
};

/// Beyond this many commits that the disk has not confirmed, one answer stands for several.
inline constexpr std::uint64_t kMaxUnconfirmedCommits = 4096;
/// More callers of sync() than this at one time are refused.
inline constexpr std::size_t kMaxSyncWaiters = 1024;

class Database {
  public:
    /// Loads what the store has. The node itself is always one of its systems. `store` outlives the database.
    static Result<std::unique_ptr<Database>> open(runtime::World world, Store& store, NodeName self);
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database();

    /// What the store found damaged at open() and what it used instead; empty when all was well. Spec:
    /// CLU-090.
    [[nodiscard]] const std::string& damage() const { return damage_; }

    [[nodiscard]] const NodeName& self() const { return self_; }
    [[nodiscard]] const NodeConfig& own() const { return own_; }
    /// A peer's cached copy, or our own config when asked for ourselves; nullptr when never seen.
    [[nodiscard]] const NodeConfig* of(const NodeName& node) const;
    [[nodiscard]] const std::map<NodeName, NodeConfig>& replicas() const { return replicas_; }

    /// Applies the edits to what this node owns. The edits must be legal (the commands check); memory changes
    /// at once, subscribers are told before it returns. A commit made by a subscriber is told after the one
    /// that it reacts to, so that everyone sees generations in order. Records with order 0 get the next one,
    /// or keep that of the record they replace. No edits: nothing happens, no generation.
    void commit(std::vector<Edit> edits);
    /// Commits made while the result lives were asked for by `origin`. Nested ones replace the outer.
    class Attribution;
    [[nodiscard]] Attribution attribute(Origin origin);
    /// Names who asked for commits outside of any Attribution, by what they change (a long action's own
    /// commits). Without one, or when it gives an empty Origin, it is the daemon.
    void attribute_by(std::function<Origin(const std::vector<Edit>&)> finder);
    /// The newest entries that match, oldest first. Never on the caller's stack.
    void read_history(const HistoryQuery& query, std::function<void(Result<std::vector<HistoryEntry>>)> done);

    /// Runs `done` when everything committed so far is durable, or with the store's error. Never on the
    /// caller's stack. What could not be written before is tried again. Spec: CLU-089.
    void sync(std::function<void(Result<>)> done);
    /// Whether the next daemon would know everything committed so far if this one were killed now. When not,
    /// sync() tells when it does.
    [[nodiscard]] bool outlives_kill() const { return store_.outlives_kill(); }

    /// A peer's change: true when it continued our copy, false when the whole copy must be pulled.
    bool apply_replica(const Change& change);
    void replace_replica(const NodeName& owner, NodeConfig config);
    void drop_replica(const NodeName& owner);

    using Subscriber = std::function<void(const Change&)>;
    /// Called after own commits and after replica changes (a replacement comes with no edits). For the
    /// Database's life.
    void subscribe(Subscriber subscriber);

    void journal(int event, std::string kind, std::string subject, std::string text);
    /// The same with a fact; id, time and node are filled in.
    void journal(JournalEntry entry);
    using JournalSubscriber = std::function<void(const JournalEntry&)>;
    void subscribe_journal(JournalSubscriber subscriber);
    void read_journal(std::size_t limit, std::function<void(std::vector<JournalEntry>)> done);

    // Convenience used by recovery: each is one commit.
    void set_state(const Tag& tag, State state, std::string reason);
    void set_reservation(const Tag& tag, Reservation reservation, int pid);
    [[nodiscard]] bool has_flag(const FlagName& flag) const { return own_.flags.contains(flag); }
    void set_flag(const FlagName& flag, bool present);

  private:
    Database(runtime::World world, Store& store, NodeName self);
    void assign_orders(std::vector<Edit>& edits);
    void write(const Change& change);
    void written(std::uint64_t sequence, const Result<>& result);
    void tell(Change change);
    void remember(const std::vector<Edit>& edits);

    runtime::World world_;
    Store& store_;
    NodeName self_;
    NodeConfig own_;
    std::map<NodeName, NodeConfig> replicas_;
    std::string damage_;
    std::deque<Subscriber> subscribers_;  // a deque: one may subscribe while another is being called
    std::deque<JournalSubscriber> journal_subscribers_;
    std::deque<Change> untold_;
    bool telling_ = false;
    std::uint64_t next_order_ = 1;
    std::uint64_t next_journal_id_ = 1;
    std::uint64_t next_history_id_ = 1;
    std::optional<Origin> origin_;
    std::function<Origin(const std::vector<Edit>&)> origin_finder_;

    struct SyncWaiter {
        std::uint64_t through = 0;  // sequence of the write to wait for
        std::function<void(Result<>)> done;
    };
    std::uint64_t writes_ = 0;   // handed to the store with a wish for an answer
    std::uint64_t answers_ = 0;  // answered by it
    bool unanswered_ = false;    // writes were handed over without one, after the last with
    std::deque<SyncWaiter> sync_waiters_;
    Result<> store_error_;  // of the newest answer
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class Database::Attribution {
  public:
    ~Attribution() {
        if (*alive_) database_.origin_ = std::move(before_);
    }
    Attribution(const Attribution&) = delete;
    Attribution& operator=(const Attribution&) = delete;

  private:
    friend class Database;
    Attribution(Database& database, Origin origin)
        : database_(database),
          alive_(database.alive_),
          before_(std::exchange(database.origin_, std::move(origin))) {}
    Database& database_;
    std::shared_ptr<bool> alive_;
    std::optional<Origin> before_;
};

/// Stable byte form for the wire (protobuf inside). decode reports Code::internal on malformed input.
std::string encode(const Change& change);
Result<Change> decode_change(std::string_view data);
std::string encode(const NodeConfig& config);
Result<NodeConfig> decode_config(std::string_view data);
std::string encode(const JournalEntry& entry);
Result<JournalEntry> decode_journal(std::string_view data);

}  // namespace understudy::config
