#pragma once
// Who works on which hierarchy of this node. An operation locks whole hierarchies, so that what happens to
// one is a sequence; what it is going to touch is also marked in the database, where ins_list shows it. Spec:
// CMD-113 to CMD-115, CLU-141, CLU-216.
//
// A reservation ends with its operation. It is broken when its process is gone, when the node that runs the
// operation died, or when somebody has waited for the whole limit; a broken operation starts no further step.
// Threading: loop thread only.

#include "config/database.h"
#include "runtime/task.h"

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace understudy::recovery {

/// More operations waiting than this are refused.
inline constexpr std::size_t kMaxWaitingOperations = 256;

/// What may be broken when the wait is over. Spec: CMD-113.
enum class Breaking {
    nothing,
    idle,  // what has no script running here: its operation may be gone, but nobody is cut off at work
    all,   // a person asks
};

enum class Waited {
    no,
    yes,
    in_vain,  // nothing was acquired
};

struct OperationOwner {
    std::string operation;  // unique in the cluster: Jobs::new_id()
    NodeName node;          // that runs it
    int pid = 0;            // of the command on that node; 0: the daemon itself
};

class Reservations {
  public:
    Reservations(runtime::World world, config::Database& database);
    Reservations(const Reservations&) = delete;
    Reservations& operator=(const Reservations&) = delete;
    ~Reservations();

    /// Waits for the hierarchies of `tags`; after `limit` breaks what it may. Errors: too many are waiting;
    /// the owner's node died, or released it, while it waited.
    runtime::Task<Result<Waited>> acquire(OperationOwner owner, std::vector<Tag> tags,
                                          runtime::Duration limit, Breaking breaking);
    /// Shows in the database what the operation is going to do. Tags it does not hold are left alone.
    void mark(const std::string& operation, const std::vector<Tag>& tags, config::Reservation kind);
    /// Whether the operation still has all it acquired.
    [[nodiscard]] bool holds(const std::string& operation) const;
    /// Whether another operation than `operation` has the tag.
    [[nodiscard]] bool held_by_other(const Tag& tag, const std::string& operation) const;
    /// Between begin_use and end_use a script of the operation runs: release waits for its end.
    void begin_use(const std::string& operation);
    void end_use(const std::string& operation);
    /// The operation, of another node, takes `tag` out of service here; its executor records the reason
    /// kTakenFor. It may have reserved nothing (perform_action -n).
    void takes(const OperationOwner& owner, const Tag& tag);
    /// Told when an operation is over and has not done what it took something out of service for: it was
    /// given up or broken, or its daemon ended. `left` has the reason kInterrupted by then, and the
    /// reservation has been released. Called by what notices the end: it must not wait.
    using Interrupted = std::function<void(const OperationOwner& owner, const std::set<Tag>& left)>;
    void on_interrupted(Interrupted told) { interrupted_ = std::move(told); }
    /// It has come to its end. Also gives up its wait.
    void release(const std::string& operation);
    /// It was given up before its end.
    void abandon(const std::string& operation);
    /// The daemon of `node` lives as `life` (Jobs::life()) now: operations of earlier lives are over.
    void lives_as(const NodeName& node, const std::string& life);
    /// Releases what operations of this node held here.
    void node_died(const NodeName& node);

  private:
    struct Holder {
        OperationOwner owner;
        std::set<Tag> tags;
        std::set<Tag> marked;
        int in_use = 0;
        bool release_wanted = false;
        std::set<Tag> taken;
        bool interrupted = false;
    };
    struct Waiter {
        explicit Waiter(runtime::Tasks& tasks) : granted(tasks) {}
        OperationOwner owner;
        std::set<Tag> tags;
        Breaking breaking = Breaking::nothing;
        runtime::TimePoint give_up;
        runtime::OneShot<Result<Waited>> granted;
    };
    [[nodiscard]] std::vector<std::string> in_the_way(const Waiter& waiter) const;
    void grant();
    void tick();
    void arm();
    void drop(const std::string& operation);
    bool break_what_is_in_the_way(const Waiter& waiter);
    /// Ends waits and reservations of operations that `over` tells.
    void end_where(const std::function<bool(const OperationOwner&)>& over, const std::string& why);

    runtime::World world_;
    config::Database& database_;
    std::map<std::string, Holder> holders_;
    std::list<std::shared_ptr<Waiter>> waiters_;
    std::optional<runtime::TimerId> timer_;
    Interrupted interrupted_;
};

}  // namespace understudy::recovery
