#pragma once
// Cluster-wide admin locks: getlocks, rlslocks, and the locks that the daemon's own operations take. The
// rules are config::LockTable; this is its driver: it tells peers, grants, shows every request as a flag on
// every node, and ends those whose owner or node is gone.
//
// What is held is written down before it is granted, in a file that does not outlive the host's boot: a
// restarted daemon goes on holding it for a process that still runs. Nothing in recovery waits for these
// locks (Spec: CLU-214). Nodes that cannot hear each other may both hold one; that is reported when they
// meet.
//
// Threading: loop thread only.

#include "comm/cluster.h"
#include "config/command.h"
#include "config/database.h"
#include "config/locks.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

namespace understudy::daemons {

/// How long getlocks waits when it is not told. Spec: CLU-214.
inline constexpr std::chrono::seconds kLockWait{300};
inline constexpr std::chrono::seconds kMaxLockWait{24 * 3600};

class LockService {
  public:
    using Done = std::function<void(config::Reply)>;
    using Granted = std::function<void(Result<config::LockId>)>;

    /// `held_file`: where held locks are noted; its directory must exist. `pid`: of this daemon, shown with
    /// the locks of its own operations.
    LockService(runtime::World world, config::Database& database, comm::Cluster& cluster,
                std::string held_file, int pid);
    LockService(const LockService&) = delete;
    LockService& operator=(const LockService&) = delete;
    ~LockService();

    void start();
    /// getlocks and rlslocks. False when the command is neither.
    bool run(const config::Command& command, const Done& done);

    /// A lock for an operation of this daemon; it ends with the daemon. `granted` runs once, never on the
    /// caller's stack: with the lock, or Code::failure when `wait` has passed.
    void acquire(const std::string& identifier, runtime::Duration wait, Granted granted);
    /// Harmless when it has ended already.
    void release(const config::LockId& id);

    /// Held and waiting ones of the whole cluster, held first, then in the order of service.
    [[nodiscard]] std::vector<config::LockRequest> all() const { return table_.all(); }
    /// Whether this node holds this lock.
    [[nodiscard]] bool holds(const config::LockId& id) const;

  private:
    struct Owner {
        bool operation = false;  // of the daemon itself
        int waiter = 0;          // the process that waits for the answer, 0: none
        std::string name;        // -l, for rlslocks
        Granted granted;         // empty once answered
        std::optional<runtime::TimerId> limit;
    };
    void add(int pid, const std::string& identifier, runtime::Duration wait, Owner owner);
    void get(const config::Command& command, const Done& done);
    [[nodiscard]] config::Reply drop(const config::Command& command);
    void end(const config::LockId& id, const Error& why);
    void serve(const NodeName& peer, std::string_view payload, const comm::Cluster::Answer& answer);
    [[nodiscard]] std::set<config::LockId> requests_of(const NodeName& node) const;
    void tell(const NodeName& peer);
    void tell_all();
    void try_grant();
    void show_flags();
    void tick();
    void end_dead_owners();
    Result<> write_held(const std::optional<config::LockId>& next) const;
    void restore_held();

    runtime::World world_;
    config::Database& database_;
    comm::Cluster& cluster_;
    std::string held_file_;
    int pid_;
    config::LockTable table_;
    std::map<config::LockId, Owner> owners_;
    std::optional<runtime::TimerId> timer_;
    int ticks_ = 0;
    std::set<std::string> reported_;  // conflicts
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy::daemons
