#pragma once
// A few threads for work that blocks (SQLite's fsync, DNS), so that the loop never does.

#include "runtime/tasks.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace understudy::runtime {

inline constexpr int kBlockingWorkers = 2;

/// Runs jobs in the order given, on at most kBlockingWorkers threads that start with the first job. At most
/// kMaxBlockingJobs wait.
class WorkerPool {
  public:
    using Function = std::function<void()>;
    WorkerPool() = default;
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;
    /// Waits for the jobs that run; forgets those that have not started.
    ~WorkerPool();
    /// `work` runs on a worker, which then gives `done` to `hand_back`. What both own goes back with it and
    /// is never destroyed on a worker. False when too many wait already. One calling thread.
    [[nodiscard]] bool run(Function work, Function done, const std::function<void(Function)>& hand_back);

  private:
    struct Job {
        Function work;
        Function done;
        std::function<void(Function)> hand_back;
    };
    void serve();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Job> jobs_;
    std::vector<std::thread> threads_;
    bool stopping_ = false;
};

}  // namespace understudy::runtime
