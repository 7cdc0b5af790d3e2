#pragma once
// The one thread that runs everything: an Asio io_context behind Clock, Tasks and readiness watches. This is
// the only place that knows Asio; sockets, pipes and child processes are plain descriptors driven by watches.
//
// Threading: everything on the loop's thread, except post_from_thread() and stop().

#include "runtime/posix/worker_pool.h"
#include "runtime/tasks.h"

#include <functional>
#include <memory>

namespace understudy::runtime {

/// Readiness of one descriptor, one wait at a time per direction. Borrows the descriptor: destroy the watch
/// before closing it. No callback runs after the watch is gone.
class Watch {
  public:
    virtual ~Watch() = default;
    /// Calls `ready` once when a read would not block (data, end of stream or an error).
    virtual void wait_readable(Tasks::Function ready) = 0;
    /// Calls `ready` once when a write would not block.
    virtual void wait_writable(Tasks::Function ready) = 0;
};

class EventLoop final : public Clock, public Tasks {
  public:
    EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;
    /// Callbacks that have not run are destroyed without running.
    ~EventLoop() override;

    [[nodiscard]] TimePoint now() const override;
    [[nodiscard]] WallTime wall() const override;

    void post(Function function) override;
    TimerId after(Duration delay, Function function) override;
    void cancel(TimerId timer) override;
    void post_from_thread(Function function) override;
    [[nodiscard]] bool run_blocking(Function work, Function done) override;

    /// `fd` must be pollable (socket, pipe, pidfd) and non-blocking.
    [[nodiscard]] std::unique_ptr<Watch> watch(int fd);
    /// Calls `handler` for each SIGTERM or SIGINT; a later call replaces the handler.
    void on_terminate(Function handler);

    /// Runs callbacks until stop(). A stop() before run() makes it return at once.
    void run();
    void stop();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
    WorkerPool workers_;  // joined before the loop goes: its threads post to it
};

}  // namespace understudy::runtime
