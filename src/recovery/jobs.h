#pragma once
// Work that a peer does for us and that has no time limit (a remove script, a switchover). Spec: CLU-142.
//
//   caller                                  callee
//     | method(job id, command) ----------->|  starts the work once per job id
//     |<----------------------- "started" --|
//     | recovery.outcome(job id) ---------->|  answers when the work has ended, or "running" after a while
//     |<------------- reply | "running" ----|
//
// The caller asks until it has the outcome; the peer's death or the restart of its daemon ends the wait with
// Code::unreachable. Asking twice is harmless. Threading: loop thread only.

#include "config/command.h"
#include "recovery/peers.h"
#include "runtime/task.h"
#include "runtime/world.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace understudy::recovery {

/// Outcomes that a callee remembers; the oldest finished one goes first. Also the most jobs at one time.
inline constexpr std::size_t kMaxJobs = 1024;

class Jobs {
  public:
    using Work = std::function<runtime::Task<config::Reply>(NodeName caller, config::Command command)>;
    /// `peers` outlives it.
    Jobs(runtime::World world, Peers& peers, NodeName self);
    Jobs(const Jobs&) = delete;
    Jobs& operator=(const Jobs&) = delete;
    ~Jobs();

    /// Lets peers start `work` under this name.
    void serve(const std::string& method, Work work);
    /// Runs it on `node` and waits for its end. The result is the reply's output; a failed reply is an error
    /// with its code and text.
    runtime::Task<Result<std::string>> run(NodeName node, std::string method, config::Command command);
    /// A name that no other operation in the cluster has; it starts with life().
    std::string new_id();
    /// What the ids of this daemon's life, and of no other, start with.
    [[nodiscard]] const std::string& life() const { return life_; }

  private:
    struct Job;
    using Answer = std::function<void(Result<std::string>)>;
    void started(const NodeName& caller, std::string_view payload, const Work& work, const Answer& answer);
    void asked(std::string_view payload, const Answer& answer);
    runtime::Task<> work_on(std::shared_ptr<Job> job, runtime::Task<config::Reply> work);
    bool make_room();
    runtime::Task<Result<std::string>> outcome(NodeName node, std::string id);

    runtime::World world_;
    Peers& peers_;
    NodeName self_;
    std::string life_;  // of this daemon, so that ids of an earlier one are not taken for ours
    std::uint64_t next_ = 1;
    std::map<std::string, std::shared_ptr<Job>> jobs_;
    std::deque<std::string> order_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    runtime::TaskScope scope_;
};

}  // namespace understudy::recovery
