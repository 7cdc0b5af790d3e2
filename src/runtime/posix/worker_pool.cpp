#include "runtime/posix/worker_pool.h"

#include <signal.h>

#include <utility>

namespace understudy::runtime {

WorkerPool::~WorkerPool() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_)
        thread.join();
}

bool WorkerPool::run(Function work, Function done, const std::function<void(Function)>& hand_back) {
    {
        const std::lock_guard lock(mutex_);
        if (jobs_.size() >= kMaxBlockingJobs) return false;
        jobs_.push_back({std::move(work), std::move(done), hand_back});
    }
    changed_.notify_one();
    if (threads_.size() == kBlockingWorkers) return true;
    // Signals belong to the loop's thread; a worker must not be interrupted in the middle of an fsync.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    threads_.emplace_back([this] { serve(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return true;
}

void WorkerPool::serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
        if (stopping_) return;
        Job job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        job.work();
        job.hand_back([work = std::move(job.work), done = std::move(job.done)] { done(); });
        job = {};
        lock.lock();
    }
}

}  // namespace understudy::runtime
